"""Vectors of numbers in kernels: what a register of the processor holds, with the order of operations as it is written.

Loops that the compiler is to vectorise must be long; transforms have short ones. Here a vector is a value of its own,
with operators that act on each of its numbers. Processors with smaller registers compute the same in parts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, datamodel, imputils, types, typing
from numba.core.typing import templates
from numba.extending import intrinsic, register_model

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined

__all__ = [
    "LANES",
    "SPARE",
    "aligned",
    "alternate",
    "backwards",
    "different",
    "exchange",
    "fused",
    "load",
    "load_wide",
    "put",
    "rounded",
    "spread",
    "spread_wide",
    "transposed",
    "where_seen",
    "widened",
]

LANES = 8
"""Numbers in a vector, unless it is said otherwise."""
_LINE = 64
"""Bytes of a line of the processor's cache, and of the largest vectors."""
SPARE = 16
"""Numbers more than are needed, in memory that is to be aligned."""
# Numba has few annotations.
_datamodel: Any = datamodel
_imputils: Any = imputils
_templates: Any = templates
_types: Any = types
_typing: Any = typing
_register: Any = register_model
_NUMBERS = {32: ir.FloatType(), 64: ir.DoubleType()}


@compiled
def aligned(memory: Array) -> Array:
    """Return all but `SPARE` numbers of an array, from the first line of the cache on: no vector lies in two lines."""
    first = -memory.ctypes.data % _LINE // memory.itemsize
    return memory[first : first + memory.size - SPARE]


def _instruction(function: Callable[..., Any]) -> Any:
    return intrinsic(function)


class _Vector(_types.Type):  # type: ignore[misc]
    """Type of some numbers of one type."""

    def __init__(self, number: Any, count: int) -> None:
        self.number, self.count = number, count
        super().__init__(name=f"Vector({number}, {count})")

    @property
    def made_of(self) -> ir.Type:
        return ir.VectorType(_NUMBERS[self.number.bitwidth], self.count)


@_register(_Vector)
class _VectorModel(_datamodel.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: _Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.made_of)


@_templates.infer_global(operator.add)
@_templates.infer_global(operator.sub)
@_templates.infer_global(operator.mul)
class _OfTwo(_templates.AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        alike = len(args) == 2 and isinstance(args[0], _Vector) and args[0] == args[1]
        return _typing.signature(args[0], *args) if alike else None


@_templates.infer_global(operator.neg)
class _OfOne(_templates.AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        return _typing.signature(args[0], *args) if len(args) == 1 and isinstance(args[0], _Vector) else None


def _lower(function: Any, name: str, number: int) -> None:
    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args)

    _imputils.lower_builtin(function, *([_Vector] * number))(build)


_lower(operator.add, "fadd", 2)
_lower(operator.sub, "fsub", 2)
_lower(operator.mul, "fmul", 2)
_lower(operator.neg, "fneg", 1)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    found = context.make_array(kind)(context, builder, array)
    return builder.bitcast(builder.gep(found.data, [index]), vector.as_pointer())


def _loader(count: int) -> Any:
    def typed(context: Any, array: Any, index: Any) -> Any:
        number = array.dtype
        made = _Vector(number, count)

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            found = builder.load(_pointer(context, builder, sig.args[0], args[0], args[1], made.made_of))
            found.align = number.bitwidth // 8
            return found

        return made(array, _types.intp), build

    return _instruction(typed)


load = _loader(LANES)
"""The vector of numbers that begins at an index of a contiguous array of one dimension: ``load(array, index)``."""
load_wide = _loader(2 * LANES)
"""The same of twice as many numbers."""


@_instruction
def put(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Store a vector at an index of a contiguous array of one dimension: ``put(array, index, vector)``."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to = _pointer(context, builder, sig.args[0], args[0], args[1], vector.made_of)
        builder.store(args[2], to).align = vector.number.bitwidth // 8
        return context.get_dummy_value()

    return _types.void(array, _types.intp, vector), build


@_instruction
def rounded(context: Any, vector: Any) -> Any:
    """Convert a vector to single precision: ``rounded(vector)``."""
    made = _Vector(_types.float32, vector.count)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptrunc(args[0], made.made_of)

    return made(vector), build


@_instruction
def widened(context: Any, vector: Any) -> Any:
    """Convert a vector to double precision: ``widened(vector)``."""
    made = _Vector(_types.float64, vector.count)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(args[0], made.made_of)

    return made(vector), build


def _spreader(count: int) -> Any:
    def typed(context: Any, number: Any) -> Any:
        made = _Vector(number, count)

        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = made.made_of
            first = builder.insert_element(ir.Constant(kind, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), made.count), [0] * made.count)
            return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)

        return made(number), build

    return _instruction(typed)


