"""Subtract what the reference pixels tell of the drifts of detector and electronics, frame by frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, Reference, ReferenceNeed, References, Step, Tally
from calservice.model.stripes import FULL
from calservice.steps.stage1._refpix_irs2 import (
    REPLACED_FROM,
    average_groups,
    correct_irs2,
    correct_whole,
    has_factors,
    other_pattern,
    prepare_irs2,
    science_rows,
    unsupported_irs2,
)
from calservice.steps.stage1._refpix_sirs import KERNEL_ARRAYS, convolution_kernels
from calservice.steps.stage1._refpix_tally import (
    MIRI_SHAPE,
    is_irs2,
    places,
    signals_of,
    take_reference_pixels,
    together,
)

__all__ = ["STEP", "RefPixParams"]


class RefPixParams(Params):
    """Parameters of ``refpix``."""

    odd_even_columns: bool = Field(True, description="Compute reference signal separately for even/odd columns")
    use_side_ref_pixels: bool = Field(True, description="Use side reference pixels for reference signal for each row")
    side_smoothing_length: int = Field(11, description="Median window smoothing height for side reference signal")
    side_gain: float = Field(
        1.0, description="Multiplicative factor for side reference signal before subtracting from rows"
    )
    odd_even_rows: bool = Field(True, description="Compute reference signal separately for even- and odd-numbered rows")
    ovr_corr_mitigation_ftr: float = Field(
        3.0, description="Factor to avoid overcorrection of bad reference pixels for IRS2"
    )
    preserve_irs2_refpix: bool = Field(False, description="Preserve reference pixels in output")
    irs2_mean_subtraction: bool = Field(False, description="Apply a mean offset subtraction before IRS2 correction")
    refpix_algorithm: Literal["median", "sirs"] = Field("median", description="NIR full-frame side pixel algorithm")
    sigreject: float = Field(4.0, description="Number of sigmas to reject as outliers")
    gaussmooth: float = Field(1.0, description="Width of Gaussian smoothing kernel to use as a low-pass filter")
    halfwidth: int = Field(30, description="Half-width of convolution kernel to build")
    siglimit: float = Field(3.0, description="Sigma clipping limit for outlier rejection")


def correct(block: Block, references: References, params: RefPixParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the signals of the reference pixels from a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN and, optionally, ``zeroframe`` (integration, row,
        column) float32; and what the tally found: for near-infrared detectors ``refpix_first`` and ``refpix_second``
        (integration, group, column or row) float64 in DN and ``refpix_single`` (integration, group), for MIRI
        ``refpix_signals`` (integration, group, 2, 4) float64 in DN. Of IRS2 frames see `average_groups`.
    references : mapping
        For IRS2 frames ``refpix``; of ``sirskernel`` the tally makes use.
    params : RefPixParams
        Parameters.
    info : ExposureInfo
        Instrument, place on the detector, axes, number of outputs.

    Returns
    -------
    dict
        ``data`` and, if given, ``zeroframe``; of IRS2 frames what `correct_irs2` goes on with.

    Notes
    -----
    Source: ``refpix`` in the JWST pipeline documentation. Near infrared, four outputs: clipped means of the upper
    and lower reference pixels of each output, for even and odd columns, then running medians of the side pixels. One
    output: clipped means of all reference pixels of even and of odd columns. Several stripes: these of each output, by
    running the official step. MIRI: clipped means of left and right
    pixels of each output, for even and odd rows, of the differences to the first group. IRS2: see `correct_irs2`.
    """
    if is_irs2(info):
        if params.irs2_mean_subtraction:
            return correct_whole(block, references, params, info)
        return average_groups(block, references, params, info)
    from calservice.steps.stage1 import _refpix_kernels as kernels

    window, data = block.window, block["data"]
    made = {"data": data}
    ints, groups = slice(*window.integration), slice(*window.group)
    if info.instrument == "MIRI":
        signals = np.ascontiguousarray(block["refpix_signals"][ints, groups])
        kernels.subtract_drifts_miri(data, signals, (window.row[0], window.column[0]))
        return made
    swapped = abs(info.fastaxis) != 1
    first, second = (window.row, window.column) if swapped else (window.column, window.row)
    given = [(data, "", groups)]
    if "zeroframe" in block:
        made["zeroframe"] = block["zeroframe"].copy()
        given.append((made["zeroframe"][:, None], "zero_", slice(0, 1)))
    for values, prefix, part in given:
        along = np.ascontiguousarray(block[f"refpix_{prefix}first"][ints, part, slice(*first)])
        across = np.ascontiguousarray(block[f"refpix_{prefix}second"][ints, part, ..., slice(*second)])
        single = np.ascontiguousarray(block[f"refpix_{prefix}single"][ints, part])
        if across.ndim == along.ndim:
            kernels.subtract_drifts(values, along, across, single, swapped)
        else:
            outputs = np.arange(FULL) // (FULL // across.shape[2])
            outputs = outputs[::-1] if info.fastaxis < 0 else outputs
            start = (info.ystart if swapped else info.xstart) - 1
            part_of = np.ascontiguousarray(outputs[start + first[0] : start + first[1]])
            kernels.subtract_drifts_of_outputs(values, along, across, part_of, single, swapped)
    if "zeroframe" in block:
        made["zeroframe"] = np.where(block["zeroframe"] == 0, np.float32(0), made["zeroframe"])
    return made


