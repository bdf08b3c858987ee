"""Compiled loops that fill a tile of ramps, count its flags, and find the median rate of each ramp.

A tile holds the ramps of up to `TILE` pixels of one row, (group, pixel), so that flags are counted and
medians are found for all of them at once in vector registers.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._ramp_fit_segments import INVALID, LASTING

__all__ = ["FOUND", "FULL", "GOOD", "LONE", "SPENT", "TILE", "add_medians", "load_flags", "load_ramps", "sort_columns"]

TILE = 64

# Rows of the counts of a tile.
GOOD, FULL, SPENT, FOUND, LONE = range(5)


@compiled
def load_flags(
    groupdq: Array,
    i: int,
    y: int,
    x0: int,
    width: int,
    groups: tuple[int, ...],
    suppress: bool,
    flags: Array,
    counts: Array,
) -> None:
    """Fill a tile's flags as they are to be used, and count them.

    Groups outside of the selected ones are not used. If asked for, a ramp with a single good group
    counts as one without any. After discarded groups, a jump in the first group is none.
    """
    first, used = groups[0], flags.shape[0]
    for c in range(width):
        counts[GOOD, c] = 0
    for g in range(groupdq.shape[1]):
        outside = np.uint8(DO_NOT_USE if g < groups[2] or g >= groups[3] else 0)
        for c in range(width):
            counts[GOOD, c] += ((groupdq[i, g, y, x0 + c] | outside) & LASTING) == 0
        if first <= g < first + used:
            for c in range(width):
                flags[g - first, c] = groupdq[i, g, y, x0 + c] | outside
    for c in range(width):
        if suppress and counts[GOOD, c] == 1:
            for g in range(used):
                flags[g, c] |= DO_NOT_USE
        if first > 0:
            flags[0, c] &= ~JUMP_DET & 0xFF
        for k in range(4):
            counts[k, c] = 0
    for g in range(used):
        for c in range(width):
            flag = np.int32(flags[g, c])
            counts[GOOD, c] += flag == 0
            counts[FULL, c] += (flag & SATURATED) != 0
            counts[SPENT, c] += (flag & INVALID) != 0
            counts[FOUND, c] |= flag


@compiled
def load_ramps(
    data: Array,
    i: int,
    y: int,
    x0: int,
    width: int,
    first: int,
    zeroframe: Array,
    suppress: bool,
    ramps: Array,
    flags: Array,
    counts: Array,
) -> None:
    """Fill a tile's ramps, NaN where saturated, and tell which of the times a lone group has.

    Unless lone groups are suppressed, a lone good first group has a time of its own (1), and a ramp
    without a good group starts from the zero frame (2), if there is one that is not 0.
    """
    used = ramps.shape[0]
    for g in range(used):
        for c in range(width):
            saturated = (flags[g, c] & SATURATED) != 0
            ramps[g, c] = np.nan if saturated else np.float64(data[i, first + g, y, x0 + c])
    for c in range(width):
        counts[LONE, c] = 0
        if suppress:
            continue
        if counts[GOOD, c] == 1 and flags[0, c] == 0:
            counts[LONE, c] = 1
        elif counts[GOOD, c] == 0 and zeroframe.size and zeroframe[i, y, x0 + c] != 0:
            counts[LONE, c] = 2
            ramps[0, c], flags[0, c] = zeroframe[i, y, x0 + c], 0
            counts[SPENT, c] -= 1
            if counts[FULL, c] == used:
                counts[FULL, c] -= 1


@compiled
def _steps(ramps: Array, flags: Array, width: int, steps: Array, valid: Array) -> None:
    """Fill the differences of consecutive groups, infinite where unusable, and count the others."""
    for c in range(width):
        valid[c] = 0
    for g in range(ramps.shape[0] - 1):
        for c in range(width):
            either = np.int32(flags[g, c] | flags[g + 1, c])
            jump = np.int32(flags[g + 1, c]) & JUMP_DET
            step = ramps[g + 1, c] - ramps[g, c]
            usable = ((either & DO_NOT_USE) | jump) == 0 and not np.isnan(step)
            steps[g, c] = step if usable else np.inf
            valid[c] += usable


@compiled
def sort_columns(values: Array, width: int) -> None:
    """Sort each pixel's values, in the order of comparisons of merge exchange (Knuth, TAOCP 3, 5.2.2, algorithm M)."""
    n = values.shape[0]
    top = 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for j in range(n - d):
                if j & p == r:
                    lower, upper = values[j], values[j + d]
                    for c in range(width):
                        a, b = lower[c], upper[c]
                        lower[c] = a if a < b else b
                        upper[c] = b if a < b else a
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


@compiled
def add_medians(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    times: Array,
    steps: Array,
    valid: Array,
    rates: Array,
) -> None:
    """Add the median rate of each ramp of a tile, in DN/s, to ``rates``; unknown ones count as 0."""
    n = ramps.shape[0]
    if n == 1:
        for c in range(width):
            rates[c] += ramps[0, c] / times[1]
        return
    _steps(ramps, flags, width, steps, valid)
    sort_columns(steps, width)
    for c in range(width):
        half = valid[c] // 2
        if counts[LONE, c]:
            rate = ramps[0, c] / times[counts[LONE, c]]
        elif valid[c] == 0:
            rate = np.nan if flags[0, c] & DO_NOT_USE else ramps[0, c] / times[0]
        elif valid[c] % 2:
            rate = steps[half, c] / times[0]
        else:
            rate = (steps[half, c] + steps[half - 1, c]) / 2.0 / times[0]
        if not np.isnan(rate):
            rates[c] += rate
