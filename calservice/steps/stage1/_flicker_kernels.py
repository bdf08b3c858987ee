"""Compiled loops of flicker noise cleaning by medians, and what it shares with the cleaning in frequency space."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET
from calservice.steps.compiled import compiled
from calservice.steps.stage1._flicker_stats import SIGMAS, background_range

__all__ = [
    "add_cleaned",
    "difference",
    "finish",
    "flat_of",
    "gather",
    "levels",
    "lines",
    "medians",
    "subtracted",
]

_UNUSABLE = DO_NOT_USE | JUMP_DET
_TILE = 32


def flat_of(flat: Array | None) -> Array:
    """Return a flat field as the loops take it: an image, or one pixel of 1 where there is none."""
    return np.ones((1, 1), np.float32) if flat is None else flat


@compiled
def _has_flat(flat: Array, nrows: int, ncols: int) -> bool:
    return flat.shape[0] == nrows and flat.shape[1] == ncols and flat.size > 1


@compiled
def difference(
    before: Array, after: Array, flags: Array, mask: Array, flat: Array, image: Array, good: Array, values: Array
) -> tuple[int, int]:
    """Fill the difference of two groups, where it tells of the background, and its finite values there.

    Parameters
    ----------
    before, after : ndarray
        Groups (row, column) float32.
    flags : ndarray
        Flags of the second group, uint8: pixels that jump or may not be used are not background.
    mask : ndarray
        Where the scene is background (row, column) bool.
    flat : ndarray
        Flat field to divide by, float32; none if its shape is (1, 1).
    image, good : ndarray
        Filled: the difference float32, NaN where it is, and where it is background, bool.
    values : ndarray
        Filled from its beginning with the finite values of the background, float32.

    Returns
    -------
    finite, background : int
        How many values were filled, and how many pixels are background.
    """
    finite, background = 0, 0
    divided = _has_flat(flat, *image.shape)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            image[y, x] = after[y, x] - before[y, x]
        if divided:
            for x in range(image.shape[1]):
                image[y, x] /= flat[y, x]
        for x in range(image.shape[1]):
            value = image[y, x]
            usable = mask[y, x] and (flags[y, x] & _UNUSABLE) == 0 and not np.isnan(value)
            good[y, x] = usable
            values[finite] = value
            finite += usable and np.isfinite(value)
            background += usable
    return finite, background


@compiled
def gather(image: Array, good: Array, values: Array) -> int:
    """Fill the finite values of an image where it is background; return how many there are."""
    count = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            values[count] = value
            count += good[y, x] and np.isfinite(value)
    return count


@compiled
def levels(values: Array, n_sigma: float, rest: Array) -> tuple[np.float32, float, float]:
    """Return the median of the background, and the lowest and highest values that are noise around it.

    ``values`` are sorted, finite, float32; ``rest`` has room for as many. The limits are of the values before the
    median is subtracted; nothing lies between them if no value is left.
    """
    start, stop = background_range(values, 0, values.size, SIGMAS, SIGMAS, True)
    half = (start + stop) // 2
    if stop <= start:
        return np.float32(np.nan), np.inf, -np.inf
    median = values[half] if (stop - start) % 2 else (values[half - 1] + values[half]) / np.float32(2)
    if n_sigma <= 0:
        return median, np.float64(values[start]), np.float64(values[stop - 1])
    for k in range(start, stop):
        rest[k - start] = values[k] - median
    first, end = background_range(rest, 0, stop - start, n_sigma, n_sigma, True)
    if end <= first:
        return median, np.inf, -np.inf
    return median, np.float64(values[start + first]), np.float64(values[start + end - 1])


@compiled
def keep_between(image: Array, good: Array, low: float, high: float) -> None:
    """Take pixels below or above limits out of the background; NaN limits nothing."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = np.float64(image[y, x])
            good[y, x] = good[y, x] and not (value < low) and not (value > high)


@compiled
def subtracted(image: Array, background: Array) -> Array:
    """Return an image less its background, which is an image as well or one pixel for all; NaNs become 0."""
    made = np.empty(image.shape, np.float32)
    whole = background.size > 1
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            value = image[y, x]
            value = np.float32(0) if np.isnan(value) else value
            made[y, x] = value - background[y if whole else 0, x if whole else 0]
    return made


