"""Simple Improved Reference Subtraction: drifts of rows from side pixels, convolved with kernels of the detector."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.step import Reference

__all__ = ["KERNEL_ARRAYS", "convolution_kernels", "row_signals"]

_NIRCAM = tuple(f"nrc{module}{number}" for module in "ab" for number in ("1", "2", "3", "4", "long"))
_DETECTORS = (*_NIRCAM, "nrs1", "nrs2", "nis")
_COEFFICIENTS = ("gamma", "zeta")
KERNEL_ARRAYS = tuple(f"{detector}.{name}" for detector in _DETECTORS for name in _COEFFICIENTS)
"""Arrays of the ``sirskernel`` reference."""
_DEVIATION = 1.48
"""Standard deviation of a normal distribution in median absolute deviations."""


def convolution_kernels(reference: Reference, detector: str, smoothing: float, half: int) -> Array | None:
    """Return the kernels of a detector, None where the reference has none.

    Parameters
    ----------
    reference : Reference
        `KERNEL_ARRAYS`, as far as they are there: Fourier coefficients, (output, frequency).
    detector : str
        Name of the detector.
    smoothing : float
        Standard deviation, in rows, of the Gaussian that kernels are smoothed with.
    half : int
        Rows of a kernel on each side of its middle.

    Returns
    -------
    ndarray
        (side, output, row) float64, for the left and the right reference pixels.
    """
    names = [f"{detector.lower()}.{name}" for name in _COEFFICIENTS]
    if not all(name in reference for name in names):
        return None
    away = np.arange(-half, half + 1)
    window = np.exp(-(away**2) / (2 * smoothing**2))
    window /= window.sum()
    made = []
    for name in names:
        for coefficients in reference[name]:
            centre = len(coefficients) - 1
            whole = np.fft.fftshift(np.fft.irfft(coefficients))
            made.append(np.convolve(whole[centre - half : centre + half + 1], window, mode="same"))
    return np.array(made).reshape(2, -1, made[0].size)


def row_signals(left: Array, right: Array, kernels: Array, limit: float) -> Array:
    """Return the signal of each row of each output.

    Parameters
    ----------
    left, right : ndarray
        (row, column) float64: side pixels of a frame as the detector is oriented, flagged ones too.
    kernels : ndarray
        As `convolution_kernels` makes them.
    limit : float
        Pixels further from the median are not used, in standard deviations.

    Returns
    -------
    ndarray
        (output, row) float64.

    Notes
    -----
    Source: ``refpix`` in the JWST pipeline documentation, SIRS: the means of the good pixels of each row are convolved,
    and what is missing is made up for by the convolved number of good pixels. Where there is none,
    the signal is NaN.
    """
    made = np.zeros((kernels.shape[1], len(left)))
    for pixels, side in zip((left, right), kernels, strict=True):
        away = np.abs(pixels - np.median(pixels))
        good = away <= limit * (_DEVIATION * np.median(away))
        share = good.sum(axis=1) / pixels.shape[1]
        means = np.sum(pixels * good, axis=1) / pixels.shape[1]
        for output, kernel in enumerate(side):
            norm = np.convolve(np.ones(len(left)), kernel, mode="same")
            with np.errstate(divide="ignore", invalid="ignore"):
                norm /= np.convolve(share, kernel, mode="same")
                made[output] += np.convolve(means, kernel, mode="same") * norm
    return made
