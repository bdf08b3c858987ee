"""Compiled loops of the likelihood fit over tiles of neighbouring pixels, and the combination of integrations.

A tile holds the differences of the groups of up to `TILE` pixels, (difference, pixel), so that the recurrences along
the ramp run for all of them at once in vector registers. Arithmetic is float64; what is stored is float32.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, JUMP_DET, SATURATED
from calservice.steps.compiled import compiled
from calservice.steps.stage1._ramp_fit_likely_tiles import (
    CHISQ,
    POISSON,
    RATE,
    READ,
    TILE,
    UNCERTAINTY,
    fit_tile,
    leave_out,
    omissions,
    workspace,
)

__all__ = ["combine", "fit_block"]

_FEWEST = 3
"""Differences at or below which no further jump is looked for."""


@compiled
def _load(
    data: Array, groupdq: Array, i: int, y: int, x0: int, width: int, steps: Array, diffs: Array, use: Array
) -> None:
    """Fill the differences of a tile's groups, DN/s, and which of them are usable: neither group has a flag."""
    for k in range(steps.size):
        for c in range(width):
            rise = data[i, k + 1, y, x0 + c] - data[i, k, y, x0 + c]
            diffs[k, c] = rise / steps[k]
            either = groupdq[i, k + 1, y, x0 + c] | groupdq[i, k, y, x0 + c]
            use[k, c] = 0.0 if either else 1.0


@compiled
def _medians(diffs: Array, width: int, rates: Array) -> None:
    """Fill the median difference of each pixel, 0 if it is negative; NaN if one difference is."""
    n = diffs.shape[0]
    values = np.empty(n)
    for c in range(width):
        known = True
        for k in range(n):
            values[k] = diffs[k, c]
            known = known and not np.isnan(values[k])
        values.sort()
        middle = values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2.0
        rates[c] = middle * (middle > 0.0) if known else np.nan


@compiled
def _find_jumps(
    diffs: Array,
    use: Array,
    width: int,
    pixels: Array,
    expected: tuple[Array, ...],
    averaged: Array,
    limits: tuple[float, float],
    spaces: tuple[tuple[Array, ...], tuple[Array, ...]],
    guesses: Array,
    rates: Array,
) -> None:
    """Leave out the differences with jumps, ramp by ramp until none is found; ``rates`` gets the rates without them.

    Pixels that had a jump are gathered at the front of the second workspace, and looked at again.
    """
    n = diffs.shape[0]
    work, again = spaces
    todo, left = np.empty(TILE, np.int64), width
    for c in range(width):
        todo[c] = c
    for turn in range(n):
        for k in range(n):
            for j in range(left):
                again[0][k, j], again[1][k, j] = diffs[k, todo[j]], use[k, todo[j]]
        for j in range(left):
            again[2][0, j] = guesses[todo[j]]
            again[2][1, j], again[2][2, j] = pixels[0, todo[j]], pixels[1, todo[j]]
        fit_tile(again[0], again[1], again[2], left, expected, work)
        omissions(again[1], left, work)
        kept = 0
        for j in range(left):
            c = todo[j]
            if turn == 0:
                rates[c] = work[0][RATE, j]
            found, rate = leave_out(again[1], j, averaged, limits, work)
            if not found:
                continue
            rates[c] = rates[c] * 0.0 + rate
            usable = 0.0
            for k in range(n):
                use[k, c] = again[1][k, j]
                usable += use[k, c]
            if usable > _FEWEST:
                todo[kept] = c
                kept += 1
        left = kept
        if left == 0:
            break


@compiled
def _flags(groupdq: Array, i: int, y: int, x: int, usable: Array, c: int, use: Array) -> np.int64:
    """Return the flags of a ramp: jumps that it had or that were found, saturation, and whether no group is usable."""
    dq, spent = np.int64(0), True
    for g in range(groupdq.shape[1]):
        flag = np.int64(groupdq[i, g, y, x])
        if g > 0 and usable[g - 1, c] != use[g - 1, c]:
            flag |= JUMP_DET
        dq |= flag & (JUMP_DET | SATURATED)
        spent = spent and (flag & (DO_NOT_USE | SATURATED)) != 0
    return dq | np.int64(DO_NOT_USE if spent else 0)


