"""Arrays that stay on disk: windows of them are read and written, and only those are ever in memory."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from copy import copy
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import DTypeLike

from calservice.model.block import Array

__all__ = ["DiskArray", "cut_image", "image_on_disk", "looked_up", "scratch_array"]

_STORED = {(8, 0): "u1", (16, 0): ">i2", (16, 1 << 15): ">i2", (32, 1 << 31): ">i4", (-32, 0): ">f4"}
"""Types of stored numbers by BITPIX and BZERO; what is not among them is left to astropy."""


class DiskArray:
    """An array in a file.

    Every access maps the file for as long as it takes: pages count as memory of the process while they are mapped,
    and belong to the kernel's cache otherwise, which gives way where memory is short.

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

    _part: tuple[Any, ...] = ()
    _tables: Array | None = None

    def __init__(
        self,
        file: str | Path | IO[bytes],
        dtype: DTypeLike,
        shape: Sequence[int],
        offset: int = 0,
        *,
        unsigned: bool = False,
    ) -> None:
        self._file = file
        self._stored = np.dtype(dtype)
        self._offset = offset
        self._unsigned = unsigned
        self._whole = self.shape = tuple(shape)
        self.dtype = np.dtype(f"u{self._stored.itemsize}") if unsigned else self._stored.newbyteorder("=")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Size in bytes, were it in memory."""
        return self.size * self.dtype.itemsize

    def cut(self, rows: slice, columns: slice) -> DiskArray:
        """Return some rows and columns of its images, without reading them."""
        made = copy(self)
        made._part = (..., rows, columns)
        if self._part:
            made._part = (..., *(_within(a, b) for a, b in zip(self._part[1:], made._part[1:], strict=True)))
        lengths = (len(range(*part.indices(n))) for part, n in zip((rows, columns), self.shape[-2:], strict=True))
        made.shape = (*self.shape[:-2], *lengths)
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

    def _map(self, write: bool = False) -> Array:
        file = self._file
        with Path(file).open("rb") if isinstance(file, (str, Path)) else nullcontext(file) as opened:
            room = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        mapped: Array = np.ndarray(self._whole, self._stored, room, self._offset)  # which keeps the mapping
        return mapped[self._part] if self._part else mapped

    def __getitem__(self, window: Any) -> Array:
        stored = np.array(self._map()[window])
        native = stored.view(stored.dtype.newbyteorder("="))
        if not stored.dtype.isnative:
            native.byteswap(inplace=True)
        found: Array = native.view(self.dtype)
        if self._unsigned:
            found ^= self.dtype.type(1 << (8 * self.dtype.itemsize - 1))
        return found if self._tables is None else looked_up(found, self._tables)

    def __setitem__(self, window: Any, values: Array) -> None:
        self._map(write=True)[window] = values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def _within(outer: slice, inner: slice) -> slice:
    """Return a slice of a slice, both with a start and a stop."""
    return slice(outer.start + inner.start, outer.start + inner.stop)


def looked_up(numbers: Array, tables: Array) -> Array:
    """Return what tables say of unsigned integers, as `DiskArray.translated` describes it."""
    made = np.zeros_like(numbers)
    for place, table in enumerate(tables):
        if table.any():
            made |= table[(numbers >> (8 * place)) & 255]
    return made


def cut_image(array: Array, rows: slice, columns: slice) -> Array:
    """Return some rows and columns of the images of an array, as a view; of one on disk, without reading them."""
    found: Any = array
    made: Any = found.cut(rows, columns) if isinstance(found, DiskArray) else found[..., rows, columns]
    return cast(Array, made)


def image_on_disk(path: Path, hdu: Any) -> DiskArray | None:
    """Return the array of an extension of an uncompressed FITS file, if it is stored as pixels are.

    Parameters
    ----------
    path : Path
        The file.
    hdu : astropy.io.fits.ImageHDU
        The extension, of which only the header is read.

    Returns
    -------
    DiskArray or None
        None where it has no pixels, is of another type or scaled, or the file is too short for it.
    """
    header = hdu.header
    zero = header.get("BZERO", 0)
    stored = _STORED.get((header["BITPIX"], int(zero)))
    if stored is None or header.get("BSCALE", 1) != 1 or zero != int(zero) or not header["NAXIS"]:
        return None
    shape = [header[f"NAXIS{n}"] for n in range(header["NAXIS"], 0, -1)]
    if 0 in shape:
        return None
    made = DiskArray(path, stored, shape, hdu.fileinfo()["datLoc"], unsigned=zero > 0)
    return made if hdu.fileinfo()["datLoc"] + made.nbytes <= path.stat().st_size else None


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
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    os.posix_fallocate(file.fileno(), 0, max(size, 1))  # so that no write to it can fail
    return DiskArray(file, dtype, shape)
