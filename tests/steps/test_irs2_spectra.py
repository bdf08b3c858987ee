"""Spectra of IRS2 time series, whose rounded values are NumPy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from calservice.model.block import Array
from calservice.steps.stage1._refpix_irs2_fft_kernels import band_spectrum, spectrum
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, LINES, SIZE
from calservice.steps.stage1._refpix_irs2_numpy_kernels import frequency, numpy_roots
from calservice.steps.stage1._refpix_irs2_signals import Buffers

HALF = LENGTH // 2


@pytest.fixture(scope="module")
def buffers() -> Buffers:
    return Buffers()


def noise(seed: int) -> Array:
    return np.random.default_rng(seed).normal(3.0, 10.0, LENGTH).astype(np.float32)


def repeated(seed: int) -> Array:
    """Rows that are all alike: most frequencies vanish, and what is left of them is rounding."""
    return np.tile(noise(seed)[: LENGTH // SIZE], SIZE)


def unpacked(lines: Array) -> Array:
    """Return frequencies in their order, each of those that are in two lines from both."""
    values = lines.reshape(2, LINES, LINE)
    assert np.array_equal(values[:, :-1, SIZE], values[:, 1:, 0])
    return np.concatenate([values[:, :, :SIZE].reshape(2, -1), values[:, -1, SIZE : SIZE + 1]], axis=1)


def test_single_frequencies() -> None:
    series, memory = noise(1), np.empty(LENGTH)
    expected = np.fft.fft(series.astype(np.float64))
    # each digit of a frequency takes another way through a pass
    digits = np.random.default_rng(2).integers(0, LENGTH, 40)
    for k in [*range(9), LENGTH // 89, LENGTH // 4, HALF, LENGTH - 1, *digits]:
        assert frequency(series, int(k), *numpy_roots(), memory) == (expected[k].real, expected[k].imag)


@pytest.mark.parametrize(
    ("series", "least", "most"),
    [(noise(3), 1, 50), (repeated(4), 1001, LENGTH), (0 * noise(5), 0, 0)],
    ids=["noise", "most frequencies vanish", "zero"],
)
def test_spectra(series: Array, least: int, most: int, buffers: Buffers) -> None:
    expected = np.fft.fft(series)[: HALF + 1].view(np.float32).reshape(-1, 2).T
    spectrum(series, buffers.work, buffers.common)
    assert np.array_equal(unpacked(buffers.common), expected * (np.float32(1) / np.float32(LENGTH)))
    assert least <= buffers.work.doubts[0] <= most

    band = np.zeros(HALF + 1)
    band[:3000], band[-3000:] = 1.0, 0.3
    buffers.own[:] = 0
    band_spectrum(series, band, 3000, buffers.work, buffers.own)
    assert np.array_equal(unpacked(buffers.own), (expected * band).astype(np.float32))
