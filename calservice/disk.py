"""Arrays that stay on disk: windows of them are read and written, and only those are ever in memory."""

from __future__ import annotations

import itertools
import math
import mmap
import operator
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike

from calservice.model.block import Array

__all__ = [
    "DiskArray",
    "DiskTable",
    "Places",
    "as_stored",
    "cut_image",
    "in_parts",
    "looked_up",
    "room_for",
    "scratch_array",
]

_FEW = 16
"""Windows with so many times fewer columns than there are do not have whole rows read."""
_TURNED = 512 * 2**10
"""Bytes whose order is changed at a time: they stay in the cache."""
_MAPPED = 64 * 2**20
"""Bytes of images that are mapped at a time."""

_Lines = tuple[tuple[int, int], ...]
"""Ranges of axes of an array."""


class Places(NamedTuple):
    """Where images of a window are in a file.

    Attributes
    ----------
    file : int
        Its descriptor.
    offsets : ndarray
        Where the rows of each image begin, in bytes.
    first : int
        The first of their columns that is in the window.
    shape : tuple of int
        Of the rows of an image, with all columns.
    """

    file: int
    offsets: Array
    first: int
    shape: tuple[int, int]


class DiskArray:
    """An array in a file.

    Windows are read image by image, whole rows at a time, and not from a mapping of the file, whose pages would count
    as memory of the process.

    Parameters
    ----------
    file : str, Path or file
        Where it is.
    dtype : dtype
        Type and byte order of what is stored.
    shape : sequence of int
        Its shape.
    offset : int
        Where it begins in the file, in bytes.
    unsigned : bool
        Whether signed integers stand for unsigned ones, which are larger by half their range, as in FITS.
    """

    _tables: Array | None = None
    _beside: Mapping[tuple[int, int], dict[_Lines, Array]] = MappingProxyType({})
    """Ranges of a few columns that are read together, and what was read of each."""
    _memory: tuple[_Lines, Array] | None = None
    """Ranges of all axes that are in memory, and what is stored there."""

    def __init__(
        self,
        file: str | Path | IO[bytes],
        dtype: DTypeLike,
        shape: Sequence[int],
        offset: int = 0,
        *,
        unsigned: bool = False,
    ) -> None:
        opened = open(file, "rb") if isinstance(file, str | Path) else file  # noqa: SIM115 - as long as the array
        self._file = opened
        self._stored = np.dtype(dtype)
        self._offset = offset
        self._unsigned = unsigned
        self._whole = tuple(shape)
        self._part = tuple((0, n) for n in shape)
        self.dtype = np.dtype(f"u{self._stored.itemsize}") if unsigned else self._stored.newbyteorder("=")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return tuple(stop - start for start, stop in self._part)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._part)

    @property
    def offset(self) -> int:
        """Where the whole of what it is a part of begins in the file."""
        return self._offset

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes, were it in memory."""
        return self.size * self.dtype.itemsize

    def cut(self, rows: slice, columns: slice) -> DiskArray:
        """Return some rows and columns of its images, without reading them."""
        made = copy(self)
        made._part, _ = self._ranges((..., rows, columns))
        return made

    def held(self, window: Any, room: Callable[[Sequence[int], DTypeLike], Array] = np.empty) -> DiskArray:
        """Return it with a window of it, with all columns, read at once, for many small windows inside of that.

        Parameters
        ----------
        window : slices
            The window.
        room : callable
            Gives the memory for it, by shape and type.
        """
        ranges, _ = self._ranges(window)
        wide = (*ranges[:-1], (0, self._whole[-1]))
        made = copy(self)
        made._memory = wide, self._stored_ranges(wide, room)
        return made

    def let_go(self) -> Array | None:
        """Return the memory of what is `held`, which then must not be asked for any more."""
        memory, self._memory = self._memory, None
        return None if memory is None else memory[1]

    def in_memory(self, window: Sequence[slice]) -> Array | None:
        """Return a view of what is stored in a window, where that is `held`."""
        ranges, _ = self._ranges(tuple(window))
        return self._in_memory(ranges)

    def beside(self, columns: Sequence[tuple[int, int]]) -> DiskArray:
        """Return it with some ranges of columns read together: what is read for one is kept for the others.

        It is for one thread, and for few columns: others are read as ever.
        """
        origin = self._part[-1][0]
        made = copy(self)
        made._beside = {(origin + start, origin + stop): {} for start, stop in columns}
        return made

    def translated(self, tables: Array) -> DiskArray:
        """Return it with other values in place of the stored ones.

        Parameters
        ----------
        tables : ndarray
            For each byte of a stored number, the least significant first, what stands for its 256 values; those of
            its bytes are combined with "or".
        """
        made = copy(self)
        made._tables = tables.astype(self.dtype)
        return made

    def _ranges(self, window: Any) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
        """Return the range of each axis of what is stored that a window covers, and the axes that it leaves out."""
        told = window if isinstance(window, tuple) else (window,)
        if Ellipsis in told:
            n = told.index(Ellipsis)
            told = (*told[:n], *[slice(None)] * (self.ndim - len(told) + 1), *told[n + 1 :])
        ranges, left_out = list(self._part), []
        for axis, (one, (origin, _), length) in enumerate(zip(told, self._part, self.shape, strict=False)):
            if isinstance(one, slice):
                start, stop, step = one.indices(length)
                if step != 1:
                    raise IndexError(f"an array on disk is read in windows without gaps, not {window}")
                ranges[axis] = origin + start, origin + max(start, stop)
            else:
                place = operator.index(one) % length
                ranges[axis] = origin + place, origin + place + 1
                left_out.append(axis)
        return tuple(ranges), tuple(left_out)

    def _pieces(self, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield the place of each image in a window, and its place in the file."""
        lengths = [math.prod(self._whole[axis + 1 :]) for axis in range(len(self._whole))]
        images = [range(start, stop) for start, stop in ranges[:-2]]
        start = ranges[-2][0] * lengths[-2] if len(ranges) > 1 else 0
        for numbers in itertools.product(*images):
            elements = sum(n * length for n, length in zip(numbers, lengths, strict=False)) + start
            place = tuple(n - first for n, (first, _) in zip(numbers, ranges, strict=False))
            yield place, self._offset + elements * self._stored.itemsize

    @property
    def kept_as(self) -> str | None:
        """Type and byte order of what is stored, with ``u`` before it if it is unsigned; None of translated values."""
        return None if self._tables is not None else "u" * self._unsigned + self._stored.str

    def places(self, window: Sequence[slice]) -> Places | None:
        """Return where the images of a window are in the file, for kernels that read them; None if rows are not whole.

        That is where they are in memory, or so narrow that whole rows would be a waste.
        """
        ranges, _ = self._ranges(tuple(window))
        (top, bottom), (left, right) = ranges[-2:]
        if self._memory is not None or (right - left) * _FEW < self._whole[-1]:
            return None
        offsets = np.array([offset for _, offset in self._pieces(ranges)], np.int64)
        return Places(self._file.fileno(), offsets, left, (bottom - top, self._whole[-1]))

    def _in_memory(self, ranges: Sequence[tuple[int, int]]) -> Array | None:
        """Return a view of what is stored in a range of each axis, where that is in memory."""
        if self._memory is None:
            return None
        kept, stored = self._memory
        if any(start < first or stop > last for (start, stop), (first, last) in zip(ranges, kept, strict=True)):
            return None
        places = zip(ranges, kept, strict=True)
        return stored[tuple(slice(start - first, stop - first) for (start, stop), (first, _) in places)]

    def _stored_ranges(
        self, ranges: Sequence[tuple[int, int]], room: Callable[[Sequence[int], DTypeLike], Array] = np.empty
    ) -> Array:
        """Return a copy of what is stored in a range of each axis."""
        kept = self._in_memory(ranges)
        if kept is not None:
            return kept.copy()
        made = room([stop - start for start, stop in ranges], self._stored)
        wide = (*ranges[:-1], (0, self._whole[-1]))
        shape = (*made.shape[-2:-1], self._whole[-1])
        if made.ndim > 1 and made.shape[-1] * _FEW < self._whole[-1]:
            return self._few_columns(ranges, list(self._pieces(wide)), shape)
        rows = made if tuple(ranges) == wide else np.empty(shape, self._stored)
        for place, offset in self._pieces(wide):
            _read(self._file.fileno(), made[place] if rows is made else rows, offset)
            if rows is not made:
                made[place] = rows[..., slice(*ranges[-1])]
        return made

    def _few_columns(
        self, ranges: Sequence[tuple[int, int]], images: Sequence[tuple[tuple[int, ...], int]], shape: tuple[int, ...]
    ) -> Array:
        """Return a copy of what is stored in a few columns of images, given by place and offset in the file."""
        start, stop = ranges[-1]
        lines = tuple(ranges[:-1])
        for (left, right), kept in self._beside.items():
            if left <= start and stop <= right:
                if lines not in kept:
                    found = _read_columns(self._file.fileno(), images, lines, shape, self._stored, list(self._beside))
                    for part, columns in zip(self._beside.values(), found, strict=True):
                        part[lines] = columns
                return kept[lines][..., start - left : stop - left].copy()
        return _read_columns(self._file.fileno(), images, lines, shape, self._stored, [ranges[-1]])[0]

    def _native_ranges(self, ranges: Sequence[tuple[int, int]]) -> Array:
        """Return a copy of what is stored in a range of each axis, in the byte order of this machine."""
        native = self._stored.newbyteorder("=")
        whole_rows = ranges[-1] == (0, self._whole[-1])
        kept = self._in_memory(ranges)
        if kept is not None:
            return kept.astype(native)
        if native == self._stored or not whole_rows:
            return self._stored_ranges(ranges).astype(native, copy=False)
        made = np.empty([stop - start for start, stop in ranges], native)
        for place, offset in self._pieces(ranges):
            end = offset
            for some in in_parts(made[place]):
                stored = room_for(some.shape, self._stored)
                _read(self._file.fileno(), stored, end)
                some[...] = stored
                end += stored.nbytes
        return made

    def __getitem__(self, window: Any) -> Array:
        ranges, left_out = self._ranges(window)
        found: Array = self._native_ranges(ranges).squeeze(left_out).view(self.dtype)
        if self._unsigned:
            found ^= self.dtype.type(1 << (8 * self.dtype.itemsize - 1))
        return found if self._tables is None else looked_up(found, self._tables)

    def __setitem__(self, window: Any, values: Array) -> None:
        ranges, _ = self._ranges(window)
        if ranges[-1] != (0, self._whole[-1]):
            raise IndexError(f"an array on disk is written in windows of all columns, not {window}")
        given = np.broadcast_to(values, [stop - start for start, stop in ranges])
        for place, offset in self._pieces(ranges):
            end = offset
            for some in in_parts(given[place]):
                end = self._put(as_stored(some, self._stored, self._unsigned), end)
            self._put_all(offset, end)

    def _put(self, stored: Array, offset: int) -> int:
        """Write what is ready to be stored to a place in the file; return where it ends."""
        _write(self._file.fileno(), stored, offset)
        return offset + stored.nbytes

    def _put_all(self, start: int, end: int) -> None:
        """Take note that rows of an image are written."""

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


