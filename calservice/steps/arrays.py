"""Small helpers that bring arrays into the form that kernels compute with."""

from __future__ import annotations

from typing import Any

import numpy as np

from calservice.model.block import Array

__all__ = ["group_flags", "in_line", "narrow_in_line", "owned", "owned_image"]

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


def narrow_in_line(array: Array) -> Array:
    """Return `in_line` of images of few columns; others as they are."""
    return in_line(array) if array.shape[-1] < _NARROW else array
