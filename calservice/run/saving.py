"""Saving models: large arrays are written in pieces, several at a time, be they in memory or on disk.

While those of one model are written, the next is made ready: making the headers takes as long as writing the pixels.
"""

from __future__ import annotations

import ctypes
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import Array

__all__ = ["Saver", "place_holder"]

_RECORD = 2880
"""Bytes that a FITS file is written in multiples of."""
_CARD = 80
"""Bytes of a line of a header."""
_END = b"END".ljust(_CARD)
_VALUE = range(10, 30)
"""Where a number is in a line."""
_PIECE = 4 * 2**20
"""Bytes of an array that are a task of their own."""
_TURNED = 512 * 2**10
"""Bytes whose order is changed at a time: they stay in the cache until the system has them."""
_SYNC_FILE_RANGE_WRITE = 2
_TYPES = frozenset(map(np.dtype, ("u1", "i2", "u2", "i4", "u4", "f4", "f8")))
"""Types that FITS stores as they are, but for the order of bytes; unsigned ones less half their range."""


def place_holder(array: DiskArray) -> Array:
    """Return zeros in place of an array in a model that is only to be saved; they take no memory unless touched."""
    return np.zeros(array.shape, array.dtype)


class Saver:
    """Saves models: while the arrays of one are written, the next is made ready.

    Parameters
    ----------
    threads : int
        Pieces that are written at the same time. With one, a model is written before `save` returns.
    done : callable, optional
        Told the path of each product once it is whole.
    flush : bool
        Whether the disk is to begin with what is written at once, since someone is going to wait for it.
    """

    def __init__(self, threads: int = 1, done: Callable[[Path], object] | None = None, *, flush: bool = False) -> None:
        self._threads = threads
        self._done = done or (lambda path: None)
        self._begin = _writeback() if flush else None
        self._begun: list[tuple[Path, IO[bytes], list[Future[None]]]] = []
        self._pool: ThreadPoolExecutor | None = None

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
        pieces, size = _pieces(_hdus(model, path), large)
        file = open(path, "wb")  # noqa: SIM115 - closed when its pieces are written
        self._begun.append((path, file, []))
        file.truncate(size)  # what no piece covers is zero
        target = _Target(file.fileno(), self._begin)
        if self._threads == 1:
            for piece in pieces:
                piece.write(target)
            self.wait()
            return
        self._pool = self._pool or ThreadPoolExecutor(self._threads)
        self._begun[-1][2].extend(self._pool.submit(piece.write, target) for piece in pieces)

    def wait(self) -> None:
        """Wait until all is written.

        Raises
        ------
        OSError
            If something could not be.
        """
        begun, self._begun = self._begun, []
        pool, self._pool = self._pool, None
        try:
            for path, file, jobs in begun:
                for job in jobs:
                    job.result()
                file.close()
                self._done(path)
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
            for _, file, _ in begun:
                file.close()


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
            step = max(1, _TURNED * len(rows) // rows.nbytes)
            for start in range(0, len(rows), step):
                end = target.write(_stored(rows[start : start + step]), end)
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


def _pieces(hdus: Any, large: Mapping[str, DiskArray]) -> tuple[list[_Piece], int]:
    """Return what the file is made of, and its size."""
    arrays = [_array(hdu, large) for hdu in hdus]
    small = [hdu if array is None else _stand_in(hdu, array) for hdu, array in zip(hdus, arrays, strict=True)]
    made: list[_Piece] = []
    size = 0
    for array, (header, content) in zip(arrays, _written(small), strict=True):
        head = header + content if array is None else _with_shape(header, array.shape)
        made.append(_Piece(size, head))
        size += len(head)
        if array is None:
            continue
        rows = array if isinstance(array, DiskArray) else array.reshape(-1, array.shape[-1])
        row = int(array.nbytes // rows.shape[0])
        step = max(1, _PIECE // row)
        for start in range(0, rows.shape[0], step):
            made.append(_Piece(size + start * row, rows, slice(start, start + step)))
        size += array.nbytes + -array.nbytes % _RECORD
    return made, size


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


_rooms = threading.local()


def _stored(part: Array) -> Array:
    """Return a part of an array as FITS stores it, the most significant byte first; until the next call."""
    if len(getattr(_rooms, "room", b"")) < part.nbytes:
        _rooms.room = bytearray(part.nbytes)
    made = np.frombuffer(_rooms.room, part.dtype.newbyteorder(">"), part.size).reshape(part.shape)
    made[...] = part
    if part.dtype.kind == "u" and part.dtype.itemsize > 1:
        made ^= made.dtype.type(1 << (8 * part.dtype.itemsize - 1))
    return made


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
