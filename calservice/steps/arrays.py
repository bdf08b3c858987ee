"""Small helpers that bring arrays into the form that kernels compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array

__all__ = ["group_flags", "in_line", "lines", "narrow_in_line", "owned", "owned_image"]

_NARROW = 64
"""Columns of images along whose rows loops take longer to begin than to run."""


def owned(array: Array, dtype: type[np.generic] | np.dtype[Any]) -> Array:
    """Return a writable, contiguous copy in native byte order.

    Compiled kernels are specialised by memory layout and mutability; handing them nothing but such
    copies keeps one specialisation a kernel. The copy is of one block's part of a reference.

    Parameters
    ----------
    array : ndarray
        Any layout and byte order, memory maps included.
    dtype : dtype
        Type of the result.

    Returns
    -------
    ndarray
        A new array.
    """
    return np.array(array, dtype=dtype, order="C", copy=True)


def owned_image(array: Array | None, shape: tuple[int, int], dtype: type[np.generic]) -> Array:
    """Return `owned` of an image, or zeros of the given shape where there is none."""
    return np.zeros(shape, dtype) if array is None else owned(array, dtype)


def group_flags(flags: Array) -> Array:
    """Return the lowest eight bits of flags, which are those that groups have, as uint8."""
    return np.asarray(flags & 0xFF, dtype=np.uint8)


def in_line(array: Array) -> Array:
    """Return a view of contiguous images as images of a single row."""
    return array.reshape(*array.shape[:-2], 1, -1) if array.size else array


def lines(*arrays: Array) -> tuple[tuple[Array, ...], int]:
    """Return images of equal shape as images of a single row, and the place at which they begin in that.

    Whole rows of larger images are not copied: then that is the row of the larger ones.
    """
    found, begins = zip(*map(_whole_rows, arrays), strict=True)
    if len(set(begins)) > 1:
        found, begins = tuple(map(np.ascontiguousarray, arrays)), (0,)
    return tuple(map(in_line, found)), begins[0]


def _whole_rows(array: Array) -> tuple[Array, int]:
    """Return contiguous images, and where in them those of an array begin, which has some of their rows: or a copy."""
    whole = array.base
    if array.flags.c_contiguous or not isinstance(whole, np.ndarray) or whole.ndim != array.ndim:
        return np.ascontiguousarray(array), 0
    sizes, wanted = ((*a.shape[:-2], a.shape[-1], *a.strides, a.dtype) for a in (whole, array))
    if sizes != wanted or not (whole.flags.c_contiguous and whole.flags.writeable):
        return np.ascontiguousarray(array), 0
    before, begin = (int(a.__array_interface__["data"][0]) for a in (whole, array))
    return whole, (begin - before) // array.itemsize


def narrow_in_line(array: Array) -> Array:
    """Return `in_line` of images of few columns; others as they are."""
    return in_line(array) if array.shape[-1] < _NARROW else array
