"""Compiled loops over frames: what the reference pixels at the edges of a detector tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_mean_kernels import clipped

__all__ = ["column_signals", "median_signals", "put_pixels", "side_drifts"]


@inlined
def _mean(values: Any, good: Any, first: Any, stop: Any, step: Any, limit: Any, room: Any) -> Any:
    """Return the clipped mean of the good pixels of some columns, whether there are any, and whether all are alike."""
    count = 0
    for y in range(values.shape[0]):
        for x in range(first, stop, step):
            if good[y, x]:
                room[count] = values[y, x]
                count += 1
    if count == 0:
        return room.dtype.type(0), False, False
    mean, left = clipped(room[:count], room.dtype.type(limit))
    return mean, True, left == 0


@compiled
def put_pixels(target: Array, rows: Array, columns: Array, values: Array, some: Array) -> None:
    """Put values of pixels in a list to their places in frames.

    Parameters
    ----------
    target : ndarray
        (integration, group, row, column) float32; changed.
    rows, columns : ndarray
        (number) int64: a place for each.
    values : ndarray
        (integration, group, pixel) float32.
    some : ndarray
        (number) int64: which of them.
    """
    for i in range(target.shape[0]):
        for g in range(target.shape[1]):
            for n in range(some.size):
                target[i, g, rows[n], columns[n]] = values[i, g, some[n]]


@compiled
def column_signals(
    top: Array, bottom: Array, good: tuple[Array, Array], parts: int, limit: float, room: Array, made: Array
) -> None:
    """Find the signal of each column: the mean of the clipped means of both ends, by output and parity.

    Parameters
    ----------
    top, bottom : ndarray
        (frame, row, column) float32: the reference rows.
    good : tuple of ndarray
        Which of their pixels may be used, of top and bottom, (row, column) bool.
    parts : int
        Two, if even and odd columns are told apart, else one.
    limit : float
        Of the clipped means, in standard deviations.
    room : ndarray
        As many numbers as an end has, float32 or float64: the arithmetic is in that precision. Overwritten. Means of
        pixels that are all alike are in double precision.
    made : ndarray
        (frame, column) float64; filled, with 0 for outputs that lack good pixels of one parity.
    """
    nframes, _, ncols = top.shape
    width = ncols // 4
    half = room.dtype.type(0.5)
    found, there = np.empty(2), np.empty(2, np.bool_)
    for frame in range(nframes):
        for start in range(0, ncols, width):
            for part in range(parts):
                first, stop = start + part, start + width
                above, any_above, alike_above = _mean(top[frame], good[0], first, stop, parts, limit, room)
                below, any_below, alike_below = _mean(bottom[frame], good[1], first, stop, parts, limit, room)
                there[part] = any_above or any_below
                if any_above and any_below:
                    if alike_above or alike_below:
                        found[part] = 0.5 * (np.float64(above) + np.float64(below))
                    else:
                        found[part] = half * (above + below)
                else:
                    found[part] = above if any_above else below
            for part in range(parts):
                for x in range(start + part, start + width, parts):
                    made[frame, x] = found[part] if there[:parts].all() else 0.0


@inlined
def _reflected(row: Any, nrows: Any) -> Any:
    """Return which row stands for one before the first or after the last."""
    return -row if row < 0 else 2 * (nrows - 1) - row if row >= nrows else row


@inlined
def _add(values: Any, good: Any, window: Any, count: Any) -> Any:
    """Add the good ones of some values to those in order in a window, unless they are NaN; return how many it has."""
    for x in range(values.size):
        value = values[x]
        if good[x] and not np.isnan(value):
            place = count
            while place > 0 and window[place - 1] > value:
                window[place] = window[place - 1]
                place -= 1
            window[place] = value
            count += 1
    return count


@inlined
def _remove(values: Any, good: Any, window: Any, count: Any) -> Any:
    """Undo `_add`."""
    for x in range(values.size):
        value = values[x]
        if good[x] and not np.isnan(value):
            count -= 1
            place, last = count, window[count]
            while last != value:
                place -= 1
                last, window[place] = window[place], last
    return count


@compiled
def _running_medians(values: Array, good: Array, length: int, rows: tuple[int, int], made: Array) -> None:
    """Find the median of the good values in a window of rows around each row, NaN where there is none or one is NaN.

    The rows are continued by reflection at both ends, without repeating the last one. A median between two values is
    rounded to the type of the values. Of an even number of rows, one more lies before the row than after it. Rows
    outside of the given range are known to have no good values near.
    """
    nrows, ncols = values.shape
    window, count, holes = np.empty(length * ncols, values.dtype), 0, 0
    two = values.dtype.type(2)
    unknown = np.zeros(nrows, np.int64)
    for y in range(nrows):
        for x in range(ncols):
            unknown[y] += good[y, x] and np.isnan(values[y, x])
    made[:] = np.nan
    start, stop = rows
    for y in range(start + 1 - length, stop):
        if y > start:
            gone = _reflected(y - 1 - length // 2, nrows)
            count = _remove(values[gone], good[gone], window, count)
            holes -= unknown[gone]
        new = _reflected(y - length // 2 + length - 1, nrows)
        count = _add(values[new], good[new], window, count)
        holes += unknown[new]
        if y < start:
            continue
        if count == 0 or holes > 0:
            made[y] = np.nan
        elif count % 2:
            made[y] = window[count // 2]
        else:
            made[y] = (window[count // 2 - 1] + window[count // 2]) / two


@compiled
def median_signals(
    left: Array, right: Array, good: tuple[Array, Array], columns: Array, length: int, kind: Array, made: Array
) -> None:
    """Find the signal of each row: the mean of the running medians of both sides, or the one that there is, or 0.

    Parameters
    ----------
    left, right : ndarray
        (frame, row, column) float32: the reference columns.
    good : tuple of ndarray
        Which of their pixels may be used, of left and right, (row, column) bool.
    columns : ndarray
        (frame, column) float64: the signals of columns, which are subtracted before.
    length : int
        Rows of the window of the medians.
    kind : ndarray
        Of the precision of the arithmetic, float32 or float64; else of no meaning.
    made : ndarray
        (frame, row) float64; filled.
    """
    nframes, nrows, ncols = left.shape
    away = columns.shape[1] - ncols
    room = np.empty((nrows, ncols), kind.dtype)
    medians = np.empty((2, nrows))
    start, stop = nrows, 0
    for y in range(nrows):
        if good[0][y].any() or good[1][y].any():
            start, stop = min(start, y), y + 1
    start, stop = max(start - length, 0), min(stop + length, nrows)
    for frame in range(nframes):
        for side in range(2):
            values = left[frame] if side == 0 else right[frame]
            for y in range(nrows):
                for x in range(ncols):
                    room[y, x] = np.float64(values[y, x]) - columns[frame, side * away + x]
            _running_medians(room, good[side], length, (start, stop), medians[side])
        for y in range(nrows):
            one, other = medians[0, y], medians[1, y]
            if np.isnan(one):
                one = other
            elif not np.isnan(other):
                one = 0.5 * (one + other)
            made[frame, y] = 0.0 if np.isnan(one) else one


@compiled
def side_drifts(
    sides: tuple[Array, Array],
    good: tuple[Array, Array],
    parts: int,
    limit: float,
    groups: tuple[int, int],
    made: Array,
) -> None:
    """Find how far the reference pixels of each output have drifted since the first group: the mean of both sides.

    Parameters
    ----------
    sides : tuple of ndarray
        The left and the right ones, (integration, group, row, output) float32.
    good : tuple of ndarray
        Which of these pixels may be used, (row, output) bool; some of each output and parity on each side.
    parts : int
        Two, if even and odd rows are told apart, else one.
    limit : float
        Of the clipped means, in standard deviations.
    groups : tuple of int
        Half-open range of the groups to look at.
    made : ndarray
        (integration, group, parity, output) float64; filled for these groups.
    """
    nints, _, nrows, noutputs = sides[0].shape
    room, half = np.empty(nrows, np.float32), np.float32(0.5)
    most: Any = np.float32(limit)
    means, alike = np.empty(2), np.empty(2, np.bool_)
    for i in range(nints):
        for g in range(groups[0], groups[1]):
            for output in range(noutputs):
                for part in range(parts):
                    for k in range(2):
                        side, usable = (sides[0], good[0]) if k == 0 else (sides[1], good[1])
                        count = 0
                        for y in range(part, nrows, parts):
                            room[count] = side[i, g, y, output] - side[i, 0, y, output]
                            count += usable[y, output]
                        mean, left = clipped(room[:count], most)
                        means[k], alike[k] = mean, left == 0
                    if alike[0] or alike[1]:
                        found = 0.5 * (means[0] + means[1])
                    else:
                        found = np.float64(half * (np.float32(means[0]) + np.float32(means[1])))
                    for parity in range(part, 2, parts):
                        made[i, g, parity, output] = found
