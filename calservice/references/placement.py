"""Where reference files lie on the detector, and cutting them to the subarray of an exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from calservice.disk import cut_image
from calservice.model.errors import ReferenceFileError
from calservice.model.step import Reference, ReferenceNeed

__all__ = ["Placement", "covers_detector", "fit_to_exposure"]

_IRS2 = (3200, 2048)
"""Rows of an image with interleaved reference pixels, and of the detector that they stand for."""


@dataclass(frozen=True)
class Placement:
    """Where on the detector an image lies: first pixel, counted from 1, and size in pixels."""

    xstart: int
    ystart: int
    xsize: int
    ysize: int

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
        placement = Placement(*(int(value) for value in declared if value is not None))
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
        The same if it matches, else views of its arrays.

    Raises
    ------
    ReferenceFileError
        If the reference does not say where it lies, or does not cover the exposure.

    Notes
    -----
    The rules are those of the official package: sizes are those of the arrays where the header differs,
    a missing placement is taken as the full frame if the size is that of one.
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
    x, y = science.xstart - declared.xstart, science.ystart - declared.ystart
    right, top = x + science.xsize, y + science.ysize
    if x < 0 or y < 0 or right > declared.xsize or top > declared.ysize:
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference covers {declared.xsize} x {declared.ysize} pixels "
            f"from ({declared.xstart}, {declared.ystart}) on, the exposure {shape[1]} x {shape[0]} from "
            f"({science.xstart}, {science.ystart}) on; give a reference that covers the subarray"
        )
    arrays = {
        name: cut_image(a, slice(y, top), slice(x, right)) if a.shape[-2:] == size[-2:] else a
        for name, a in reference.arrays.items()
    }
    return _whole(replace(reference, arrays=arrays), need, shape, path)


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
