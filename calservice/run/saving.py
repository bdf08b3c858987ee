"""Saving models some of whose arrays are on disk, and too large to be brought to memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import Array

__all__ = ["place_holder", "save"]

_RECORD = 2880
"""Bytes that a FITS file is written in multiples of."""
_CHUNK = 64 * 2**20


def place_holder(array: DiskArray) -> Array:
    """Return zeros in place of an array in a model that is only to be saved; they take no memory unless touched."""
    return np.zeros(array.shape, array.dtype)


def save(model: Any, path: Path, large: Mapping[str, DiskArray]) -> None:
    """Save a model.

    Parameters
    ----------
    model : datamodel
        With place-holders for the large arrays.
    path : Path
        The product.
    large : mapping of str to DiskArray
        Arrays by the name of their extension, at least three-dimensional. The file has the very bytes that it would
        have with them in memory.
    """
    if not large:
        model.save(str(path))
        return
    from stdatamodels import fits_support

    model.on_save(str(path))
    hdus = fits_support.to_fits(model._instance, model._schema)
    with open(path, "wb") as file:
        for hdu in hdus:
            if hdu.name in large:
                _write(file, hdu, large[hdu.name])
            else:
                file.write(_written(hdu))


def _write(file: IO[bytes], hdu: Any, array: DiskArray) -> None:
    """Write an extension with an array on disk in place of that in memory."""
    from astropy.io import fits

    plane = np.zeros((1, *array.shape[1:]), array.dtype)
    header = fits.Header.fromstring(_written(fits.ImageHDU(plane, hdu.header, name=hdu.name)))
    header[f"NAXIS{array.ndim}"] = array.shape[0]
    file.write(header.tostring().encode("ascii"))
    for chunk in _stored(array):
        file.write(chunk)
    file.write(bytes(-array.nbytes % _RECORD))


def _stored(array: DiskArray) -> Iterator[bytes]:
    """Yield an array as FITS stores it: the most significant byte first, unsigned numbers less half their range."""
    planes = max(1, _CHUNK // (array.nbytes // array.shape[0]))
    for start in range(0, array.shape[0], planes):
        part = array[start : start + planes]
        if part.dtype.kind == "u" and part.dtype.itemsize > 1:
            part ^= part.dtype.type(1 << (8 * part.dtype.itemsize - 1))
        yield part.byteswap(inplace=True).tobytes()


def _written(hdu: Any) -> bytes:
    """Return an HDU as it is written to a file."""
    from astropy.io import fits

    room = io.BytesIO()
    if isinstance(hdu, fits.PrimaryHDU):
        fits.HDUList([hdu, fits.ImageHDU()]).writeto(room)
        return room.getvalue()[:-_RECORD]
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(room)
    return room.getvalue()[_RECORD:]
