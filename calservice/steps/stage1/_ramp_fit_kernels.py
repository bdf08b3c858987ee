"""Compiled loops of ramp fitting over tiles of neighbouring pixels.

A tile holds the ramps of up to 64 pixels of one row, (group, pixel), so that flags are counted and
medians are found for all of them at once in vector registers. The fit itself looks at one pixel at a
time (`_ramp_fit_segments`). Results are rounded from float64 to float32 once, when they are stored.
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
from calservice.steps.compiled import compiled
from calservice.steps.stage1._ramp_fit_segments import (
    INVALID,
    LASTING,
    TABLED,
    fit_clean,
    fit_segments,
    kept_read_weight,
    known,
    settle_image,
    settle_integration,
    weight_table,
)

__all__ = ["TABLED", "fit_ramps", "weight_table"]

_TILE = 64
_NETWORK = 48
"""Most values that are sorted by comparing neighbours in vector registers."""

# Rows of the counts of a tile.
_GOOD, _FULL, _SPENT, _FOUND, _LONE = range(5)
# Rows of the state of a tile's images.
_DQ, _UNUSABLE, _SATURATED, _PARTLY, _LOST = range(5)


@compiled
def _load_flags(
    groupdq: Array,
    i: int,
    y: int,
    x0: int,
    width: int,
    groups: tuple[int, ...],
    suppress: bool,
    flags: Array,
    counts: Array,
) -> None:
    """Fill a tile's flags as they are to be used, and count them.

    Groups outside of the selected ones are not used. If asked for, a ramp with a single good group
    counts as one without any. After discarded groups, a jump in the first group is none.
    """
    first, used = groups[0], flags.shape[0]
    for c in range(width):
        counts[_GOOD, c] = 0
    for g in range(groupdq.shape[1]):
        outside = np.uint8(DO_NOT_USE if g < groups[2] or g >= groups[3] else 0)
        for c in range(width):
            counts[_GOOD, c] += ((groupdq[i, g, y, x0 + c] | outside) & LASTING) == 0
        if first <= g < first + used:
            for c in range(width):
                flags[g - first, c] = groupdq[i, g, y, x0 + c] | outside
    for c in range(width):
        if suppress and counts[_GOOD, c] == 1:
            for g in range(used):
                flags[g, c] |= DO_NOT_USE
        if first > 0:
            flags[0, c] &= ~JUMP_DET & 0xFF
        for k in range(4):
            counts[k, c] = 0
    for g in range(used):
        for c in range(width):
            flag = np.int32(flags[g, c])
            counts[_GOOD, c] += flag == 0
            counts[_FULL, c] += (flag & SATURATED) != 0
            counts[_SPENT, c] += (flag & INVALID) != 0
            counts[_FOUND, c] |= flag


@compiled
def _load_ramps(
    data: Array,
    i: int,
    y: int,
    x0: int,
    width: int,
    first: int,
    zeroframe: Array,
    suppress: bool,
    ramps: Array,
    flags: Array,
    counts: Array,
) -> None:
    """Fill a tile's ramps, NaN where saturated, and tell which of the times a lone group has.

    Unless lone groups are suppressed, a lone good first group has a time of its own (1), and a ramp
    without a good group starts from the zero frame (2), if there is one that is not 0.
    """
    used = ramps.shape[0]
    for g in range(used):
        for c in range(width):
            saturated = (flags[g, c] & SATURATED) != 0
            ramps[g, c] = np.nan if saturated else np.float64(data[i, first + g, y, x0 + c])
    for c in range(width):
        counts[_LONE, c] = 0
        if suppress:
            continue
        if counts[_GOOD, c] == 1 and flags[0, c] == 0:
            counts[_LONE, c] = 1
        elif counts[_GOOD, c] == 0 and zeroframe.size and zeroframe[i, y, x0 + c] != 0:
            counts[_LONE, c] = 2
            ramps[0, c], flags[0, c] = zeroframe[i, y, x0 + c], 0
            counts[_SPENT, c] -= 1
            if counts[_FULL, c] == used:
                counts[_FULL, c] -= 1


@compiled
def _steps(ramps: Array, flags: Array, width: int, steps: Array, valid: Array) -> None:
    """Fill the differences of consecutive groups, infinite where unusable, and count the others."""
    for c in range(width):
        valid[c] = 0
    for g in range(ramps.shape[0] - 1):
        for c in range(width):
            either = np.int32(flags[g, c] | flags[g + 1, c])
            jump = np.int32(flags[g + 1, c]) & JUMP_DET
            step = ramps[g + 1, c] - ramps[g, c]
            usable = ((either & DO_NOT_USE) | jump) == 0 and not np.isnan(step)
            steps[g, c] = step if usable else np.inf
            valid[c] += usable


@compiled
def _sort(steps: Array, width: int) -> None:
    """Sort each pixel's values."""
    n = steps.shape[0]
    if n > _NETWORK:
        for c in range(width):
            steps[:, c] = np.sort(steps[:, c])
        return
    for turn in range(n):
        for j in range(turn % 2, n - 1, 2):
            for c in range(width):
                a, b = steps[j, c], steps[j + 1, c]
                steps[j, c] = a if a < b else b
                steps[j + 1, c] = b if a < b else a


