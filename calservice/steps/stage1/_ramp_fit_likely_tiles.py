"""Compiled recurrences of the likelihood fit for a tile of ramps, and what chi-squared is without some differences.

Names of quantities are those of Brandt 2024a, b (PASP 136, 045004 and 045005), whose equations are given by number.
Arrays are (difference, pixel), float64; the inner loops run over pixels.
"""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled
from calservice.steps.numpy_loops import powers

__all__ = [
    "CHISQ",
    "POISSON",
    "RATE",
    "READ",
    "TILE",
    "UNCERTAINTY",
    "fit_tile",
    "largest_falls",
    "leave_out",
    "omit_one",
    "omit_two",
    "variances",
    "workspace",
]

TILE = 64
_RESCALED = 10
"""Differences after which determinants are brought back to 1, lest they overflow."""

# Rows of the results of a tile.
RATE, CHISQ, UNCERTAINTY, POISSON, READ, _A, _B, _C, _SCALE, _BASE, _SQUARE = range(11)
# Arrays of the workspace; later ones take the room of those that are not needed any more.
_MADE, _ALPHA, _BETA, _THETA, _PHI, _SUM_THETA, _SUM_THETA_D, _SUM_PHI, _SUM_PHI_D, _DB, _DC = range(11)
_INVERSE, _BESIDE, _ONE, _ONE_RATE, _TWO, _TWO_RATE = range(11, 17)


@compiled
def workspace(n: int) -> tuple[Array, ...]:
    """Return the arrays that a tile of ramps of ``n`` differences is worked on in."""
    a = (np.zeros((11, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)))
    b = (np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)))
    c = (np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)))
    d = (np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)), np.zeros((n + 2, TILE)))
    return (*a, *b, *c, *d, np.zeros((n + 2, TILE)))


@compiled
def _rescale(n: int, width: int, alpha: Array, beta: Array, theta: Array, scale: Array, loop: Array) -> None:
    """Divide the covariance matrix by the factor that makes its determinant 1, which ``scale`` gets."""
    factors = np.empty(TILE)
    for c in range(width):
        theta[0, c], theta[1, c], scale[c] = 1.0, alpha[0, c], 1.0
    for i in range(2, n + 1):
        for c in range(width):
            square = beta[i - 2, c] * beta[i - 2, c] / (scale[c] * scale[c])
            theta[i, c] = alpha[i - 1, c] / scale[c] * theta[i - 1, c] - square * theta[i - 2, c]
        if i % _RESCALED == 0 or i == n:
            powers(theta[i, :width], 1.0 / i, loop, factors[:width])
            for c in range(width):
                factor = factors[c]
                scale[c] *= factor
                rest = theta[i, c] / factor
                theta[i - 1, c] /= rest
                theta[i - 2, c] /= rest / factor
                theta[i, c] = 1.0
    for k in range(n):
        for c in range(width):
            alpha[k, c] /= scale[c]
            beta[k, c] /= scale[c]


@compiled
def _recur(diffs: Array, use: Array, width: int, work: tuple[Array, ...]) -> None:
    """Fill the recurrences along the ramp: theta and phi (38 to 43), and their alternating sums (46 to 48)."""
    n = diffs.shape[0]
    alpha, beta, theta, phi = work[_ALPHA], work[_BETA], work[_THETA], work[_PHI]
    up, up_d, down, down_d = work[_SUM_THETA], work[_SUM_THETA_D], work[_SUM_PHI], work[_SUM_PHI_D]
    for c in range(width):
        theta[0, c], theta[1, c], phi[n, c], phi[n - 1, c] = 1.0, alpha[0, c], 1.0, alpha[n - 1, c]
        down[n - 1, c], down_d[n - 1, c], up[0, c] = 0.0, 0.0, -1.0
        up_d[0, c], up_d[1, c] = 0.0, -(diffs[0, c] * use[0, c])
    for k in range(2, n + 1):
        for c in range(width):
            square = beta[k - 2, c] * beta[k - 2, c]
            theta[k, c] = alpha[k - 1, c] * theta[k - 1, c] - square * theta[k - 2, c]
    for k in range(n - 2, -1, -1):
        for c in range(width):
            phi[k, c] = alpha[k, c] * phi[k + 1, c] - beta[k, c] * beta[k, c] * phi[k + 2, c]
    for k in range(n - 2, -1, -1):
        sign = -1.0 if k % 2 else 1.0  # that of the next difference; the first is negative
        for c in range(width):
            down[k, c] = down[k + 1, c] * beta[k, c] + sign * beta[k, c] * phi[k + 2, c]
        for c in range(width):
            rise = diffs[k + 1, c] * use[k + 1, c]
            down_d[k, c] = (down_d[k + 1, c] + sign * rise * phi[k + 2, c]) * beta[k, c]
    for k in range(1, n):
        sign = 1.0 if k % 2 else -1.0
        for c in range(width):
            up[k, c] = up[k - 1, c] * beta[k - 1, c] + sign * theta[k, c]
        for c in range(width):
            up_d[k + 1, c] = beta[k - 1, c] * up_d[k, c] + sign * (diffs[k, c] * use[k, c]) * theta[k, c]


