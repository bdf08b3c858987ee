"""The spectrum of the interleaved reference pixels of an IRS2 output.

Each of the 32 visits to them in a row fills eight of its 712 slots with four pixels: 7 + 22 v + (0, 1, 4, 5) in visit
v, and the same two slots later. So each pixel is transformed along the 2048 rows by itself, and for each of these
frequencies, k1, the spectrum at k1 + 2048 k2 is a sum over the pixels. The sum over visits has a period of 356 in
11 k2, and consists of four sums over each fourth visit, whose period is 89. Rounded results are those of any transform
in double precision, but where they vanish.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, LINES, SIZE, SLOTS, Layout
from calservice.steps.stage1._refpix_irs2_passes_kernels import PARTS, product, roots
from calservice.steps.stage1._refpix_irs2_rows_kernels import OCTETS, SERIES, RowWork, row_spectra
from calservice.steps.vectors import (
    LANES,
    SPARE,
    aligned,
    backwards,
    fused,
    load,
    put,
    rounded,
    spread,
)

__all__ = ["pixel_spectrum"]

_VISITS, _PIXELS = 32, 4
_AFTER = (0, 1, 4, 5)
"""Slots of the pixels of a visit, from its first one on; in `Layout.spread_from` they have the same places."""
_FIRST, _NEXT = 7, 22
"""The first slot of the first visit, and the way from one visit to the next."""
_LAST = 89
_SUMS = 4
_TERMS = _VISITS // _SUMS


class _Tables(NamedTuple):
    """Factors, float64, and places.

    Attributes
    ----------
    visits, pixels, twice : ndarray
        Turns of visits, of pixels in a visit, and of two slots, at the frequencies of rows; visits also halve.
    sums, turns : ndarray
        Of the terms of a sum over each fourth visit, and of these sums.
    pixels_of_lines, lines : ndarray
        Turns of pixels for each result, and which line of the spectrum it is.
    """

    visits: Array
    pixels: Array
    twice: Array
    sums: Array
    turns: Array
    pixels_of_lines: Array
    lines: Array


@cache
def _tables() -> _Tables:
    k1 = -np.arange(OCTETS * LANES).reshape(-1, 1, LANES)
    visits = roots(k1 * (_FIRST + _NEXT * np.arange(_VISITS))[:, None], LENGTH) / 2
    pixels = roots(k1 * np.array(_AFTER)[:, None], LENGTH)
    twice = roots(2 * k1, LENGTH)
    by_lane = [np.moveaxis(each, -1, -2) for each in (visits, pixels, twice)]
    q = np.arange(_LAST)[:, None]
    sums = roots(q[: _LAST // 2 + 1] * np.arange(_TERMS), _LAST)
    turns = roots(-q * np.arange(_SUMS), LINES)
    lines = (q + _LAST * np.arange(_SUMS)) * pow(_NEXT // 2, -1, LINES) % LINES
    pixels_of_lines = roots(-lines[..., None] * np.array([1, 4, _FIRST, _FIRST + 2]), SLOTS)
    made = (*by_lane, sums, turns, pixels_of_lines, lines)
    return _Tables(*(np.ascontiguousarray(table).reshape(-1) for table in made))


def pixel_spectrum(
    frame: Array,
    mean: Array,
    source: tuple[Array, Array],
    rows: Array,
    line: Array,
    where: Layout,
    work: RowWork,
    out: Array,
) -> None:
    """Transform the time series of the interleaved reference pixels of an output, and divide it by its length.

    Parameters
    ----------
    frame, mean : ndarray
        As in `sampled`.
    source : tuple of ndarray
        (row,) int64: where rows come from.
    rows : ndarray
        (SAMPLES,) int64: the rows in the file of the samples of the output.
    line : ndarray
        (2,) float32: value in the middle of the frame, and slope a sample, of the line to subtract.
    where : Layout
        Of the detector.
    work : RowWork
        Overwritten.
    out : ndarray
        (2, LINES * LINE) float32: real and imaginary parts, rounded before they are divided; filled.
    """
    pixels = where.spread_from.reshape(_VISITS, -1)[:, _AFTER].reshape(-1)
    row_spectra(frame, mean, source, rows[pixels], where.slots[pixels], where.backwards, line, work)
    _combine(work.spectra, _tables(), np.float32(1) / np.float32(LENGTH), out[0], out[1])


@compiled
def _combine(spectra: Array, tables: _Tables, scale: np.float32, real: Array, imaginary: Array) -> None:
    """Add the spectra of pixels up.

    Parameters
    ----------
    spectra : ndarray
        As in `RowWork`.
    tables : _Tables
        Factors.
    scale : float32
        Factor of the result.
    real, imaginary : ndarray
        (LINES * LINE,) float32; filled.
    """
    values, made = aligned(np.empty(SERIES * PARTS + SPARE)), aligned(np.empty(2 * SERIES // _TERMS * PARTS + SPARE))
    for octet in range(OCTETS):
        _turn_pixels(spectra, octet, tables.visits, tables.pixels, values)
        c, s = load(tables.twice, octet * PARTS), load(tables.twice, octet * PARTS + LANES)
        for q in range(_LAST // 2 + 1):
            for n in range(0, _PIXELS * _SUMS, 2):
                _two_sums(values, n * _TERMS * PARTS, tables.sums, q * 2 * _TERMS, made, n * PARTS)
            for side in range(2 if q else 1):
                k = _LAST - q if side else q
                at = side * _PIXELS * _SUMS * PARTS
                for pixel in range(_PIXELS):
                    _turn_four(made, at + pixel * _SUMS * PARTS, tables.turns, k * 2 * _SUMS)
                for n in range(_SUMS):
                    w, v, x, y = _add_pixels(made, at + n * PARTS, tables.pixels_of_lines, (k * _SUMS + n) * 8, c, s)
                    _write(w, v, x, y, tables.lines[k * _SUMS + n], octet * LANES, scale, real, imaginary)


@inlined
def _turn_pixels(spectra: Any, octet: Any, visits: Any, pixels: Any, out: Any) -> Any:
    """Multiply spectra by the turns of their pixels, and sort them by pixels of a visit, sum, and term."""
    for visit in range(_VISITS):
        for pixel in range(_PIXELS):
            v, p = (octet * _VISITS + visit) * PARTS, (octet * _PIXELS + pixel) * PARTS
            c, s = product(load(visits, v), load(visits, v + LANES), load(pixels, p), load(pixels, p + LANES))
            at = (octet * SERIES + visit * _PIXELS + pixel) * PARTS
            x, y = product(load(spectra, at), load(spectra, at + LANES), c, s)
            to = ((pixel * _SUMS + visit % _SUMS) * _TERMS + visit // _SUMS) * PARTS
            put(out, to, x)
            put(out, to + LANES, y)


@inlined
def _two_sums(values: Any, at: Any, factors: Any, use: Any, out: Any, to: Any) -> Any:
    """Do two of the sums over visits, at a frequency and at its mirror image."""
    step = _TERMS * PARTS
    a0, b0 = load(values, at), load(values, at + LANES)
    a1, b1 = load(values, at + step), load(values, at + step + LANES)
    x0, y0 = a0 - a0, a0 - a0
    x1, y1 = x0, y0
    for j in range(1, _TERMS):
        c, s = spread(factors[use + 2 * j]), spread(factors[use + 2 * j + 1])
        p, q = load(values, at + j * PARTS), load(values, at + j * PARTS + LANES)
        a0, b0, x0, y0 = fused(p, c, a0), fused(q, c, b0), fused(p, s, x0), fused(q, s, y0)
        p, q = load(values, at + step + j * PARTS), load(values, at + step + j * PARTS + LANES)
        a1, b1, x1, y1 = fused(p, c, a1), fused(q, c, b1), fused(p, s, x1), fused(q, s, y1)
    mirror = to + _PIXELS * _SUMS * PARTS
    put(out, to, a0 + y0)
    put(out, to + LANES, b0 - x0)
    put(out, mirror, a0 - y0)
    put(out, mirror + LANES, b0 + x0)
    put(out, to + PARTS, a1 + y1)
    put(out, to + PARTS + LANES, b1 - x1)
    put(out, mirror + PARTS, a1 - y1)
    put(out, mirror + PARTS + LANES, b1 + x1)


@inlined
def _turned(values: Any, at: Any, factors: Any, use: Any) -> Any:
    return product(load(values, at), load(values, at + LANES), spread(factors[use]), spread(factors[use + 1]))


@inlined
def _turn_four(values: Any, at: Any, factors: Any, use: Any) -> Any:
    """Make of four sums of a pixel those over all visits, in place."""
    r0, i0 = load(values, at), load(values, at + LANES)
    r1, i1 = _turned(values, at + PARTS, factors, use + 2)
    r2, i2 = _turned(values, at + 2 * PARTS, factors, use + 4)
    r3, i3 = _turned(values, at + 3 * PARTS, factors, use + 6)
    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    put(values, at, r0 + r1)
    put(values, at + LANES, i0 + i1)
    put(values, at + PARTS, r2 + i3)
    put(values, at + PARTS + LANES, i2 - r3)
    put(values, at + 2 * PARTS, r0 - r1)
    put(values, at + 2 * PARTS + LANES, i0 - i1)
    put(values, at + 3 * PARTS, r2 - i3)
    put(values, at + 3 * PARTS + LANES, i2 + r3)


@inlined
def _plus(real: Any, imaginary: Any, x: Any, y: Any, c: Any, s: Any) -> Any:
    """Return a complex number plus the product of two."""
    return fused(x, c, fused(-y, s, real)), fused(x, s, fused(y, c, imaginary))


@inlined
def _add_pixels(given: Any, at: Any, factors: Any, use: Any, c: Any, s: Any) -> Any:
    """Return results for a line of the spectrum, and for that half of all lines on."""
    step = _SUMS * PARTS
    c4, s4 = spread(factors[use + 2]), spread(factors[use + 3])
    x0, y0 = load(given, at), load(given, at + LANES)
    x1, y1 = load(given, at + step), load(given, at + step + LANES)
    x2, y2 = load(given, at + 2 * step), load(given, at + 2 * step + LANES)
    x3, y3 = load(given, at + 3 * step), load(given, at + 3 * step + LANES)
    x0, y0 = _plus(x0, y0, x2, y2, c4, s4)
    x1, y1 = _plus(x1, y1, x3, y3, c4, s4)
    x1, y1 = product(x1, y1, spread(factors[use]), spread(factors[use + 1]))
    # the same two slots later
    c9, s9 = spread(factors[use + 6]), spread(factors[use + 7])
    w, v = _plus(spread(factors[use + 4]), spread(factors[use + 5]), c, s, c9, s9)
    p, q = product(x0 + x1, y0 + y1, w, v)
    # half of all lines on, factors of odd slots have the other sign, and the first slot is odd
    x, y = product(x1 - x0, y1 - y0, w, v)
    return p, q, x, y


@inlined
def _write(p: Any, q: Any, x: Any, y: Any, line: Any, k: Any, scale: Any, real: Any, imaginary: Any) -> Any:
    """Write eight frequencies of a line, and of the mirror image of that half of all lines on."""
    scales = spread(scale)
    to = line * LINE + k
    put(real, to, rounded(p) * scales)
    put(imaginary, to, rounded(q) * scales)
    to = (LINES - 1 - line) * LINE + SIZE - k - LANES + 1
    put(real, to, backwards(rounded(x) * scales))
    put(imaginary, to, -backwards(rounded(y) * scales))