@compiled
def lines(
    image: Array, good: Array, low: float, high: float, background: Array, down: bool, parts: Array, counts: Array
) -> None:
    """Fill the lines along which noise is equal: the background-subtracted image where it is noise.

    Other pixels become infinite, by turns positive and negative in each part of a line, so that its median stays in the
    middle.

    Parameters
    ----------
    image, good : ndarray
        (row, column) float32, and where it is background, bool.
    low, high : float
        Limits of noise, before the background is subtracted.
    background : ndarray
        An image, or one pixel for all, float32.
    down : bool
        Whether lines are columns, not rows.
    parts : ndarray
        Filled (line, part, value) float32.
    counts : ndarray
        Filled (line, part): how many of the values are noise.
    """
    if down:
        _fill_columns(image, good, np.float32(low), np.float32(high), background, parts, counts)
    else:
        _fill_rows(image, good, np.float32(low), np.float32(high), background, parts, counts)


@compiled
def _fill_rows(
    image: Array, good: Array, low: np.float32, high: np.float32, background: Array, parts: Array, counts: Array
) -> None:
    whole = background.size > 1
    length = parts.shape[2]
    for y in range(image.shape[0]):
        for part in range(parts.shape[1]):
            fill, count = np.float32(np.inf), 0
            first = part * length
            for k in range(length):
                value = image[y, first + k]
                noise = good[y, first + k] and value >= low and value <= high
                rest = value - (background[y, first + k] if whole else background[0, 0])
                parts[y, part, k] = rest if noise else fill
                fill = fill if noise else -fill
                count += noise
            counts[y, part] = count


@compiled
def _fill_columns(
    image: Array, good: Array, low: np.float32, high: np.float32, background: Array, parts: Array, counts: Array
) -> None:
    whole = background.size > 1
    length = parts.shape[2]
    fill, count = np.empty(_TILE, np.float32), np.empty(_TILE, np.int64)
    for x0 in range(0, image.shape[1], _TILE):
        width = min(_TILE, image.shape[1] - x0)
        for part in range(parts.shape[1]):
            fill[:], count[:] = np.inf, 0
            for k in range(length):
                y = part * length + k
                for c in range(width):
                    value = image[y, x0 + c]
                    noise = good[y, x0 + c] and value >= low and value <= high
                    rest = value - (background[y, x0 + c] if whole else background[0, 0])
                    other = fill[c]
                    parts[x0 + c, part, k] = rest if noise else other
                    fill[c] = other if noise else -other
                    count[c] += noise
            for c in range(width):
                counts[x0 + c, part] = count[c]


@compiled
def medians(parts: Array, counts: Array) -> Array:
    """Return the medians of `lines` that were parted in the middle; 0 where there is no noise.

    A median between two values is rounded to single precision, as they are.
    """
    made = np.zeros(counts.shape, np.float32)
    length = parts.shape[2]
    half = (length - 1) // 2
    for n in range(counts.shape[0]):
        for part in range(counts.shape[1]):
            count = counts[n, part]
            value = parts[n, part, half]
            if count % 2:
                made[n, part] = value
            elif count:
                other = np.float32(-np.inf if length % 2 else np.inf)
                for k in range(half) if length % 2 else range(half + 1, length):
                    near = parts[n, part, k]
                    other = max(other, near) if length % 2 else min(other, near)
                made[n, part] = (value + other) / np.float32(2)
    return made


@compiled
def finish(before: Array, image: Array, background: Array, stripes: Array, down: bool, flat: Array, out: Array) -> None:
    """Fill a group: the cleaned one before it, and the difference less its stripes; NaNs stay.

    ``stripes`` has (line, part), of which the parts divide the lines evenly; the difference is that by ``flat``.
    """
    nrows, ncols = image.shape
    nparts = stripes.shape[1]
    length = (nrows if down else ncols) // nparts
    whole = background.size > 1
    divided = _has_flat(flat, nrows, ncols)
    for y in range(nrows):
        for part in range(1 if down else nparts):
            for x in range(part * length, (part + 1) * length) if not down else range(ncols):
                level = background[y if whole else 0, x if whole else 0]
                stripe = stripes[x, y // length] if down else stripes[y, part]
                value = ((image[y, x] - level) - stripe) + level
                if divided:
                    value *= flat[y, x]
                out[y, x] = before[y, x] + value


@compiled
def add_cleaned(before: Array, image: Array, out: Array) -> None:
    """Fill a group: the cleaned one before it, and the cleaned difference (row, column) of either precision."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = before[y, x] + image[y, x]
