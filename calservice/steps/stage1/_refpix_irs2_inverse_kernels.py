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
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, SIZE
from calservice.steps.stage1._refpix_irs2_numpy_kernels import numpy_roots, root
from calservice.steps.stage1._refpix_irs2_passes_kernels import (
    PARTS,
    eight,
    load_rows,
    paired_pass_of_eight,
    product,
    times,
    wide_pass_of_eight,
    wide_pass_of_four,
)
from calservice.steps.vectors import (
    LANES,
    SPARE,
    aligned,
    backwards,
    load,
    load_wide,
    put,
    spread,
    spread_wide,
    transposed,
)

__all__ = ["TILE", "arrange", "real_inverse", "weighted_inverse"]

_LAST = 89
_EIGHTH = LENGTH // 8
_ROWS = LENGTH // 8**3
"""Values of each series after three passes."""
TILE = 32
"""Neighbouring frequencies that go through the first three passes together."""
_STEP = (TILE + 1) * PARTS
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
    roots = numpy_roots()
    first = np.empty((_ROWS // TILE, 64, TILE // LANES, 7, 2, LANES), np.float32)
    _fill_first(*roots, first)
    made, before = [first], 8
    for radix in (8, 8, 8, 4):
        made.append(np.empty((LENGTH // (before * radix), radix - 1, 2), np.float32))
        _fill(*roots, before, made[-1])
        before *= radix
    last = np.empty((_LAST, 1, 2), np.float32)
    _fill(*roots, LENGTH // _LAST, last)
    half = np.arange(1, _LAST // 2 + 1)
    made.append(last[half[:, None] * half % _LAST].reshape(len(half) // 2, 2, len(half), 2).transpose(0, 2, 3, 1))
    return _Tables(*(np.ascontiguousarray(factors).reshape(-1) for factors in made))


@compiled
def _fill_first(fine: Array, coarse: Array, out: Array) -> None:
    """Fill the factors of the first pass, (tile, row of a tile, octet of frequencies, result, part, frequency)."""
    for t, p, h, m in np.ndindex(out.shape[:4]):
        for n in range(LANES):
            place = p * _ROWS + t * TILE + h * LANES + n
            out[t, p, h, m, 0, n], out[t, p, h, m, 1, n] = root(fine, coarse, place * (m + 1))


@compiled
def _fill(fine: Array, coarse: Array, before: int, out: Array) -> None:
    """Fill the factors of a later pass, (place, result, part), before which there were so many series."""
    for n, m in np.ndindex(out.shape[:2]):
        out[n, m, 0], out[n, m, 1] = root(fine, coarse, n * (m + 1) * before)


@compiled
def arrange(factors: Array, first: int, out: Array) -> None:
    """Put factors of some frequencies in the order in which they are used.

    Parameters
    ----------
    factors : ndarray
        (2 n * 8,) float32: real and imaginary parts in turn, of eight kinds side by side; n is a multiple of `TILE`.
    first : int
        The first frequency, a multiple of `TILE`.
    out : ndarray
        (8 * 2 LENGTH,) float32: kind by kind; filled for these frequencies.
    """
    for at in range(0, factors.size // 16, LANES):
        m, other = divmod(first + at, _EIGHTH)
        p, row = other // _ROWS, other % _ROWS
        to = ((row // TILE * 64 + p) * 8 + m) * 2 * TILE + row % TILE * 2
        for part in range(2):
            kinds = transposed(load_rows(factors, (2 * at + part) * 8, 16))
            for kind in range(8):
                put(out, kind * 2 * LENGTH + to + part * LANES, kinds[kind])


def real_inverse(half: Array, edge: int, work: Array, out: Array) -> None:
    """Transform the spectrum of a real series to time.

    Parameters
    ----------
    half : ndarray
        (2, LINES * LINE) float32: real and imaginary parts of the first half of the spectrum.
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
        (2, LINES * LINE) float32: real and imaginary parts of the first halves of the spectra.
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
    first = LENGTH - at - LANES + 1 if mirror else at
    place = first + first // SIZE * (LINE - SIZE)
    if mirror:
        return backwards(load(half[0], place)), -backwards(load(half[1], place))
    return load(half[0], place), load(half[1], place)


@inlined
def _gather(spectra: Any, weights: Any, first: Any, mirror: Any, use: Any, out: Any, to: Any) -> Any:
    """Take neighbouring frequencies of spectra, and add them up with their weights."""
    for n in range(0, TILE, LANES):
        at = first + n
        x, y = _mirrored((spectra[0], spectra[1]), at, mirror)
        if weights[0].size:
            w, v = use + 2 * n, use + 2 * n + LANES
            x, y = product(x, y, load(weights[0], w), load(weights[0], v))
            p, q = _mirrored((spectra[2], spectra[3]), at, mirror)
            p, q = product(load(weights[1], w), load(weights[1], v), p, q)
            x, y = x + p, y + q
        put(out, to + n * 2, x)
        put(out, to + n * 2 + LANES, y)


@inlined
def _first_pass(given: Any, at: Any, factors: Any, use: Any, out: Any, to: Any) -> Any:
    """Do the first pass on eight neighbouring frequencies."""
    step = TILE * 2
    r, i = eight(load_rows(given, at, step), load_rows(given, at + LANES, step), spread(_HALF_ROOT))
    w, v = use, use + LANES
    r1, i1 = times(r[1], i[1], load(factors, w), load(factors, v))
    r2, i2 = times(r[2], i[2], load(factors, w + PARTS), load(factors, v + PARTS))
    r3, i3 = times(r[3], i[3], load(factors, w + 2 * PARTS), load(factors, v + 2 * PARTS))
    r4, i4 = times(r[4], i[4], load(factors, w + 3 * PARTS), load(factors, v + 3 * PARTS))
    r5, i5 = times(r[5], i[5], load(factors, w + 4 * PARTS), load(factors, v + 4 * PARTS))
    r6, i6 = times(r[6], i[6], load(factors, w + 5 * PARTS), load(factors, v + 5 * PARTS))
    r7, i7 = times(r[7], i[7], load(factors, w + 6 * PARTS), load(factors, v + 6 * PARTS))
    rows = transposed((r[0], r1, r2, r3, r4, r5, r6, r7))
    for m in range(8):
        put(out, to + m * PARTS, rows[m])
    rows = transposed((i[0], i1, i2, i3, i4, i5, i6, i7))
    for m in range(8):
        put(out, to + m * PARTS + LANES, rows[m])


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
        (2 LENGTH,) float32: (four, eight, _ROWS, part, two, eight) results, of which the second, third, second, and
        first pass made the series; filled.
    """
    tile, given = aligned(np.empty(64 * _STEP + SPARE, np.float32)), aligned(np.empty(8 * TILE * 2 + SPARE, np.float32))
    jump = _ROWS * 2 * PARTS
    for start in range(0, _ROWS, TILE):
        for p in range(64):
            at = start + _ROWS * p
            if edge <= at < _EIGHTH - edge - TILE:
                tile[p * _STEP : (p + 1) * _STEP] = np.float32(0)
                continue
            for m in range(8):
                use = ((start // TILE * 64 + p) * 8 + m) * TILE * 2
                _gather(spectra, weights, at + m * _EIGHTH, m > 3, use, given, m * TILE * 2)
            for h in range(TILE // LANES):
                use = ((start // TILE * 64 + p) * (TILE // LANES) + h) * 7 * PARTS
                _first_pass(given, h * PARTS, first, use, tile, p * _STEP + h * LANES * PARTS)
        for p in range(8):
            use = (start + _ROWS * p) * _FACTORS
            at = p * _STEP
            paired_pass_of_eight(tile, at, 8 * _STEP, TILE, second, use, _HALF_ROOT)
        for p in range(0, 8, 2):
            at, to, use = p * 8 * _STEP, (p // 2 * 8 * _ROWS + start) * 2 * PARTS, start * _FACTORS
            wide_pass_of_eight(tile, at, 8 * _STEP, _STEP, TILE, third, use, out, to, jump, _HALF_ROOT)


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
    sums, differences = (
        aligned(np.empty((_LAST + 1) // 2 * PARTS + SPARE, np.float32)),
        aligned(np.empty(_LAST // 2 * PARTS + SPARE, np.float32)),
    )
    step = _ROWS // 8 * 2 * PARTS
    for block in range(32):
        start = block * _ROWS * 2 * PARTS
        wide_pass_of_eight(values, start, PARTS, step, _ROWS // 8, fourth, 0, values, start, step, _HALF_ROOT)
        for n in range(8):
            wide_pass_of_four(values, start + n * step, fifth)
            for m in range(4):
                _fold(values, start + n * step + m * _LAST * 2 * PARTS, sums, differences)
                to = 8 * (block // 8 * 2 + block % 8 * 8 + n * 64 + m * 512)
                _pass_of_89(sums, differences, last, scale, out, to)


@inlined
def _fold(values: Any, at: Any, sums: Any, differences: Any) -> Any:
    """Add real parts of values to those of their mirror images, and subtract imaginary parts."""
    put(sums, 0, load_wide(values, at))
    for j in range(1, (_LAST + 1) // 2):
        near, far, to = at + j * 2 * PARTS, at + (_LAST - j) * 2 * PARTS, j * PARTS
        put(sums, to, load_wide(values, near) + load_wide(values, far))
        put(differences, to - PARTS, load_wide(values, near + PARTS) - load_wide(values, far + PARTS))


@compiled
def _pass_of_89(sums: Array, differences: Array, factors: Array, scale: np.float32, out: Array, to: int) -> None:
    """Do the last pass, two pairs of results at once."""
    scales = spread_wide(scale)
    short = LENGTH // _LAST
    first = load_wide(sums, 0)
    a = first
    for j in range(1, (_LAST + 1) // 2):
        a = a + load_wide(sums, j * PARTS)
    put(out, to, a * scales)
    for n in range(_LAST // 4):
        use = n * (_LAST // 2) * 4
        a, b = first, first
        for j in range(2):
            value = load_wide(sums, (j + 1) * PARTS)
            a = a + spread_wide(factors[use + 4 * j]) * value
            b = b + spread_wide(factors[use + 4 * j + 1]) * value
        x, y = _pair(differences, 0, factors, use + 2)
        x, y = -x, -y
        for j in range(2, _LAST // 2, 2):
            p, q = _pair(sums, (j + 1) * PARTS, factors, use + 4 * j)
            a, b = a + p, b + q
            p, q = _pair(differences, j * PARTS, factors, use + 4 * j + 2)
            x, y = x - p, y - q
        low, high = to + short * (2 * n + 1), to + short * (_LAST - 2 * n - 1)
        put(out, low, (a + x) * scales)
        put(out, high, (a - x) * scales)
        low, high = low + short, high - short
        put(out, low, (b + y) * scales)
        put(out, high, (b - y) * scales)


@inlined
def _pair(values: Any, at: Any, factors: Any, use: Any) -> Any:
    """Weigh two values by two pairs of factors."""
    a, b = load_wide(values, at), load_wide(values, at + PARTS)
    u, v = spread_wide(factors[use]), spread_wide(factors[use + 4])
    x, y = spread_wide(factors[use + 1]), spread_wide(factors[use + 5])
    return a * u + b * v, a * x + b * y
