"""Exposures whose pixels stay in their file: a datamodel with all else, and arrays that read windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from calservice.fits_on_disk import image_on_disk, is_plain_fits
from calservice.model.block import AXES, Array
from calservice.run.chain import DTYPES
from calservice.run.schemas import schema_of

__all__ = ["fill", "open_lazily", "settled"]

_NAMES = {"SCI": "data", "GROUPDQ": "groupdq", "ZEROFRAME": "zeroframe"}
"""Arrays of ramps by the names of their extensions."""

_IMAGE = AXES["pixeldq"]


def open_lazily(path: Path, kind: Any) -> tuple[Any, dict[str, Array]]:
    """Open an exposure without reading its pixels.

    Parameters
    ----------
    path : Path
        The exposure.
    kind : type
        Class of its datamodel.

    Returns
    -------
    model : datamodel
        With place-holders of one group for the arrays of the next, and flags of that shape.
    pixels : dict of str to DiskArray
        Arrays by attribute of the model; empty where the file, or one of the arrays, is compressed or otherwise
        unusual, and the model is complete.
    """
    from astropy.io import fits

    if not is_plain_fits(path):
        return kind(str(path)), {}
    pixels: dict[str, Array] = {}
    with fits.open(path, memmap=False) as hdus:
        made = fits.HDUList()
        for hdu in hdus:
            if hdu.name not in _NAMES:
                made.append(hdu)
                continue
            array = image_on_disk(path, hdu) if type(hdu) is fits.ImageHDU else None
            if array is None:
                return kind(str(path)), {}
            name = _NAMES[hdu.name]
            pixels[name] = cast(Array, array)
            made.append(fits.ImageHDU(_place_holder(name, array.shape), _plain(hdu.header), name=hdu.name))
        model = kind(made, schema=schema_of(kind))
    model.meta.filename = path.name
    for name in ("pixeldq", "groupdq"):
        if name not in pixels and model.hasattr(name) and not getattr(model, name).any():
            # the system gives memory to zeros only where they are changed
            setattr(model, name, np.zeros(getattr(model, name).shape, DTYPES[name]))
    return model, pixels


def _place_holder(name: str, shape: tuple[int, ...]) -> Array:
    """Return one image of NaN or 0 with as many axes, without memory of its own; of all, a model would make copies."""
    kind = np.dtype(DTYPES[name])
    value = np.array(np.nan if kind.kind == "f" else 0, kind)
    return np.broadcast_to(value, (*(1 for _ in shape[:-2]), *shape[-2:]))


def _plain(header: Any) -> Any:
    """Return a header without what describes the stored numbers."""
    copied = header.copy(strip=True)
    for name in ("BZERO", "BSCALE"):
        copied.remove(name, ignore_missing=True)
    return copied


def settled(source: Mapping[str, Array], pixels: Mapping[str, Array]) -> dict[str, Array]:
    """Return the arrays of an exposure that was opened without its pixels, without place-holders."""
    ramps = {name for name in source if len(AXES[name]) > len(_IMAGE)} if pixels else set()
    return {name: pixels.get(name, array) for name, array in source.items() if name in pixels or name not in ramps}


def fill(model: Any, pixels: Mapping[str, Array], left: Collection[str]) -> None:
    """Read arrays into the model that has place-holders for them, and give it flags of their shape.

    Parameters
    ----------
    model : datamodel
        As `open_lazily` returned it.
    pixels : mapping of str to ndarray
        Its arrays.
    left : collection of str
        Names of those to read; the model is about to get others in their place.
    """
    for name in left:
        setattr(model, name, np.asarray(pixels[name]).astype(DTYPES[name], copy=False))
    if pixels and "groupdq" not in pixels and model.hasattr("groupdq"):
        model.groupdq = np.zeros(pixels["data"].shape, DTYPES["groupdq"])
