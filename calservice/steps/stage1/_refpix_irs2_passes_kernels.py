"""Passes of Fourier transforms of IRS2 time series, on vectors, in single and in double precision."""

from __future__ import annotations

from typing import Any

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_vectors import BYTES, load, put, spread

__all__ = ["eight", "pass_of_eight", "pass_of_four", "times"]

_LAST = 89
_FACTORS = 14


@inlined
def eight(
    r0: Any,
    r1: Any,
    r2: Any,
    r3: Any,
    r4: Any,
    r5: Any,
    r6: Any,
    r7: Any,
    i0: Any,
    i1: Any,
    i2: Any,
    i3: Any,
    i4: Any,
    i5: Any,
    i6: Any,
    i7: Any,
    root: Any,
) -> Any:
    """Transform eight values."""
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
    real = (r0 + r1, r4 + r5, r2 + r3, r6 + r7, r0 - r1, r4 - r5, r2 - r3, r6 - r7)
    return real, (i0 + i1, i4 + i5, i2 + i3, i6 + i7, i0 - i1, i4 - i5, i2 - i3, i6 - i7)


@inlined
def times(real: Any, imaginary: Any, c: Any, s: Any) -> Any:
    return real * c - imaginary * s, real * s + imaginary * c


@inlined
def _turned(real: Any, imaginary: Any, factors: Any, at: Any) -> Any:
    """Multiply vectors by one factor."""
    return times(real, imaginary, spread(factors[at]), spread(factors[at + 1]))


@compiled
def pass_of_eight(
    given: Array,
    at: int,
    step: int,
    count: int,
    forth: int,
    factors: Array,
    use: int,
    out: Array,
    to: int,
    jump: int,
    on: int,
    half_root: Any,
) -> None:
    """Do a pass of radix 8 on vectors.

    Parameters
    ----------
    given, out : ndarray
        Float32. Of each place, real parts come first, then imaginary parts.
    at, to : int
        The first place.
    step, jump : int
        From one of eight values to the next, and from one of eight results to the next.
    count, forth : int
        How many are transformed, and the way from one to the next.
    on : int
        From one of them to the next in `out`.
    factors : ndarray
        Float32, 14 numbers for each transform.
    use : int
        The first of them.
    """
    root = spread(half_root)
    lanes = BYTES // given.itemsize
    for n in range(count):
        a, b, c = at + n * forth, at + n * forth + lanes, to + n * on
        w = use + n * _FACTORS
        r, i = eight(
            load(given, a),
            load(given, a + step),
            load(given, a + 2 * step),
            load(given, a + 3 * step),
            load(given, a + 4 * step),
            load(given, a + 5 * step),
            load(given, a + 6 * step),
            load(given, a + 7 * step),
            load(given, b),
            load(given, b + step),
            load(given, b + 2 * step),
            load(given, b + 3 * step),
            load(given, b + 4 * step),
            load(given, b + 5 * step),
            load(given, b + 6 * step),
            load(given, b + 7 * step),
            root,
        )
        put(out, c, r[0])
        put(out, c + lanes, i[0])
        for m in range(1, 8):
            x, y = _turned(r[m], i[m], factors, w + 2 * m - 2)
            put(out, c + m * jump, x)
            put(out, c + m * jump + lanes, y)


@compiled
def pass_of_four(values: Array, at: int, forth: int, factors: Array) -> None:
    """Do the pass of radix 4 in place, on 89 places from one on."""
    step = _LAST * forth
    lanes = BYTES // values.itemsize
    for n in range(_LAST):
        a, b = at + n * forth, at + n * forth + lanes
        r0, r1, r2, r3 = load(values, a), load(values, a + step), load(values, a + 2 * step), load(values, a + 3 * step)
        i0, i1, i2, i3 = load(values, b), load(values, b + step), load(values, b + 2 * step), load(values, b + 3 * step)
        r0, i0, r2, i2 = r0 + r2, i0 + i2, r0 - r2, i0 - i2
        r1, i1, r3, i3 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
        r3, i3 = -i3, r3
        put(values, a, r0 + r1)
        put(values, b, i0 + i1)
        x, y = _turned(r2 + r3, i2 + i3, factors, 6 * n)
        put(values, a + step, x)
        put(values, b + step, y)
        x, y = _turned(r0 - r1, i0 - i1, factors, 6 * n + 2)
        put(values, a + 2 * step, x)
        put(values, b + 2 * step, y)
        x, y = _turned(r2 - r3, i2 - i3, factors, 6 * n + 4)
        put(values, a + 3 * step, x)
        put(values, b + 3 * step, y)
