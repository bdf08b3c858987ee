"""Compiled loops of flicker noise cleaning by medians, and what it shares with the cleaning in frequency space."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET
from calservice.steps.compiled import compiled
from calservice.steps.stage1._flicker_stats import SIGMAS, background_range

__all__ = [
    "add_cleaned",
    "clean_lines",
    "difference",
    "flat_of",
    "gather",
    "levels",
    "lines",
    "stripes_of",
    "subtracted",
]

_UNUSABLE = DO_NOT_USE | JUMP_DET
_TILE = 32
_NO_FLAT = (1, 1)


def flat_of(flat: Array | None) -> Array:
    """Return a flat field as the loops take it: an image, or one pixel of 1 where there is none."""
    return np.ones(_NO_FLAT, np.float32) if flat is None else flat


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
    divided = flat.shape[0] == image.shape[0] and flat.shape[1] == image.shape[1] and flat.size > 1
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
def levels(values: Array, n_sigma: float) -> tuple[np.float32, float, float]:
    """Return the median of the background, and the lowest and highest values that are noise around it.

    ``values`` are sorted, finite, float32, and are overwritten. The limits are of the values before the median is
    subtracted; nothing lies between them if no value is left.
    """
    start, stop = background_range(values, 0, values.size, SIGMAS, SIGMAS, True)
    half = (start + stop) // 2
    if stop <= start:
        return np.float32(np.nan), np.inf, -np.inf
    median = values[half] if (stop - start) % 2 else (values[half - 1] + values[half]) / np.float32(2)
    if n_sigma <= 0:
        return median, np.float64(values[start]), np.float64(values[stop - 1])
    rest = values[start:stop] - median
    first, end = background_range(rest, 0, rest.size, n_sigma, n_sigma, True)
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
def lines(image: Array, good: Array, low: float, high: float, background: Array, down: bool, made: Array) -> None:
    """Fill the lines along which noise is equal: the background-subtracted image where it is noise, elsewhere NaN.

    ``low`` and ``high`` limit values before ``background`` is subtracted. Lines are rows, or columns if ``down``;
    ``made`` has one of them in a row.
    """
    nrows, ncols = image.shape
    whole = background.size > 1
    for y0 in range(0, nrows, _TILE):
        for x0 in range(0, ncols, _TILE if down else ncols):
            for y in range(y0, min(y0 + _TILE, nrows)):
                for x in range(x0, min(x0 + _TILE, ncols) if down else ncols):
                    value = image[y, x]
                    wide = np.float64(value)
                    noise = good[y, x] and wide >= low and wide <= high
                    rest = value - background[y if whole else 0, x if whole else 0]
                    filled = rest if noise else np.float32(np.nan)
                    if down:
                        made[x, y] = filled
                    else:
                        made[y, x] = filled


@compiled
def stripes_of(ordered: Array) -> Array:
    """Return the medians of lines (line, value) float32 that are sorted, NaNs last; 0 for a line without a value."""
    nlines, length = ordered.shape
    made = np.zeros(nlines, np.float32)
    for n in range(nlines):
        low, high = 0, length
        while low < high:
            middle = (low + high) // 2
            if np.isnan(ordered[n, middle]):
                high = middle
            else:
                low = middle + 1
        if low % 2:
            made[n] = ordered[n, low // 2]
        elif low:
            made[n] = (ordered[n, low // 2 - 1] + ordered[n, low // 2]) / np.float32(2)
    return made


@compiled
def clean_lines(image: Array, background: Array, stripes: Array, down: bool, flat: Array) -> None:
    """Subtract stripes from an image in place, and undo the flat field; NaNs stay.

    ``stripes`` has (line, channel), of which the channels part the lines evenly.
    """
    nrows, ncols = image.shape
    length = (nrows if down else ncols) // stripes.shape[1]
    whole = background.size > 1
    divided = flat.shape[0] == nrows and flat.shape[1] == ncols and flat.size > 1
    for y in range(nrows):
        for x in range(ncols):
            level = background[y if whole else 0, x if whole else 0]
            stripe = stripes[x, y // length] if down else stripes[y, x // length]
            image[y, x] = ((image[y, x] - level) - stripe) + level
        if divided:
            for x in range(ncols):
                image[y, x] *= flat[y, x]


@compiled
def add_cleaned(before: Array, image: Array, out: Array) -> None:
    """Fill a group: the cleaned one before it, and the cleaned difference (row, column) of either precision."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = before[y, x] + image[y, x]
