"""Compiled loops over tiles of differences: filling them, and telling which pixels cannot have a jump.

A tile holds the differences of consecutive groups of up to `TILE` pixels of one row, (difference, pixel), float32 in
electrons. Few pixels have jumps. For the others it is enough to know the median roughly: it is enclosed by counting
in vector registers, and wherever it lies in between, no difference is far enough from it.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled, larger, smaller
from calservice.steps.stage1._ramp_fit_tiles import sort_columns

__all__ = ["TILE", "UNUSABLE", "enclose", "load_tile", "order", "pick", "screen", "screen_clipping"]

TILE = 512
UNUSABLE = DO_NOT_USE | SATURATED
_NAN = np.float32(np.nan)
_INFINITE = np.float32(np.inf)
_ZERO = np.float32(0)
_VECTORS = 16
"""Pixels that are compared by a few vector instructions, without some that remain."""
_SAFE = 0.9999
"""Leaves room for float32 rounding: what is closer to a limit than this is looked at exactly."""
_CANCELLED = 1e-9
"""Variances smaller than this part of the mean square are not known well enough from sums."""


@compiled
def load_tile(
    data: Array, flags: Array, gain: Array, y: int, x0: int, width: int, tile: Array, found: Array, before: Array
) -> None:
    """Fill a tile with differences, NaN where a group is not usable, and collect the flags of each pixel."""
    nints, ngroups = data.shape[:2]
    scale, all_flags = gain[y, x0 : x0 + width], found[:width]  # slices: LLVM then knows that indices are not negative
    all_flags[:] = 0
    n = 0
    for i in range(nints):
        for g in range(ngroups):
            values, bits = data[i, g, y, x0 : x0 + width], flags[i, g, y, x0 : x0 + width]
            now, earlier = before[g % 2], before[1 - g % 2]
            for c in range(width):
                value = values[c] * scale[c]
                now[c] = _NAN if bits[c] & UNUSABLE else value
            for c in range(width):
                all_flags[c] |= bits[c]
            if g > 0:
                row = tile[n]
                for c in range(width):
                    row[c] = now[c] - earlier[c]
                n += 1


@compiled
def _ranges(tile: Array, width: int, folded: bool, state: Array, count: Array) -> None:
    """Fill smallest value, largest value and sum of each pixel, and count its values.

    Differences are taken in pairs: with one at a time, each result would be stored under a condition.
    """
    least, most, total, number = state[0, :width], state[1, :width], state[2, :width], count[:width]
    least[:], most[:], total[:], number[:] = _INFINITE, -_INFINITE, 0, 0
    none, last = np.full(width, _NAN), tile.shape[0]
    for n in range(0, last, 2):
        row, next_row = tile[n, :width], tile[n + 1, :width] if n + 1 < last else none
        for c in range(width):
            a, b = row[c], next_row[c]
            if folded:
                a, b = abs(a), abs(b)
            some_a, some_b = not np.isnan(a), not np.isnan(b)
            number[c] += np.int32(some_a) + np.int32(some_b)
            total[c] += (a if some_a else _ZERO) + (b if some_b else _ZERO)
            least[c] = smaller(least[c], smaller(a if some_a else _INFINITE, b if some_b else _INFINITE))
            most[c] = larger(most[c], larger(a if some_a else -_INFINITE, b if some_b else -_INFINITE))


@compiled
def _counts(tile: Array, width: int, folded: bool, state: Array, outside: Array) -> None:
    """Count the values below and above the bounds, and those equal to the largest."""
    for c in range(width):
        for k in range(3):
            outside[k, c] = 0
    for n in range(tile.shape[0]):
        for c in range(width):
            value = abs(tile[n, c]) if folded else tile[n, c]
            outside[0, c] += np.int32(value < state[2, c])
            outside[1, c] += np.int32(value > state[3, c])
            outside[2, c] += np.int32(value == state[1, c])


@compiled
def _harmless(least: float, most: float, low: float, high: float, variance: float, limit: float) -> bool:
    """Tell whether values from ``least`` to ``most`` have no jump if their median is from ``low`` to ``high``."""
    level = low if low > 0 else (-high if high < 0 else np.float32(0))
    return bool(max(most - low, high - least) <= limit * np.sqrt(level + variance) * _SAFE)


@compiled
def _bounds(state: Array, count: Array, variance: Array, width: int) -> None:
    """Replace the sums by where the median may be looked for: from row 2 to row 3."""
    for c in range(width):
        number = np.float32(max(count[c], 1))
        mean = state[2, c] / number
        share = min(np.float32(1), np.float32(3) / np.sqrt(number))
        reach = np.sqrt(abs(mean) + variance[c]) * share
        state[2, c] = mean - reach
        state[3, c] = mean + reach


@compiled
def enclose(tile: Array, width: int, folded: bool, variance: Array, state: Array, counts: Array) -> None:
    """Count how many values of each pixel are where its median may be looked for, and elsewhere.

    Fills ``state`` with smallest and largest value and two bounds, and ``counts`` with how many values are
    below the bounds, above them, equal to the largest, and there. The arguments are those of `screen`.
    """
    _ranges(tile, width, folded, state, counts[3])
    _bounds(state, counts[3], variance, width)
    _counts(tile, width, folded, state, counts)


@compiled
def screen(
    tile: Array,
    width: int,
    folded: bool,
    variance: Array,
    limits: tuple[float, float, float],
    state: Array,
    counts: Array,
    suspect: Array,
) -> None:
    """Tell which pixels of a tile may have a jump: all but those that surely have none.

    Parameters
    ----------
    tile : ndarray of float32
        Differences in electrons, NaN where there is none.
    width : int
        Pixels in the tile.
    folded : bool
        Whether the sizes of differences are compared, as in the search one by one.
    variance : ndarray of float32
        The part of the expected variance that is due to reading, in electrons^2, of each pixel.
    limits : tuple of float
        In units of the expected noise, for four differences or more, three, and two.
    state, counts : ndarray of float32 and of int32
        Four rows each for a tile; overwritten.
    suspect : ndarray of uint8
        The answer.
    """
    count = counts[3]
    _ranges(tile, width, folded, state, count)
    some = False
    for c in range(width):
        few = folded and count[c] < 4
        limit = (limits[1] if count[c] == 3 else limits[2]) if few else limits[0]
        least, most = state[0, c], state[1, c]
        sure = count[c] < 2 or np.isnan(variance[c])
        sure = sure or _harmless(least, most, least, most, variance[c], limit)
        suspect[c] = not sure
        some |= not sure
    if not some:
        return
    _bounds(state, count, variance, width)
    _counts(tile, width, folded, state, counts)
    for c in range(width):
        if not suspect[c] or (folded and count[c] < 4):
            continue
        kept = count[c] - counts[2, c] if folded else count[c]
        enclosed = kept > 0 and counts[0, c] <= (kept - 1) // 2 and count[c] - counts[1, c] >= kept // 2 + 1
        if enclosed and _harmless(state[0, c], state[1, c], state[2, c], state[3, c], variance[c], limits[0]):
            suspect[c] = 0


@compiled
def pick(tile: Array, width: int, suspect: Array, found: Array, chosen: Array, picked: Array) -> int:
    """Collect the differences of suspect pixels, and of those that have jumps already, (pixel, difference).

    Fills in which pixels they are, and returns how many.
    """
    count = 0
    for c in range(width):
        chosen[count] = c
        count += suspect[c] != 0 or found[c] & JUMP_DET != 0
    for n in range(tile.shape[0]):
        row = tile[n]
        for k in range(count):
            picked[k, n] = row[chosen[k]]
    return count


@compiled
def order(tile: Array, chosen: Array, count: int, folded: bool, ordered: Array) -> None:
    """Put the differences of the pixels chosen, or their sizes, in order, (difference, pixel); NaN become infinite.

    Some pixels more are put in order, such that there are whole vectors.
    """
    for n in range(tile.shape[0]):
        row, out = tile[n], ordered[n, :count]
        for k in range(count):
            value = row[chosen[k]]
            value = abs(value) if folded else value
            out[k] = _INFINITE if np.isnan(value) else value
    sort_columns(ordered, min(-(-count // _VECTORS) * _VECTORS, ordered.shape[1]))


@compiled
def _moments(tile: Array, width: int, first: int, apart: int, state: Array, count: Array, sums: Array) -> None:
    """Fill smallest and largest value of each pixel and the sums of its values and of their squares; count them."""
    least, most, number = state[0, :width], state[1, :width], count[:width]
    total, square = sums[0, :width], sums[1, :width]
    least[:], most[:], number[:], total[:], square[:] = _INFINITE, -_INFINITE, 0, 0.0, 0.0
    for n in range(first, tile.shape[0], apart):
        row = tile[n, :width]
        for c in range(width):
            value = row[c]
            known = not np.isnan(value)
            number[c] += np.int32(known)
            least[c] = smaller(least[c], value if known else _INFINITE)
            most[c] = larger(most[c], value if known else -_INFINITE)
        for c in range(width):
            value = np.float64(row[c])
            value = 0.0 if np.isnan(value) else value
            total[c] += value
            square[c] += value * value


@compiled
def _halves(tile: Array, width: int, first: int, apart: int, state: Array, outside: Array) -> None:
    """Count the values below and above the bounds of rows 2 and 3."""
    low, high, below, above = state[2, :width], state[3, :width], outside[0, :width], outside[1, :width]
    below[:], above[:] = 0, 0
    for n in range(first, tile.shape[0], apart):
        row = tile[n, :width]
        for c in range(width):
            below[c] += np.int32(row[c] < low[c])
        for c in range(width):
            above[c] += np.int32(row[c] > high[c])


@compiled
def screen_clipping(
    tile: Array,
    width: int,
    apart: int,
    limit: float,
    state: Array,
    counts: Array,
    sums: Array,
    sets: Array,
    suspect: Array,
) -> None:
    """Tell which pixels of a tile may lose a value to sigma clipping: all but those that surely lose none.

    Nothing is clipped where no value is further from the median than the limit. The median is nearer to the mean than
    one standard deviation; closer bounds are confirmed by counting.

    Parameters
    ----------
    tile : ndarray of float32
        Differences in electrons, NaN where there is none.
    width : int
        Pixels in the tile.
    apart : int
        Differences that are so far from each other are clipped together.
    limit : float
        In standard deviations.
    state, counts : ndarray of float32 and of int32
        Four rows each for a tile; overwritten.
    sums : ndarray of float64
        Two rows for a tile; overwritten.
    sets : ndarray of uint8
        The answer for each of the ``apart`` sets of differences, (set, pixel).
    suspect : ndarray of uint8
        Whether any of a pixel's sets is.
    """
    count, deviation = counts[3], sums[1]
    suspect[:width] = 0
    for first in range(apart):
        sets[first, :width] = 0
        _moments(tile, width, first, apart, state, count, sums)
        some = False
        for c in range(width):
            number = np.float64(max(count[c], 1))
            mean, square = sums[0, c] / number, sums[1, c] / number
            variance = square - mean * mean
            deviation[c] = _SAFE * np.sqrt(variance) if variance > _CANCELLED * square else np.nan
            reach = min(1.0, 3.0 / np.sqrt(number)) * deviation[c]
            state[2, c], state[3, c] = mean - reach, mean + reach
            near = max(state[1, c] - mean, mean - state[0, c]) <= (limit - 1.0) * deviation[c]
            some |= not near and count[c] > 0
        if not some:
            continue
        _halves(tile, width, first, apart, state, counts)
        for c in range(width):
            half = (count[c] - 1) // 2
            enclosed = counts[0, c] <= half and counts[1, c] <= half
            farthest = max(state[1, c] - state[2, c], state[3, c] - state[0, c])
            sure = count[c] == 0 or (enclosed and farthest <= limit * deviation[c])
            sets[first, c] = not sure
            suspect[c] |= not sure
