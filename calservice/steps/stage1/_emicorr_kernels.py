"""Compiled loops of the joint fit of ramps and interference.

Pixels of the four outputs of a detector lie next to each other in a row and are read at the same time.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["OUTPUTS", "chisq_terms", "nearest_trials", "scatter", "subtract_spline", "sum_by_phase"]

OUTPUTS = 4


@compiled
def scatter(data: Array) -> Array:
    """Return the standard deviation of the groups of each pixel: (integration, row, column), all in float32."""
    nints, ngroups, nrows, ncols = data.shape
    made = np.zeros((nints, nrows, ncols), np.float32)
    mean, n = np.empty(ncols, np.float32), np.float32(ngroups)
    for i in range(nints):
        for y in range(nrows):
            mean[:] = np.float32(0.0)
            for g in range(ngroups):
                for x in range(ncols):
                    mean[x] += data[i, g, y, x]
            for x in range(ncols):
                mean[x] = mean[x] / n
            for g in range(ngroups):
                for x in range(ncols):
                    off = data[i, g, y, x] - mean[x]
                    made[i, y, x] += off * off
            for x in range(ncols):
                made[i, y, x] = np.sqrt(made[i, y, x] / n)
    return made


@compiled
def sum_by_phase(data: Array, usable: Array, phases: Array, nphases: int) -> tuple[Array, Array]:
    """Sum up the pixels that the wave meets at the same phase.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32.
    usable : ndarray
        Pixels that count, (integration, row, column).
    phases : ndarray
        Of the first group, (row, column / 4), from 0 to 1.
    nphases : int
        Bins of phases.

    Returns
    -------
    sums, counts : ndarray
        (phase, group, integration) and (integration, phase) float64. Two columns of the reference pixels are left out.
    """
    nints, ngroups, nrows, _ = data.shape
    sums, counts = np.zeros((nphases, ngroups, nints)), np.zeros((nints, nphases))
    zero = np.float32(0.0)
    for i in range(nints):
        for y in range(nrows):
            for k in range(phases.shape[1]):
                if k not in (1, 2):
                    for x in range(OUTPUTS * k, OUTPUTS * (k + 1)):
                        counts[i, int(phases[y, k] * nphases)] += usable[i, y, x]
        for g in range(ngroups):
            for y in range(nrows):
                for k in range(phases.shape[1]):
                    if k in (1, 2):
                        continue
                    place = int(phases[y, k] * nphases)
                    for x in range(OUTPUTS * k, OUTPUTS * (k + 1)):
                        value = data[i, g, y, x]
                        sums[place, g, i] += value if usable[i, y, x] else value * zero  # NaN stays
    return sums, counts


@compiled
def _value(phase: float, pieces: Array, n: int) -> float:
    """Return a wave at a phase from 0 to 1, from its cubic pieces around ``n`` phases."""
    k = int(phase * n + 0.5)
    t = phase - (k - 0.5) / n
    value: float = ((pieces[0, k] * t + pieces[1, k]) * t + pieces[2, k]) * t + pieces[3, k]
    return value


@compiled
def nearest_trials(trials: Array, advance: float, integrations: Array) -> Array:
    """Return for each integration and trial phase the next trial phase that the wave then has in it."""
    made = np.zeros((integrations.size, trials.size), np.int64)
    for row in range(integrations.size):
        for m in range(trials.size):
            least = 2.0
            for k in range(trials.size):
                off = (trials[k] - trials[m] - advance * integrations[row]) % 1
                if off < least:
                    least, made[row, m] = off, k
    return made


@compiled
def chisq_terms(
    sums: Array, counts: Array, template: Array, trials: Array, pieces: Array
) -> tuple[Array, Array, float]:
    """Return how chi-squared of straight ramps depends on the amplitude of a wave, at all trial phases.

    Parameters
    ----------
    sums, counts : ndarray
        Of `sum_by_phase`.
    template : ndarray
        Phases at which the wave meets the groups of the pixels that were summed up, (phase, group).
    trials : ndarray
        Phases of the wave at the first pixel.
    pieces : ndarray
        Cubic pieces of the wave, (power, phase).

    Returns
    -------
    quadratic, linear : ndarray
        Coefficients, (integration, trial).
    strength : float
        What the largest quadratic coefficient would be if lines took nothing away from the wave.
    """
    nphases, ngroups, nints = sums.shape
    quadratic, linear = np.zeros((nints, trials.size)), np.zeros((nints, trials.size))
    st, stt = 0.0, 0.0
    for g in range(ngroups):
        st += g
        stt += g * g
    delta = ngroups * stt - st * st
    strength = 0.0
    sy, sty, syz = np.zeros((nphases, nints)), np.zeros((nphases, nints)), np.zeros(nints)
    for n in range(nphases):
        for g in range(ngroups):
            for i in range(nints):
                sy[n, i] += sums[n, g, i]
                sty[n, i] += g * sums[n, g, i]
    for m in range(trials.size):
        for n in range(nphases):
            sz, stz, szz = 0.0, 0.0, 0.0
            syz[:] = 0.0
            for g in range(ngroups):
                z = _value((template[n, g] + trials[m]) % 1, pieces, nphases)
                sz += z
                stz += g * z
                szz += z * z
                for i in range(nints):
                    syz[i] += z * sums[n, g, i]
            own = -stt * sz * sz + 2 * st * sz * stz - ngroups * stz * stz + szz * delta
            for i in range(nints):
                mixed = stt * sz * sy[n, i] - st * stz * sy[n, i] - st * sz * sty[n, i] + ngroups * stz * sty[n, i]
                quadratic[i, m] += counts[i, n] / delta * own
                linear[i, m] += 2 / delta * mixed - 2 * syz[i]
                strength = max(strength, counts[i, n] * szz)
    return quadratic, linear, strength


@compiled
def subtract_spline(data: Array, phases: Array, group: float, offsets: Array, amplitudes: Array, pieces: Array) -> None:
    """Subtract a wave from all outputs of all groups; ``offsets`` are its phases in the integrations."""
    nints, ngroups, nrows, _ = data.shape
    n = pieces.shape[1] - 1
    for i in range(nints):
        for g in range(ngroups):
            for y in range(nrows):
                for k in range(phases.shape[1]):
                    value = amplitudes[i] * _value((phases[y, k] + group * g + offsets[i]) % 1, pieces, n)
                    for x in range(OUTPUTS * k, OUTPUTS * (k + 1)):
                        data[i, g, y, x] -= value
