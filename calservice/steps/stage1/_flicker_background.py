"""A smooth background: clipped medians of boxes, filtered and interpolated to the size of the image.

Source: ``Background2D`` of photutils, with its median estimator and its spline interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled
from calservice.steps.stage1._flicker_stats import ROUNDS, SIGMAS, median_of, within

__all__ = ["smooth_background"]

_LARGEST_BOX = 32
_FILLED = 0.9
"""Part of its pixels that a box must have left after clipping for its median to count."""
_FILTER = 5
_NEIGHBOURS = 10


def smooth_background(image: Array, good: Array, box_size: Sequence[int] | None) -> Array | None:
    """Return the smooth background of an image.

    Parameters
    ----------
    image : ndarray
        (row, column) float32.
    good : ndarray
        Where it is background (row, column) bool; pixels that are not finite are left out.
    box_size : sequence of int, optional
        Rows and columns of boxes. Default: the largest up to 32 that part the image evenly.

    Returns
    -------
    ndarray or None
        (row, column) float32; None where no box has enough pixels.
    """
    box = _box(image.shape, box_size)
    medians = _box_medians(image, good, box)
    if np.isnan(medians).all():
        return None
    mesh = _median_filter(_without_holes(medians))
    lowest, highest = mesh.min(), mesh.max()
    if lowest == highest:
        return np.full(image.shape, lowest, np.float32)
    down, across = (_spline(length, factor) for length, factor in zip(mesh.shape, box, strict=True))
    made: Array = (down[: image.shape[0]] @ (mesh @ across[: image.shape[1]].T)).astype(np.float32)
    np.clip(made, lowest, highest, out=made)
    return made


def _box(shape: tuple[int, ...], box_size: Sequence[int] | None) -> tuple[int, int]:
    """Return rows and columns of boxes."""
    if box_size is None:
        rows, columns = (max(n for n in range(1, _LARGEST_BOX + 1) if length % n == 0) for length in shape)
    else:
        rows, columns = (min(n, length) for n, length in zip(box_size, shape, strict=True))
    return rows, columns


def _box_medians(image: Array, good: Array, box: tuple[int, int]) -> Array:
    """Return the medians of boxes after sigma clipping, float32; NaN where too few pixels are left."""
    rows, columns = (math.ceil(length / n) for length, n in zip(image.shape, box, strict=True))
    padded = np.full((rows * box[0], columns * box[1]), np.nan, np.float32)
    usable = good & np.isfinite(image)
    np.copyto(padded[: image.shape[0], : image.shape[1]], image, where=usable)
    boxes = padded.reshape(rows, box[0], columns, box[1]).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    boxes = np.sort(boxes, axis=1)
    made = np.full(rows * columns, np.nan, np.float32)
    _clipped_medians(boxes, _FILLED * boxes.shape[1], made)
    return made.reshape(rows, columns)


@compiled
def _clipped_medians(boxes: Array, threshold: float, made: Array) -> None:
    """Fill the medians of boxes (box, value), sorted with NaNs last, of which more than ``threshold`` values are left.

    A median between two values is rounded to single precision, as the values are.
    """
    for n in range(boxes.shape[0]):
        values = boxes[n]
        a, b = 0, values.size
        while b > 0 and np.isnan(values[b - 1]):
            b -= 1
        for _ in range(ROUNDS):
            if b <= threshold:
                break
            center = median_of(values, a, b)
            mean = 0.0
            for k in range(a, b):
                mean += np.float64(values[k])
            mean /= b - a
            squares = 0.0
            for k in range(a, b):
                squares += (np.float64(values[k]) - mean) ** 2
            sigma = math.sqrt(squares / (b - a))
            low, high = within(values, a, b, center - SIGMAS * sigma, center + SIGMAS * sigma)
            if (low == a and high == b) or high <= low:
                break
            a, b = low, high
        half = (a + b) // 2
        if b - a <= threshold:
            continue
        made[n] = values[half] if (b - a) % 2 else (values[half - 1] + values[half]) / np.float32(2)


def _without_holes(medians: Array) -> Array:
    """Fill boxes that have no median by their ten nearest neighbours that do, weighted by inverse distance."""
    from scipy.spatial import cKDTree

    holes = np.isnan(medians)
    if not holes.any():
        return medians
    # Of neighbours at the same distance, the tree decides, and so the size of its leaves.
    known = medians[~holes].astype(np.float64)
    distances, nearest = cKDTree(np.argwhere(~holes), leafsize=_NEIGHBOURS).query(np.argwhere(holes), k=_NEIGHBOURS)
    there = np.isfinite(distances)
    weights = np.where(there, 1.0 / np.where(there, distances, 1.0), 0.0)
    values = known[np.where(there, nearest, 0)]
    made = medians.copy()
    made[holes] = np.sum(weights * values, axis=1) / np.sum(weights, axis=1)
    return made


def _median_filter(mesh: Array) -> Array:
    """Return the running medians of a mesh over 5 x 5 boxes, of fewer at its edges."""
    around = _FILTER // 2
    padded = np.pad(mesh.astype(np.float64), around, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_FILTER, _FILTER))
    made: Array = np.nanmedian(windows.reshape(*mesh.shape, -1), axis=-1).astype(np.float32)
    return made


@lru_cache(maxsize=8)
def _spline(length: int, factor: int) -> Array:
    """Return the matrix of cubic spline interpolation from boxes to pixels along one axis, float64."""
    from scipy.ndimage import zoom

    columns = [zoom(unit, factor, order=3, mode="reflect", grid_mode=True) for unit in np.eye(length)]
    made: Array = np.stack(columns, axis=1)
    made.flags.writeable = False
    return made
