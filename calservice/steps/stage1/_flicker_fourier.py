"""Cleaning of full frames of NIRSpec in frequency space: NSClean.

Source: Rauscher 2024, PASP 136, 015001. Lines that are read at the same time have slow noise along them, which is
fitted by the lowest frequencies to the pixels that are background, weighted by how few of those there are around.
Images are in the orientation of the detector, whose lines are rows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["clean_full_frame", "to_detector", "to_science"]

_CUTOFF = 1 / 256
"""Frequency, per pixel, at which noise is half taken away."""
_WIDTH = _CUTOFF / 4
_DENSITY = 32
"""Standard deviation, in pixels, of the Gaussian that tells how dense background is."""
_BLUR = 1.5
_TAPS = 11
_OUTLIERS = 3.0
_BORDER = 4
_SOUND = 0.02
"""Smallest pivot of a fit, relative to the largest possible, for which rounding in single precision does no harm."""


def to_detector(image: Array, detector: str) -> Array:
    """Return a NIRSpec image as the detector is oriented; a view."""
    return image.T if detector == "NRS1" else image.T[::-1]


def to_science(image: Array, detector: str) -> Array:
    """Return a NIRSpec image of the detector as exposures are oriented; a view."""
    return image.T if detector == "NRS1" else image[::-1].T


def clean_full_frame(image: Array, good: Array, detector: str) -> Array | None:
    """Return an image less the slow noise along its lines.

    Parameters
    ----------
    image : ndarray
        (row, column) float32, less its background.
    good : ndarray
        Where it is background (row, column) bool.
    detector : str
        ``NRS1`` or ``NRS2``.

    Returns
    -------
    ndarray or None
        (row, column) float32; None where a fit has no solution.
    """
    data = np.ascontiguousarray(to_detector(image, detector))
    mask = np.ascontiguousarray(to_detector(good, detector))
    filled = np.where(mask, data, np.float32(np.nan))
    middle, spread = _line_statistics(filled)
    limits = np.stack(
        [middle - np.float32(_OUTLIERS) * spread, middle, middle + np.float32(_OUTLIERS) * spread], axis=1
    )
    weights = _weights(mask)
    waves, keep = _waves(data.shape[1])
    model = np.zeros(data.shape, np.float32)
    doubtful = np.zeros(data.shape[0], np.bool_)
    _fit_lines(filled, weights, limits, waves, keep, model, doubtful)
    for y in np.flatnonzero(doubtful):
        try:
            model[y] = _fit_as_published(filled[y], weights[y], limits[y], keep)
        except np.linalg.LinAlgError:
            return None
    noise = np.empty_like(model)
    _blur(model, _gaussian(_BLUR, np.arange(-_TAPS, _TAPS + 1)), noise)
    return np.ascontiguousarray(to_science(data - noise, detector))


def _line_statistics(filled: Array) -> tuple[Array, Array]:
    """Return the median of each line, and the standard deviation that its median absolute deviation tells."""
    from calservice.steps.stage1._flicker_kernels import stripes_of

    ordered = np.sort(filled, axis=1)
    middle = stripes_of(ordered)
    away = np.abs(ordered - middle[:, None])
    away.sort(axis=1)
    return middle, np.float32(1.4826) * stripes_of(away)


def _gaussian(sigma: float, away: Array) -> Array:
    made: Array = np.exp(-((away / sigma) ** 2) / 2) / sigma / np.sqrt(2 * np.pi)
    return made


def _weights(mask: Array) -> Array:
    """Return the reciprocal of how dense background is along each line, 0 where there is none.

    As published, density is that one line and one pixel further; it is computed by the same transforms, since a line
    of which the one before has no background gets what rounding leaves.
    """
    density = np.fft.irfft2(np.fft.rfft2(mask.astype(np.float32)) * _density_transform(mask.shape), mask.shape)
    with np.errstate(divide="ignore"):
        weights = np.where(mask, 1 / density, 0.0)
    weights[~np.isfinite(weights)] = 0.0
    return weights


@lru_cache(maxsize=2)
def _density_transform(shape: tuple[int, int]) -> Array:
    ny, nx = shape
    kernel = np.zeros(shape, np.float32)
    away = np.arange(nx) - (nx // 2 + 1)
    kernel[ny // 2 + 1] = np.exp(-(away**2) / _DENSITY**2 / 2) / _DENSITY / np.sqrt(2 * np.pi)
    return np.fft.rfft2(np.fft.ifftshift(kernel))


@lru_cache(maxsize=2)
def _waves(nx: int) -> tuple[Array, Array]:
    """Return cosines and sines of the frequencies to fit (pixel, 2, frequency), and how much of each is kept."""
    frequencies = np.fft.rfftfreq(nx)
    roll = (1 + np.cos(np.pi * (frequencies - _CUTOFF) / _WIDTH + np.pi / 2)) / 2
    keep = np.where(frequencies <= _CUTOFF - _WIDTH / 2, 1, roll)
    keep = np.where(frequencies <= _CUTOFF + _WIDTH / 2, keep, 0)
    number = int(np.count_nonzero(keep > 0))
    phases = 2 * np.pi * (np.arange(nx)[:, None] * np.arange(number) % nx) / nx
    return np.stack([np.cos(phases), np.sin(phases)], axis=1), keep[:number]


@compiled
def _fit_lines(
    filled: Array, weights: Array, limits: Array, waves: Array, keep: Array, model: Array, doubtful: Array
) -> None:
    """Fill the noise along each line; tell of which lines the fit is doubtful.

    Outliers count as the median. The matrix of the fit depends on the distance of two frequencies only; it is solved
    by the decomposition of Cholesky.
    """
    number = keep.size
    matrix = np.empty((number, number), np.complex128)
    moments = np.empty((4, number))
    for y in range(_BORDER, filled.shape[0] - _BORDER):
        moments[:] = 0.0
        for x in range(filled.shape[1]):
            value = filled[y, x]
            if np.isnan(value):
                continue
            if not (limits[y, 0] <= value <= limits[y, 2]):
                value = limits[y, 1]
            square = np.float64(weights[y, x]) ** 2
            product = square * np.float64(value)
            for k in range(number):
                cosine, sine = waves[x, 0, k], waves[x, 1, k]
                moments[0, k] += square * cosine
                moments[1, k] += square * sine
                moments[2, k] += product * cosine
                moments[3, k] += product * sine
        total = moments[0, 0]
        if total == 0.0:
            doubtful[y] = not np.isnan(filled[y]).all()
            continue
        for j in range(number):
            for k in range(j + 1):
                matrix[j, k] = complex(moments[0, j - k], -moments[1, j - k])
        sound = _decompose(matrix, _SOUND * total)
        if not sound:
            doubtful[y] = True
            continue
        found = _solve(matrix, moments)
        for x in range(filled.shape[1]):
            noise = found[0].real * keep[0]
            for k in range(1, number):
                wave = found[k].real * waves[x, 0, k] - found[k].imag * waves[x, 1, k]
                noise += 2.0 * keep[k] * wave
            model[y, x] = noise


@compiled
def _decompose(matrix: Array, least: float) -> bool:
    """Replace the lower half of a Hermitian matrix by its Cholesky factor; False where a pivot is too small."""
    number = matrix.shape[0]
    for j in range(number):
        pivot = matrix[j, j].real
        for k in range(j):
            pivot -= matrix[j, k].real ** 2 + matrix[j, k].imag ** 2
        if not pivot > least:
            return False
        root = math.sqrt(pivot)
        matrix[j, j] = root
        for n in range(j + 1, number):
            rest = matrix[n, j]
            for k in range(j):
                rest -= matrix[n, k] * np.conj(matrix[j, k])
            matrix[n, j] = rest / root
    return True


@compiled
def _solve(factor: Array, moments: Array) -> Array:
    """Return the solution of the fit, given the Cholesky factor of its matrix."""
    number = factor.shape[0]
    made = np.empty(number, np.complex128)
    for j in range(number):
        rest = complex(moments[2, j], -moments[3, j])
        for k in range(j):
            rest -= factor[j, k] * made[k]
        made[j] = rest / factor[j, j].real
    for j in range(number - 1, -1, -1):
        rest = made[j]
        for k in range(j + 1, number):
            rest -= np.conj(factor[k, j]) * made[k]
        made[j] = rest / factor[j, j].real
    return made


def _fit_as_published(filled: Array, weights: Array, limits: Array, keep: Array) -> Array:
    """Return the noise along a line by the published operations, which decide where rounding matters.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the matrix of the fit is singular.
    """
    nx = filled.size
    places = np.flatnonzero(~np.isnan(filled))
    values = filled[places]
    values = np.where((limits[0] <= values) & (values <= limits[2]), values, limits[1])
    weight = weights[places]
    numbers = np.arange(keep.size)[None, :]
    basis = (np.exp(2 * np.pi * 1j * places[:, None] * numbers / nx) / places.size).astype(np.complex64)
    weighted = basis * weight[:, None]
    adjoint = np.conjugate(weighted.transpose())
    inverse = np.matmul(np.linalg.inv(np.matmul(adjoint, weighted)), adjoint)
    spectrum = np.zeros(nx // 2 + 1, np.complex64)
    spectrum[: keep.size] = np.matmul(inverse, weight * values)
    spectrum *= nx / places.size
    spectrum[: keep.size] *= keep
    made: Array = np.fft.irfft(spectrum, nx)
    return made


@compiled
def _blur(model: Array, kernel: Array, made: Array) -> None:
    """Fill the model smoothed across lines, which goes round at the edges; as published, it is one pixel further."""
    ny, nx = model.shape
    around = kernel.size // 2
    line = np.empty(nx, np.float64)
    for y in range(ny):
        line[:] = 0.0
        for k in range(kernel.size):
            source = (y - 1 - (k - around)) % ny
            for x in range(nx):
                line[x] += kernel[k] * model[source, x]
        for x in range(nx):
            made[y, x] = line[x - 1]
