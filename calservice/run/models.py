"""Between datamodels and native steps: facts, arrays and references out of models; results and records into them.

Models are those of stdatamodels; the official package is not needed here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from calservice import __version__
from calservice.model.block import Array
from calservice.model.errors import InputError, ReferenceFileError
from calservice.model.step import ExposureInfo, Params, Reference, ReferenceNeed, Step
from calservice.references.load import (
    Placement,
    fit_to_exposure,
    load_reference,
    load_user_flags,
    reference_of_model,
)
from calservice.run.blocks import BoundStep
from calservice.steps.registry import NATIVE
from calservice.steps.stage1.dq_init import GUIDER_EXP_TYPES

__all__ = [
    "Skip",
    "bind",
    "cal_step_name",
    "exposure_info",
    "put_results",
    "ramp_class",
    "record_context",
    "record_reference",
    "set_status",
    "source_arrays",
    "stamp_version",
]

log = logging.getLogger("calservice.models")

_RAMP_ARRAYS = ("data", "groupdq", "pixeldq", "dq", "zeroframe", "average_dark_current")
_FLAGS = ("groupdq", "pixeldq", "dq")
_RATE_ARRAYS = ("data", "dq", "err", "var_poisson", "var_rnoise")
_IFU = ("NRS_IFU", "MIR_MRS")
_NOT_APPLICABLE = "N/A"


def ramp_class(exp_type: str | None, stripes: int | None) -> Any:
    """Return the class of datamodel that an exposure is opened as.

    Parameters
    ----------
    exp_type : str or None
        EXP_TYPE.
    stripes : int or None
        Number of stripes of a superstripe exposure.

    Returns
    -------
    type
        ``GuiderRawModel``, ``SuperstripeRampModel`` or ``RampModel``.
    """
    from stdatamodels.jwst import datamodels

    if str(exp_type).upper() in GUIDER_EXP_TYPES:
        return datamodels.GuiderRawModel
    return datamodels.SuperstripeRampModel if stripes else datamodels.RampModel


def exposure_info(model: Any) -> ExposureInfo:
    """Return the facts of an exposure that kernels compute with, from its open model."""
    exposure, where = model.meta.exposure, model.meta.subarray
    nints, ngroups, nrows, ncols = model.data.shape
    times = getattr(exposure, "read_times", None)
    return ExposureInfo(
        instrument=str(model.meta.instrument.name or "").upper(),
        detector=str(model.meta.instrument.detector or "").upper(),
        exp_type=str(exposure.type or "").upper(),
        readpatt=str(exposure.readpatt or "").upper(),
        subarray=str(where.name or "").upper(),
        nints=int(nints),
        ngroups=int(ngroups),
        nrows=int(nrows),
        ncols=int(ncols),
        nframes=int(exposure.nframes or 1),
        groupgap=int(exposure.groupgap or 0),
        frame_time=float(exposure.frame_time or 0.0),
        group_time=float(exposure.group_time or 0.0),
        integration_start=int(exposure.integration_start or 1),
        drop_frames=int(exposure.drop_frames1 or 0),
        tsovisit=bool(model.meta.visit.tsovisit),
        num_superstripe=int(getattr(where, "num_superstripe", None) or 0),
        read_times=() if times is None or not len(times) else tuple(float(t) for row in times for t in _flat(row)),
    )


def _flat(value: Any) -> tuple[Any, ...]:
    return tuple(value) if hasattr(value, "__len__") else (value,)


def _placement(model: Any) -> Placement:
    where = model.meta.subarray
    values = (where.xstart, where.ystart, where.xsize, where.ysize)
    if any(value is None for value in values):
        raise InputError(
            f"{model.meta.filename}: its header does not say where on the detector its pixels lie; "
            "set SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2"
        )
    return Placement(*(int(value) for value in values))


def source_arrays(model: Any, step_reads: Collection[str], initialising: bool = False) -> dict[str, Array]:
    """Return the arrays of a model that steps read, without copying.

    Parameters
    ----------
    model : datamodel
        A ramp, or guide star data.
    step_reads : collection of str
        Names of arrays.
    initialising : bool
        Whether the first step sets up the flags: those of another shape than the data are then left
        out, and so start as zeros.

    Raises
    ------
    InputError
        Where flags have another shape than the data.
    """
    found: dict[str, Array] = {}
    shape = model.data.shape
    for name in _RAMP_ARRAYS:
        if name == "zeroframe" and not model.meta.exposure.zero_frame:
            continue
        if name != "data" and not (name in step_reads and model.hasattr(name)):
            continue
        array: Array | None = getattr(model, name)
        if array is None or not array.size:
            continue
        if name in _FLAGS and array.shape != (shape if name == "groupdq" else shape[-2:]):
            if not initialising:
                raise InputError(f"{name} has the shape {array.shape}, the data {shape}; run dq_init first")
            log.warning("%s has the shape %s, the data %s: it starts as zero", name, array.shape, shape)
            continue
        found[name] = array
    return found


@dataclass(frozen=True)
class Skip:
    """Why a step does not apply to an exposure, and the arrays that it sets even so."""

    reason: str
    arrays: Mapping[str, Array] = field(default_factory=dict)


def bind(
    step: Step, params: Params, model: Any, info: ExposureInfo, locate: Callable[[ReferenceNeed], Any]
) -> BoundStep | Skip:
    """Load a step's references and cut them to an exposure.

    Parameters
    ----------
    step : Step
        A native block step.
    params : Params
        Its parameters.
    model : datamodel
        The exposure. The gain factor that ramp fitting finds in its reference is noted in it.
    info : ExposureInfo
        Facts of the exposure.
    locate : callable
        Gives for a need the path of the reference, an open datamodel of it, or "N/A" or None.

    Returns
    -------
    BoundStep or Skip
        The latter where the step does not apply to this exposure.

    Raises
    ------
    ReferenceFileError
        Where a reference is unreadable, does not fit, or cannot be done without.
    """
    located = {need: locate(need) for need in step.references}
    references: dict[str, Reference] = {}
    for need, place in located.items():
        if place is not None and not (isinstance(place, str) and place == _NOT_APPLICABLE):
            references[need.reftype] = _fitting(need, place, model)
        elif not need.optional:
            if step.alias == "ramp_fit":
                raise ReferenceFileError(f"ramp_fit: there is no {need.reftype} reference for this exposure")
            return Skip(f"no {need.reftype} reference")
    for need in step.parameter_references:
        path = getattr(params, need.reftype)
        if path is not None:
            references[need.reftype] = load_user_flags(path)
    reason = step.not_applicable(references, params, info)
    if reason is not None:
        return Skip(reason, step.skipped_arrays(references, params, info))
    if step.alias == "ramp_fit":
        factor = references["gain"].meta.get("meta.exposure.gain_factor")
        if factor is not None:
            model.meta.exposure.gain_factor = factor
    return BoundStep(step, params, references)


def _fitting(need: ReferenceNeed, place: Any, model: Any) -> Reference:
    if isinstance(place, (str, Path)):
        whole, name = load_reference(place, need), str(place)
    else:
        whole, name = reference_of_model(place, need), place.override_handle
    rows, columns = model.data.shape[-2:]
    return fit_to_exposure(whole, need, _placement(model), (int(rows), int(columns)), name)


def put_results(model: Any, made: Mapping[str, Array]) -> tuple[Any, Any]:
    """Put what native steps made into a model; ramp fitting makes new ones.

    Parameters
    ----------
    model : datamodel
        The ramp that the steps ran on; changed in place, unless ramps were fitted.
    made : mapping of str to ndarray
        What `calservice.run.blocks.run_fused` returned.

    Returns
    -------
    model, integrations : datamodel
        The ramp and None, or the image of the exposure and the cube of its integrations.
    """
    if "slope" not in made:
        for name, array in made.items():
            setattr(model, name, array)
        return model, None
    from stdatamodels.jwst import datamodels

    image = datamodels.ImageModel(made["slope"].shape)
    cube = datamodels.CubeModel(made["int_slope"].shape)
    for result, prefix in ((image, ""), (cube, "int_")):
        result.update(model)
        for name in _RATE_ARRAYS:
            setattr(result, name, made[prefix + ("slope" if name == "data" else name)])
        result.meta.bunit_data = "DN/s"
        result.meta.bunit_err = "DN/s"
    cube.int_times = model.int_times
    kind = str(model.meta.exposure.type).upper()
    lamp = kind in ("NRS_AUTOWAVE", "NRS_LAMP") and model.meta.instrument.lamp_mode == "IFU"
    if kind in _IFU or lamp:
        image = datamodels.IFUImageModel(image)
    return image, cube


def cal_step_name(alias: str) -> str:
    """Return the attribute of ``meta.cal_step`` that records a step."""
    step = NATIVE.get(alias)
    return step.cal_step if step is not None and step.cal_step else alias


def set_status(alias: str, status: str, *models: Any) -> None:
    """Record what became of a step in models; None among them is passed over."""
    name = cal_step_name(alias)
    if name in _cal_steps():
        for model in models:
            if model is not None:
                setattr(model.meta.cal_step, name, status)


@cache
def _cal_steps() -> frozenset[str]:
    """Names that ``meta.cal_step`` may record."""
    from stdatamodels.jwst import datamodels

    schema = datamodels.JwstDataModel().schema
    found: set[str] = set()
    for part in schema.get("allOf", [schema]):
        meta = part.get("properties", {}).get("meta", {}).get("properties", {})
        found |= set(meta.get("cal_step", {}).get("properties", {}))
    return frozenset(found)


def record_reference(model: Any, reftype: str, name: str) -> None:
    """Record in a model (``R_*``) which reference was used: ``crds://`` and name, a path, or "N/A"."""
    if hasattr(model.meta.ref_file, reftype):
        getattr(model.meta.ref_file, reftype).name = name


def record_context(model: Any, context: str | None) -> None:
    """Record in a model the version of crds, and the context that references were selected with."""
    from crds import __version__ as crds_version

    model.meta.ref_file.crds.sw_version = crds_version
    if context is not None:
        model.meta.ref_file.crds.context_used = context


def stamp_version(model: Any) -> None:
    """Record in a model that calservice calibrated it."""
    model.meta.calibration_software_version = f"calservice {__version__}"
    model.meta.calibration_software_revision = "RELEASE"
