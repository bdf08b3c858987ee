"""Compiled loops that take the signal out of ramps, sort pixels by the phase of a wave, and subtract a wave."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled
from calservice.steps.stage1._emicorr_kernels import OUTPUTS
from calservice.steps.stage1._ramp_fit_tiles import sort_columns

__all__ = ["binned", "residuals", "subtract_table"]

_SIGMAS = 3.0
_TURNS = 5


@compiled
def _middle(values: Array, n: int) -> Any:
    """Return the median of the values that are not NaN, of one or two the lower; float32."""
    known = np.sort(values[:n][~np.isnan(values[:n])])
    if known.size == 0:
        return np.float32(np.nan)
    if n <= 2:
        return known[0]
    half = known.size // 2
    return known[half] if known.size % 2 else np.float32((known[half - 1] + known[half]) / np.float32(2.0))


@compiled
def _flatten(data: Array, i: int, y: int, flat: Array) -> None:
    """Fill the ramps of a row without their slopes and their medians, float32: (group, column)."""
    ngroups, ncols = flat.shape
    n = ngroups - 2
    st, stt = 0.0, 0.0
    for g in range(n):
        st += g
        stt += g * g
    sy, sty = np.zeros(ncols), np.zeros(ncols)
    for g in range(n):
        for x in range(ncols):
            sty[x] += g * np.float64(data[i, g + 1, y, x])
            sy[x] += data[i, g + 1, y, x]
    below = n * stt - st * st
    for x in range(ncols):
        sty[x] = (n * sty[x] - st * sy[x]) / below
    for g in range(ngroups):
        for x in range(ncols):
            flat[g, x] = data[i, g, y, x] - sty[x] * g
    _subtract_medians(flat)


@compiled
def _subtract_medians(flat: Array) -> None:
    """Subtract the median of all groups but the first and last from each column, or the lower of one or two."""
    ngroups, ncols = flat.shape
    n, half, two = ngroups - 2, (ngroups - 2) // 2, np.float32(2.0)
    ordered, missing = flat[1 : ngroups - 1].copy(), np.zeros(ncols, np.uint8)
    for g in range(n):
        for x in range(ncols):
            missing[x] |= np.isnan(ordered[g, x])
    sort_columns(ordered, ncols)
    for x in range(ncols):
        middle = ordered[0, x] if n <= 2 else ordered[half, x]
        if n > 2 and n % 2 == 0:
            middle = (ordered[half - 1, x] + ordered[half, x]) / two
        if missing[x]:
            middle = _middle(flat[1 : ngroups - 1, x].copy(), n)
        for g in range(ngroups):
            flat[g, x] -= middle


@compiled
def residuals(data: Array) -> Array:
    """Return what is left of ramps without their slopes and medians, as the mean of the four outputs.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32. First and last group do not count for slope and median.

    Returns
    -------
    ndarray
        (integration, group, row, column / 4) float32. Two columns of reference pixels are bridged.
    """
    nints, ngroups, nrows, ncols = data.shape
    made = np.zeros((nints, ngroups, nrows, ncols // OUTPUTS), np.float32)
    flat, four, two = np.empty((ngroups, ncols), np.float32), np.float32(4.0), np.float32(2.0)
    for i in range(nints):
        for y in range(nrows):
            _flatten(data, i, y, flat)
            for g in range(ngroups):
                for k in range(made.shape[3]):
                    x = OUTPUTS * k
                    made[i, g, y, k] = (flat[g, x] + flat[g, x + 1] + flat[g, x + 2] + flat[g, x + 3]) / four
                bridge = np.float32(made[i, g, y, 0] + made[i, g, y, 3]) / two
                made[i, g, y, 1] = bridge
                made[i, g, y, 2] = np.float32(made[i, g, y, 0] + made[i, g, y, 3]) / two
    return made


@compiled
def _phase(start: float, time: float, period: float) -> float:
    """Return the phase of a wave at a time in clocks."""
    turns = (start + time) / period
    return turns - np.float64(np.int64(turns))


@compiled
def _bin(phase: float, edges: Array) -> int:
    """Return the bin of a phase, which lies above its lower edge and not above its upper one; -1 if there is none."""
    k = min(int(phase * (edges.size - 1)), edges.size - 2)
    while k >= 0 and phase <= edges[k]:
        k -= 1
    while k < edges.size - 2 and phase > edges[k + 1]:
        k += 1
    return k


@compiled
def _clipped_mean(values: Array) -> Any:
    """Return the mean of sorted finite values after repeated clipping at 3 standard deviations from the median."""
    low, high = 0, values.size
    for _ in range(_TURNS):
        n = high - low
        if n == 0:
            return np.nan
        middle = values[low + n // 2] if n % 2 else (values[low + n // 2 - 1] + values[low + n // 2]) / 2.0
        mean, spread = values[low:high].mean(), 0.0
        for k in range(low, high):
            spread += (values[k] - mean) * (values[k] - mean)
        reach = np.sqrt(spread / n) * _SIGMAS
        while low < high and values[low] < middle - reach:
            low += 1
        while low < high and values[high - 1] > middle + reach:
            high -= 1
        if high - low == n:
            break
    return values[low:high].mean()


@compiled
def binned(noise: Array, starts: Array, times: Array, period: float, edges: Array) -> Array:
    """Return the clipped means of pixels by their phase of a wave.

    Parameters
    ----------
    noise : ndarray
        (integration, group, row, column) float32.
    starts, times : ndarray
        In clocks: when groups begin, (integration, group), and when their pixels are read, (row, column).
    period : float
        Of the wave, in clocks.
    edges : ndarray
        Phases between which bins lie.

    Returns
    -------
    ndarray
        float64, NaN for bins without a value.
    """
    nints, ngroups, nrows, ncols = noise.shape
    counts = np.zeros(edges.size, np.int64)
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                for x in range(ncols):
                    k = _bin(_phase(starts[i, g], times[y, x], period), edges)
                    counts[k + 1] += k >= 0 and np.isfinite(noise[i, g, y, x])
    ends = np.cumsum(counts)
    values, filled = np.empty(ends[-1]), ends.copy()
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                for x in range(ncols):
                    k = _bin(_phase(starts[i, g], times[y, x], period), edges)
                    if k >= 0 and np.isfinite(noise[i, g, y, x]):
                        values[filled[k]] = noise[i, g, y, x]
                        filled[k] += 1
    made = np.empty(edges.size - 1)
    for k in range(made.size):
        made[k] = _clipped_mean(np.sort(values[ends[k] : ends[k + 1]]))
    return made


@compiled
def subtract_table(data: Array, starts: Array, times: Array, period: float, table: Array) -> None:
    """Subtract a wave that is given by clocks of its period from all outputs of all groups, in place."""
    nints, ngroups, nrows, _ = data.shape
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                for k in range(times.shape[1]):
                    value = table[int(_phase(starts[i, g], times[y, k], period) * period)]
                    for x in range(OUTPUTS * k, OUTPUTS * (k + 1)):
                        data[i, g, y, x] -= value
