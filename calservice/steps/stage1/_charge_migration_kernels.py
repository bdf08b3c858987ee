"""Compiled loop of the charge migration step."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import CHARGELOSS, DO_NOT_USE
from calservice.steps.compiled import compiled

__all__ = ["flag_spilling"]

_SPILLING = np.uint8(CHARGELOSS | DO_NOT_USE)


@compiled
def flag_spilling(data: Array, groupdq: Array, threshold: np.float32) -> Array:
    """Return group flags with those of charge loss, of ramps (integration, group, row, column)."""
    nints, ngroups, nrows, ncols = data.shape
    made = groupdq.copy()
    starts = np.empty((nrows, ncols), np.int64)
    for i in range(nints):
        starts[:] = ngroups
        any_start = False
        for g in range(ngroups):
            for y in range(nrows):
                for x in range(ncols):
                    if data[i, g, y, x] > threshold and groupdq[i, g, y, x] != DO_NOT_USE and g < starts[y, x]:
                        starts[y, x] = g
                        any_start = True
        if not any_start:
            continue
        for y in range(nrows):
            for x in range(ncols):
                start = starts[y, x]
                if y > 0:
                    start = min(start, starts[y - 1, x])
                if y < nrows - 1:
                    start = min(start, starts[y + 1, x])
                if x > 0:
                    start = min(start, starts[y, x - 1])
                if x < ncols - 1:
                    start = min(start, starts[y, x + 1])
                for g in range(start, ngroups):
                    made[i, g, y, x] |= _SPILLING
    return made
