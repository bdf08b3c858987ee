"""Compiled functions that look at the differences of one pixel: medians, and the three ways to find jumps.

Differences are those of consecutive groups in electrons, float32 values, in the order of integrations and groups;
NaN where a group is not usable. They are compared in float64, and rounded to float32 where the official step does.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined

__all__ = [
    "clip_bounds",
    "find_at_once",
    "find_one_by_one",
    "finite",
    "median",
    "median_between",
    "typical",
    "typical_ordered",
    "within",
]

_CLIPPINGS = 5
"""Most turns of sigma clipping, the default of `astropy.stats.sigma_clip`."""


@compiled
def _kth(values: Array, count: int, k: int) -> float:
    """Return the k-th smallest (from 0) of the first values, which are put in another order (Hoare's selection)."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[k]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return float(values[k])


@compiled
def median(values: Array, count: int) -> float:
    """Return the median of the first values, none of them NaN, whose order is changed; NaN of none."""
    return np.nan if count == 0 else median_between(values, count, 0, count)


@compiled
def median_between(values: Array, count: int, below: int, total: int) -> float:
    """Return the median of ``total`` values, of which the first ``count`` of these are all that are near it.

    So many of the others are ``below``. The order of the values is changed.
    """
    rank = total // 2 - below
    upper = _kth(values, count, rank)
    if total % 2:
        return upper
    lower = values[0]
    for k in range(1, rank):
        lower = max(lower, values[k])
    return float((lower + upper) / 2.0)


@compiled
def finite(values: Array, out: Array) -> int:
    """Copy the values that are not NaN; return how many there are."""
    count = 0
    for value in values:
        if not np.isnan(value):
            out[count] = value
            count += 1
    return count


@inlined
def within(values: Array, low: float, high: float, out: Array) -> int:
    """Copy the values from ``low`` to ``high``, both included; return how many there are. ``out`` may be ``values``."""
    count = 0
    for value in values:
        if low <= value <= high:
            out[count] = value
            count += 1
    return count


@inlined
def _ordered_median(ordered: Array, low: int, high: int) -> float:
    """Return the median of values in order, those from index ``low`` to ``high``; NaN of none."""
    count = high - low
    if count == 0:
        return np.nan
    upper = np.float64(ordered[low + count // 2])
    return float(upper if count % 2 else (np.float64(ordered[low + count // 2 - 1]) + upper) / 2.0)


@inlined
def _clipped_median(ordered: Array, low: int, high: int) -> float:
    """Return the median size of differences from index ``low`` to ``high`` as the one-by-one search takes it.

    Of four or more, those equal to the largest are left out; of two, it is the smaller one.
    """
    if high - low == 2:
        return float(ordered[low])
    if high - low > 3:
        largest = ordered[high - 1]
        while high > low and ordered[high - 1] == largest:
            high -= 1
    middle: float = _ordered_median(ordered, low, high)
    return middle


@inlined
def _distance(size: float, middle: float) -> float:
    return abs(np.float64(np.float32(np.float64(size) - middle)))


@inlined
def find_one_by_one(
    differences: Array,
    ordered: Array,
    total: int,
    noise2: float,
    nframes: float,
    limits: tuple[float, float, float],
    places: Array,
) -> int:
    """Find jumps from the largest on, each time without those found before.

    Those farthest from the median are always at the ends of what is left of the sizes in order.

    Parameters
    ----------
    differences : ndarray of float32
        Of one pixel, in electrons.
    ordered : ndarray of float32
        Begins with the sizes of those that are not NaN, from the smallest to the largest.
    total : int
        How many they are.
    noise2 : float
        Square of the read noise of the difference of two frames, in electrons^2.
    nframes : float
        Frames averaged in a group.
    limits : tuple of float
        In units of the expected noise, for four differences or more, three, and two.
    places : ndarray of int64
        As long as the differences; begins in the end with the numbers of those that are jumps.

    Returns
    -------
    int
        How many differences are jumps.
    """
    low, high = 0, total
    while high - low >= 2:
        middle = _clipped_median(ordered, low, high)
        if high - low < total:
            middle = np.float64(np.float32(middle))
        sigma = np.sqrt(abs(middle) + noise2 / nframes)
        limit = limits[0] if high - low >= 4 else limits[1] if high - low == 3 else limits[2]
        farthest = max(_distance(ordered[low], middle), _distance(ordered[high - 1], middle))
        if not (sigma > 0.0 and farthest / sigma > limit):
            break
        while high > low and _distance(ordered[high - 1], middle) == farthest:
            high -= 1
        while high > low and _distance(ordered[low], middle) == farthest:
            low += 1
    if high - low == total:
        return 0
    count = 0
    for n in range(differences.size):
        size = abs(differences[n])
        kept = high > low and ordered[low] <= size <= ordered[high - 1]
        places[count] = n
        count += not (kept or np.isnan(size))
    return count


@compiled
def typical(differences: Array, noise2: float, nframes: float, scratch: Array) -> tuple[float, float]:
    """Return the median of the differences of a pixel, and their expected noise; arguments as above."""
    middle = median(scratch, finite(differences, scratch))
    return middle, np.sqrt(abs(middle) + noise2 / nframes)


@inlined
def typical_ordered(ordered: Array, total: int, noise2: float, nframes: float) -> tuple[float, float]:
    """Return the same if the differences are in order."""
    middle = _ordered_median(ordered, 0, total)
    return middle, np.sqrt(abs(middle) + noise2 / nframes)


@inlined
def _least_above(limit: float, sigma: float) -> float:
    """Return the smallest number which, divided by ``sigma``, is more than ``limit``: there is no other rounding.

    Both are finite, ``sigma`` is more than 0 and ``limit`` not less.
    """
    least = limit * sigma
    while least > 0.0 and least / sigma > limit:
        least = np.nextafter(least, 0.0)
    while not least / sigma > limit:
        least = np.nextafter(least, np.inf)
    return least


@inlined
def find_at_once(differences: Array, middle: float, sigma: float, limit: float, places: Array) -> int:
    """Find all differences that are further from the median than ``limit`` times the expected noise, see above."""
    if not (sigma > 0.0 and limit < np.inf) or (limit >= 0.0 and sigma == np.inf):
        return 0
    least = _least_above(limit, sigma) if limit >= 0.0 else 0.0
    count = 0
    for n in range(differences.size):
        distance = abs(np.float64(differences[n]) - middle)
        places[count] = n
        count += bool(least <= distance) & bool(distance < np.inf)
    return count


@compiled
def clip_bounds(values: Array, count: int, limit: float) -> tuple[float, float]:
    """Return the bounds that sigma clipping about the median ends with; NaN where there is no value.

    Parameters
    ----------
    values : ndarray of float64
        The first ``count`` are finite; overwritten.
    count : int
        How many.
    limit : float
        In units of the standard deviation.
    """
    low = high = np.nan
    for _ in range(_CLIPPINGS):
        if count == 0:
            return low, high
        middle = median(values, count)
        mean = 0.0
        for n in range(count):
            mean += values[n]
        mean /= count
        square = 0.0
        for n in range(count):
            square += (values[n] - mean) * (values[n] - mean)
        deviation = np.sqrt(square / count)
        low, high = middle - limit * deviation, middle + limit * deviation
        kept = within(values[:count], low, high, values)
        if kept == count:
            return low, high
        count = kept
    return low, high
