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

__all__ = ["Cleaning", "NoFit", "clean_ramp", "median_lines"]

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
    """

    method: Literal["fft", "median"]
    background: str | None
    box_size: Sequence[int] | None
    n_sigma: float
    down: bool
    channels: bool
    flat: Array | None
    detector: str
    subarray: str


def clean_ramp(ramp: Array, flags: Array, mask: Array, how: Cleaning) -> Array:
    """Return a ramp of which the noise of each group is taken away.

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

    Returns
    -------
    ndarray
        (group, row, column) float32. The first group is that of the input, and so is one whose difference to the one
        before shows no background.

    Raises
    ------
    NoFit
        If noise cannot be fitted in frequency space.
    """
    made = np.empty(ramp.shape, np.float32)
    made[0] = ramp[0]
    shape = ramp.shape[1:]
    image, good = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    values = np.empty(image.size, np.float32)
    flat = kernels.flat_of(how.flat)
    for g in range(1, ramp.shape[0]):
        finite, count = kernels.difference(ramp[g - 1], ramp[g], flags[g], mask, flat, image, good, values)
        if not count:
            made[g] = ramp[g]
            continue
        kernels.add_cleaned(made[g - 1], _clean(image, good, values[:finite], flat, how), made[g])
    return made


def _clean(image: Array, good: Array, values: Array, flat: Array, how: Cleaning) -> Array:
    """Return an image without its noise; ``image``, ``good`` and ``values`` are overwritten."""
    low, high = -np.inf, np.inf
    background = np.zeros((1, 1), np.float32)
    if how.background == "median":
        values.sort()
        median, low, high = kernels.levels(values, how.n_sigma)
        background[:] = median
    elif how.background == "model":
        background = _smooth(image, good, how)
    if how.method == "median":
        stripes = median_lines(image, good, (low, high), background, how.down, _CHANNELS if how.channels else 1)
        kernels.clean_lines(image, background, stripes, how.down, flat)
        return image
    kernels.keep_between(image, good, low, high)
    return _clean_in_frequency(image, good, background, how)


def _smooth(image: Array, good: Array, how: Cleaning) -> Array:
    """Return the smooth background of an image, and take what is no noise around it out of ``good``."""
    clip(image, good, SIGMAS, SIGMAS, lower_half=True)
    found = smooth_background(image, good, how.box_size) if good.any() else None
    if found is None:
        found = np.full((1, 1), np.nanmedian(image[good]) if good.any() else np.nan, np.float32)
    if how.n_sigma > 0 and good.any():
        clip(kernels.subtracted(image, found), good, how.n_sigma, how.n_sigma, lower_half=True)
    return found


def median_lines(
    image: Array, good: Array, limits: tuple[float, float], background: Array, down: bool, channels: int = 1
) -> Array:
    """Return the medians of the lines along which noise is equal.

    Parameters
    ----------
    image : ndarray
        (row, column) float32.
    good : ndarray
        Where it is background (row, column) bool.
    limits : tuple of float
        Lowest and highest values that are noise.
    background : ndarray
        To be subtracted first: an image, or one pixel for all, float32.
    down : bool
        Whether lines are columns, not rows.
    channels : int
        Into how many parts lines are parted, if they are as long as the detector.

    Returns
    -------
    ndarray
        (line, channel) float32; 0 where there is no noise.
    """
    length, number = image.shape if down else image.shape[::-1]
    channels = channels if length == FULL else 1
    found = np.empty((number, length), np.float32)
    kernels.lines(image, good, *limits, background, down, found)
    ordered = found.reshape(number * channels, -1)
    ordered.sort(axis=1)
    return kernels.stripes_of(ordered).reshape(number, channels)


def _clean_in_frequency(image: Array, good: Array, background: Array, how: Cleaning) -> Array:
    """Return an image of NIRSpec without its noise."""
    from calservice.steps.stage1._flicker_fourier import clean_full_frame
    from calservice.steps.stage1._flicker_sections import clean_subarray

    rest = kernels.subtracted(image, background)
    if rest.shape == (FULL, FULL):
        cleaned = clean_full_frame(rest, good, how.detector)
    else:
        cleaned = clean_subarray(rest, good, how.detector, how.subarray)
    if cleaned is None:
        raise NoFit
    cleaned += background
    if how.flat is not None:
        cleaned *= how.flat
    cleaned[np.isnan(image)] = np.nan
    return cleaned
