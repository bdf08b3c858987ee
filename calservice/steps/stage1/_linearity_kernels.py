"""Compiled loops of the linearity step, row by row so that a row's coefficients stay in the cache."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import SATURATED
from calservice.steps.compiled import compiled, inlined

__all__ = ["correct_groups", "correct_images", "correct_reads", "settle_coefficients"]


@inlined
def _evaluate(values: Array, flags: Array, coefficients: Array, y: int, out: Array) -> None:
    """Evaluate row ``y``'s polynomials (Horner's scheme) in the precision of ``out``, few passes over the row.

    Values that ``flags`` tell to be saturated stay as they are; each pass puts them back, and the last one counts.
    """
    left = coefficients.shape[0] - 1
    if left >= 4:
        a, b, c, d = (
            coefficients[left, y],
            coefficients[left - 1, y],
            coefficients[left - 2, y],
            coefficients[left - 3, y],
        )
        e = coefficients[left - 4, y]
        for x in range(values.shape[0]):
            v = values[x]
            made = (((a[x] * v + b[x]) * v + c[x]) * v + d[x]) * v + e[x]
            out[x] = v if flags[x] & SATURATED else made
        left -= 4
    elif left >= 2:
        a, b, c = coefficients[left, y], coefficients[left - 1, y], coefficients[left - 2, y]
        for x in range(values.shape[0]):
            v = values[x]
            made = (a[x] * v + b[x]) * v + c[x]
            out[x] = v if flags[x] & SATURATED else made
        left -= 2
    else:
        a, b = coefficients[1, y], coefficients[0, y]
        for x in range(values.shape[0]):
            v = values[x]
            made = a[x] * v + b[x]
            out[x] = v if flags[x] & SATURATED else made
        left -= 1
    while left >= 2:
        a, b = coefficients[left - 1, y], coefficients[left - 2, y]
        for x in range(values.shape[0]):
            v = values[x]
            made = (out[x] * v + a[x]) * v + b[x]
            out[x] = v if flags[x] & SATURATED else made
        left -= 2
    if left:
        a = coefficients[0, y]
        for x in range(values.shape[0]):
            v = values[x]
            made = out[x] * v + a[x]
            out[x] = v if flags[x] & SATURATED else made


@compiled
def settle_coefficients(coefficients: Array, flags: Array, flag: np.uint32, pixeldq: Array) -> None:
    """Replace polynomials that cannot be used by those that change nothing, and flag the pixels.

    Parameters
    ----------
    coefficients : ndarray
        (order + 1, row, column) float32; changed.
    flags : ndarray
        (row, column) uint32: pixels with ``flag`` have no polynomial, and are not flagged again.
    flag : uint32
        For pixels with a NaN among the coefficients, or no linear term.
    pixeldq : ndarray
        (row, column) uint32; changed.
    """
    ncols = flags.shape[1]
    bad = np.empty(ncols, np.bool_)
    for y in range(flags.shape[0]):
        given, made, some = flags[y], pixeldq[y], False
        for x in range(ncols):
            bad[x] = coefficients[1, y, x] == 0
        for j in range(coefficients.shape[0]):
            for x in range(ncols):
                bad[x] |= np.isnan(coefficients[j, y, x])
        for x in range(ncols):
            declared = (given[x] & flag) != 0
            made[x] |= flag if bad[x] and not declared else np.uint32(0)
            bad[x] |= declared
            some |= bad[x]
        if some:
            for j in range(coefficients.shape[0]):
                neutral = np.float32(1 if j == 1 else 0)
                for x in range(ncols):
                    coefficients[j, y, x] = neutral if bad[x] else coefficients[j, y, x]


@compiled
def correct_groups(data: Array, groupdq: Array, forward: Array) -> None:
    """Correct groups in place; saturated ones stay as they are. All in float32."""
    nints, ngroups, nrows, ncols = data.shape
    row = np.empty(ncols, np.float32)
    for y in range(nrows):
        for i in range(nints):
            for g in range(ngroups):
                values = data[i, g, y]
                for x in range(ncols):
                    row[x] = values[x]
                _evaluate(row, groupdq[i, g, y], forward, y, values)


@compiled
def correct_images(images: Array, forward: Array) -> Array:
    """Return corrected images (integration, row, column), float32."""
    made, none = np.empty_like(images), np.zeros(images.shape[2], np.uint8)
    for y in range(images.shape[1]):
        for i in range(images.shape[0]):
            _evaluate(images[i, y], none, forward, y, made[i, y])
    return made


@compiled
def _rates(data: Array, groupdq: Array, forward: Array, y: int, nframes: int, base: Array, rate: Array) -> None:
    """Estimate a row's linear counts at the first group and counts a read, from one integration.

    The rate is that between the first group and the last but one of those that are not saturated.
    """
    ngroups, ncols = data.shape[0], data.shape[2]
    last = np.empty(ncols, np.float32)
    late = np.empty(ncols, np.int64)
    linear, none = np.empty(ncols, np.float32), np.zeros(ncols, np.uint8)
    for x in range(ncols):
        count = 0
        for g in range(ngroups):
            count += (groupdq[g, y, x] & SATURATED) == 0
        late[x] = max(count - 1, 2) - 1
        last[x] = data[late[x], y, x]
    _evaluate(data[0, y], none, forward, y, base)
    _evaluate(last, none, forward, y, linear)
    for x in range(ncols):
        if (groupdq[0, y, x] & SATURATED) != 0:
            base[x] = data[0, y, x]
        if (groupdq[late[x], y, x] & SATURATED) != 0:
            linear[x] = last[x]
        rate[x] = np.float64(np.float32(linear[x] - base[x])) / np.float64(late[x] * nframes)


@compiled
def correct_reads(data: Array, groupdq: Array, forward: Array, inverse: Array, nframes: int) -> None:
    """Correct groups in place, each taken apart into its reads; intermediate values in float64."""
    nints, ngroups, nrows, ncols = data.shape
    base, rate = np.empty(ncols, np.float32), np.empty(ncols, np.float64)
    linear, total = np.empty(ncols, np.float64), np.empty(ncols, np.float64)
    none = np.zeros(ncols, np.uint8)
    reads = np.empty((nframes, ncols), np.float64)
    middle = (nframes + 1) / 2.0
    for y in range(nrows):
        for i in range(nints):
            _rates(data[i], groupdq[i], forward, y, nframes, base, rate)
            for g in range(ngroups):
                total[:] = 0
                for r in range(nframes):
                    since = (g * nframes + r + 1) - middle
                    for x in range(ncols):
                        linear[x] = base[x] + rate[x] * since
                    _evaluate(linear, none, inverse, y, reads[r])
                    for x in range(ncols):
                        total[x] += reads[r, x]
                for x in range(ncols):
                    linear[x] = data[i, g, y, x] - total[x] / nframes
                total[:] = 0
                for r in range(nframes):
                    for x in range(ncols):
                        reads[r, x] += linear[x]
                    _evaluate(reads[r].copy(), none, forward, y, reads[r])
                    for x in range(ncols):
                        total[x] += reads[r, x]
                for x in range(ncols):
                    saturated = (groupdq[i, g, y, x] & SATURATED) != 0
                    value = np.float32(total[x] / nframes)
                    data[i, g, y, x] = data[i, g, y, x] if saturated else value
