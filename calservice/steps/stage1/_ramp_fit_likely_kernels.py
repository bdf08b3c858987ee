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
    largest_falls,
    leave_out,
    omit_one,
    omit_two,
    variances,
    workspace,
)
from calservice.steps.stage1._ramp_fit_tiles import sort_columns

__all__ = ["combine", "fit_block"]

_FEWEST = 3
"""Differences at or below which no further jump is looked for."""


@compiled
def _load(
    data: Array, groupdq: Array, i: int, y: int, x0: int, width: int, steps: Array, diffs: Array, use: Array
) -> None:
    """Fill the differences of a tile's groups, DN/s, and which of them are usable: neither group has a flag."""
    for k in range(steps.size):
        step = steps[k]
        for c in range(width):
            diffs[k, c] = (data[i, k + 1, y, x0 + c] - data[i, k, y, x0 + c]) / step
        for c in range(width):
            use[k, c] = 0.0 if groupdq[i, k + 1, y, x0 + c] | groupdq[i, k, y, x0 + c] else 1.0


@compiled
def _medians(diffs: Array, width: int, ordered: Array, rates: Array) -> None:
    """Fill the median difference of each pixel, 0 if it is negative; NaN if one difference is."""
    n = diffs.shape[0]
    for c in range(width):
        rates[c] = 0.0
    for k in range(n):
        for c in range(width):
            ordered[k, c] = diffs[k, c]
            rates[c] = np.nan if np.isnan(diffs[k, c]) else rates[c]
    sort_columns(ordered, width)
    for c in range(width):
        half = n // 2
        middle = ordered[half, c] if n % 2 else (ordered[half - 1, c] + ordered[half, c]) / 2.0
        rates[c] = np.nan if np.isnan(rates[c]) else middle * (1.0 if middle > 0.0 else 0.0)


@compiled
def _gather(
    diffs: Array,
    use: Array,
    guesses: Array,
    pixels: Array,
    todo: Array,
    left: int,
    again: tuple[Array, ...],
) -> None:
    """Copy what is to be fitted of some pixels of a tile to the front of another."""
    for k in range(diffs.shape[0]):
        if todo[left - 1] == left - 1:  # all up to there
            again[0][k, :left], again[1][k, :left] = diffs[k, :left], use[k, :left]
            continue
        for j in range(left):
            again[0][k, j], again[1][k, j] = diffs[k, todo[j]], use[k, todo[j]]
    for j in range(left):
        again[2][0, j] = guesses[todo[j]]
        again[2][1, j], again[2][2, j] = pixels[0, todo[j]], pixels[1, todo[j]]


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
    todo, left, falls = np.empty(TILE, np.int64), width, np.empty((2, TILE))
    for c in range(width):
        todo[c] = c
    for turn in range(n):
        _gather(diffs, use, guesses, pixels, todo, left, again)
        fit_tile(again[0], again[1], again[2], left, expected, work)
        omit_one(again[1], left, work)
        omit_two(again[1], left, work)
        largest_falls(n, left, work, averaged, falls)
        kept = 0
        for j in range(left):
            c = todo[j]
            if turn == 0:
                rates[c] = work[0][RATE, j]
            alone = falls[0, j] - limits[0] > falls[1, j] - limits[1]
            best, limit = (falls[0, j], limits[0]) if alone else (falls[1, j], limits[1])
            if not best > limit:
                continue
            rates[c] = rates[c] * 0.0 + leave_out(again[1], j, alone, best, work)
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
def _flags(groupdq: Array, i: int, y: int, x0: int, width: int, usable: Array, use: Array, dqs: Array) -> None:
    """Fill the flags of ramps: jumps that they had or that were found, saturation, and whether no group is usable."""
    spent = np.empty(TILE, np.int64)
    for c in range(width):
        dqs[c], spent[c] = 0, DO_NOT_USE
    for g in range(groupdq.shape[1]):
        for c in range(width):
            flag = np.int64(groupdq[i, g, y, x0 + c])
            found = JUMP_DET if g > 0 and usable[max(g - 1, 0), c] != use[max(g - 1, 0), c] else 0
            dqs[c] |= (flag & (JUMP_DET | SATURATED)) | found
            spent[c] = spent[c] if flag & (DO_NOT_USE | SATURATED) else 0
    for c in range(width):
        dqs[c] |= spent[c]


@compiled
def _store(out: Array, i: int, y: int, x0: int, values: Array) -> None:
    for c in range(values.size):
        out[i, y, x0 + c] = values[c]


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
        read noise of 1; NumPy's `power_loop`.
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
    ordered, dqs = np.empty((n, TILE)), np.empty(TILE, np.int64)
    for i in range(nints):
        for y in range(nrows):
            for x0 in range(0, ncols, TILE):
                width = min(TILE, ncols - x0)
                _load(data, groupdq, i, y, x0, width, expected[0], diffs, use)
                for c in range(width):
                    pixels[0, c], pixels[1, c] = gain[y, x0 + c], noise[y, x0 + c]
                usable[:] = use
                _medians(diffs, width, ordered, guesses)
                _find_jumps(diffs, use, width, pixels, expected, averaged, limits, spaces, guesses, rates)
                for c in range(width):
                    spaces[1][2][0, c] = rates[c] * (rates[c] > 0.0) + dark[y, x0 + c]
                    spaces[1][2][1, c], spaces[1][2][2, c] = pixels[0, c], pixels[1, c]
                fit_tile(diffs, use, spaces[1][2], width, expected, spaces[0])
                variances(n, width, expected, spaces[0])
                _flags(groupdq, i, y, x0, width, usable, use, dqs)
                made = spaces[0][0]
                for c in range(width):
                    integrations[1][i, y, x0 + c] = pixeldq[y, x0 + c] | dqs[c]
                _store(integrations[0], i, y, x0, made[RATE, :width])
                _store(integrations[2], i, y, x0, made[UNCERTAINTY, :width])
                _store(integrations[3], i, y, x0, made[POISSON, :width])
                _store(integrations[4], i, y, x0, made[READ, :width])
                _store(chisq, i, y, x0, made[CHISQ, :width])


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
