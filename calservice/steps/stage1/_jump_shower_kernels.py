"""Compiled loops over whole images that look for showers. Values are float32 where those of the official step are."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._jump_pixel import clip_bounds, finite, median, median_between, within
from calservice.steps.stage1._jump_tiles import UNUSABLE, enclose

__all__ = [
    "HIDDEN",
    "clipped_differences",
    "first_good_group",
    "median_differences",
    "noise_ratios",
    "settle",
    "smooth",
]

_NAN = np.float32(np.nan)
HIDDEN = UNUSABLE
"""Flags that make a group useless where jumps were looked for."""
_MOST_LEFT_OUT = JUMP_DET | DO_NOT_USE
"""The flags that leave a group out are all numbers from 1 to this one."""
_FLAGGED = JUMP_DET | SATURATED | DO_NOT_USE
_LARGEST = float(np.finfo(np.float32).max)
_CLIPPED_AT = 5.0
"""Standard deviations at which differences of integrations are clipped, whatever the limits of jumps are."""


@compiled
def _load_line(data: Array, flags: Array, original: Array, gain: Array, hidden: int, out: Array) -> None:
    """Fill the electrons of a row of a group; NaN where it is left out, or had one of the ``hidden`` flags.

    A group is left out if it is flagged as a jump, as saturated or as not to be used, or as the last and
    one of the others, and as nothing else.
    """
    for x in range(out.size):
        lost = (0 < flags[x] <= _MOST_LEFT_OUT) | ((original[x] & hidden) != 0)
        out[x] = _NAN if lost else data[x] * gain[x]


@compiled
def median_differences(data: Array, flags: Array, original: Array, gain: Array, hidden: int, variance: Array) -> Array:
    """Return the median difference of consecutive groups of each pixel, in electrons.

    ``variance`` is that of reading, in electrons^2: from it and the mean follows where the median may be
    looked for. The few values there are sorted out; all are, where it turns out to be elsewhere.
    """
    nints, ngroups, nrows, ncols = data.shape
    differences = nints * (ngroups - 1)
    out, lines = np.empty((nrows, ncols), np.float32), np.empty((2, ncols), np.float32)
    rows, values = np.empty((differences, ncols), np.float32), np.empty(differences, np.float32)
    near, number = np.empty((ncols, differences), np.float32), np.empty(ncols, np.int64)
    state, counts = np.empty((4, ncols), np.float32), np.empty((4, ncols), np.int32)
    for y in range(nrows):
        n = 0
        for i in range(nints):
            for g in range(ngroups):
                now, before = lines[g % 2], lines[1 - g % 2]
                _load_line(data[i, g, y], flags[i, g, y], original[i, g, y], gain[y], hidden, now)
                if g > 0:
                    row = rows[n]
                    for x in range(ncols):
                        row[x] = now[x] - before[x]
                    n += 1
        enclose(rows, ncols, False, variance[y], state, counts)
        number[:] = 0
        for n in range(differences):
            row = rows[n]
            for x in range(ncols):
                near[x, number[x]] = row[x]
                number[x] += (state[2, x] <= row[x]) & (row[x] <= state[3, x])
        for x in range(ncols):
            total, below = counts[3, x], counts[0, x]
            if total > 0 and below <= (total - 1) // 2 and below + number[x] > total // 2:
                out[y, x] = median_between(near[x], number[x], below, total)
            else:
                out[y, x] = median(values, finite(rows[:, x], values))
    return out


@compiled
def _deviation(values: Array, low: float, high: float) -> Any:
    """Return the standard deviation of the values between two bounds as NumPy sums them, NaN of none."""
    total, square, count = np.float32(0), np.float32(0), 0
    for value in values:
        if low <= value <= high:
            total += value
            count += 1
    mean = np.float32(np.float64(total) / count)
    for value in values:
        if low <= value <= high:
            away = value - mean
            square += away * away
    return np.sqrt(np.float32(np.float64(square) / count))


@compiled
def clipped_differences(
    data: Array, flags: Array, original: Array, gain: Array, g: int, hidden: int
) -> tuple[Array, Array]:
    """Return what a group's difference from the one before typically is, by sigma clipping over the integrations.

    Parameters
    ----------
    data : ndarray of float32
        (integration, group, row, column) in DN.
    flags, original : ndarray of uint8
        Flags with jumps, and as they came.
    gain : ndarray of float32
        (row, column) in electrons/DN.
    g : int
        The group, not the first.
    hidden : int
        Flags of ``original`` that make a group useless.

    Returns
    -------
    middle, deviation : ndarray of float32
        (row, column) in electrons: median and standard deviation; NaN where no integration has a value.
    """
    nints, _, nrows, ncols = data.shape
    middle, deviation = np.empty((nrows, ncols), np.float32), np.empty((nrows, ncols), np.float32)
    lines, columns = np.empty((2, ncols), np.float32), np.empty((ncols, nints), np.float32)
    work = np.empty(nints)
    for y in range(nrows):
        for i in range(nints):
            for k in range(2):
                there = (i, g - 1 + k, y)
                _load_line(data[there], flags[there], original[there], gain[y], hidden, lines[k])
            for x in range(ncols):
                columns[x, i] = lines[1, x] - lines[0, x]
        for x in range(ncols):
            low, high = clip_bounds(work, within(columns[x], -_LARGEST, _LARGEST, work), _CLIPPED_AT)
            count = within(columns[x], low, high, work)
            middle[y, x], deviation[y, x] = median(work, count), _deviation(columns[x], low, high)
    return middle, deviation


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
    out, before = np.empty((nrows, ncols), np.float32), np.empty(ncols, np.float32)
    for y in range(nrows):
        ratio, middle, sigma = out[y], typical[0][y], typical[1][y]
        _load_line(data[g - 1, y], flags[g - 1, y], original[g - 1, y], gain[y], hidden, before)
        _load_line(data[g, y], flags[g, y], original[g, y], gain[y], hidden, ratio)
        for x in range(ncols):
            ratio[x] = abs((ratio[x] - before[x]) - middle[x]) / sigma[x]
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