class DiskTable:
    """A table in a file, of which some rows are read at a time.

    Parameters
    ----------
    file : str or Path
        Where it is.
    dtype : dtype
        Of a row as it is stored: columns of 32 bits each, with the most significant byte first.
    length : int
        Rows.
    offset : int
        Where it begins in the file, in bytes.
    """

    def __init__(self, file: str | Path, dtype: np.dtype[Any], length: int, offset: int) -> None:
        self._file = open(file, "rb")  # noqa: SIM115 - as long as the table
        self._stored = dtype
        self._offset = offset
        self.shape = (length,)
        self.ndim = 1
        self.dtype = dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise IndexError("a table on disk is read in rows without gaps")
        made = np.empty(max(0, stop - start), self._stored)
        _read(self._file.fileno(), made, self._offset + start * self._stored.itemsize)
        return made.view(">u4").astype(np.uint32).view(self._stored.newbyteorder("="))


_rooms = threading.local()


def room_for(shape: Sequence[int], dtype: DTypeLike) -> Array:
    """Return room for an array that this thread keeps and gives again with the next call."""
    kind = np.dtype(dtype)
    size = math.prod(shape)
    if len(getattr(_rooms, "room", b"")) < size * kind.itemsize:
        _rooms.room = bytearray(size * kind.itemsize)
    return np.frombuffer(_rooms.room, kind, size).reshape(shape)


