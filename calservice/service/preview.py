"""Small pictures of images, for notebooks."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["preview_png"]

_SIDE = 320
"""Pixels of the longer side of a preview, about."""
_COLOURS = 64
"""Colours of a preview: few, so that notebooks stay small."""
_READ = 2048
"""Of a larger image only every second, third ... row and column is read."""


def preview_png(path: Path) -> bytes | None:
    """Return a picture of the first science image of a FITS file.

    Of a cube or ramp it shows the middle plane. Brightness is stretched by asinh between percentiles; pixels without
    a value are transparent.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bytes or None
        A PNG; None where there is no image, or matplotlib is not installed.
    """
    if not path.name.endswith((".fits", ".fits.gz")):
        return None
    try:
        from matplotlib import colormaps, image
    except ImportError:
        return None
    plane = _plane(path)
    if plane is None:
        return None
    colours = colormaps["magma"].resampled(_COLOURS)(_stretched(plane), bytes=True)
    file = io.BytesIO()
    image.imsave(file, colours, format="png", origin="lower")
    return file.getvalue()


def _plane(path: Path) -> NDArray[Any] | None:
    """Read one plane of SCI, thinned out and averaged to the size of a preview."""
    import numpy as np
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            with fits.open(path, memmap=True) as hdus:
                found = next((hdu for hdu in hdus if hdu.name == "SCI" and hdu.is_image), None)
                shape = () if found is None else found.shape
                if found is None or len(shape) < 2 or min(shape) < 1 or min(shape[-2:]) < 4:
                    return None
                step = -(-max(shape[-2:]) // _READ)
                middle = tuple(n // 2 for n in shape[:-2])
                plane = np.array(found.data[(*middle, slice(None, None, step), slice(None, None, step))], np.float32)
        except (OSError, ValueError, TypeError):
            return None
    block = max(plane.shape) // _SIDE
    if block > 1:
        rows, columns = (n // block for n in plane.shape)
        if min(rows, columns) < 1:
            return plane
        plane = plane[: rows * block, : columns * block].reshape(rows, block, columns, block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # blocks without any value
            plane = np.nanmean(plane, axis=(1, 3))
    return plane


def _stretched(plane: NDArray[Any]) -> NDArray[Any]:
    """Return values from 0 to 1; NaN, which is transparent, where there is none."""
    import numpy as np

    finite = plane[np.isfinite(plane)]
    low, high = np.percentile(finite, (5, 99.7)) if finite.size else (0.0, 1.0)
    scaled = np.clip((plane - low) / max(high - low, 1e-30), 0, 1)
    return np.ma.masked_invalid(np.arcsinh(10 * scaled) / np.arcsinh(10))
