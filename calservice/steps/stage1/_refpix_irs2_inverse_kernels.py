"""The inverse Fourier transform of IRS2 time series, whose length is 89 times a power of two.

Official results depend, in their last digits, on the precision of NumPy's inverse transform, which is a single one:
that here has the same factors and order of operations, and so the same rounding, but makes only the real part. What is
computed when differs: the first pass lays its eight results side by side, so that all that follows works on vectors
of eight, and what is worked on stays in the cache until it is done.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_layout import LENGTH
from calservice.steps.stage1._refpix_irs2_passes_kernels import eight, pass_of_eight, pass_of_four, times
from calservice.steps.stage1._refpix_irs2_vectors import backwards, fused, load, put, spread, transposed

__all__ = ["arrange", "real_inverse", "weighted_inverse"]

_LAST = 89
_LANES = 8
_EIGHTH = LENGTH // 8
_ROWS = LENGTH // 8**3
"""Values of each series after three passes."""
_TILE = 32
"""Neighbouring frequencies that go through the first three passes together."""
_PARTS = 2 * _LANES
"""Numbers in a place: real and imaginary parts of eight series."""
_STEP = (_TILE + 1) * _PARTS
"""From one row of a tile to the next, padded such that rows do not displace each other from the cache."""
_FACTORS = 14
_HALF_ROOT = np.float32(0.70710678118654752440)


class _Tables(NamedTuple):
    """Factors of all passes, float32, in the order in which they are used."""

    first: Array
    second: Array
    third: Array
    fourth: Array
    fifth: Array
    last: Array


@cache
def _tables() -> _Tables:
    made = []
    before = 1
    for radix in (8, 8, 8, 8, 4):
        length = LENGTH // (before * radix)
        steps = np.arange(1, radix)[:, None] * np.arange(length)[None, :] * before
        made.append(_roots(steps, LENGTH))
        before *= radix
    first = made[0].reshape(7, 64, _ROWS // _TILE, _TILE // _LANES, _LANES, 2).transpose(2, 1, 3, 0, 5, 4)
    roots = _roots(np.arange(_LAST), _LAST)
    half = np.arange(1, _LAST // 2 + 1)
    pairs = roots[half[:, None] * half % _LAST].reshape(len(half) // 2, 2, len(half), 2).transpose(0, 2, 3, 1)
    rest = (np.moveaxis(factors, 0, 1) for factors in made[1:])
    return _Tables(*(np.ascontiguousarray(factors).reshape(-1) for factors in (first, *rest, pairs)))


def _roots(steps: Array, number: int) -> Array:
    angle = 2 * np.pi * (steps / number)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


@compiled
def arrange(factors: Array, out: Array) -> None:
    """Put factors of all frequencies in the order in which they are used.

    Parameters
    ----------
    factors : ndarray
        (2 LENGTH,) float32: real and imaginary parts in turn.
    out : ndarray
        (2 LENGTH,) float32; filled.
    """
    to = 0
    for start in range(0, _ROWS, _TILE):
        for p in range(64):
            for m in range(8):
                at = (start + _ROWS * p + m * _EIGHTH) * 2
                for n in range(0, _TILE, _LANES):
                    for k in range(_LANES):
                        out[to + 2 * n + k] = factors[at + 2 * (n + k)]
                        out[to + 2 * n + _LANES + k] = factors[at + 2 * (n + k) + 1]
                to += 2 * _TILE


def real_inverse(half: Array, edge: int, work: Array, out: Array) -> None:
    """Transform the spectrum of a real series to time.

    Parameters
    ----------
    half : ndarray
        (2, LENGTH // 2 + 1) float32: real and imaginary parts of the first half of the spectrum.
    edge : int
        The spectrum is zero but for so many frequencies next to zero and to the middle.
    work : ndarray
        (LENGTH,) float64; overwritten.
    out : ndarray
        (LENGTH,) float32: the real part of the inverse transform; filled.
    """
    none = np.empty(0, np.float32)
    nothing = np.empty((2, 0), np.float32)
    _inverse(half, none, nothing, none, edge, work.view(np.float32), out)


def weighted_inverse(own: Array, beta: Array, common: Array, alpha: Array, work: Array, out: Array) -> None:
    """Transform the weighted sum of two spectra of real series to time.

    Parameters
    ----------
    own, common : ndarray
        (2, LENGTH // 2 + 1) float32: real and imaginary parts of the first halves of the spectra.
    beta, alpha : ndarray
        (2 LENGTH,) float32: their factors, as `arrange` orders them.
    work : ndarray
        (LENGTH,) float64; overwritten.
    out : ndarray
        (LENGTH,) float32: the real part of the inverse transform; filled.
    """
    _inverse(own, beta, common, alpha, LENGTH, work.view(np.float32), out)


def _inverse(own: Array, beta: Array, common: Array, alpha: Array, edge: int, work: Array, out: Array) -> None:
    tables = _tables()
    spectra = own[0], own[1], common[0], common[1]
    _first_passes(spectra, (beta, alpha), edge, tables.first, tables.second, tables.third, work)
    _last_passes(work, tables.fourth, tables.fifth, tables.last, np.float32(1) / np.float32(LENGTH), out)


@inlined
def _mirrored(half: Any, at: Any, mirror: Any) -> Any:
    """Return eight values of a spectrum of which there is only the first half."""
    if mirror:
        return backwards(load(half[0], LENGTH - at - _LANES + 1)), -backwards(load(half[1], LENGTH - at - _LANES + 1))
    return load(half[0], at), load(half[1], at)


@inlined
def _product(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Multiply complex numbers, rounded as by NumPy where the processor can multiply and add at once."""
    return fused(a, c, -(b * d)), fused(a, d, b * c)


@inlined
def _gather(spectra: Any, weights: Any, first: Any, mirror: Any, use: Any, out: Any, to: Any) -> Any:
    """Take neighbouring frequencies of spectra, and add them up with their weights."""
    for n in range(0, _TILE, _LANES):
        at = first + n
        x, y = _mirrored((spectra[0], spectra[1]), at, mirror)
        if weights[0].size:
            w, v = use + 2 * n, use + 2 * n + _LANES
            x, y = _product(x, y, load(weights[0], w), load(weights[0], v))
            p, q = _mirrored((spectra[2], spectra[3]), at, mirror)
            p, q = _product(load(weights[1], w), load(weights[1], v), p, q)
            x, y = x + p, y + q
        put(out, to + n * 2, x)
        put(out, to + n * 2 + _LANES, y)


@inlined
def _first_pass(given: Any, at: Any, factors: Any, use: Any, out: Any, to: Any) -> Any:
    """Do the first pass on eight neighbouring frequencies."""
    s, b = _TILE * 2, at + _LANES
    r, i = eight(
        load(given, at),
        load(given, at + s),
        load(given, at + 2 * s),
        load(given, at + 3 * s),
        load(given, at + 4 * s),
        load(given, at + 5 * s),
        load(given, at + 6 * s),
        load(given, at + 7 * s),
        load(given, b),
        load(given, b + s),
        load(given, b + 2 * s),
        load(given, b + 3 * s),
        load(given, b + 4 * s),
        load(given, b + 5 * s),
        load(given, b + 6 * s),
        load(given, b + 7 * s),
        spread(_HALF_ROOT),
    )
    w, v = use, use + _LANES
    r1, i1 = times(r[1], i[1], load(factors, w), load(factors, v))
    r2, i2 = times(r[2], i[2], load(factors, w + _PARTS), load(factors, v + _PARTS))
    r3, i3 = times(r[3], i[3], load(factors, w + 2 * _PARTS), load(factors, v + 2 * _PARTS))
    r4, i4 = times(r[4], i[4], load(factors, w + 3 * _PARTS), load(factors, v + 3 * _PARTS))
    r5, i5 = times(r[5], i[5], load(factors, w + 4 * _PARTS), load(factors, v + 4 * _PARTS))
    r6, i6 = times(r[6], i[6], load(factors, w + 5 * _PARTS), load(factors, v + 5 * _PARTS))
    r7, i7 = times(r[7], i[7], load(factors, w + 6 * _PARTS), load(factors, v + 6 * _PARTS))
    rows = transposed((r[0], r1, r2, r3, r4, r5, r6, r7))
    for m in range(8):
        put(out, to + m * _PARTS, rows[m])
    rows = transposed((i[0], i1, i2, i3, i4, i5, i6, i7))
    for m in range(8):
        put(out, to + m * _PARTS + _LANES, rows[m])


@compiled
def _first_passes(
    spectra: tuple[Array, ...],
    weights: tuple[Array, ...],
    edge: int,
    first: Array,
    second: Array,
    third: Array,
    out: Array,
) -> None:
    """Do three passes of radix 8.

    Parameters
    ----------
    spectra : tuple of ndarray
        Real and imaginary parts, float32, of the first half of a spectrum, and of another one, which may be empty.
    weights : tuple of ndarray
        Their factors, as `arrange` orders them; or empty.
    edge : int
        The spectrum is zero but for so many frequencies next to zero and to the middle.
    first, second, third : ndarray
        Factors of the passes.
    out : ndarray
        (2 LENGTH,) float32: (four, eight, _ROWS, two, part, eight) results, of which the second, third, second, and
        first pass made the series; filled.
    """
    tile, given = np.empty(64 * _STEP, np.float32), np.empty(8 * _TILE * 2, np.float32)
    jump = _ROWS * 2 * _PARTS
    for start in range(0, _ROWS, _TILE):
        for p in range(64):
            at = start + _ROWS * p
            if edge <= at < _EIGHTH - edge - _TILE:
                tile[p * _STEP : (p + 1) * _STEP] = np.float32(0)
                continue
            for m in range(8):
                use = ((start // _TILE * 64 + p) * 8 + m) * _TILE * 2
                _gather(spectra, weights, at + m * _EIGHTH, m > 3, use, given, m * _TILE * 2)
            for h in range(_TILE // _LANES):
                use = ((start // _TILE * 64 + p) * (_TILE // _LANES) + h) * 7 * _PARTS
                _first_pass(given, h * _PARTS, first, use, tile, p * _STEP + h * _LANES * _PARTS)
        for p in range(8):
            use = (start + _ROWS * p) * _FACTORS
            at = p * _STEP
            pass_of_eight(tile, at, 8 * _STEP, _TILE, _PARTS, second, use, tile, at, 8 * _STEP, _PARTS, _HALF_ROOT)
        for p in range(8):
            at, to = p * 8 * _STEP, p // 2 * 8 * jump + (start * 2 + p % 2) * _PARTS
            pass_of_eight(
                tile, at, _STEP, _TILE, _PARTS, third, start * _FACTORS, out, to, jump, 2 * _PARTS, _HALF_ROOT
            )


@compiled
def _last_passes(values: Array, fourth: Array, fifth: Array, last: Array, scale: np.float32, out: Array) -> None:
    """Do the other passes; of the results only the real parts.

    Parameters
    ----------
    values : ndarray
        As `_first_passes` makes it; overwritten.
    fourth, fifth, last : ndarray
        Factors of the passes.
    scale : float32
        Factor of the result.
    out : ndarray
        (LENGTH,) float32; filled.
    """
    sums, differences = np.empty((_LAST + 1) // 2 * _PARTS, np.float32), np.empty(_LAST // 2 * _PARTS, np.float32)
    step = _ROWS // 8 * 2 * _PARTS
    for block in range(32):
        start = block * _ROWS * 2 * _PARTS
        for h in range(2):
            at = start + h * _PARTS
            pass_of_eight(values, at, step, _ROWS // 8, 2 * _PARTS, fourth, 0, values, at, step, 2 * _PARTS, _HALF_ROOT)
            for n in range(8):
                pass_of_four(values, at + n * step, 2 * _PARTS, fifth)
        for n in range(8):
            for m in range(4):
                at = start + n * step + m * _LAST * 2 * _PARTS
                _fold(values, at, sums, differences)
                _pass_of_89(
                    sums, differences, last, scale, out, 8 * (block // 8 * 2 + block % 8 * 8 + n * 64 + m * 512)
                )


@inlined
def _fold(values: Any, at: Any, sums: Any, differences: Any) -> Any:
    """Add real parts of values to those of their mirror images, and subtract imaginary parts."""
    put(sums, 0, load(values, at))
    put(sums, _LANES, load(values, at + _PARTS))
    for j in range(1, (_LAST + 1) // 2):
        near, far, to = at + j * 2 * _PARTS, at + (_LAST - j) * 2 * _PARTS, j * _PARTS
        put(sums, to, load(values, near) + load(values, far))
        put(sums, to + _LANES, load(values, near + _PARTS) + load(values, far + _PARTS))
        near, far, to = near + _LANES, far + _LANES, to - _PARTS
        put(differences, to, load(values, near) - load(values, far))
        put(differences, to + _LANES, load(values, near + _PARTS) - load(values, far + _PARTS))


@compiled
def _pass_of_89(sums: Array, differences: Array, factors: Array, scale: np.float32, out: Array, to: int) -> None:
    """Do the last pass for two vectors, and two pairs of results at once."""
    scales = spread(scale)
    short = LENGTH // _LAST
    a, b = load(sums, 0), load(sums, _LANES)
    for j in range(1, (_LAST + 1) // 2):
        a, b = a + load(sums, j * _PARTS), b + load(sums, j * _PARTS + _LANES)
    put(out, to, a * scales)
    put(out, to + _LANES, b * scales)
    for n in range(_LAST // 4):
        use = n * (_LAST // 2) * 4
        a0, b0, a1, b1 = load(sums, 0), load(sums, _LANES), load(sums, 0), load(sums, _LANES)
        for j in range(2):
            sa, sb = load(sums, (j + 1) * _PARTS), load(sums, (j + 1) * _PARTS + _LANES)
            c0, c1 = spread(factors[use + 4 * j]), spread(factors[use + 4 * j + 1])
            a0, b0, a1, b1 = a0 + c0 * sa, b0 + c0 * sb, a1 + c1 * sa, b1 + c1 * sb
        x0, y0, x1, y1 = _pair(differences, 0, factors, use + 2)
        x0, y0, x1, y1 = -x0, -y0, -x1, -y1
        for j in range(2, _LAST // 2, 2):
            p0, q0, p1, q1 = _pair(sums, (j + 1) * _PARTS, factors, use + 4 * j)
            a0, b0, a1, b1 = a0 + p0, b0 + q0, a1 + p1, b1 + q1
            p0, q0, p1, q1 = _pair(differences, j * _PARTS, factors, use + 4 * j + 2)
            x0, y0, x1, y1 = x0 - p0, y0 - q0, x1 - p1, y1 - q1
        low, high = to + short * (2 * n + 1), to + short * (_LAST - 2 * n - 1)
        put(out, low, (a0 + x0) * scales)
        put(out, low + _LANES, (b0 + y0) * scales)
        put(out, high, (a0 - x0) * scales)
        put(out, high + _LANES, (b0 - y0) * scales)
        low, high = low + short, high - short
        put(out, low, (a1 + x1) * scales)
        put(out, low + _LANES, (b1 + y1) * scales)
        put(out, high, (a1 - x1) * scales)
        put(out, high + _LANES, (b1 - y1) * scales)


@inlined
def _pair(values: Any, at: Any, factors: Any, use: Any) -> Any:
    """Weigh two values by two pairs of factors."""
    a, b, c, d = load(values, at), load(values, at + _LANES), load(values, at + _PARTS), load(values, at + 3 * _LANES)
    u, v = spread(factors[use]), spread(factors[use + 4])
    x, y = spread(factors[use + 1]), spread(factors[use + 5])
    return a * u + c * v, b * u + d * v, a * x + c * y, b * x + d * y
