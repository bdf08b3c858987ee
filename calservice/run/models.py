"""Between datamodels and native steps: facts, arrays and references out of models; results and records into them.

Models are those of stdatamodels; the official package is not needed here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from calservice import __version__
from calservice.model.block import Array
from calservice.model.errors import InputError, ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, Reference, ReferenceNeed, Step
from calservice.model.stripes import STRIPE_ATTRIBUTES, Stripes
from calservice.references.load import load_reference, load_user_flags, load_user_mask, reference_of_model
from calservice.references.placement import Placement, covers_detector, fit_to_exposure
from calservice.run.chain import BoundStep
from calservice.run.results import is_fitted, of_integrations
from calservice.steps.registry import NATIVE
from calservice.steps.stage1.dq_init import GUIDER_EXP_TYPES

__all__ = [
    "Skip",
    "bind",
    "cal_step_name",
    "cal_steps",
    "check_exposure",
    "exposure_info",
    "facts_beyond_header",
    "ramp_class",
    "record_context",
    "record_reference",
    "set_off",
    "set_status",
    "source_arrays",
    "stamp_version",
    "status_told",
    "suits",
    "takes_rates",
]

log = logging.getLogger("calservice.models")

_RAMP_ARRAYS = ("data", "groupdq", "pixeldq", "dq", "zeroframe", "average_dark_current")
_FLAGS = ("groupdq", "pixeldq", "dq")
_NOT_APPLICABLE = "N/A"
_NEVER_SKIPPED = ("jump", "ramp_fit")
"""Steps that fail without their references, where others are skipped."""


def ramp_class(exp_type: str | None, stripes: int | None) -> Any:
    """Return the class of datamodel that an exposure of ramps is opened as.

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


def takes_rates(step: Step) -> bool:
    """Whether a step takes fitted images: that of an exposure, those of its integrations, or both."""
    return "slope" in step.reads


def suits(step: Step, model: Any) -> bool:
    """Whether the arrays of a model are of the kind that a step takes."""
    if takes_rates(step):
        return bool(model.hasattr("data") and model.hasattr("err") and model.data.ndim in (2, 3))
    return not is_fitted(model)


def exposure_info(model: Any) -> ExposureInfo:
    """Return the facts of an exposure that kernels compute with, from its open model."""
    exposure, where = model.meta.exposure, model.meta.subarray
    *leading, nrows, ncols = model.data.shape
    nints, ngroups = (*leading, 1, 1)[:2]
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
        fastaxis=int(where.fastaxis or 1),
        slowaxis=int(where.slowaxis or 2),
        noutputs=int(exposure.noutputs or 0),
        stripes=Stripes.told([getattr(where, name, None) for name in STRIPE_ATTRIBUTES], str(where.name or "")),
        xstart=int(where.xstart or 1),
        ystart=int(where.ystart or 1),
        integration_end=exposure.integration_end,
        exposure_nints=exposure.nints,
        frame_divisor=None if exposure.nframes is None else exposure.frame_divisor,
        start_time=float(exposure.start_time or 0.0),
        integration_time=float(exposure.integration_time or 0.0),
        nsamples=int(exposure.nsamples or 1),
        xsize=int(where.xsize or 0),
        irs2_pattern=(exposure.nrs_normal, exposure.nrs_reference),
        pupil_position=model.meta.instrument.pupil_position,
        **facts_beyond_header(model),
    )


def facts_beyond_header(model: Any) -> dict[str, Any]:
    """Return those facts of an open exposure that its header does not tell, or that steps change, by field."""
    exposure = model.meta.exposure  # asking for what it does not have would put it there
    reads = [np.atleast_1d(row) for row in (exposure.read_times if exposure.hasattr("read_times") else None) or ()]
    table = model.int_times if model.hasattr("int_times") else None
    return {
        "read_times": tuple(float(time) for row in reads for time in row),
        "read_counts": tuple(len(row) for row in reads),
        "integration_starts": () if table is None else tuple(float(day) for day in table["int_start_MJD_UTC"]),
        "gain_factor": model.meta.exposure.gain_factor,
    }


