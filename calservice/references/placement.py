"""Where reference files lie on the detector, and cutting them to the subarray of an exposure, or to its stripes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from calservice.disk import cut_image
from calservice.model.block import Array
from calservice.model.errors import ReferenceFileError
from calservice.model.step import Reference, ReferenceNeed
from calservice.model.stripes import FULL, Stripes

__all__ = ["Placement", "covers_detector", "fit_to_exposure"]

_IRS2 = (3200, 2048)
"""Rows of an image with interleaved reference pixels, and of the detector that they stand for."""

_Ranges = Sequence[tuple[int, int]]
"""First lines, from 0, and the ones after the last."""


@dataclass(frozen=True)
class Placement:
    """Where on the detector an image lies: first pixel, counted from 1, and size in pixels.

    If it is put together of stripes, also which, and the axis across which they lie (SLOWAXIS).
    """

    xstart: int
    ystart: int
    xsize: int
    ysize: int
    stripes: Stripes | None = None
    slowaxis: int = 2

    def sized(self, shape: tuple[int, ...]) -> Placement:
        """Return the placement with the size that the array really has.

        IRS2 images, whose 3200 rows stand for 2048 of the detector, keep their declared height.
        """
        rows, columns = shape[-2:]
        rows = self.ysize if (rows, self.ysize) == _IRS2 else rows
        return Placement(self.xstart, self.ystart, columns, rows)


def _placed(reference: Reference, shape: tuple[int, ...], path: str | Path) -> Placement:
    """Return the declared placement of a reference; that of the full frame if it has its shape."""
    declared = [reference.meta.get(f"meta.subarray.{name}") for name in ("xstart", "ystart", "xsize", "ysize")]
    if all(value is not None for value in declared):
        xstart, ystart, xsize, ysize = (int(value) for value in declared if value is not None)
        placement = Placement(xstart, ystart, xsize, ysize)
    else:
        miri = str(reference.meta.get("meta.instrument.name")).upper() == "MIRI"
        full = (1024, 1032) if miri else (2048, 2048)
        if tuple(shape[-2:]) != full:
            raise ReferenceFileError(
                f"{path}: its header does not say where on the detector its {shape[-1]} x {shape[-2]} "
                "pixels lie; add SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2"
            )
        placement = Placement(1, 1, full[1], full[0])
    if placement.xstart < 1 or placement.ystart < 1:
        raise ReferenceFileError(
            f"{path}: its header places it at pixel ({placement.xstart}, {placement.ystart}), but "
            "pixels count from 1; correct SUBSTRT1 and SUBSTRT2"
        )
    return placement


def _main(reference: Reference, need: ReferenceNeed) -> str:
    """Return the array whose shape is that of the reference."""
    return next((n for n in need.arrays if n in reference and n != "dq"), need.arrays[0])


def covers_detector(reference: Reference, need: ReferenceNeed) -> bool:
    """Tell whether a reference has rows and columns of the detector, and so has to fit an exposure."""
    return bool(need.arrays) and reference[_main(reference, need)].ndim >= need.axes


def fit_to_exposure(
    reference: Reference,
    need: ReferenceNeed,
    science: Placement,
    shape: tuple[int, int],
    path: str | Path = "reference",
) -> Reference:
    """Cut a reference to the part of the detector that an exposure covers.

    Parameters
    ----------
    reference : Reference
        As `load_reference` returns it.
    need : ReferenceNeed
        Tells whether cutting is allowed.
    science : Placement
        SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2 of the exposure.
    shape : tuple of int
        Rows and columns that the exposure's arrays really have.
    path : str or Path
        Name of the file, for messages.

    Returns
    -------
    Reference
        The same if it matches, else views of its arrays; of several stripes, arrays that are put together of them.

    Raises
    ------
    ReferenceFileError
        If the reference does not say where it lies, or does not cover the exposure.

    Notes
    -----
    The rules are those of the official package: sizes are those of the arrays where the header differs,
    a missing placement is taken as the full frame if the size is that of one. References are cut to stripes only
    from the full length of the detector.
    """
    if not covers_detector(reference, need):
        return reference
    size = reference[_main(reference, need)].shape
    if not need.subarray:
        if tuple(size[-2:]) == shape:
            return reference
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference has {size[-1]} x {size[-2]} pixels, the exposure "
            f"{shape[1]} x {shape[0]}; references of this type are not cut, give one of the subarray"
        )
    declared = _placed(reference, size, path)
    if declared.sized(size) == science.sized(shape):
        return _whole(reference, need, shape, path)
    if (science.ysize, science.xsize) != shape:
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference, of {size[-1]} x {size[-2]} pixels, cannot be cut to the exposure, "
            f"whose header tells of {science.xsize} x {science.ysize} pixels (SUBSIZE1, SUBSIZE2) where it has "
            f"{shape[1]} x {shape[0]}; correct the header of the exposure"
        )
    science = science if need.stripes else replace(science, stripes=None)
    rows, columns = _ranges(declared, science)
    inside = _covers(rows, declared.ysize) and _covers(columns, declared.xsize)
    if science.stripes is not None and not inside:
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference covers {declared.xsize} x {declared.ysize} pixels from "
            f"({declared.xstart}, {declared.ystart}) on, where the exposure has several stripes; give a reference of "
            "the whole detector, or of the same stripes"
        )
    if not inside:
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference covers {declared.xsize} x {declared.ysize} pixels "
            f"from ({declared.xstart}, {declared.ystart}) on, the exposure {shape[1]} x {shape[0]} from "
            f"({science.xstart}, {science.ystart}) on; give a reference that covers the subarray"
        )
    arrays = {n: _cut(a, rows, columns) if a.shape[-2:] == size[-2:] else a for n, a in reference.arrays.items()}
    return _whole(replace(reference, arrays=arrays), need, shape, path)


def _ranges(declared: Placement, science: Placement) -> tuple[_Ranges, _Ranges]:
    """Return which rows and which columns of a reference an exposure holds: one range each, or one a stripe.

    Of stripes they begin outside of a reference that does not have the whole length of the detector.
    """
    x, y = science.xstart - declared.xstart, science.ystart - declared.ystart
    rows, columns = [(y, y + science.ysize)], [(x, x + science.xsize)]
    if science.stripes is None:
        return rows, columns
    upright = abs(science.slowaxis) == 2
    place, length = (declared.ystart, declared.ysize) if upright else (declared.xstart, declared.xsize)
    if (place, length) != (1, FULL):
        return [(-1, 0)], columns
    start, count = (science.ystart, science.ysize) if upright else (science.xstart, science.xsize)
    lines = science.stripes.placed(count, science.slowaxis, start)
    return (lines, columns) if upright else (rows, lines)


def _covers(ranges: _Ranges, size: int) -> bool:
    return all(start >= 0 and stop <= size for start, stop in ranges)


def _cut(array: Array, rows: _Ranges, columns: _Ranges) -> Array:
    """Return ranges of rows and columns of the images of an array: a view of one of each, a copy of several."""
    pieces = [[cut_image(array, slice(*y), slice(*x)) for x in columns] for y in rows]
    if len(rows) == len(columns) == 1:
        return pieces[0][0]
    return np.concatenate([np.concatenate([np.asarray(a) for a in row], axis=-1) for row in pieces], axis=-2)


def _whole(reference: Reference, need: ReferenceNeed, shape: tuple[int, int], path: str | Path) -> Reference:
    """Return a reference that was cut, or needs no cut, if all its arrays have the rows and columns due."""
    rows = (shape[0], _IRS2[1]) if shape[0] == _IRS2[0] else (shape[0],)
    for name, array in reference.arrays.items():
        if array.ndim < need.axes or (array.shape[-2] in rows and array.shape[-1] == shape[1]):
            continue
        raise ReferenceFileError(
            f"{path}: {name} of the {need.reftype} reference has {array.shape[-1]} x {array.shape[-2]} pixels, where "
            f"its header (SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2) has the exposure's {shape[1]} x {shape[0]}; "
            "give a file that agrees with its header"
        )
    return reference
