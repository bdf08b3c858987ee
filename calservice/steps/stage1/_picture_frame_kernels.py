"""Scaling of the picture frame to groups of an exposure."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["correct_ramp", "regions", "typical"]

_CENTER = (76, 1984)
_EDGES = (4, 75, 1985, 2043)


def regions(background: Array) -> tuple[Array, Array]:
    """Return the places of background pixels in the center and near the edges of a detector, flat."""
    center = np.zeros(background.shape, np.bool_)
    center[_CENTER[0] : _CENTER[1], _CENTER[0] : _CENTER[1]] = True
    edge = np.zeros(background.shape, np.bool_)
    outer, inner = slice(_EDGES[0], _EDGES[3]), slice(_EDGES[1], _EDGES[2])
    edge[outer, outer] = True
    edge[inner, inner] = False
    return np.flatnonzero(center & background), np.flatnonzero(edge & background)


def typical(values: Array) -> np.float32:
    """Return the median of the values that are not NaN, rounded as they are; NaN where there is none."""
    count = values.size - int(np.count_nonzero(np.isnan(values)))
    if not count:
        return np.float32(np.nan)
    half = count // 2
    if count % 2:
        return np.float32(np.partition(values, half)[half])
    ordered = np.partition(values, (half - 1, half))
    return np.float32((ordered[half - 1] + ordered[half]) / np.float32(2))


@compiled
def _differences(ramp: Array, g: int, places: Array, made: Array) -> None:
    """Fill what a group has more than the first one at some places."""
    first, group = ramp[0].reshape(-1), ramp[g].reshape(-1)
    for k in range(places.size):
        made[k] = group[places[k]] - first[places[k]]


@compiled
def _subtract(
    ramp: Array, g: int, frame: Array, level: np.float32, scale: np.float32, offset: np.float32, out: Array
) -> None:
    """Fill a group from which the picture frame is subtracted; ``level`` is that of the frame's edges."""
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            first = ramp[0, y, x]
            correction = scale * (frame[y, x] - level) + offset
            out[y, x] = (ramp[g, y, x] - first) + (first - correction)


def correct_ramp(ramp: Array, frame: Array, center: Array, edge: Array) -> Array:
    """Return a ramp from whose groups the picture frame is subtracted.

    Parameters
    ----------
    ramp : ndarray
        (group, row, column) float32 in DN.
    frame : ndarray
        The picture frame (row, column) float32.
    center, edge : ndarray
        Places of `regions`.

    Returns
    -------
    ndarray
        (group, row, column) float32. The first group stays.
    """
    made = np.empty(ramp.shape, np.float32)
    made[0] = ramp[0]
    pixels = frame.reshape(-1)
    at_edge = typical(pixels[edge])
    contrast = typical(pixels[center]) - at_edge
    inner, outer = np.empty(center.size, np.float32), np.empty(edge.size, np.float32)
    for g in range(1, ramp.shape[0]):
        _differences(ramp, g, center, inner)
        _differences(ramp, g, edge, outer)
        offset = typical(outer)
        scale = np.float32((typical(inner) - offset) / contrast)
        _subtract(ramp, g, frame, at_edge, scale, offset, made[g])
    return made
