"""Compiled loops of the rscd step."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, FLUX_ESTIMATED, SATURATED
from calservice.steps.compiled import compiled

__all__ = ["count_kept", "flag_first_groups"]

_UNUSED = np.uint8(DO_NOT_USE)
_ESTIMATED = np.uint32(FLUX_ESTIMATED)


@compiled
def _saturated_from(groupdq: Array, i: int, y: int, x: int, groups: int) -> int:
    """Return the first saturated group of a ramp that counts, else ``groups + 2``.

    Only those up to the second after the flagged ones do, if that one is saturated and the first is not.
    """
    first = groups + 2
    if (groupdq[i, 0, y, x] & SATURATED) == 0:
        while first > 1 and (groupdq[i, first - 1, y, x] & SATURATED) != 0:
            first -= 1
    return first


@compiled
def flag_first_groups(groupdq: Array, pixeldq: Array, start: int, stop: int, groups: int) -> None:
    """Flag the first groups of integrations ``start`` to ``stop`` in place, fewer where ramps saturate early."""
    _, _, nrows, ncols = groupdq.shape
    for i in range(start, stop):
        for y in range(nrows):
            for x in range(ncols):
                count = min(groups, max(_saturated_from(groupdq, i, y, x, groups) - 2, 0))
                if count < groups:
                    pixeldq[y, x] |= _ESTIMATED
                for g in range(count):
                    groupdq[i, g, y, x] |= _UNUSED


@compiled
def count_kept(groupdq: Array, start: int, stop: int, groups: int) -> tuple[int, int, int]:
    """Count ramps that saturate early, pixels with fewer groups to flag in one of them, and those with none."""
    _, _, nrows, ncols = groupdq.shape
    saturated, lowered, first = 0, 0, 0
    for y in range(nrows):
        for x in range(ncols):
            least = groups
            for i in range(start, stop):
                since = _saturated_from(groupdq, i, y, x, groups)
                saturated += since < groups + 2
                least = min(least, max(since - 2, 0))
            lowered += least < groups
            first += least == 0 and stop > start
    return saturated, lowered, first
