"""Compiled loops of the IRS2 reference pixel correction.

Frames are (row, column) as they lie in the file, outputs side by side along rows. Time series are (SIZE, SLOTS): one
line for each column of the file, in the order of readout. Arithmetic is rounded to single precision where the official
step does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_passes_kernels import load_rows
from calservice.steps.vectors import (
    LANES,
    load,
    put,
    spread,
    transposed,
    where_seen,
    widened,
)

__all__ = [
    "STRIP",
    "bridge_gaps",
    "centred",
    "corrected_rows",
    "fill",
    "line_times",
    "ramp_means",
    "read",
    "row_edges",
    "sampled",
]

STRIP = 256
"""Columns of a file that are turned to time series at once, so that what is written stays in the cache."""
_PAD = 8
"""So that their slots do not displace each other from the cache."""


@compiled
def read(frame: Array, first: int, second: int, start: int, stop: int, memory: Array) -> Array:
    """Return columns of a row, or in some memory those of what replaces it."""
    if 0 <= first == second:
        return frame[first, start:stop]
    memory[:] = np.float32(0)
    if first >= 0:
        memory[:] = (frame[first, start:stop] + frame[second, start:stop]) / np.float32(2)
    return memory


@compiled
def ramp_means(data: Array, first: Array, second: Array, out: Array) -> None:
    """Average each pixel over the groups.

    Parameters
    ----------
    data : ndarray
        (group, row, column) float32.
    first, second : ndarray
        (row,) int64: where rows come from.
    out : ndarray
        (row, column) float64; filled.
    """
    ngroups, nrows, ncols = data.shape
    row = np.empty(ncols, np.float32)
    for y in range(nrows):
        out[y] = 0.0
        for g in range(ngroups):
            values = read(data[g], first[y], second[y], 0, ncols, row)
            for x in range(ncols):
                out[y, x] += np.float64(values[x])
        for x in range(ncols):
            out[y, x] /= np.float64(ngroups)


@compiled
def row_edges(
    data: Array, mean: Array, first: Array, second: Array, rows: Array, slots: Array, columns: Array, out: Array
) -> None:
    """Take the first and last lines of the time series of all outputs and groups.

    Parameters
    ----------
    data : ndarray
        (group, row, column) float32.
    mean : ndarray
        (row, column) float64, which is subtracted.
    first, second : ndarray
        (row,) int64: where rows come from.
    rows : ndarray
        (output, sample) int64.
    slots : ndarray
        (sample,) int64.
    columns : ndarray
        (line,) int64: columns of the file.
    out : ndarray
        (output, group, line, slot) float32, zero; filled where there are samples.
    """
    for output in range(rows.shape[0]):
        for g in range(data.shape[0]):
            for s in range(slots.size):
                row = rows[output, s]
                a, b = first[row], second[row]
                for n in range(columns.size):
                    x = columns[n]
                    value = np.float32(0)
                    if a >= 0:
                        value = data[g, a, x] if a == b else (data[g, a, x] + data[g, b, x]) / np.float32(2)
                    out[output, g, n, slots[s]] = np.float32(np.float64(value) - mean[row, x])


@compiled
def line_times(size: int, nslots: int, start: int, backwards: bool, out: Array) -> None:
    """Tell when the lines of a strip begin, from the middle of the frame; all these numbers are exact."""
    middle = np.float32((size * nslots - 1) / 2)
    for x in range(out.size):
        y = size - 1 - start - x if backwards else start + x
        out[x] = np.float32(y * nslots) - middle


@compiled
def centred(
    values: Array, mean: Array, times: Array, slot: np.float32, start: np.float32, slope: np.float32, out: Array
) -> None:
    """Subtract the mean of the ramp, and the line of the frame from what is then not zero."""
    for x in range(STRIP):
        made = np.float32(np.float64(values[x]) - mean[x])
        less = np.float32(made - np.float32(start + np.float32(np.float32(times[x] + slot) * slope)))
        out[x] = made if made == 0 else less


@compiled
def _turn_to_series(turned: Array, start: int, backwards: bool, out: Array) -> None:
    """Transpose a strip of columns of the file to lines of a time series."""
    size, nslots = out.shape
    given, made = turned.reshape(-1), out.reshape(-1)
    width = turned.shape[1]
    for x in range(0, STRIP, 8):
        y = size - 1 - start - x if backwards else start + x
        forth = -nslots if backwards else nslots
        for slot in range(0, nslots, 8):
            _transpose_tile(given, slot * width + x, width, made, y * nslots + slot, forth)


@compiled
def _turn_to_columns(series: Array, start: int, backwards: bool, turned: Array) -> None:
    """Transpose lines of a time series to a strip of columns of the file."""
    size, nslots = series.shape
    given, made = series.reshape(-1), turned.reshape(-1)
    width = turned.shape[1]
    for x in range(0, STRIP, 8):
        y = size - 1 - start - x if backwards else start + x
        forth = -nslots if backwards else nslots
        for slot in range(0, nslots, 8):
            _transpose_tile(given, y * nslots + slot, forth, made, slot * width + x, width)


@inlined
def _transpose_tile(given: Any, at: Any, step: Any, out: Any, to: Any, jump: Any) -> Any:
    rows = transposed(load_rows(given, at, step))
    for n in range(8):
        put(out, to + n * jump, rows[n])


@compiled
def sampled(
    frame: Array,
    mean: Array,
    first: Array,
    second: Array,
    rows: Array,
    taken: Array,
    placed: Array,
    backwards: bool,
    line: Array,
    out: Array,
) -> None:
    """Make the time series of an output.

    Parameters
    ----------
    frame : ndarray
        (row, column) float32.
    mean : ndarray
        (row, column) float64, which is subtracted.
    first, second : ndarray
        (row,) int64: where rows come from.
    rows : ndarray
        (n,) int64: rows to take.
    taken, placed : ndarray
        (n,) int64: the slots at which they were read, and those that they go to.
    backwards : bool
        Whether columns run against time.
    line : ndarray
        (2,) float32: value in the middle of the frame, and slope a sample, of the line to subtract.
    out : ndarray
        (SIZE, SLOTS) float32; filled at the given slots, zero elsewhere.
    """
    size, nslots = out.shape
    memory, times = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    turned = np.zeros((nslots, STRIP + _PAD), np.float32)
    for start in range(0, size, STRIP):
        line_times(size, nslots, start, backwards, times)
        for n in range(rows.size):
            row = rows[n]
            values = read(frame, first[row], second[row], start, start + STRIP, memory)
            made, base = turned[placed[n], :STRIP], mean[row, start : start + STRIP]
            centred(values, base, times, np.float32(taken[n]), line[0], line[1], made)
        _turn_to_series(turned, start, backwards, out)


@compiled
def bridge_gaps(series: Array, weights: Array, out: Array) -> None:
    """Replace zeros by weighted means of what is not zero around them; the ends of the series are joined.

    Parameters
    ----------
    series : ndarray
        (n,) float32.
    weights : ndarray
        (2 m + 1,) float32, of the neighbours.
    out : ndarray
        (n,) float32; filled.
    """
    length = series.size
    half = weights.size // 2
    count = weights.size // LANES * LANES + LANES
    factors, parts = np.zeros(count), np.empty(2 * LANES)
    for n in range(weights.size):
        factors[n] = np.float64(weights[weights.size - 1 - n])
    for at in range(length):
        out[at] = series[at]
        if series[at] != 0:
            continue
        total, weight = 0.0, 0.0
        if half <= at < length - count:
            sums, used = spread(0.0), spread(0.0)
            for n in range(0, count, LANES):
                values, factor = widened(load(series, at - half + n)), load(factors, n)
                sums, used = sums + values * factor, used + where_seen(values, factor)
            put(parts, 0, sums)
            put(parts, LANES, used)
            for n in range(LANES):
                total, weight = total + parts[n], weight + parts[LANES + n]
        else:
            for n in range(weights.size):
                value = np.float64(series[(at - half + n + length) % length])
                total += value * factors[n]
                weight += factors[n] if value != 0 else 0.0
        if np.float32(weight) != 0:
            out[at] = np.float32(total) / np.float32(weight)


@compiled
def fill(given: Array, slots: Array, out: Array) -> None:
    """Copy some slots of a time series.

    Parameters
    ----------
    given : ndarray
        (SIZE, SLOTS) float32.
    slots : ndarray
        (SLOTS,) bool: which.
    out : ndarray
        (SIZE, SLOTS) float32; overwritten at these.
    """
    for y in range(given.shape[0]):
        for t in range(slots.size):
            out[y, t] = given[y, t] if slots[t] else out[y, t]


@compiled
def _corrected(
    values: Array,
    mean: Array,
    times: Array,
    slot: np.float32,
    start: np.float32,
    slope: np.float32,
    drift: Array,
    scale: np.float32,
    plain: bool,
    out: Array,
) -> None:
    """Do what `centred` does, subtract a drift, and perhaps add the mean of the ramp again."""
    for x in range(STRIP):
        base = mean[x]
        made = np.float32(np.float64(values[x]) - base)
        less = np.float32(made - np.float32(start + np.float32(np.float32(times[x] + slot) * slope)))
        value = np.float32((made if made == 0 else less) - np.float32(drift[x] * scale))
        out[x] = np.float32(np.float64(value) + base) if plain else value


@compiled
def corrected_rows(
    frame: Array,
    mean: Array,
    first: Array,
    second: Array,
    rows: Array,
    slots: Array,
    plain: Array,
    targets: Array,
    backwards: bool,
    line: Array,
    drift: Array,
    scale: np.float32,
    out: Array,
) -> None:
    """Subtract the drift of an output from its samples.

    Parameters
    ----------
    frame, mean, first, second
        As in `sampled`.
    rows, slots : ndarray
        (n,) int64: the samples, and when they were read.
    plain : ndarray
        (n,) bool: whether the mean of the ramp is added again.
    targets : ndarray
        (n,) int64: rows of the result.
    backwards : bool
        Whether columns run against time.
    line : ndarray
        (2,) float32: of the line to subtract.
    drift : ndarray
        (SIZE, SLOTS) float32.
    scale : float32
        Its factor.
    out : ndarray
        (row, column) float32; filled at the given rows.
    """
    size, nslots = drift.shape
    memory, times = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    turned = np.empty((nslots, STRIP + _PAD), np.float32)
    for start in range(0, size, STRIP):
        line_times(size, nslots, start, backwards, times)
        _turn_to_columns(drift, start, backwards, turned)
        for n in range(rows.size):
            row = rows[n]
            values = read(frame, first[row], second[row], start, start + STRIP, memory)
            base, less = mean[row, start : start + STRIP], turned[slots[n], :STRIP]
            made = out[targets[n], start : start + STRIP]
            _corrected(values, base, times, np.float32(slots[n]), line[0], line[1], less, scale, plain[n], made)
