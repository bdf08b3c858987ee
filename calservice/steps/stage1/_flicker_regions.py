"""Regions of a detector that science uses, or never does, in which no background is looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import DO_NOT_USE, PIXEL_FLAGS
from calservice.model.errors import InputError, ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import Reference

__all__ = ["no_traces", "trace_arrays", "traced", "unused", "without_flat"]

_UNUSED = DO_NOT_USE | PIXEL_FLAGS["NON_SCIENCE"]
_NO_FLAT_FIELD = PIXEL_FLAGS["NO_FLAT_FIELD"]
_HALF_WIDTH = 16
"""Rows on either side of a trace that belong to it."""
_SUBSTRIP96 = 10
"""Rows by which the traces lie lower in the smaller of the two strips."""
_LAST_ROW = 255.0
"""Row beyond which the larger strip has no trace."""


def unused(dq: Array) -> Array:
    """Return where flags of rates, an image or several, say that science makes no use of pixels. bool."""
    made: Array = (dq & np.uint32(_UNUSED)) != 0
    return made


def without_flat(flat: Reference) -> Array:
    """Return where science makes no use of pixels for want of a flat field.

    Parameters
    ----------
    flat : Reference
        ``data``, ``dq`` and, if it has any, ``err`` (row, column).

    Returns
    -------
    ndarray
        (row, column) bool: where the flat field says so, has no value, 0 or no error.

    Notes
    -----
    Source: ``flat_field`` in the JWST pipeline documentation.
    """
    data, flags = np.asarray(flat["data"]), np.asarray(flat["dq"])
    bad: Array = (flags & np.uint32(_UNUSED | _NO_FLAT_FIELD)) != 0
    bad |= np.isnan(data) | (data == 0)
    if "err" in flat.arrays:
        bad |= np.isnan(np.asarray(flat["err"]))
    return bad


# -- spectra of NIRISS SOSS


def trace_arrays(tree: Mapping[str, Any]) -> dict[str, Array]:
    """Return what a ``pastasoss`` reference tells of the traces, from its tree.

    Parameters
    ----------
    tree : mapping
        ``meta`` with positions of the pupil wheel and the grid of wavelengths; ``traces`` and ``wavecal_models`` of
        each order.

    Returns
    -------
    dict
        ``wheel``: commanded position and its bounds, degrees; ``grid``: first and last wavelength in micron, and their
        number. Of each order, numbered from 0: ``trace_0`` (point, 2), columns and rows in pixels; ``pivot_0`` (2,);
        ``coefficients_0`` of the polynomial that gives wavelengths in micron, and ``extents_0`` (2, 2), the ranges of
        column and of wheel offset that it is made for. float64.
    """
    meta = tree["meta"]
    made: dict[str, Any] = {
        "wheel": (meta["pwcpos_cmd"], *meta["pwcpos_bounds"]),
        "grid": (meta["wavemap_wlmin"], meta["wavemap_wlmax"], meta["wavemap_nwl"]),
    }
    models = {int(model["spectral_order"]): model for model in tree["wavecal_models"]}
    for n, order in enumerate(tree["traces"]):
        model = models[int(order["spectral_order"])]
        made[f"trace_{n}"] = order["trace"]
        made[f"pivot_{n}"] = order["pivot_x"], order["pivot_y"]
        made[f"coefficients_{n}"] = model["coefficients"]
        made[f"extents_{n}"] = model["scale_extents"]
    return {name: np.array(values, np.float64) for name, values in made.items()}


def traced(reference: Reference, info: ExposureInfo) -> Array:
    """Return where the traces of all orders lie.

    Parameters
    ----------
    reference : Reference
        `trace_arrays` of a ``pastasoss`` reference.
    info : ExposureInfo
        Its size, name of the subarray and position of the pupil wheel.

    Returns
    -------
    ndarray
        (row, column) bool.

    Raises
    ------
    InputError
        If the header does not tell the position of the pupil wheel, or one that the reference is not made for.

    Notes
    -----
    Source: PASTASOSS, Baines et al. 2023, JWST-STScI-008571: traces turn about a pivot with the pupil wheel.
    """
    wheel, low, high = reference["wheel"]
    if info.pupil_position is None or not low <= info.pupil_position <= high:
        raise InputError(
            f"PWCPOS={info.pupil_position}: traces are known for positions of the pupil wheel from {low} to {high} "
            f"degrees ({reference.name}). Correct it, or set clean_flicker_noise.mask_science_regions to False"
        )
    rows, columns = np.arange(info.nrows)[:, None], np.arange(info.ncols)
    made = np.zeros((info.nrows, info.ncols), bool)
    for n in range(sum(name.startswith("trace_") for name in reference.arrays)):
        x, y = _trace(reference, n, info.pupil_position - wheel, info.subarray)
        by_column = np.argsort(x)
        middle = np.interp(columns, x[by_column], y[by_column])
        made |= (rows >= np.floor(middle - _HALF_WIDTH)) & (rows <= np.ceil(middle + _HALF_WIDTH))
    return made


def _trace(reference: Reference, n: int, offset: float, strip: str) -> tuple[Array, Array]:
    """Return columns and rows of an order at each wavelength of the grid, once the pupil wheel is off by degrees."""
    from scipy.interpolate import interp1d

    pivot, extents = reference[f"pivot_{n}"][:, None], reference[f"extents_{n}"]
    x, y = np.array(reference[f"trace_{n}"].T)
    if strip == "SUBSTRIP96":
        y -= _SUBSTRIP96
    angle = np.radians(offset)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = turn @ (np.vstack([x, y]) - pivot) + pivot
    y = interp1d(*turned, fill_value="extrapolate")(x)
    x, y = x[y <= _LAST_ROW], y[y <= _LAST_ROW]
    (first_x, first_offset), (last_x, last_offset) = extents
    at = (x - first_x) / (last_x - first_x), (np.ones_like(x) * offset - first_offset) / (last_offset - first_offset)
    wavelengths = _polynomial(reference[f"coefficients_{n}"])(*at)
    low, high, count = reference["grid"]
    wanted = np.linspace(low, high, int(count))
    return _followed(wanted, wavelengths, x), _followed(wanted, wavelengths, y)


def _polynomial(coefficients: Array) -> Any:
    """Return a polynomial of two variables whose coefficients go by the sum of powers, then by the second power."""
    from astropy.modeling.polynomial import Polynomial2D

    degree = math.isqrt(2 * len(coefficients)) - 1
    powers = [(total - second, second) for total in range(degree + 1) for second in range(total + 1)]
    return Polynomial2D(degree, **{f"c{i}_{j}": value for (i, j), value in zip(powers, coefficients, strict=False)})


def _followed(wanted: Array, places: Array, values: Array) -> Array:
    """Return values that are known at some places at others, beyond the ends along the line of the last two."""
    order = np.argsort(places)
    at, values = places[order], values[order]
    before, after = wanted[wanted < at[0]], wanted[wanted > at[-1]]
    first = values[0] + (before - at[0]) * ((values[1] - values[0]) / (at[1] - at[0]))
    last = values[-1] + (after - at[-1]) * ((values[-1] - values[-2]) / (at[-1] - at[-2]))
    made: Array = np.interp(wanted, np.concatenate((before, at, after)), np.concatenate((first, values, last)))
    return made


def no_traces() -> ReferenceFileError:
    """Return what to raise where there is no ``pastasoss`` reference."""
    return ReferenceFileError(
        "clean_flicker_noise: mask_science_regions needs to know where the traces are, but the pastasoss reference is "
        "not applicable (N/A) in this context. Name a file with --steps.clean_flicker_noise.override_pastasoss=FILE"
    )
