"""The reference pixel correction of NIRSpec IRS2 frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured

from calservice.model.block import Array, Block
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.info import ExposureInfo
from calservice.model.step import Reference, References
from calservice.steps.stage1._refpix_drifts import BORDER, average, clipped_mean
from calservice.steps.stage1._refpix_irs2_bad import MARKS, REPLACED_FROM, sources
from calservice.steps.stage1._refpix_irs2_layout import (
    FRAME,
    LENGTH,
    NORMAL,
    OUTPUTS,
    REFERENCE,
    SAMPLES,
    SIZE,
    Layout,
    layout,
)
from calservice.steps.stage1._refpix_irs2_signals import Buffers, fill_gaps, frame_lines
from calservice.steps.stage1._refpix_irs2_tally import bad_rows, look_at_pairs

__all__ = [
    "REPLACED_FROM",
    "average_groups",
    "correct_irs2",
    "correct_whole",
    "has_factors",
    "other_pattern",
    "prepare_irs2",
    "science_rows",
    "unsupported_irs2",
]

_AMPLIFIERS = OUTPUTS - 1
_TILES = 1024
"""Groups of factors that are read at a time."""

_AXES = {"NRS1": (2, 1), "NRS2": (-2, -1)}
"""How the detectors lie in the file."""


def unsupported_irs2(params: Any, info: ExposureInfo) -> str | None:
    """Return why an exposure cannot be corrected here, or None."""
    if info.detector not in _AXES or (info.nrows, info.ncols) != FRAME:
        return "IRS2 readout of other than 3200 x 2048 samples of NRS1 or NRS2"
    if params.irs2_mean_subtraction and (info.fastaxis, info.slowaxis) != _AXES[info.detector]:
        return "unknown axes of the detector"
    return None


def other_pattern(info: ExposureInfo) -> str | None:
    """Return what is wrong with IRS2 frames that are read in another pattern than all references are made for."""
    normal, reference = info.irs2_pattern
    if (normal, reference) == (NORMAL, REFERENCE):
        return None
    return (
        f"its header says NRS_NORM={normal}, NRS_REF={reference}, where refpix corrects IRS2 frames that are read with "
        f"{NORMAL} pixels between {REFERENCE} reference pixels, and no others. Correct it, or leave the exposure out"
    )


def has_factors(reference: Reference) -> bool:
    """Whether a reference has a factor for each frequency, real and imaginary parts in turn."""
    return "irs2_table" in reference and len(reference["irs2_table"]) == 2 * LENGTH


def science_rows(detector: str) -> Array:
    """Return which rows of the file are those of science pixels, (row,) bool."""
    where = layout(detector)
    made = np.zeros(FRAME[0], np.bool_)
    made[where.rows[1:, ~where.reference]] = True
    return made


def prepare_irs2(reference: Reference) -> Reference:
    """Return the reference as factors in the order of their use.

    Parameters
    ----------
    reference : Reference
        ``irs2_table`` with the columns ``alpha_0`` ... ``beta_3``, real and imaginary parts in turn, and perhaps
        ``dq_table``.

    Returns
    -------
    Reference
        ``alpha`` and ``beta``, (4, 2 LENGTH) float32, and ``dq_table`` if it is there.
    """
    from calservice.steps.stage1._refpix_irs2_inverse_kernels import TILE, arrange
    from calservice.steps.vectors import SPARE, aligned

    table, count = reference["irs2_table"], _TILES * TILE
    names = [f"{kind}_{n}" for kind in ("alpha", "beta") for n in range(_AMPLIFIERS)]
    made = aligned(np.empty(4 * _AMPLIFIERS * LENGTH + SPARE, np.float32))
    for first in range(0, LENGTH, count):
        rows = structured_to_unstructured(table[2 * first : 2 * (first + count)][names], np.float32)
        arrange(np.ascontiguousarray(rows).reshape(-1), first, made)
    alpha, beta = made.reshape(2, _AMPLIFIERS, -1)
    factors: dict[str, Array] = {"alpha": alpha, "beta": beta}
    if "dq_table" in reference:
        factors["dq_table"] = reference["dq_table"]
    return Reference(factors, reference.meta)


def average_groups(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Average IRS2 frames over the groups, with bad reference pixels replaced, and flag these.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, all groups of some rows, ``pixeldq`` (row, column)
        uint32, and the tally's ``irs2_bad_rows``, (row of the exposure,) bool.
    references : mapping
        ``refpix`` as `prepare_irs2` makes it.
    params : RefPixParams
        Not used.
    info : ExposureInfo
        The detector.

    Returns
    -------
    dict
        ``irs2_mean`` (integration, row, column) float64, ``irs2_bad`` (row,) bool, and ``pixeldq``. Of the
        `REPLACED_FROM` rows next to where a block begins or ends, bad ones have no mean.
    """
    start, stop = block.window.row
    found, bad = block["irs2_bad_rows"], block["irs2_bad_rows"][start:stop]
    rows = _sources(found, references, info)
    inside = [np.where((r < stop) & ((r >= start) | (r < 0)), r - start * (r >= 0), -1)[start:stop] for r in rows]
    data = np.ascontiguousarray(block["data"])
    flags = np.where(bad[:, None], block["pixeldq"] | MARKS, block["pixeldq"])
    return {"irs2_mean": _means(data, inside[0], inside[1]), "irs2_bad": bad, "pixeldq": flags}


