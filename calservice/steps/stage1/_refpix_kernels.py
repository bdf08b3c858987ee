"""Compiled loops of the reference pixel correction."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined

__all__ = ["running_medians", "subtract_drifts", "subtract_drifts_miri", "subtract_drifts_of_outputs"]


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
def running_medians(values: Array, good: Array, length: int) -> Array:
    """Return the median of the good values in a window of rows around each row, NaN where there is none or one is NaN.

    The rows are continued by reflection at both ends, without repeating the last one. A median between two values is
    rounded to the type of the values.

    Parameters
    ----------
    values : ndarray
        (row, column) float32 or float64.
    good : ndarray
        (row, column) bool.
    length : int
        Rows of the window; of an even number, one more lies before the row than after it.

    Returns
    -------
    ndarray
        (row,) float64.
    """
    nrows, ncols = values.shape
    made = np.empty(nrows, np.float64)
    window, count, holes = np.empty(length * ncols, values.dtype), 0, 0
    two = values.dtype.type(2)
    unknown = np.zeros(nrows, np.int64)
    for y in range(nrows):
        for x in range(ncols):
            unknown[y] += good[y, x] and np.isnan(values[y, x])
    for y in range(1 - length, nrows):
        if y > 0:
            gone = _reflected(y - 1 - length // 2, nrows)
            count = _remove(values[gone], good[gone], window, count)
            holes -= unknown[gone]
        new = _reflected(y - length // 2 + length - 1, nrows)
        count = _add(values[new], good[new], window, count)
        holes += unknown[new]
        if y < 0:
            continue
        if count == 0 or holes > 0:
            made[y] = np.nan
        elif count % 2:
            made[y] = window[count // 2]
        else:
            made[y] = (window[count // 2 - 1] + window[count // 2]) / two
    return made


@compiled
def subtract_drifts(data: Array, first: Array, second: Array, single: Array, swapped: bool, out: Array) -> None:
    """Subtract two signals from every group, one that varies along rows and one along columns.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32.
    first, second : ndarray
        (integration, group, column or row) float64: what is subtracted first, and then. ``first`` is by column and
        ``second`` by row, unless ``swapped``.
    single : ndarray
        (integration, group) bool: whether the first difference is rounded to single precision.
    swapped : bool
        Whether the fast axis of the detector runs along columns.
    out : ndarray
        As ``data``; filled.
    """
    nints, ngroups, nrows, ncols = data.shape
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                plane, made = data[i, g, y], out[i, g, y]
                if swapped:
                    here = first[i, g, y]
                    for x in range(ncols):
                        value = np.float64(plane[x]) - here
                        if single[i, g]:
                            value = np.float64(np.float32(value))
                        made[x] = np.float32(value - second[i, g, x])
                else:
                    here = second[i, g, y]
                    for x in range(ncols):
                        value = np.float64(plane[x]) - first[i, g, x]
                        if single[i, g]:
                            value = np.float64(np.float32(value))
                        made[x] = np.float32(value - here)


@compiled
def subtract_drifts_of_outputs(
    data: Array, first: Array, second: Array, outputs: Array, single: Array, swapped: bool, out: Array
) -> None:
    """Like `subtract_drifts`, where the second signal differs between outputs.

    Parameters
    ----------
    data, first, single, swapped, out
        As in `subtract_drifts`.
    second : ndarray
        (integration, group, output, row or column) float64.
    outputs : ndarray
        (column or row,) int64: which output reads what.
    """
    nints, ngroups, nrows, ncols = data.shape
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                for x in range(ncols):
                    fast, slow = (y, x) if swapped else (x, y)
                    value = np.float64(data[i, g, y, x]) - first[i, g, fast]
                    if single[i, g]:
                        value = np.float64(np.float32(value))
                    out[i, g, y, x] = np.float32(value - second[i, g, outputs[fast], slow])


@compiled
def subtract_drifts_miri(data: Array, signals: Array, start: tuple[int, int], out: Array) -> None:
    """Subtract the signals of the four outputs, which take turns along rows, from the differences to the first group.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32.
    signals : ndarray
        (integration, group, parity of the row, output) float64.
    start : tuple of int
        Numbers of the first row and column on the detector, from 0.
    out : ndarray
        As ``data``; filled.
    """
    nints, ngroups, nrows, ncols = data.shape
    less = np.empty((2, ncols))
    for i in range(nints):
        for g in range(ngroups):
            for x in range(ncols):
                less[0, x], less[1, x] = signals[i, g, 0, (start[1] + x) % 4], signals[i, g, 1, (start[1] + x) % 4]
            for y in range(nrows):
                base, plane, made, drift = data[i, 0, y], data[i, g, y], out[i, g, y], less[(start[0] + y) % 2]
                for x in range(ncols):
                    value = np.float32(np.float64(plane[x]) - np.float64(base[x]))
                    value = np.float32(np.float64(value) - drift[x])
                    made[x] = np.float32(np.float64(value) + np.float64(base[x]))
