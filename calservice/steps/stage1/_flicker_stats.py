"""Level and spread of the background, found in values that are sorted once.

Sigma clipping keeps a range of the sorted values, so that every round costs two searches and the sums over that range.
Those are put together from sums of chunks.
"""

from __future__ import annotations

import math

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["ROUNDS", "SIGMAS", "background_range", "level", "median_of", "within"]

ROUNDS = 5
"""Most rounds of sigma clipping."""
SIGMAS = 3.0
"""Standard deviations beyond which sigma clipping takes values away."""
_CHUNK = 1024


@compiled
def _add(values: Array, shift: float, start: int, stop: int) -> tuple[float, float]:
    """Return the sums of values and of their squares, counted from ``shift``."""
    a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
    b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
    k = start
    while k + 4 <= stop:
        x0, x1 = np.float64(values[k]) - shift, np.float64(values[k + 1]) - shift
        x2, x3 = np.float64(values[k + 2]) - shift, np.float64(values[k + 3]) - shift
        a0, a1, a2, a3 = a0 + x0, a1 + x1, a2 + x2, a3 + x3
        b0, b1, b2, b3 = b0 + x0 * x0, b1 + x1 * x1, b2 + x2 * x2, b3 + x3 * x3
        k += 4
    while k < stop:
        x0 = np.float64(values[k]) - shift
        a0, b0 = a0 + x0, b0 + x0 * x0
        k += 1
    return (a0 + a1) + (a2 + a3), (b0 + b1) + (b2 + b3)


@compiled
def _chunks(values: Array, shift: float) -> Array:
    """Return the sums of `_add` of all whole chunks."""
    made = np.empty((values.size // _CHUNK, 2), np.float64)
    for n in range(made.shape[0]):
        made[n, 0], made[n, 1] = _add(values, shift, n * _CHUNK, (n + 1) * _CHUNK)
    return made


@compiled
def _sums(values: Array, chunks: Array, shift: float, start: int, stop: int) -> tuple[float, float]:
    """Return the sums of `_add` of a range."""
    first, last = (start + _CHUNK - 1) // _CHUNK, stop // _CHUNK
    if first >= last:
        return _add(values, shift, start, stop)
    total, squares = _add(values, shift, start, first * _CHUNK)
    for n in range(first, last):
        total += chunks[n, 0]
        squares += chunks[n, 1]
    more, again = _add(values, shift, last * _CHUNK, stop)
    return total + more, squares + again


@compiled
def median_of(values: Array, start: int, stop: int) -> float:
    """Return the median of a range of sorted values, in double precision; NaN where it is empty."""
    half = (start + stop) // 2
    if stop <= start:
        return np.nan
    if (stop - start) % 2:
        return np.float64(values[half])
    return (np.float64(values[half - 1]) + np.float64(values[half])) / 2.0


@compiled
def within(values: Array, start: int, stop: int, low: float, high: float) -> tuple[int, int]:
    """Return the range of sorted values that are neither below nor above limits; NaN limits nothing."""
    a, b = start, stop
    if not np.isnan(low):
        end = stop
        while a < end:
            middle = (a + end) // 2
            if np.float64(values[middle]) < low:
                a = middle + 1
            else:
                end = middle
    if not np.isnan(high):
        begin = a
        while begin < b:
            middle = (begin + b) // 2
            if np.float64(values[middle]) > high:
                b = middle
            else:
                begin = middle + 1
    return a, b


@compiled
def level(values: Array, start: int, stop: int, lower_half: bool) -> tuple[float, float]:
    """Return median and standard deviation of values after sigma clipping.

    Parameters
    ----------
    values : ndarray
        Sorted, finite, float32.
    start, stop : int
        Range of them to look at.
    lower_half : bool
        Whether the spread is that of the values up to the median only, and of their mirror images above it.

    Returns
    -------
    center, sigma : float
        NaN where there is no value.
    """
    if stop <= start:
        return np.nan, np.nan
    shift = median_of(values, start, stop)
    chunks = _chunks(values, shift)
    a, b = start, stop
    for _ in range(ROUNDS):
        center = median_of(values, a, b)
        total, squares = _sums(values, chunks, shift, a, b)
        sigma = math.sqrt(max(squares / (b - a) - (total / (b - a)) ** 2, 0.0))
        low, high = within(values, a, b, center - SIGMAS * sigma, center + SIGMAS * sigma)
        if low == a and high == b:
            break
        a, b = low, high
    center = median_of(values, a, b)
    total, squares = _sums(values, chunks, shift, a, b)
    sigma = math.sqrt(max(squares / (b - a) - (total / (b - a)) ** 2, 0.0))
    if not lower_half:
        return center, sigma
    a, b = within(values, start, stop, np.nan, center)
    a = start
    for turn in range(ROUNDS + 1):
        total, squares = _sums(values, chunks, shift, a, b)
        away = center - shift
        sigma = math.sqrt(max((squares - 2.0 * away * total) / (b - a) + away * away, 0.0))
        if turn == ROUNDS:
            break
        low, _high = within(values, a, b, center - SIGMAS * sigma, np.nan)
        if low == a:
            break
        a = low
    return center, sigma


@compiled
def background_range(
    values: Array, start: int, stop: int, lower: float, upper: float, lower_half: bool
) -> tuple[int, int]:
    """Return the range of sorted values that belong to the background.

    Parameters
    ----------
    values : ndarray
        Sorted, finite, float32.
    start, stop : int
        Range of them to look at.
    lower, upper : float
        How many standard deviations below and above the median they may lie.
    lower_half : bool
        As for `level`.

    Returns
    -------
    start, stop : int
        Their range.
    """
    center, sigma = level(values, start, stop, lower_half)
    return within(values, start, stop, center - lower * sigma, center + upper * sigma)
