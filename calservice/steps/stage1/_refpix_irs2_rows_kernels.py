"""Spectra of the interleaved reference pixels of an IRS2 output along the rows of the file: of each pixel by itself.

Two real series are transformed as one complex one, and eight of these side by side, in double precision.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_kernels import STRIP, centred, line_times, read
from calservice.steps.stage1._refpix_irs2_layout import SIZE, SLOTS
from calservice.steps.stage1._refpix_irs2_passes_kernels import (
    PARTS,
    double_pass_of_eight,
    double_pass_of_four,
    load_rows,
    roots,
)
from calservice.steps.vectors import LANES, load, put, transposed, widened

__all__ = ["OCTETS", "SERIES", "RowWork", "row_spectra"]

SERIES = 128
"""Pixels of an output."""
OCTETS = SIZE // 2 // LANES + 1
"""Groups of eight frequencies that are needed."""
_WIDTH = STRIP + 8
"""Padded, so that series do not displace each other from the cache."""


class RowWork:
    """Memory for spectra along rows.

    Parameters
    ----------
    memory : ndarray
        Float64, of which the arrays are parts.

    Attributes
    ----------
    lines : ndarray
        (SIZE, part, eight) float64: eight complex series.
    spectra : ndarray
        (OCTETS, SERIES, part, eight) float64: twice the spectra, eight neighbouring frequencies side by side.
    """

    def __init__(self, memory: Array) -> None:
        self.lines, rest = np.split(memory.reshape(-1), [SIZE * PARTS])
        self.spectra = rest[: OCTETS * SERIES * PARTS]


class _Tables(NamedTuple):
    """Factors of the passes, and the place of each frequency after them."""

    first: Array
    second: Array
    third: Array
    places: Array


@cache
def _tables() -> _Tables:
    lengths = SIZE, SIZE // 8, SIZE // 64
    first, second, third = (roots(np.arange(n // 8)[:, None] * np.arange(1, 8), n).reshape(-1) for n in lengths)
    digits = np.unravel_index(np.arange(SIZE), (8, 8, 8, 4))
    places = np.empty(SIZE, np.int64)
    places[digits[0] + 8 * digits[1] + 64 * digits[2] + 512 * digits[3]] = np.arange(SIZE)
    return _Tables(first, second, third, places)


def row_spectra(
    frame: Array,
    mean: Array,
    source: tuple[Array, Array],
    rows: Array,
    slots: Array,
    against: bool,
    line: Array,
    work: RowWork,
) -> None:
    """Transform pixels along rows.

    Parameters
    ----------
    frame, mean : ndarray
        As in `sampled`.
    source : tuple of ndarray
        (row,) int64: where rows come from.
    rows, slots : ndarray
        (SERIES,) int64: where the pixels are in the file, and when they are read.
    against : bool
        Whether columns run against time.
    line : ndarray
        (2,) float32: value in the middle of the frame, and slope a sample, of the line to subtract.
    work : RowWork
        Filled.
    """
    half = SERIES // 2
    for start in range(0, half, LANES):
        # the first of two series is the real part; parts are swapped, as the transform is done as the inverse one
        for part in range(2):
            these = slice(start + half * part, start + half * part + LANES)
            _take(frame, mean, *source, rows[these], slots[these], against, line, work.lines, LANES * (1 - part))
        _transform(work.lines, start, _tables(), work.spectra)


@compiled
def _take(
    frame: Array,
    mean: Array,
    first: Array,
    second: Array,
    rows: Array,
    slots: Array,
    against: bool,
    line: Array,
    out: Array,
    to: int,
) -> None:
    """Put eight series side by side."""
    values, times = np.empty(LANES * _WIDTH, np.float32), np.empty(STRIP, np.float32)
    for start in range(0, SIZE, STRIP):
        line_times(SIZE, SLOTS, start, against, times)
        for n in range(LANES):
            row, made = rows[n], values[n * _WIDTH : n * _WIDTH + STRIP]
            given = read(frame, first[row], second[row], start, start + STRIP, made)
            centred(given, mean[row, start : start + STRIP], times, np.float32(slots[n]), line[0], line[1], made)
        for x in range(0, STRIP, LANES):
            turned = transposed(load_rows(values, x, _WIDTH))
            for n in range(LANES):
                y = SIZE - 1 - start - x - n if against else start + x + n
                put(out, y * PARTS + to, widened(turned[n]))


@compiled
def _transform(lines: Array, start: int, tables: _Tables, out: Array) -> None:
    """Transform eight complex series, from one on."""
    _pass(lines, SIZE, tables.first)
    _pass(lines, SIZE // 8, tables.second)
    _pass(lines, SIZE // 64, tables.third)
    for n in range(SIZE // 4):
        double_pass_of_four(lines, n * 4 * PARTS, 1, tables.third)
    for octet in range(OCTETS):
        to = (octet * SERIES + start) * PARTS
        _separate(lines, tables.places, octet * LANES, out, to, SERIES // 2 * PARTS)


@inlined
def _pass(values: Any, length: Any, factors: Any) -> Any:
    """Do a pass of radix 8 in place, on parts of some length."""
    count = length // 8
    for start in range(0, SIZE * PARTS, length * PARTS):
        double_pass_of_eight(values, start, count * PARTS, count, factors, 0, values, start, count * PARTS)


@inlined
def _pair(lines: Any, places: Any, k: Any) -> Any:
    """Return twice the spectra of two real series at a frequency: real and imaginary part of one, then of the other."""
    at, mirror = places[k] * PARTS, places[(SIZE - k) % SIZE] * PARTS
    i1, r1 = load(lines, at), load(lines, at + LANES)
    i2, r2 = load(lines, mirror), load(lines, mirror + LANES)
    return r1 + r2, i1 - i2, i1 + i2, r2 - r1


@inlined
def _separate(lines: Any, places: Any, k: Any, out: Any, to: Any, jump: Any) -> Any:
    """Write spectra of the real and of the imaginary series, eight frequencies side by side."""
    a, b = _pair(lines, places, k), _pair(lines, places, k + 1)
    c, d = _pair(lines, places, k + 2), _pair(lines, places, k + 3)
    e, f = _pair(lines, places, k + 4), _pair(lines, places, k + 5)
    g, h = _pair(lines, places, k + 6), _pair(lines, places, k + 7)
    for part in range(4):
        turned = transposed((a[part], b[part], c[part], d[part], e[part], f[part], g[part], h[part]))
        for n in range(LANES):
            put(out, to + part // 2 * jump + part % 2 * LANES + n * PARTS, turned[n])
