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
from calservice.steps.stage1 import _flicker_kernels as kernels

__all__ = ["clean_full_frame", "to_detector", "to_science"]

_CUTOFF = 1 / 256
"""Frequency, per pixel, at which noise is half taken away."""
_WIDTH = _CUTOFF / 4
_DENSITY = 32
"""Standard deviation, in pixels, of the Gaussian that tells how dense background is."""
_BLUR = 1.5
"""Standard deviation, in pixels, of the Gaussian that smooths noise across lines."""
_OUTLIERS = 3.0
_BORDER = 4
_SPARSE = 0.002
"""Smallest density of background for which rounding in single precision does no harm."""
_LINES = 256
"""Lines that are fitted at once."""
_SOUND = 0.5
"""Smallest pivot of a fit, relative to the largest possible, for which rounding in single precision does no harm."""


def to_detector(image: Array, detector: str) -> Array:
    """Return a NIRSpec image as the detector is oriented; a view."""
    return image.T if detector == "NRS1" else image.T[::-1]


def to_science(image: Array, detector: str) -> Array:
    """Return a NIRSpec image of the detector as exposures are oriented; a view."""
    return image.T if detector == "NRS1" else image[::-1].T


def clean_full_frame(image: Array, good: Array, detector: str, last_digits: bool = False) -> Array | None:
    """Return an image less the slow noise along its lines.

    Parameters
    ----------
    image : ndarray
        (row, column) float32, less its background.
    good : ndarray
        Where it is background (row, column) bool.
    detector : str
        ``NRS1`` or ``NRS2``.
    last_digits : bool
        Whether all lines are fitted by the published operations, which takes some ten times as long.

    Returns
    -------
    ndarray or None
        (row, column) float32; None where a fit has no solution.
    """
    data = np.ascontiguousarray(to_detector(image, detector))
    mask = np.ascontiguousarray(to_detector(good, detector))
    try:
        model = _fit(data, mask, _weights(mask, last_digits), _limits(data, mask), last_digits)
    except np.linalg.LinAlgError:
        return None
    return np.ascontiguousarray(to_science(data - _blurred(model), detector))


