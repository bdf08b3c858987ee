"""Passes of Fourier transforms of IRS2 time series, on vectors, in single and in double precision.

Of each place there is a vector of real parts, then one of imaginary parts. What is done in single precision is rounded
as by NumPy; in double precision, products are added before they are rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.vectors import LANES, fused, load, load_wide, put, spread, spread_wide

__all__ = [
    "PARTS",
    "double_pass_of_eight",
    "double_pass_of_four",
    "eight",
    "four",
    "load_rows",
    "paired_pass_of_eight",
    "product",
    "roots",
    "times",
    "wide_pass_of_eight",
    "wide_pass_of_four",
]

PARTS = 2 * LANES
"""Numbers in a place."""
_LAST = 89
_FACTORS = 14


def roots(turns: Array, number: int) -> Array:
    """Return cosine and sine, along the last axis, of so many of a number of parts of a turn, as float64.

    They are computed with a longer type where the processor has one: errors of factors add up from pass to pass.
    """
    angle = 8 * np.arctan(np.longdouble(1)) * (turns % number / np.longdouble(number))
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float64, copy=False)


@inlined
def load_rows(given: Any, at: Any, step: Any) -> Any:
    """Return eight vectors, with a step from one to the next."""
    a, b, c, d = _load_four(given, at, step)
    e, f, g, h = _load_four(given, at + 4 * step, step)
    return a, b, c, d, e, f, g, h


@inlined
def eight(real: Any, imaginary: Any, root: Any) -> Any:
    """Transform eight values."""
    r0, r1, r2, r3, r4, r5, r6, r7 = real
    i0, i1, i2, i3, i4, i5, i6, i7 = imaginary
    # odd ones
    r1, i1, r5, i5 = r1 + r5, i1 + i5, r1 - r5, i1 - i5
    r3, i3, r7, i7 = r3 + r7, i3 + i7, r3 - r7, i3 - i7
    r7, i7 = -i7, r7
    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    r3, i3 = -i3, r3
    r5, i5, r7, i7 = r5 + r7, i5 + i7, r5 - r7, i5 - i7
    r5, i5 = root * (r5 - i5), root * (i5 + r5)
    r7, i7 = root * (-r7 - i7), root * (r7 - i7)
    # even ones
    r0, i0, r4, i4 = r0 + r4, i0 + i4, r0 - r4, i0 - i4
    r2, i2, r6, i6 = r2 + r6, i2 + i6, r2 - r6, i2 - i6
    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    r6, i6 = -i6, r6
    r4, i4, r6, i6 = r4 + r6, i4 + i6, r4 - r6, i4 - i6
    made = (r0 + r1, r4 + r5, r2 + r3, r6 + r7, r0 - r1, r4 - r5, r2 - r3, r6 - r7)
    return made, (i0 + i1, i4 + i5, i2 + i3, i6 + i7, i0 - i1, i4 - i5, i2 - i3, i6 - i7)


@inlined
def four(real: Any, imaginary: Any) -> Any:
    """Transform four values."""
    r0, r1, r2, r3 = real
    i0, i1, i2, i3 = imaginary
    r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    r3, i3 = -i3, r3
    return (r0 + r1, r2 + r3, r0 - r1, r2 - r3), (i0 + i1, i2 + i3, i0 - i1, i2 - i3)


@inlined
def _load_four(given: Any, at: Any, step: Any) -> Any:
    return load(given, at), load(given, at + step), load(given, at + 2 * step), load(given, at + 3 * step)


@inlined
def _load_wide_four(given: Any, at: Any, step: Any) -> Any:
    """Return four vectors of sixteen."""
    a, b = load_wide(given, at), load_wide(given, at + step)
    return a, b, load_wide(given, at + 2 * step), load_wide(given, at + 3 * step)


@inlined
def _load_wide_rows(given: Any, at: Any, step: Any) -> Any:
    """Return eight vectors of sixteen."""
    a, b, c, d = _load_wide_four(given, at, step)
    e, f, g, h = _load_wide_four(given, at + 4 * step, step)
    return a, b, c, d, e, f, g, h


@inlined
def times(real: Any, imaginary: Any, c: Any, s: Any) -> Any:
    """Multiply complex numbers."""
    return real * c - imaginary * s, real * s + imaginary * c


@inlined
def product(real: Any, imaginary: Any, c: Any, s: Any) -> Any:
    """Multiply complex numbers, rounded as by NumPy where the processor can multiply and add at once."""
    return fused(real, c, -(imaginary * s)), fused(real, s, imaginary * c)


@compiled
def paired_pass_of_eight(values: Array, at: int, step: int, count: int, factors: Array, use: int, root: Any) -> None:
    """Do a pass of radix 8 in place, and lay results out as vectors of sixteen.

    Parameters
    ----------
    values : ndarray
        Float32, in places; of two results, real parts are where the first of two values was, imaginary parts where the
        second was.
    at, step : int
        The first place, and the way from one of eight values to the next.
    count : int
        How many neighbouring places are transformed.
    factors : ndarray
        Float32, 14 numbers for each transform.
    use : int
        The first of them.
    root : float32
        Of one half.
    """
    for n in range(count):
        a, w = at + n * PARTS, use + n * _FACTORS
        r, i = eight(load_rows(values, a, step), load_rows(values, a + LANES, step), spread(root))
        put(values, a, r[0])
        put(values, a + step, i[0])
        for m in range(1, 8):
            x, y = times(r[m], i[m], spread(factors[w + 2 * m - 2]), spread(factors[w + 2 * m - 1]))
            to = a + m // 2 * 2 * step + m % 2 * LANES
            put(values, to, x)
            put(values, to + step, y)


@compiled
def wide_pass_of_eight(
    given: Array,
    at: int,
    beside: int,
    step: int,
    count: int,
    factors: Array,
    use: int,
    out: Array,
    to: int,
    jump: int,
    root: Any,
) -> None:
    """Do a pass of radix 8 on vectors of sixteen.

    Parameters
    ----------
    given, out : ndarray
        Float32.
    at, to : int
        The first real part.
    beside : int
        From real to imaginary parts of what is given; in `out`, these are next to each other.
    step, jump : int
        From one of eight values to the next, and from one of eight results to the next.
    count : int
        How many neighbouring places are transformed.
    factors : ndarray
        Float32, 14 numbers for each transform.
    use : int
        The first of them.
    root : float32
        Of one half.
    """
    forth = PARTS if beside > PARTS else 2 * PARTS
    for n in range(count):
        a, c, w = at + n * forth, to + n * 2 * PARTS, use + n * _FACTORS
        r, i = eight(_load_wide_rows(given, a, step), _load_wide_rows(given, a + beside, step), spread_wide(root))
        put(out, c, r[0])
        put(out, c + PARTS, i[0])
        for m in range(1, 8):
            x, y = times(r[m], i[m], spread_wide(factors[w + 2 * m - 2]), spread_wide(factors[w + 2 * m - 1]))
            put(out, c + m * jump, x)
            put(out, c + m * jump + PARTS, y)


@compiled
def wide_pass_of_four(values: Array, at: int, factors: Array) -> None:
    """Do the pass of radix 4 in place, on 89 neighbouring places of sixteen."""
    step = _LAST * 2 * PARTS
    for n in range(_LAST):
        a = at + n * 2 * PARTS
        r, i = four(_load_wide_four(values, a, step), _load_wide_four(values, a + PARTS, step))
        put(values, a, r[0])
        put(values, a + PARTS, i[0])
        for m in range(1, 4):
            w = 6 * n + 2 * m - 2
            x, y = times(r[m], i[m], spread_wide(factors[w]), spread_wide(factors[w + 1]))
            put(values, a + m * step, x)
            put(values, a + m * step + PARTS, y)


@compiled
def double_pass_of_eight(
    given: Array, at: int, step: int, count: int, factors: Array, use: int, out: Array, to: int, jump: int
) -> None:
    """Do a pass of radix 8 on neighbouring places.

    Parameters
    ----------
    given, at, step, count, factors, use, out, to, jump
        As for `wide_pass_of_eight`, in places; float64.
    """
    root = spread(0.70710678118654752440)
    for n in range(count):
        a, c, w = at + n * PARTS, to + n * PARTS, use + n * _FACTORS
        r, i = eight(load_rows(given, a, step), load_rows(given, a + LANES, step), root)
        put(out, c, r[0])
        put(out, c + LANES, i[0])
        for m in range(1, 8):
            x, y = product(r[m], i[m], spread(factors[w + 2 * m - 2]), spread(factors[w + 2 * m - 1]))
            put(out, c + m * jump, x)
            put(out, c + m * jump + LANES, y)


@compiled
def double_pass_of_four(values: Array, at: int, count: int, factors: Array) -> None:
    """Do a pass of radix 4 in place, on so many neighbouring places from one on; of one place, without factors."""
    step = count * PARTS
    for n in range(count):
        a = at + n * PARTS
        r, i = four(_load_four(values, a, step), _load_four(values, a + LANES, step))
        put(values, a, r[0])
        put(values, a + LANES, i[0])
        for m in range(1, 4):
            x, y = r[m], i[m]
            if count > 1:
                w = 6 * n + 2 * m - 2
                x, y = product(x, y, spread(factors[w]), spread(factors[w + 1]))
            put(values, a + m * step, x)
            put(values, a + m * step + LANES, y)