@compiled
def fit_block(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    gain: Array,
    noise: Array,
    dark: Array,
    expected: tuple[Array, ...],
    averaged: Array,
    limits: tuple[float, float],
    integrations: tuple[Array, ...],
    chisq: Array,
) -> None:
    """Fit all ramps of a block.

    Parameters
    ----------
    data, groupdq : ndarray
        Ramps in DN, float32, and their flags, uint8: (integration, group, row, column).
    pixeldq, gain, noise, dark : ndarray
        Images: flags uint32; electrons/DN; read noise of one read in DN; DN/s added to the rate that the covariance
        is made for. float64.
    expected : tuple of ndarray
        Times between groups; variances and covariances of neighbouring differences for a rate of 1; the same for a
        read noise of 1.
    averaged : ndarray
        For each group but the first and last: whether it is the mean of several reads.
    limits : tuple of float
        By how much chi-squared has to fall for one difference to be left out, and for two.
    integrations : tuple of ndarray
        Written: slope, flags, error, Poisson variance and read variance; (integration, row, column).
    chisq : ndarray
        Written: (integration, row, column) float32.
    """
    nints, ngroups, nrows, ncols = data.shape
    n = ngroups - 1
    diffs, use, usable = np.empty((n, TILE)), np.empty((n, TILE)), np.empty((n, TILE))
    spaces = (workspace(n), (np.empty((n, TILE)), np.empty((n, TILE)), np.empty((3, TILE))))
    guesses, rates, pixels = np.empty(TILE), np.empty(TILE), np.empty((3, TILE))
    for i in range(nints):
        for y in range(nrows):
            for x0 in range(0, ncols, TILE):
                width = min(TILE, ncols - x0)
                _load(data, groupdq, i, y, x0, width, expected[0], diffs, use)
                for c in range(width):
                    pixels[0, c], pixels[1, c] = gain[y, x0 + c], noise[y, x0 + c]
                usable[:] = use
                _medians(diffs, width, guesses)
                _find_jumps(diffs, use, width, pixels, expected, averaged, limits, spaces, guesses, rates)
                for c in range(width):
                    spaces[1][2][0, c] = rates[c] * (rates[c] > 0.0) + dark[y, x0 + c]
                    spaces[1][2][1, c], spaces[1][2][2, c] = pixels[0, c], pixels[1, c]
                fit_tile(diffs, use, spaces[1][2], width, expected, spaces[0])
                made = spaces[0][0]
                for c in range(width):
                    x = x0 + c
                    integrations[0][i, y, x] = made[RATE, c]
                    integrations[1][i, y, x] = pixeldq[y, x] | _flags(groupdq, i, y, x, usable, c, use)
                    integrations[2][i, y, x] = made[UNCERTAINTY, c]
                    integrations[3][i, y, x] = made[POISSON, c]
                    integrations[4][i, y, x] = made[READ, c]
                    chisq[i, y, x] = made[CHISQ, c]


@compiled
def _median(values: Array) -> np.float32:
    """Return the median of the values that are not NaN, float32; NaN if there is none."""
    known = np.sort(values[~np.isnan(values)])
    n = known.size
    if n == 0:
        return np.float32(np.nan)
    return known[n // 2] if n % 2 else np.float32(np.float32(known[n // 2 - 1] + known[n // 2]) / np.float32(2.0))


@compiled
def _known_sum(values: Array) -> np.float32:
    """Return the sum of the values that are not NaN, float32; NaN if there is none."""
    total, some = np.float32(0.0), False
    for value in values:
        if not np.isnan(value):
            total = np.float32(total + value)
            some = True
    return total if some else np.float32(np.nan)


@compiled
def _weigh(slopes: Array, poisson: Array, read: Array, scaled: Array, weights: Array, terms: Array) -> None:
    """Fill the Poisson variances for the common slope, and the weights; ``terms[0]`` gets the slope."""
    n = slopes.size
    slope = _median(slopes)
    one, zero = np.float32(1.0), np.float32(0.0)
    for _ in range(2):
        total = zero
        for i in range(n):
            ratio = np.float32(slope / slopes[i])
            ratio = zero if not np.isfinite(ratio) or ratio < zero else ratio
            scaled[i] = np.float32(poisson[i] * ratio)
            weights[i] = np.float32(one / np.float32(scaled[i] + read[i]))
            if not np.isnan(weights[i]):
                total = np.float32(total + weights[i])
        for i in range(n):
            weights[i] = np.float32(weights[i] / total)
            terms[i] = np.float32(slopes[i] * weights[i])
        slope = _known_sum(terms)
    terms[0] = slope


@compiled
def combine(integrations: tuple[Array, ...], chisq: Array, images: tuple[Array, ...], total: Array) -> None:
    """Combine the fits of several integrations, all in float32.

    Parameters
    ----------
    integrations : tuple of ndarray
        Slope, flags, error, Poisson variance and read variance; (integration, row, column).
    chisq : ndarray
        (integration, row, column) float32.
    images : tuple of ndarray
        Written: the same five of the exposure, (1, row, column).
    total : ndarray
        Written: the sum of chi-squared, (row, column) float32.
    """
    nints, nrows, ncols = chisq.shape
    slopes, poisson, read = np.empty(nints, np.float32), np.empty(nints, np.float32), np.empty(nints, np.float32)
    scaled, weights, terms = np.empty(nints, np.float32), np.empty(nints, np.float32), np.empty(nints, np.float32)
    for y in range(nrows):
        for x in range(ncols):
            dq, unusable, fit = np.uint32(0), True, np.float32(0.0)
            for i in range(nints):
                slopes[i], poisson[i], read[i] = (
                    integrations[0][i, y, x],
                    integrations[3][i, y, x],
                    integrations[4][i, y, x],
                )
                dq |= integrations[1][i, y, x]
                unusable = unusable and (integrations[1][i, y, x] & np.uint32(DO_NOT_USE)) != 0
                fit = np.float32(fit + chisq[i, y, x])
            _weigh(slopes, poisson, read, scaled, weights, terms)
            images[0][0, y, x] = terms[0]
            images[1][0, y, x] = dq if unusable else dq & np.uint32(0xFFFFFFFF ^ DO_NOT_USE)
            for i in range(nints):
                square = np.float32(weights[i] * weights[i])
                terms[i], weights[i] = np.float32(scaled[i] * square), np.float32(read[i] * square)
            images[3][0, y, x], images[4][0, y, x] = _known_sum(terms), _known_sum(weights)
            images[2][0, y, x] = np.sqrt(np.float32(images[3][0, y, x] + images[4][0, y, x]))
            total[y, x] = fit
