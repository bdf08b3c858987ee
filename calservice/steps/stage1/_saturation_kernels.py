"""Compiled loops of the saturation step. They write into the group flags that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import AD_FLOOR, DO_NOT_USE, NO_SAT_CHECK, SATURATED
from calservice.steps.compiled import compiled, inlined

__all__ = [
    "clear_saturated",
    "flag_averaged",
    "flag_saturated",
    "flag_second_group",
    "flag_second_group_irs2",
    "saturates_late",
    "settle_thresholds",
]

_FLOOR = AD_FLOOR | DO_NOT_USE
_SPENT = SATURATED | DO_NOT_USE
_GLANCE = 64
"""Pixels that are looked at together: few have anything to look for."""


@compiled
def _spread(marks: Array, filled: Array, grow: int, out: Array) -> None:
    """Set marks in ``out`` within ``grow`` pixels of each; rows not ``filled`` have none."""
    nrows, ncols = marks.shape
    wide = np.empty(ncols, np.uint8)
    for y in range(nrows):
        if not filled[y]:
            continue
        row = marks[y, :ncols]
        for x in range(ncols):
            wide[x] = row[x]
        for far in range(1, min(grow, ncols - 1) + 1):
            near = ncols - far
            left, right, from_left, from_right = wide[:near], wide[far:], row[:near], row[far:]
            for x in range(near):
                left[x] |= from_right[x]
            for x in range(near):
                right[x] |= from_left[x]
        for reached in range(max(0, y - grow), min(nrows, y + grow + 1)):
            flags = out[reached, :ncols]
            for x in range(ncols):
                flags[x] |= wide[x]


@compiled
def flag_saturated(data: Array, groupdq: Array, threshold: Array, grow: int) -> None:
    """Flag groups from the first above the threshold on, their neighbours, and the A/D floor."""
    nints, ngroups, nrows, ncols = data.shape
    above = np.empty((nrows, ncols), np.uint8)
    marks = np.empty((nrows, ncols), np.uint8)
    filled = np.empty(nrows, np.uint8)
    for i in range(nints):
        above[:] = 0
        for g in range(ngroups):
            plane, flags = data[i, g], groupdq[i, g]
            for y in range(nrows):
                some = np.uint8(0)
                for x in range(ncols):
                    value = plane[y, x]
                    high = above[y, x] | np.uint8(value >= threshold[y, x])
                    low = np.uint8(value <= 0)
                    above[y, x] = high
                    mark = np.uint8(high * SATURATED) | np.uint8(flags[y, x] & SATURATED)
                    marks[y, x] = mark
                    some |= mark
                    flags[y, x] = flags[y, x] | mark | np.uint8(low * _FLOOR)
                filled[y] = some
            if grow > 0:
                _spread(marks, filled, grow, flags)


@compiled
def flag_averaged(data: Array, groupdq: Array, threshold: Array, unchecked: Array, nframes: int, grow: int) -> None:
    """Do not use groups whose last frames may have saturated before the next group shows it.

    A frame-averaged group that reaches the threshold only in its last frame has a mean below it. A
    group above the threshold lowered by that factor, followed by a saturated group, is not used.
    """
    nints, ngroups, nrows, ncols = data.shape
    marks = np.empty((nrows, ncols), np.uint8)
    filled = np.empty(nrows, np.uint8)
    for i in range(nints):
        for g in range(ngroups - 2, -1, -1):
            last = (g + 1) * nframes
            lowered = (last - (nframes - 1) / 2.0) / last
            plane, flags, later = data[i, g], groupdq[i, g], groupdq[i, g + 1]
            for y in range(nrows):
                filled[y] = 0
                for x in range(ncols):
                    marks[y, x] = 0
                    if (later[y, x] & SATURATED) != 0 and (flags[y, x] & _SPENT) == 0:
                        factor = 1.0 if unchecked[y, x] else lowered
                        if np.float64(plane[y, x]) >= np.float64(threshold[y, x]) * factor:
                            marks[y, x] = DO_NOT_USE
                            filled[y] = 1
            _spread(marks, filled, grow, flags)


@compiled
def _hidden(first: np.float32, second: np.float32, limit: np.float32, bias: np.float32, nframes: int) -> bool:
    """Tell whether the second group may hide a saturating event in its last frame.

    That is when the rate of the first group does not lead to saturation by the third, yet the step
    to the second is larger than what an event in its last frame needs.
    """
    signal = np.float32(first - bias)
    expected = np.float64(signal) / ((nframes + 1) / 2.0) * (3 * nframes) + np.float64(bias)
    left = np.float32(np.float32(limit - first) / np.float32(nframes))
    return bool(expected < np.float64(limit)) and bool(np.float32(second - first) > left)


@inlined
def _begins_late(second: Any, third: Any) -> Any:
    """Whether one of some pixels is saturated in the third group, and not in the second."""
    some = np.uint8(0)
    for x in range(second.size):
        some |= third[x] & ~second[x]
    return (some & SATURATED) != 0


@compiled
def saturates_late(groupdq: Array) -> bool:
    """Whether a pixel is saturated from its third group on: its second one may hide what the third shows."""
    for i in range(groupdq.shape[0]):
        for y in range(groupdq.shape[2]):
            if _begins_late(groupdq[i, 1, y], groupdq[i, 2, y]):
                return True
    return False


@compiled
def settle_thresholds(threshold: Array, flags: Array, unchecked: Array, unreachable: float) -> None:
    """Flag pixels that have no threshold, and give those flagged so one that nothing reaches; all are changed."""
    nrows, ncols = threshold.shape
    highest: Any = np.float32(unreachable)
    for y in range(nrows):
        limits, bits, marks = threshold[y], flags[y], unchecked[y]
        for x in range(ncols):
            flag = bits[x] | np.uint32(NO_SAT_CHECK if np.isnan(limits[x]) else 0)
            free = (flag & np.uint32(NO_SAT_CHECK)) != 0
            bits[x] = flag
            limits[x] = highest if free else limits[x]
            marks[x] = free


@compiled
def flag_second_group(data: Array, groupdq: Array, threshold: Array, bias: Array, nframes: int) -> None:
    """Do not use second groups that hide saturation which the third group shows."""
    nints, _, nrows, ncols = data.shape
    for i in range(nints):
        for y in range(nrows):
            for start in range(0, ncols, _GLANCE):
                stop = min(start + _GLANCE, ncols)
                if not _begins_late(groupdq[i, 1, y, start:stop], groupdq[i, 2, y, start:stop]):
                    continue
                for x in range(start, stop):
                    third = (groupdq[i, 2, y, x] & SATURATED) != 0
                    if third and (groupdq[i, 1, y, x] & SATURATED) == 0:
                        limit = threshold[y, x]
                        if _hidden(data[i, 0, y, x], data[i, 1, y, x], limit, bias[y, x], nframes):
                            groupdq[i, 1, y, x] |= DO_NOT_USE


@compiled
def flag_second_group_irs2(data: Array, groupdq: Array, threshold: Array, bias: Array, nframes: int, grow: int) -> None:
    """Flag as saturated, with neighbours, second groups that hide saturation of the third."""
    nints, _, nrows, ncols = data.shape
    marks = np.empty((nrows, ncols), np.uint8)
    filled = np.empty(nrows, np.uint8)
    for i in range(nints):
        for y in range(nrows):
            filled[y] = 0
            for x in range(ncols):
                limit = threshold[y, x]
                marks[y, x] = 0
                if data[i, 2, y, x] >= limit and _hidden(
                    data[i, 0, y, x], data[i, 1, y, x], limit, bias[y, x], nframes
                ):
                    marks[y, x] = SATURATED
                    filled[y] = 1
        _spread(marks, filled, grow, groupdq[i, 1])


@compiled
def clear_saturated(zeroframe: Array, threshold: Array, grow: int) -> None:
    """Set zero frame values to 0 that are saturated, next to such, or at the A/D floor."""
    nints, nrows, ncols = zeroframe.shape
    marks = np.empty((nrows, ncols), np.uint8)
    flags = np.empty((nrows, ncols), np.uint8)
    filled = np.empty(nrows, np.uint8)
    for i in range(nints):
        for y in range(nrows):
            filled[y] = 0
            for x in range(ncols):
                value = zeroframe[i, y, x]
                marks[y, x] = value >= threshold[y, x]
                flags[y, x] = marks[y, x] or value <= 0
                filled[y] |= marks[y, x]
        _spread(marks, filled, grow, flags)
        for y in range(nrows):
            for x in range(ncols):
                if flags[y, x]:
                    zeroframe[i, y, x] = 0
