"""Fourier transforms of IRS2 time series, whose length is 89 times a power of two.

Official results depend, in their last digits, on the precision of NumPy's transforms. Its forward one computes here in
double precision and rounds the result: any algorithm of that precision gives the same, but for one value in some 10^8.
Its inverse one computes in single precision: that here has the same factors and order of operations, and so the same
rounding, but makes only the real part, and does the factor 89, which takes most of the time, for many lines at once.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled
from calservice.steps.stage1._refpix_irs2_layout import LENGTH

__all__ = ["band_spectrum", "real_inverse", "spectrum"]

_EIGHTS, _FOURS, _LAST = 4, 1, 89
_LINES = 64
"""Lines of the last pass that are worked on at once, while they are in the cache."""
_SHORT = LENGTH // _LAST
_COLUMNS = 32
"""Frequencies of short transforms that are worked on at once, while they are in the cache."""
_HALF_ROOT = np.float32(0.70710678118654752440)


@cache
def _twiddles() -> tuple[tuple[Array, ...], Array]:
    """Return the factors of each pass, (radix - 1, length, 2) float32, and of the last one, (89, 2)."""
    made = []
    before = 1
    for radix in (8,) * _EIGHTS + (4,) * _FOURS:
        length = LENGTH // (before * radix)
        steps = np.arange(1, radix)[:, None] * np.arange(length)[None, :] * before
        made.append(_roots(steps, LENGTH))
        before *= radix
    return tuple(made), _roots(np.arange(_LAST), _LAST)


def _roots(steps: Array, number: int) -> Array:
    angle = 2 * np.pi * (steps / number)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def real_inverse(spectrum: Array, scratch: Array, out: Array) -> None:
    """Transform a spectrum to time.

    Parameters
    ----------
    spectrum : ndarray
        (LENGTH, 2) float32: real and imaginary parts; used up.
    scratch : ndarray
        Of the same shape; used up.
    out : ndarray
        (LENGTH,) float32: the real part of the inverse transform; filled.
    """
    twiddles, last = _twiddles()
    before = 1
    given, made = spectrum, scratch
    for factors in twiddles:
        run = _pass_of_eight if len(factors) == 7 else _pass_of_four
        run(given, before, factors, made)
        before *= len(factors) + 1
        given, made = made, given
    _last_pass(given, last, np.float32(1) / np.float32(LENGTH), out)


@compiled
def _times(real: np.float32, imaginary: np.float32, factor: Array, out: Array, at: int) -> None:
    out[at, 0] = real * factor[0] - imaginary * factor[1]
    out[at, 1] = real * factor[1] + imaginary * factor[0]


@compiled
def _pass_of_eight(given: Array, before: int, factors: Array, out: Array) -> None:
    """Do one pass of radix 8.

    Parameters
    ----------
    given : ndarray
        (LENGTH, 2) float32.
    before : int
        Product of the radices of the passes before.
    factors : ndarray
        (7, LENGTH // (8 before), 2) float32.
    out : ndarray
        (LENGTH, 2) float32; filled.
    """
    length = factors.shape[1]
    jump = length * before
    for k in range(before):
        for i in range(length):
            at = i + length * 8 * k
            r0, i0 = given[at, 0], given[at, 1]
            r1, i1 = given[at + length, 0], given[at + length, 1]
            r2, i2 = given[at + 2 * length, 0], given[at + 2 * length, 1]
            r3, i3 = given[at + 3 * length, 0], given[at + 3 * length, 1]
            r4, i4 = given[at + 4 * length, 0], given[at + 4 * length, 1]
            r5, i5 = given[at + 5 * length, 0], given[at + 5 * length, 1]
            r6, i6 = given[at + 6 * length, 0], given[at + 6 * length, 1]
            r7, i7 = given[at + 7 * length, 0], given[at + 7 * length, 1]
            # odd ones
            r1, i1, r5, i5 = r1 + r5, i1 + i5, r1 - r5, i1 - i5
            r3, i3, r7, i7 = r3 + r7, i3 + i7, r3 - r7, i3 - i7
            r7, i7 = -i7, r7
            r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
            r3, i3 = -i3, r3
            r5, i5, r7, i7 = r5 + r7, i5 + i7, r5 - r7, i5 - i7
            r5, i5 = _HALF_ROOT * (r5 - i5), _HALF_ROOT * (i5 + r5)
            r7, i7 = _HALF_ROOT * (-r7 - i7), _HALF_ROOT * (r7 - i7)
            # even ones
            r0, i0, r4, i4 = r0 + r4, i0 + i4, r0 - r4, i0 - i4
            r2, i2, r6, i6 = r2 + r6, i2 + i6, r2 - r6, i2 - i6
            r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
            r6, i6 = -i6, r6
            r4, i4, r6, i6 = r4 + r6, i4 + i6, r4 - r6, i4 - i6
            to = i + length * k
            out[to, 0], out[to, 1] = r0 + r1, i0 + i1
            _times(r4 + r5, i4 + i5, factors[0, i], out, to + jump)
            _times(r2 + r3, i2 + i3, factors[1, i], out, to + 2 * jump)
            _times(r6 + r7, i6 + i7, factors[2, i], out, to + 3 * jump)
            _times(r0 - r1, i0 - i1, factors[3, i], out, to + 4 * jump)
            _times(r4 - r5, i4 - i5, factors[4, i], out, to + 5 * jump)
            _times(r2 - r3, i2 - i3, factors[5, i], out, to + 6 * jump)
            _times(r6 - r7, i6 - i7, factors[6, i], out, to + 7 * jump)


@compiled
def _pass_of_four(given: Array, before: int, factors: Array, out: Array) -> None:
    """Do one pass of radix 4; parameters as in `_pass_of_eight`."""
    length = factors.shape[1]
    jump = length * before
    for k in range(before):
        for i in range(length):
            at = i + length * 4 * k
            r0, i0 = given[at, 0], given[at, 1]
            r1, i1 = given[at + length, 0], given[at + length, 1]
            r2, i2 = given[at + 2 * length, 0], given[at + 2 * length, 1]
            r3, i3 = given[at + 3 * length, 0], given[at + 3 * length, 1]
            r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
            r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
            r3, i3 = -i3, r3
            to = i + length * k
            out[to, 0], out[to, 1] = r0 + r1, i0 + i1
            _times(r2 + r3, i2 + i3, factors[0, i], out, to + jump)
            _times(r0 - r1, i0 - i1, factors[1, i], out, to + 2 * jump)
            _times(r2 - r3, i2 - i3, factors[2, i], out, to + 3 * jump)


@compiled
def _last_pass(given: Array, roots: Array, scale: np.float32, out: Array) -> None:
    """Do the pass of radix 89, of whose results only the real parts are wanted.

    Parameters
    ----------
    given : ndarray
        (LENGTH, 2) float32: 89 values of each line, one line after the other.
    roots : ndarray
        (89, 2) float32.
    scale : float32
        Factor of the result.
    out : ndarray
        (LENGTH,) float32; filled.
    """
    radix = roots.shape[0]
    half = (radix + 1) // 2
    lines = out.size // radix
    sums = np.empty((half, _LINES), np.float32)
    differences = np.empty((half, _LINES), np.float32)
    even, odd = np.empty(_LINES, np.float32), np.empty(_LINES, np.float32)
    cosine, sine = np.empty(6, np.float32), np.empty(6, np.float32)
    for start in range(0, lines, _LINES):
        for k in range(_LINES):
            at = (start + k) * radix
            sums[0, k] = given[at, 0]
            for j in range(1, half):
                sums[j, k] = given[at + j, 0] + given[at + radix - j, 0]
                differences[j, k] = given[at + j, 1] - given[at + radix - j, 1]
        for k in range(_LINES):
            even[k] = sums[0, k]
        for j in range(1, half):
            for k in range(_LINES):
                even[k] += sums[j, k]
        for k in range(_LINES):
            out[start + k] = even[k] * scale
        for n in range(1, half):
            c1, c2 = roots[n, 0], roots[2 * n, 0]
            s1, s2 = roots[n, 1], roots[2 * n, 1]
            for k in range(_LINES):
                even[k] = sums[0, k] + c1 * sums[1, k] + c2 * sums[2, k]
                odd[k] = -(s1 * differences[1, k] + s2 * differences[2, k])
            turn = 2 * n
            for j in range(3, half, 6):
                for m in range(6):
                    turn = (turn + n) % radix
                    cosine[m], sine[m] = roots[turn, 0], roots[turn, 1]
                c1, c2, c3, c4, c5, c6 = cosine[0], cosine[1], cosine[2], cosine[3], cosine[4], cosine[5]
                s1, s2, s3, s4, s5, s6 = sine[0], sine[1], sine[2], sine[3], sine[4], sine[5]
                for k in range(_LINES):
                    value = even[k] + (sums[j, k] * c1 + sums[j + 1, k] * c2)
                    value += sums[j + 2, k] * c3 + sums[j + 3, k] * c4
                    even[k] = value + (sums[j + 4, k] * c5 + sums[j + 5, k] * c6)
                for k in range(_LINES):
                    value = odd[k] - (differences[j, k] * s1 + differences[j + 1, k] * s2)
                    value -= differences[j + 2, k] * s3 + differences[j + 3, k] * s4
                    odd[k] = value - (differences[j + 4, k] * s5 + differences[j + 5, k] * s6)
            for k in range(_LINES):
                out[start + k + lines * n] = (even[k] + odd[k]) * scale
                out[start + k + lines * (radix - n)] = (even[k] - odd[k]) * scale


@cache
def _turns() -> tuple[Array, Array]:
    """Return by how much short transforms are turned, (89, _SHORT // 2 + 1, 2), and the roots, (89, 2): float64."""
    steps = np.arange(_LAST)[:, None] * np.arange(_SHORT // 2 + 1)[None, :]
    angles = [2 * np.pi * (steps / LENGTH), 2 * np.pi * (np.arange(_LAST) / _LAST)]
    turns, roots = (np.stack([np.cos(angle), -np.sin(angle)], axis=-1) for angle in angles)
    return turns, roots


def spectrum(series: Array, out: Array) -> None:
    """Transform a time series, and divide it by its length.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    out : ndarray
        (LENGTH, 2) float32: real and imaginary parts, rounded before they are divided; filled.
    """
    every = np.arange((_LAST + 1) // 2)
    scale = np.float32(1) / np.float32(LENGTH)
    _join(_short_transforms(series), *_turns(), every, np.empty(0), scale, out)


def band_spectrum(series: Array, band: Array, out: Array) -> None:
    """Transform a time series, and let pass only some frequencies.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    band : ndarray
        (LENGTH // 2 + 1,) float64: factors.
    out : ndarray
        (LENGTH, 2) float32: real and imaginary parts, rounded before and after; filled.
    """
    near = np.unique((np.flatnonzero(band) + _SHORT // 2) // _SHORT)
    near = near[near <= _LAST // 2]
    out[:] = 0
    _join(_short_transforms(series), *_turns(), near, band, np.float32(1), out)


def _short_transforms(series: Array) -> Array:
    """Return the transforms of every 89th value, (89, _SHORT // 2 + 1, 2) float64."""
    from scipy import fft

    parts = np.empty((_LAST, _SHORT))
    _every_89th(series, parts)
    made: Array = fft.rfft(parts, axis=1, overwrite_x=True)
    return made.view(np.float64).reshape(_LAST, -1, 2)


@compiled
def _every_89th(series: Array, out: Array) -> None:
    count, length = out.shape
    for start in range(0, length, _LINES):
        for n in range(count):
            for m in range(start, start + _LINES):
                out[n, m] = np.float64(series[n + count * m])


@compiled
def _put(real: float, imaginary: float, at: int, band: Array, scale: np.float32, out: Array) -> None:
    """Round a value of the spectrum, weigh it, and write it and its mirror image."""
    first, second = np.float32(real), np.float32(imaginary)
    if band.size:
        first, second = np.float32(np.float64(first) * band[at]), np.float32(np.float64(second) * band[at])
    else:
        first, second = first * scale, second * scale
    out[at, 0], out[at, 1] = first, second
    if at:
        out[out.shape[0] - at, 0], out[out.shape[0] - at, 1] = first, -second


@compiled
def _turned(value: Array, turn: Array) -> tuple[float, float]:
    return value[0] * turn[0] - value[1] * turn[1], value[0] * turn[1] + value[1] * turn[0]


@compiled
def _join(parts: Array, turns: Array, roots: Array, wanted: Array, band: Array, scale: np.float32, out: Array) -> None:
    """Join short transforms to the spectrum of the whole.

    Parameters
    ----------
    parts, turns : ndarray
        (89, frequency, 2) float64: transforms of every 89th value, and by how much each is turned.
    roots : ndarray
        (89, 2) float64.
    wanted : ndarray
        (n,) int64: which multiples of the number of frequencies are made, with what lies around them.
    band : ndarray
        (LENGTH // 2 + 1,) float64 factors, or nothing.
    scale : float32
        Factor instead.
    out : ndarray
        (LENGTH, 2) float32; filled where wanted.
    """
    count, length = parts.shape[:2]
    half = (count + 1) // 2
    sums = np.empty((half, 2 * _COLUMNS))
    differences = np.empty((half, 2 * _COLUMNS))
    even, odd = np.empty(2 * _COLUMNS), np.empty(2 * _COLUMNS)
    cosine, sine = np.empty(4), np.empty(4)
    for start in range(0, length, _COLUMNS):
        width = min(_COLUMNS, length - start)
        for k in range(width):
            sums[0, k], sums[0, _COLUMNS + k] = parts[0, start + k, 0], parts[0, start + k, 1]
        for j in range(1, half):
            for k in range(width):
                r1, i1 = _turned(parts[j, start + k], turns[j, start + k])
                r2, i2 = _turned(parts[count - j, start + k], turns[count - j, start + k])
                sums[j, k], sums[j, _COLUMNS + k] = r1 + r2, i1 + i2
                differences[j, k], differences[j, _COLUMNS + k] = r1 - r2, i1 - i2
        for n in wanted:
            for k in range(2 * _COLUMNS):
                even[k] = sums[0, k]
                odd[k] = 0.0
            turn = 0
            for j in range(1, half, 4):
                for m in range(4):
                    turn = (turn + n) % count
                    cosine[m], sine[m] = roots[turn, 0], roots[turn, 1]
                c1, c2, c3, c4 = cosine[0], cosine[1], cosine[2], cosine[3]
                s1, s2, s3, s4 = sine[0], sine[1], sine[2], sine[3]
                for k in range(2 * _COLUMNS):
                    even[k] += c1 * sums[j, k] + c2 * sums[j + 1, k] + c3 * sums[j + 2, k] + c4 * sums[j + 3, k]
                for k in range(2 * _COLUMNS):
                    odd[k] += (s1 * differences[j, k] + s2 * differences[j + 1, k]) + (
                        s3 * differences[j + 2, k] + s4 * differences[j + 3, k]
                    )
            centre = n * 2 * (length - 1)
            for k in range(width):
                r, i = even[k], even[_COLUMNS + k]
                dr, di = odd[k], odd[_COLUMNS + k]
                _put(r - di, i + dr, centre + start + k, band, scale, out)
                if n:
                    _put(r + di, dr - i, centre - start - k, band, scale, out)
