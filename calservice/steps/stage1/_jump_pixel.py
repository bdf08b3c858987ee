"""Compiled functions that look at the differences of one pixel: medians, and the three ways to find jumps.

Differences are those of consecutive groups in electrons, float32 values, in the order of integrations and groups;
NaN where a group is not usable. They are compared in float64, and rounded to float32 where the official step does.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["clip_bounds", "find_at_once", "find_one_by_one", "finite", "median", "median_between", "typical"]

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


@compiled
def _clipped_median(sizes: Array, scratch: Array) -> tuple[float, int]:
    """Return the median size of differences as the one-by-one search takes it, and how many there are.

    Of four or more, those equal to the largest are left out; of two, it is the smaller one; of fewer,
    there is none.
    """
    count = finite(sizes, scratch)
    if count < 2:
        return np.nan, count
    if count == 2:
        return min(scratch[0], scratch[1]), count
    if count == 3:
        return median(scratch, count), count
    largest = scratch[0]
    for n in range(1, count):
        largest = max(largest, scratch[n])
    kept = 0
    for n in range(count):
        value = scratch[n]
        if value != largest:
            scratch[kept] = value
            kept += 1
    return median(scratch, kept), count


@compiled
def find_one_by_one(
    differences: Array,
    noise2: float,
    nframes: float,
    limits: tuple[float, float, float],
    sizes: Array,
    scratch: Array,
    jumps: Array,
) -> int:
    """Find jumps from the largest on, each time without those found before.

    Parameters
    ----------
    differences : ndarray of float64
        Of one pixel, in electrons.
    noise2 : float
        Square of the read noise of the difference of two frames, in electrons^2.
    nframes : float
        Frames averaged in a group.
    limits : tuple of float
        In units of the expected noise, for four differences or more, three, and two.
    sizes, scratch : ndarray of float64
        As long; overwritten.
    jumps : ndarray of uint8
        As long; set to 1 where there is a jump, else 0.

    Returns
    -------
    int
        How many differences are jumps.
    """
    for n in range(differences.size):
        sizes[n] = abs(differences[n])
        jumps[n] = 0
    found = 0
    while True:
        middle, count = _clipped_median(sizes, scratch)
        if found:
            middle = np.float64(np.float32(middle))
        sigma = np.sqrt(abs(middle) + noise2 / nframes)
        limit = limits[0] if count >= 4 else limits[1] if count == 3 else limits[2]
        if count < 2 or not sigma > 0.0:
            return found
        largest = -1.0
        for n in range(sizes.size):
            scratch[n] = abs(np.float64(np.float32(sizes[n] - middle))) / sigma
            largest = max(largest, scratch[n])
        if not largest > limit:
            return found
        for n in range(sizes.size):
            if scratch[n] == largest:
                jumps[n] = 1
                sizes[n] = np.nan
                found += 1


@compiled
def typical(differences: Array, noise2: float, nframes: float, scratch: Array) -> tuple[float, float]:
    """Return the median of the differences of a pixel, and their expected noise; arguments as above."""
    middle = median(scratch, finite(differences, scratch))
    return middle, np.sqrt(abs(middle) + noise2 / nframes)


@compiled
def find_at_once(differences: Array, middle: float, sigma: float, limit: float, jumps: Array) -> int:
    """Find all differences that are further from the median than ``limit`` times the expected noise."""
    found = 0
    for n in range(differences.size):
        value = differences[n]
        jump = sigma > 0.0 and abs(value - middle) / sigma > limit and np.isfinite(value)
        jumps[n] = jump
        found += jump
    return found


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
        kept = 0
        for n in range(count):
            if low <= values[n] <= high:
                values[kept] = values[n]
                kept += 1
        if kept == count:
            return low, high
        count = kept
    return low, high
