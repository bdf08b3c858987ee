"""Compiled loops that fill a tile of ramps, count its flags, and find the median rate of each ramp.

A tile holds the ramps of up to `TILE` pixels of one row, (group, pixel), so that flags are counted and
medians are found for all of them at once in vector registers.
"""

from __future__ import annotations

import functools

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._ramp_fit_segments import INVALID, LASTING
from calservice.steps.vectors import exchange

__all__ = [
    "FOUND",
    "FULL",
    "GOOD",
    "LONE",
    "SPENT",
    "TILE",
    "add_medians",
    "load_flags",
    "load_ramps",
    "median_network",
    "sort_columns",
]

TILE = 128

# Rows of the counts of a tile.
GOOD, FULL, SPENT, FOUND, LONE = range(5)

_NONE, _ONE, _UNKNOWN, _INFINITE = np.float32(0.0), np.float32(1.0), np.float32(np.nan), np.float32(np.inf)
_DO_NOT_USE, _DO_NOT_USE_OR_JUMP = np.uint8(DO_NOT_USE), np.uint8(DO_NOT_USE | JUMP_DET)


@inlined
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
    good, full, spent, found = counts[GOOD, :width], counts[FULL, :width], counts[SPENT, :width], counts[FOUND, :width]
    good[:] = 0
    for g in range(groupdq.shape[1] if suppress else 0):
        given = groupdq[i, g, y, x0 : x0 + width]
        outside = np.uint8(0 if groups[2] <= g < groups[3] else DO_NOT_USE)
        for c in range(width):
            good[c] += ((given[c] | outside) & LASTING) == 0
    for g in range(used):
        given, row = groupdq[i, first + g, y, x0 : x0 + width], flags[g, :width]
        outside = np.uint8(0 if groups[2] <= first + g < groups[3] else DO_NOT_USE)
        for c in range(width):
            row[c] = given[c] | outside | (DO_NOT_USE if good[c] == 1 else 0)
    if first > 0:
        for c in range(width):
            flags[0, c] &= ~JUMP_DET & 0xFF
    counts[:4] = 0
    for g in range(used):
        row = flags[g, :width]
        for c in range(width):
            good[c] += row[c] == 0
        for c in range(width):
            full[c] += (row[c] & SATURATED) != 0
        for c in range(width):
            spent[c] += (row[c] & INVALID) != 0
        for c in range(width):
            found[c] |= row[c]


@inlined
def load_ramps(
    data: Array,
    i: int,
    y: int,
    x0: int,
    place: int,
    width: int,
    first: int,
    zeroframe: Array,
    suppress: bool,
    ramps: Array,
    flags: Array,
    counts: Array,
) -> None:
    """Fill a tile's ramps, NaN where saturated, and tell which of the times a lone group has.

    In the zero frame the tile begins at ``place``. Unless lone groups are suppressed, a lone good first group has a
    time of its own (1), and a ramp without a good group starts from the zero frame (2), if there is one that is not 0.
    """
    used = ramps.shape[0]
    for g in range(used):
        given, bits, row = data[i, first + g, y, x0 : x0 + width], flags[g, :width], ramps[g, :width]
        for c in range(width):
            row[c] = _UNKNOWN if bits[c] & SATURATED else given[c]
    for c in range(width):
        counts[LONE, c] = 0
        if suppress:
            continue
        if counts[GOOD, c] == 1 and flags[0, c] == 0:
            counts[LONE, c] = 1
        elif counts[GOOD, c] == 0 and zeroframe.size and zeroframe[i, y, place + c] != 0:
            counts[LONE, c] = 2
            ramps[0, c], flags[0, c] = zeroframe[i, y, place + c], 0
            counts[SPENT, c] -= 1
            if counts[FULL, c] == used:
                counts[FULL, c] -= 1


@inlined
def _steps(ramps: Array, flags: Array, width: int, steps: Array, turns: Array, valid: Array) -> None:
    """Fill the differences of consecutive groups and count those that are usable.

    The others become infinite and minus infinite by turns, which leaves the median in the middle.
    """
    known, filler = turns[0], turns[1]
    for c in range(width):
        known[c], filler[c] = _NONE, _INFINITE
    for g in range(ramps.shape[0] - 1):
        earlier, later, step = ramps[g, :width], ramps[g + 1, :width], steps[g, :width]
        before, now = flags[g, :width], flags[g + 1, :width]
        for c in range(width):
            lost = (before[c] & _DO_NOT_USE) | (now[c] & _DO_NOT_USE_OR_JUMP)
            step[c] = _UNKNOWN if lost else later[c] - earlier[c]
        for c in range(width):
            value, turn = step[c], filler[c]
            lost = np.isnan(value)
            step[c] = turn if lost else value
            filler[c] = -turn if lost else turn
            known[c] += _NONE if lost else _ONE
    for c in range(width):
        valid[c] = np.uint16(known[c])


@compiled
def sort_columns(values: Array, width: int) -> None:
    """Sort each pixel's values, in the order of comparisons of merge exchange (Knuth, TAOCP 3, 5.2.2, algorithm M)."""
    n, row = values.shape
    flat = values.reshape(-1)
    top = 1
    while 2 * top < n:
        top *= 2
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            for first in range(r, n - d, 2 * p):
                for j in range(first, min(first + p, n - d)):
                    exchange(flat, j * row, (j + d) * row, width)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


@functools.lru_cache(maxsize=32)
def median_network(length: int) -> Array:
    """Return the comparisons, (comparison, 2), after which the two values about the middle are in their places.

    They are those of merge exchange (as in `sort_columns`) on which these places depend.
    """
    pairs: list[tuple[int, int]] = []
    p = top = 1 << max((length - 1).bit_length() - 1, 0)
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(j, j + d) for j in range(length - d) if j & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    needed, kept = {length // 2 - 1, length // 2}, []
    for pair in reversed(pairs):
        if needed.intersection(pair):
            needed.update(pair)
            kept.append(pair)
    return np.array(kept[::-1], np.int64).reshape(-1, 2)


@inlined
def add_medians(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    times: Array,
    network: Array,
    steps: Array,
    turns: Array,
    valid: Array,
    rates: Array,
) -> None:
    """Add the median rate of each ramp of a tile, in DN/s, to ``rates``; unknown ones count as 0."""
    n = ramps.shape[0]
    if n == 1:
        for c in range(width):
            rates[c] += ramps[0, c] / times[1]
        return
    _steps(ramps, flags, width, steps, turns, valid)
    flat, row = steps.reshape(-1), steps.shape[1]
    for k in range(network.shape[0]):
        exchange(flat, network[k, 0] * row, network[k, 1] * row, width)
    half = (n - 1) // 2
    low, high = steps[max(half - 1, 0)], steps[half]
    middle = high if n % 2 == 0 else low
    group, first, frame = 1.0 / times[0], 1.0 / times[1], 1.0 / times[2]
    for c in range(width):
        lone, known = counts[LONE, c], valid[c]
        value = np.float64(middle[c]) if known % 2 else (np.float64(high[c]) + np.float64(low[c])) / 2.0
        value = np.float64(ramps[0, c]) if lone or known == 0 else value
        value *= group if lone == 0 else (first if lone == 1 else frame)
        lost = known == 0 and lone == 0 and (flags[0, c] & _DO_NOT_USE) != 0
        rates[c] += 0.0 if lost or np.isnan(value) else value
