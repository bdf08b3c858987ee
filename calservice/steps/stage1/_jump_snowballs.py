"""Snowballs: large hits of near-infrared detectors, whose saturated cores and wide halos are flagged whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import JUMP_DET, SATURATED
from calservice.steps.stage1._jump_regions import Ellipse, Regions, find_regions, mask_of

__all__ = ["Snowballs", "expanded", "flag_snowballs"]


@dataclass(frozen=True)
class Snowballs:
    """What is taken for a snowball, and what is flagged around it. Lengths in pixels, areas in pixels."""

    least_jump: float
    least_core: float
    core_required: bool
    edge: int
    """Width of the border in which no core is required."""
    factor: float
    """By which the minor axis of its ellipse grows; the major one by the same length."""
    least_core_axis: float
    """Minor axis above which a core grows ..."""
    core_growth: int
    """... by so much."""
    longest_axis: int


def flag_snowballs(flags: Array, how: Snowballs) -> tuple[Array, Array]:
    """Flag the snowballs of integrations, each by itself.

    Parameters
    ----------
    flags : ndarray of uint8
        (integration, group, row, column) with jumps flagged; changed.
    how : Snowballs
        Parameters.

    Returns
    -------
    events : ndarray of int32
        (integration, group): how many there are.
    cores : ndarray of uint8
        (integration, row, column): ``JUMP_DET`` where saturated cores are that grew.

    Notes
    -----
    Source: ``jump`` in the JWST pipeline documentation, *Large Events*, and its arguments.
    """
    nints, ngroups = flags.shape[:2]
    events = np.zeros((nints, ngroups), np.int32)
    cores = np.zeros((nints, *flags.shape[2:]), np.uint8)
    for i in range(nints):
        for g in range(1, ngroups):
            events[i, g] = _flag_group(flags[i], g, cores[i], how)
    return events, cores


def _flag_group(flags: Array, group: int, grown: Array, how: Snowballs) -> int:
    """Flag the snowballs of a group in the flags of its integration; return how many there are."""
    now = flags[group]
    fresh = find_regions(now & ~flags[group - 1], SATURATED, how.least_core)
    jumps = find_regions(now, JUMP_DET, how.least_jump)
    if how.core_required:
        cores = [fresh]
        if group < len(flags) - 1:
            cores.append(find_regions(flags[group + 1] & ~now, SATURATED, how.least_core))
        jumps = jumps.chosen(_have_core(jumps, cores, now.shape[0], how))
        for k in range(len(fresh)):
            _grow_core(fresh, k, flags[group:], grown, how)
    for k in range(len(jumps)):
        ellipse = jumps.ellipse(k)
        place, mask = mask_of(ellipse, *expanded(ellipse, how.factor, how.longest_axis), now.shape)
        now[place] |= np.where(mask & (now[place] & SATURATED == 0), np.uint8(JUMP_DET), np.uint8(0))
    return len(jumps)


def _have_core(jumps: Regions, cores: Sequence[Regions], nrows: int, how: Snowballs) -> Array:
    """Tell which jumps are near an edge, or around the centre of a core."""
    low, high = how.edge, max(0, nrows - how.edge)
    x, y = jumps.x, jumps.y
    chosen: Array = (x < low) | (y < low) | (x > high) | (y > high)
    centres = np.array([np.concatenate([core.x for core in cores]), np.concatenate([core.y for core in cores])]).T
    if not len(centres) or chosen.all():
        return chosen
    from scipy.spatial import KDTree

    tree, reach = KDTree(centres), jumps.reach + 1
    for k in np.flatnonzero(~chosen & (tree.query(np.array([x, y]).T)[0] <= reach)):
        ellipse = jumps.ellipse(int(k))
        near = tree.query_ball_point((x[k], y[k]), reach[k])
        chosen[k] = any(ellipse.holds(*centres[n]) for n in near)
    return chosen


def _grow_core(cores: Regions, k: int, flags: Array, grown: Array, how: Snowballs) -> None:
    """Flag a saturated core and what is around it from its group on, if it is large enough; note where it was."""
    top, bottom, left, right = cores.boxes[k]
    if 2 * (min(bottom - top, right - left) - 1) <= how.least_core_axis:
        return
    ellipse, shape = cores.ellipse(k), grown.shape
    if ellipse.minor <= how.least_core_axis:
        return
    minor, major = (min(axis + how.core_growth, how.longest_axis) for axis in (ellipse.minor, ellipse.major))
    place, mask = mask_of(ellipse, minor, major, shape)
    for group in flags:
        group[place][mask] = SATURATED
    place, mask = mask_of(ellipse, ellipse.minor, ellipse.major, shape)
    grown[place][mask] = JUMP_DET


def expanded(ellipse: Ellipse, factor: float, longest: int) -> tuple[int, int]:
    """Return the minor and major axis of a grown ellipse, even numbers of pixels."""
    minor, major = ellipse.minor, ellipse.major
    if major < minor:
        minor, major = minor + (factor - 1.0) * major, major * factor
    else:
        minor, major = minor * factor, major + (factor - 1.0) * minor
    return round(min(minor, longest) / 2) * 2, round(min(major, longest) / 2) * 2
