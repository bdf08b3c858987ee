"""Flag groups above the saturation threshold or at the floor of the A-to-D converter."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from calservice.disk import cut_image
from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, ReferenceNeed, References, Step
from calservice.steps.arrays import owned
from calservice.steps.stage1._refpix_irs2_layout import NORMAL, REFERENCE

__all__ = ["STEP", "SaturationParams", "irs2_science_rows", "unsupported_irs2"]

_UNREACHABLE = 65536.0
"""A threshold above the 16-bit A-to-D converter, for pixels that cannot be checked. DN."""


class SaturationParams(Params):
    """Parameters of ``saturation``."""

    n_pix_grow_sat: int = Field(1, description="number of layers adjacent pixels to flag")
    use_readpatt: bool = Field(True, description="Use grouped read pattern information to assist with flagging")


def _is_irs2(info: ExposureInfo) -> bool:
    return max(info.nrows, info.ncols) > 2048


def unsupported_irs2(info: ExposureInfo) -> str | None:
    """Return why the science rows of an exposure are not known here, None where they are, or all are science rows."""
    if not _is_irs2(info):
        return None
    if info.detector not in ("NRS1", "NRS2"):
        return f"images larger than 2048 pixels of detector {info.detector}"
    usual = info.irs2_pattern == (NORMAL, REFERENCE)
    return None if usual else f"IRS2 readout other than of {NORMAL} pixels and {REFERENCE} reference pixels"


def irs2_science_rows(nrows: int, detector: str) -> Array:
    """Return which rows of a NIRSpec IRS2 image hold science pixels.

    Parameters
    ----------
    nrows : int
        Rows of the image, interleaved reference pixels included (3200 for a full frame).
    detector : str
        ``NRS1`` or ``NRS2``; the latter is read from the other side.

    Returns
    -------
    ndarray of bool
        One element a row.

    Notes
    -----
    Source: "NIRSpec IRS2 Readout Mode" in the JWST User Documentation. The reference output comes
    first; then, in each of the four outputs, 4 reference pixels are read in the middle of every 16
    science pixels.
    """
    width = 512 + 512 // NORMAL * REFERENCE
    rows = np.arange(nrows)
    phase = (rows - width - NORMAL // 2) % (NORMAL + REFERENCE)
    science = (rows >= width) & ((rows < width + NORMAL // 2) | (phase >= REFERENCE))
    return science[::-1] if detector == "NRS2" else science


def _thresholds(
    references: References, rows: slice = slice(None), columns: slice = slice(None)
) -> tuple[Array, Array, Array]:
    """Return thresholds in DN, where there is none to check against, and flags for PIXELDQ."""
    from calservice.steps.stage1._saturation_kernels import settle_thresholds

    threshold, flags = (cut_image(references["saturation"][name], rows, columns) for name in ("data", "dq"))
    threshold, flags = owned(threshold, np.float32), owned(flags, np.uint32)
    unchecked = np.empty(threshold.shape, np.uint8)
    settle_thresholds(threshold, flags, unchecked, _UNREACHABLE)
    return threshold, unchecked, flags


def _bias(references: References, like: Array) -> Array:
    if "superbias" in references:
        return owned(references["superbias"]["data"], np.float32)
    return np.zeros_like(like)


def flag(block: Block, references: References, params: SaturationParams, info: ExposureInfo) -> dict[str, Array]:
    """Flag saturation and A/D floor in the groups of a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8,
        ``pixeldq`` (row, column) uint32 and, optionally, ``zeroframe`` (integration, row, column).
    references : mapping
        ``saturation`` with ``data`` (row, column) float32 in DN and ``dq`` uint32; optionally
        ``superbias`` with ``data``.
    params : SaturationParams
        Parameters.
    info : ExposureInfo
        ``nframes`` and the shape of the exposure are used.

    Returns
    -------
    dict
        ``groupdq``, ``pixeldq`` and, if given, ``zeroframe``.

    Notes
    -----
    Source: ``saturation`` in the JWST pipeline documentation (charge migration, group averaging, the
    second group, zero frame, IRS2).
    """
    if _is_irs2(info):
        return _flag_irs2(block, references, params, info)
    from calservice.steps.stage1 import _saturation_kernels as kernels

    threshold, unchecked, flags = _thresholds(references)
    grow = max(params.n_pix_grow_sat, 0)
    groupdq, data = block["groupdq"], block["data"]
    kernels.flag_saturated(data, groupdq, threshold, grow)
    if params.use_readpatt:
        if info.nframes > 1:
            kernels.flag_averaged(data, groupdq, threshold, unchecked, info.nframes, grow)
        if data.shape[1] > 2 and kernels.saturates_late(groupdq):
            bias = _bias(references, threshold)
            kernels.flag_second_group(data, groupdq, threshold, bias, info.nframes)
    made: dict[str, Array] = {"groupdq": groupdq, "pixeldq": block["pixeldq"] | flags}
    if "zeroframe" in block:
        zeroframe = owned(block["zeroframe"], np.float32)
        kernels.clear_saturated(zeroframe, threshold, grow)
        made["zeroframe"] = zeroframe
    return made


def _flag_irs2(block: Block, references: References, params: SaturationParams, info: ExposureInfo) -> dict[str, Array]:
    """Flag an IRS2 block: only its science rows are looked at, which are all that the reference has."""
    from calservice.steps.stage1 import _saturation_kernels as kernels

    start, stop = block.window.row
    science_rows = irs2_science_rows(info.nrows, info.detector)
    before, rows = int(science_rows[:start].sum()), science_rows[start:stop]
    threshold, _, flags = _thresholds(references, slice(before, before + int(rows.sum())), slice(*block.window.column))
    data = block["data"].compress(rows, axis=2)
    grow = max(params.n_pix_grow_sat, 0)
    science = np.zeros(data.shape, np.uint8)
    kernels.flag_saturated(data, science, threshold, grow)
    if params.use_readpatt and data.shape[1] > 2:
        bias = np.zeros_like(threshold)
        if "superbias" in references:
            bias = owned(np.asarray(references["superbias"]["data"])[rows], np.float32)
        kernels.flag_second_group_irs2(data, science, threshold, bias, info.nframes, grow)
    groupdq = block["groupdq"]
    groupdq[:, :, rows] |= science
    pixeldq = owned(block["pixeldq"], np.uint32)
    pixeldq[rows] |= flags
    return {"groupdq": groupdq, "pixeldq": pixeldq}


def _reach(params: SaturationParams, info: ExposureInfo) -> Reach:
    """Neighbours are flagged once, and once more where averaged groups are looked at again."""
    grow = max(params.n_pix_grow_sat, 0)
    if _is_irs2(info):
        crossed = (grow + NORMAL - 1) // NORMAL  # reference pixels, between science rows that are next to each other
        return Reach(frozenset(("group",)), {"row": grow + crossed * REFERENCE, "column": grow})
    halo = grow * (2 if params.use_readpatt and info.nframes > 1 else 1)
    return Reach(frozenset(("group",)), {"row": halo, "column": halo})


def _supports(params: SaturationParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else unsupported_irs2(info)


STEP = Step(
    alias="saturation",
    summary="Flag saturated groups and groups at the A/D floor",
    params=SaturationParams,
    kernel=flag,
    reads=("data", "groupdq", "pixeldq", "zeroframe"),
    writes=("groupdq", "pixeldq", "zeroframe"),
    spends=("groupdq",),
    references=(
        ReferenceNeed("saturation", ("data", "dq")),
        ReferenceNeed("superbias", ("data",), optional=True),
    ),
    reach=_reach,
    supports=_supports,
    cal_step="saturation",
    official="jwst.saturation.SaturationStep",
)
"""The step."""
