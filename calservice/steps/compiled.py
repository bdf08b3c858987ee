"""`compiled`: the one way in which kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["compiled"]

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function with Numba.

    The machine code is kept in the cache next to the source, runs without the GIL, follows NumPy's rules
    for division by zero, and never reorders or contracts floating-point operations: results are the same
    on every machine and equal to those of the same operations in NumPy.

    Parameters
    ----------
    function : callable
        A function of the subset of Python that Numba compiles in nopython mode.

    Returns
    -------
    callable
        The dispatcher, which compiles at the first call with each combination of types.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
