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
    groupdq: Array, i: int, y: int, x0: int, width: int, groups: tuple[int, ...], suppress: bool,
    flags: Array, counts: Array,
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
    data: Array, i: int, y: int, x0: int, width: int, first: int, zeroframe: Array, suppress: bool,
    ramps: Array, flags: Array, counts: Array,
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
            usable = ((either & DO_NOT_USE) | jump) == 0 and step == step
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
    ramps: Array, flags: Array, counts: Array, width: int, times: Array, steps: Array,
    valid: Array, rates: Array,
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
        if rate == rate:
            rates[c] += rate


@compiled
def _store(out: tuple[Array, ...], i: int, y: int, x: int, values: Array, dq: int) -> None:
    """Store slope, flags, error and the two variances of one pixel."""
    out[0][i, y, x] = values[0]
    out[1][i, y, x] = dq
    out[2][i, y, x] = values[1]
    out[3][i, y, x] = values[2]
    out[4][i, y, x] = values[3]


@compiled
def _read_kept(
    groupdq: Array, i: int, y: int, x: int, groups: tuple[int, ...], column: Array, gain: float,
    noise: float, time: float, lone: float, starts: Array, stops: Array,
) -> float:
    """Return the read-noise weight of a ramp as if charge migration cost it no groups."""
    ramp = np.empty(column.shape[0], np.uint8)
    for k in range(column.shape[0]):
        g = groups[0] + k
        ramp[k] = groupdq[i, g, y, x] | (DO_NOT_USE if g < groups[2] or g >= groups[3] else 0)
    return kept_read_weight(ramp, column, gain, noise, time, lone, starts, stops)


@compiled
def _fit_ramp(
    ramps: Array, flags: Array, counts: Array, c: int, dq: int, gain: float, noise: float,
    rate: float, times: Array, table: Array, work: Array, starts: Array, stops: Array,
    sums: Array, values: Array, state: Array, totals: Array,
) -> int:
    """Fit one ramp into ``values``, add it to the pixel's totals, and return its flags."""
    used = ramps.shape[0]
    found = counts[_FOUND, c]
    dq |= found & (JUMP_DET | PERSISTENCE)
    values[:] = 0.0
    spent = flags[0, c] & SATURATED
    if spent:
        dq |= INVALID
    fitted = False
    if counts[_SPENT, c] == used:
        dq |= DO_NOT_USE
        if counts[_FULL, c] == used:
            dq |= SATURATED
    elif found == 0 and used > 2:
        fit_clean(ramps, c, gain, noise, rate, times[0], table, work, sums)
        fitted = True
    elif not spent:
        lone = times[counts[_LONE, c]]
        fitted = fit_segments(
            ramps, flags, c, gain, noise, rate, times[0], lone, table, work, starts, stops, sums
        ) > 0
    if fitted:
        if not dq & INVALID:
            settle_integration(sums, values)
        for k in range(4):
            totals[k, c] += sums[k]
    if dq & INVALID:
        values[0] = np.nan
    state[_DQ, c] |= found & (JUMP_DET | PERSISTENCE)
    state[_UNUSABLE, c] += (dq & DO_NOT_USE) != 0
    state[_SATURATED, c] += (dq & SATURATED) != 0
    if counts[_FULL, c] > 0:
        state[_PARTLY, c] = SATURATED
        dq |= SATURATED
    return dq


@compiled
def _finish_pixel(state: Array, c: int, nints: int, totals: Array, values: Array) -> int:
    """Fill the results of the exposure for one pixel and return its flags."""
    dq = state[_DQ, c]
    if state[_UNUSABLE, c] == nints:
        dq |= DO_NOT_USE
    if state[_SATURATED, c] == nints:
        dq |= SATURATED
    values[:] = 0.0
    if dq & INVALID:
        values[0] = np.nan
    else:
        settle_image(totals, c, values)
    if state[_LOST, c]:
        if totals[4, c] > 0.0:
            values[3] = 1.0 / totals[4, c]
        values[3] = known(values[3])
    return dq | state[_PARTLY, c]


@compiled
def fit_ramps(
    data: Array, groupdq: Array, pixeldq: Array, zeroframe: Array, gain: Array, noise: Array,
    dark: Array, groups: tuple[int, int, int, int], suppress: bool, times: Array, table: Array,
    images: tuple[Array, ...], integrations: tuple[Array, ...],
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
    rates, totals = np.empty(_TILE), np.empty((5, _TILE))
    starts, stops = np.empty(used + 1, np.int64), np.empty(used + 1, np.int64)
    work, sums, values = np.empty(used + 1), np.empty(4), np.empty(4)
    column = np.empty((used, 1), np.uint8)
    for y in range(nrows):
        for x0 in range(0, ncols, _TILE):
            width = min(_TILE, ncols - x0)
            rates[:], totals[:], state[:] = 0.0, 0.0, 0
            for turn in range(2 * nints):
                i = turn % nints
                if turn < nints or nints > 1:
                    _load_flags(groupdq, i, y, x0, width, groups, suppress, flags, counts)
                    _load_ramps(
                        data, i, y, x0, width, first, zeroframe, suppress, ramps, flags, counts
                    )
                if turn < nints:
                    _add_medians(ramps, flags, counts, width, times, steps, valid, rates)
                    continue
                for c in range(width):
                    x = x0 + c
                    g, n = np.float64(gain[y, x]), np.float64(noise[y, x])
                    dq = np.int64(pixeldq[y, x])
                    if g <= 0.0 or np.isnan(g):
                        dq |= DO_NOT_USE | NO_GAIN_VALUE
                    state[_DQ, c] |= dq
                    rate = np.float64(dark[y, x])
                    if rates[c] > 0.0:
                        rate += rates[c] / nints
                    dq = _fit_ramp(
                        ramps, flags, counts, c, dq, g, n, rate, times, table, work, starts, stops,
                        sums, values, state, totals,
                    )
                    if counts[_FOUND, c] & CHARGELOSS:
                        lone = times[counts[_LONE, c]]
                        weight = _read_kept(
                            groupdq, i, y, x, groups, column, g, n, times[0], lone, starts, stops
                        )
                        values[3] = known(1.0 / weight)
                        totals[4, c] += weight
                        state[_LOST, c] = 1
                    elif values[3] > 0.0:
                        totals[4, c] += 1.0 / values[3]
                    _store(integrations, i, y, x, values, dq)
            for c in range(width):
                dq = _finish_pixel(state, c, nints, totals, values)
                _store(images, 0, y, x0 + c, values, dq)
