"""Compiled means as NumPy takes them: pairwise, in the precision of the values, with the same rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined

__all__ = ["clipped"]

_LANES, _BLOCK = 8, 128
_DEEPEST = 64
"""Halvings of the longest array."""


@inlined
def _block_sum(values: Any, start: Any, stop: Any) -> Any:
    """Return the sum of up to `_BLOCK` values: of eight interleaved sums, and what is left over."""
    total = values.dtype.type(0)
    if stop - start < _LANES:
        for n in range(start, stop):
            total += values[n]
        return total
    s0, s1, s2, s3 = values[start], values[start + 1], values[start + 2], values[start + 3]
    s4, s5, s6, s7 = values[start + 4], values[start + 5], values[start + 6], values[start + 7]
    whole = stop - (stop - start) % _LANES
    for n in range(start + _LANES, whole, _LANES):
        s0 += values[n]
        s1 += values[n + 1]
        s2 += values[n + 2]
        s3 += values[n + 3]
        s4 += values[n + 4]
        s5 += values[n + 5]
        s6 += values[n + 6]
        s7 += values[n + 7]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for n in range(whole, stop):
        total += values[n]
    return total


@inlined
def _pairwise_sum(values: Any, size: Any, parts: Any, lefts: Any, depths: Any) -> Any:
    """Return the sum of the first values as `numpy.sum` does: of halves, down to blocks that are summed up in turn.

    A recursion by hand, since recursive functions do not survive the cache of machine code. ``parts`` has room for
    start, stop and depth of what is not summed up yet, the others for left halves whose right ones are not.
    """
    todo, waiting = 1, 0
    parts[0, 0], parts[0, 1], parts[0, 2] = 0, size, 0
    total = values.dtype.type(0)
    while todo:
        todo -= 1
        start, stop, depth = parts[todo, 0], parts[todo, 1], parts[todo, 2]
        if stop - start > _BLOCK:
            half = (stop - start) // 2
            half -= half % _LANES
            parts[todo, 0], parts[todo, 1], parts[todo, 2] = start + half, stop, depth + 1
            todo += 1
            parts[todo, 0], parts[todo, 1], parts[todo, 2] = start, start + half, depth + 1
            todo += 1
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
    parts, lefts, depths = (
        np.empty((_DEEPEST, 3), np.int64),
        np.empty(_DEEPEST, values.dtype),
        np.empty(_DEEPEST, np.int64),
    )
    while True:
        number = values.dtype.type(count)
        centre = _pairwise_sum(values, count, parts, lefts, depths) / number
        for n in range(count):
            offset = values[n] - centre
            squares[n] = offset * offset
        spread = np.sqrt(_pairwise_sum(squares, count, parts, lefts, depths) / number)
        low, high = centre - spread * limit, centre + spread * limit
        left = 0
        for n in range(count):
            if low <= values[n] <= high:
                values[left] = values[n]
                left += 1
        if left == 0:
            return values.dtype.type(np.nan), left  # of values that are no numbers
        if left == count:
            return centre, left
        count = left
