"""Compiled loops of the reference pixel correction."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["subtract_drifts", "subtract_drifts_miri", "subtract_drifts_of_outputs"]


@compiled
def subtract_drifts(data: Array, first: Array, second: Array, single: Array, swapped: bool) -> None:
    """Subtract two signals from every group, one that varies along rows and one along columns.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32; changed.
    first, second : ndarray
        (integration, group, column or row) float64: what is subtracted first, and then. ``first`` is by column and
        ``second`` by row, unless ``swapped``.
    single : ndarray
        (integration, group) bool: whether the first difference is rounded to single precision.
    swapped : bool
        Whether the fast axis of the detector runs along columns.
    """
    nints, ngroups, nrows, ncols = data.shape
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                plane = data[i, g, y]
                if swapped:
                    here = first[i, g, y]
                    for x in range(ncols):
                        value = np.float64(plane[x]) - here
                        if single[i, g]:
                            value = np.float64(np.float32(value))
                        plane[x] = np.float32(value - second[i, g, x])
                else:
                    here = second[i, g, y]
                    for x in range(ncols):
                        value = np.float64(plane[x]) - first[i, g, x]
                        if single[i, g]:
                            value = np.float64(np.float32(value))
                        plane[x] = np.float32(value - here)


@compiled
def subtract_drifts_of_outputs(
    data: Array, first: Array, second: Array, outputs: Array, single: Array, swapped: bool
) -> None:
    """Like `subtract_drifts`, where the second signal differs between outputs.

    Parameters
    ----------
    data, first, single, swapped
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
                    data[i, g, y, x] = np.float32(value - second[i, g, outputs[fast], slow])


@compiled
def subtract_drifts_miri(data: Array, signals: Array, start: tuple[int, int]) -> None:
    """Subtract the signals of the four outputs, which take turns along rows, from the differences to the first group.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32; changed.
    signals : ndarray
        (integration, group, parity of the row, output) float64.
    start : tuple of int
        Numbers of the first row and column on the detector, from 0.
    """
    nints, ngroups, nrows, ncols = data.shape
    less = np.empty((2, ncols))
    for i in range(nints):
        for g in range(ngroups - 1, -1, -1):  # the first group last, which all others need
            for x in range(ncols):
                less[0, x], less[1, x] = signals[i, g, 0, (start[1] + x) % 4], signals[i, g, 1, (start[1] + x) % 4]
            for y in range(nrows):
                base, plane, drift = data[i, 0, y], data[i, g, y], less[(start[0] + y) % 2]
                for x in range(ncols):
                    value = np.float32(np.float64(plane[x]) - np.float64(base[x]))
                    value = np.float32(np.float64(value) - drift[x])
                    plane[x] = np.float32(np.float64(value) + np.float64(base[x]))
