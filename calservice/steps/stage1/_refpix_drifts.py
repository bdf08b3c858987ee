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

__all__ = ["BORDER", "FULL", "Edges", "clipped_mean", "frame_signals", "turned", "usable"]

FULL = 2048
"""Rows and columns of a near-infrared detector."""
BORDER = 4
"""Width of its borders of reference pixels."""
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
    if not values.size:
        return None
    if np.std(values, dtype=np.float64) == 0:
        return np.float64(values.mean(dtype=np.float64))
    kept = values
    while True:
        spread, centre = kept.std(), kept.mean()
        fewer = kept[(kept >= centre - spread * limit) & (kept <= centre + spread * limit)]
        if not fewer.size:  # of values that are no numbers
            return np.float64(np.nan)
        if fewer.size == kept.size:
            mean: Number = fewer.mean()
            return mean
        kept = fewer


def _average(a: Number | None, b: Number | None) -> Number | None:
    if a is None or b is None:
        return b if a is None else a
    mean: Number = 0.5 * (a + b)
    return mean


def frame_signals(
    edges: Edges, flags: Edges, *, odd_even: bool, limit: float, side: tuple[int, float] | None
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
    side : tuple of int and float, optional
        Rows of the window of the running medians, and the factor of their signal; None: the side pixels are
        not used.

    Returns
    -------
    columns : ndarray
        (FULL,) float64: what is subtracted from each column.
    rows : ndarray
        (FULL,) float64: what is then subtracted from each row.
    """
    from calservice.steps.stage1._refpix_kernels import running_medians

    columns = np.zeros(FULL)
    width = FULL // _OUTPUTS
    for start in range(0, FULL, width):
        steps = [(start, 2), (start + 1, 2)] if odd_even else [(start, 1)]
        parts = [slice(first, start + width, step) for first, step in steps]
        found = [
            _average(
                clipped_mean(edges.top[:, part][_good(flags.top[:, part])], limit),
                clipped_mean(edges.bottom[:, part][_good(flags.bottom[:, part])], limit),
            )
            for part in parts
        ]
        if all(value is not None for value in found):
            for part, value in zip(parts, found, strict=True):
                columns[part] = value
    rows = np.zeros(FULL)
    if side is not None:
        length, gain = side
        kind = edges.left.dtype
        signals = []
        for values, marks, where in (
            (edges.left, flags.left, slice(0, BORDER)),
            (edges.right, flags.right, slice(FULL - BORDER, FULL)),
        ):
            corrected = (values - columns[where]).astype(kind)
            signals.append(running_medians(np.ascontiguousarray(corrected), np.ascontiguousarray(_good(marks)), length))
        left, right = signals
        both = np.where(np.isnan(left), right, np.where(np.isnan(right), left, 0.5 * (left + right)))
        rows = gain * np.where(np.isnan(both), 0.0, both)
    return columns, rows


def _good(flags: Array) -> Array:
    good: Array = (flags & DO_NOT_USE) == 0
    return good


def usable(flags: Array) -> Array:
    """Return where reference pixels are that may be used."""
    found: Array = ((flags & REFERENCE_PIXEL) != 0) & ((flags & DO_NOT_USE) == 0)
    return found
