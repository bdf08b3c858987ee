"""Remove the electromagnetic interference from ramps of MIRI."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block
from calservice.model.errors import ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import OptionalProduct, Params, Reference, ReferenceNeed, References, Step
from calservice.steps.arrays import owned
from calservice.steps.stage1._emicorr_case import Interference, emi_arrays, tabled_case, user_case

__all__ = ["STEP", "EmiCorrParams"]

_PATTERNS = ("FAST", "FASTR1", "SLOW", "SLOWR1")
_FEWEST_GROUPS = 3
_ARRAYS = ("frequencies", "phase_amplitudes", "subarray_cases")


class EmiCorrParams(Params):
    """Parameters of ``emicorr``."""

    algorithm: Literal["sequential", "joint"] = Field("joint", description="EMI fitting algorithm")
    nints_to_phase: int | None = Field(None, description="Number of integrations to phase")
    nbins: int | None = Field(None, description="Number of bins in one phased wave")
    scale_reference: bool = Field(
        True, description="If True, the reference wavelength will be scaled to the data's phase amplitude"
    )
    onthefly_corr_freq: list[float] | None = Field(
        None, description="Frequencies to use for correction", json_schema_extra={"check": "float_list"}
    )
    use_n_cycles: int | None = Field(
        3, description="Use N cycles to calculate the phase, to use all integrations set to None"
    )
    fit_ints_separately: bool = Field(
        False, description="If True and algorithm is 'joint', each integration is separately fit."
    )
    user_supplied_reffile: str | None = Field(None, description="Deprecated; use 'override_emicorr' instead")
    save_intermediate_results: bool = Field(
        False, description="If True and a reference file is created on the fly, save it to disk"
    )
    skip: bool = Field(True, description="Skip the step")


def _reference(references: References) -> Reference | None:
    return references.get("user_supplied_reffile") or references.get("emicorr")


def _case(references: References, params: EmiCorrParams, info: ExposureInfo) -> Interference | None:
    """Return the clocks of the subarray and the waves to correct; None where there is nothing to correct."""
    reference = _reference(references)
    if params.onthefly_corr_freq is not None:
        return user_case(params.onthefly_corr_freq, info)
    return None if reference is None else tabled_case(reference, info)


def _not_applicable(references: References, params: EmiCorrParams, info: ExposureInfo) -> str | None:
    if info.instrument != "MIRI":
        return f"interference is not corrected for {info.instrument}"
    if info.readpatt not in _PATTERNS:
        return f"interference is not corrected for the read pattern {info.readpatt}"
    if info.ngroups < _FEWEST_GROUPS:
        return f"{info.ngroups} groups are too few to tell interference from signal"
    if _case(references, params, info) is None:
        return f"no interference is known for {info.subarray} read as {info.readpatt}"
    return None


def correct(block: Block, references: References, params: EmiCorrParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract one wave after the other from all integrations.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN and ``pixeldq`` (row, column) uint32; whole.
    references : mapping
        ``emicorr`` with the tables ``frequencies`` (Hz) and ``subarray_cases`` and the waves ``phase_amplitudes``;
        none for frequencies that the parameters give.
    params : EmiCorrParams
        Parameters.
    info : ExposureInfo
        Subarray, read pattern, detector, ``nsamples``, ``xsize`` and ``xstart`` are used.

    Returns
    -------
    dict
        ``data``, and with ``save_intermediate_results`` the waves found, one after the other, ``opt_emi_waves``.

    Notes
    -----
    Source: ``emicorr`` in the JWST pipeline documentation. Values are rounded to float32 where the official step
    rounds them.
    """
    case = _case(references, params, info)
    if case is None:
        raise ReferenceFileError("emicorr: nothing is known of the interference in this exposure")
    data = owned(block["data"], np.float32)
    if params.algorithm == "joint" and params.onthefly_corr_freq is None:
        from calservice.steps.stage1._emicorr_joint import subtract_wave

        for wave in case.waves:
            subtract_wave(data, block["pixeldq"], wave, case, info, params.fit_ints_separately)
        return {"data": data}
    from calservice.steps.stage1._emicorr_sequential import Phasing, subtract_waves

    phasing = Phasing(params.nints_to_phase, params.nbins, params.use_n_cycles, params.scale_reference)
    found = subtract_waves(data, case, info, phasing)
    return {"data": data} | ({"opt_emi_waves": np.concatenate(found)} if _keeps(params, info) else {})


def _keeps(params: EmiCorrParams, info: ExposureInfo) -> bool:
    return params.save_intermediate_results and params.onthefly_corr_freq is not None


def _kept(
    made: Mapping[str, Array], references: References, params: EmiCorrParams, info: ExposureInfo
) -> Mapping[str, Any]:
    """Return the tree of a reference of the waves found."""
    from calservice.steps.stage1._emicorr_sequential import bins

    case = _case(references, params, info)
    assert case is not None
    ends = np.cumsum([bins(wave, params.nbins) for wave in case.waves])
    waves = np.split(made["opt_emi_waves"], ends[:-1])
    names = [wave.name for wave in case.waves]
    pattern: Any = names if "FAST" in info.readpatt else {info.detector: names}
    return {
        "frequencies": {
            wave.name: {"frequency": wave.frequency, "phase_amplitudes": found}
            for wave, found in zip(case.waves, waves, strict=True)
        },
        "subarray_cases": {
            info.subarray: {
                "rowclocks": int(case.rowclocks),
                "frameclocks": int(case.frameclocks),
                "freqs": {info.readpatt: pattern},
            }
        },
    }


def _described(references: References, params: EmiCorrParams, info: ExposureInfo) -> Mapping[str, Any]:
    return {
        "meta.reftype": "emicorr",
        "meta.author": "JWST calibration pipeline",
        "meta.description": "EMI correction file",
        "meta.pedigree": "GROUND",
        "meta.useafter": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    }


def _needed(params: EmiCorrParams, info: ExposureInfo) -> bool:
    told = params.onthefly_corr_freq is not None or params.user_supplied_reffile is not None
    return info.instrument == "MIRI" and info.readpatt in _PATTERNS and not told


STEP = Step(
    alias="emicorr",
    summary="Remove electromagnetic interference",
    params=EmiCorrParams,
    kernel=correct,
    reads=("data", "pixeldq"),
    writes=("data", "opt_emi_waves"),
    references=(ReferenceNeed("emicorr", _ARRAYS, subarray=False, axes=9, needed=_needed, tree=emi_arrays),),
    parameter_references=(ReferenceNeed("user_supplied_reffile", _ARRAYS, subarray=False, axes=9, tree=emi_arrays),),
    not_applicable=_not_applicable,
    supports=lambda params, info: "superstripe exposures" if info.num_superstripe else None,
    products=(
        OptionalProduct(
            model=lambda info: "EmiModel",
            wanted=_keeps,
            arrays=_kept,
            suffix="emi_ref_waves",
            ext=".asdf",
            like="",
            metadata=_described,
        ),
    ),
    cal_step="emicorr",
    official="jwst.emicorr.EmiCorrStep",
)
"""The step."""