def check_exposure(model: Any, zeroframe: Array | None, info: ExposureInfo) -> None:
    """Demand that an exposure has what its header promises.

    Parameters
    ----------
    model : datamodel
        The exposure.
    zeroframe : ndarray, optional
        Its zero frames, if it has any.
    info : ExposureInfo
        Facts of its header.

    Raises
    ------
    InputError
        Where the name of the detector is none, or zero frames are missing or of another shape.
    """
    name = model.meta.filename
    if not model.meta.instrument.detector:
        raise InputError(f"{name}: its header names no detector that there is: DETECTOR={info.detector!r}. Correct it")
    if not model.meta.exposure.zero_frame or (zeroframe is None and info.instrument == "MIRI"):
        return  # nothing of MIRI is corrected by zero frames
    if zeroframe is None:
        raise InputError(
            f"{name}: its header promises zero frames (ZEROFRAM=T), but there is no extension ZEROFRAME. Fetch the "
            "file again, or set ZEROFRAM to F"
        )
    shape, due = zeroframe.shape, (info.nints, info.nrows, info.ncols)
    if shape != due:
        raise InputError(f"{name}: ZEROFRAME has the shape {shape}, where SCI has {due}. Fetch the file again")


def _placement(model: Any, info: ExposureInfo) -> Placement:
    where = model.meta.subarray
    values = (where.xstart, where.ystart, where.xsize, where.ysize)
    if any(value is None for value in values):
        raise InputError(
            f"{model.meta.filename}: its header does not say where on the detector its pixels lie; "
            "set SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2"
        )
    xstart, ystart, xsize, ysize = map(int, values)
    return Placement(xstart, ystart, xsize, ysize, info.stripes, info.slowaxis)


def source_arrays(model: Any, steps: Sequence[Step], integrations: Any = None) -> dict[str, Array]:
    """Return the arrays of a model that steps read, without copying.

    Parameters
    ----------
    model : datamodel
        A ramp, guide star data, or fitted images.
    steps : sequence of Step
        The steps, in order. Where the first of them that reads flags is ``dq_init``, flags of another
        shape than the data are left out, and so start as zeros.
    integrations : datamodel, optional
        The fitted images of the integrations, beside that of the exposure.

    Raises
    ------
    InputError
        Where flags have another shape than the data.
    """
    reads = {name for step in steps for name in step.reads}
    if any(step.drops_rows for step in steps):
        reads |= {*_RAMP_ARRAYS}
    if is_fitted(model):
        return _fitted_arrays(reads, *(m for m in (model, integrations) if m is not None))
    initialising = next((s.alias == "dq_init" for s in steps if {*s.reads} & {*_FLAGS}), False)
    found: dict[str, Array] = {}
    shape = model.data.shape
    for name in _RAMP_ARRAYS:
        if name == "zeroframe" and not model.meta.exposure.zero_frame:
            continue
        if name != "data" and not (name in reads and model.hasattr(name)):
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


