"""Fit rates to ramps by maximum likelihood, with the covariance of the differences of their groups.

The fit is that of Brandt 2024a, PASP 136, 045004, the search for jumps that of Brandt 2024b, PASP 136, 045005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array, Block
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.info import ExposureInfo
from calservice.model.step import References
from calservice.steps.arrays import owned, owned_image

__all__ = ["covariance", "fit_likely"]

_ONE_OMITTED = 20.25
"""By how much chi-squared has to fall for one difference to be left out."""

_TWO_OMITTED = 23.8
"""Likewise for two neighbouring ones."""


@dataclass(frozen=True)
class Covariance:
    """What the covariance of the differences is made of; they are of neighbouring groups, over their time.

    Attributes
    ----------
    steps : ndarray
        Times between the groups, in seconds.
    photons, reads : ndarray
        Variances for a rate of 1 and for a read noise of 1: (2, difference). The second row has those of
        neighbouring differences with each other; its last value means nothing.
    averaged : ndarray
        For each group but the first and last: whether it is the mean of several reads.
    """

    steps: Array
    photons: Array
    reads: Array
    averaged: Array


def _read_times(info: ExposureInfo) -> list[Array]:
    """Return the times of the reads of each group, in seconds."""
    if info.read_times:
        ends = np.cumsum(info.read_counts)
        return np.split(np.asarray(info.read_times), ends[:-1])
    reads = np.arange(1, info.nframes + 1)
    between = info.nframes + info.groupgap
    return [(reads + group * between) * info.frame_time for group in range(info.ngroups)]


def covariance(times: list[Array]) -> Covariance:
    """Return the covariance of the differences of groups.

    Parameters
    ----------
    times : list of ndarray
        The times of the reads of each group, in seconds.

    Returns
    -------
    Covariance
        As equations 4, 11, 28 and 29 of the first paper give it.
    """
    count = np.array([len(group) for group in times])
    mean = np.array([np.mean(group) for group in times])
    late = np.array([np.sum(np.arange(2 * n - 1, 0, -2) * group) / n**2 for n, group in zip(count, times, strict=True)])
    steps = mean[1:] - mean[:-1]
    photons, reads = np.zeros((2, len(steps))), np.zeros((2, len(steps)))
    photons[0] = (late[:-1] + late[1:] - 2 * mean[:-1]) / steps**2
    photons[1, :-1] = (mean[1:-1] - late[1:-1]) / (steps[1:] * steps[:-1])
    reads[0] = (1 / count[:-1] + 1 / count[1:]) / steps**2
    reads[1, :-1] = -1 / (count[1:-1] * steps[1:] * steps[:-1])
    return Covariance(steps, photons, reads, count[1:-1] > 1)


def _with_zeroframe(data: Array, zero: Array, info: ExposureInfo) -> Array:
    """Return ramps that begin with the zero frame, which is taken out of the mean of the first group."""
    rest = (data[:, 0] * np.float32(info.nframes) - zero) / np.float32(info.nframes - 1)
    return np.concatenate([zero[:, None], rest[:, None], data[:, 1:]], axis=1, dtype=np.float32)


def fit_likely(
    block: Block,
    references: References,
    info: ExposureInfo,
    selected: tuple[int, int],
    images: tuple[Array, ...],
    integrations: tuple[Array, ...],
) -> Array:
    """Fit the ramps of a block by maximum likelihood.

    Parameters
    ----------
    block, references, info
        As the kernel of ``ramp_fit`` gets them; ``frame_time`` in seconds, or the times of all reads.
    selected : tuple of int
        First group to fit, and stop.
    images, integrations : tuple of ndarray
        Written: slope, flags, error, Poisson variance and read variance; (integration, row, column), with one
        plane for the images.

    Returns
    -------
    ndarray
        Chi-squared of the fits of all integrations, (row, column) float32.
    """
    from calservice.steps.numpy_loops import power_loop
    from calservice.steps.stage1 import _ramp_fit_likely_kernels as kernels

    data, flags, times = np.ascontiguousarray(block["data"]), owned(block["groupdq"], np.uint8), _read_times(info)
    flags[:, : selected[0]] |= DO_NOT_USE
    flags[:, selected[1] :] |= DO_NOT_USE
    if "zeroframe" in block and len(times[0]) > 1:
        data, flags = _with_zeroframe(data, block["zeroframe"], info), np.concatenate([flags[:, :1], flags], axis=1)
        times = [times[0][:1], times[0][1:], *times[1:]]
    expected = covariance(times)
    nints, _, nrows, ncols = data.shape
    chisq: Array = np.zeros((nints, nrows, ncols), np.float32)
    noise = owned(references["readnoise"]["data"], np.float64) / np.sqrt(2)
    kernels.fit_block(
        data,
        flags,
        np.ascontiguousarray(block["pixeldq"]),
        owned(references["gain"]["data"], np.float64),
        noise,
        owned_image(block.arrays.get("average_dark_current"), (nrows, ncols), np.float64),
        (expected.steps, *expected.photons, *expected.reads, power_loop()),
        expected.averaged.astype(np.float64),
        (_ONE_OMITTED, _TWO_OMITTED),
        integrations,
        chisq,
    )
    if nints == 1:
        for image, cube in zip(images, integrations, strict=True):
            image[...] = cube
        return np.asarray(chisq[0])
    total: Array = np.zeros((nrows, ncols), np.float32)
    kernels.combine(integrations, chisq, images, total)
    return total
