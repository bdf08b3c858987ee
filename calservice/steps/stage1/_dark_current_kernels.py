"""Compiled loop of the dark current correction."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["subtract_known"]


@compiled
def subtract_known(data: Array, dark: Array) -> None:
    """Subtract a dark where it is not NaN.

    Parameters
    ----------
    data, dark : ndarray
        One-dimensional, float32; the first is changed.
    """
    for n in range(data.size):
        data[n] -= np.float32(0) if np.isnan(dark[n]) else dark[n]
