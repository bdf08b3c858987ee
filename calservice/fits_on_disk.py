"""Arrays of FITS files that stay there: extensions as `DiskArray` and `DiskTable`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from calservice.disk import DiskArray, DiskTable

__all__ = ["image_on_disk", "is_plain_fits", "table_on_disk"]

_STORED = {(8, 0): "u1", (16, 0): ">i2", (16, 1 << 15): ">i2", (32, 1 << 31): ">i4", (-32, 0): ">f4"}
"""Types of stored numbers by BITPIX and BZERO; what is not among them is left to astropy."""
_NUMBERS = {"E": ">f4", "J": ">i4", "1E": ">f4", "1J": ">i4"}
_LARGE_TABLE = 16 * 2**20
_MAGIC = b"SIMPLE"


def is_plain_fits(path: str | Path) -> bool:
    """Whether a file is FITS as it is, rather than compressed or something else."""
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


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
    begin: int = hdu.fileinfo()["datLoc"]
    if begin + math.prod(shape) * np.dtype(stored).itemsize > path.stat().st_size:
        return None
    return DiskArray(path, stored, shape, begin, unsigned=zero > 0)


def table_on_disk(path: Path, hdu: Any) -> DiskTable | None:
    """Return a large table of plain numbers of an uncompressed FITS file.

    Parameters
    ----------
    path : Path
        The file.
    hdu : astropy.io.fits.BinTableHDU
        The extension, of which only the header is read.

    Returns
    -------
    DiskTable or None
        With the columns in lower case. None where it is small, holds other than single numbers of 32 bits that are
        stored as they are, or the file is too short for it.
    """
    size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
    plain = all(c.format in _NUMBERS and c.bscale is c.bzero is None for c in hdu.columns)
    begin: int = hdu.fileinfo()["datLoc"]
    if size < _LARGE_TABLE or not plain or begin + size > path.stat().st_size:
        return None
    kinds = [(column.name.lower(), _NUMBERS[column.format]) for column in hdu.columns]
    return DiskTable(path, np.dtype(kinds), hdu.header["NAXIS2"], begin)
