"""Star images: two concentric round Gaussians, integrated over pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Optics

_PIXEL_VARIANCE = 1 / 12


def _components(optics: Optics) -> tuple[tuple[float, float], tuple[float, float]]:
    """Share of the light and standard deviation (pixels) of core and halo."""
    core, halo = optics.sigma, optics.sigma * optics.halo_width
    return (1 - optics.halo_fraction, core), (optics.halo_fraction, halo)


def _profile(center: float, start: int, stop: int, sigma: float) -> NDArray[np.float64]:
    from scipy.special import erf

    edges = (np.arange(start, stop + 1) - 0.5 - center) / (sigma * math.sqrt(2))
    return np.asarray(np.diff(erf(edges)) / 2, dtype=np.float64)


def peak_fraction(optics: Optics) -> float:
    """Share of a star's light in the pixel it is centred on."""
    return sum(share * float(_profile(0.0, 0, 1, sigma)[0]) ** 2 for share, sigma in _components(optics))


def draw_stars(
    optics: Optics,
    shape: tuple[int, int],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    total: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Draw stars into an image.

    Parameters
    ----------
    optics : Optics
        Width of the star image.
    shape : tuple of int
        Rows and columns of the image.
    x, y : ndarray of float64, shape (stars,)
        Columns and rows, counted from 0 within the image.
    total : ndarray of float64, shape (stars,)
        What the pixels of a whole star image sum to.

    Returns
    -------
    ndarray of float64, shape `shape`
        The image, in the unit of `total`.
    """
    image = np.zeros(shape)
    for column, row, light in zip(x.tolist(), y.tolist(), total.tolist(), strict=True):
        for share, sigma in _components(optics):
            reach = math.ceil(7 * sigma) + 1
            left, right = max(0, round(column) - reach), min(shape[1], round(column) + reach + 1)
            low, high = max(0, round(row) - reach), min(shape[0], round(row) + reach + 1)
            if left >= right or low >= high:
                continue
            horizontal = _profile(column, left, right, sigma)
            vertical = _profile(row, low, high, sigma)
            image[low:high, left:right] += light * share * np.outer(vertical, horizontal)
    return image


def encircled_energy(optics: Optics, radius: float) -> float:
    """Share of a star's light within `radius` pixels on a mosaic at the native scale.

    Four boxes of a pixel's width smooth the image before it is summed: the pixel that collects
    light, its drop on the mosaic, the mosaic's pixel, and the aperture, which takes a pixel as
    uniform. They are taken as extra variance.
    """
    total = 0.0
    for share, sigma in _components(optics):
        variance = sigma**2 + 4 * _PIXEL_VARIANCE
        total += share * (1 - math.exp(-(radius**2) / (2 * variance)))
    return total


def energy_radius(optics: Optics, energy: float) -> float:
    """Radius in pixels that holds the share `energy` of a star's light on a mosaic."""
    low, high = 0.0, 40 * optics.sigma
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if encircled_energy(optics, middle) < energy else (low, middle)
    return (low + high) / 2
