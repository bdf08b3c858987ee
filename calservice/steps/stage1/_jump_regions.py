"""Connected regions of flagged pixels, and the ellipses that stand for them.

Regions are found in one compiled pass over a plane of flags. Only of the few that matter are ellipses computed,
by scikit-image: flags depend on the last bit of their axes and angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.steps.compiled import compiled

__all__ = ["Ellipse", "Regions", "find_regions", "mask_of"]

_FEWEST_AROUND_A_HOLE = 8
"""Pixels that enclose a hole: it is none if it touches what is outside by a corner."""
_STRETCH = 64


@dataclass(frozen=True)
class Ellipse:
    """An ellipse around a region.

    Attributes
    ----------
    x, y : float
        Centre, in pixels.
    minor, major : float
        Lengths of the axes of an ellipse with the second moments of the region, less 1, in pixels.
    angle : float
        Of the major axis, from the direction of rows, in degrees.
    """

    x: float
    y: float
    minor: float
    major: float
    angle: float

    def holds(self, x: float, y: float) -> bool:
        """Tell whether a point lies in the ellipse."""
        turn = np.radians(180 - self.angle)
        dx, dy = x - self.x, y - self.y
        along = dx * np.cos(turn) - dy * np.sin(turn)
        across = dx * np.sin(turn) + dy * np.cos(turn)
        large, small = (self.major, self.minor) if self.major >= self.minor else (self.minor, self.major)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = along**2 / np.float64(large * 0.5) ** 2 + across**2 / np.float64(small * 0.5) ** 2
        return bool(distance <= 1)


@dataclass(frozen=True)
class Regions:
    """Groups of flagged pixels that touch, be it by corners, in the order of their first pixels.

    Attributes
    ----------
    x, y : ndarray of float
        Mean positions, in pixels.
    runs : ndarray of int
        The stretches of rows of all regions, one region after the other: row, first column, column after the last.
    first : ndarray of int
        Where the runs of each region begin, and where those of the last one end.
    """

    x: Array
    y: Array
    runs: Array
    first: Array

    def __len__(self) -> int:
        return len(self.x)

    def chosen(self, which: Array) -> Regions:
        """Return some of the regions, by a mask or by numbers in ascending order."""
        kept = np.zeros(len(self), np.bool_)
        kept[which] = True
        lengths = np.diff(self.first)
        first = np.concatenate([[0], np.cumsum(lengths[kept])])
        return Regions(self.x[kept], self.y[kept], self.runs[np.repeat(kept, lengths)], first)

    @cached_property
    def boxes(self) -> Array:
        """First row, row after the last, first column and column after the last of each region."""
        if not len(self):
            return np.zeros((0, 4), np.int64)
        start = self.first[:-1]
        low, high = (f.reduceat(self.runs, start, axis=0) for f in (np.minimum, np.maximum))
        return np.stack([low[:, 0], high[:, 0] + 1, low[:, 1], high[:, 2]], axis=1)

    @property
    def reach(self) -> Array:
        """Lengths, in pixels, that no semi-axis of the ellipse of each region passes."""
        top, bottom, left, right = self.boxes.T
        lengths: Array = np.maximum(np.hypot(bottom - top - 1, right - left - 1), 1.0)
        return lengths

    def image(self, k: int) -> Array:
        """Return the smallest rectangle around a region, bool."""
        top, bottom, left, right = self.boxes[k]
        made = np.zeros((bottom - top, right - left), np.bool_)
        for y, start, stop in self.runs[self.first[k] : self.first[k + 1]]:
            made[y - top, start - left : stop - left] = True
        return made

    def ellipse(self, k: int) -> Ellipse:
        """Return the ellipse with the second moments of a region."""
        image = self.image(k)
        return Ellipse(float(self.x[k]), float(self.y[k]), *_axes(image.shape, image.tobytes()))

    def filled(self, k: int) -> int:
        """Return the number of pixels of a region with those of its holes."""
        from scipy.ndimage import binary_fill_holes

        return int(binary_fill_holes(self.image(k), np.ones((3, 3))).sum())


@lru_cache(maxsize=4096)
def _axes(shape: tuple[int, int], pixels: bytes) -> tuple[float, float, float]:
    """Return minor and major axis and angle of a region; small ones have the same few forms."""
    from skimage.measure import regionprops

    measure: Any = regionprops
    (found,) = measure(np.frombuffer(pixels, np.uint8).reshape(shape))
    minor, major = float(found.axis_minor_length - 1), float(found.axis_major_length - 1)
    return minor, major, float(np.degrees(found.orientation))


@compiled
def _find_runs(plane: Array, bit: int) -> Array:
    """Return the stretches of rows with a flag: row, first column, column after the last, in order."""
    nrows, ncols = plane.shape
    runs, count = np.empty((1024, 3), np.int32), 0
    for y in range(nrows):
        line = plane[y]
        start = -1
        for x0 in range(0, ncols, _STRETCH):
            stretch = line[x0 : min(x0 + _STRETCH, ncols)]
            some = np.uint8(0)
            for flags in stretch:
                some |= flags
            if some & bit == 0 and start < 0:
                continue
            for k in range(stretch.size):
                flagged = stretch[k] & bit != 0
                if flagged == (start >= 0):
                    continue
                if flagged:
                    start = x0 + k
                    continue
                if count == runs.shape[0]:
                    more = np.empty((2 * count, 3), np.int32)
                    more[:count] = runs
                    runs = more
                runs[count] = y, start, x0 + k
                count, start = count + 1, -1
        if start >= 0:
            if count == runs.shape[0]:
                more = np.empty((2 * count, 3), np.int32)
                more[:count] = runs
                runs = more
            runs[count] = y, start, ncols
            count += 1
    return runs[:count]


@compiled
def _root(parents: Array, k: int) -> int:
    while parents[k] != k:
        parents[k] = parents[parents[k]]
        k = parents[k]
    return k


@compiled
def _join_runs(runs: Array) -> Array:
    """Return for each run the first run of the region that it belongs to."""
    count = runs.shape[0]
    parents = np.arange(count)
    above = 0
    for k in range(count):
        y, start, stop = runs[k]
        while runs[above, 0] < y - 1 or (runs[above, 0] == y - 1 and runs[above, 2] < start):
            above += 1
        other = above
        while other < k and runs[other, 0] == y - 1 and runs[other, 1] <= stop:
            a, b = _root(parents, k), _root(parents, other)
            if a < b:
                parents[b] = a
            else:
                parents[a] = b
            other += 1
    for k in range(count):
        parents[k] = _root(parents, k)
    return parents


def find_regions(plane: Array, bit: int, least: float) -> Regions:
    """Return the regions of pixels with a flag that have at least some area, holes counted in.

    Parameters
    ----------
    plane : ndarray of uint8
        (row, column) flags, contiguous.
    bit : int
        The flag.
    least : float
        The smallest area, in pixels.
    """
    runs = _find_runs(plane, bit)
    owners = _join_runs(runs)
    order = np.argsort(owners, kind="stable")
    heads = np.flatnonzero(owners == np.arange(len(runs)))
    first = np.append(np.searchsorted(owners[order], heads), len(runs))
    runs = runs[order]
    lengths = (runs[:, 2] - runs[:, 1]).astype(np.float64)
    sums = (lengths, lengths * (runs[:, 1] + runs[:, 2] - 1) / 2, lengths * runs[:, 0])
    areas, columns, rows = (np.add.reduceat(values, first[:-1]) if len(heads) else values for values in sums)
    found = Regions(columns / areas, rows / areas, runs, first)
    enough = areas >= least
    top, bottom, left, right = found.boxes.T
    fits = (bottom - top) * (right - left) >= least
    for k in np.flatnonzero(~enough & fits & (areas >= _FEWEST_AROUND_A_HOLE)):
        enough[k] = found.filled(int(k)) >= least
    return found.chosen(enough)


def mask_of(ellipse: Ellipse, minor: float, major: float, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], Array]:
    """Return the pixels within an ellipse about the centre of another.

    Parameters
    ----------
    ellipse : Ellipse
        Centre and angle.
    minor, major : float
        Full axes, in pixels.
    shape : tuple of int
        Rows and columns of the image.

    Returns
    -------
    tuple of slice, ndarray of bool
        A part of the image, and which of its pixels are within; read-only.
    """
    x, y, across, along = round(ellipse.x), round(ellipse.y), round(minor / 2), round(major / 2)
    size = max(across, along) + 2
    left, right = max(x - size, 0), min(x + size + 1, shape[1])
    top, bottom = max(y - size, 0), min(y + size + 1, shape[0])
    mask = _drawn((y - top, x - left), (along, across), (bottom - top, right - left), ellipse.angle)
    return (slice(top, bottom), slice(left, right)), mask


@lru_cache(maxsize=1024)
def _drawn(centre: tuple[int, int], radii: tuple[int, int], shape: tuple[int, int], angle: float) -> Array:
    from skimage.draw import ellipse

    mask = np.zeros(shape, np.bool_)
    if radii[0] and radii[1]:
        draw: Any = ellipse
        rows, columns = draw(*centre, *radii, shape, np.radians(angle))
        mask[rows, columns] = True
    mask.flags.writeable = False
    return mask
