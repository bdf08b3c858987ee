"""Memory for large arrays: fresh from the system, or handed on from one use to the next."""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from calservice.model.block import Array

__all__ = ["Rooms", "fresh"]

_LARGE = 4 * 2**20
"""Bytes from which on an array of zeros gets memory of its own."""
_WASTE = 2
"""By how much memory may be larger than what is put into it."""


def fresh(shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Return zeros, large ones in memory fresh from the system: in huge pages, and zero without being written.

    The C library may give memory that was in use, of blocks, which NumPy then writes zeros to while threads wait; and
    the first touch of small pages can take longer than all of the computing.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _LARGE:
        return np.zeros(shape, kind)
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, kind).reshape(shape)


class Rooms:
    """Memory that uses hand on to each other: new memory costs a page fault each few thousand bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Array] = []

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Return an array with anything in it."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        with self._lock:
            fitting = [room for room in self._free if size <= room.size <= _WASTE * size]
            room = min(fitting, key=lambda room: room.size) if fitting else None
            self._free = [other for other in self._free if other is not room]
        if room is None:
            room = fresh((size,), np.uint8)
        made: Array = room[:size].view(kind).reshape(shape)
        return made

    def give(self, array: Array) -> None:
        """Take an array back that `take` gave, and that nobody looks at any more."""
        room = array
        while isinstance(room.base, np.ndarray):
            room = room.base
        with self._lock:
            self._free.append(room.view(np.uint8).reshape(-1))
