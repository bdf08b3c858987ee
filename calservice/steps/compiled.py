"""`compiled` and `inlined`: the one way in which kernels are compiled; and what Numba lacks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["cache_file", "compiled", "inlined", "larger", "smaller"]

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function with Numba.

    The machine code is kept in the cache next to the source until that, or the source of a part compiled likewise,
    changes. It runs without the GIL, follows NumPy's rules
    for division by zero, and never reorders or contracts floating-point operations: results are the same
    on every machine and equal to those of the same operations in NumPy, but for powers
    (`calservice.steps.numpy_loops`).

    Parameters
    ----------
    function : callable
        A function of the subset of Python that Numba compiles in nopython mode.

    Returns
    -------
    callable
        The dispatcher, which compiles at the first call with each combination of types.
    """
    return cast(F, _compiled()(function))


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of kernels as `compiled` does, such that it becomes part of each kernel which calls it.

    Parameters
    ----------
    function : callable
        As for `compiled`.

    Returns
    -------
    callable
        The dispatcher.
    """
    return _compiled(forceinline=True)(function)


def _compiled(**more: Any) -> Any:
    compile_one = numba.njit(cache=True, nogil=True, error_model="numpy", **more)

    def compile_with_parts(function: Callable[..., object]) -> Any:
        made = compile_one(function)
        file = cache_file(made)
        if file is not None:
            known = [cache_file(function.__globals__.get(name)) for name in function.__code__.co_names]
            stamps = [part._source_stamp for part in known if part is not None]
            file._source_stamp = frozenset({file._source_stamp}).union(*stamps)
            file._load_index = _tolerant(file._load_index)
        return made

    return compile_with_parts


def _tolerant(load: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that loads the index of a cache, or an empty one instead of that of an earlier version.

    That may name types of modules that are no longer there, which is found before their source is compared.
    """

    def loaded() -> Any:
        try:
            return load()
        except (ImportError, AttributeError):
            return {}

    return loaded


def cache_file(function: Any) -> Any:
    """Return the index of what Numba's cache holds of a function, whose stamp tells whether it is up to date.

    Of itself Numba looks at the file of the function alone: what it calls could change without it.
    """
    return getattr(getattr(function, "_cache", None), "_cache_file", None)


def _of_two(name: str) -> Any:
    """Return a function for kernels that is one instruction of the processor for each vector of numbers."""
    insert: Any = cgutils.get_or_insert_function

    def typed(context: Any, a: Any, b: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number = context.get_value_type(signature.return_type)
            kind = f"llvm.{name}.f{signature.return_type.bitwidth}"
            function = insert(builder.module, ir.FunctionType(number, [number, number]), kind)
            return builder.call(function, args, fastmath=("nnan", "nsz"))

        return a(a, a), build

    return intrinsic(typed)


# A loop that stores `b if b < a else a` where it read `a` becomes one of masked stores, which take tens of cycles on
# some processors (AMD Zen: vmaskmovps); these do not.
smaller = _of_two("minnum")
"""The smaller one of two floating-point numbers of one type, of which none is NaN: ``smaller(a, b)``."""
larger = _of_two("maxnum")
"""The larger one of two floating-point numbers of one type, of which none is NaN: ``larger(a, b)``."""