def _fitted_arrays(reads: Collection[str], *fitted: Any) -> dict[str, Array]:
    """Return the arrays of fitted images that steps read; those of integrations begin with ``int_``."""
    found: dict[str, Array] = {}
    for model in fitted:
        prefix = "int_" if of_integrations(model) else ""
        for name in reads:
            kind = name.removeprefix("int_")
            attribute = "data" if kind == "slope" else kind
            if name == prefix + kind and model.hasattr(attribute):
                found[name] = getattr(model, attribute)
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
        The exposure.
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
    InputError
        Where the header of the exposure keeps the step from working.
    ReferenceFileError
        Where a reference is unreadable, does not fit, or cannot be done without.
    """
    located: dict[ReferenceNeed, Any] = {}
    missing: ReferenceNeed | None = None
    for need in step.references:
        if need.needed(params, info) and (missing is None or need.optional):
            place = locate(need)
            absent = place is None or (isinstance(place, str) and place == _NOT_APPLICABLE)
            if not absent:
                located[need] = place
            elif not need.optional:
                missing = need
    if missing is not None and step.alias in _NEVER_SKIPPED:
        raise ReferenceFileError(
            f"{step.alias}: it cannot do without a reference that is not applicable (N/A) in this context: "
            f"{missing.reftype}. Name a file with --steps.{step.alias}.override_{missing.reftype}=FILE."
        )
    if missing is not None:
        return Skip(f"No {missing.reftype.upper()} reference file found")
    whole = {need: _loaded(need, place) for need, place in located.items()}
    named = _named(step, params)
    reason = step.not_applicable({need.name: found for need, found in whole.items()} | named, params, info)
    if reason is not None and step.skipped_arrays is None:
        return Skip(reason)  # whether references fit does not matter then
    fault = None if reason is not None else step.fault(info)
    if fault is not None:
        raise InputError(f"{model.meta.filename}: {fault}")
    references = {need.name: _fitting(need, found, model, info) for need, found in whole.items()} | named
    if reason is not None and step.skipped_arrays is not None:
        return Skip(reason, step.skipped_arrays(references, params, info))
    return BoundStep(step, params, references)


def _named(step: Step, params: Params) -> dict[str, Reference]:
    """Load the files that parameters name."""
    found: dict[str, Reference] = {}
    for need in step.parameter_references:
        path = getattr(params, need.reftype)
        if path is None or (need.optional and not Path(path).exists()):
            continue
        if need.tree is not None:
            found[need.reftype] = load_reference(path, need)
            continue
        found[need.reftype] = load_user_flags(path) if "dq" in need.arrays else load_user_mask(path)
    return found


def _loaded(need: ReferenceNeed, place: Any) -> Reference:
    """Load a reference."""
    if not need.arrays and str(place).endswith(".asdf"):
        return Reference({}, {}, str(place))
    if isinstance(place, (str, Path)):
        return load_reference(place, need)
    return replace(reference_of_model(place, need), name=place.override_handle)


def _fitting(need: ReferenceNeed, whole: Reference, model: Any, info: ExposureInfo) -> Reference:
    """Cut a reference to an exposure."""
    if not whole.arrays or not covers_detector(whole, need):
        return whole
    shape, name = (info.nrows, info.ncols), whole.name
    try:
        return fit_to_exposure(whole, need, _placement(model, info), shape, name)
    except ReferenceFileError:
        if not need.averaged or need.averaged not in info.exp_type:
            raise
    log.info("%s: its mean is taken, since it does not cover the exposure", name)
    means = {array: np.full(shape, np.mean(values), np.float32) for array, values in whole.arrays.items()}
    return replace(whole, arrays=means)


def cal_step_name(alias: str) -> str:
    """Return the attribute of ``meta.cal_step`` that records a step."""
    step = NATIVE.get(alias)
    return step.cal_step if step is not None and step.cal_step else alias


def status_told(step: Step, metadata: Mapping[str, Any]) -> str:
    """Return what became of a step that ran: what it told itself, else COMPLETE."""
    return str(metadata.get(f"meta.cal_step.{step.cal_step}", "COMPLETE"))


def set_status(alias: str, status: str, *models: Any) -> None:
    """Record what became of a step in models; None among them is passed over."""
    name = cal_step_name(alias)
    if name in cal_steps():
        for model in models:
            if model is not None:
                setattr(model.meta.cal_step, name, status)


def set_off(alias: str, *models: Any) -> None:
    """Record in models that a step is off: by its alias, as stpipe does, so that dark_current leaves no S_DARK."""
    for model in models:
        setattr(model.meta.cal_step, alias, "SKIPPED")


@cache
def cal_steps() -> frozenset[str]:
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

    told = model.meta.ref_file.crds
    if told.sw_version != crds_version:  # each change is checked against the schema, which takes its time
        told.sw_version = crds_version
    if context is not None and told.context_used != context:
        told.context_used = context


def stamp_version(model: Any) -> None:
    """Record in a model that calservice calibrated it."""
    model.meta.calibration_software_version = f"calservice {__version__}"
    model.meta.calibration_software_revision = "RELEASE"
