"""Saving models: large arrays are written in pieces, several at a time, be they in memory or on disk.

While those of one model are written, the next is made ready: making the headers takes as long as writing the pixels.
Where it is known before the pixels are what a product will look like, its arrays are reserved (`Saver.reserve`): blocks
put their pixels where they belong, and only headers are left to be written.
"""

from __future__ import annotations

import ctypes
import io
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from calservice.disk import DiskArray, as_stored, in_parts
from calservice.model.block import Array

__all__ = ["Saver", "is_large", "place_holder"]

_RECORD = 2880
"""Bytes that a FITS file is written in multiples of."""
_CARD = 80
"""Bytes of a line of a header."""
_END = b"END".ljust(_CARD)
_VALUE = range(10, 30)
"""Where a number is in a line."""
_PIECE = 4 * 2**20
"""Bytes of an array that are a task of their own."""
_RESERVED = 64 * 2**20
"""Bytes from which on an array is reserved: making headers once more takes as long as copying less."""
_BEGUN = 64 * 2**20
"""Bytes of a reserved array that the disk begins with together."""
_SYNC_FILE_RANGE_WRITE = 2
_TYPES = frozenset(map(np.dtype, ("u1", "i2", "u2", "i4", "u4", "f4", "f8")))
"""Types that FITS stores as they are, but for the order of bytes; unsigned ones less half their range."""