spread = _spreader(LANES)
"""The vector all of whose numbers are one: ``spread(number)``."""
spread_wide = _spreader(2 * LANES)
"""The same of twice as many numbers."""


@_instruction
def fused(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.fma.v{a.count}f{a.number.bitwidth}"
        kind = ir.FunctionType(a.made_of, [a.made_of] * 3)
        function: Any = cgutils.get_or_insert_function
        return builder.call(function(builder.module, kind, name), args)

    return a(a, a, a), build


@_instruction
def backwards(context: Any, vector: Any) -> Any:
    """Return the numbers of a vector in reverse order."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        order = list(range(vector.count))[::-1]
        return _shuffled(builder, args[0], args[0], order)

    return vector(vector), build


def _shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


@_instruction
def alternate(context: Any, vector: Any) -> Any:
    """Return the even and the odd numbers of a vector, a tuple."""
    made = _Vector(vector.number, vector.count // 2)

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = [_shuffled(builder, args[0], args[0], list(range(n, vector.count, 2))) for n in range(2)]
        return context.make_tuple(builder, sig.return_type, parts)

    return _types.UniTuple(made, 2)(vector), build


@_instruction
def different(context: Any, a: Any, b: Any) -> Any:
    """Return which of eight numbers of two vectors differ, as bits, from the lowest on."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(builder.fcmp_ordered("!=", *args), ir.IntType(LANES))
        return builder.zext(bits, ir.IntType(64))

    return _types.int64(a, a), build


def _of_two(comparison: str) -> Any:
    def typed(context: Any, a: Any, b: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return a(a, b), build

    return _instruction(typed)


_lesser, _greater = _of_two("<"), _of_two(">=")


@inlined
def exchange(values: Any, first: Any, second: Any, count: Any) -> Any:
    """Put the smaller ones of neighbouring numbers at one place in an array, and the others at another place.

    ``values`` is contiguous, of one dimension and without NaN; so many numbers begin at ``first`` and at ``second``.
    """
    whole = count // (2 * LANES) * (2 * LANES)
    for n in range(0, whole, 2 * LANES):
        a, b = load_wide(values, first + n), load_wide(values, second + n)
        put(values, first + n, _lesser(a, b))
        put(values, second + n, _greater(a, b))
    for n in range(whole, count):
        a, b = values[first + n], values[second + n]
        values[first + n], values[second + n] = (a, b) if a < b else (b, a)


@_instruction
def where_seen(context: Any, seen: Any, vector: Any) -> Any:
    """Return the numbers of a vector where those of another one are not zero, and zero elsewhere."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zeros = ir.Constant(seen.made_of, [0.0] * seen.count)
        return builder.select(builder.fcmp_unordered("!=", args[0], zeros), args[1], zeros)

    return vector(seen, vector), build


@_instruction
def transposed(context: Any, rows: Any) -> Any:
    """Turn as many vectors as each has numbers, a tuple, to those of their first numbers, second numbers, and so on."""

    def build(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = len(rows)
        found = [builder.extract_value(args[0], n) for n in range(count)]
        half = count // 2
        # each of log2(count) rounds interleaves the first half of the vectors with the second half
        low = [place for n in range(half) for place in (n, count + n)]
        high = [place + half for place in low]
        while half:
            middle = count // 2
            found = [
                _shuffled(builder, found[n], found[n + middle], order) for n in range(middle) for order in (low, high)
            ]
            half //= 2
        made = ir.Constant(args[0].type, ir.Undefined)
        for n, vector in enumerate(found):
            made = builder.insert_value(made, vector, n)
        return made

    return rows(rows), build
