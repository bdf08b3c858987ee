"""The forward Fourier transform of IRS2 time series, whose length is 89 times a power of two.

NumPy computes it in double precision and rounds the result. Any algorithm of that precision gives the same, but for one
value in some 10^7, next to the middle between two numbers: these are noted and settled. Here neighbouring values are
taken for one complex value, whose transform has half the length. That transform is done as the inverse one, with real
and imaginary parts swapped.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, LINES, SIZE
from calservice.steps.stage1._refpix_irs2_numpy_kernels import doubts, note, settle, tolerance
from calservice.steps.stage1._refpix_irs2_passes_kernels import (
    PARTS,
    double_pass_of_eight,
    double_pass_of_four,
    eight,
    product,
    roots,
)
from calservice.steps.vectors import (
    LANES,
    SPARE,
    aligned,
    alternate,
    backwards,
    fused,
    load,
    load_wide,
    put,
    rounded,
    spread,
    transposed,
    widened,
)

__all__ = ["Work", "band_spectrum", "spectrum"]

_LAST = 89
_HALF = LENGTH // 2
_EIGHTH = _HALF // 8
_ROWS = _EIGHTH // 64
"""Values of each series after three passes."""
_TILE = 8
"""Neighbouring frequencies that go through the first three passes together."""
_STEP = (_TILE + 1) * PARTS
"""From one row of a tile to the next, padded such that rows do not displace each other from the cache."""
_FACTORS = 14
_FINE = 256
"""Factors of neighbouring frequencies; others are products of these and of coarser ones."""
_SHORT = _HALF // _LAST
_STRIDE = _SHORT + 8
"""From one of 89 parts of a spectrum to the next, padded such that parts do not displace each other from the cache."""


class Work:
    """Memory for transforms.

    Attributes
    ----------
    values : ndarray
        (LENGTH,) float64.
    parts : ndarray
        (2, 89, _STRIDE) float64: a spectrum in parts, each of which ends with the first value of the next.
    doubts : ndarray
        Frequencies at which rounding is in doubt.
    """

    def __init__(self) -> None:
        self.values = aligned(np.empty(LENGTH + SPARE))
        self.parts = aligned(np.empty(2 * _LAST * _STRIDE + SPARE)).reshape(2, _LAST, _STRIDE)
        self.doubts = doubts()


@cache
def _tables() -> tuple[Array, ...]:
    """Return factors of the second to the last pass, then coarse and fine ones of the first and of the very last."""
    made = []
    for before, radix in ((8, 8), (64, 8), (512, 4), (2048, 4)):
        steps = np.arange(_HALF // (before * radix))[:, None] * np.arange(1, radix)[None, :] * before
        made.append(roots(steps, _HALF))
    half = np.arange(1, _LAST // 2 + 1)
    made.append(roots(half[:, None] * half, _LAST).reshape(len(half) // 2, 2, len(half), 2))
    made[-1] = made[-1].transpose(0, 2, 3, 1)
    for length in (_HALF, LENGTH):
        made.append(roots(np.arange(0, _HALF // 2 + 1, _FINE), length))
        made.append(roots(np.arange(_FINE), length).T)
    return tuple(np.ascontiguousarray(factors).reshape(-1) for factors in made)


def spectrum(series: Array, work: Work, out: Array) -> None:
    """Transform a time series, and divide it by its length.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    work : Work
        Overwritten.
    out : ndarray
        (2, LINES * LINE) float32: real and imaginary parts, rounded before they are divided; filled.
    """
    scale = np.float64(np.float32(1) / np.float32(LENGTH))
    _transform(series, work, _LAST // 4)
    _rounded(series, np.array([scale]), _HALF // 2 + 1, work, out)


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
        (2, LINES * LINE) float32: real and imaginary parts, rounded before and after; filled where factors
        are not 0.
    """
    _transform(series, work, -(-(edge * _LAST // _HALF + 1) // 2))
    _rounded(series, band, edge, work, out)


def _rounded(series: Array, factors: Array, count: int, work: Work, out: Array) -> None:
    """Make the spectrum of the series of that of its pairs of values, rounded as by NumPy, times some factors."""
    work.doubts[0] = 0
    coarse, fine = _tables()[-2:]
    _separate(work.parts, coarse, fine, count, factors, tolerance(series), work.doubts, out[0], out[1])
    _close(out)
    if work.doubts[0]:
        settle(series, work.doubts, factors, work.values, out)


def _close(out: Array) -> None:
    """Copy frequencies that are in two lines of a spectrum from where they were written."""
    lines = out.reshape(2, LINES, LINE)
    lines[:, : LINES // 2, SIZE] = lines[:, 1 : LINES // 2 + 1, 0]
    lines[:, LINES // 2 :, 0] = lines[:, LINES // 2 - 1 : -1, SIZE]


def _transform(series: Array, work: Work, wanted: int) -> None:
    second, third, fourth, fifth, last, coarse, fine = _tables()[:7]
    _first_passes(series, coarse, fine, second, third, work.values)
    _last_passes(work.values, fourth, fifth, last, wanted, work.parts.reshape(-1))
    work.parts[:, :-1, _SHORT] = work.parts[:, 1:, 0]
    work.parts[:, -1, _SHORT] = work.parts[:, 0, 0]


@inlined
def _factor(coarse: Any, fine: Any, at: Any) -> Any:
    """Return the factors of neighbouring frequencies, of which the first is a multiple of eight."""
    n, m = at // _FINE * 2, at % _FINE
    return product(load(fine, m), load(fine, _FINE + m), spread(coarse[n]), spread(coarse[n + 1]))


@inlined
def _parts(series: Any, at: Any) -> Any:
    """Return imaginary and real parts of neighbouring values."""
    even, odd = alternate(load_wide(series, 2 * at))
    return widened(odd), widened(even)


@inlined
def _first_pass(series: Any, at: Any, coarse: Any, fine: Any, out: Any, to: Any) -> Any:
    """Do the first pass, of radix 8, on eight neighbouring values."""
    r0, i0 = _parts(series, at)
    r1, i1 = _parts(series, at + _EIGHTH)
    r2, i2 = _parts(series, at + 2 * _EIGHTH)
    r3, i3 = _parts(series, at + 3 * _EIGHTH)
    r4, i4 = _parts(series, at + 4 * _EIGHTH)
    r5, i5 = _parts(series, at + 5 * _EIGHTH)
    r6, i6 = _parts(series, at + 6 * _EIGHTH)
    r7, i7 = _parts(series, at + 7 * _EIGHTH)
    r, i = eight((r0, r1, r2, r3, r4, r5, r6, r7), (i0, i1, i2, i3, i4, i5, i6, i7), spread(0.70710678118654752440))
    c, s = _factor(coarse, fine, at)
    c2, s2 = product(c, s, c, s)
    c3, s3 = product(c2, s2, c, s)
    c4, s4 = product(c2, s2, c2, s2)
    r1, i1 = product(r[1], i[1], c, s)
    r2, i2 = product(r[2], i[2], c2, s2)
    r3, i3 = product(r[3], i[3], c3, s3)
    r4, i4 = product(r[4], i[4], c4, s4)
    c, s = product(c4, s4, c, s)
    r5, i5 = product(r[5], i[5], c, s)
    c, s = product(c4, s4, c2, s2)
    r6, i6 = product(r[6], i[6], c, s)
    c, s = product(c4, s4, c3, s3)
    r7, i7 = product(r[7], i[7], c, s)
    rows = transposed((r[0], r1, r2, r3, r4, r5, r6, r7))
    for m in range(LANES):
        put(out, to + m * PARTS, rows[m])
    rows = transposed((i[0], i1, i2, i3, i4, i5, i6, i7))
    for m in range(LANES):
        put(out, to + m * PARTS + LANES, rows[m])


@compiled
def _first_passes(series: Array, coarse: Array, fine: Array, second: Array, third: Array, out: Array) -> None:
    """Do three passes of radix 8.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    coarse, fine, second, third : ndarray
        Factors of the passes.
    out : ndarray
        (LENGTH,) float64: (eight, eight, _ROWS, part, eight) results, of which the second, third, and first pass made
        the series; filled.
    """
    tile = aligned(np.empty(64 * _STEP + SPARE))
    jump = _ROWS * PARTS
    for start in range(0, _ROWS, _TILE):
        for p in range(64):
            _first_pass(series, start + _ROWS * p, coarse, fine, tile, p * _STEP)
        for p in range(8):
            use = (start + _ROWS * p) * _FACTORS
            at = p * _STEP
            double_pass_of_eight(tile, at, 8 * _STEP, _TILE, second, use, tile, at, 8 * _STEP)
        for p in range(8):
            at, to = p * 8 * _STEP, p * 8 * jump + start * PARTS
            double_pass_of_eight(tile, at, _STEP, _TILE, third, start * _FACTORS, out, to, jump)


@compiled
def _last_passes(values: Array, fourth: Array, fifth: Array, last: Array, wanted: int, out: Array) -> None:
    """Do two passes of radix 4, and one of radix 89.

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
    sums, differences = (
        aligned(np.empty((_LAST + 1) // 2 * PARTS + SPARE)),
        aligned(np.empty(_LAST // 2 * PARTS + SPARE)),
    )
    for block in range(64):
        first = block * _ROWS * PARTS
        double_pass_of_four(values, first, _ROWS // 4, fourth)
        for n in range(4):
            start = first + n * _ROWS // 4 * PARTS
            double_pass_of_four(values, start, _LAST, fifth)
            for m in range(4):
                to = LANES * (block // 8 + block % 8 * 8 + n * 64 + m * 256)
                _fold(values, start + m * _LAST * PARTS, sums, differences)
                _first_of_89(sums, out, to)
                for pair in range(wanted):
                    _pass_of_89(sums, differences, last, pair, out, to)


@inlined
def _fold(values: Any, at: Any, sums: Any, differences: Any) -> Any:
    """Add values to their mirror images, and subtract these."""
    put(sums, 0, load(values, at))
    put(sums, LANES, load(values, at + LANES))
    for j in range(1, (_LAST + 1) // 2):
        near, far, to = at + j * PARTS, at + (_LAST - j) * PARTS, j * PARTS
        for part in range(0, PARTS, LANES):
            a, b = load(values, near + part), load(values, far + part)
            put(sums, to + part, a + b)
            put(differences, to + part - PARTS, a - b)


@inlined
def _first_of_89(sums: Any, out: Any, to: Any) -> Any:
    """Write the first of the results of the last pass."""
    a, b = load(sums, 0), load(sums, LANES)
    for j in range(1, (_LAST + 1) // 2):
        a, b = a + load(sums, j * PARTS), b + load(sums, j * PARTS + LANES)
    put(out, to, a)
    put(out, to + _LAST * _STRIDE, b)


@compiled
def _pass_of_89(sums: Array, differences: Array, factors: Array, n: int, out: Array, to: int) -> None:
    """Do the last pass for two pairs of results."""
    short = _STRIDE
    half = _LAST * _STRIDE
    use = n * (_LAST // 2) * 4
    a0, b0 = load(sums, 0), load(sums, LANES)
    a1, b1 = a0, b0
    x0, y0 = a0 - a0, a0 - a0
    x1, y1 = x0, y0
    for j in range(_LAST // 2):
        at, w = j * PARTS, use + 4 * j
        c0, c1, s0, s1 = spread(factors[w]), spread(factors[w + 1]), spread(factors[w + 2]), spread(factors[w + 3])
        p, q = load(sums, at + PARTS), load(sums, at + PARTS + LANES)
        a0, b0, a1, b1 = fused(c0, p, a0), fused(c0, q, b0), fused(c1, p, a1), fused(c1, q, b1)
        p, q = load(differences, at), load(differences, at + LANES)
        x0, y0, x1, y1 = fused(s0, p, x0), fused(s0, q, y0), fused(s1, p, x1), fused(s1, q, y1)
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
    given: Array,
    coarse: Array,
    fine: Array,
    count: int,
    factors: Array,
    error: float,
    found: Array,
    real: Array,
    imaginary: Array,
) -> None:
    """Make the spectrum of a series of that of its pairs of values.

    Parameters
    ----------
    given : ndarray
        (2, 89, _STRIDE) float64, as `_last_passes` makes it.
    coarse, fine : ndarray
        Factors of the very last pass.
    count : int
        How many frequencies are wanted on each side, up to half of all.
    factors : ndarray
        (LENGTH // 2 + 1,) or (1,) float64: factors of each, or of all.
    error : float
        By how much the values may differ from NumPy's.
    found : ndarray
        `doubts`; frequencies are added.
    real, imaginary : ndarray
        (LINES * LINE,) float32; filled where wanted.
    """
    half = spread(0.5)
    errors = spread(error)
    for n in range(-(-count // _SHORT)):
        low, high = n, _LAST - 1 - n
        imaginary1, real1, imaginary2, real2 = given[0, low], given[1, low], given[0, high], given[1, high]
        for m in range(0, min(_SHORT, count - n * _SHORT), LANES):
            mirror = _SHORT - m - LANES + 1
            at = n * _SHORT + m
            i1, r1 = load(imaginary1, m), load(real1, m)
            i2, r2 = backwards(load(imaginary2, mirror)), backwards(load(real2, mirror))
            c, s = _factor(coarse, fine, at)
            even, odd = r1 + r2, i1 - i2
            x, y = r1 - r2, i1 + i2
            # minus i times the factor, whose angle is negative
            p, q = c * y - s * x, -(c * x + s * y)
            _finish(half * (even + p), half * (odd + q), at, False, factors, errors, found, real, imaginary)
            mirror = _HALF - at - LANES + 1
            _finish(half * (even - p), half * (q - odd), mirror, True, factors, errors, found, real, imaginary)


@inlined
def _finish(
    real: Any,
    imaginary: Any,
    at: Any,
    turned: Any,
    factors: Any,
    error: Any,
    found: Any,
    out_real: Any,
    out_imaginary: Any,
) -> Any:
    """Round values of the spectrum, weigh and write them."""
    if turned:
        real, imaginary = backwards(real), backwards(imaginary)
    note(real, imaginary, at, error, found)
    factor = spread(factors[0]) if factors.size == 1 else load(factors, at)
    place = at + at // SIZE * (LINE - SIZE)
    put(out_real, place, rounded(widened(rounded(real)) * factor))
    put(out_imaginary, place, rounded(widened(rounded(imaginary)) * factor))