def _limits(data: Array, mask: Array) -> Array:
    """Return for each line the lowest value that is no outlier, the median, and the highest (line, 3) float32."""
    parts, counts = np.zeros((data.shape[0], 1, data.shape[1]), np.float32), np.zeros((data.shape[0], 1), np.int64)

    def typical(values: Array) -> Array:
        kernels.lines(values, mask, -np.inf, np.inf, np.zeros((1, 1), np.float32), False, parts, counts)
        parts.partition((data.shape[1] - 1) // 2, axis=2)
        made: Array = kernels.medians(parts, counts)
        return made

    middle = typical(data)
    spread = np.float32(_OUTLIERS) * (np.float32(1.4826) * typical(np.abs(data - middle)))
    return np.concatenate([middle - spread, middle, middle + spread], axis=1)


def _weights(mask: Array, last_digits: bool) -> Array:
    """Return the reciprocal of how dense background is along each line, 0 where there is none.

    As published, density is that one line and one pixel further. Lines are convolved each by itself, which is the same
    as the published convolution of the whole image but for rounding; where that could tell, the image is convolved.
    """
    kernel = _density(mask.shape[1])
    if not last_digits:
        before = np.roll(mask, 1, axis=0).astype(np.float32)
        density = np.fft.irfft(np.fft.rfft(before, axis=1) * np.fft.rfft(kernel), mask.shape[1], axis=1)
    if last_digits or not _clear(density, mask):
        whole = np.zeros(mask.shape, np.float32)
        whole[1] = kernel
        density = np.fft.irfft2(np.fft.rfft2(mask.astype(np.float32)) * np.fft.rfft2(whole), mask.shape)
    with np.errstate(divide="ignore"):
        weights = np.where(mask, 1 / density, 0.0)
    weights[~np.isfinite(weights)] = 0.0
    return weights


@compiled
def _clear(density: Array, mask: Array) -> bool:
    """Tell whether there is enough background around all that is background for rounding to do no harm."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x] and not density[y, x] > _SPARSE:
                return False
    return True


@lru_cache(maxsize=2)
def _density(nx: int) -> Array:
    """Return the Gaussian that tells how dense background is, centered on the second pixel; float32."""
    away = np.arange(nx) - (nx // 2 + 1)
    kernel = np.exp(-(away**2) / _DENSITY**2 / 2) / _DENSITY / np.sqrt(2 * np.pi)
    return np.fft.ifftshift(kernel.astype(np.float32))


@lru_cache(maxsize=2)
def _waves(nx: int) -> tuple[Array, Array]:
    """Return cosines, then sines, of the frequencies to fit (pixel, wave) float64, and how much of each is noise."""
    frequencies = np.fft.rfftfreq(nx)
    roll = (1 + np.cos(np.pi * (frequencies - _CUTOFF) / _WIDTH + np.pi / 2)) / 2
    keep = np.where(frequencies <= _CUTOFF - _WIDTH / 2, 1, roll)
    keep = np.where(frequencies <= _CUTOFF + _WIDTH / 2, keep, 0)
    number = int(np.count_nonzero(keep > 0))
    phases = 2 * np.pi * (np.arange(nx)[:, None] * np.arange(number) % nx) / nx
    return np.concatenate([np.cos(phases), np.sin(phases)], axis=1), keep[:number]


def _fit(data: Array, mask: Array, weights: Array, limits: Array, last_digits: bool) -> Array:
    """Return the noise along each line (line, pixel) float32; outliers count as the median.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the matrix of a fit is singular.
    """
    waves, keep = _waves(data.shape[1])
    model = np.zeros(data.shape, np.float32)
    squares, products = np.zeros((2, _LINES, data.shape[1]))
    for start in range(_BORDER, data.shape[0] - _BORDER, _LINES):
        rows = slice(start, min(start + _LINES, data.shape[0] - _BORDER))
        number = rows.stop - rows.start
        doubtful = np.full(number, last_digits)
        if not last_digits:
            _weigh(data[rows], mask[rows], weights[rows], limits[rows], squares, products)
            found = np.zeros((number, 2 * keep.size))
            _solve_lines(squares[:number] @ waves, products[:number] @ waves, found, doubtful)
            found *= np.tile(np.where(np.arange(keep.size) == 0, 1.0, 2.0) * keep, 2)
            model[rows] = found @ waves.T
        for y in rows.start + np.flatnonzero(doubtful):
            if mask[y].any():
                model[y] = _fit_as_published(data[y], mask[y], weights[y], limits[y], keep)
    return model


@compiled
def _weigh(data: Array, mask: Array, weights: Array, limits: Array, squares: Array, products: Array) -> None:
    """Fill the squared weights of the pixels of lines, and their products with the values."""
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            value = data[y, x]
            inside = value >= limits[y, 0] and value <= limits[y, 2]
            square = np.float64(weights[y, x]) ** 2
            squares[y, x] = square if mask[y, x] else 0.0
            products[y, x] = square * np.float64(value if inside else limits[y, 1]) if mask[y, x] else 0.0


@compiled
def _solve_lines(squares: Array, products: Array, found: Array, doubtful: Array) -> None:
    """Fill the amplitudes of cosines, then those of sines, of lines; tell of which lines the fit is doubtful.

    The matrix of a fit depends on the distance of two frequencies only; it is solved by the decomposition of Cholesky.
    """
    number = squares.shape[1] // 2
    matrix = np.empty((number, number), np.complex128)
    for y in range(squares.shape[0]):
        for j in range(number):
            for k in range(j + 1):
                matrix[j, k] = complex(squares[y, j - k], -squares[y, number + j - k])
        if not _decompose(matrix, _SOUND * squares[y, 0]):
            doubtful[y] = True
            continue
        solved = _solve(matrix, products[y])
        for k in range(number):
            found[y, k] = solved[k].real
            found[y, number + k] = -solved[k].imag


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
def _solve(factor: Array, products: Array) -> Array:
    """Return the solution of the fit, given the Cholesky factor of its matrix."""
    number = factor.shape[0]
    made = np.empty(number, np.complex128)
    for j in range(number):
        rest = complex(products[j], -products[number + j])
        for k in range(j):
            rest -= factor[j, k] * made[k]
        made[j] = rest / factor[j, j].real
    for j in range(number - 1, -1, -1):
        rest = made[j]
        for k in range(j + 1, number):
            rest -= np.conj(factor[k, j]) * made[k]
        made[j] = rest / factor[j, j].real
    return made


def _fit_as_published(data: Array, mask: Array, weights: Array, limits: Array, keep: Array) -> Array:
    """Return the noise along a line by the published operations, which decide where rounding matters.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the matrix of the fit is singular.
    """
    places = np.flatnonzero(mask)
    values = data[places]
    values = np.where((limits[0] <= values) & (values <= limits[2]), values, limits[1])
    weight = weights[places]
    basis = (_exponentials(data.size, keep.size)[places] / places.size).astype(np.complex64)
    weighted = basis * weight[:, None]
    adjoint = np.conjugate(weighted.transpose())
    inverse = np.matmul(np.linalg.inv(np.matmul(adjoint, weighted)), adjoint)
    spectrum = np.zeros(data.size // 2 + 1, np.complex64)
    spectrum[: keep.size] = np.matmul(inverse, weight * values)
    spectrum *= data.size / places.size
    spectrum[: keep.size] *= keep
    made: Array = np.fft.irfft(spectrum, data.size)
    return made


@lru_cache(maxsize=2)
def _exponentials(nx: int, number: int) -> Array:
    """Return the waves of `_waves` as complex exponentials (pixel, frequency), rounded as published."""
    made: Array = np.exp(2 * np.pi * 1j * np.arange(nx)[:, None] * np.arange(number)[None, :] / nx)
    return made


def _blurred(model: Array) -> Array:
    """Return the model smoothed across lines, which goes round at the edges; as published, it is one pixel further.

    It is transformed as published, in single precision: where little is left of an image, its rounding is seen.
    """
    made: Array = np.fft.irfft2(np.fft.rfft2(model) * _blur_transform(model.shape), s=model.shape)
    return made


@lru_cache(maxsize=2)
def _blur_transform(shape: tuple[int, int]) -> Array:
    ny, nx = shape
    middle = nx // 2 + 1
    kernel = np.zeros(shape, np.float32)
    kernel[:, middle] = np.exp(-(((np.arange(ny) - middle) / _BLUR) ** 2) / 2) / _BLUR / np.sqrt(2 * np.pi)
    return np.fft.rfft2(np.fft.ifftshift(kernel)).astype(np.complex64)
