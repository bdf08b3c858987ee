"""Arrays that stay on disk: windows of them are read and written, and only those are ever in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike

from calservice.model.block import Array

__all__ = ["DiskArray", "scratch_array"]


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
        self.shape = tuple(shape)
        kind = np.dtype(f"u{self._stored.itemsize}") if unsigned else self._stored.newbyteorder("=")
        self.dtype = kind
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))
        self.nbytes = self.size * kind.itemsize

    def _map(self, mode: Any) -> Array:
        return np.memmap(self._file, self._stored, mode, self._offset, self.shape)

    def __getitem__(self, window: Any) -> Array:
        stored = np.array(self._map("r")[window])
        native = stored.view(stored.dtype.newbyteorder("="))
        if not stored.dtype.isnative:
            native.byteswap(inplace=True)
        if not self._unsigned:
            return native
        found: Array = native.view(self.dtype)
        found ^= self.dtype.type(1 << (8 * self.dtype.itemsize - 1))
        return found

    def __setitem__(self, window: Any, values: Array) -> None:
        self._map("r+")[window] = values

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


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
