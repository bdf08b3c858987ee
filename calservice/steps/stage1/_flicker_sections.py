"""Cleaning of subarrays of NIRSpec in frequency space: NSClean for the clock ticks of some lines at a time.

Source: Rauscher 2024, PASP 136, 015001, and ``clean_flicker_noise`` in the JWST pipeline documentation. Images are in
the orientation of the detector, whose lines are rows; they are read one after the other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from calservice.model.block import Array
from calservice.steps.stage1._flicker_fourier import to_detector, to_science

__all__ = ["clean_subarray"]

_PIXELS = 512
"""Background pixels that a section should have."""
_LEAST = 0.05
"""Part of the pixels of a section that have to be background."""
_OUTLIERS = 4
_OVERHEAD = 12
"""Clock ticks between two lines."""
_TICK = np.float32(10.0e-6)
"""Seconds a pixel."""
_FREQUENCIES = (1061, 1211, 49943, 49957)
_FREQUENCIES_ALLSLITS = (150, 200, 49943, 49957)
"""Hertz: noise below the first goes, between the second and third it stays, from the fourth on it goes."""


def clean_subarray(image: Array, good: Array, detector: str, subarray: str) -> Array | None:
    """Return an image less the noise that is slow, or alternates from pixel to pixel, as the detector is read.

    Parameters
    ----------
    image : ndarray
        (row, column) float32, less its background.
    good : ndarray
        Where it is background (row, column) bool.
    detector : str
        ``NRS1`` or ``NRS2``.
    subarray : str
        Name of the subarray, which decides on the frequencies.

    Returns
    -------
    ndarray or None
        (row, column) float64; None where no pixel is left, or a fit has no solution.
    """
    data = np.ascontiguousarray(to_detector(image, detector))
    mask = _without_outliers(data, np.ascontiguousarray(to_detector(good, detector)))
    if not mask.any():
        return None
    frequencies = _FREQUENCIES_ALLSLITS if subarray == "ALLSLITS" else _FREQUENCIES
    model, weight = np.zeros((2, *data.shape))
    for start, stop in _sections(mask):
        try:
            part = _fit_section(data[start:stop], mask[start:stop], frequencies)
        except np.linalg.LinAlgError:
            return None
        ramp = 1.001 - np.abs(np.linspace(-1, 1, stop - start))[:, None]
        model[start:stop] += ramp * part
        weight[start:stop] += ramp
    weight[model == 0] = 1
    return np.ascontiguousarray(to_science(data - model / weight, detector))


def _without_outliers(data: Array, mask: Array) -> Array:
    """Return the mask without pixels far from the median, and without their neighbours."""
    if not mask.any():
        return mask
    middle = np.median(data[mask])
    spread = 1.4825 * np.median(np.abs((data - middle)[mask]))
    far = mask & (np.abs(data - middle) > _OUTLIERS * spread)
    made: Array = mask & ~far
    made[1:] &= ~far[:-1]
    made[:-1] &= ~far[1:]
    made[:, 1:] &= ~far[:, :-1]
    made[:, :-1] &= ~far[:, 1:]
    return made


def _sections(mask: Array) -> list[tuple[int, int]]:
    """Return the lines of sections with enough background, each half over the one before."""
    counts = np.concatenate([[0], np.cumsum(np.count_nonzero(mask, axis=1))])
    filled = np.flatnonzero(mask.any(axis=1))
    start, end = int(filled[0]), int(filled[-1]) + 1
    made = []
    while start < end:
        stop = end
        if counts[-1] - counts[start] > 1.5 * _PIXELS:
            beyond = int(np.searchsorted(counts, counts[start] + _PIXELS, side="right"))
            stop = min(max(beyond, start + 1), end)
        made.append((start, stop))
        if stop == end:
            break
        start += max(int(np.round((stop - start) / 2)), 1)
    return made


def _fit_section(data: Array, mask: Array, frequencies: tuple[int, ...]) -> Array:
    """Return the noise of some lines, 0 where too few of their pixels are background."""
    if not np.mean(mask) > _LEAST:
        return np.zeros(data.shape)
    nlines, length = data.shape
    ticks = nlines * (length + _OVERHEAD)
    basis, keep, chosen, density = _waves(nlines, length, frequencies)
    clocked = np.zeros((nlines, length + _OVERHEAD), np.float32)
    clocked[:, :length] = mask
    background = clocked.reshape(-1) > 0
    with np.errstate(divide="ignore"):
        weights = (1 / np.fft.irfft(np.fft.rfft(clocked.reshape(-1)) * density, ticks))[background]
    weights[~np.isfinite(weights)] = 0.0
    number = weights.size
    waves = (basis[background] / number).astype(np.complex64)
    weighted = weights[:, None] * waves
    adjoint = np.conjugate(weighted.transpose())
    inverse = np.matmul(np.linalg.inv(np.matmul(adjoint, weighted)), adjoint)
    spectrum = np.zeros(keep.size, np.complex64)
    spectrum[chosen] = np.matmul(inverse * weights, data[mask])
    spectrum *= np.float64(ticks / number)  # in double precision, then rounded
    made: Array = np.fft.irfft(spectrum * keep, ticks).reshape(nlines, -1)[:, :length]
    return made


@lru_cache(maxsize=64)
def _waves(nlines: int, length: int, frequencies: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Return what the fit of a section needs whatever its pixels are.

    Returns
    -------
    basis : ndarray
        The waves that are fitted (tick, frequency) complex128.
    keep : ndarray
        How much of each frequency is noise, float32.
    chosen : ndarray
        Which frequencies are fitted.
    density : ndarray
        Transform of the Gaussian that tells how dense background is.
    """
    ticks = nlines * (length + _OVERHEAD)
    hertz = np.fft.rfftfreq(ticks, float(_TICK)).astype(np.float32)  # the tick is rounded, but not the product
    bounds = np.array(frequencies, np.float32)
    keep = np.zeros(hertz.size, np.float32)
    keep[hertz < bounds[0]] = 1.0
    falling = (bounds[0] <= hertz) & (hertz < bounds[1])
    keep[falling] = 0.5 * (np.cos((np.pi / (bounds[1] - bounds[0])) * (hertz[falling] - bounds[0])) + 1)
    rising = (bounds[2] <= hertz) & (hertz < bounds[3])
    keep[rising] = 0.5 * (np.cos((np.pi / (bounds[3] - bounds[2])) * (hertz[rising] - bounds[2]) + np.pi) + 1)
    keep[hertz >= bounds[3]] = 1.0
    chosen = np.flatnonzero(keep > 0.0)
    places = np.arange(ticks)[:, None]
    basis = np.exp(2 * np.pi * 1j * places * chosen[None, :] / ticks)
    sigma = np.float32(1 / ((frequencies[0] + frequencies[1]) / 2) / _TICK / 2 / 4)
    away = np.arange(ticks, dtype=np.float32) - np.float32(ticks // 2 + 1)
    kernel = np.exp(-(away**2) / sigma**2 / 2) / sigma / np.sqrt(2 * np.pi)
    return basis, keep, chosen, np.fft.rfft(np.fft.ifftshift(kernel))
