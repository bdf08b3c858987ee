"""Fit ramps and interference together: the phase and amplitude of a wave that leave ramps straightest."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.step import ExposureInfo
from calservice.steps.stage1 import _emicorr_kernels as kernels
from calservice.steps.stage1._emicorr_case import Interference, Wave

__all__ = ["subtract_wave"]

_TRIALS = 500
"""Phases that are tried."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Timing:
    """Phases of a wave, in periods.

    Attributes
    ----------
    pixels : ndarray
        Of the pixels of one output in the first group, (row, column / 4).
    group, integration : float
        By how much they advance from one group to the next, and from one integration to the next.
    """

    pixels: Array
    group: float
    integration: float


@dataclass(frozen=True)
class _Fit:
    """Coefficients of chi-squared, ``quadratic`` a^2 + ``linear`` a, of an amplitude a: (integration, trial)."""

    quadratic: Array
    linear: Array
    trials: Array
    advance: float

    def at(self, phase: float, integrations: Array) -> tuple[float, float]:
        """Return the best chi-squared and amplitude of a wave with a phase, over some integrations."""
        a, b = 0.0, 0.0
        for i in integrations:
            k = int(np.argmin((self.trials - phase - self.advance * i) % 1))
            a += self.quadratic[i, k]
            b += self.linear[i, k]
        if np.isclose(a, 0, atol=1e-8) or not np.isfinite(a) or not np.isfinite(b):
            return np.nan, 0.0
        amplitude = -b / (2 * a)
        return a * amplitude**2 + b * amplitude, amplitude

    def best(self, integrations: Array) -> tuple[float, float]:
        """Return the phase that leaves ramps straightest, and its amplitude."""
        places = kernels.nearest_trials(self.trials, self.advance, integrations)
        a = np.zeros(len(self.trials))
        b = np.zeros(len(self.trials))
        for row, i in zip(places, integrations, strict=True):
            a += self.quadratic[i, row]
            b += self.linear[i, row]
        unknown = np.isclose(a, 0, atol=1e-8) | ~np.isfinite(a) | ~np.isfinite(b)
        amplitudes = np.divide(-b, 2 * a, out=np.full_like(a, np.nan), where=~unknown)
        phase = _vertex(self.trials, a * amplitudes**2 + b * amplitudes)
        return phase, self.at(phase, integrations)[1]


def _vertex(phases: Array, chisq: Array) -> float:
    """Return where the parabola through the lowest value and its neighbours is lowest; phases are periodic."""
    if not np.any(np.isfinite(chisq)):
        log.warning("no phase of the interference can be fitted")
        return float(phases[0])
    k = int(np.nanargmin(chisq))
    near = [k - 1, k, (k + 1) % len(chisq)]
    if not np.all(np.isfinite(chisq[near])) or np.std(chisq[near]) == 0:
        log.warning("the phase of the interference is not well determined")
        return float(phases[k])
    curvature, slope, _ = np.polyfit(phases[near], chisq[near], 2)
    return float(-slope / (2 * curvature))


def _timing(shape: tuple[int, ...], wave: Wave, case: Interference, info: ExposureInfo) -> _Timing:
    _, ngroups, nrows, ncols = shape
    rows, columns = np.arange(nrows)[:, None], np.arange(ncols // 4)
    pixels = ((rows * case.rowclocks + columns * info.nsamples) / wave.period) % 1
    frame = nrows * case.rowclocks + (1024.0 - nrows) * (4 + 3.0)
    group = (frame / wave.period) % 1
    reset = case.frameclocks if info.readpatt in ("FASTR1", "SLOWR1") else 0
    return _Timing(pixels, group, group * ngroups + reset / wave.period)


def _spline(amplitudes: Array) -> Array:
    """Return the cubic pieces, (power, phase), of the curve through a wave that goes on periodically at both ends."""
    from scipy.interpolate import CubicSpline

    ends = np.concatenate([amplitudes[-1:], amplitudes, amplitudes[:1]]).astype(np.float64)
    phases = (np.arange(len(ends)) - 0.5) / len(amplitudes)
    return np.ascontiguousarray(CubicSpline(phases, ends).c)


def subtract_wave(
    data: Array, pixeldq: Array, wave: Wave, case: Interference, info: ExposureInfo, separately: bool
) -> None:
    """Fit a wave to an exposure and subtract it.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32 in DN; changed in place.
    pixeldq : ndarray
        Flags; only pixels without any are fitted.
    wave : Wave
        With its shape.
    case : Interference
        Clocks.
    info : ExposureInfo
        Read pattern and samples.
    separately : bool
        Whether each integration has a phase and an amplitude of its own.

    Notes
    -----
    Chi-squared of straight lines fitted to ramps minus a wave is quadratic in its amplitude, with coefficients
    that are sums over groups of equal phase.
    """
    assert wave.amplitudes is not None
    nints, ngroups = data.shape[:2]
    timing, pieces = _timing(data.shape, wave, case, info), _spline(wave.amplitudes)
    nphases = len(wave.amplitudes)
    scatter = kernels.scatter(data)
    usable = (scatter < 2 * np.median(scatter)) & (pixeldq == 0)
    sums, counts = kernels.sum_by_phase(data, usable, timing.pixels, nphases)
    middles = (np.arange(1, nphases + 1) - 0.5) / nphases
    template = (middles[:, None] + np.arange(ngroups) * timing.group) % 1
    trials = np.arange(_TRIALS) * 1.0 / _TRIALS
    fit = _Fit(*kernels.chisq_terms(sums, counts, template, trials, pieces), trials, timing.integration)
    every = np.arange(nints)
    if separately:
        found = [fit.best(every[i : i + 1]) for i in range(nints)]
        phases = np.array([phase + i * timing.integration for i, (phase, _) in enumerate(found)])
        amplitudes = np.array([amplitude for _, amplitude in found])
    else:
        phase, amplitude = fit.best(every)
        phases = (phase + every * timing.integration) % 1
        amplitudes = np.full(nints, amplitude)
    kernels.subtract_spline(data, timing.pixels, timing.group, phases, amplitudes, pieces)
