"""Compiled means as NumPy takes them: pairwise, in the precision of the values, with the same rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["clipped", "pairwise_sum"]

_LANES, _BLOCK = 8, 128
_DEEPEST = 64
"""Halvings of the longest array."""


@compiled
def _block_sum(values: Array, start: int, stop: int) -> Any:
    """Return the sum of up to `_BLOCK` values: of eight interleaved sums, and what is left over."""
    count = stop - start
    total = values.dtype.type(0)
    if count < _LANES:
        for n in range(start, stop):
            total += values[n]
        return total
    sums = values[start : start + _LANES].copy()
    whole = start + count - count % _LANES
    for n in range(start + _LANES, whole, _LANES):
        for k in range(_LANES):
            sums[k] += values[n + k]
    total = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
    for n in range(whole, stop):
        total += values[n]
    return total


@compiled
def pairwise_sum(values: Array, size: int) -> Any:
    """Return the sum of the first values as `numpy.sum` does: of halves, down to blocks that are summed up in turn.

    Parameters
    ----------
    values : ndarray
        One-dimensional, contiguous, float32 or float64.
    size : int
        How many.

    Notes
    -----
    A recursion by hand, since recursive functions do not survive the cache of machine code.
    """
    parts, todo = np.empty((_DEEPEST, 3), np.int64), 1  # start, stop and depth of what is not summed up yet
    lefts, depths, waiting = np.empty(_DEEPEST, values.dtype), np.empty(_DEEPEST, np.int64), 0
    parts[0] = 0, size, 0
    total = values.dtype.type(0)
    while todo:
        todo -= 1
        start, stop, depth = parts[todo]
        if stop - start > _BLOCK:
            half = (stop - start) // 2
            half -= half % _LANES
            parts[todo] = start + half, stop, depth + 1
            parts[todo + 1] = start, start + half, depth + 1
            todo += 2
            continue
        total = _block_sum(values, start, stop)
        while waiting and depths[waiting - 1] == depth:  # it is a right half, whose left one is known
            waiting -= 1
            total = lefts[waiting] + total
            depth -= 1
        lefts[waiting], depths[waiting] = total, depth
        waiting += 1
    return total


@compiled
def clipped(values: Array, limit: float) -> tuple[Any, int]:
    """Return the mean without outliers, and how many values are left; the number that all are, or NaN, and 0.

    Parameters
    ----------
    values : ndarray
        One-dimensional, contiguous, float32 or float64, not empty.
    limit : number
        In standard deviations, in the type of the values.
    """
    count, others = values.size, 0
    for value in values:
        others += value != values[0]
    if others == 0:
        return values[0], 0
    values = values.copy()
    squares = np.empty_like(values)
    while True:
        kept = values[:count]
        number = values.dtype.type(count)
        centre = pairwise_sum(kept, count) / number
        for n in range(count):
            offset = kept[n] - centre
            squares[n] = offset * offset
        spread = np.sqrt(pairwise_sum(squares, count) / number)
        low, high = centre - spread * limit, centre + spread * limit
        left = 0
        for n in range(count):
            if low <= kept[n] <= high:
                values[left] = kept[n]
                left += 1
        if left == 0:
            return values.dtype.type(np.nan), left  # of values that are no numbers
        if left == count:
            return centre, left
        count = left
