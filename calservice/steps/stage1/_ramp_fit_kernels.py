"""Compiled loops of ramp fitting over tiles of neighbouring pixels.

A tile holds the ramps of up to `TILE` pixels of one row, (integration, group, pixel), so that flags are counted,
medians are found and ramps without flaws are fitted for all of them at once in vector registers. Ramps with flags are
fitted by segments (`_ramp_fit_flagged`). Results are rounded from float64 to float32 once, when they are stored.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import (
    CHARGELOSS,
    DO_NOT_USE,
    JUMP_DET,
    NO_GAIN_VALUE,
    PERSISTENCE,
    SATURATED,
)
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._ramp_fit_flagged import fit_flagged, room_for_flagged
from calservice.steps.stage1._ramp_fit_segments import (
    INVALID,
    TABLED,
    common_segment,
    fit_clean,
    kept_read_weight,
    known,
    settle_image,
    weigh_pixels,
    weight_table,
)
from calservice.steps.stage1._ramp_fit_tiles import (
    FOUND,
    FULL,
    LONE,
    TILE,
    add_medians,
    load_flags,
    load_ramps,
    median_network,
)
from calservice.steps.vectors import SPARE, aligned

__all__ = ["TABLED", "fit_ramps", "load_pixels", "median_network", "weight_table"]

_WIDE = 1024
"""Pixels whose ramps are brought near together, where they fit into what a tile may have."""
_STREAMS = 32
"""Groups of a pixel from which on that pays: processors fetch the next parts of not more than so many by themselves."""
_ROOM = 640 * 1024
"""Bytes that the ramps of a tile may have to be loaded once, rather than for the medians and again for the fit."""

# Rows of the state of a tile's images.
_DQ, _UNUSABLE, _SATURATED, _PARTLY, _LOST = range(5)


@inlined
def _store(out: tuple[Array, ...], i: int, y: int, x0: int, width: int, values: Array, dqs: Array) -> None:
    """Store slopes, flags, errors and the two variances of a tile."""
    slopes, flags, errors = out[0][i, y, x0 : x0 + width], out[1][i, y, x0 : x0 + width], out[2][i, y, x0 : x0 + width]
    poisson, read = out[3][i, y, x0 : x0 + width], out[4][i, y, x0 : x0 + width]
    for c in range(width):
        slopes[c] = values[0, c]
    for c in range(width):
        flags[c] = dqs[c]
    for c in range(width):
        errors[c] = values[1, c]
    for c in range(width):
        poisson[c] = values[2, c]
    for c in range(width):
        read[c] = values[3, c]


@inlined
def _all_flags(counts: Array, width: int) -> int:
    """Return the flags that any group of the ramps of a tile has."""
    found = np.uint16(0)
    for c in range(width):
        found |= counts[FOUND, c]
    return int(found)


@compiled
def _keep_read_noise(
    groupdq: Array,
    i: int,
    y: int,
    x0: int,
    width: int,
    groups: tuple[int, ...],
    column: Array,
    pixels: Array,
    times: Array,
    counts: Array,
    starts: Array,
    stops: Array,
    values: Array,
    state: Array,
    totals: Array,
) -> None:
    """Set read variances to those that ramps have without groups lost to charge migration.

    Also sums up the inverse read variances of all of a pixel's ramps, for the exposure.
    """
    ramp = np.empty(column.shape[0], np.uint8)
    for c in range(width):
        if counts[FOUND, c] & CHARGELOSS:
            for k in range(column.shape[0]):
                g = groups[0] + k
                outside = DO_NOT_USE if g < groups[2] or g >= groups[3] else 0
                ramp[k] = groupdq[i, g, y, x0 + c] | outside
            lone = times[counts[LONE, c]]
            gain, noise = pixels[0, c], pixels[1, c]
            weight = kept_read_weight(ramp, column, gain, noise, times[0], lone, starts, stops)
            values[3, c] = known(1.0 / weight)
            totals[4, c] += weight
            state[_LOST, c] = 1
        elif values[3, c] > 0.0:
            totals[4, c] += 1.0 / values[3, c]


@inlined
def _fit_tile(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    pixels: Array,
    times: Array,
    table: Array,
    work: Array,
    room: tuple[Array, Array, Array, Array, Array],
    power: Array,
    sums: Array,
    values: Array,
    state: Array,
    totals: Array,
    dqs: Array,
    plain: Array,
    weights: Array,
    weighed: int,
) -> int:
    """Fit one ramp of each pixel of a tile, and add it to the totals and the state of the exposure.

    ``weights`` are those of segments of ``weighed`` groups; returned is of how many they are now.
    """
    segment = common_segment(flags, width, plain)
    length = segment[1] - segment[0]
    quick = 2 < length <= TABLED
    if quick:
        if length != weighed:
            weigh_pixels(length, width, pixels, times[0], weights)
            weighed = length
        fit_clean(ramps, segment, width, pixels, table, weights, power, sums)
        for c in range(width):
            values[0, c], values[1, c] = sums[3, c] * weights[4, c], weights[6, c]
            values[2, c], values[3, c] = weights[5, c], weights[4, c]
    else:
        plain[:width] = 0
    for c in range(width):
        dqs[c] |= counts[FOUND, c] & (JUMP_DET | PERSISTENCE)
        state[_DQ, c] |= dqs[c]
    fitted = power
    fitted[:width] = 1
    fit_flagged(ramps, flags, counts, width, plain, pixels, times, table, work, room, fitted, dqs, sums, values)
    for k in range(4):
        for c in range(width):
            totals[k, c] += sums[k, c] if fitted[c] else 0.0
    for c in range(width):
        values[0, c] = np.nan if dqs[c] & INVALID else (values[0, c] if fitted[c] else 0.0)
    for k in range(1, 4):
        for c in range(width):
            values[k, c] = values[k, c] if fitted[c] and not dqs[c] & INVALID else 0.0
    for c in range(width):
        state[_UNUSABLE, c] += dqs[c] & DO_NOT_USE
        state[_SATURATED, c] += (dqs[c] & SATURATED) != 0
    for c in range(width):
        partly = SATURATED if counts[FULL, c] > 0 else 0
        state[_PARTLY, c] |= partly
        dqs[c] |= partly
    return weighed


@inlined
def _finish_tile(state: Array, width: int, nints: int, totals: Array, values: Array, dqs: Array) -> None:
    """Fill the results of the exposure for a tile."""
    settle_image(totals, width, values)
    for c in range(width):
        dq = state[_DQ, c] | (DO_NOT_USE if state[_UNUSABLE, c] == nints else 0)
        dq |= SATURATED if state[_SATURATED, c] == nints else 0
        values[0, c] = np.nan if dq & INVALID else values[0, c]
        state[_DQ, c] = dq
        dqs[c] = dq | state[_PARTLY, c]
    for k in range(1, 4):
        for c in range(width):
            values[k, c] = 0.0 if state[_DQ, c] & INVALID else values[k, c]
    for c in range(width):
        kept = 1.0 / totals[4, c] if totals[4, c] > 0.0 else values[3, c]
        values[3, c] = known(kept) if state[_LOST, c] else values[3, c]


@inlined
def load_pixels(
    pixeldq: Array,
    gain: Array,
    noise: Array,
    dark: Array,
    y: int,
    x0: int,
    width: int,
    rates: Array,
    nints: int,
    pixels: Array,
    dqs: Array,
) -> None:
    """Fill gain, read noise and Poisson rate of a tile's pixels, and the flags they start with."""
    for c in range(width):
        x = x0 + c
        pixels[0, c], pixels[1, c] = gain[y, x], noise[y, x]
        rate = rates[c] / nints
        pixels[2, c] = dark[y, x] + (rate if rate > 0.0 else 0.0)
        known_gain = pixels[0, c] > 0.0
        dqs[c] = pixeldq[y, x] | np.uint32(0 if known_gain else DO_NOT_USE | NO_GAIN_VALUE)


