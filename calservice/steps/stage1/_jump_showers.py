"""Showers: faint extended emission after hits of MIRI's detectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, REFERENCE_PIXEL, SATURATED
from calservice.steps.stage1 import _jump_shower_kernels as kernels
from calservice.steps.stage1._jump_regions import Ellipse, find_regions, mask_of
from calservice.steps.stage1._jump_snowballs import expanded

__all__ = ["Ramps", "Showers", "enough_groups", "flag_showers", "typical_differences"]

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


@dataclass(frozen=True)
class Ramps:
    """What showers are looked for in; of one integration without that axis."""

    data: Array
    """(integration, group, row, column) float32, DN."""
    flags: Array
    """Those of groups with jumps and snowballs; as ``data``, uint8."""
    original: Array
    """Those before snowballs; as ``data``, uint8."""
    gain: Array
    """(row, column) float32, electrons/DN."""
    masked: bool
    """Whether jumps were looked for, so that groups with the original flags are out."""

    @property
    def hidden(self) -> int:
        """Original flags that make a group useless."""
        return kernels.HIDDEN if self.masked else 0


def enough_groups(usable: Array) -> bool:
    """Tell whether an exposure has enough groups for showers, by which have a usable pixel (integration, group)."""
    nints, ngroups = usable.shape
    return bool(nints * (ngroups - 1) - np.count_nonzero(~usable) >= _FEWEST_DIFFERENCES)


def typical_differences(ramps: Ramps, readnoise: Array, nframes: int, clipped: bool) -> tuple[Array, Array]:
    """Return what the differences of consecutive groups typically are, pixel by pixel.

    Parameters
    ----------
    ramps : Ramps
        All integrations.
    readnoise : ndarray of float32
        (row, column), DN.
    nframes : int
        Frames averaged in a group.
    clipped : bool
        Whether a group is compared with the same group of the other integrations, by sigma clipping.

    Returns
    -------
    middle, noise : ndarray of float32
        (group, row, column) in electrons, of the difference from the group before; one for all groups (1, row, column)
        unless they are clipped.
    """
    there = ramps.data, ramps.flags, ramps.original, ramps.gain
    if clipped:
        shape = ramps.data.shape[1:]
        middle, noise = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for g in range(1, shape[0]):
            middle[g], noise[g] = kernels.clipped_differences(*there, g, ramps.hidden)
        return middle, noise
    variance = (readnoise * ramps.gain) ** 2 / nframes
    median = kernels.median_differences(*there, ramps.hidden, variance)
    return median[None], np.sqrt(np.abs(median) + variance)[None]


def flag_showers(ramps: Ramps, pixeldq: Array, typical: tuple[Array, Array], how: Showers) -> tuple[Array, Array]:
    """Flag the showers of integrations, each by itself.

    Parameters
    ----------
    ramps : Ramps
        Whole images.
    pixeldq : ndarray of uint32
        (row, column).
    typical : tuple of ndarray
        What `typical_differences` returned.
    how : Showers
        Parameters.

    Returns
    -------
    flags : ndarray of uint8
        (integration, group, row, column) with those of showers.
    number : ndarray of int32
        (integration,): how many there are.

    Notes
    -----
    Source: ``jump`` in the JWST pipeline documentation, *Large Events*, and its arguments.
    """
    edges: Array = pixeldq == REFERENCE_PIXEL  # and nothing else
    after, number = ramps.flags.copy(), np.zeros(len(ramps.flags), np.int32)
    after[:, :, edges] = DO_NOT_USE
    largest = float(np.float32(how.largest_change))
    for i, (data, flags, original) in enumerate(zip(ramps.data, ramps.flags, ramps.original, strict=True)):
        one = Ramps(data, flags, original, ramps.gain, ramps.masked)
        for g, ellipse in _find(one, edges, pixeldq, typical, how):
            place, mask = mask_of(ellipse, *expanded(ellipse, how.factor, how.longest_axis), edges.shape)
            left = mask.copy()
            for group in after[i, g : g + how.groups + 1]:
                left &= group[place] & SATURATED == 0
                group[place] |= np.where(left, np.uint8(JUMP_DET), np.uint8(0))
            number[i] += 1
        kernels.settle(data, original, flags, after[i], ramps.gain, ramps.hidden, largest)
    return after, number


def _find(
    ramps: Ramps, edges: Array, pixeldq: Array, typical: tuple[Array, Array], how: Showers
) -> Iterator[tuple[int, Ellipse]]:
    """Yield the showers of an integration: group and ellipse."""
    from astropy.convolution import Ring2DKernel

    spoilt = (pixeldq & _SPOILT != 0) | edges
    ring = np.ascontiguousarray(Ring2DKernel(how.radius, how.width).array)
    for g in range(kernels.first_good_group(ramps.flags, edges) + 1, len(ramps.data)):
        middle, noise = (of[g if len(of) > 1 else 0] for of in typical)
        there = ramps.data, ramps.flags, ramps.original, ramps.gain
        ratio = kernels.noise_ratios(*there, g, ramps.hidden, (middle, noise))
        ratio[spoilt | (ramps.flags[g] & _SPOILT != 0)] = np.nan
        bright = kernels.smooth(ratio, ring, how.least)
        showers = find_regions(bright, 1, how.area)
        for k in range(len(showers)):
            yield g, showers.ellipse(k)
