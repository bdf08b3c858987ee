"""Compiled functions of ramp fitting that look at the segments of one ramp.

Ramps come as a tile of neighbouring pixels, (group, pixel) float32, and the pixel's number ``c`` in it. All
arithmetic is float64.
"""

from __future__ import annotations

import functools

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import CHARGELOSS, DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED
from calservice.steps.compiled import compiled, inlined

__all__ = [
    "INVALID",
    "LASTING",
    "POWERS",
    "TABLED",
    "common_segment",
    "fill_powers",
    "fill_weights",
    "find_segments",
    "fit_clean",
    "kept_read_weight",
    "known",
    "or_zero",
    "read_variance",
    "settle",
    "settle_image",
    "signal_power",
    "weigh_pixels",
    "weight",
    "weight_table",
]

TABLED = 128
"""Longest segment, in groups, whose weights come from a table."""

LASTING = ~PERSISTENCE & 0xFF
"""The flags that make a group unfit for the fit: all but persistence."""

INVALID = DO_NOT_USE | SATURATED
"""The flags of a pixel that make its rate unknown."""

_POWERS = np.array([0.0, 0.4, 1.0, 3.0, 6.0, 10.0], np.float32)
"""Exponents of the weights for signal-to-noise below 5, 10, 20, 50, 100, and above (Fixsen)."""

POWERS = _POWERS.size
"""Number of exponents."""

_STEPS = np.array([5.0, 10.0, 20.0, 50.0, 100.0])

_HUGE = 1.0e6
"""Variances from here on, in (DN/s)^2, are taken as unknown and set to 0."""


@compiled
def weight(k: int, middle: float, inverse: float, p: int) -> float:
    """Return the weight |k/middle - 1|^power of group ``k`` of a segment, in float32; ``inverse`` is 1/middle."""
    return np.float64(np.float32(abs((k - middle) * inverse)) ** _POWERS[p])


