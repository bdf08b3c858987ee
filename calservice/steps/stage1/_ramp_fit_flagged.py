"""Compiled functions that fit the ramps of a tile which have flags, each to the segments of its own.

Segments differ from ramp to ramp, so they are found, and their groups summed up, one ramp after the other. All
else - exponents of weights, variances, the sums over segments - is done for the ramps of a tile together, in vector
registers: first for the first segment of each, then for the second, and so on. All arithmetic is float64.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._ramp_fit_segments import (
    INVALID,
    fill_powers,
    fill_weights,
    find_segments,
    or_zero,
    read_variance,
    settle,
)
from calservice.steps.stage1._ramp_fit_tiles import FULL, LONE, SPENT, TILE

__all__ = ["fit_flagged", "room_for_flagged"]

# Rows of the numbers of the ramps that are fitted: of pixels, ...
_GAIN, _NOISE, _POISSON, _LONE = range(4)
# ... of the segment at hand, ...
_LENGTH, _SIGNAL, _SLOPE = range(4, 7)
# ... and sums over segments.
_SUMS = 7
_ROWS = 11


@compiled
def room_for_flagged(used: int) -> tuple[Array, Array, Array, Array, Array]:
    """Return the room that `fit_flagged` takes for tiles of ramps with so many groups."""
    return (
        np.empty(used + 1, np.int64),
        np.empty(used + 1, np.int64),
        np.empty((used + 1, 2, TILE), np.int64),  # begin and end by segment
        np.zeros((3, TILE), np.int64),  # pixel, number of its segments, exponent of the weights
        np.ones((_ROWS, TILE)),
    )


@compiled
def _found(
    flags: Array,
    counts: Array,
    width: int,
    plain: Array,
    starts: Array,
    stops: Array,
    spans: Array,
    chosen: Array,
    fitted: Array,
    dqs: Array,
) -> tuple[int, int]:
    """Find the segments of ramps that are not plain; return how many ramps have some, and the most that one has.

    Those without are not fitted, and flagged as such.
    """
    used = flags.shape[0]
    ramps, most = 0, 0
    for c in range(width):
        if plain[c]:
            continue
        spent = (flags[0, c] & SATURATED) != 0
        lost = counts[SPENT, c] == used
        count = 0 if spent or lost else find_segments(flags, c, starts, stops)
        fitted[c] = count > 0
        if spent:
            dqs[c] |= INVALID
        if lost:
            dqs[c] |= DO_NOT_USE | (SATURATED if counts[FULL, c] == used else 0)
        if count == 0:
            continue
        for s in range(count):
            spans[s, 0, ramps], spans[s, 1, ramps] = starts[s], stops[s]
        chosen[0, ramps], chosen[1, ramps] = c, count
        ramps, most = ramps + 1, max(most, count)
    return ramps, most


@compiled
def _slopes(
    ramps: Array, count: int, s: int, spans: Array, chosen: Array, table: Array, work: Array, power: Array, rows: Array
) -> None:
    """Fill the slope of segment ``s`` of each ramp, in DN a group; of one group it is its value."""
    for k in range(count):
        if chosen[1, k] <= s:
            continue
        c, begin, n = chosen[0, k], spans[s, 0, k], spans[s, 1, k] - spans[s, 0, k]
        if n == 1:
            rows[_SLOPE, k] = ramps[begin, c]
            continue
        if n == 2:
            rows[_SLOPE, k] = rows[_SIGNAL, k]
            continue
        place, p = n * (n - 1) // 2, power[k]
        last = begin + n - 1
        total = 0.0  # views of the factors, for one loop, would take longer than the sums
        if n * (n + 1) // 2 < table.shape[1]:
            for g in range(n // 2):
                total += table[p, place + n - 1 - g] * (or_zero(ramps[last - g, c]) - or_zero(ramps[begin + g, c]))
        else:
            fill_weights(n, p, work, 0)
            for g in range(n // 2):
                total += work[n - 1 - g] * (or_zero(ramps[last - g, c]) - or_zero(ramps[begin + g, c]))
        noise = rows[_NOISE, k]
        rows[_SLOPE, k] = total if np.isfinite(noise) and noise != 0.0 else np.nan


@compiled
def _add_segments(count: int, s: int, chosen: Array, time: float, rows: Array) -> None:
    """Add the inverse variances and the weighed slope of segment ``s`` of each ramp that has one to its sums."""
    segments = chosen[1, :count]
    gains, noises, rates, lone = rows[_GAIN], rows[_NOISE], rows[_POISSON], rows[_LONE]
    lengths, slopes = rows[_LENGTH], rows[_SLOPE]
    inverse_read, inverse_poisson, inverse, weighed = rows[_SUMS], rows[_SUMS + 1], rows[_SUMS + 2], rows[_SUMS + 3]
    for k in range(count):
        there, gain, length = segments[k] > s, gains[k], lengths[k]
        unit = lone[k] if length == 1.0 else time
        read = read_variance(length, noises[k], gain, unit)
        poisson = rates[k] / (unit * gain * max(length - 1.0, 1.0))
        inverse_read[k] += 1.0 / read if there else 0.0
        inverse_poisson[k] += 1.0 / poisson if there and poisson > 0.0 else 0.0
        inverse[k] += 1.0 / (poisson + read) if there else 0.0
        weighed[k] += slopes[k] / unit / read if there else 0.0


@compiled
def fit_flagged(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    plain: Array,
    pixels: Array,
    times: Array,
    table: Array,
    work: Array,
    room: tuple[Array, Array, Array, Array, Array],
    fitted: Array,
    dqs: Array,
    sums: Array,
    values: Array,
) -> None:
    """Fit the segments of those ramps of a tile that are not plain.

    Parameters
    ----------
    ramps, flags : ndarray
        (group, pixel) float32 and uint8.
    counts : ndarray
        Rows as in `_ramp_fit_tiles`, by pixel.
    width : int
        Pixels in the tile.
    plain : ndarray
        Which pixels are not looked at, as they are fitted already.
    pixels : ndarray
        Gain, read noise and Poisson rate, (3, pixel).
    times : ndarray
        Exposure times, in seconds, of a group and of the lone groups that the counts tell.
    table : ndarray
        Slope factors, made by `weight_table`.
    work : ndarray
        Room for the factors of longer segments.
    room : tuple of ndarray
        Made by `room_for_flagged`.
    fitted : ndarray
        Set to whether a ramp has a segment, of the pixels that are looked at.
    dqs : ndarray
        Flags of ramps without any are added.
    sums : ndarray
        Of the pixels that are fitted here: inverse variances (read noise, Poisson, both), and slopes weighed by read
        noise, (4, pixel).
    values : ndarray
        Of these pixels, too: slope, error, Poisson and read variance, (4, pixel).
    """
    left = 0
    for c in range(width):
        left += plain[c] == 0
    if left == 0:
        return
    starts, stops, spans, chosen, rows = room
    count, most = _found(flags, counts, width, plain, starts, stops, spans, chosen, fitted, dqs)
    for k in range(count):
        c = chosen[0, k]
        for row in range(3):
            rows[row, k] = pixels[row, c]
        rows[_LONE, k] = times[counts[LONE, c]]
    rows[_SUMS:, :count] = 0.0
    power = chosen[2]
    for s in range(most):
        for k in range(count):
            if chosen[1, k] > s:
                c, begin, end = chosen[0, k], spans[s, 0, k], spans[s, 1, k]
                rows[_LENGTH, k] = end - begin
                rows[_SIGNAL, k] = np.float64(ramps[end - 1, c]) - np.float64(ramps[begin, c])
        fill_powers(rows[_SIGNAL], rows[_GAIN], rows[_NOISE], count, power)
        _slopes(ramps, count, s, spans, chosen, table, work, power, rows)
        _add_segments(count, s, chosen, times[0], rows)
    settle(rows[_SUMS:], count, rows)  # into the first three rows, which are not needed any more
    for k in range(count):
        c = chosen[0, k]
        for row in range(4):
            sums[row, c] = rows[_SUMS + row, k]
        values[0, c], values[1, c], values[2, c], values[3, c] = (
            rows[_SUMS + 3, k] * rows[0, k],
            rows[2, k],
            rows[1, k],
            rows[0, k],
        )
