"""NumPy's own powers for kernels, without the GIL.

NumPy computes powers by the vector instructions of the processor, whose last digit depends on them: with AVX-512 about
one power in twenty is not that of the C library, which Numba calls. Where a last digit decides, kernels have to take
what NumPy makes on the same machine. So they call the loop behind `numpy.power`, which is part of the C interface of
universal functions (``PyUFuncObject`` in NumPy's C API reference).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["power_loop", "powers"]


class _UFunc(ctypes.Structure):
    """The beginning of ``PyUFuncObject``."""

    _fields_ = (
        ("head", ctypes.c_char * object.__basicsize__),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
    )


def power_loop() -> Array:
    """Return where NumPy's loop for powers of float64 is, and what it is to be given: (2,) int64, for `powers`."""
    place = np.power.types.index("dd->d")
    loops = _UFunc.from_address(id(np.power))
    return np.array([loops.functions[place], loops.data[place] or 0], np.int64)


def _call_of_loop(context: Any, loop: Any, data: Any, base: Any, exponent: Any, out: Any) -> Any:
    """Call a loop at an address for all numbers of an array and one exponent, an array of one number."""
    room: Any = cgutils.alloca_once

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(64)
        kinds = (byte.as_pointer(), number.as_pointer(), number.as_pointer(), byte)
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        arrays = [
            context.make_array(kind)(context, builder, one)
            for kind, one in zip(signature.args[2:], args[2:], strict=True)
        ]
        places, length, steps = (room(builder, kind, size) for kind, size in ((byte, 3), (number, 1), (number, 3)))
        builder.store(arrays[0].nitems, length)
        for n, (array, step) in enumerate(zip(arrays, (8, 0, 8), strict=True)):
            builder.store(builder.bitcast(array.data, byte), builder.gep(places, [number(n)]))
            builder.store(number(step), builder.gep(steps, [number(n)]))
        builder.call(function, [places, length, steps, builder.inttoptr(args[1], byte)])
        return context.get_dummy_value()

    return types.void(loop, data, base, exponent, out), build


_call: Any = intrinsic(_call_of_loop)


@compiled
def powers(base: Array, exponent: float, loop: Array, out: Array) -> None:
    """Raise numbers to a power as ``base ** exponent`` does in NumPy.

    Parameters
    ----------
    base : ndarray
        (number,) float64, contiguous.
    exponent : float
        Neither of -1, 0, 0.5, 1 and 2, for which NumPy has other ways.
    loop : ndarray
        From `power_loop`, of this process.
    out : ndarray
        As ``base``; filled.
    """
    _call(loop[0], loop[1], base, np.array([exponent]), out)
