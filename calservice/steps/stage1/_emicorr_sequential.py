"""Take the signal out of ramps, find the shape that is left of a wave, and subtract that, or its known shape."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.info import ExposureInfo
from calservice.steps.stage1._emicorr_case import Interference, Wave

__all__ = ["Phasing", "bins", "subtract_waves"]

_MOST_BINS = 501
_LAST_COLUMN = 258
"""Columns of one output of the full frame; the last holds reference pixels, which are read late."""

_LATE = 3 + 2**32
"""By how many clocks; the second term is an overflow of the official step."""

_DEFAULT_CYCLES = 3


@dataclass(frozen=True)
class Phasing:
    """The parameters of the step that tell how phases are found."""

    nints: int | None
    nbins: int | None
    cycles: int | None
    scales: bool


def bins(wave: Wave, told: int | None) -> int:
    """Return the number of bins of phases for a wave."""
    wanted = int(wave.period / 2.0) if told is None else told
    return _MOST_BINS - 1 if wanted > _MOST_BINS else wanted


def _starts(shape: tuple[int, ...], case: Interference, info: ExposureInfo) -> Array:
    """Return when each group begins to be read, in clocks since the first: (integration, group)."""
    nints, ngroups, nrows, _ = shape
    frame = nrows * case.rowclocks + (1024.0 - nrows) * (4 + 3.0)
    reset = case.frameclocks if info.readpatt in ("FASTR1", "SLOWR1") else 0.0
    starts: Array = np.arange(ngroups) * frame + np.arange(nints)[:, None] * (ngroups * frame + reset)
    return starts


def _times(shape: tuple[int, ...], case: Interference, info: ExposureInfo) -> Array:
    """Return when the pixels of one output are read, in clocks since the group began: (row, column / 4)."""
    nrows, columns = shape[2], shape[3] // 4
    times = np.arange(nrows)[:, None] * case.rowclocks + np.arange(columns) * float(info.nsamples)
    if int(info.xsize / 4 + info.xstart - 1) == _LAST_COLUMN:
        times[:, -1] += _LATE
    return times


def _integrations(wave: Wave, shape: tuple[int, ...], case: Interference, told: int | None, phasing: Phasing) -> int:
    """Return how many integrations serve to find phases; ``told`` is what served for the wave before."""
    if told is None:
        if phasing.cycles is None:
            return shape[0]
        return int(np.ceil(phasing.cycles * wave.period / (case.frameclocks * shape[1])))
    return min(told, shape[0]) if phasing.cycles == _DEFAULT_CYCLES else told


def _resampled(wave: Array, length: float) -> Array:
    """Return a wave with another number of phases, by repeating or leaving out values."""
    step = len(wave) / length
    return np.asarray(wave[(np.arange(int(np.ceil(len(wave) / step))) * step).astype(int)])


def _aligned(known: Array, found: Array, period: float, scales: bool) -> Array:
    """Return the known shape of a wave, by clocks, at the phase of the one found, and as high if wanted."""
    like = _resampled(found, len(known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        match = [np.corrcoef(np.roll(known, shift), like)[0, 1] for shift in range(len(known))]
        aligned = _resampled(np.roll(known, np.argmax(match)), period)
        scale = np.polyfit(aligned, _resampled(found, period), 1)[0]
    return aligned * scale if scales else aligned


def subtract_waves(data: Array, case: Interference, info: ExposureInfo, phasing: Phasing) -> list[Array]:
    """Subtract the waves of an exposure one after the other.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32 in DN; changed in place.
    case : Interference
        Clocks and waves; those without a shape are subtracted as they are found.
    info : ExposureInfo
        Read pattern, samples and place on the detector.
    phasing : Phasing
        How phases are found.

    Returns
    -------
    list of ndarray
        The shapes found, float64.
    """
    from calservice.steps.stage1 import _emicorr_sequential_kernels as kernels

    starts, times = _starts(data.shape, case, info), _times(data.shape, case, info)
    told, kept = phasing.nints, []
    for wave in case.waves:
        told = _integrations(wave, data.shape, case, told, phasing)
        noise = kernels.residuals(data[:told])
        noise -= np.median(noise, axis=(2, 3), keepdims=True)
        edges = np.arange(bins(wave, phasing.nbins) + 1) / bins(wave, phasing.nbins)
        found = kernels.binned(noise, starts[:told], times, wave.period, edges)
        found -= np.median(found)
        shape = _resampled(found, wave.period)
        if wave.amplitudes is not None:
            shape = _aligned(wave.amplitudes, found, wave.period, phasing.scales)
        kernels.subtract_table(data, starts, times, wave.period, np.where(np.isfinite(shape), shape, 0.0))
        kept.append(found)
    return kept