@compiled
def _sums(diffs: Array, use: Array, width: int, work: tuple[Array, ...]) -> None:
    """Fill dB, dC (71, 75) and their sums A, B and C (61 to 63)."""
    n = diffs.shape[0]
    made, beta, theta, phi = work[_MADE], work[_BETA], work[_THETA], work[_PHI]
    up, up_d, down, down_d = work[_SUM_THETA], work[_SUM_THETA_D], work[_SUM_PHI], work[_SUM_PHI_D]
    db, dc = work[_DB], work[_DC]
    last = theta[n]
    mixed, own, inverse = np.zeros(TILE), np.zeros(TILE), np.empty(TILE)
    for c in range(width):
        made[_B, c], made[_C, c], inverse[c] = 0.0, 0.0, 1.0 / last[c]
    for k in range(n):
        sign = 1.0 if k % 2 else -1.0
        for c in range(width):
            dc[k, c] = sign * inverse[c] * (phi[k + 1, c] * up[k, c] + theta[k, c] * down[k, c]) * use[k, c]
        for c in range(width):
            db[k, c] = sign * inverse[c] * (phi[k + 1, c] * up_d[k + 1, c] + theta[k, c] * down_d[k, c])
        for c in range(width):
            rise = diffs[k, c] * use[k, c]
            made[_B, c] += rise * dc[k, c]
            own[c] += rise * rise * theta[k, c] * phi[k + 1, c] / last[c]
        for c in range(width):
            made[_C, c] += dc[k, c]
        if k > 0:  # the sum of the alternating thetas before the first difference is 0
            for c in range(width):
                rise = diffs[k, c] * use[k, c]
                mixed[c] += rise * sign / last[c] * beta[k - 1, c] * phi[k + 1, c] * up_d[k, c]
    for c in range(width):
        made[_A, c] = 2.0 * mixed[c] + own[c]


@compiled
def fit_tile(
    diffs: Array, use: Array, given: Array, width: int, expected: tuple[Array, ...], work: tuple[Array, ...]
) -> None:
    """Fit the ramps of a tile.

    Parameters
    ----------
    diffs, use : ndarray
        Differences of groups in DN/s, and 1 for those that are used, else 0.
    given : ndarray
        Rate that the covariance is made for, in DN/s, gain, and read noise of one read in DN, of each pixel.
    width : int
        Pixels.
    expected : tuple of ndarray
        As ``_ramp_fit_likely_kernels.fit_block`` gets them.
    work : tuple of ndarray
        Written: the `workspace`; its first array gets the results, by row.
    """
    n = diffs.shape[0]
    made, alpha, beta = work[_MADE], work[_ALPHA], work[_BETA]
    photons, beside, reads, reads_beside = expected[1], expected[2], expected[3], expected[4]
    for c in range(width):
        made[_BASE, c], made[_SQUARE, c] = given[0, c] / given[1, c], given[2, c] * given[2, c]
    for k in range(n):
        light, read = photons[k], reads[k]
        for c in range(width):
            alpha[k, c] = made[_BASE, c] * light + made[_SQUARE, c] * read
        light, read = beside[k], reads_beside[k]
        for c in range(width):
            beta[k, c] = made[_BASE, c] * light + made[_SQUARE, c] * read
    _rescale(n, width, alpha, beta, work[_THETA], made[_SCALE], expected[5])
    for k in range(n - 1):
        for c in range(width):
            beta[k, c] *= use[k + 1, c] * use[k, c]
    _recur(diffs, use, width, work)
    _sums(diffs, use, width, work)
    for c in range(width):
        made[RATE, c] = made[_B, c] * (1.0 / made[_C, c])
        made[CHISQ, c] = (made[_A, c] - made[_B, c] * made[_B, c] / made[_C, c]) / made[_SCALE, c]


@compiled
def variances(n: int, width: int, expected: tuple[Array, ...], work: tuple[Array, ...]) -> None:
    """Fill the uncertainties of the rates of a fitted tile of ``n`` differences, and their two variances."""
    made, dc = work[_MADE], work[_DC]
    photons, beside, reads, reads_beside = expected[1], expected[2], expected[3], expected[4]
    for c in range(width):
        made[UNCERTAINTY, c] = np.sqrt(made[_SCALE, c] / made[_C, c])
        made[POISSON, c], made[READ, c] = 0.0, 0.0
    for k in range(n):
        light, read = photons[k], reads[k]
        for c in range(width):
            square = dc[k, c] * dc[k, c]
            made[POISSON, c] += square * light
            made[READ, c] += square * read
    for k in range(1, n):
        light, read = beside[k - 1], reads_beside[k - 1]
        for c in range(width):
            product = 2.0 * dc[k, c] * dc[k - 1, c]
            made[POISSON, c] += product * light
            made[READ, c] += product * read
    for c in range(width):
        whole = made[_C, c] * made[_C, c]
        made[POISSON, c] *= made[_BASE, c] / whole
        made[READ, c] *= made[_SQUARE, c] / whole