def place_holder(array: DiskArray) -> Array:
    """Return zeros in place of an array in a model that is only to be saved; they take no memory unless touched."""
    return np.zeros(array.shape, array.dtype)


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether images of that shape are worth to be reserved."""
    return math.prod(shape) * np.dtype(np.float32).itemsize > _RESERVED


class Saver:
    """Saves models: while the arrays of one are written, the next is made ready.

    Parameters
    ----------
    threads : int
        Pieces that are written at the same time. With one, a model is written before `save` returns.
    done : callable, optional
        Told the path of each product once it is whole, by the thread that wrote the last of it.
    flush : bool
        Whether the disk is to begin with what is written at once, since someone is going to wait for it.
    """

    def __init__(self, threads: int = 1, done: Callable[[Path], object] | None = None, *, flush: bool = False) -> None:
        self._threads = threads
        self._done = done or (lambda path: None)
        self._begin = _writeback() if flush else None
        self._begun: list[_Begun] = []
        self._choosing = threading.Lock()
        self._jobs: list[Future[None]] = []
        self._reserved: dict[Path, _Reserved] = {}
        self._pool: ThreadPoolExecutor | None = None

    def reserve(self, model: Any, path: Path) -> dict[str, DiskArray]:
        """Make room for the large arrays of a product before these are there.

        Parameters
        ----------
        model : datamodel
            What is going to be saved, with place-holders for its arrays, and all metadata that are known. Should others
            make the headers longer by the time that it is saved, all is written once more.
        path : Path
            The product. Until it is saved, a hidden file beside it has its pixels.

        Returns
        -------
        dict of str to DiskArray
            Where the arrays are to be put, by the name of their extension; none if they are not large.
        """
        if path.suffix != ".fits":
            return {}
        named = model.meta.filename
        parts, size = _laid_out(_hdus(model, path), {})
        if model.meta.filename != named:
            model.meta.filename = named  # it is that of the product once this is saved
        if all(part.array is None for part in parts):
            return {}
        hidden = path.with_name(f".{path.name}")
        file = open(hidden, "w+b")  # noqa: SIM115 - open until it is saved and its arrays are gone
        file.truncate(size)
        target = _Target(file.fileno(), self._begin)
        places = {part.name: _Place(file, target, part.array, part.offset) for part in parts if part.array is not None}
        self._reserved[path] = _Reserved(hidden, file, places)
        return {**places}

    def save(self, model: Any, path: Path, large: Mapping[str, DiskArray]) -> None:
        """Save a model. Its arrays must stay what they are until `wait` has returned.

        Parameters
        ----------
        model : datamodel
            With place-holders for the arrays on disk.
        path : Path
            The product. It gets the very bytes that the model's own way of saving gives it.
        large : mapping of str to DiskArray
            Arrays on disk by the name of their extension.
        """
        if path.suffix != ".fits":
            model.save(str(path))
            self._done(path)
            return
        parts, size = _laid_out(_hdus(model, path), large)
        file, done = self._opened(path, parts)
        file.truncate(size)  # what no piece covers is zero
        pieces = deque(_pieces(parts, done))
        count = len(pieces)  # now: once it is begun, threads that were there for others take some, too
        self._begun.append(_Begun(path, file, _Target(file.fileno(), self._begin), pieces))
        if self._threads == 1:
            for _ in range(count):
                self._write_next()
            self.wait()
            return
        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        self._jobs += [self._pool.submit(self._write_next) for _ in range(count)]

    def _write_next(self) -> None:
        """Write a piece of the product that fewest threads are writing to, since a file takes one at a time."""
        with self._choosing:
            begun = min((one for one in self._begun if one.pieces), key=lambda one: one.writers)
            piece = begun.pieces.popleft()
            begun.writers += 1
        piece.write(begun.target)
        with self._choosing:
            begun.writers -= 1
            whole = not begun.pieces and not begun.writers
        if whole:
            begun.file.close()
            self._done(begun.path)

    def _opened(self, path: Path, parts: Sequence[_Part]) -> tuple[IO[bytes], Collection[str]]:
        """Open the file of a product; return also the names of arrays that are in it already."""
        reserved = self._reserved.pop(path, None)
        if reserved is not None and reserved.serves(parts):
            reserved.hidden.rename(path)
            return reserved.file, {part.name for part in parts if part.array is reserved.places.get(part.name, path)}
        if reserved is not None:
            reserved.hidden.unlink()  # its arrays can be read as long as they are open
        return open(path, "wb"), ()  # which is closed when its pieces are written

    def wait(self) -> None:
        """Wait until all is written.

        Raises
        ------
        OSError
            If something could not be.
        """
        begun, jobs, pool = self._begun, self._jobs, self._pool
        try:
            for job in jobs:
                job.result()
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            for one in begun:
                one.file.close()
            self._begun, self._jobs, self._pool = [], [], None


def _hdus(model: Any, path: Path) -> Any:
    """Return what a model consists of in a FITS file."""
    from stdatamodels import fits_support

    model.on_save(str(path))
    hdus = fits_support.to_fits(model._instance, model._schema)
    if model._no_asdf_extension and "ASDF" in hdus:
        del hdus["ASDF"]
    return hdus


@dataclass(frozen=True)
class _Piece:
    """Rows of an array, or bytes, and where in the file they belong."""

    offset: int
    content: Any
    rows: slice | None = None

    def write(self, target: _Target) -> None:
        """Write it, rows in parts that stay in the cache."""
        end = self.offset
        if self.rows is None:
            end = target.write(self.content, end)
        else:
            rows = self.content[self.rows]
            for some in in_parts(rows):
                end = target.write(as_stored(some, *_stored_as(some)), end)
        target.begin(self.offset, end)


class _Target:
    """A file that pieces are written to, one at a time: the system locks a file as well, but burns time waiting."""

    def __init__(self, file: int, begin: Callable[[int, int, int, int], int] | None) -> None:
        self._file = file
        self._begin = begin
        self._lock = threading.Lock()

    def write(self, content: Any, place: int) -> int:
        """Write bytes at a place; return where they end."""
        left = memoryview(content).cast("B")
        with self._lock:
            while left:
                done = os.pwrite(self._file, left, place)
                left, place = left[done:], place + done
        return place

    def begin(self, start: int, end: int) -> None:
        """Have the disk begin with a part, without waiting for it."""
        if self._begin is not None:
            self._begin(self._file, start, end - start, _SYNC_FILE_RANGE_WRITE)


def _writeback() -> Callable[[int, int, int, int], int] | None:
    """Return the system's function that begins to write parts of a file to the disk, where it has one (Linux)."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint
    return function


class _Place(DiskArray):
    """Where an array of a product belongs; several threads may write into it."""

    def __init__(self, file: IO[bytes], target: _Target, like: Array, offset: int) -> None:
        kind, unsigned = _stored_as(like)
        super().__init__(file, kind, like.shape, offset, unsigned=unsigned)
        self._target = target
        self._lock = threading.Lock()
        self._put_since = 0, (0, 0)

    def _put(self, stored: Array, offset: int) -> int:
        return self._target.write(stored, offset)

    def _put_all(self, start: int, end: int) -> None:
        """Have the disk begin once there is much: rows of images come in no order, and are many small pieces of it."""
        with self._lock:
            size, (first, last) = self._put_since
            size, (first, last) = size + end - start, (min(first, start) if size else start, max(last, end))
            enough = size >= _BEGUN
            self._put_since = (0, (0, 0)) if enough else (size, (first, last))
        if enough:
            self._target.begin(first, last)


