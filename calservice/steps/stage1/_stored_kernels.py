"""Compiled loops that compute with numbers as FITS files store them: the bytes of each in the other order."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["from_unsigned", "subtract_stored"]

_PIECE = 1024
"""Numbers that are turned at once."""

_BYTE, _HALF = np.uint16(8), np.uint16(1 << 15)
_FAR, _NEAR, _SECOND, _THIRD = np.uint32(24), np.uint32(8), np.uint32(0xFF00), np.uint32(0xFF0000)


@compiled
def from_unsigned(stored: Array, made: Array) -> None:
    """Turn 16-bit numbers, stored as signed ones less half their range, into floating-point numbers.

    Parameters
    ----------
    stored : ndarray
        The bits, one-dimensional uint16.
    made : ndarray
        float32 of the same size; filled.
    """
    for n in range(stored.size):
        bits = stored[n]
        made[n] = np.uint16(np.uint16(bits >> _BYTE) | np.uint16(bits << _BYTE)) ^ _HALF


@compiled
def subtract_stored(data: Array, integrations: tuple[int, int], group: int, stored: Array, made: Array) -> None:
    """Subtract an image of stored single-precision numbers from a group of some integrations, where it is not NaN.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32.
    integrations : tuple of int
        Their half-open range.
    group : int
        The group.
    stored : ndarray
        The bits of the image, one-dimensional uint32.
    made : ndarray
        float32 as ``data``; filled.
    """
    turned = np.empty(_PIECE, np.uint32)
    numbers = turned.view(np.float32)
    for start in range(0, stored.size, _PIECE):
        bits = stored[start : start + _PIECE]
        for n in range(bits.size):
            one = bits[n]
            inner = ((one >> _NEAR) & _SECOND) | ((one << _NEAR) & _THIRD)
            turned[n] = (one >> _FAR) | inner | (one << _FAR)
        for n in range(bits.size):
            numbers[n] = np.float32(0) if np.isnan(numbers[n]) else numbers[n]
        for i in range(integrations[0], integrations[1]):
            given = data[i, group].reshape(-1)[start : start + _PIECE]
            less = made[i, group].reshape(-1)[start : start + _PIECE]
            for n in range(given.size):
                less[n] = given[n] - numbers[n]
