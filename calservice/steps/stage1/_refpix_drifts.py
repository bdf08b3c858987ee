"""What reference pixels say of the drifts of a detector: statistics of the four edges of each frame.

Edges are kept in the orientation of the data (rows and columns as they lie in the file) until a frame's signals are
worked out; there they are turned to that of the detector, whose columns are read along its fast axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, REFERENCE_PIXEL
from calservice.steps.stage1._refpix_sirs import row_signals

__all__ = [
    "ABSENT",
    "BORDER",
    "FULL",
    "Edges",
    "Side",
    "average",
    "clipped_mean",
    "frame_signals",
    "sides_without",
    "turned",
    "usable",
]

FULL = 2048
"""Rows and columns of a near-infrared detector."""
BORDER = 4
"""Width of its borders of reference pixels."""
ABSENT = np.uint32(2**32 - 1)
"""Stands for the flags of a pixel of the detector that a subarray does not have."""
_OUTPUTS = 4
Number = np.floating[Any]


@dataclass(frozen=True)
class Edges:
    """The borders of one frame, or of its flags.

    Attributes
    ----------
    bottom, top : ndarray
        First and last rows, (BORDER, FULL).
    left, right : ndarray
        First and last columns, (FULL, BORDER).
    """

    bottom: Array
    top: Array
    left: Array
    right: Array

    def astype(self, dtype: type[np.generic]) -> Edges:
        """Return the edges in another type."""
        return Edges(*(edge.astype(dtype) for edge in (self.bottom, self.top, self.left, self.right)))


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
    """Return the edges of a frame as they lie on the detector.

    Parameters
    ----------
    edges : Edges
        In the orientation of the data.
    fastaxis, slowaxis : int
        Keywords FASTAXIS and SLOWAXIS: 1 for columns and 2 for rows of the data, negative where they are read
        backwards.
    """
    down, across = (slowaxis, fastaxis) if abs(fastaxis) == 1 else (fastaxis, slowaxis)
    bottom, top, left, right = edges.bottom, edges.top, edges.left, edges.right
    if down < 0:
        bottom, top, left, right = top[::-1], bottom[::-1], left[::-1], right[::-1]
    if across < 0:
        bottom, top, left, right = bottom[:, ::-1], top[:, ::-1], right[:, ::-1], left[:, ::-1]
    if abs(fastaxis) != 1:
        bottom, top, left, right = left.T, right.T, bottom.T, top.T
    return Edges(bottom, top, left, right)


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
    edges: Edges, flags: Edges, *, odd_even: bool, limit: float, side: Side | None
) -> tuple[Array, Array]:
    """Return the signals that a frame's reference pixels tell, in the orientation of the detector.

    Parameters
    ----------
    edges : Edges
        Values, as the detector is oriented. Their precision is that of the arithmetic.
    flags : Edges
        Flags of these pixels.
    odd_even : bool
        Whether even and odd columns are told apart.
    limit : float
        Of the clipped means, in standard deviations.
    side : Side, optional
        How the side pixels are used; None: not at all.

    Returns
    -------
    columns : ndarray
        (FULL,) float64: what is subtracted from each column.
    rows : ndarray
        (FULL,) float64: what is then subtracted from each row, or (output, FULL): from each row of each output.
    """
    columns = np.zeros(FULL)
    width = FULL // _OUTPUTS
    for start in range(0, FULL, width):
        steps = [(start, 2), (start + 1, 2)] if odd_even else [(start, 1)]
        parts = [slice(first, start + width, step) for first, step in steps]
        found = [
            average(
                clipped_mean(edges.top[:, part][_good(flags.top[:, part])], limit),
                clipped_mean(edges.bottom[:, part][_good(flags.bottom[:, part])], limit),
            )
            for part in parts
        ]
        if all(value is not None for value in found):
            for part, value in zip(parts, found, strict=True):
                columns[part] = value
    if side is None:
        return columns, np.zeros(FULL)
    left, right = _without_columns(edges, columns)
    if side.kernels is not None:
        return columns, row_signals(left.astype(np.float64), right.astype(np.float64), side.kernels, side.reject)
    return columns, side.gain * _median_signal((left, flags.left), (right, flags.right), length=side.length)


def _without_columns(edges: Edges, columns: Array) -> tuple[Array, Array]:
    """Subtract the signals of columns from the side pixels, in their precision."""
    left = (edges.left - columns[:BORDER]).astype(edges.left.dtype)
    right = (edges.right - columns[FULL - BORDER :]).astype(edges.right.dtype)
    return left, right


def sides_without(edges: Edges, columns: Array, rows: Array) -> tuple[Array, Array]:
    """Return the left and the right side pixels without the signals that `frame_signals` found for each output."""
    left, right = _without_columns(edges, columns)
    return left - rows[0][:, None], right - rows[-1][:, None]


def _median_signal(*sides: Any, length: int) -> Array:
    """Return the mean of the running medians of both sides, each given as values and flags; 0 where there is none."""
    from calservice.steps.stage1._refpix_kernels import running_medians

    left, right = (
        running_medians(np.ascontiguousarray(values), np.ascontiguousarray(_good(marks)), length)
        for values, marks in sides
    )
    both = np.where(np.isnan(left), right, np.where(np.isnan(right), left, 0.5 * (left + right)))
    return np.where(np.isnan(both), 0.0, both)


def _good(flags: Array) -> Array:
    good: Array = (flags & DO_NOT_USE) == 0
    return good


def usable(flags: Array) -> Array:
    """Return where reference pixels are that may be used."""
    found: Array = ((flags & REFERENCE_PIXEL) != 0) & ((flags & DO_NOT_USE) == 0)
    return found