def _sources(bad: Array, references: References, info: ExposureInfo) -> tuple[Array, Array]:
    """Return from which two rows each row comes, or -1."""
    found = sources(bad, references["refpix"].arrays.get("dq_table"), layout(info.detector).backwards)
    return found.first, found.second


def _means(data: Array, first: Array, second: Array) -> Array:
    from calservice.steps.stage1 import _refpix_irs2_kernels as kernels

    made = np.zeros((data.shape[0], *data.shape[2:]))
    for frames, mean in zip(data, made, strict=True):
        kernels.ramp_means(frames, first, second, mean)
    return made


def correct_irs2(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Subtract from IRS2 frames what the interleaved reference pixels and the reference output tell.

    Parameters
    ----------
    block : Block
        Whole frames: ``data`` (integration, group, row, column) float32 in DN, and ``irs2_mean`` and ``irs2_bad`` of
        `average_groups`.
    references : mapping
        ``refpix`` as `prepare_irs2` makes it.
    params : RefPixParams
        Parameters.
    info : ExposureInfo
        The detector.

    Returns
    -------
    dict
        ``data``, of science pixels only unless reference pixels are to be kept.

    Notes
    -----
    Source: ``refpix`` in the JWST pipeline documentation, and Rauscher et al. 2017 (PASP 129, 105003). Bad reference
    pixels are replaced. The mean of the ramp and a line through the borders are subtracted from each frame's samples
    in the order of their readout; in the reference output, gaps are filled by interpolation in the frequency domain.
    The drift of an output is, at each frequency, a weighted sum of its own reference pixels and the reference output.
    """
    data = block["data"]
    rows = _sources(block["irs2_bad"], references, info)
    keep = np.ones(FRAME[0], np.bool_) if params.preserve_irs2_refpix else science_rows(info.detector)
    out = np.zeros((*data.shape[:2], int(keep.sum()), SIZE), np.float32)
    for frames, mean, made in zip(data, block["irs2_mean"], out, strict=True):
        _correct_frames(frames, mean, made, rows, references["refpix"], layout(info.detector), keep)
    return {"data": out}


def correct_whole(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Do all that `average_groups` and `correct_irs2` do, with means of the outputs subtracted from each frame before.

    Parameters
    ----------
    block : Block
        A whole exposure: ``data`` and ``pixeldq``.
    references, params, info
        As for `correct_irs2`.

    Returns
    -------
    dict
        ``data`` and ``pixeldq``, of the rows that are kept.
    """
    bad = bad_rows([look_at_pairs(block, references, params, info)])
    marked = np.where(bad["irs2_bad_rows"][:, None], block["pixeldq"] | MARKS, block["pixeldq"])
    data = _without_means(block["data"], marked, layout(info.detector), params)
    block = block.updated({"data": data, "pixeldq": marked, **bad})
    block = block.updated(average_groups(block, references, params, info))
    keep = slice(None) if params.preserve_irs2_refpix else science_rows(info.detector)
    return correct_irs2(block, references, params, info) | {"pixeldq": marked[keep]}


def _without_means(data: Array, flags: Array, where: Layout, params: Any) -> Array:
    """Subtract from each output of each frame the mean of its upper and lower reference pixels."""
    made = data.copy()
    lines = [slice(0, BORDER), slice(SIZE - BORDER, SIZE)]
    column = np.arange(FRAME[0]).reshape(OUTPUTS, SAMPLES)
    kinds = np.where(where.reference, column % REFERENCE // 2, column % 2) if params.odd_even_columns else 0 * column
    for frame in made.reshape(-1, *FRAME):
        turned = frame[::-1, ::-1] if where.backwards else frame
        marks = flags[::-1, ::-1] if where.backwards else flags
        for output in range(OUTPUTS):
            part = slice(output * SAMPLES, (output + 1) * SAMPLES)
            parts = [np.flatnonzero(kinds[output] == kind) + part.start for kind in np.unique(kinds)]
            found = []
            for rows in parts:
                ends = [(turned[rows, line].T, (marks[rows, line].T & DO_NOT_USE) == 0) for line in lines]
                found.append(average(*(clipped_mean(values[good], params.siglimit) for values, good in ends)))
            if all(mean is not None for mean in found):
                for rows, mean in zip(parts, found, strict=True):
                    turned[rows] -= mean
    return made


def _correct_frames(
    frames: Array,
    mean: Array,
    out: Array,
    source: tuple[Array, Array],
    factors: Reference,
    where: Layout,
    keep: Array,
) -> None:
    """Correct groups of an integration.

    Parameters
    ----------
    frames : ndarray
        (group, row, column) float32.
    mean : ndarray
        (row, column) float64, of all groups.
    out : ndarray
        (group, kept row, column) float32; filled.
    source : tuple of ndarray
        (row,) int64: where rows come from.
    factors : Reference
        As `prepare_irs2` makes it.
    where : Layout
        Of the detector.
    keep : ndarray
        (row,) bool.
    """
    from calservice.steps.stage1 import _refpix_irs2_fft_kernels as fft
    from calservice.steps.stage1 import _refpix_irs2_kernels as kernels
    from calservice.steps.stage1._refpix_irs2_inverse_kernels import weighted_inverse
    from calservice.steps.stage1._refpix_irs2_pixels_kernels import pixel_spectrum

    lines = frame_lines(frames, mean, source, where)
    chosen = np.ones(SAMPLES, np.bool_) if keep.all() else ~where.reference
    slots, plain, targets = where.slots[chosen], ~where.reference[chosen], np.cumsum(keep) - 1
    buffers = Buffers()
    work, drift = buffers.work, buffers.series
    for g, (frame, made) in enumerate(zip(frames, out, strict=True)):
        common = (frame, mean, *source)
        kernels.sampled(*common, where.rows[0], where.slots, where.slots, where.backwards, lines[0, g], buffers.series)
        fill_gaps(where, buffers)
        if keep.all():
            turn = slice(None, None, -1 if where.backwards else 1)
            made[where.rows[0]] = buffers.filled[turn, where.slots].T + mean[where.rows[0]]
        fft.spectrum(buffers.filled.reshape(-1), work, buffers.common)
        for n, (alpha, beta) in enumerate(zip(factors["alpha"], factors["beta"], strict=True)):
            places, line = where.rows[n + 1], lines[n + 1, g]
            pixel_spectrum(frame, mean, source, places, line, where, buffers.rows, buffers.own)
            weighted_inverse(buffers.own, beta, buffers.common, alpha, work.values, drift.reshape(-1))
            samples = (places[chosen], slots, plain, targets[places[chosen]])
            kernels.corrected_rows(*common, *samples, where.backwards, line, drift, np.float32(LENGTH), made)
