"""Cleaning of the differences of groups, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calservice.model.block import Array
from calservice.steps.stage1 import _flicker_kernels as kernels
from calservice.steps.stage1._flicker_background import smooth_background
from calservice.steps.stage1._flicker_mask import clip
from calservice.steps.stage1._flicker_stats import SIGMAS

__all__ = ["Cleaning", "NoFit", "clean_ramp", "without_stripes"]

FULL = 2048
_CHANNELS = 4


class NoFit(Exception):
    """The noise of an image cannot be fitted."""


@dataclass(frozen=True)
class Cleaning:
    """How noise is fitted.

    Attributes
    ----------
    method : str
        By medians of lines, or in frequency space.
    background : str or None
        How the level around which there is noise is found.
    box_size : sequence of int or None
        Rows and columns of the boxes of a smooth background.
    n_sigma : float
        Standard deviations beyond which a value is no noise.
    down : bool
        Whether noise is equal along columns, not rows.
    channels : bool
        Whether each output of the detector has its own noise.
    flat : ndarray or None
        Flat field (row, column) float32 to divide by.
    detector, subarray : str
        Names of them.
    last_digits : bool
        Whether a fit in frequency space is as published to the last digit, which the noise itself shows.
    """

    method: Literal["fft", "median"] = "median"
    background: str | None = None
    box_size: Sequence[int] | None = None
    n_sigma: float = 0.0
    down: bool = False
    channels: bool = False
    flat: Array | None = None
    detector: str = ""
    subarray: str = ""
    last_digits: bool = False


class _Workspace:
    """Memory for the images of one difference after the other.

    It is zeroed on purpose, as `calservice.run.blocks` does it.
    """

    def __init__(self, shape: tuple[int, int], how: Cleaning) -> None:
        self.image = np.zeros(shape, np.float32)
        self.good = np.zeros(shape, np.bool_)
        self.values = np.zeros(shape[0] * shape[1], np.float32)
        number, length = shape[::-1] if how.down else shape
        nparts = _CHANNELS if how.channels and length == FULL else 1
        self.parts = np.zeros((number, nparts, length // nparts), np.float32)
        self.counts = np.zeros((number, nparts), np.int64)


def clean_ramp(
    ramp: Array,
    flags: Array,
    mask: Array,
    how: Cleaning,
    made: Array,
    levels: Array | None = None,
    scene: Array | None = None,
) -> None:
    """Take the noise of each group of a ramp away.

    Parameters
    ----------
    ramp : ndarray
        (group, row, column) float32 in DN.
    flags : ndarray
        Of the same shape, uint8.
    mask : ndarray
        Where the scene is background (row, column) bool.
    how : Cleaning
        How noise is fitted.
    made : ndarray
        Filled (group, row, column) float32. The first group is that of the input, and so is one whose difference to the
        one before shows no background.
    levels : ndarray, optional
        Filled likewise with the background of each difference; zeros stay where there is none.
    scene : ndarray, optional
        What each group shows without noise (group, row, column) float32. The difference to it is cleaned then, of the
        first group as well and whatever is flagged, and it counts as the background.

    Raises
    ------
    NoFit
        If noise cannot be fitted in frequency space.
    """
    work = _Workspace(ramp.shape[1:], how)
    flat = kernels.flat_of(how.flat)
    unflagged = np.zeros_like(flags[0])
    made[0] = ramp[0]
    for g in range(1 if scene is None else 0, ramp.shape[0]):
        before, cleaned, unusable = (ramp[g - 1], made[g - 1], flags[g])
        if scene is not None:
            before, cleaned, unusable = scene[g], scene[g], unflagged
        finite, count = kernels.difference(before, ramp[g], unusable, mask, flat, work.image, work.good, work.values)
        if not count:
            made[g] = ramp[g]
            continue
        background = _clean_difference(work, finite, how, flat, cleaned, made[g])
        if levels is not None:
            levels[g] = background if scene is None else scene[g]


def _clean_difference(work: _Workspace, finite: int, how: Cleaning, flat: Array, cleaned: Array, out: Array) -> Array:
    """Fill ``out`` with what was cleaned before and the difference, less its noise; return the background of that."""
    image, good = work.image, work.good
    low, high = -np.inf, np.inf
    background = np.zeros((1, 1), np.float32)
    if how.background == "median":
        values = work.values[:finite]
        values.sort()
        background[:], low, high = kernels.levels(values, how.n_sigma, work.parts.reshape(-1))
    elif how.background == "model":
        background = _smooth(image, good, how)
    if how.method == "median":
        stripes = _stripes(work, (low, high), background, how.down)
        kernels.finish(cleaned, image, background, stripes, how.down, flat, out)
    else:
        kernels.keep_between(image, good, low, high)
        kernels.add_cleaned(cleaned, _clean_in_frequency(image, good, background, how), out)
    return background


def _smooth(image: Array, good: Array, how: Cleaning) -> Array:
    """Return the smooth background of an image, and take what is no noise around it out of ``good``."""
    clip(image, good, SIGMAS, SIGMAS, lower_half=True)
    found = smooth_background(image, good, how.box_size) if good.any() else None
    if found is None:
        found = np.full((1, 1), np.nanmedian(image[good]) if good.any() else np.nan, np.float32)
    if how.n_sigma > 0 and good.any():
        clip(kernels.subtracted(image, found), good, how.n_sigma, how.n_sigma, lower_half=True)
    return found


def _stripes(work: _Workspace, limits: tuple[float, float], background: Array, down: bool) -> Array:
    """Return the medians of the lines along which noise is equal (line, part) float32."""
    kernels.lines(work.image, work.good, *limits, background, down, work.parts, work.counts)
    work.parts.partition((work.parts.shape[2] - 1) // 2, axis=2)
    return kernels.medians(work.parts, work.counts)


def without_stripes(image: Array, good: Array, how: Cleaning, level: np.float32) -> Array:
    """Return an image less the noise that its lines have in common.

    Parameters
    ----------
    image : ndarray
        (row, column) float32.
    good : ndarray
        Where it is noise around ``level`` (row, column) bool.
    how : Cleaning
        How lines lie.
    level : float32
        Level of the background.

    Returns
    -------
    ndarray
        (row, column) float32.
    """
    work = _Workspace(image.shape, how)
    work.image[:], work.good[:] = image, good
    background = np.full((1, 1), level, np.float32)
    stripes = _stripes(work, (-np.inf, np.inf), background, how.down)
    made = np.zeros(image.shape, np.float32)
    kernels.finish(made, image, background, stripes, how.down, kernels.flat_of(None), made)
    return made


def _clean_in_frequency(image: Array, good: Array, background: Array, how: Cleaning) -> Array:
    """Return an image of NIRSpec without its noise."""
    from calservice.steps.stage1._flicker_fourier import clean_full_frame
    from calservice.steps.stage1._flicker_sections import clean_subarray

    rest = kernels.subtracted(image, background)
    if rest.shape == (FULL, FULL):
        cleaned = clean_full_frame(rest, good, how.detector, how.last_digits)
    else:
        cleaned = clean_subarray(rest, good, how.detector, how.subarray)
    if cleaned is None:
        raise NoFit
    cleaned += background
    if how.flat is not None:
        cleaned *= how.flat
    cleaned[np.isnan(image)] = np.nan
    return cleaned
