"""Compiled loops of ramp fitting. All arithmetic is float64; results are rounded to float32 once.

A pixel's ramps are gathered into contiguous buffers, a tile of neighbouring columns at a time, because
the groups of one pixel lie a whole plane apart in memory.
"""

from __future__ import annotations

import functools

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

__all__ = ["TABLED", "fit_ramps", "weight_table"]

TABLED = 128
"""Longest segment, in groups, whose weights come from a table."""

_POWERS = np.array([0.0, 0.4, 1.0, 3.0, 6.0, 10.0], np.float32)
"""Exponents of the weights for signal-to-noise below 5, 10, 20, 50, 100, and above (Fixsen)."""
_STEPS = np.array([5.0, 10.0, 20.0, 50.0, 100.0])
_HUGE = 1.0e6
"""Variances from here on, in (DN/s)^2, are taken as unknown and set to 0."""
_LASTING = ~PERSISTENCE & 0xFF
_INVALID = DO_NOT_USE | SATURATED
_TILE = 64


@compiled
def _fill_weights(length: int, power: np.float32, out: Array) -> None:
    """Fill the factors whose dot product with a segment is its weighted least-squares slope.

    With weights symmetric about the middle m of the segment, the slope is
    sum(w (x - m) y) / sum(w (x - m)^2). Weights are |x/m - 1|^power, in float32.
    """
    middle = (length - 1) / 2.0
    inverse = 1.0 / middle
    total = 0.0
    for k in range(length):
        weight = np.float64(np.float32(abs((k - middle) * inverse)) ** power)
        out[k] = weight * (k - middle)
        total += out[k] * (k - middle)
    for k in range(length):
        out[k] /= total