@compiled
def fill_weights(length: int, p: int, out: Array, start: int) -> None:
    """Fill the factors whose dot product with a segment is its weighted least-squares slope.

    With weights symmetric about the middle m of the segment, the slope is
    sum(w (x - m) y) / sum(w (x - m)^2). The factors of two groups as far from the middle are the same but for their
    signs: it is enough to multiply the differences of such groups with those of the later half.
    """
    middle = (length - 1) / 2.0
    inverse = 1.0 / middle
    total = 0.0
    for k in range(length):
        out[start + k] = weight(k, middle, inverse, p) * (k - middle)
        total += out[start + k] * (k - middle)
    for k in range(length):
        out[start + k] /= total


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
    for p in range(_POWERS.size):
        for length in range(3, longest + 1):
            fill_weights(length, p, table[p], length * (length - 1) // 2)
    return table


@inlined
def known(variance: float) -> float:
    """Return a variance, or 0 if it is too large to mean anything."""
    return 0.0 if variance >= _HUGE else variance


@inlined
def or_zero(value: float) -> float:
    """Return a value as float64, NaN as 0."""
    return 0.0 if np.isnan(value) else np.float64(value)


@inlined
def signal_power(signal: float, gain: float, noise: float) -> int:
    """Return which exponent serves a segment whose ends differ by ``signal`` DN."""
    electrons: float = np.float64(signal) * gain
    variance = np.float64(noise) * noise + electrons
    root: float = np.sqrt(variance)
    root, electrons = (1.0, 0.0) if variance <= 0.0 or gain == 0.0 else (root, electrons)
    power = 0
    for step in range(5):
        power += not electrons < _STEPS[step] * root
    return power


@inlined
def read_variance(length: float, noise: float, gain: float, time: float) -> float:
    """Return the variance of a segment's slope from read noise, (DN/s)^2. 0 if it has no gain."""
    n = max(float(length), 2.0)
    if n > 2.0 and (gain <= 0.0 or np.isnan(gain)):
        return 0.0
    ratio = noise / time
    return 12.0 * ratio * ratio / ((n * n * n - n) * gain * gain)


@inlined
def find_segments(flags: Array, c: int, starts: Array, stops: Array) -> int:
    """Find the stretches of good groups; return how many are to be fitted.

    A stretch takes in the group before it if that has nothing but a jump. Persistence does not count
    as a flaw. Stretches of one group are fitted only if there are no longer ones, and then the first.
    """
    n = flags.shape[0]
    count, longest, begin = 0, 0, -1
    for k in range(n + 1):
        good = k < n and (flags[k, c] & LASTING) == 0
        if good and begin < 0:
            begin = k - 1 if k > 0 and (flags[k - 1, c] & LASTING) == JUMP_DET else k
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


@inlined
def common_segment(flags: Array, width: int, plain: Array) -> tuple[int, int]:
    """Find the first and last group that most ramps of a tile have; return the range.

    ``plain`` gets which ramps have no flag in it, and cannot use any group outside of it: it is their only segment.
    """
    begin, end = flags.shape[0], 0
    for g in range(flags.shape[0]):
        row, lost = flags[g, :width], np.uint8(0)
        for c in range(width):
            lost = np.uint8(lost + (row[c] & np.uint8(DO_NOT_USE)))
        if 2 * lost < width:
            begin, end = min(begin, g), g + 1
    alike = plain[:width]
    alike[:] = 1
    for g in range(flags.shape[0]):
        row = flags[g, :width]
        mask, wanted = (np.uint8(255), np.uint8(0)) if begin <= g < end else (np.uint8(INVALID), np.uint8(DO_NOT_USE))
        for c in range(width):
            alike[c] &= (row[c] & mask) == wanted
    return begin, end


@inlined
def _settled(read: float, poisson: float, total: float) -> tuple[float, float, float]:
    """Return read variance, Poisson variance and error as results tell them: 0 where they mean nothing."""
    return (
        0.0 if read >= _HUGE else read,
        0.0 if poisson >= _HUGE or not poisson > 0.0 else poisson,
        0.0 if total > _HUGE else np.sqrt(total),
    )


@inlined
def settle(sums: Array, width: int, values: Array) -> None:
    """Turn sums of inverse variances (read noise, Poisson, both) into read variances, Poisson variances and errors."""
    for c in range(width):
        values[0, c], values[1, c], values[2, c] = _settled(1.0 / sums[0, c], 1.0 / sums[1, c], 1.0 / sums[2, c])


@inlined
def weigh_pixels(n: int, width: int, pixels: Array, time: float, weights: Array) -> None:
    """Fill what segments of ``n`` groups, three or more, weigh by pixel.

    ``weights`` get the inverse variances (read noise, Poisson, both), the factor that makes DN a group a weighed slope,
    and what `settle` makes of a ramp with this segment alone: read variance, Poisson variance, error.
    """
    of_read, of_poisson, rate = 12.0 / ((1.0 * n * n * n - n) * time * time), 1.0 / (time * (n - 1.0)), 1.0 / time
    for c in range(width):
        gain, noise = pixels[0, c], pixels[1, c]
        read = of_read * noise * noise / (gain * gain)
        read = read if gain > 0.0 else 0.0
        poisson = of_poisson * pixels[2, c] / gain
        weights[0, c] = 1.0 / read
        weights[1, c] = 1.0 / poisson if poisson > 0.0 else 0.0
        weights[2, c] = 1.0 / (poisson + read)
        weights[3, c] = rate * weights[0, c] if noise - noise == 0.0 and noise != 0.0 else np.nan
        weights[4, c], weights[5, c], weights[6, c] = _settled(read, poisson, poisson + read)


@inlined
def fill_powers(signals: Array, gains: Array, noises: Array, count: int, power: Array) -> None:
    """Fill which exponents serve segments whose ends differ by ``signals`` DN, see `signal_power`."""
    for k in range(count):
        power[k] = signal_power(signals[k], gains[k], noises[k])


@inlined
def fit_clean(
    ramps: Array,
    groups: tuple[int, int],
    width: int,
    pixels: Array,
    table: Array,
    weights: Array,
    power: Array,
    sums: Array,
) -> None:
    """Fit a range of groups of all ramps of a tile as if none had a flag: three groups or more, up to `TABLED`.

    ``pixels`` are gain, read noise and Poisson rate by pixel; ``weights`` are made by `weigh_pixels`; ``power`` is
    room for a number a pixel; ``sums`` get the sums of `fit_flagged` for each pixel.
    """
    first, n = groups[0], groups[1] - groups[0]
    place = n * (n - 1) // 2
    signal = sums[0, :width]
    for c in range(width):
        signal[c] = np.float64(ramps[first + n - 1, c]) - np.float64(ramps[first, c])
    fill_powers(signal, pixels[0], pixels[1], width, power)
    slope = sums[3, :width]
    slope[:] = 0.0
    for k in range(n // 2):
        lower, upper, at = ramps[first + k, :width], ramps[first + n - 1 - k, :width], place + n - 1 - k
        a, b, d = table[0, at], table[1, at], table[2, at]
        e, f, g = table[3, at], table[4, at], table[5, at]
        for c in range(width):
            p = power[c]
            low, high = a if p == 0 else (b if p == 1 else d), e if p == 3 else (f if p == 4 else g)
            slope[c] += (low if p < 3 else high) * (or_zero(upper[c]) - or_zero(lower[c]))
    for c in range(width):
        sums[0, c], sums[1, c], sums[2, c] = weights[0, c], weights[1, c], weights[2, c]
        slope[c] *= weights[3, c]


@compiled
def kept_read_weight(
    groupdq: Array,
    column: Array,
    gain: float,
    noise: float,
    time: float,
    lone: float,
    starts: Array,
    stops: Array,
) -> float:
    """Return the read-noise weight that a ramp has if charge migration costs it no groups.

    ``groupdq`` are the flags of the ramp's groups as they came, (group,); ``column`` is room for as
    many, (group, 1).
    """
    for k in range(groupdq.shape[0]):
        column[k, 0] = groupdq[k]
        if groupdq[k] & CHARGELOSS:
            column[k, 0] ^= DO_NOT_USE | CHARGELOSS
    total = 0.0
    for s in range(find_segments(column, 0, starts, stops)):
        length = stops[s] - starts[s]
        variance = read_variance(length, noise, gain, lone if length == 1 else time)
        if variance > 0.0:
            total += 1.0 / variance
    return total


@inlined
def settle_image(sums: Array, width: int, values: Array) -> None:
    """Turn the sums over all ramps of a tile's pixels into the same for the exposure."""
    for c in range(width):
        poisson = 1.0 / sums[1, c] if sums[1, c] > 0.0 else sums[1, c]
        read = 1.0 / sums[0, c] if sums[0, c] > 0.0 else sums[0, c]
        poisson = 0.0 if poisson >= _HUGE or poisson < 0.0 else poisson
        read = 0.0 if read >= _HUGE else read
        values[0, c], values[1, c], values[2, c], values[3, c] = (
            sums[3, c] * read,
            np.sqrt(poisson + read),
            poisson,
            read,
        )