def in_parts(rows: Array) -> Iterator[Array]:
    """Part rows such that a few of them are in the fast caches while they are written or read."""
    step = max(1, _TURNED // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def as_stored(part: Array, stored: np.dtype[Any], unsigned: bool) -> Array:
    """Return numbers as a file has them, see `DiskArray`; the array itself or one that lasts until the next call."""
    if part.dtype == stored and part.flags.c_contiguous:
        return part
    kind = part.dtype.newbyteorder(stored.byteorder) if unsigned else stored
    made = room_for(part.shape, kind)
    made[...] = part
    if unsigned:
        made ^= kind.type(1 << (8 * kind.itemsize - 1))
    return made


def _read(file: int, part: Array, offset: int) -> None:
    """Fill an array from a place in a file."""
    left = memoryview(cast(Any, part.reshape(-1).view(np.uint8)))
    while left:
        done = os.preadv(file, [left], offset)
        if not done:
            raise OSError("the file has become shorter while it was read")
        left, offset = left[done:], offset + done


def _read_columns(
    file: int,
    images: Sequence[tuple[tuple[int, ...], int]],
    lines: _Lines,
    shape: tuple[int, ...],
    stored: np.dtype[Any],
    columns: Sequence[tuple[int, int]],
) -> list[Array]:
    """Return some ranges of columns of images, given by place and offset in the file.

    Files are mapped several images at a time: a mapping for each would take several times as long, and what is mapped
    counts as memory of the process.
    """
    made = [np.empty([b - a for a, b in (*lines, part)], stored) for part in columns]
    size = math.prod(shape) * stored.itemsize
    if images and images[-1][1] + size > os.fstat(file).st_size:
        raise OSError("the file has become shorter while it was read")
    number = max(1, _MAPPED // max(1, size))
    for start in range(0, len(images), number):
        near = images[start : start + number]
        first = near[0][1] // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(file, near[-1][1] + size - first, access=mmap.ACCESS_READ, offset=first) as mapped:
            for place, offset in near:
                rows = np.ndarray(shape, stored, mapped, offset - first)
                for some, (left, right) in zip(made, columns, strict=True):
                    some[place] = rows[..., left:right]
                del rows  # else the mapping cannot be closed
    return made


def _write(file: int, part: Array, offset: int) -> None:
    left = memoryview(cast(Any, part.reshape(-1).view(np.uint8)))
    while left:
        done = os.pwrite(file, left, offset)
        left, offset = left[done:], offset + done


def looked_up(numbers: Array, tables: Array) -> Array:
    """Return what tables say of unsigned integers, as `DiskArray.translated` describes it."""
    made = np.zeros(numbers.shape, numbers.dtype)
    places = np.flatnonzero(numbers != 0)  # few are flagged, and 0 stands for nothing; of booleans it is much faster
    given = numbers.reshape(-1)[places]
    found = np.zeros_like(given)
    for place, table in enumerate(tables):
        if table.any():
            found |= table[(given >> (8 * place)) & 255]
    made.reshape(-1)[places] = found
    return made


def cut_image(array: Array, rows: slice, columns: slice) -> Array:
    """Return some rows and columns of the images of an array, as a view; of one on disk, without reading them."""
    found: Any = array
    made: Any = found.cut(rows, columns) if isinstance(found, DiskArray) else found[..., rows, columns]
    return cast(Array, made)


def scratch_array(shape: Sequence[int], dtype: DTypeLike, folder: Path | None = None) -> DiskArray:
    """Return an array of zeros in a file without a name, which is gone with it.

    Parameters
    ----------
    shape : sequence of int
        Its shape.
    dtype : dtype
        Its type.
    folder : Path, optional
        Where the file is made; by default where the system keeps temporary files.

    Raises
    ------
    OSError
        Where the disk has no room for it.
    """
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the array
    size = math.prod(shape) * np.dtype(dtype).itemsize
    os.posix_fallocate(file.fileno(), 0, max(size, 1))  # so that no write to it can fail
    return DiskArray(file, dtype, shape)
