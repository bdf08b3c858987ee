"""How images are best cleaned: parameters chosen by what a quickly cleaned draft looks like.

Source: ``autoparam`` of ``clean_flicker_noise`` in the JWST pipeline documentation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from calservice.model.block import Array
from calservice.model.info import ExposureInfo
from calservice.steps.stage1._flicker_background import smooth_background
from calservice.steps.stage1._flicker_clean import FULL, Cleaning, without_stripes
from calservice.steps.stage1._flicker_mask import clip

__all__ = ["choose"]

_CHANNELS = 4
_BELOW, _ABOVE = 3.0, 2.0
"""Standard deviations below and above the background at which a quick cleaning takes pixels for something else."""
_MIDDLE = (Fraction(3, 8), Fraction(5, 8))
_FIRST_CHANNEL = (Fraction(10, 12), Fraction(11, 12))


@dataclass(frozen=True)
class _Limits:
    """From which values on an image counts as crowded, stepped, sloping one way, or uneven."""

    masked: float
    step: float
    slope: float
    steep: float
    ratio: float
    scatter: float


_LIMITS = {
    "NIRISS": _Limits(masked=0.07, step=0.07, slope=1e-5, steep=1e-4, ratio=5.0, scatter=0.02),
    "NIRCAM": _Limits(masked=0.1, step=0.07, slope=1e-5, steep=1e-5, ratio=3.0, scatter=0.02),
}


@dataclass(frozen=True)
class _Look:
    """What an image looks like: masked part, steps between channels, slopes, scatter along a line."""

    masked: float
    step: float
    slope: float
    ratio: float
    scatter: float


def choose(rates: Array, flat: Array | None, info: ExposureInfo) -> Array:
    """Return how an image of NIRISS or NIRCam is best cleaned.

    Parameters
    ----------
    rates : ndarray
        Draft rates (row, column) float32 in DN/s.
    flat : ndarray or None
        Flat field (row, column) float32.
    info : ExposureInfo
        Instrument and axes.

    Returns
    -------
    ndarray
        Whether the background is smooth rather than a median, and whether channels are fitted separately; bool.
    """
    image, good = _quickly_cleaned(rates if flat is None else rates / flat, abs(info.slowaxis) == 1)
    smooth, by_channel = _decide(_look(_filled(image, good), good, info.instrument), _LIMITS[info.instrument])
    return np.array([smooth, by_channel])


def _quickly_cleaned(image: Array, down: bool) -> tuple[Array, Array]:
    """Return an image cleaned by medians of lines, and where it is background."""
    image = np.array(image, np.float32, order="C")
    good = np.ones(image.shape, np.bool_)
    clip(image, good, _BELOW, _ABOVE)
    lost = np.isnan(image)
    image[lost] = 0
    good &= ~lost
    clip(image, good, 3.0, 3.0, lower_half=True)
    level = np.nanmedian(image[good])
    clip(image - level, good, _BELOW, _ABOVE, lower_half=True)
    image = without_stripes(image, good, Cleaning(down=down), level)
    image[lost] = np.nan
    return image, good


def _filled(image: Array, good: Array) -> Array:
    """Return an image whose sources are replaced by a smooth background; more of them are taken out of ``good``."""
    clip(image, good, 3.0, 3.0, lower_half=True)
    smooth = smooth_background(image, good, None)
    bad = ~good
    image[bad] = np.nanmedian(image[good]) if smooth is None else smooth[bad]
    return image


def _look(image: Array, good: Array, instrument: str) -> _Look:
    """Return what an image looks like that shows background only."""
    across, down = _mean(image, 0, _MIDDLE), _mean(image, 1, _MIDDLE)
    (along, scatter), (other, _) = _line(across), _line(down)
    if instrument == "NIRISS":
        _, scatter = _line(_mean(image, 0, _FIRST_CHANNEL))
    slopes = np.abs([along, other])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "divide by zero", RuntimeWarning)
        ratio = slopes.max() / slopes.min()
    step = _step(down if instrument == "NIRISS" else across)
    return _Look(np.count_nonzero(~good) / good.size, step, float(slopes.max()), float(ratio), scatter)


def _mean(image: Array, axis: int, part: tuple[Fraction, Fraction]) -> Array:
    """Return means of lines along an axis, over a part of it."""
    start, stop = (round(edge * image.shape[axis]) for edge in part)
    found: Array = np.nanmean(np.take(image, range(start, stop), axis=axis), axis=axis)
    return found


def _line(values: Array) -> tuple[float, float]:
    """Return the slope of a line through values, and how they scatter around it."""
    from astropy.stats import sigma_clipped_stats

    known = np.isfinite(values)
    places = np.arange(values.size)[known]
    line = np.polynomial.Polynomial.fit(places, values[known], deg=1)
    coefficients = line.convert().coef
    _, _, scatter = sigma_clipped_stats(values[known] - line(places), sigma=10.0)
    return float(coefficients[1]) if len(coefficients) > 1 else 0.0, float(scatter)


def _step(values: Array) -> float:
    """Return the largest step between neighbouring channels; 0 if values are not those of a whole detector."""
    from astropy.stats import sigma_clipped_stats

    if values.size != FULL:
        return 0.0
    means = [sigma_clipped_stats(part, sigma=3.0)[0] for part in np.split(values, _CHANNELS)]
    return float(np.abs(np.diff(means)).max())


def _decide(look: _Look, limits: _Limits) -> tuple[bool, bool]:
    """Return whether the background is smooth rather than a median, and whether channels are fitted separately."""
    crowded, stepped = look.masked >= limits.masked, look.step >= limits.step
    sloping, steep = look.slope >= limits.slope, look.slope >= limits.steep
    if crowded:
        return (steep if stepped else sloping), False
    if stepped:
        return False, True
    smooth = steep or (sloping and not look.ratio >= limits.ratio)
    return smooth, look.step > 0 and look.scatter >= limits.scatter
