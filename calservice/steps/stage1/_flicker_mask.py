"""Where an image shows background only: masks of the scene."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.stage1 import _flicker_kernels as kernels
from calservice.steps.stage1._flicker_stats import SIGMAS, background_range

__all__ = ["clip", "scene_mask", "whole_flat"]

_BINS = 2000


def scene_mask(rates: Array, n_sigma: float, fit_histogram: bool, regions: Array | None = None) -> Array:
    """Return where draft rates are background.

    Parameters
    ----------
    rates : ndarray
        Image (row, column), or one of each integration, float32.
    n_sigma : float
        Standard deviations above the level of the background from which on there is a source; 0 looks for none.
    fit_histogram : bool
        Whether level and spread are those of a Gaussian fitted to the histogram of values.
    regions : ndarray, optional
        Where there is none, whatever the rates are: (row, column), or of each integration, bool.

    Returns
    -------
    ndarray
        Of the same shape, bool.

    Notes
    -----
    Source: ``clean_flicker_noise`` in the JWST pipeline documentation.
    """
    mask: Array = ~np.isnan(rates) & (rates != 0)
    if regions is not None:
        mask &= ~regions
    if n_sigma > 0:
        images = rates[None] if rates.ndim == 2 else rates
        for image, good in zip(images, mask.reshape(images.shape), strict=True):
            if not good.any():
                continue
            if fit_histogram:
                center, sigma = _fitted_level(image, good)
                kernels.keep_between(image, good, center - SIGMAS * sigma, center + n_sigma * sigma)
            else:
                clip(image, good, SIGMAS, n_sigma)
    return mask


def clip(image: Array, good: Array, lower: float, upper: float, lower_half: bool = False) -> None:
    """Take what is too far from the median out of the background, in place.

    Parameters
    ----------
    image : ndarray
        (row, column) float32.
    good : ndarray
        Where it is background (row, column) bool; changed.
    lower, upper : float
        Standard deviations below and above the median beyond which pixels are too far.
    lower_half : bool
        Whether the spread is that of the values below the median and of their mirror images.
    """
    values = np.empty(image.size, np.float32)
    values = values[: kernels.gather(image, good, values)]
    values.sort()
    start, stop = background_range(values, 0, values.size, lower, upper, lower_half)
    if not values.size:
        return
    low, high = (float(values[start]), float(values[stop - 1])) if stop > start else (np.inf, -np.inf)
    kernels.keep_between(image, good, low, high)


def _fitted_level(image: Array, good: Array) -> tuple[float, float]:
    """Return mean and width of a Gaussian fitted to the histogram of the background.

    It is fitted by scipy, in the range that astropy's sigma clipping tells, as the official step does it: how counts
    are binned depends on the last digit of that range.
    """
    from astropy.stats import sigma_clipped_stats
    from scipy.optimize import curve_fit

    values = image.astype(np.float64)
    mean, _, sigma = sigma_clipped_stats(values, mask=~good, sigma=SIGMAS)
    try:
        counts, edges = np.histogram(values[good], bins=_BINS, range=(mean - 4.0 * sigma, mean + 4.0 * sigma))
    except ValueError:
        return float(mean), float(sigma)
    places = (edges[1:] + edges[:-1]) / 2.0
    highest = np.argmax(counts)

    def gaussian(x: Array, amplitude: float, center: float, width: float) -> Array:
        made: Array = amplitude * np.exp(-0.5 * ((x - center) / width) ** 2)
        return made

    first = (counts[highest], places[highest], sigma)
    bounds = [(0, places[0], 0), (np.inf, places[-1], places[-1] - places[0])]
    try:
        found, _ = curve_fit(gaussian, places, counts, p0=first, bounds=bounds)
    except RuntimeError:
        return float(mean), float(sigma)
    return float(found[1]), float(found[2])


def whole_flat(flat: Array) -> Array:
    """Return a flat field (row, column) float32 whose holes are filled by what is smooth around them."""
    from calservice.steps.stage1._flicker_background import smooth_background

    made = np.array(flat, np.float32, order="C")
    bad = (made == 0) | ~np.isfinite(made)
    if bad.any():
        good = ~bad
        if good.any():
            clip(made, good, SIGMAS, SIGMAS, lower_half=True)
        smooth = smooth_background(made, good, None)
        made[bad] = np.nanmedian(made[good]) if smooth is None else smooth[bad]
    return made