@compiled
def _add_medians(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    times: Array,
    steps: Array,
    valid: Array,
    rates: Array,
) -> None:
    """Add the median rate of each ramp of a tile, in DN/s, to ``rates``; unknown ones count as 0."""
    n = ramps.shape[0]
    if n == 1:
        for c in range(width):
            rates[c] += ramps[0, c] / times[1]
        return
    _steps(ramps, flags, width, steps, valid)
    _sort(steps, width)
    for c in range(width):
        half = valid[c] // 2
        if counts[_LONE, c]:
            rate = ramps[0, c] / times[counts[_LONE, c]]
        elif valid[c] == 0:
            rate = np.nan if flags[0, c] & DO_NOT_USE else ramps[0, c] / times[0]
        elif valid[c] % 2:
            rate = steps[half, c] / times[0]
        else:
            rate = (steps[half, c] + steps[half - 1, c]) / 2.0 / times[0]
        if not np.isnan(rate):
            rates[c] += rate


@compiled
def _store(out: tuple[Array, ...], i: int, y: int, x0: int, width: int, values: Array, dqs: Array) -> None:
    """Store slopes, flags, errors and the two variances of a tile."""
    for c in range(width):
        out[0][i, y, x0 + c] = values[0, c]
    for c in range(width):
        out[1][i, y, x0 + c] = dqs[c]
    for c in range(width):
        out[2][i, y, x0 + c] = values[1, c]
    for c in range(width):
        out[3][i, y, x0 + c] = values[2, c]
    for c in range(width):
        out[4][i, y, x0 + c] = values[3, c]


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
        if counts[_FOUND, c] & CHARGELOSS:
            for k in range(column.shape[0]):
                g = groups[0] + k
                outside = DO_NOT_USE if g < groups[2] or g >= groups[3] else 0
                ramp[k] = groupdq[i, g, y, x0 + c] | outside
            lone = times[counts[_LONE, c]]
            gain, noise = pixels[0, c], pixels[1, c]
            weight = kept_read_weight(ramp, column, gain, noise, times[0], lone, starts, stops)
            values[3, c] = known(1.0 / weight)
            totals[4, c] += weight
            state[_LOST, c] = 1
        elif values[3, c] > 0.0:
            totals[4, c] += 1.0 / values[3, c]


@compiled
def _fit_tile(
    ramps: Array,
    flags: Array,
    counts: Array,
    width: int,
    pixels: Array,
    times: Array,
    table: Array,
    work: Array,
    starts: Array,
    stops: Array,
    power: Array,
    sums: Array,
    values: Array,
    state: Array,
    totals: Array,
    dqs: Array,
) -> None:
    """Fit one ramp of each pixel of a tile, and add it to the totals and the state of the exposure."""
    used = ramps.shape[0]
    quick = 2 < used <= TABLED
    if quick:
        fit_clean(ramps, width, pixels, times[0], table, power, sums)
    for c in range(width):
        found = counts[_FOUND, c]
        dq = dqs[c] | (found & (JUMP_DET | PERSISTENCE))
        fitted = True
        if not (quick and found == 0):
            spent = (flags[0, c] & SATURATED) != 0
            if spent:
                dq |= INVALID
            if counts[_SPENT, c] == used:
                dq |= DO_NOT_USE
                if counts[_FULL, c] == used:
                    dq |= SATURATED
                fitted = False
            else:
                fitted = not spent and fit_segments(
                    ramps,
                    flags,
                    c,
                    pixels,
                    times[0],
                    times[counts[_LONE, c]],
                    table,
                    work,
                    starts,
                    stops,
                    sums,
                )
        if fitted:
            for k in range(4):
                totals[k, c] += sums[k, c]
        state[_DQ, c] |= dqs[c] | (found & (JUMP_DET | PERSISTENCE))
        state[_UNUSABLE, c] += dq & DO_NOT_USE
        state[_SATURATED, c] += (dq & SATURATED) != 0
        power[c] = fitted
        dqs[c] = dq
    settle_integration(sums, width, values)
    for c in range(width):
        if not power[c] or dqs[c] & INVALID:
            for k in range(4):
                values[k, c] = 0.0
            if dqs[c] & INVALID:
                values[0, c] = np.nan
        if counts[_FULL, c] > 0:
            state[_PARTLY, c] = SATURATED
            dqs[c] |= SATURATED


