"""Fit ramps and interference together: the phase and amplitude of a wave that leave ramps straightest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.info import ExposureInfo
from calservice.steps.stage1 import _emicorr_kernels as kernels
from calservice.steps.stage1._emicorr_case import Interference, Wave

__all__ = ["subtract_wave"]

_TRIALS = 500
"""Phases that are tried."""

_CLOSE = 1e-7
"""By which part chi-squared may differ and rounding still decide on the lowest."""

_LOST = 1e-7
"""Part of a wave's strength that a straight line has to leave of it, for its phase to be known."""

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


class _Fit:
    """Chi-squared as a function of the phase of a wave: quadratic in its amplitude.

    Some subarrays are read in step with a wave, so that two phases, or all, leave ramps equally straight, and rounding
    decides between them. What is that close is computed again as the official step does it, operation by operation.
    """

    def __init__(self, sums: Array, counts: Array, template: Array, advance: float, amplitudes: Array) -> None:
        self.counts = counts
        self.template = template
        self.advance = advance
        self.amplitudes = amplitudes
        self.trials = np.arange(_TRIALS) * 1.0 / _TRIALS
        self.levels = np.ascontiguousarray(np.moveaxis(sums, 2, 0))
        pieces = _spline(amplitudes)
        self.quadratic, self.linear, strength = kernels.chisq_terms(sums, counts, template, self.trials, pieces)
        self.lost = self.quadratic.max(initial=0.0) < _LOST * strength
        self._exact: dict[int, list[tuple[float, float, float]]] = {}

    def best(self, integrations: Array) -> tuple[float, float]:
        """Return the phase that leaves ramps straightest, and its amplitude."""
        places = kernels.nearest_trials(self.trials, self.advance, integrations)
        chisq = self._chisq(places, integrations)
        if self.lost:
            chisq = np.array([self._exactly(row, integrations)[0] for row in places.T])
        if not np.any(np.isfinite(chisq)):
            log.warning("no phase of the interference can be fitted")
            return float(self.trials[0]), self._amplitude(float(self.trials[0]), integrations)
        (close,) = np.nonzero(chisq <= np.nanmin(chisq) * (1 - _CLOSE))  # the lowest is not above 0
        lowest = close[0]
        if len(close) > 1 and not self.lost:
            lowest = close[np.nanargmin([self._exactly(places[:, k], integrations)[0] for k in close])]
        elif self.lost:
            lowest = np.nanargmin(chisq)
        phase = _vertex(self.trials, chisq, int(lowest))
        return phase, self._amplitude(phase, integrations)

    def _chisq(self, places: Array, integrations: Array) -> Array:
        a, b = np.zeros(_TRIALS), np.zeros(_TRIALS)
        for row, i in zip(places, integrations, strict=True):
            a += self.quadratic[i, row]
            b += self.linear[i, row]
        known = ~np.isclose(a, 0, atol=1e-8) & np.isfinite(a) & np.isfinite(b)
        amplitude = np.divide(-b, 2 * a, out=np.full_like(a, np.nan), where=known)
        return np.asarray(a * amplitude**2 + b * amplitude)

    def _amplitude(self, phase: float, integrations: Array) -> float:
        places = [int(np.argmin((self.trials - phase - self.advance * i) % 1)) for i in integrations]
        if self.lost:
            return self._exactly(np.array(places), integrations)[1]
        a = sum(self.quadratic[i, k] for i, k in zip(integrations, places, strict=True))
        b = sum(self.linear[i, k] for i, k in zip(integrations, places, strict=True))
        unknown = np.isclose(a, 0, atol=1e-8) or not np.isfinite(a) or not np.isfinite(b)
        return 0.0 if unknown else float(-b / (2 * a))

    def _exactly(self, places: Array, integrations: Array) -> tuple[float, float]:
        """Return chi-squared and amplitude for the trial phases that a wave has in some integrations."""
        a, b = 0.0, 0.0
        for i, k in zip(integrations, places, strict=True):
            if int(k) not in self._exact:
                self._exact[int(k)] = self._terms(int(k))
            terms = self._exact[int(k)][i]
            a += terms[0]
            b += terms[1]
            b -= terms[2]
        if np.isclose(a, 0, atol=1e-8) or not np.isfinite(a) or not np.isfinite(b):
            return np.nan, 0.0
        amplitude = -b / (2 * a)
        return a * amplitude**2 + b * amplitude, amplitude

    def _terms(self, k: int) -> list[tuple[float, float, float]]:
        """Return the terms of the coefficients at a trial phase, for each integration."""
        z = _curve(self.amplitudes)((self.template.T + self.trials[k]) % 1).T
        ngroups = z.shape[1]
        groups = np.arange(ngroups)
        st, stt = np.sum(groups), np.sum(groups**2)
        delta = ngroups * stt - st**2
        sz, stz, szz = np.sum(z, axis=1), np.sum(groups * z, axis=1), np.sum(z**2, axis=1)
        own = -stt * sz**2 + 2 * st * sz * stz - ngroups * stz**2 + szz * delta
        terms = []
        for count, y in zip(self.counts, self.levels, strict=True):
            sy, sty = np.sum(y, axis=1), np.sum(y * groups, axis=1)
            mixed = stt * sz * sy - st * stz * sy - st * sz * sty + ngroups * stz * sty
            linear = (2 / delta) * np.sum(mixed), 2 * np.sum(np.sum(z * y, axis=1))
            terms.append((float(np.sum(count / delta * own)), float(linear[0]), float(linear[1])))
        return terms


def _vertex(phases: Array, chisq: Array, k: int) -> float:
    """Return where the parabola through the lowest value and its neighbours is lowest; phases are periodic."""
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


def _extended(amplitudes: Array) -> tuple[Array, Array]:
    """Return the middles of phases and the wave, which goes on periodically by one at both ends."""
    ends = np.concatenate([amplitudes[-1:], amplitudes, amplitudes[:1]])
    return (np.arange(len(ends)) - 0.5) / len(amplitudes), ends


def _curve(amplitudes: Array) -> Any:
    """Return the cubic curve through a wave as a function, evaluated as in the official step."""
    from scipy.interpolate import make_interp_spline

    return make_interp_spline(*_extended(amplitudes), k=3)


def _spline(amplitudes: Array) -> Array:
    """Return the cubic pieces of the same curve, (power, phase)."""
    from scipy.interpolate import CubicSpline

    phases, values = _extended(amplitudes)
    return np.ascontiguousarray(CubicSpline(phases, values.astype(np.float64)).c)


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
    timing = _timing(data.shape, wave, case, info)
    nphases = len(wave.amplitudes)
    scatter = kernels.scatter(data)
    usable = (scatter < 2 * np.median(scatter)) & (pixeldq == 0)
    sums, counts = kernels.sum_by_phase(data, usable, timing.pixels, nphases)
    middles = (np.arange(1, nphases + 1) - 0.5) / nphases
    template = (middles[:, None] + np.arange(ngroups) * timing.group) % 1
    fit = _Fit(sums, counts, template, timing.integration, wave.amplitudes)
    every = np.arange(nints)
    if separately:
        found = [fit.best(every[i : i + 1]) for i in range(nints)]
        phases = np.array([phase + i * timing.integration for i, (phase, _) in enumerate(found)])
        amplitudes = np.array([amplitude for _, amplitude in found])
    else:
        phase, amplitude = fit.best(every)
        phases = (phase + every * timing.integration) % 1
        amplitudes = np.full(nints, amplitude)
    kernels.subtract_spline(data, timing.pixels, timing.group, phases, amplitudes, _spline(wave.amplitudes))
