"""Signals in time and frequency: how IRS2 reference pixels are turned to the drift of an output."""

from __future__ import annotations

from functools import cache

import numpy as np

from calservice.model.block import Array
from calservice.steps.stage1._refpix_drifts import BORDER
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, LINES, NORMAL, REFERENCE, SIZE, SLOTS, Layout

__all__ = ["Buffers", "fill_gaps", "frame_lines"]

_ENDS = np.concatenate([np.arange(BORDER), np.arange(SIZE - BORDER, SIZE)])
_ITERATIONS = 3
_NEIGHBOURS = 15
"""Samples on each side that gaps are first filled from."""
_PERIOD = NORMAL + REFERENCE + 2
_ROLL_OFF = 110_000 // _PERIOD
"""Width of the edge of the filter, in frequencies."""


def frame_lines(frames: Array, mean: Array, source: tuple[Array, Array], where: Layout) -> Array:
    """Fit a line through the first and last rows of each output's frames.

    Parameters
    ----------
    frames : ndarray
        (group, row, column) float32.
    mean : ndarray
        (row, column) float64, of all groups: is subtracted first.
    source : tuple of ndarray
        (row,) int64: where rows come from.
    where : Layout
        Of the detector.

    Returns
    -------
    ndarray
        (output, group, 2) float32: value in the middle of the frame, and slope a sample.
    """
    from calservice.steps.stage1 import _refpix_irs2_kernels as kernels

    outputs, ngroups = len(where.rows), len(frames)
    columns = SIZE - 1 - _ENDS if where.backwards else _ENDS
    edges = np.zeros((outputs, ngroups, _ENDS.size, SLOTS), np.float32)
    kernels.row_edges(frames, mean, *source, where.rows, where.slots, columns, edges)
    times = ((_ENDS[:, None] * SLOTS + np.arange(SLOTS)) - (LENGTH - 1) / 2).astype(np.float32)
    made = np.zeros((outputs, ngroups, 2), np.float32)
    for output in range(outputs):
        for g in range(ngroups):
            values = edges[output, g]
            seen = values != 0
            if seen.any():
                made[output, g] = _line(times[seen], values[seen])
    return made


def _line(times: Array, values: Array) -> tuple[np.floating, np.floating]:
    """Return value at time 0 and slope of the line through points, in their precision."""
    number = float(times.size)
    time, value = times.mean(), values.mean()
    products, squares = (times * values).sum(), (times**2).sum()
    slope = (products - number * time * value) / (squares - number * time**2)
    return value - slope * time, slope


@cache
def _weights() -> Array:
    """Weights of neighbours: half a sine."""
    step = np.arange(1, 2 * _NEIGHBOURS + 2, dtype=np.float32) / (2.0 * _NEIGHBOURS + 2)
    made: Array = np.sin(step * np.pi)
    return made


@cache
def _band() -> Array:
    """Return what passes of each frequency, (LENGTH // 2 + 1,): the lowest and the highest, with a cosine as edge."""
    passed = SLOTS // _PERIOD * SIZE // 2 - _ROLL_OFF // 2
    edge = (np.cos(np.arange(_ROLL_OFF) * np.pi / _ROLL_OFF) + 1) / 2
    made = np.zeros(LENGTH // 2 + 1)
    made[:passed] = 1
    made[passed : passed + _ROLL_OFF] = edge
    made[LENGTH // 2 - passed - _ROLL_OFF : LENGTH // 2 - passed] = edge[::-1]
    made[LENGTH // 2 - passed :] = 1
    return made


_EDGE = SLOTS // _PERIOD * SIZE // 2 + _ROLL_OFF // 2 + 1
"""Frequencies next to zero, and next to the highest one, outside of which nothing passes."""


class Buffers:
    """Memory for the spectra of one time series after the other.

    Attributes
    ----------
    own, common : ndarray
        (2, LINES * LINE) float32: real and imaginary parts of a spectrum.
    work : Work
        For transforms.
    filled : ndarray
        (SIZE, SLOTS) float32: the reference output without gaps.
    series : ndarray
        (SIZE, SLOTS) float32: the reference output as it was read, or what was transformed to time; in the memory of
        ``work.parts``.
    rows : RowWork
        For spectra along rows; in the same memory.
    """

    def __init__(self) -> None:
        from calservice.steps.stage1._refpix_irs2_fft_kernels import Work
        from calservice.steps.stage1._refpix_irs2_rows_kernels import RowWork
        from calservice.steps.vectors import SPARE, aligned

        spectra = (aligned(np.zeros(2 * LINES * LINE + SPARE, np.float32)).reshape(2, -1) for _ in range(2))
        self.own, self.common = spectra
        self.work = Work()
        self.filled = aligned(np.empty(LENGTH + SPARE, np.float32)).reshape(SIZE, SLOTS)
        self.series = self.work.parts.reshape(-1)[: LENGTH // 2].view(np.float32).reshape(SIZE, SLOTS)
        self.rows = RowWork(self.work.parts)


def fill_gaps(where: Layout, buffers: Buffers) -> None:
    """Fill what is missing in the time series of the reference output.

    Parameters
    ----------
    where : Layout
        Of the detector.
    buffers : Buffers
        Of which ``series`` is zero where nothing was read. Fills ``filled``: zeros are bridged from their neighbours;
        then all that is no normal sample is taken from the series itself without its middle frequencies, three times
        over. Overwrites all others.
    """
    from calservice.steps.stage1 import _refpix_irs2_fft_kernels as fft
    from calservice.steps.stage1 import _refpix_irs2_kernels as kernels
    from calservice.steps.stage1._refpix_irs2_inverse_kernels import real_inverse

    made, passed = buffers.filled, buffers.series
    kernels.bridge_gaps(buffers.series.reshape(-1), _weights(), made.reshape(-1))
    gaps = np.ones(SLOTS, np.bool_)
    gaps[where.slots[~where.reference]] = False
    buffers.own[:] = 0  # frequencies that do not pass
    for _ in range(_ITERATIONS):
        fft.band_spectrum(made.reshape(-1), _band(), _EDGE, buffers.work, buffers.own)
        real_inverse(buffers.own, _EDGE, buffers.work.values, passed.reshape(-1))
        kernels.fill(passed, gaps, made)