def _not_applicable(references: References, params: RefPixParams, info: ExposureInfo) -> str | None:
    if is_irs2(info):
        if "refpix" not in references:
            return "No REFPIX reference file found"
        return None if has_factors(references["refpix"]) else "the refpix reference is not one of IRS2 frames"
    if info.instrument == "MIRI":
        smaller = info.nrows < MIRI_SHAPE[0] or info.ncols < MIRI_SHAPE[1]
        return "MIRI subarrays are not corrected" if smaller else None
    if info.stripes is not None:
        return None
    inside = min(info.xstart, info.ystart) >= 1
    inside &= max(info.xstart + info.ncols, info.ystart + info.nrows) - 1 <= FULL
    return None if inside else "the subarray does not fit the detector"


def _fault(info: ExposureInfo) -> str | None:
    return other_pattern(info) if is_irs2(info) and not info.num_superstripe else None


def _supports(params: RefPixParams, info: ExposureInfo) -> str | None:
    if info.instrument == "MIRI":
        return None
    if is_irs2(info):
        return unsupported_irs2(params, info)
    if info.num_superstripe:
        return "superstripe exposures"
    if abs(info.fastaxis) not in (1, 2) or abs(info.slowaxis) not in (1, 2):
        return "unknown axes of the detector"
    return None


def _reach(params: RefPixParams, info: ExposureInfo) -> Reach:
    if is_irs2(info):
        return (
            Reach.everything() if params.irs2_mean_subtraction else Reach(frozenset(("group",)), {"row": REPLACED_FROM})
        )
    return Reach(frozenset(("group",))) if info.instrument == "MIRI" else Reach()


def _wants_sirs(params: RefPixParams, info: ExposureInfo) -> bool:
    near_infrared = info.instrument != "MIRI" and not is_irs2(info)
    return near_infrared and params.refpix_algorithm == "sirs" and "FULL" in info.subarray


def _needs_factors(params: RefPixParams, info: ExposureInfo) -> bool:
    return is_irs2(info)


def _prepare(references: References, params: RefPixParams, info: ExposureInfo) -> References:
    """Make kernels and complex factors of what references hold."""
    made = dict(references)
    if "refpix" in made:
        made["refpix"] = prepare_irs2(made["refpix"])
    if "sirskernel" in made:
        raw = made.pop("sirskernel")
        kernels = convolution_kernels(raw, info.detector, params.gaussmooth, params.halfwidth)
        if kernels is not None:
            made["sirskernel"] = Reference({"kernels": kernels}, raw.meta)
    return made


def _kept_rows(params: RefPixParams, info: ExposureInfo) -> Array | None:
    return science_rows(info.detector) if is_irs2(info) and not params.preserve_irs2_refpix else None


_IRS2 = Step(
    alias="refpix",
    summary="Subtract the drifts of IRS2 frames",
    params=RefPixParams,
    kernel=correct_irs2,
    reads=("data", "irs2_mean", "irs2_bad"),
    writes=("data",),
    reach=lambda params, info: Reach(frozenset(("row", "column"))),
)


def _then(params: RefPixParams, info: ExposureInfo) -> tuple[Step, ...]:
    """Return what follows where frames are averaged first."""
    return (_IRS2,) if is_irs2(info) and not params.irs2_mean_subtraction else ()


STEP = Step(
    alias="refpix",
    summary="Subtract the drifts that reference pixels tell",
    params=RefPixParams,
    kernel=correct,
    reads=("data", "pixeldq", "zeroframe"),
    writes=("data", "pixeldq", "zeroframe", "irs2_mean", "irs2_bad"),
    spends=("data",),
    references=(
        ReferenceNeed("refpix", ("irs2_table", "dq_table"), optional=True, needed=_needs_factors),
        ReferenceNeed("sirskernel", KERNEL_ARRAYS, optional=True, needed=_wants_sirs, axes=3),
    ),
    reach=_reach,
    tally=Tally(
        name="refpix",
        chunk=take_reference_pixels,
        combine=together,
        finalize=signals_of,
        reads=("data", "pixeldq", "zeroframe"),
        required=lambda params, info: not (is_irs2(info) and params.irs2_mean_subtraction),
        ahead=places,
    ),
    not_applicable=_not_applicable,
    supports=_supports,
    fault=_fault,
    then=_then,
    prepare=_prepare,
    kept_rows=_kept_rows,
    cal_step="refpix",
    official="jwst.refpix.RefPixStep",
)
"""The step."""
