"""The reference pixel correction of NIRSpec IRS2 frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array, Block
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.step import ExposureInfo, Reference, References
from calservice.steps.stage1._refpix_drifts import BORDER, average, clipped_mean
from calservice.steps.stage1._refpix_irs2_bad import MARKS, Sources, find_bad, sources
from calservice.steps.stage1._refpix_irs2_layout import (
    FRAME,
    LENGTH,
    OUTPUTS,
    REFERENCE,
    SAMPLES,
    SIZE,
    SLOTS,
    Layout,
    layout,
)
from calservice.steps.stage1._refpix_irs2_signals import Buffers, drift, filled, frame_lines

__all__ = ["correct_irs2", "has_factors", "prepare_irs2", "science_rows", "unsupported_irs2"]

_AMPLIFIERS = OUTPUTS - 1


_AXES = {"NRS1": (2, 1), "NRS2": (-2, -1)}
"""How the detectors lie in the file."""
_OTHER_PATTERNS = ("NRSN32R8", "NRSN8R2")


def unsupported_irs2(params: Any, info: ExposureInfo) -> str | None:
    """Return why an exposure cannot be corrected here, or None."""
    if info.detector not in _AXES or (info.nrows, info.ncols) != FRAME:
        return "IRS2 readout of other than 3200 x 2048 samples of NRS1 or NRS2"
    if info.readpatt in _OTHER_PATTERNS:
        return f"IRS2 readout with the pattern {info.readpatt}"
    if params.irs2_mean_subtraction and (info.fastaxis, info.slowaxis) != _AXES[info.detector]:
        return "unknown axes of the detector"
    return None


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
    from calservice.steps.stage1._refpix_irs2_inverse_kernels import arranged

    table = reference["irs2_table"]
    factors: dict[str, Array] = {
        kind: np.stack([arranged(np.asarray(table[f"{kind}_{n}"], np.float32)) for n in range(_AMPLIFIERS)])
        for kind in ("alpha", "beta")
    }
    if "dq_table" in reference:
        factors["dq_table"] = reference["dq_table"]
    return Reference(factors, reference.meta)


def correct_irs2(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Subtract from IRS2 frames what the interleaved reference pixels and the reference output tell.

    Parameters
    ----------
    block : Block
        A whole exposure: ``data`` (integration, group, row, column) float32 in DN, ``pixeldq`` (row, column) uint32.
    references : mapping
        ``refpix`` as `prepare_irs2` makes it.
    params : RefPixParams
        Parameters.
    info : ExposureInfo
        The detector.

    Returns
    -------
    dict
        ``data`` and ``pixeldq``, of science pixels only unless reference pixels are to be kept.

    Notes
    -----
    Source: ``refpix`` in the JWST pipeline documentation, and Rauscher et al. 2017 (PASP 129, 105003). Bad reference
    pixels are replaced. The mean of the ramp and a line through the borders are subtracted from each frame's samples
    in the order of their readout; in the reference output, gaps are filled by interpolation in the frequency domain.
    The drift of an output is, at each frequency, a weighted sum of its own reference pixels and the reference output.
    """
    where = layout(info.detector)
    data, flags = block["data"], np.array(block["pixeldq"], np.uint32)
    bad = find_bad(data, flags, params.ovr_corr_mitigation_ftr)
    flags[bad] |= MARKS
    if params.irs2_mean_subtraction:
        data = _without_means(data, flags, where, params)
    factors = references["refpix"]
    rows = sources(bad, factors.arrays.get("dq_table"), where.backwards)
    keep = np.ones(FRAME[0], np.bool_) if params.preserve_irs2_refpix else science_rows(info.detector)
    out = np.zeros((*data.shape[:2], int(keep.sum()), SIZE), np.float32)
    for frames, made in zip(data, out, strict=True):
        _correct_integration(frames, made, rows, factors, where, keep)
    return {"data": out, "pixeldq": np.ascontiguousarray(flags[keep])}


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


def _correct_integration(
    frames: Array, out: Array, rows: Sources, factors: Reference, where: Layout, keep: Array
) -> None:
    """Correct the groups of an integration.

    Parameters
    ----------
    frames : ndarray
        (group, row, column) float32.
    out : ndarray
        (group, kept row, column) float32; filled.
    rows : Sources
        Where rows come from.
    factors : Reference
        As `prepare_irs2` makes it.
    where : Layout
        Of the detector.
    keep : ndarray
        (row,) bool.
    """
    from calservice.steps.stage1 import _refpix_irs2_fft as fft
    from calservice.steps.stage1 import _refpix_irs2_kernels as kernels

    source = (rows.first, rows.second)
    mean = np.empty(FRAME)
    kernels.ramp_means(frames, *source, mean)
    lines = frame_lines(frames, mean, source, where)
    targets = np.cumsum(keep) - 1
    chosen = np.ones(SAMPLES, np.bool_) if keep.all() else ~where.reference
    plain = ~where.reference[chosen]
    buffers = Buffers()
    series, found = np.empty((2, SIZE, SLOTS), np.float32)
    for g, (frame, made) in enumerate(zip(frames, out, strict=True)):
        common = (frame, mean, *source)
        kernels.sampled(*common, where.rows[0], where.slots, where.slots, where.backwards, lines[0, g], series)
        output = filled(series, where, buffers)
        if keep.all():
            turn = slice(None, None, -1 if where.backwards else 1)
            made[where.rows[0]] = output[turn, where.slots].T + mean[where.rows[0]]
        fft.spectrum(output.reshape(-1), buffers.work, buffers.common)
        for n in range(_AMPLIFIERS):
            places, line = where.rows[n + 1], lines[n + 1, g]
            taken = where.slots[where.spread_from]
            kernels.sampled(*common, places[where.spread_from], taken, where.spread_to, where.backwards, line, series)
            drift(series, factors["alpha"][n], factors["beta"][n], buffers, found)
            kernels.corrected_rows(
                *common,
                places[chosen],
                where.slots[chosen],
                plain,
                targets[places[chosen]],
                where.backwards,
                line,
                found,
                np.float32(LENGTH),
                made,
            )