@dataclass
class _Begun:
    """A product that is being written."""

    path: Path
    file: IO[bytes]
    target: _Target
    pieces: deque[_Piece]
    """Those that nobody has begun with."""
    writers: int = 0


@dataclass(frozen=True)
class _Part:
    """A part of a product: a header and its content or, if that is large, an array that begins at an offset."""

    name: str
    head: bytes
    array: Any
    offset: int


@dataclass(frozen=True)
class _Reserved:
    """A product whose pixels come first."""

    hidden: Path
    file: IO[bytes]
    places: Mapping[str, _Place]

    def serves(self, parts: Sequence[_Part]) -> bool:
        """Whether its arrays are where those of the finished product belong."""
        due = {part.name: (part.offset, part.array.nbytes) for part in parts if part.array is not None}
        return due == {name: (place.offset, place.nbytes) for name, place in self.places.items()}


def _laid_out(hdus: Any, large: Mapping[str, DiskArray]) -> tuple[list[_Part], int]:
    """Return what a file consists of, and its size."""
    arrays = [_array(hdu, large) for hdu in hdus]
    small = [hdu if array is None else _stand_in(hdu, array) for hdu, array in zip(hdus, arrays, strict=True)]
    made: list[_Part] = []
    size = 0
    for hdu, array, (header, content) in zip(hdus, arrays, _written(small), strict=True):
        head = header + content if array is None else _with_shape(header, array.shape)
        size += len(head)
        made.append(_Part(hdu.name, head, array, size))
        size += 0 if array is None else array.nbytes + -array.nbytes % _RECORD
    return made, size


def _pieces(parts: Sequence[_Part], done: Collection[str]) -> Iterator[_Piece]:
    """Yield what is to be written of the parts of a file, where some arrays are in it already."""
    for part in parts:
        yield _Piece(part.offset - len(part.head), part.head)
        array = part.array
        if array is None or part.name in done:
            continue
        rows = array if isinstance(array, DiskArray) else array.reshape(-1, array.shape[-1])
        row = int(array.nbytes // rows.shape[0])
        step = max(1, _PIECE // row)
        for start in range(0, rows.shape[0], step):
            yield _Piece(part.offset + start * row, rows, slice(start, start + step))


def _array(hdu: Any, large: Mapping[str, DiskArray]) -> Any:
    """Return the array of an extension, if it is large and can be written in pieces."""
    from astropy.io import fits

    if hdu.name in large:
        return large[hdu.name]
    array: Any = hdu.data if type(hdu) is fits.ImageHDU else None
    plain = isinstance(array, np.ndarray) and array.flags.c_contiguous and array.dtype in _TYPES
    return array if plain and array.nbytes > _PIECE else None


def _stand_in(hdu: Any, array: Any) -> Any:
    """Return an extension with a single pixel in place of such an array."""
    from astropy.io import fits

    return fits.ImageHDU(np.zeros((1,) * array.ndim, array.dtype), hdu.header, name=hdu.name)


def _with_shape(header: bytes, shape: tuple[int, ...]) -> bytes:
    """Return the header of a single pixel as that of an array of some shape."""
    made = bytearray(header)
    for n, length in enumerate(reversed(shape), 1):
        at = made.index(f"NAXIS{n:<3d}= ".encode("ascii")) + _VALUE.start
        made[at : at + len(_VALUE)] = f"{length:{len(_VALUE)}d}".encode("ascii")
    return bytes(made)


def _stored_as(array: Array) -> tuple[np.dtype[Any], bool]:
    """Return the type in which FITS stores numbers, the most significant byte first, and if they stand for unsigned."""
    unsigned = array.dtype.kind == "u" and array.dtype.itemsize > 1
    kind = np.dtype(f"i{array.dtype.itemsize}") if unsigned else array.dtype
    return kind.newbyteorder(">"), unsigned


def _written(hdus: Sequence[Any]) -> Iterator[tuple[bytes, bytes]]:
    """Return header and data of each of some HDUs as they are written to a file."""
    from astropy.io import fits

    room = io.BytesIO()
    fits.HDUList(hdus).writeto(room)
    content, begin = room.getvalue(), 0
    for hdu in hdus:
        end = begin
        while content[end : end + _CARD] != _END:
            end += _CARD
        end += _CARD + (begin - end - _CARD) % _RECORD
        yield content[begin:end], content[end : (begin := end + hdu.size + -hdu.size % _RECORD)]
