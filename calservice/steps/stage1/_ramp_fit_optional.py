"""Compiled loops that keep what is fitted to each segment of a ramp, for the optional product of ramp fitting.

Ramps are loaded, and their segments and rates found, by the functions of the fit itself. All arithmetic is float64.
"""

from __future__ import annotations

import functools

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import JUMP_DET, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._ramp_fit_kernels import load_pixels
from calservice.steps.stage1._ramp_fit_segments import (
    INVALID,
    LASTING,
    POWERS,
    find_segments,
    known,
    read_variance,
    signal_power,
    weight,
)
from calservice.steps.stage1._ramp_fit_tiles import FOUND, FULL, LONE, SPENT, TILE, add_medians, load_flags, load_ramps

__all__ = ["PLANES", "fit_optional", "plain_weights", "room"]

PLANES = ("slope", "sigslope", "var_poisson", "var_rnoise", "yint", "sigyint", "weights")
"""What is kept of each segment, in the order of the planes of `fit_optional`."""

_SLOPE, _SIGSLOPE, _POISSON, _READ, _YINT, _SIGYINT, _WEIGHTS = range(7)
_ROOT = 1.41421356
"""The square root of two, to the digits that the official step has of it."""


@functools.lru_cache(maxsize=8)
def plain_weights(longest: int) -> Array:
    """Return the weights of the groups of all segments of 3 to ``longest`` groups.

    Returns
    -------
    ndarray
        float64, (power, weight); those for n groups start at n (n - 1) / 2.
    """
    table = np.zeros((POWERS, longest * (longest + 1) // 2 + 1))
    for p in range(POWERS):
        for n in range(3, longest + 1):
            for k in range(n):
                table[p, n * (n - 1) // 2 + k] = weight(k, (n - 1) / 2.0, 1.0 / ((n - 1) / 2.0), p)
    return table


@compiled
def room(groupdq: Array) -> tuple[int, int]:
    """Return the most stretches of good groups that a ramp of a block has, at least 1, and the most jumps."""
    nints, ngroups, nrows, ncols = groupdq.shape
    most, jumps = 1, 0
    stretches, hits = np.empty(ncols, np.int32), np.empty(ncols, np.int32)
    for i in range(nints):
        for y in range(nrows):
            for x in range(ncols):
                stretches[x] = (groupdq[i, 0, y, x] & LASTING) == 0
                hits[x] = 0
            for g in range(1, ngroups):
                for x in range(ncols):
                    good = (groupdq[i, g, y, x] & LASTING) == 0
                    stretches[x] += good and (groupdq[i, g - 1, y, x] & LASTING) != 0
                    hits[x] += (groupdq[i, g, y, x] & JUMP_DET) != 0
            most, jumps = max(most, stretches.max()), max(jumps, hits.max())
    return most, jumps


@compiled
def _fit_line(
    ramps: Array, c: int, begin: int, end: int, pixels: Array, time: float, table: Array, kept: Array
) -> None:
    """Fit a line to three groups or more: slope, intercept at group 0, and their standard deviations."""
    gain, noise, n = pixels[0, c], pixels[1, c], end - begin
    p = signal_power(ramps[end - 1, c] - ramps[begin, c], gain, noise)
    middle, precision, place = (n - 1) / 2.0, 1.0 / (noise * noise), n * (n - 1) // 2
    tabled, inverse = n * (n + 1) // 2 < table.shape[1], 1.0 / middle
    w, wx, wxx, wy, wxy = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        x = 1.0 * (begin + k)
        y = 0.0 if np.isnan(ramps[begin + k, c]) else ramps[begin + k, c]
        v = (table[p, place + k] if tabled else weight(k, middle, inverse, p)) * precision
        w += v
        wx += x * v
        wxx += x * (x * v)
        wy += y * v
        wxy += y * (x * v)
    over = 1.0 / (w * wxx - wx * wx)
    kept[_SLOPE] = (w * wxy - wx * wy) * over / time
    kept[_SIGSLOPE] = np.sqrt(w * over)
    kept[_YINT] = (wxx * wy - wx * wxy) * over
    kept[_SIGYINT] = np.sqrt(wxx * over)


@compiled
def _fit_clean(ramps: Array, width: int, pixels: Array, time: float, table: Array, sums: Array, kept: Array) -> None:
    """Fill what is kept of the ramps of a tile as if none had a flag; they have three groups or more, but not too many.

    ``sums`` are room for five sums of weights and a number by pixel; ``kept`` is (plane, pixel).
    """
    n = ramps.shape[0]
    sums[:5] = 0.0
    for c in range(width):
        sums[5, c] = signal_power(ramps[n - 1, c] - ramps[0, c], pixels[0, c], pixels[1, c])
    for k in range(n):
        place, x = n * (n - 1) // 2 + k, 1.0 * k
        for c in range(width):
            y = 0.0 if np.isnan(ramps[k, c]) else ramps[k, c]
            v = table[int(sums[5, c]), place] * (1.0 / (pixels[1, c] * pixels[1, c]))
            sums[0, c] += v
            sums[1, c] += x * v
            sums[2, c] += x * (x * v)
            sums[3, c] += y * v
            sums[4, c] += y * (x * v)
    for c in range(width):
        w, wx, wxx, wy, wxy = sums[0, c], sums[1, c], sums[2, c], sums[3, c], sums[4, c]
        over = 1.0 / (w * wxx - wx * wx)
        kept[_SLOPE, c] = (w * wxy - wx * wy) * over / time
        kept[_SIGSLOPE, c] = np.sqrt(w * over)
        kept[_YINT, c] = (wxx * wy - wx * wxy) * over
        kept[_SIGYINT, c] = np.sqrt(wxx * over)
        kept[_POISSON, c] = pixels[2, c] / (time * pixels[0, c] * (n - 1.0))
        kept[_READ, c] = read_variance(n, pixels[1, c], pixels[0, c], time)
        kept[_WEIGHTS, c] = 1.0 / kept[_READ, c]


@compiled
def _fit_segment(
    ramps: Array, c: int, begin: int, end: int, pixels: Array, time: float, unit: float, table: Array, kept: Array
) -> None:
    """Fill what is kept of one segment; ``unit`` is the exposure time of a segment of one group."""
    gain, noise, length = pixels[0, c], pixels[1, c], end - begin
    kept[:] = 0.0
    if length > 2:
        _fit_line(ramps, c, begin, end, pixels, time, table, kept)
    elif length == 2:
        first, second = ramps[begin, c], ramps[begin + 1, c]
        kept[_SLOPE] = (second - first) / time
        kept[_SIGSLOPE] = kept[_SIGYINT] = _ROOT * noise
        kept[_YINT] = second * (1.0 - (begin + 1.0)) + first * (begin + 1.0)
    else:
        kept[_SLOPE] = ramps[begin, c] / unit
    elapsed = unit if length == 1 else time
    kept[_POISSON] = pixels[2, c] / (elapsed * gain * max(length - 1.0, 1.0))
    kept[_READ] = read_variance(length, noise, gain, elapsed)
    kept[_WEIGHTS] = 1.0 / kept[_READ]


@compiled
def _jumps(data: Array, groupdq: Array, i: int, y: int, x: int, groups: tuple[int, ...], magnitudes: Array) -> int:
    """Fill by how much each jump of a ramp rises over the group before, NaN where saturated; return how many."""
    count = 0
    for g in range(groups[0] + 1, groups[1]):
        if groupdq[i, g, y, x] & JUMP_DET:
            either = groupdq[i, g, y, x] | groupdq[i, g - 1, y, x]
            rise = np.float64(data[i, g, y, x]) - np.float64(data[i, g - 1, y, x])
            magnitudes[i, count, y, x] = np.nan if either & SATURATED else rise
            count += 1
    return count


@compiled
def _keep_ramp(
    ramps: Array,
    flags: Array,
    c: int,
    pixels: Array,
    times: Array,
    unit: float,
    starts: Array,
    stops: Array,
    table: Array,
    kept: Array,
    planes: tuple[Array, ...],
    place: tuple[int, int, int],
) -> tuple[int, float]:
    """Keep what is fitted to the segments of one ramp; return how many there are, and the slope of all of them."""
    i, y, x = place
    count = 0 if flags[0, c] & SATURATED else find_segments(flags, c, starts, stops)
    slopes, weights = 0.0, 0.0
    for s in range(count):
        _fit_segment(ramps, c, starts[s], stops[s], pixels, times[0], unit, table, kept)
        for k in range(7):
            planes[k][i, s, y, x] = kept[k]
        slopes += kept[_SLOPE] / kept[_READ]
        weights += 1.0 / kept[_READ]
    return count, slopes * known(1.0 / weights) if count else 0.0


@compiled
def _places(flags: Array, c: int, count: int, starts: Array, stops: Array) -> int:
    """Return how many places the product needs for a ramp of ``count`` segments.

    The official step counts all good groups of a ramp that has none but lone ones, although it fits only the first.
    """
    if count != 1 or stops[0] - starts[0] > 1:
        return count
    good = 0
    for k in range(flags.shape[0]):
        good += (flags[k, c] & LASTING) == 0
    return good


@compiled
def fit_optional(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    zeroframe: Array,
    gain: Array,
    noise: Array,
    dark: Array,
    groups: tuple[int, int, int, int],
    suppress: bool,
    times: Array,
    table: Array,
    network: Array,
    offset: float,
    planes: tuple[Array, ...],
    pedestal: Array,
    magnitudes: Array,
) -> tuple[int, int]:
    """Keep what is fitted to the segments of all ramps of a block.

    Parameters
    ----------
    data, groupdq, pixeldq, zeroframe, gain, noise, dark, groups, suppress, times
        As of ``_ramp_fit_kernels.fit_ramps``.
    table : ndarray
        Made by `plain_weights`.
    network : ndarray
        Made by ``_ramp_fit_tiles.median_network`` for the differences of the groups that are fitted.
    offset : float
        Groups between the start of an integration and the middle of its first group.
    planes : tuple of ndarray
        Written: one array for each of `PLANES`, (integration, segment, row, column) float32, zeros, with room for
        every segment that ramps can have.
    pedestal : ndarray
        Written: signal at the start of each integration, (integration, row, column) float32, zeros.
    magnitudes : ndarray
        Written: sizes of jumps, (integration, jump, row, column) float32, zeros.

    Returns
    -------
    segments, jumps : int
        Most places for either that a ramp needs.
    """
    nints, nrows, ncols = data.shape[0], data.shape[2], data.shape[3]
    first, used = groups[0], groups[1] - groups[0]
    ramps, flags = np.empty((used, TILE)), np.empty((used, TILE), np.uint8)
    steps, turns = np.empty((max(used - 1, 0), TILE), np.float32), np.empty((2, TILE), np.float32)
    valid = np.empty(TILE, np.int32)
    counts, rates, pixels = np.empty((5, TILE), np.int32), np.empty(TILE), np.empty((3, TILE))
    starts, stops = np.empty(used + 1, np.int64), np.empty(used + 1, np.int64)
    dqs, kept = np.empty(TILE, np.int64), np.empty(7)
    sums, clean = np.zeros((6, TILE)), np.zeros((7, TILE))
    quick = used > 2 and used * (used + 1) // 2 < table.shape[1]
    most, jumps = 0, 0
    for y in range(nrows):
        for x0 in range(0, ncols, TILE):
            width = min(TILE, ncols - x0)
            rates[:] = 0.0
            for turn in range(2 * nints):
                i = turn % nints
                if turn < nints or nints > 1:
                    load_flags(groupdq, i, y, x0, width, groups, suppress, flags, counts)
                    load_ramps(data, i, y, x0, x0, width, first, zeroframe, suppress, ramps, flags, counts)
                if turn < nints:
                    add_medians(ramps, flags, counts, width, times, network, steps, turns, valid, rates)
                    continue
                load_pixels(pixeldq, gain, noise, dark, y, x0, width, rates, nints, pixels, dqs)
                if quick:
                    _fit_clean(ramps, width, pixels, times[0], table, sums, clean)
                for c in range(width):
                    x = x0 + c
                    if quick and counts[FOUND, c] == 0:
                        for k in range(7):
                            planes[k][i, 0, y, x] = clean[k, c]
                        slope = clean[_SLOPE, c] / clean[_READ, c] * known(1.0 / (1.0 / clean[_READ, c]))
                        most = max(most, 1)
                    else:
                        unit = times[counts[LONE, c]]
                        found, slope = _keep_ramp(
                            ramps, flags, c, pixels, times, unit, starts, stops, table, kept, planes, (i, y, x)
                        )
                        most = max(most, _places(flags, c, found, starts, stops))
                        jumps = max(jumps, _jumps(data, groupdq, i, y, x, groups, magnitudes))
                    full = (flags[0, c] & SATURATED) != 0 or counts[FULL, c] == used
                    if (dqs[c] & INVALID) or full or counts[SPENT, c] == used:
                        continue  # its pedestal stays 0
                    level = ramps[0, c] - slope * offset
                    pedestal[i, y, x] = 0.0 if np.isnan(level) else level
    return most, jumps