@functools.lru_cache(maxsize=8)
def weight_table(longest: int) -> Array:
    """Return the slope factors of all segments of 3 to ``longest`` groups.

    Parameters
    ----------
    longest : int
        Groups of the longest segment.

    Returns
    -------
    ndarray
        float64, (power, factor); those for n groups start at n (n - 1) / 2.
    """
    table = np.zeros((_POWERS.size, longest * (longest + 1) // 2 + 1))
    for p, power in enumerate(_POWERS):
        for length in range(3, longest + 1):
            start = length * (length - 1) // 2
            _fill_weights(length, power, table[p, start : start + length])
    return table


@compiled
def _find_segments(flags: Array, starts: Array, stops: Array) -> int:
    """Find the stretches of good groups; return how many are to be fitted.

    A stretch takes in the group before it if that has nothing but a jump. Persistence does not count
    as a flaw. Stretches of one group are fitted only if there are no longer ones, and then the first.
    """
    count, longest, begin = 0, 0, -1
    for k in range(flags.shape[0] + 1):
        good = k < flags.shape[0] and (flags[k] & _LASTING) == 0
        if good and begin < 0:
            begin = k - 1 if k > 0 and (flags[k - 1] & _LASTING) == JUMP_DET else k
        elif not good and begin >= 0:
            starts[count], stops[count] = begin, k
            longest = max(longest, k - begin)
            count += 1
            begin = -1
    if longest < 2:
        return min(count, 1)
    kept = 0
    for s in range(count):
        if stops[s] - starts[s] > 1:
            starts[kept], stops[kept] = starts[s], stops[s]
            kept += 1
    return kept


@compiled
def _median(values: Array, count: int) -> float:
    """Return the median of the first ``count`` values, which it sorts."""
    if count > 32:
        values[:count].sort()
    else:
        for k in range(1, count):
            value = values[k]
            j = k
            while j > 0 and values[j - 1] > value:
                values[j] = values[j - 1]
                j -= 1
            values[j] = value
    half = count // 2
    if count % 2:
        return values[half]
    return (values[half] + values[half - 1]) / 2.0


@compiled
def _median_step(ramp: Array, flags: Array, work: Array) -> float:
    """Return the median difference of consecutive groups in DN, leaving out jumps; NaN if unknown."""
    count = 0
    for k in range(ramp.shape[0] - 1):
        if (flags[k + 1] & JUMP_DET) == 0 and ((flags[k] | flags[k + 1]) & DO_NOT_USE) == 0:
            step = ramp[k + 1] - ramp[k]
            if not np.isnan(step):
                work[count] = step
                count += 1
    if count:
        return _median(work, count)
    return np.nan if flags[0] & DO_NOT_USE else ramp[0]


@compiled
def _slope(ramp: Array, gain: float, noise: float, table: Array, work: Array) -> float:
    """Return the slope of a segment of three groups or more, in DN a group."""
    n = ramp.shape[0]
    signal = ramp[n - 1] - ramp[0]
    variance = noise * noise + signal * gain
    ratio = 0.0
    if not (variance <= 0.0 or gain == 0.0):
        ratio = signal * gain / np.sqrt(variance)
    p = 0
    while p < 5 and not ratio < _STEPS[p]:
        p += 1
    if not np.isfinite(noise) or noise == 0.0:
        return np.nan
    total = 0.0
    if n * (n + 1) // 2 < table.shape[1]:
        start = n * (n - 1) // 2
        for k in range(n):
            total += table[p, start + k] * (0.0 if np.isnan(ramp[k]) else ramp[k])
        return total
    _fill_weights(n, _POWERS[p], work)
    for k in range(n):
        total += work[k] * (0.0 if np.isnan(ramp[k]) else ramp[k])
    return total


@compiled
def _read_variance(length: int, noise: float, gain: float, time: float) -> float:
    """Return the variance of a segment's slope from read noise, (DN/s)^2. 0 if it has no gain."""
    n = 2.0 if length < 2 else float(length)
    if n > 2.0 and (gain <= 0.0 or np.isnan(gain)):
        return 0.0
    ratio = noise / time
    return 12.0 * ratio * ratio / ((n * n * n - n) * gain * gain)


@compiled
def _known(variance: float) -> float:
    """Return a variance, or 0 if it is too large to mean anything."""
    return 0.0 if variance >= _HUGE else variance


@compiled
def _read_weight_kept(
    flags: Array, work: Array, noise: float, gain: float, times: Array, starts: Array, stops: Array
) -> float:
    """Return the read-noise weight that a ramp has if charge migration costs it no groups."""
    for k in range(flags.shape[0]):
        work[k] = flags[k]
        if flags[k] & CHARGELOSS:
            work[k] ^= DO_NOT_USE | CHARGELOSS
    total = 0.0
    for s in range(_find_segments(work, starts, stops)):
        length = stops[s] - starts[s]
        time = times[1] if length == 1 else times[0]
        variance = _read_variance(length, noise, gain, time)
        if variance > 0.0:
            total += 1.0 / variance
    return total


@compiled
def _survey(flags: Array, counts: Array) -> int:
    """Count good, unusable, saturated and spent groups; return all flags found."""
    counts[:] = 0
    found = 0
    for flag in flags:
        found |= flag
        counts[0] += flag == 0
        counts[1] += flag != 0 and (flag & DO_NOT_USE) != 0
        counts[2] += (flag & SATURATED) != 0
        counts[3] += (flag & _INVALID) != 0
    return found


@compiled
def _suppress(flags: Array) -> None:
    """Make a ramp with a single good group one without any."""
    good = 0
    for flag in flags:
        good += (flag & _LASTING) == 0
    if good == 1:
        for k in range(flags.shape[0]):
            flags[k] |= DO_NOT_USE


@compiled
def _fit_integration(
    ramp: Array,
    flags: Array,
    pixel: Array,
    one_time: float,
    table: Array,
    scratch: Array,
    starts: Array,
    stops: Array,
    sums: Array,
) -> int:
    """Fit one ramp: fill the sums of weights and return the number of segments.

    ``pixel`` is (gain, read noise, dark current, median rate, group time). ``sums`` gets the sums of
    inverse variances (read noise, Poisson, both) and of slopes weighted by read noise.
    """
    gain, noise, rate, time = pixel[0], pixel[1], pixel[2], pixel[4]
    if pixel[3] > 0.0:
        rate += pixel[3]
    sums[:] = 0.0
    count = _find_segments(flags, starts, stops)
    for s in range(count):
        begin, end = starts[s], stops[s]
        length = end - begin
        unit = one_time if length == 1 else time
        if length == 1:
            slope = ramp[begin] / unit
        elif length == 2:
            slope = (ramp[begin + 1] - ramp[begin]) / unit
        else:
            slope = _slope(ramp[begin:end], gain, noise, table, scratch) / unit
        poisson = rate / (unit * gain * max(length - 1.0, 1.0))
        read = _read_variance(length, noise, gain, unit)
        sums[0] += 1.0 / read
        if poisson > 0.0:
            sums[1] += 1.0 / poisson
        sums[2] += 1.0 / (poisson + read)
        sums[3] += slope / read
    return count


@compiled
def _store(out: tuple[Array, ...], at: tuple[int, ...], values: Array, dq: int) -> None:
    """Store slope, flags, error and the two variances of one pixel."""
    out[0][at] = values[0]
    out[1][at] = dq
    out[2][at] = values[1]
    out[3][at] = values[2]
    out[4][at] = values[3]


@compiled
def _begin(ramp: Array, flags: Array, counts: Array, zero: float, suppressed: bool) -> int:
    """Prepare one ramp and return which of the times is that of a lone group.

    Saturated groups become NaN. Unless lone groups are suppressed, a lone good first group has its own
    time, and a ramp without a good group starts from the zero frame, if that is not 0.
    """
    for k in range(flags.shape[0]):
        if flags[k] & SATURATED:
            ramp[k] = np.nan
    if suppressed:
        return 0
    if counts[0] == 1 and flags[0] == 0:
        return 1
    if counts[0] == 0 and zero != 0.0:
        ramp[0], flags[0] = zero, 0
        counts[0] = 1
        counts[3] -= 1
        if counts[2] == flags.shape[0]:
            counts[2] -= 1
        return 2
    return 0


@compiled
def _median_rate(ramps: Array, flags: Array, lone: Array, plain: Array, times: Array, work: Array) -> float:
    """Return the mean over integrations of the median rates, in DN/s."""
    nints, ngroups = ramps.shape
    total = 0.0
    for i in range(nints):
        if ngroups == 1:
            total += ramps[i, 0] / times[1]
            continue
        if plain[i]:
            rate = _median_step(ramps[i], flags[i], work) / times[0]
        else:
            rate = ramps[i, 0] / lone[i]
        if not np.isnan(rate):
            total += rate
    return total / nints


@compiled
def _settle(sums: Array, slope: float, out: Array) -> None:
    """Turn sums of inverse variances into slope, error, Poisson and read variance of an exposure."""
    poisson = 1.0 / sums[1] if sums[1] > 0.0 else sums[1]
    read = 1.0 / sums[0] if sums[0] > 0.0 else sums[0]
    out[2] = 0.0 if poisson >= _HUGE or poisson < 0.0 else poisson
    out[3] = _known(read)
    out[1] = np.sqrt(out[2] + out[3])
    out[0] = slope * out[3]


@compiled
def _settle_integration(sums: Array, out: Array) -> None:
    """Turn sums of inverse variances into slope, error, Poisson and read variance of a ramp."""
    out[2] = _known(1.0 / sums[1]) if sums[1] > 0.0 else 0.0
    out[3] = _known(1.0 / sums[0])
    total = 1.0 / sums[2]
    out[0] = sums[3] * out[3]
    out[1] = 0.0 if total > _HUGE else np.sqrt(total)


@compiled
def _fit_pixel(
    ramps: Array,
    flags: Array,
    original: Array,
    zeros: Array,
    pixel: Array,
    pixeldq: int,
    suppressed: bool,
    times: Array,
    table: Array,
    buffers: tuple[Array, ...],
    results: Array,
    dqs: Array,
) -> None:
    """Fit all ramps of one pixel.

    ``results`` gets (slope, error, Poisson variance, read variance) of each integration and, last, of
    the exposure; ``dqs`` their flags.
    """
    starts, stops, work, sums, total, lone, plain, counts = buffers
    nints, ngroups = ramps.shape
    gain, noise = pixel[0], pixel[1]
    if gain <= 0.0 or np.isnan(gain):
        pixeldq |= DO_NOT_USE | NO_GAIN_VALUE
    results[:] = 0.0
    total[:] = 0.0
    image_dq, migrated = pixeldq, 0
    for i in range(nints):
        found = _survey(flags[i], counts[i])
        kind = _begin(ramps[i], flags[i], counts[i], zeros[i], suppressed)
        lone[i], plain[i] = times[kind], kind == 0
        dqs[i] = pixeldq | (found & (JUMP_DET | PERSISTENCE))
        image_dq |= found & (JUMP_DET | PERSISTENCE)
        migrated |= found & CHARGELOSS
    pixel[3] = _median_rate(ramps, flags, lone, plain, times, work)
    unusable, saturated, partly = 0, 0, 0
    for i in range(nints):
        dq = dqs[i]
        if flags[i, 0] & SATURATED:
            dq |= _INVALID
        if counts[i, 3] == ngroups:
            dq |= DO_NOT_USE
            if counts[i, 2] == ngroups:
                dq |= SATURATED
        elif (flags[i, 0] & SATURATED) == 0 and _fit_integration(
            ramps[i], flags[i], pixel, lone[i], table, work, starts, stops, sums
        ):
            if dq & _INVALID:
                results[i, 0] = np.nan
            else:
                _settle_integration(sums, results[i])
            total += sums
        if dq & _INVALID:
            results[i, 0] = np.nan
        unusable += (dq & DO_NOT_USE) != 0
        saturated += (dq & SATURATED) != 0
        if counts[i, 2] > 0:
            dq |= SATURATED
            partly = SATURATED
        dqs[i] = dq
    if unusable == nints:
        image_dq |= DO_NOT_USE
    if saturated == nints:
        image_dq |= SATURATED
    if image_dq & _INVALID:
        results[nints, 0] = np.nan
    else:
        _settle(total, total[3], results[nints])
    dqs[nints] = image_dq | partly
    if migrated:
        _keep_read_noise(original, work, gain, noise, times, lone, starts, stops, results)


@compiled
def _keep_read_noise(
    original: Array,
    work: Array,
    gain: float,
    noise: float,
    times: Array,
    lone: Array,
    starts: Array,
    stops: Array,
    results: Array,
) -> None:
    """Set the read variances to those that the ramps have without groups lost to charge migration."""
    nints = original.shape[0]
    total = 0.0
    one = np.array([times[0], 0.0])
    scratch = np.empty(original.shape[1], np.uint8)
    for i in range(nints):
        lost = False
        for flag in original[i]:
            lost |= (flag & CHARGELOSS) != 0
        if lost:
            one[1] = lone[i]
            weight = _read_weight_kept(original[i], scratch, noise, gain, one, starts, stops)
            results[i, 3] = _known(1.0 / weight)
            total += weight
        elif results[i, 3] > 0.0:
            total += 1.0 / results[i, 3]
    if total > 0.0:
        results[nints, 3] = 1.0 / total
    results[nints, 3] = _known(results[nints, 3])


@compiled
def _gather(
    data: Array,
    groupdq: Array,
    y: int,
    x0: int,
    x1: int,
    first: int,
    select: tuple[int, int],
    suppress: bool,
    ramps: Array,
    flags: Array,
    original: Array,
    whole: Array,
) -> None:
    """Copy the ramps of pixels x0 to x1 of a row, pixel by pixel, with their flags as to be used."""
    nints, ngroups = data.shape[0], data.shape[1]
    used = ramps.shape[2]
    for i in range(nints):
        for g in range(ngroups):
            outside = DO_NOT_USE if g < select[0] or g >= select[1] else 0
            for x in range(x0, x1):
                whole[x - x0, g] = groupdq[i, g, y, x] | outside
            if first <= g < first + used:
                for x in range(x0, x1):
                    ramps[x - x0, i, g - first] = data[i, g, y, x]
                    original[x - x0, i, g - first] = whole[x - x0, g]
        for x in range(x1 - x0):
            if suppress:
                _suppress(whole[x])
            for k in range(used):
                flags[x, i, k] = whole[x, first + k]
            if first > 0:
                flags[x, i, 0] &= ~JUMP_DET & 0xFF


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
    times: tuple[float, ...],
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
    times : tuple of float
        Of a group, of a lone first group and of a frame, in seconds.
    table : ndarray
        Made by `weight_table`.
    images, integrations : tuple of ndarray
        Written: slope, flags, error, Poisson variance and read variance.
    """
    nints, _, nrows, ncols = data.shape
    first, used = groups[0], groups[1] - groups[0]
    clock = np.array([times[0], times[1], times[2]])
    ramps = np.empty((_TILE, nints, used))
    flags = np.empty((_TILE, nints, used), np.uint8)
    original = np.empty((_TILE, nints, used), np.uint8)
    whole = np.empty((_TILE, data.shape[1]), np.uint8)
    zeros, pixel = np.zeros(nints), np.zeros(5)
    pixel[4] = clock[0]
    results, dqs = np.empty((nints + 1, 4)), np.empty(nints + 1, np.int64)
    starts, stops = np.empty(used + 1, np.int64), np.empty(used + 1, np.int64)
    work, sums, total = np.empty(used + 1), np.empty(4), np.empty(4)
    lone, plain = np.empty(nints), np.empty(nints, np.bool_)
    counts = np.empty((nints, 4), np.int64)
    buffers = (starts, stops, work, sums, total, lone, plain, counts)
    for y in range(nrows):
        for x0 in range(0, ncols, _TILE):
            x1 = min(x0 + _TILE, ncols)
            _gather(
                data,
                groupdq,
                y,
                x0,
                x1,
                first,
                (groups[2], groups[3]),
                suppress,
                ramps,
                flags,
                original,
                whole,
            )
            for x in range(x0, x1):
                if zeroframe.size:
                    for i in range(nints):
                        zeros[i] = zeroframe[i, y, x]
                pixel[0], pixel[1], pixel[2] = gain[y, x], noise[y, x], dark[y, x]
                _fit_pixel(
                    ramps[x - x0],
                    flags[x - x0],
                    original[x - x0],
                    zeros,
                    pixel,
                    np.int64(pixeldq[y, x]),
                    suppress,
                    clock,
                    table,
                    buffers,
                    results,
                    dqs,
                )
                _store(images, (y, x), results[nints], dqs[nints])
                for i in range(nints):
                    _store(integrations, (i, y, x), results[i], dqs[i])
