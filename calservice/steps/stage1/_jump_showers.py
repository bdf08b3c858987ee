"""Showers: faint extended emission after hits of MIRI's detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, REFERENCE_PIXEL, SATURATED
from calservice.steps.stage1 import _jump_shower_kernels as kernels
from calservice.steps.stage1._jump_regions import Ellipse, find_regions, mask_of
from calservice.steps.stage1._jump_snowballs import expanded

__all__ = ["Showers", "flag_showers"]

_FEWEST_DIFFERENCES = 10
_SPOILT = JUMP_DET | SATURATED | DO_NOT_USE


@dataclass(frozen=True)
class Showers:
    """What is taken for a shower, and what is flagged around it. Lengths in pixels."""

    least: float
    """Smoothed distance from the median, in units of the expected noise, above which emission counts."""
    area: float
    """Smallest area of a shower, in pixels."""
    radius: float
    """Inner radius of the ring over which is averaged ..."""
    width: float
    """... and its width."""
    factor: float
    """By which the minor axis of its ellipse grows; the major one by the same length."""
    longest_axis: int
    groups: int
    """Later groups that are flagged as well."""
    largest_change: float
    """Largest change of the rate of a pixel, in electrons a group, that flags may make."""
    clipped: bool
    """Whether a group is compared with the same group of the other integrations, by sigma clipping."""


def flag_showers(
    exposure: Mapping[str, Array], original: Array, masked: bool, nframes: int, how: Showers
) -> tuple[Array, int] | None:
    """Flag the showers of an exposure.

    Parameters
    ----------
    exposure : mapping of str to ndarray
        ``data`` (integration, group, row, column) float32 in DN; ``groupdq`` of the same shape with jumps;
        ``pixeldq``, ``gain`` in electrons/DN and ``readnoise`` in DN (row, column).
    original : ndarray of uint8
        The flags of groups as they came to the step.
    masked : bool
        Whether jumps were looked for, so that groups with the original flags are out.
    nframes : int
        Frames averaged in a group.
    how : Showers
        Parameters.

    Returns
    -------
    (ndarray of uint8, int) or None
        Flags with those of showers, and how many there are; None where there are too few groups.

    Notes
    -----
    Source: ``jump`` in the JWST pipeline documentation, *Large Events*, and its arguments.
    """
    data, before, gain = exposure["data"], exposure["groupdq"], exposure["gain"]
    nints, ngroups = data.shape[:2]
    spent = sum(bool((group & DO_NOT_USE).all()) for integration in before for group in integration)
    if nints * (ngroups - 1) - spent < _FEWEST_DIFFERENCES:
        return None
    hidden = kernels.HIDDEN if masked else 0
    found = _find(exposure, original, hidden, nframes, how)
    after = before.copy()
    after[:, :, _edges(exposure)] = DO_NOT_USE
    for i, g, ellipse in found:
        place, mask = mask_of(ellipse, *expanded(ellipse, how.factor, how.longest_axis), data.shape[2:])
        left = mask.copy()
        for group in after[i, g : g + how.groups + 1]:
            left &= group[place] & SATURATED == 0
            group[place] |= np.where(left, np.uint8(JUMP_DET), np.uint8(0))
    for i in range(nints):
        kernels.settle(data[i], original[i], before[i], after[i], gain, hidden, float(np.float32(how.largest_change)))
    return after, len(found)


def _edges(exposure: Mapping[str, Array]) -> Array:
    """Return which pixels are reference pixels and nothing else."""
    edges: Array = exposure["pixeldq"] == REFERENCE_PIXEL
    return edges


def _find(
    exposure: Mapping[str, Array], original: Array, hidden: int, nframes: int, how: Showers
) -> list[tuple[int, int, Ellipse]]:
    """Return the showers: integration, group and ellipse."""
    from astropy.convolution import Ring2DKernel

    data, flags, gain = exposure["data"], exposure["groupdq"], exposure["gain"]
    edges = _edges(exposure)
    spoilt = (exposure["pixeldq"] & _SPOILT != 0) | edges
    ring = np.ascontiguousarray(Ring2DKernel(how.radius, how.width).array)
    first = [kernels.first_good_group(integration, edges) + 1 for integration in flags]
    found = []
    for g, typical in _typical(exposure, original, hidden, nframes, how):
        for i in range(len(data)):
            if g < first[i]:
                continue
            ratio = kernels.noise_ratios(data[i], flags[i], original[i], gain, g, hidden, typical)
            ratio[spoilt | (flags[i, g] & _SPOILT != 0)] = np.nan
            bright = kernels.smooth(ratio, ring, how.least)
            showers = find_regions(bright, 1, how.area)
            found += [(i, g, showers.ellipse(k)) for k in range(len(showers))]
    return found


def _typical(
    exposure: Mapping[str, Array], original: Array, hidden: int, nframes: int, how: Showers
) -> Iterator[tuple[int, tuple[Array, Array]]]:
    """Yield each group but the first, with the typical differences there and their noise."""
    data, flags, gain = exposure["data"], exposure["groupdq"], exposure["gain"]
    groups = range(1, data.shape[1])
    if how.clipped:
        for g in groups:
            yield g, kernels.clipped_differences(data, flags, original, gain, g, hidden)
        return
    variance = (exposure["readnoise"] * gain) ** 2 / nframes
    middle = kernels.median_differences(data, flags, original, gain, hidden, variance)
    sigma = np.sqrt(np.abs(middle) + variance)
    for g in groups:
        yield g, (middle, sigma)