@compiled
def omit_one(use: Array, width: int, work: tuple[Array, ...]) -> None:
    """Fill rate and chi-squared of the ramps of a fitted tile without each difference."""
    n = use.shape[0]
    made, theta, phi, db, dc = work[_MADE], work[_THETA], work[_PHI], work[_DB], work[_DC]
    inverse, one, rate = work[_INVERSE], work[_ONE], work[_ONE_RATE]
    for k in range(n):
        for c in range(width):
            inverse[k, c] = theta[k, c] * phi[k + 1, c] / theta[n, c] * use[k, c]
        for c in range(width):
            total, product, weight, d = made[_A, c], made[_B, c], made[_C, c], inverse[k, c]
            p, q = dc[k, c], db[k, c]
            a = (d * product - q * p) / (weight * d - p * p)
            b = (q - a * p) / d
            left = total + a * a * weight - 2 * a * product + b * b * d - 2 * b * q + 2 * a * b * p
            used = use[k, c] != 0.0
            rate[k, c] = a if used else made[RATE, c]
            one[k, c] = left / made[_SCALE, c] if used else made[CHISQ, c]


@compiled
def omit_two(use: Array, width: int, work: tuple[Array, ...]) -> None:
    """Fill rate and chi-squared of the ramps of a fitted tile without two neighbouring differences."""
    n = use.shape[0]
    made, beta, theta, phi, db, dc = work[_MADE], work[_BETA], work[_THETA], work[_PHI], work[_DB], work[_DC]
    inverse, beside = work[_INVERSE], work[_BESIDE]
    one, one_rate, two, two_rate = work[_ONE], work[_ONE_RATE], work[_TWO], work[_TWO_RATE]
    for k in range(n - 1):
        for c in range(width):
            beside[k, c] = -beta[k, c] * theta[k, c] * phi[k + 2, c] / theta[n, c]
    for k in range(n - 1):
        for c in range(width):
            total, product, weight = made[_A, c], made[_B, c], made[_C, c]
            p, q, d, off = dc[k, c], db[k, c], inverse[k, c], beside[k, c]
            p2, q2, d2 = dc[k + 1, c], db[k + 1, c], inverse[k + 1, c]
            first, both = p * p - weight * d, p * p2 - weight * off
            rest = product * p - q * weight
            e = rest / first - (product * p2 - q2 * weight) / both
            e /= both / first - (p2 * p2 - weight * d2) / both
            b = (rest - e * both) / first
            a = (product - b * p - e * p2) / weight
            left = total + a * a * weight + b * b * d + e * e * d2
            left -= 2 * a * product + 2 * b * q + 2 * e * q2
            left += 2 * a * b * p + 2 * a * e * p2 + 2 * b * e * off
            two_rate[k, c], two[k, c] = a, left / made[_SCALE, c]
        for c in range(width):
            if use[k, c] == 0.0:
                two_rate[k, c], two[k, c] = one_rate[k + 1, c], one[k + 1, c]
            elif use[k + 1, c] == 0.0:
                two_rate[k, c], two[k, c] = one_rate[k, c], one[k, c]


@compiled
def largest_falls(n: int, width: int, work: tuple[Array, ...], averaged: Array, falls: Array) -> None:
    """Fill by how much chi-squared falls at most without one difference, and without two; NaN if one fall is.

    Two can only be due to one group that is the mean of several reads. All pairs are looked at even so: chi-squared
    without two can be 0 / 0, with few differences left or, where the covariance is that of read noise alone, for single
    pairs of six or seven; the official fit then leaves none out.
    """
    made, one, two = work[_MADE], work[_ONE], work[_TWO]
    for c in range(width):
        falls[0, c] = made[CHISQ, c] - one[0, c]
        falls[1, c] = (made[CHISQ, c] - two[0, c]) * averaged[0]
    for k in range(1, n):
        for c in range(width):
            fall = made[CHISQ, c] - one[k, c]
            falls[0, c] = fall if fall > falls[0, c] or np.isnan(fall) else falls[0, c]
    for k in range(1, n - 1):
        for c in range(width):
            fall = (made[CHISQ, c] - two[k, c]) * averaged[k]
            falls[1, c] = fall if fall > falls[1, c] or np.isnan(fall) else falls[1, c]


@compiled
def leave_out(use: Array, c: int, alone: bool, best: float, work: tuple[Array, ...]) -> float:
    """Leave out the difference, or the two, without which chi-squared of a ramp falls by ``best``.

    Returns
    -------
    float
        The rate without them.
    """
    n = use.shape[0]
    chisq = work[_MADE][CHISQ, c]
    left, rates = (work[_ONE], work[_ONE_RATE]) if alone else (work[_TWO], work[_TWO_RATE])
    rate = 0.0
    for k in range(n if alone else n - 1):
        drop = best == chisq - left[k, c]
        rate += rates[k, c] * (1.0 if drop else 0.0)
        if drop:
            use[k, c] = 0.0
            if not alone:
                use[k + 1, c] = 0.0
    return rate