@compiled
def _finish_tile(state: Array, width: int, nints: int, totals: Array, values: Array, dqs: Array) -> None:
    """Fill the results of the exposure for a tile."""
    settle_image(totals, width, values)
    for c in range(width):
        dq = state[_DQ, c]
        if state[_UNUSABLE, c] == nints:
            dq |= DO_NOT_USE
        if state[_SATURATED, c] == nints:
            dq |= SATURATED
        if dq & INVALID:
            values[0, c] = np.nan
            for k in range(1, 4):
                values[k, c] = 0.0
        if state[_LOST, c]:
            if totals[4, c] > 0.0:
                values[3, c] = 1.0 / totals[4, c]
            values[3, c] = known(values[3, c])
        dqs[c] = dq | state[_PARTLY, c]


@compiled
def _load_pixels(
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
def fit_ramps(
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
    images: tuple[Array, ...],
    integrations: tuple[Array, ...],
) -> None:
    """Fit all ramps of a block into ``images`` and ``integrations``.

    Parameters
    ----------
    data, groupdq : ndarray
        Ramps in DN, float32, and their flags, uint8: (integration, group, row, column).
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
    images, integrations : tuple of ndarray
        Written: slope, flags, error, Poisson variance and read variance; (integration, row, column),
        with one plane for the images.
    """
    nints, nrows, ncols = data.shape[0], data.shape[2], data.shape[3]
    first, used = groups[0], groups[1] - groups[0]
    ramps, flags = np.empty((used, _TILE)), np.empty((used, _TILE), np.uint8)
    steps, valid = np.empty((max(used - 1, 0), _TILE)), np.empty(_TILE, np.int32)
    counts, state = np.empty((5, _TILE), np.int32), np.empty((5, _TILE), np.int64)
    rates, totals, pixels = np.empty(_TILE), np.empty((5, _TILE)), np.empty((3, _TILE))
    starts, stops = np.empty(used + 1, np.int64), np.empty(used + 1, np.int64)
    sums, values = np.ones((4, _TILE)), np.empty((4, _TILE))
    power, dqs = np.empty(_TILE, np.int64), np.empty(_TILE, np.int64)
    work, column = np.empty(used + 1), np.empty((used, 1), np.uint8)
    for y in range(nrows):
        for x0 in range(0, ncols, _TILE):
            width = min(_TILE, ncols - x0)
            rates[:], totals[:], state[:] = 0.0, 0.0, 0
            for turn in range(2 * nints):
                i = turn % nints
                if turn < nints or nints > 1:
                    _load_flags(groupdq, i, y, x0, width, groups, suppress, flags, counts)
                    _load_ramps(data, i, y, x0, width, first, zeroframe, suppress, ramps, flags, counts)
                if turn < nints:
                    _add_medians(ramps, flags, counts, width, times, steps, valid, rates)
                    continue
                _load_pixels(pixeldq, gain, noise, dark, y, x0, width, rates, nints, pixels, dqs)
                _fit_tile(
                    ramps,
                    flags,
                    counts,
                    width,
                    pixels,
                    times,
                    table,
                    work,
                    starts,
                    stops,
                    power,
                    sums,
                    values,
                    state,
                    totals,
                    dqs,
                )
                _keep_read_noise(
                    groupdq,
                    i,
                    y,
                    x0,
                    width,
                    groups,
                    column,
                    pixels,
                    times,
                    counts,
                    starts,
                    stops,
                    values,
                    state,
                    totals,
                )
                _store(integrations, i, y, x0, width, values, dqs)
            _finish_tile(state, width, nints, totals, values, dqs)
            _store(images, 0, y, x0, width, values, dqs)
