"""Compiled loops of jump detection over the pixels of a block.

One pass over memory: tiles of neighbouring pixels are filled and screened in vector registers
(`_jump_tiles`), and the few pixels that may have jumps are looked at one by one (`_jump_pixel`). What
follows from jumps - flags of neighbours and of later groups - is done for them alone.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._jump_pixel import (
    clip_bounds,
    find_at_once,
    find_one_by_one,
    finite,
    median,
    typical,
    typical_ordered,
)
from calservice.steps.stage1._jump_tiles import TILE, UNUSABLE, load_tile, order, pick, screen, screen_clipping
from calservice.steps.vectors import SPARE, aligned

__all__ = [
    "AT_ONCE",
    "CLIP_ALL",
    "CLIP_INTEGRATIONS",
    "ONE_BY_ONE",
    "find_jumps",
    "flag_after_jumps",
    "kept_groups",
    "usable_groups",
    "without_lost_jumps",
]

ONE_BY_ONE, AT_ONCE, CLIP_INTEGRATIONS, CLIP_ALL = range(4)
"""Ways to find jumps."""
_TILE_VALUES = 1 << 18
"""Most values of a tile, as long as it does not become too narrow."""


@compiled
def usable_groups(flags: Array, usable: Array) -> None:
    """Tell which groups have a pixel that is not flagged as ``DO_NOT_USE``."""
    nints, ngroups, nrows, ncols = flags.shape
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                some = 0
                for x in range(ncols):
                    some |= (flags[i, g, y, x] & DO_NOT_USE) == 0
                if some:
                    usable[i, g] = True
                    break


@compiled
def without_lost_jumps(flags: Array) -> Array:
    """Return a copy of flags without jumps in groups that cannot be used anyway."""
    out = np.empty(flags.shape, np.uint8)
    given, made = flags.reshape(-1), out.reshape(-1)
    for k in range(given.size):
        flag = given[k]
        made[k] = flag & ~JUMP_DET if flag & UNUSABLE else flag
    return out


@compiled
def _clip(differences: Array, suspect: Array, limit: float, scratch: Array, places: Array) -> int:
    """Find jumps by sigma clipping: over all differences, or over the integrations at each group.

    ``suspect`` tells in which of these sets there may be one; ``places`` begin in the end with the jumps.
    """
    found, apart = 0, suspect.size
    for first in range(apart):
        if not suspect[first]:
            continue
        values = differences[first::apart]
        count = 0
        for value in values:
            if np.isfinite(value):
                scratch[count] = value
                count += 1
        low, high = clip_bounds(scratch, count, limit)
        for k in range(values.size):
            if np.isfinite(values[k]) and (values[k] < low or values[k] > high):
                places[found] = first + k * apart
                found += 1
    return found


@inlined
def _flag(out: Array, y: int, x: int, places: Array, count: int) -> None:
    """Flag the jumps of one pixel."""
    steps = out.shape[1] - 1
    for k in range(count):
        out[places[k] // steps, places[k] % steps + 1, y, x] |= JUMP_DET


@compiled
def _add_earlier(flags: Array, y: int, x: int, places: Array, count: int, found: Array) -> tuple[int, int]:
    """Add the jumps that a pixel has from before to the first ``count`` places.

    Returns how many places there are now, and how many groups there are more, of which the first of a ramp has no
    place. ``found`` is zero for each difference, before and after.
    """
    nints, ngroups = flags.shape[:2]
    for k in range(count):
        found[places[k]] = 1
    total, firsts = count, 0
    for i in range(nints):
        firsts += (flags[i, 0, y, x] & JUMP_DET) != 0
        for g in range(1, ngroups):
            n = i * (ngroups - 1) + g - 1
            if flags[i, g, y, x] & JUMP_DET and not found[n]:
                places[total] = n
                total += 1
    for k in range(count):
        found[places[k]] = 0
    return total, total - count + firsts


@compiled
def _drop_emptied(out: Array, y: int, x: int, places: Array, count: int, emptied: Array) -> tuple[int, int]:
    """Take back the jumps of groups in which no pixel would be left; return how many places remain, and groups lost."""
    nints, ngroups = out.shape[:2]
    kept, lost = 0, 0
    for k in range(count):
        i, g = places[k] // (ngroups - 1), places[k] % (ngroups - 1) + 1
        places[kept] = places[k]
        kept += not (emptied[i, g] and out[i, g, y, x] == JUMP_DET)
    for i in range(nints):
        for g in range(ngroups):
            if emptied[i, g] and out[i, g, y, x] == JUMP_DET:
                out[i, g, y, x] = 0
                lost += 1
    return kept, lost


@inlined
def _spreading(
    differences: Array, places: Array, count: int, middle: float, sigma: float, between: tuple[float, float]
) -> int:
    """Put those of a pixel's jumps in front that spread to its neighbours; return how many there are."""
    spreading = 0
    for k in range(count if sigma > 0.0 else 0):
        ratio = abs(differences[places[k]] - middle) / sigma
        places[spreading] = places[k]
        spreading += (between[0] < ratio) & (ratio < between[1])
    return spreading


