"""The forward Fourier transform of IRS2 time series, whose length is 89 times a power of two.

NumPy computes it in double precision and rounds the result: any algorithm of that precision gives the same, but for one
value in some 10^8. Here neighbouring values are taken for one complex value, whose transform has half the length.
That transform is done as the inverse one, with real and imaginary parts swapped.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_layout import LENGTH
from calservice.steps.stage1._refpix_irs2_passes_kernels import pass_of_eight, pass_of_four, times
from calservice.steps.stage1._refpix_irs2_vectors import (
    alternate,
    backwards,
    load,
    put,
    rounded,
    spread,
    transposed,
    widened,
)

__all__ = ["Work", "band_spectrum", "spectrum"]

_LAST = 89
_HALF = LENGTH // 2
_LANES = 4
_QUARTER = _HALF // 4
_ROWS = _QUARTER // 64
"""Values of each series after three passes."""
_TILE = 8
"""Neighbouring frequencies that go through the first three passes together."""
_PARTS = 2 * _LANES
"""Numbers in a place: real and imaginary parts of four series."""
_STEP = (_TILE + 1) * _PARTS
"""From one row of a tile to the next, padded such that rows do not displace each other from the cache."""
_FACTORS = 14
_FINE = 256
"""Factors of neighbouring frequencies; others are products of these and of coarser ones."""
_SHORT = _HALF // _LAST
_STRIDE = _SHORT + 8
"""From one of 89 parts of a spectrum to the next, padded such that parts do not displace each other from the cache."""
_HALF_ROOT = 0.70710678118654752440


class Work:
    """Memory for transforms.

    Attributes
    ----------
    values : ndarray
        (LENGTH,) float64.
    parts : ndarray
        (2, 89, _STRIDE) float64: a spectrum in parts, each of which ends with the first value of the next.
    """

    def __init__(self) -> None:
        self.values = np.empty(LENGTH)
        self.parts = np.empty((2, _LAST, _STRIDE))


@cache
def _tables() -> tuple[Array, ...]:
    """Return factors of the second to the last pass, then coarse and fine ones of the first and of the very last."""
    made = []
    for before, radix in ((4, 8), (32, 8), (256, 8), (2048, 4)):
        steps = np.arange(_HALF // (before * radix))[:, None] * np.arange(1, radix)[None, :] * before
        made.append(_roots(steps / _HALF))
    half = np.arange(1, _LAST // 2 + 1)
    made.append(_roots((half[:, None] * half % _LAST) / _LAST).reshape(len(half) // 2, 2, len(half), 2))
    made[-1] = made[-1].transpose(0, 2, 3, 1)
    for length in (_HALF, LENGTH):
        made.append(_roots(np.arange(0, _HALF // 2 + 1, _FINE) / length))
        made.append(_roots(np.arange(_FINE) / length).T)
    return tuple(np.ascontiguousarray(factors).reshape(-1) for factors in made)


def _roots(turns: Array) -> Array:
    angle = 2 * np.pi * turns
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def spectrum(series: Array, work: Work, out: Array) -> None:
    """Transform a time series, and divide it by its length.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    work : Work
        Overwritten.
    out : ndarray
        (2, LENGTH // 2 + 1) float32: real and imaginary parts, rounded before they are divided; filled.
    """
    _transform(series, work, _LAST // 4)
    _separate(
        work.parts,
        _tables()[-2],
        _tables()[-1],
        _HALF // 2 + 1,
        np.empty(0),
        np.float32(1) / np.float32(LENGTH),
        out[0],
        out[1],
    )


def band_spectrum(series: Array, band: Array, edge: int, work: Work, out: Array) -> None:
    """Transform a time series, and let pass only some frequencies.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    band : ndarray
        (LENGTH // 2 + 1,) float64: factors.
    edge : int
        All factors are 0 but so many of the first, and of the last ones.
    work : Work
        Overwritten.
    out : ndarray
        (2, LENGTH // 2 + 1) float32: real and imaginary parts, rounded before and after; filled where factors
        are not 0.
    """
    _transform(series, work, -(-(edge * _LAST // _HALF + 1) // 2))
    _separate(work.parts, _tables()[-2], _tables()[-1], edge, band, np.float32(1), out[0], out[1])


def _transform(series: Array, work: Work, wanted: int) -> None:
    second, third, fourth, fifth, last, coarse, fine = _tables()[:7]
    _first_passes(series, coarse, fine, second, third, work.values)
    _last_passes(work.values, fourth, fifth, last, wanted, work.parts.reshape(-1))
    work.parts[:, :-1, _SHORT] = work.parts[:, 1:, 0]
    work.parts[:, -1, _SHORT] = work.parts[:, 0, 0]


@inlined
def _factor(coarse: Any, fine: Any, at: Any) -> Any:
    """Return the factors of neighbouring frequencies, of which the first is a multiple of four."""
    n, m = at // _FINE * 2, at % _FINE
    return times(load(fine, m), load(fine, _FINE + m), spread(coarse[n]), spread(coarse[n + 1]))


@inlined
def _parts(series: Any, at: Any) -> Any:
    """Return imaginary and real parts of neighbouring values."""
    even, odd = alternate(load(series, 2 * at))
    return widened(odd), widened(even)


@inlined
def _first_pass(series: Any, at: Any, coarse: Any, fine: Any, out: Any, to: Any) -> Any:
    """Do the first pass, of radix 4, on four neighbouring values."""
    r0, i0 = _parts(series, at)
    r1, i1 = _parts(series, at + _QUARTER)
    r2, i2 = _parts(series, at + 2 * _QUARTER)
    r3, i3 = _parts(series, at + 3 * _QUARTER)
    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    r3, i3 = -i3, r3
    c, s = _factor(coarse, fine, at)
    c2, s2 = times(c, s, c, s)
    c3, s3 = times(c2, s2, c, s)
    x1, y1 = times(r2 + r3, i2 + i3, c, s)
    x2, y2 = times(r0 - r1, i0 - i1, c2, s2)
    x3, y3 = times(r2 - r3, i2 - i3, c3, s3)
    rows = transposed((r0 + r1, x1, x2, x3))
    for m in range(4):
        put(out, to + m * _PARTS, rows[m])
    rows = transposed((i0 + i1, y1, y2, y3))
    for m in range(4):
        put(out, to + m * _PARTS + _LANES, rows[m])


@compiled
def _first_passes(series: Array, coarse: Array, fine: Array, second: Array, third: Array, out: Array) -> None:
    """Do a pass of radix 4 and two of radix 8.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    coarse, fine, second, third : ndarray
        Factors of the passes.
    out : ndarray
        (LENGTH,) float64: (eight, eight, _ROWS, part, four) results, of which the second, third, and first pass made
        the series; filled.
    """
    tile = np.empty(64 * _STEP)
    jump = _ROWS * _PARTS
    for start in range(0, _ROWS, _TILE):
        for p in range(64):
            for h in range(0, _TILE, _LANES):
                _first_pass(series, start + h + _ROWS * p, coarse, fine, tile, p * _STEP + h * _PARTS)
        for p in range(8):
            use = (start + _ROWS * p) * _FACTORS
            at = p * _STEP
            pass_of_eight(tile, at, 8 * _STEP, _TILE, _PARTS, second, use, tile, at, 8 * _STEP, _PARTS, _HALF_ROOT)
        for p in range(8):
            at, to, use = p * 8 * _STEP, p * 8 * jump + start * _PARTS, start * _FACTORS
            pass_of_eight(tile, at, _STEP, _TILE, _PARTS, third, use, out, to, jump, _PARTS, _HALF_ROOT)


@compiled
def _last_passes(values: Array, fourth: Array, fifth: Array, last: Array, wanted: int, out: Array) -> None:
    """Do the other passes.

    Parameters
    ----------
    values : ndarray
        As `_first_passes` makes it; overwritten.
    fourth, fifth, last : ndarray
        Factors of the passes.
    wanted : int
        How many pairs of parts of the result, of 89, are wanted on each side, besides the first.
    out : ndarray
        (2 * 89 * _STRIDE,) float64: all imaginary, then all real parts; filled where wanted.
    """
    sums, differences = np.empty((2, (_LAST + 1) // 2 * _PARTS)), np.empty((2, _LAST // 2 * _PARTS))
    step = _ROWS // 8 * _PARTS
    size = _ROWS * _PARTS
    for block in range(32):
        # two blocks whose results lie side by side
        first = (block // 8 * 16 + block % 8) * size
        for start in (first, first + 8 * size):
            pass_of_eight(values, start, step, _ROWS // 8, _PARTS, fourth, 0, values, start, step, _PARTS, _HALF_ROOT)
            for n in range(8):
                pass_of_four(values, start + n * step, _PARTS, fifth)
        for n in range(8):
            for m in range(4):
                at = first + n * step + m * _LAST * _PARTS
                to = 4 * (block // 8 * 2 + block % 8 * 8 + n * 64 + m * 512)
                for h in range(2):
                    _fold(values, at + h * 8 * size, sums[h], differences[h])
                    _first_of_89(sums[h], out, to + 4 * h)
                for pair in range(wanted):
                    for h in range(2):
                        _pass_of_89(sums[h], differences[h], last, pair, out, to + 4 * h)


@inlined
def _fold(values: Any, at: Any, sums: Any, differences: Any) -> Any:
    """Add values to their mirror images, and subtract these."""
    put(sums, 0, load(values, at))
    put(sums, _LANES, load(values, at + _LANES))
    for j in range(1, (_LAST + 1) // 2):
        near, far, to = at + j * _PARTS, at + (_LAST - j) * _PARTS, j * _PARTS
        for part in range(0, _PARTS, _LANES):
            a, b = load(values, near + part), load(values, far + part)
            put(sums, to + part, a + b)
            put(differences, to + part - _PARTS, a - b)


@inlined
def _first_of_89(sums: Any, out: Any, to: Any) -> Any:
    """Write the first of the results of the last pass."""
    a, b = load(sums, 0), load(sums, _LANES)
    for j in range(1, (_LAST + 1) // 2):
        a, b = a + load(sums, j * _PARTS), b + load(sums, j * _PARTS + _LANES)
    put(out, to, a)
    put(out, to + _LAST * _STRIDE, b)


@inlined
def _pass_of_89(sums: Any, differences: Any, factors: Any, n: Any, out: Any, to: Any) -> Any:
    """Do the last pass for two pairs of results."""
    short = _STRIDE
    half = _LAST * _STRIDE
    use = n * (_LAST // 2) * 4
    a0, b0 = load(sums, 0), load(sums, _LANES)
    a1, b1 = a0, b0
    x0, y0 = a0 - a0, a0 - a0
    x1, y1 = x0, y0
    for j in range(_LAST // 2):
        at, w = j * _PARTS, use + 4 * j
        c0, c1, s0, s1 = spread(factors[w]), spread(factors[w + 1]), spread(factors[w + 2]), spread(factors[w + 3])
        p, q = load(sums, at + _PARTS), load(sums, at + _PARTS + _LANES)
        a0, b0, a1, b1 = a0 + c0 * p, b0 + c0 * q, a1 + c1 * p, b1 + c1 * q
        p, q = load(differences, at), load(differences, at + _LANES)
        x0, y0, x1, y1 = x0 + s0 * p, y0 + s0 * q, x1 + s1 * p, y1 + s1 * q
    low, high = to + short * (2 * n + 1), to + short * (_LAST - 2 * n - 1)
    put(out, low, a0 - y0)
    put(out, low + half, b0 + x0)
    put(out, high, a0 + y0)
    put(out, high + half, b0 - x0)
    low, high = low + short, high - short
    put(out, low, a1 - y1)
    put(out, low + half, b1 + x1)
    put(out, high, a1 + y1)
    put(out, high + half, b1 - x1)


@compiled
def _separate(
    given: Array, coarse: Array, fine: Array, count: int, band: Array, scale: np.float32, real: Array, imaginary: Array
) -> None:
    """Make the spectrum of a series of that of its pairs of values.

    Parameters
    ----------
    given : ndarray
        (2, 89, _STRIDE) float64, as `_last_passes` makes it.
    coarse, fine : ndarray
        Factors.
    count : int
        How many frequencies are wanted on each side, up to half of all.
    band : ndarray
        (LENGTH // 2 + 1,) float64: what passes of each, or nothing.
    scale : float32
        Factor of the result.
    real, imaginary : ndarray
        (LENGTH // 2 + 1,) float32; filled where wanted.
    """
    half = spread(0.5)
    scales = spread(np.float64(scale))
    for n in range(-(-count // _SHORT)):
        low, high = n, _LAST - 1 - n
        imaginary1, real1, imaginary2, real2 = given[0, low], given[1, low], given[0, high], given[1, high]
        for m in range(0, min(_SHORT, count - n * _SHORT), _LANES):
            mirror = _SHORT - m - _LANES + 1
            at = n * _SHORT + m
            i1, r1 = load(imaginary1, m), load(real1, m)
            i2, r2 = backwards(load(imaginary2, mirror)), backwards(load(real2, mirror))
            c, s = _factor(coarse, fine, at)
            even, odd = r1 + r2, i1 - i2
            x, y = r1 - r2, i1 + i2
            # minus i times the factor, whose angle is negative
            p, q = c * y - s * x, -(c * x + s * y)
            _finish(half * (even + p), half * (odd + q), at, band, False, scales, real, imaginary)
            mirror = _HALF - at - _LANES + 1
            _finish(half * (even - p), half * (q - odd), mirror, band, True, scales, real, imaginary)


@inlined
def _finish(
    real: Any, imaginary: Any, at: Any, band: Any, turned: Any, scale: Any, out_real: Any, out_imaginary: Any
) -> Any:
    """Round values of the spectrum, weigh and write them."""
    if turned:
        real, imaginary = backwards(real), backwards(imaginary)
    x, y = rounded(real), rounded(imaginary)
    factor = load(band, at) if band.size else scale
    put(out_real, at, rounded(widened(x) * factor))
    put(out_imaginary, at, rounded(widened(y) * factor))
