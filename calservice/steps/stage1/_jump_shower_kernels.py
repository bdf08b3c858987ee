"""Compiled loops over whole images that look for showers. Values are float32 where those of the official step are."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._jump_pixel import median
from calservice.steps.stage1._jump_tiles import UNUSABLE

__all__ = ["HIDDEN", "first_good_group", "median_differences", "noise_ratios", "settle", "smooth"]

_NAN = np.float32(np.nan)
HIDDEN = UNUSABLE
"""Flags that make a group useless where jumps were looked for."""
_FLAGGED = JUMP_DET | SATURATED | DO_NOT_USE


@compiled
def _excluded(flag: int) -> bool:
    """Tell whether a group is left out: it is flagged as one of these, or two, and as nothing else."""
    return flag in (JUMP_DET, SATURATED, DO_NOT_USE, JUMP_DET | DO_NOT_USE, SATURATED | DO_NOT_USE)


@compiled
def _electrons(value: float, gain: float, flag: int, original: int, hidden: int) -> Any:
    """Return the electrons of a group; NaN where it is left out, or had one of the ``hidden`` flags."""
    return _NAN if original & hidden or _excluded(flag) else np.float32(value * gain)


@compiled
def median_differences(data: Array, flags: Array, original: Array, gain: Array, hidden: int) -> Array:
    """Return the median difference of consecutive groups of each pixel, in electrons."""
    nints, ngroups, nrows, ncols = data.shape
    out, values = np.empty((nrows, ncols), np.float32), np.empty((ncols, nints * (ngroups - 1)), np.float32)
    count, before, now = np.empty(ncols, np.int64), np.empty(ncols, np.float32), np.empty(ncols, np.float32)
    for y in range(nrows):
        count[:] = 0
        for i in range(nints):
            for g in range(ngroups):
                line, bits, earlier = data[i, g, y], flags[i, g, y], original[i, g, y]
                for x in range(ncols):
                    now[x] = _electrons(line[x], gain[y, x], bits[x], earlier[x], hidden)
                    difference = now[x] - before[x]
                    if g > 0 and not np.isnan(difference):
                        values[x, count[x]] = difference
                        count[x] += 1
                    before[x] = now[x]
        for x in range(ncols):
            out[y, x] = median(values[x], count[x])
    return out


@compiled
def first_good_group(flags: Array, edges: Array) -> int:
    """Return the first group of an integration with a pixel that can be used; 0 where there is none."""
    for g in range(flags.shape[0]):
        for y in range(flags.shape[1]):
            for x in range(flags.shape[2]):
                if not (flags[g, y, x] & DO_NOT_USE or edges[y, x]):
                    return g
    return 0


@compiled
def noise_ratios(
    data: Array, flags: Array, original: Array, gain: Array, g: int, hidden: int, typical: tuple[Array, Array]
) -> Array:
    """Return how far a group's differences are from their medians, in units of their noise (both: ``typical``)."""
    nrows, ncols = gain.shape
    middle, sigma = typical
    out = np.empty((nrows, ncols), np.float32)
    for y in range(nrows):
        for x in range(ncols):
            now = _electrons(data[g, y, x], gain[y, x], flags[g, y, x], original[g, y, x], hidden)
            before = _electrons(data[g - 1, y, x], gain[y, x], flags[g - 1, y, x], original[g - 1, y, x], hidden)
            out[y, x] = abs((now - before) - middle[y, x]) / sigma[y, x]
    return out


@compiled
def smooth(values: Array, kernel: Array, least: float) -> Array:
    """Average an image over a kernel, pixels without a value left out, and tell where it is above a limit.

    Parameters
    ----------
    values : ndarray of float32
        (row, column); not finite where there is no value. Outside of the image it is 0.
    kernel : ndarray of float64
        Weights; odd numbers of rows and columns, the same seen from opposite sides.
    least : float
        The limit.

    Returns
    -------
    ndarray of uint8
        1 where the average is larger. It has no value where the image has none.
    """
    nrows, ncols = values.shape
    height, width = kernel.shape
    ry, rx = height // 2, width // 2
    padded = np.zeros((nrows + 2 * ry, ncols + 2 * rx), np.float32)
    known = np.ones((nrows + 2 * ry, ncols + 2 * rx), np.float32)
    for y in range(nrows):
        for x in range(ncols):
            good = np.isfinite(values[y, x])
            padded[y + ry, x + rx] = values[y, x] if good else np.float32(0)
            known[y + ry, x + rx] = good
    out = np.zeros((nrows, ncols), np.uint8)
    total, weight = np.empty(ncols), np.empty(ncols)
    faint = 1e-3 * kernel.mean()
    for y in range(nrows):
        total[:] = 0
        weight[:] = 0
        for dy in range(height):
            line, there = padded[y + dy], known[y + dy]
            for dx in range(width):
                factor = kernel[dy, dx]
                if factor == 0:
                    continue
                near, nearly = line[dx : dx + ncols], there[dx : dx + ncols]
                for x in range(ncols):
                    total[x] += factor * near[x]
                    weight[x] += factor * nearly[x]
        for x in range(ncols):
            good = known[y + ry, x + rx] > 0 and weight[x] > faint
            out[y, x] = good and total[x] / weight[x] > least
    return out


@compiled
def _mean_difference(data: Array, original: Array, flags: Array, gain: float, hidden: int, y: int, x: int) -> Any:
    """Return the mean difference of consecutive groups of a pixel without flags, NaN where there is none."""
    total, count, before = np.float32(0), 0, _NAN
    for g in range(data.shape[0]):
        lost = flags[g, y, x] & _FLAGGED or original[g, y, x] & hidden
        now = _NAN if lost else np.float32(data[g, y, x] * gain)
        difference = np.float32(now - before)
        if not np.isnan(difference):
            total = np.float32(total + difference)
            count += 1
        before = now
    return np.float32(total / np.float64(count)) if count else _NAN


@compiled
def settle(data: Array, original: Array, before: Array, after: Array, gain: Array, hidden: int, largest: float) -> None:
    """Take back new flags of an integration wherever they change the rate of a pixel by too much, or leave none.

    Parameters
    ----------
    data : ndarray of float32
        (group, row, column) in DN.
    original, before, after : ndarray of uint8
        Flags as they came, with jumps, and with showers; the last is changed.
    gain : ndarray of float32
        (row, column) in electrons/DN.
    hidden : int
        Flags of ``original`` that make a group useless.
    largest : float
        Largest change, in electrons a group.
    """
    ngroups, nrows, ncols = data.shape
    changed = np.empty(ncols, np.uint8)
    for y in range(nrows):
        changed[:] = 0
        for g in range(ngroups):
            for x in range(ncols):
                changed[x] |= before[g, y, x] ^ after[g, y, x]
        for x in range(ncols):
            if not changed[x]:
                continue
            first = _mean_difference(data, original, before, gain[y, x], hidden, y, x)
            second = _mean_difference(data, original, after, gain[y, x], hidden, y, x)
            change = abs(np.float32(first - second))
            if not np.isfinite(change) or change > largest:
                for g in range(ngroups):
                    after[g, y, x] = before[g, y, x]