@compiled
def _flag_neighbours(out: Array, events: Array, count: int, touched: Array) -> None:
    """Flag the four neighbours of jumps wherever they can be used."""
    _, ngroups, nrows, ncols = out.shape
    for k in range(count):
        n, y, x = events[k]
        i, g = n // (ngroups - 1), n % (ngroups - 1) + 1
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            row, column = y + dy, x + dx
            inside = 0 <= row < nrows and 0 <= column < ncols
            if inside and not out[i, g, row, column] & UNUSABLE:
                out[i, g, row, column] |= JUMP_DET
                touched[row, column] = 1


@compiled
def _add_events(events: Array, count: int, places: Array, y: int, x: int) -> Array:
    """Add jumps of a pixel to the first ``count`` events; return the array that holds them all."""
    if count + places.size > events.shape[0]:
        more = np.empty((2 * (count + places.size), 3), np.int64)
        more[:count] = events[:count]
        events = more
    for place in places:
        events[count] = place, y, x
        count += 1
    return events


@compiled
def _noise(readnoise: Array, gain: Array, nframes: float, noise: Array, variance: Array) -> None:
    """Fill the square of the read noise of each pixel of a tile, and its part of the variance, in electrons^2."""
    for c in range(gain.size):
        electrons = readnoise[c] * gain[c]
        noise[c] = electrons * electrons
        variance[c] = noise[c] / np.float32(nframes)


