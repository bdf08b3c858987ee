"""Compiled loop that follows the windows of persistence of pixels through an exposure."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import SATURATED
from calservice.steps.compiled import compiled

__all__ = ["flag_windows"]


@compiled
def flag_windows(
    data: Array, flags: Array, ends: Array, times: Array, length: float, threshold: np.float32, flag: np.uint8
) -> None:
    """Flag groups within windows, which open with the first saturated group of a ramp, or a bright one.

    Parameters
    ----------
    data, flags : ndarray
        Ramps in DN, float32, and their flags, uint8, changed in place: (integration, group, row, column).
    ends : ndarray
        End of each pixel's window, 0 if there is none, (row, column) float64; changed in place.
    times : ndarray
        When groups end, (integration, group), on the same scale.
    length : float
        How long windows are open.
    threshold : float
        Signal above which a window opens, if none is open.
    flag : int
        What groups are flagged with.
    """
    nints, ngroups, nrows, ncols = data.shape
    saturated, zero = np.empty((nrows, ncols), np.int32), np.uint8(0)
    for i in range(nints):
        saturated[:] = 0
        for g in range(ngroups):
            now, end = times[i, g], times[i, g] + length
            for y in range(nrows):
                for x in range(ncols):
                    last = ends[y, x] if ends[y, x] >= now else 0.0
                    saturated[y, x] += (flags[i, g, y, x] & SATURATED) // SATURATED
                    last = end if saturated[y, x] == 1 else last
                    last = end if data[i, g, y, x] > threshold and not last > 0.0 else last
                    ends[y, x] = 0.0 if last > end else last  # it would begin after this group
                for x in range(ncols):
                    flags[i, g, y, x] |= flag if ends[y, x] > 0.0 else zero
