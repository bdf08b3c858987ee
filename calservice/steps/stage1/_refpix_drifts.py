"""What reference pixels say of the drifts of a detector: statistics of the four edges of each frame.

Edges are kept in the orientation of the data (rows and columns as they lie in the file) until a frame's signals are
worked out; there they are turned to that of the detector, whose columns are read along its fast axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, REFERENCE_PIXEL
from calservice.model.stripes import FULL
from calservice.steps.stage1._refpix_sirs import row_signals

__all__ = [
    "ABSENT",
    "BORDER",
    "Edges",
    "Side",
    "average",
    "clipped_mean",
    "frame_signals",
    "sides_without",
    "turned",
    "usable",
]

BORDER = 4
"""Width of its borders of reference pixels."""
ABSENT = np.uint32(2**32 - 1)
"""Stands for the flags of a pixel of the detector that a subarray does not have."""
Number = np.floating[Any]


@dataclass(frozen=True)
class Edges:
    """The borders of frames, or of their flags.

    Attributes
    ----------
    bottom, top : ndarray
        First and last rows, (..., BORDER, FULL).
    left, right : ndarray
        First and last columns, (..., FULL, BORDER).
    """

    bottom: Array
    top: Array
    left: Array
    right: Array

    def map(self, change: Callable[[Array], Array]) -> Edges:
        """Return the edges with something done to each."""
        return Edges(*(change(edge) for edge in (self.bottom, self.top, self.left, self.right)))


@dataclass(frozen=True)
class Side:
    """How side pixels are turned to signals of rows.

    Attributes
    ----------
    length : int
        Rows of the window of the running medians.
    gain : float
        Factor of their signal.
    kernels : ndarray, optional
        Kernels to convolve with, (side, output, row) float64, instead of the medians.
    reject : float
        For these: which pixels are not used, in standard deviations.
    """

    length: int
    gain: float
    kernels: Array | None = None
    reject: float = 0.0


def turned(edges: Edges, fastaxis: int, slowaxis: int) -> Edges:
    """Return the edges of frames as they lie on the detector.

    Parameters
    ----------
    edges : Edges
        In the orientation of the data.
    fastaxis, slowaxis : int
        Keywords FASTAXIS and SLOWAXIS: 1 for columns and 2 for rows of the data, negative where they are read
        backwards.
    """
    down, across = (slowaxis, fastaxis) if abs(fastaxis) == 1 else (fastaxis, slowaxis)
    if down < 0:
        upright = edges.map(lambda edge: edge[..., ::-1, :])
        edges = Edges(upright.top, upright.bottom, upright.left, upright.right)
    if across < 0:
        upright = edges.map(lambda edge: edge[..., ::-1])
        edges = Edges(upright.bottom, upright.top, upright.right, upright.left)
    if abs(fastaxis) != 1:
        upright = edges.map(lambda edge: edge.swapaxes(-1, -2))
        edges = Edges(upright.left, upright.right, upright.bottom, upright.top)
    return edges


def clipped_mean(values: Array, limit: float) -> Number | None:
    """Return the mean without outliers, in the precision of the values; None of no values.

    Values further than ``limit`` standard deviations from the mean are left out, again and again until none is.

    Parameters
    ----------
    values : ndarray
        One-dimensional, float32 or float64.
    limit : float
        In standard deviations.
    """
    from calservice.steps.stage1._refpix_mean_kernels import clipped

    if not values.size:
        return None
    mean, left = clipped(np.ascontiguousarray(values), values.dtype.type(limit))
    return values.dtype.type(mean) if left else np.float64(mean)


def average(a: Number | None, b: Number | None) -> Number | None:
    """Return the mean of two numbers, or the one that there is."""
    if a is None or b is None:
        return b if a is None else a
    mean: Number = 0.5 * (a + b)
    return mean


def frame_signals(
    edges: Edges, good: Edges, dtype: type[np.generic], *, odd_even: bool, limit: float, side: Side | None
) -> tuple[Array, Array]:
    """Return the signals that the reference pixels of frames tell, in the orientation of the detector.

    Parameters
    ----------
    edges : Edges
        Values of frames, each (frame, row, column) float32, as the detector is oriented.
    good : Edges
        Which of these pixels may be used, (row, column) bool.
    dtype : type
        Precision of the arithmetic, float32 or float64.
    odd_even : bool
        Whether even and odd columns are told apart.
    limit : float
        Of the clipped means, in standard deviations.
    side : Side, optional
        How the side pixels are used; None: not at all.

    Returns
    -------
    columns : ndarray
        (frame, FULL) float64: what is subtracted from each column.
    rows : ndarray
        (frame, FULL) float64: what is then subtracted from each row, or (frame, output, FULL): from each row of each
        output.
    """
    from calservice.steps.stage1 import _refpix_frames_kernels as kernels

    top, bottom, left, right = map(np.ascontiguousarray, (edges.top, edges.bottom, edges.left, edges.right))
    whole = good.map(np.ascontiguousarray)
    ends, sides = (whole.top, whole.bottom), (whole.left, whole.right)
    columns, rows = np.zeros((len(top), FULL)), np.zeros((len(top), FULL))
    room = np.empty(BORDER * FULL, dtype)
    kernels.column_signals(top, bottom, ends, 2 if odd_even else 1, limit, room, columns)
    if side is None:
        return columns, rows
    if side.kernels is None:
        kernels.median_signals(left, right, sides, columns, side.length, room, rows)
        return columns, side.gain * rows
    pairs = zip(*_without_columns(edges, columns, dtype), strict=True)
    found = [row_signals(a.astype(np.float64), b.astype(np.float64), side.kernels, side.reject) for a, b in pairs]
    return columns, np.array(found)


def _without_columns(edges: Edges, columns: Array, dtype: type[np.generic]) -> tuple[Array, Array]:
    """Subtract the signals of columns from the side pixels."""
    left = (edges.left - columns[:, None, :BORDER]).astype(dtype)
    right = (edges.right - columns[:, None, FULL - BORDER :]).astype(dtype)
    return left, right


def sides_without(edges: Edges, dtype: type[np.generic], columns: Array, rows: Array) -> tuple[Array, Array]:
    """Return the left and the right side pixels without the signals that `frame_signals` found for each output."""
    left, right = _without_columns(edges, columns, dtype)
    return left - rows[:, 0, :, None], right - rows[:, -1, :, None]


def usable(flags: Array) -> Array:
    """Return where reference pixels are that may be used."""
    found: Array = ((flags & REFERENCE_PIXEL) != 0) & ((flags & DO_NOT_USE) == 0)
    return found
