"""Compiled loop of the dark current correction."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["subtract_known"]


@compiled
def subtract_known(data: Array, dark: Array, out: Array) -> None:
    """Subtract a dark where it is not NaN.

    Parameters
    ----------
    data, dark : ndarray
        (group, row, column) float32.
    out : ndarray
        (group, row, column) float32; filled.
    """
    given, less, made = data.reshape(-1), dark.reshape(-1), out.reshape(-1)
    for n in range(given.size):
        made[n] = given[n] - (np.float32(0) if np.isnan(less[n]) else less[n])