@compiled
def find_jumps(
    data: Array,
    flags: Array,
    gain: Array,
    readnoise: Array,
    nframes: float,
    method: int,
    limits: tuple[float, float, float],
    spread: bool,
    between: tuple[float, float],
    emptied: Array,
    out: Array,
    primary: Array,
    touched: Array,
) -> None:
    """Find the jumps of a block and flag them and their neighbours.

    Parameters
    ----------
    data, flags : ndarray
        (integration, group, row, column), float32 in DN and uint8.
    gain, readnoise : ndarray of float32
        (row, column), electrons/DN and DN.
    nframes : float
        Frames averaged in a group.
    method : int
        `ONE_BY_ONE`, `AT_ONCE`, `CLIP_INTEGRATIONS` or `CLIP_ALL`.
    limits : tuple of float
        In units of the expected noise, for four differences or more, three, and two.
    spread : bool
        Whether neighbours are flagged.
    between : tuple of float
        Limits, in units of the expected noise, between which a jump spreads to its neighbours.
    emptied : ndarray of bool
        (integration, group): where jumps are not flagged since no pixel would be left.
    out : ndarray of uint8
        A copy of ``flags`` without jumps where a group cannot be used; changed.
    primary : ndarray of int32
        (row, column): set to the number of groups with a jump of their own.
    touched : ndarray of uint8
        (row, column): set to 1 where a group has a jump flag in the end.
    """
    nints, ngroups, nrows, ncols = data.shape
    differences = nints * (ngroups - 1)
    most = max(TILE // 8, min(TILE, _TILE_VALUES // differences))
    tile, before = np.empty((differences, most), np.float32), np.empty((2, most), np.float32)
    state, counts = np.empty((4, most), np.float32), np.empty((4, most), np.int32)
    noise, variance = np.empty(most, np.float32), np.empty(most, np.float32)
    apart = ngroups - 1 if method == CLIP_INTEGRATIONS else 1
    found, suspect = np.empty(most, np.uint8), np.empty(most, np.uint8)
    sets, sums = np.empty((apart, most), np.uint8), np.empty((2, most))
    chosen, picked = np.empty(most + 1, np.int64), np.empty((most, differences), np.float32)
    columns = most + SPARE  # rows that are a power of two apart would share lines of the cache
    ordered = aligned(np.zeros(differences * columns + SPARE, np.float32)).reshape(differences, columns)
    signed = aligned(np.zeros(differences * columns + SPARE, np.float32)).reshape(differences, columns)
    work, known_jumps = np.empty(differences), np.zeros(differences, np.uint8)
    places = np.empty(differences, np.int64)
    events, happened = np.empty((1024, 3), np.int64), 0
    some_emptied = emptied.any()
    for y in range(nrows):
        for x0 in range(0, ncols, most):
            width = min(most, ncols - x0)
            load_tile(data, flags, gain, y, x0, width, tile, found, before)
            _noise(readnoise[y, x0 : x0 + width], gain[y, x0 : x0 + width], nframes, noise, variance)
            if method <= AT_ONCE:
                screen(tile, width, method == ONE_BY_ONE, variance, limits, state, counts, suspect)
            else:
                screen_clipping(tile, width, apart, limits[0], state, counts, sums, sets, suspect)
            count = pick(tile, width, suspect, found, chosen, picked)
            if method <= AT_ONCE:
                order(tile, chosen, count, method == ONE_BY_ONE, ordered)
            if method == ONE_BY_ONE and spread:
                order(tile, chosen, count, False, signed)
            for k in range(count):
                c = chosen[k]
                x, steps, known, noise2 = x0 + c, picked[k], counts[3, c], noise[c]
                middle = sigma = np.nan
                if method == ONE_BY_ONE:
                    jumps = find_one_by_one(steps, ordered[:, k], known, noise2, nframes, limits, places)
                elif method == AT_ONCE:
                    middle, sigma = typical_ordered(ordered[:, k], known, noise2, nframes)
                    jumps = find_at_once(steps, middle, sigma, limits[0], places)
                else:
                    jumps = _clip(steps, sets[:, c], limits[0], work, places)
                _flag(out, y, x, places, jumps)
                number = jumps
                if found[c] & JUMP_DET:
                    jumps, more = _add_earlier(flags, y, x, places, jumps, known_jumps)
                    number += more
                if some_emptied:
                    jumps, less = _drop_emptied(out, y, x, places, jumps, emptied)
                    number -= less
                if number == 0:
                    continue
                primary[y, x], touched[y, x] = number, 1
                if spread:
                    if method == ONE_BY_ONE:
                        middle, sigma = typical_ordered(signed[:, k], known, noise2, nframes)
                    elif method != AT_ONCE:
                        middle, sigma = typical(steps, noise2, nframes, work)
                    spreading = _spreading(steps, places, jumps, middle, sigma, between)
                    events = _add_events(events, happened, places[:spreading], y, x)
                    happened += spreading
    _flag_neighbours(out, events, happened, touched)


@compiled
def _load_pixel(data: Array, flags: Array, gain: Array, y: int, x: int, out: Array) -> None:
    """Fill the differences of one pixel."""
    nints, ngroups = data.shape[:2]
    for i in range(nints):
        for g in range(1, ngroups):
            unusable = (flags[i, g, y, x] | flags[i, g - 1, y, x]) & UNUSABLE
            difference = data[i, g, y, x] * gain[y, x] - data[i, g - 1, y, x] * gain[y, x]
            out[i * (ngroups - 1) + g - 1] = np.nan if unusable else difference


@compiled
def flag_after_jumps(
    data: Array,
    gain: Array,
    out: Array,
    touched: Array,
    amounts: tuple[float, float],
    lengths: tuple[int, int],
) -> None:
    """Flag groups that follow large jumps, wherever they can be used.

    Parameters
    ----------
    data, gain
        As in `find_jumps`.
    out : ndarray of uint8
        Flags with jumps and their neighbours; changed.
    touched : ndarray of uint8
        Where to look.
    amounts : tuple of float
        Jumps of so many electrons, or more, above the median difference are followed by flags ...
    lengths : tuple of int
        ... in so many groups.
    """
    nints, ngroups, nrows, ncols = data.shape
    work = np.empty((2, nints * (ngroups - 1)))
    for y in range(nrows):
        for x in range(ncols):
            if not touched[y, x]:
                continue
            _load_pixel(data, out, gain, y, x, work[0])
            middle = median(work[1], finite(work[0], work[1]))
            for i in range(nints):
                until = 0
                for g in range(1, ngroups):
                    if out[i, g, y, x] & JUMP_DET:
                        excess = work[0, i * (ngroups - 1) + g - 1] - middle
                        for k in range(2):
                            if excess >= amounts[k] and lengths[k] > 0:
                                until = max(until, g + lengths[k] + 1)
                    if g < until and not out[i, g, y, x] & UNUSABLE:
                        out[i, g, y, x] |= JUMP_DET


@compiled
def kept_groups(data: Array, flags: Array, gain: Array, together: bool, limit: float, kept: Array) -> None:
    """Tell in which groups sigma clipping leaves a pixel without a jump that can be used.

    Parameters
    ----------
    data, flags, gain
        As in `find_jumps`.
    together : bool
        Whether all differences are clipped together, not those of each group over the integrations.
    limit : float
        In standard deviations.
    kept : ndarray of bool
        (integration, group): set where there is one.
    """
    nints, ngroups, nrows, ncols = data.shape
    differences = nints * (ngroups - 1)
    work, jumps, places = np.empty((2, differences)), np.empty(differences, np.uint8), np.empty(differences, np.int64)
    every = np.ones(1 if together else ngroups - 1, np.uint8)
    for y in range(nrows):
        for x in range(ncols):
            if kept.all():
                return
            _load_pixel(data, flags, gain, y, x, work[0])
            jumps[:] = 0
            jumps[places[: _clip(work[0], every, limit, work[1], places)]] = 1
            for i in range(nints):
                for g in range(ngroups):
                    lost = (flags[i, g, y, x] & (JUMP_DET | DO_NOT_USE)) != 0
                    lost |= g > 0 and jumps[i * (ngroups - 1) + g - 1] != 0
                    kept[i, g] |= not lost
