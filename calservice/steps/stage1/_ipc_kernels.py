"""Compiled loops of the inter-pixel capacitance step: a row is added up, term by term, while it is in the cache."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["convolve", "convolve_each"]


@compiled
def _order(nj: int, ni: int) -> Array:
    """Return the places (row, column) of a convolution kernel in the order of their terms: the middle last."""
    made = np.empty((nj * ni, 2), np.int64)
    n = 0
    for j in range(nj):
        for k in range(ni):
            if j != nj // 2 or k != ni // 2:
                made[n] = (j, k)
                n += 1
    made[n] = (nj // 2, ni // 2)
    return made


@compiled
def _offsets(order: Array, nj: int, ni: int, width: int) -> Array:
    """Return where the pixel of each term lies in a padded image of rows of ``width``, from the first of the kernel."""
    made = np.empty(len(order), np.int64)
    last = len(order) - 1
    for t in range(last):
        made[t] = (nj - 1 - order[t, 0]) * width + ni - 1 - order[t, 1]
    made[last] = order[last, 0] * width + order[last, 1]
    return made


@compiled
def _padded(image: Array, nj: int, ni: int, rows: tuple[int, int], columns: tuple[int, int], out: Array) -> None:
    """Copy the science part of an image into the middle of zeros."""
    for y in range(rows[1] - rows[0]):
        for x in range(columns[1] - columns[0]):
            out[y + nj // 2, x + ni // 2] = image[rows[0] + y, columns[0] + x]


@compiled
def convolve(data: Array, weights: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Return groups convolved with one kernel (row, column), in the given rows and columns; float32."""
    nj, ni = weights.shape
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    made = data.copy()
    padded = np.zeros((height + nj - 1, width + ni - 1), np.float32)
    flat = padded.reshape(-1)
    order = _order(nj, ni)
    offsets = _offsets(order, nj, ni, padded.shape[1])
    total = np.empty(width, np.float32)
    for i in range(data.shape[0]):
        for g in range(data.shape[1]):
            _padded(data[i, g], nj, ni, rows, columns, padded)
            for y in range(height):
                start = y * padded.shape[1]
                total[:] = 0
                t = 0
                while t + 2 < len(order):  # three terms at a time, for fewer passes over the row
                    u = weights[order[t, 0], order[t, 1]]
                    v = weights[order[t + 1, 0], order[t + 1, 1]]
                    w = weights[order[t + 2, 0], order[t + 2, 1]]
                    a = flat[start + offsets[t] :][:width]
                    b = flat[start + offsets[t + 1] :][:width]
                    c = flat[start + offsets[t + 2] :][:width]
                    for x in range(width):
                        total[x] = ((total[x] + u * a[x]) + v * b[x]) + w * c[x]
                    t += 3
                while t < len(order):
                    u = weights[order[t, 0], order[t, 1]]
                    a = flat[start + offsets[t] :][:width]
                    for x in range(width):
                        total[x] += u * a[x]
                    t += 1
                made[i, g, rows[0] + y, columns[0] : columns[1]] = total
    return made


@compiled
def convolve_each(data: Array, weights: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    """Return groups convolved with a kernel for each pixel (row, column, row and column of the image); float32."""
    nj, ni = weights.shape[:2]
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    made = data.copy()
    padded = np.zeros((height + nj - 1, width + ni - 1), np.float32)
    flat = padded.reshape(-1)
    order = _order(nj, ni)
    offsets = _offsets(order, nj, ni, padded.shape[1])
    total = np.empty(width, np.float32)
    for i in range(data.shape[0]):
        for g in range(data.shape[1]):
            _padded(data[i, g], nj, ni, rows, columns, padded)
            for y in range(height):
                start = y * padded.shape[1]
                total[:] = 0
                for t in range(len(order)):
                    own = weights[order[t, 0], order[t, 1], rows[0] + y, columns[0] : columns[1]]
                    a = flat[start + offsets[t] :][:width]
                    for x in range(width):
                        total[x] += own[x] * a[x]
                made[i, g, rows[0] + y, columns[0] : columns[1]] = total
    return made