@compiled
def _bring_near(
    data: Array,
    groupdq: Array,
    begin: int,
    zeroframe: Array,
    y: int,
    x0: int,
    width: int,
    near: Array,
    near_flags: Array,
    near_zeros: Array,
) -> None:
    """Copy the ramps of several tiles: their parts of each group are long enough to be fetched ahead of their use."""
    for i in range(data.shape[0]):
        for g in range(data.shape[1]):
            given = data[i, g, y, begin + x0 : begin + x0 + width]
            bits = groupdq[i, g, y, begin + x0 : begin + x0 + width]
            values, flags = near[i, g, 0], near_flags[i, g, 0]
            for c in range(width):
                values[c] = given[c]
            for c in range(width):
                flags[c] = bits[c]
        if zeroframe.size:
            near_zeros[i, 0, :width] = zeroframe[i, y, x0 : x0 + width]


@compiled
def _tile_size(nints: int, used: int) -> tuple[int, int]:
    """Return how many pixels a tile has, and of how many integrations their ramps are held at once: all, or one."""
    most = TILE
    while most > TILE // 4 and nints * used * most * 5 > _ROOM:
        most //= 2
    return (most, nints) if nints * used * most * 5 <= _ROOM else (TILE, 1)


@compiled
def fit_ramps(
    data: Array,
    groupdq: Array,
    begin: int,
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
    images: tuple[Array, ...],
    integrations: tuple[Array, ...],
) -> None:
    """Fit all ramps of a block into ``images`` and ``integrations``.

    Parameters
    ----------
    data, groupdq : ndarray
        Ramps in DN, float32, and their flags, uint8: (integration, group, row, column).
    begin : int
        Columns of these before the first one of the images.
    pixeldq, gain, noise, dark : ndarray
        Images: flags uint32; electrons/DN; read noise of a group in electrons; electrons/s. float32.
    zeroframe : ndarray
        (integration, row, column) float32 in DN, or empty.
    groups : tuple of int
        First group and stop of what is fitted at all, then of what the parameters select.
    suppress : bool
        Whether ramps with a single good group count as without any.
    times : ndarray
        Of a group, of a lone first group and of a frame, in seconds.
    table : ndarray
        Made by `weight_table`.
    network : ndarray
        Made by `median_network` for the differences of the groups that are fitted.
    images, integrations : tuple of ndarray
        Written: slope, flags, error, Poisson variance and read variance; (integration, row, column),
        with one plane for the images.
    """
    nints, (nrows, ncols) = data.shape[0], pixeldq.shape
    first, used = groups[0], groups[1] - groups[0]
    most, slots = _tile_size(nints, used)
    ramps, flags = np.empty((slots, used, TILE), np.float32), np.empty((slots, used, TILE), np.uint8)
    counts, state = np.empty((slots, 5, TILE), np.uint16), np.empty((5, TILE), np.uint32)
    steps = aligned(np.empty(max(used - 1, 0) * TILE + SPARE, np.float32)).reshape(-1, TILE)
    turns, valid = np.empty((2, TILE), np.float32), np.empty(TILE, np.uint16)
    rates, totals, pixels = np.empty(TILE), np.empty((5, TILE)), np.empty((3, TILE))
    room = room_for_flagged(used)
    sums, values = np.ones((4, TILE)), np.empty((4, TILE))
    power, dqs, begun = np.empty(TILE, np.int64), np.empty(TILE, np.uint32), np.empty(TILE, np.uint32)
    weights, weighed, lost = np.empty((7, TILE)), 0, 0
    work, column, plain = np.empty(used + 1), np.empty((used, 1), np.uint8), np.empty(TILE, np.uint8)
    ngroups = data.shape[1]
    fits = nints * ngroups * _WIDE * 5 <= _ROOM
    wide = _WIDE if fits and most < ncols and nints * ngroups >= _STREAMS else 0
    near, near_flags = np.empty((nints, ngroups, 1, wide), np.float32), np.empty((nints, ngroups, 1, wide), np.uint8)
    near_zeros = np.empty((nints if zeroframe.size else 0, 1, wide), np.float32)
    for y in range(nrows):
        for x0 in range(0, ncols, most):
            width = min(most, ncols - x0)
            if wide and x0 % wide == 0:
                width_near = min(wide, ncols - x0)
                _bring_near(data, groupdq, begin, zeroframe, y, x0, width_near, near, near_flags, near_zeros)
            given, bits_given, zeros = (near, near_flags, near_zeros) if wide else (data, groupdq, zeroframe)
            row, place, shift = (0, x0 % wide, 0) if wide else (y, x0, begin)
            rates[:], totals[:], state[:] = 0.0, 0.0, 0
            for turn in range(2 * nints):
                i, slot = turn % nints, turn % nints % slots
                ramp, bits, found = ramps[slot], flags[slot], counts[slot]
                if turn < nints or slots < nints:
                    load_flags(bits_given, i, row, place + shift, width, groups, suppress, bits, found)
                    load_ramps(given, i, row, place + shift, place, width, first, zeros, suppress, ramp, bits, found)
                if turn < nints:
                    add_medians(ramp, bits, found, width, times, network, steps, turns, valid, rates)
                    lost = _all_flags(found, width) | (lost if turn else 0)
                    continue
                if turn == nints:
                    load_pixels(pixeldq, gain, noise, dark, y, x0, width, rates, nints, pixels, begun)
                    weighed = 0
                dqs[:width] = begun[:width]
                weighed = _fit_tile(
                    ramp,
                    bits,
                    found,
                    width,
                    pixels,
                    times,
                    table,
                    work,
                    room,
                    power,
                    sums,
                    values,
                    state,
                    totals,
                    dqs,
                    plain,
                    weights,
                    weighed,
                )
                if lost & CHARGELOSS:
                    _keep_read_noise(
                        groupdq,
                        i,
                        y,
                        begin + x0,
                        width,
                        groups,
                        column,
                        pixels,
                        times,
                        found,
                        room[0],
                        room[1],
                        values,
                        state,
                        totals,
                    )
                _store(integrations, i, y, x0, width, values, dqs)
            _finish_tile(state, width, nints, totals, values, dqs)
            _store(images, 0, y, x0, width, values, dqs)
