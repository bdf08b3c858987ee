"""The scene as all integrations of an exposure show it: their median, scaled to how bright each of them is."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array

__all__ = ["median_ramp", "scales"]


def median_ramp(data: Array) -> Array:
    """Return the median over integrations of what is not NaN; NaN where nothing is.

    Parameters
    ----------
    data : ndarray
        (integration, group, row, column) float32 in DN.

    Returns
    -------
    ndarray
        (group, row, column) float32; between two values, rounded to single precision as they are.
    """
    values = np.sort(data.astype(np.float32), axis=0)  # NaNs last
    count = np.count_nonzero(~np.isnan(values), axis=0)[None]
    lower = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=0)
    upper = np.take_along_axis(values, np.minimum(count // 2, len(values) - 1), axis=0)
    made: Array = ((lower + upper) / np.float32(2))[0]
    return made


def scales(rates: Array) -> Array:
    """Return by how much each integration is brighter than the median of them.

    Parameters
    ----------
    rates : ndarray
        (integration, row, column) float32 in DN/s.

    Returns
    -------
    ndarray
        (integration,) float32. That of an integration without a finite level is the median of the others; all are NaN
        where there are no others.
    """
    levels = np.full(len(rates), np.nan, np.float32)
    for i, image in enumerate(rates):
        known = image[~np.isnan(image)]
        if known.size:
            levels[i] = np.median(known)
    if np.isnan(levels).all():
        return levels
    with np.errstate(divide="ignore", invalid="ignore"):
        levels /= np.nanmedian(levels)
    finite = np.isfinite(levels)
    levels[~finite] = np.median(levels[finite]) if finite.any() else np.nan
    return levels
