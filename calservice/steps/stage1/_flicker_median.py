"""The scene as all integrations of an exposure show it: their median, scaled to how bright each of them is."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["median_ramp", "scales"]


@compiled
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
    nints, ngroups, nrows, ncols = data.shape
    made = np.full((ngroups, nrows, ncols), np.nan, np.float32)
    values = np.empty(nints, np.float32)
    for g in range(ngroups):
        for y in range(nrows):
            for x in range(ncols):
                count = 0
                for i in range(nints):
                    values[count] = data[i, g, y, x]
                    count += not np.isnan(values[count])
                if count:
                    known = np.sort(values[:count])
                    half = count // 2
                    made[g, y, x] = known[half] if count % 2 else (known[half - 1] + known[half]) / np.float32(2)
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
