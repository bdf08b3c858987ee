"""Compiled loops that read images as FITS files store them, the bytes of each number in the other order.

Images are read one after the other into memory that stays in the cache, and by the C library: threads do not wait for
each other in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from calservice.model.block import Array
from calservice.steps.compiled import compiled, inlined

__all__ = ["read_unsigned", "subtract_known", "subtract_stored", "turn_unsigned"]

_BYTE, _HALF = np.uint16(8), np.uint16(1 << 15)
_FAR, _NEAR, _SECOND, _THIRD = np.uint32(24), np.uint32(8), np.uint32(0xFF00), np.uint32(0xFF0000)

_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.voidptr, types.uintp, types.int64))


@inlined
def _turned(row: Any, numbers: Any) -> None:
    for x in range(numbers.size):
        bits = row[x]
        numbers[x] = np.uint16(np.uint16(bits >> _BYTE) | np.uint16(bits << _BYTE)) ^ _HALF


@compiled
def read_unsigned(file: int, offsets: Array, first: int, rows: Array, made: Array) -> bool:
    """Read images of 16-bit numbers that are stored as signed ones, less half their range.

    Parameters
    ----------
    file, offsets, first
        As in `calservice.disk.Places`.
    rows : ndarray
        Room for the rows of an image, (row, column of the file) uint16.
    made : ndarray
        (image, row, column) float32; filled.

    Returns
    -------
    bool
        Whether the file has them all.
    """
    ncols = made.shape[2]
    for k in range(offsets.size):
        if _pread(file, rows.ctypes, rows.nbytes, offsets[k]) != rows.nbytes:
            return False
        for y in range(made.shape[1]):
            _turned(rows[y, first : first + ncols], made[k, y])
    return True


@compiled
def turn_unsigned(stored: Array, made: Array) -> None:
    """Turn images of 16-bit numbers that are stored as signed ones, less half their range.

    Parameters
    ----------
    stored : ndarray
        (image, row, column) uint16: what is stored, as if it were of this machine's order.
    made : ndarray
        (image, row, column) float32; filled.
    """
    for k in range(made.shape[0]):
        for y in range(made.shape[1]):
            _turned(stored[k, y], made[k, y])


@compiled
def subtract_stored(
    file: int, offsets: Array, first: int, rows: Array, data: Array, integrations: tuple[int, int]
) -> int:
    """Subtract images of single-precision numbers from the groups of some integrations, where they are not NaN.

    Parameters
    ----------
    file, offsets, first
        As in `calservice.disk.Places`: an image for each group.
    rows : ndarray
        Room for the rows of an image, (row, column of the file) uint32.
    data : ndarray
        (integration, group, row, column) float32; its first groups are changed.
    integrations : tuple of int
        Their half-open range.

    Returns
    -------
    int
        Of how many groups; fewer than all where the file is too short.
    """
    ncols = data.shape[3]
    turned = np.empty(ncols, np.uint32)
    numbers = turned.view(np.float32)
    for g in range(offsets.size):
        if _pread(file, rows.ctypes, rows.nbytes, offsets[g]) != rows.nbytes:
            return g
        for y in range(data.shape[2]):
            row = rows[y, first : first + ncols]
            for x in range(ncols):
                bits = row[x]
                inner = ((bits >> _NEAR) & _SECOND) | ((bits << _NEAR) & _THIRD)
                turned[x] = (bits >> _FAR) | inner | (bits << _FAR)
            for x in range(ncols):
                numbers[x] = np.float32(0) if np.isnan(numbers[x]) else numbers[x]
            for i in range(integrations[0], integrations[1]):
                values = data[i, g, y]
                for x in range(ncols):
                    values[x] -= numbers[x]
    return int(offsets.size)


@compiled
def subtract_known(data: Array, first: int, images: Array, integrations: tuple[int, int]) -> None:
    """Subtract images from the groups of some integrations, where they are not NaN.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32; changed.
    first : int
        The group that the first image is for.
    images : ndarray
        (image, row, column) float32.
    integrations : tuple of int
        Their half-open range.
    """
    for g in range(images.shape[0]):
        for y in range(data.shape[2]):
            numbers = images[g, y]
            for i in range(integrations[0], integrations[1]):
                values = data[i, first + g, y]
                for x in range(data.shape[3]):
                    values[x] -= np.float32(0) if np.isnan(numbers[x]) else numbers[x]
