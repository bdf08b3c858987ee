"""Values of the forward Fourier transform of IRS2 time series, exactly as NumPy computes them.

Algorithms of the same precision differ in the last digits of double precision. Where a result is as near as that to the
middle between two numbers of single precision, it takes NumPy's order of operations, and its factors, to round it to
the same one. NumPy does passes of radix 8, 8, 8, 8, 4 and 89; for one frequency, one result of each transform of these
radices is needed, so that each pass leaves fewer values. Real and imaginary parts are swapped, as this makes of the
inverse transforms of `_refpix_irs2_passes_kernels` forward ones.

Source: pocketfft (M. Reinecke), which is part of NumPy, as compilers order it for x86-64. Where they multiply and add
at once, as for ARM, its last digits are others.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, LINE, LINES, SIZE
from calservice.steps.stage1._refpix_irs2_passes_kernels import eight, four, load_rows, times
from calservice.steps.vectors import LANES, different, put, rounded, spread, widened

__all__ = ["doubts", "frequency", "note", "numpy_roots", "root", "settle", "tolerance"]

_MOST = 1000
"""Values that are transformed one by one; if there are more, NumPy transforms the series."""
_ERROR = 5e-15
"""By how much two algorithms may differ, relative to the root of the sum of squares of the series, which is what values
of the spectrum of noise are like. Of 2 x 10^7 values of a simulated exposure, the largest difference was 2.7e-15, but
for means of series: these are so large that they are hardly ever next to a middle."""
_LAST = 89
_SHIFT = 10
"""Factors are products of two: of a multiple of two to this, and of what remains."""
_FINE = 1 << _SHIFT
_HALF_ROOT = 0.70710678118654752440


@cache
def numpy_roots() -> tuple[Array, Array]:
    """Return the fine and the coarse roots of unity whose products are NumPy's factors, (n, 2) float64."""
    coarse = range(0, LENGTH // 2 + 1, _FINE)
    return np.array([_exact(n) for n in range(_FINE)]), np.array([_exact(n) for n in coarse])


def _exact(n: int) -> tuple[float, float]:
    """Return cosine and sine of n parts of `LENGTH` of a turn, up to half of it, by way of the first eighth."""
    part = float(np.arctan(np.longdouble(1)) / LENGTH)
    quarters, eighths = divmod(8 * n, 2 * LENGTH)
    past = eighths >= LENGTH
    angle = (2 * LENGTH - eighths if past else eighths) * part
    c, s = math.cos(angle), math.sin(angle)
    c, s = (s, c) if past else (c, s)
    return [(c, s), (-s, c), (-c, -s)][quarters]


def doubts() -> Array:
    """Return memory for frequencies at which rounding is in doubt: how many there are, and which."""
    return np.zeros(1 + _MOST, np.int64)


def tolerance(series: Array) -> float:
    """Return by how much a spectrum may differ from NumPy's."""
    return _ERROR * math.sqrt(float(np.dot(series, series)))


@inlined
def note(real: Any, imaginary: Any, at: Any, error: Any, found: Any) -> Any:
    """Note which of eight neighbouring frequencies have values that such an error may round to other numbers."""
    bits = different(rounded(imaginary - error), rounded(imaginary + error))
    if at == 0:
        # the mean of a series is real
        bits &= ~1
    bits |= different(rounded(real - error), rounded(real + error))
    for n in range(LANES if bits else 0):
        if bits >> n & 1:
            found[0] += 1
            if found[0] < found.size:
                found[found[0]] = at + n


def settle(series: Array, found: Array, factors: Array, memory: Array, out: Array) -> None:
    """Replace values of a spectrum whose rounding is in doubt.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    found : ndarray
        `doubts`, as `note` fills it.
    factors : ndarray
        (LENGTH // 2 + 1,) or (1,) float64: factors of each, or of all.
    memory : ndarray
        (LENGTH,) float64; overwritten.
    out : ndarray
        (2, LINES * LINE) float32: real and imaginary parts, rounded before and after; overwritten.
    """
    if found[0] < found.size:
        frequencies = found[1 : 1 + found[0]]
        values = _frequencies(series, frequencies, *numpy_roots(), memory)
    else:
        frequencies = np.arange(LENGTH // 2 + 1)
        values = np.fft.fft(series)[frequencies].view(np.float32).reshape(-1, 2).T
    made = (values * (factors if factors.size == 1 else factors[frequencies])).astype(np.float32)
    lines, (line, place) = out.reshape(2, LINES, LINE), np.divmod(frequencies, SIZE)
    inside, first = line < LINES, (place == 0) & (line > 0)
    lines[:, line[inside], place[inside]] = made[:, inside]
    lines[:, line[first] - 1, SIZE] = made[:, first]


@compiled
def _frequencies(series: Array, frequencies: Array, fine: Array, coarse: Array, memory: Array) -> Array:
    """Return real and imaginary parts, (2, n) float32, of some frequencies."""
    made = np.empty((2, frequencies.size), np.float32)
    for n in range(frequencies.size):
        made[0, n], made[1, n] = frequency(series, frequencies[n], fine, coarse, memory)
    return made


@inlined
def root(fine: Any, coarse: Any, n: Any) -> Any:
    """Return cosine and sine of n parts of `LENGTH` of a turn, as NumPy computes them; n is from 0 to LENGTH."""
    past = 2 * n > LENGTH
    n = LENGTH - n if past else n
    a, b = n & (_FINE - 1), n >> _SHIFT
    s = fine[a, 0] * coarse[b, 1] + fine[a, 1] * coarse[b, 0]
    return fine[a, 0] * coarse[b, 0] - fine[a, 1] * coarse[b, 1], -s if past else s


@inlined
def _chosen(values: Any, m: Any) -> Any:
    """Return one of eight values."""
    a, b = values[1] if m & 1 else values[0], values[3] if m & 1 else values[2]
    c, d = values[5] if m & 1 else values[4], values[7] if m & 1 else values[6]
    a, b = b if m & 2 else a, d if m & 2 else c
    return b if m & 4 else a


@inlined
def _turn(real: Any, imaginary: Any, step: Any, fine: Any, coarse: Any) -> Any:
    """Multiply values by the factors of a result other than the first."""
    for i in range(1, real.size if step else 0):
        c, s = root(fine, coarse, step * i)
        real[i], imaginary[i] = times(real[i], imaginary[i], c, s)


@compiled
def _first_pass(series: Array, m: int, real: Array, imaginary: Array) -> None:
    """Do one of eight results of a real series, which is given for the imaginary part, without factors."""
    n, zero = real.size, spread(0.0)
    zeros = zero, zero, zero, zero, zero, zero, zero, zero
    for i in range(0, n, LANES):
        a, b, c, d, e, f, g, h = load_rows(series, i, n)
        given = widened(a), widened(b), widened(c), widened(d), widened(e), widened(f), widened(g), widened(h)
        x, y = eight(zeros, given, spread(_HALF_ROOT))
        put(real, i, _chosen(x, m))
        put(imaginary, i, _chosen(y, m))


@compiled
def _pass_of_eight(given_real: Array, given_imaginary: Array, m: int, real: Array, imaginary: Array) -> None:
    """Do one of eight results, without factors."""
    n = real.size
    for i in range(n):
        x, y = given_real[i::n], given_imaginary[i::n]
        x, y = eight(
            (x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]),
            (y[0], y[1], y[2], y[3], y[4], y[5], y[6], y[7]),
            _HALF_ROOT,
        )
        real[i], imaginary[i] = _chosen(x, m), _chosen(y, m)


@compiled
def frequency(series: Array, k: int, fine: Array, coarse: Array, memory: Array) -> tuple[float, float]:
    """Transform a time series to one frequency.

    Parameters
    ----------
    series : ndarray
        (LENGTH,) float32.
    k : int
        The frequency, from 0 to LENGTH - 1.
    fine, coarse : ndarray
        `numpy_roots`.
    memory : ndarray
        (LENGTH,) float64; overwritten.

    Returns
    -------
    tuple of float
        Real and imaginary part.
    """
    rows = memory[: LENGTH // 2].reshape(4, LENGTH // 8)
    count, rest = LENGTH // 8, k
    _first_pass(series, rest % 8, rows[0], rows[1])
    _turn(rows[0], rows[1], rest % 8, fine, coarse)
    given, made, before = 0, 2, 8
    for _ in range(3):
        rest, count = rest // 8, count // 8
        x, y = rows[made, :count], rows[made + 1, :count]
        _pass_of_eight(rows[given, : 8 * count], rows[given + 1, : 8 * count], rest % 8, x, y)
        _turn(x, y, before * (rest % 8), fine, coarse)
        given, made, before = made, given, 8 * before
    rest = rest // 8
    x, y = rows[made, :_LAST], rows[made + 1, :_LAST]
    for i in range(_LAST):
        p, q = rows[given, i::_LAST], rows[given + 1, i::_LAST]
        result = four((p[0], p[1], p[2], p[3]), (q[0], q[1], q[2], q[3]))
        x[i], y[i] = result[0][rest % 4], result[1][rest % 4]
    _turn(x, y, before * (rest % 4), fine, coarse)
    imaginary, real = _one_of_89(x, y, rest // 4, fine, coarse)
    return real, imaginary


@inlined
def _one_of_89(real: Any, imaginary: Any, m: Any, fine: Any, coarse: Any) -> Any:
    """Do one result of the last pass, in which values are added to their mirror images first."""
    a, b, x, y = real[0], imaginary[0], 0.0, 0.0
    near = min(m, _LAST - m)
    for j in range(1, _LAST // 2, 2):
        c, s = root(fine, coarse, j * near % _LAST * (LENGTH // _LAST))
        d, t = root(fine, coarse, (j + 1) * near % _LAST * (LENGTH // _LAST))
        r1, i1, r2, i2 = real[j], imaginary[j], real[j + 1], imaginary[j + 1]
        q1, h1, q2, h2 = real[_LAST - j], imaginary[_LAST - j], real[_LAST - j - 1], imaginary[_LAST - j - 1]
        if m == 0 or j == 1:
            a, b = a + c * (r1 + q1) + d * (r2 + q2), b + c * (i1 + h1) + d * (i2 + h2)
        else:
            a, b = a + (c * (r1 + q1) + d * (r2 + q2)), b + (c * (i1 + h1) + d * (i2 + h2))
        x, y = x - (s * (i1 - h1) + t * (i2 - h2)), y + (s * (r1 - q1) + t * (r2 - q2))
    return (a - x, b - y) if m > near else (a + x, b + y)
