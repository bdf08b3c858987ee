"""The reference files of one mode, written through the data models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Mode, Subarray
from calservice.simulate.geometry import distortion_model
from calservice.simulate.psf import encircled_energy, energy_radius
from calservice.simulate.response import Response

USEAFTER = "2022-01-01T00:00:00"
"""Date from which every simulated reference applies."""

_ENERGIES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SKY_ANNULUS = (9.0, 13.0)
_DARK_INTEGRATIONS = 2

Flags = NDArray[np.uint32]


@dataclass(frozen=True)
class Making:
    """What the makers of reference files work from.

    Parameters
    ----------
    mode : Mode
        Whose references.
    subarray : Subarray
        The window that image references cover.
    response : Response
        The pixels.
    area : ndarray of float32, shape (rows, columns)
        Pixel areas in units of the nominal one.
    groups : int
        Groups of the exposures that the dark must reach.
    """

    mode: Mode
    subarray: Subarray
    response: Response
    area: NDArray[np.float32]
    groups: int


def _flags(making: Making, **where: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a DQ plane and its DQ_DEF table; the names of `where` are the flags it sets."""
    from stdatamodels.jwst.datamodels import dqflags

    plane = np.zeros(making.subarray.shape, dtype=np.uint32)
    rows = []
    for name, pixels in where.items():
        value = int(dqflags.pixel[name])
        plane[pixels] |= np.uint32(value)
        description = name.replace("_", " ").capitalize()
        rows.append((value.bit_length() - 1, value, name, description))
    rows.sort()
    layout = [("BIT", "<i4"), ("VALUE", "<u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    return {"dq": plane, "dq_def": np.array(rows, dtype=layout)}


def _mask(making: Making) -> dict[str, Any]:
    response = making.response
    flags = _flags(
        making,
        DO_NOT_USE=response.dead | response.hot,
        DEAD=response.dead,
        HOT=response.hot,
        REFERENCE_PIXEL=response.reference,
    )
    return flags


def _saturation(making: Making) -> dict[str, Any]:
    response = making.response
    flags = _flags(making, NO_SAT_CHECK=response.unchecked | response.reference)
    level = np.where(response.unchecked, np.float32(np.nan), response.saturation)
    return {"data": level, **flags}


def _superbias(making: Making) -> dict[str, Any]:
    response = making.response
    error = np.full(making.subarray.shape, response.detector.electronics.reset / 10, np.float32)
    nothing = np.zeros(making.subarray.shape, dtype=bool)
    return {"data": response.bias, "err": error, **_flags(making, UNRELIABLE_BIAS=nothing)}


def _linearity(making: Making) -> dict[str, Any]:
    response = making.response
    unlinearized = response.unlinearized
    coefficients = response.polynomial.copy()
    coefficients[:, unlinearized] = np.nan
    return {"coeffs": coefficients, **_flags(making, NO_LIN_CORR=unlinearized)}


def _dark_cube(making: Making) -> NDArray[np.float32]:
    """Dark signal of every single frame, (frames, rows, columns), DN."""
    frames = making.mode.readout.frames(making.groups)
    times = np.arange(1, frames + 1, dtype=np.float32) * np.float32(making.subarray.frame_time)
    return np.asarray(times[:, None, None] * making.response.dark)


def _dark(making: Making) -> dict[str, Any]:
    return {"data": _dark_cube(making), **_flags(making, UNRELIABLE_DARK=making.response.warm)}


def _dark_by_integration(making: Making) -> dict[str, Any]:
    """Dark of one plane set per integration: (integrations, frames, rows, columns)."""
    cube = _dark_cube(making)
    flags = _flags(making, UNRELIABLE_DARK=making.response.warm)
    flags["dq"] = np.stack([flags["dq"][None]] * _DARK_INTEGRATIONS)
    return {"data": np.stack([cube] * _DARK_INTEGRATIONS), **flags}


def _gain(making: Making) -> dict[str, Any]:
    return {"data": making.response.gain}


def _readnoise(making: Making) -> dict[str, Any]:
    """Noise of the difference of two reads, which is what this reference type holds."""
    return {"data": making.response.read_noise * np.float32(np.sqrt(2))}


def _flat(making: Making) -> dict[str, Any]:
    response = making.response
    useless = response.dead | response.reference
    flags = _flags(making, DO_NOT_USE=useless, NO_FLAT_FIELD=useless)
    error = np.full(making.subarray.shape, 0.002, dtype=np.float32)
    return {"data": response.flat, "err": error, **flags}


def _area(making: Making) -> dict[str, Any]:
    return {"data": making.area}


def _selection(making: Making) -> tuple[bytes, bytes]:
    mode = making.mode
    second = {"pupil": mode.pupil or "N/A", "subarray": making.subarray.name}[mode.table_key]
    return mode.filter.encode(), second.encode()


def _photom(making: Making) -> dict[str, Any]:
    factor = making.mode.photometry.photmjsr
    row = (*_selection(making), factor, 0.02 * factor)
    layout = [("filter", "S12"), (making.mode.table_key, "S17"), ("photmjsr", "<f4")]
    return {"phot_table": np.array([row], dtype=[*layout, ("uncertainty", "<f4")])}


def _apcorr(making: Making) -> dict[str, Any]:
    optics, rows = making.mode.optics, []
    inner, outer = (radius * optics.sigma for radius in _SKY_ANNULUS)
    for energy in _ENERGIES:
        radius = energy_radius(optics, energy)
        correction = 1 / encircled_energy(optics, radius)
        rows.append((*_selection(making), energy, radius, correction, inner, outer))
    numbers = ("eefraction", "radius", "apcorr", "skyin", "skyout")
    layout = [("filter", "S12"), (making.mode.table_key, "S17")]
    layout += [(name, "<f4") for name in numbers]
    return {"apcorr_table": np.array(rows, dtype=layout)}


def _distortion(making: Making) -> dict[str, Any]:
    detector = making.mode.detector
    return {"model": distortion_model(making.mode.optics, detector.columns, detector.rows)}


def _filteroffset(making: Making) -> dict[str, Any]:
    columns, rows = making.mode.optics.filter_offset
    entry = {
        "filter": making.mode.filter,
        "pupil": making.mode.pupil or "N/A",
        "column_offset": columns,
        "row_offset": rows,
    }
    return {"filters": [entry]}


def _abvegaoffset(making: Making) -> dict[str, Any]:
    from astropy.table import Table

    mode = making.mode
    table = {"filter": [mode.filter]}
    if mode.pupil is not None:
        table["pupil"] = [mode.pupil]
    return {"abvega_offset": Table({**table, "abvega_offset": [mode.photometry.ab_vega]})}


_MAKERS: Mapping[str, Callable[[Making], dict[str, Any]]] = MappingProxyType(
    {
        "MaskModel": _mask,
        "SaturationModel": _saturation,
        "SuperBiasModel": _superbias,
        "LinearityModel": _linearity,
        "DarkModel": _dark,
        "DarkMIRIModel": _dark_by_integration,
        "GainModel": _gain,
        "ReadnoiseModel": _readnoise,
        "FlatModel": _flat,
        "PixelAreaModel": _area,
        "NrcImgPhotomModel": _photom,
        "MirImgPhotomModel": _photom,
        "NrcImgApcorrModel": _apcorr,
        "MirImgApcorrModel": _apcorr,
        "DistortionModel": _distortion,
        "FilteroffsetModel": _filteroffset,
        "ABVegaOffsetModel": _abvegaoffset,
    }
)


def _metadata(kind: str, making: Making) -> dict[str, Any]:
    """Return metadata by name below ``meta``; not every reference type knows every group of it."""
    mode, subarray = making.mode, making.subarray
    values = {
        "reftype": kind.upper() if mode.references[kind].suffix == "fits" else kind,
        "telescope": "JWST",
        "author": "calservice simulator",
        "pedigree": "SIMULATION",
        "description": f"Simulated {kind} of {mode.name}",
        "useafter": USEAFTER,
        "instrument.name": mode.instrument,
        "instrument.detector": mode.detector.name,
        "instrument.module": mode.module,
        "instrument.channel": mode.channel,
        "instrument.filter": mode.filter,
        "instrument.pupil": mode.pupil,
        "exposure.type": mode.exp_type,
        "exposure.readpatt": mode.readout.name,
        "subarray.name": subarray.name,
        "subarray.xstart": subarray.xstart,
        "subarray.ystart": subarray.ystart,
        "subarray.xsize": subarray.xsize,
        "subarray.ysize": subarray.ysize,
        "subarray.fastaxis": mode.detector.fastaxis,
        "subarray.slowaxis": mode.detector.slowaxis,
    }
    extra = _EXTRA_METADATA.get(kind)
    if extra is not None:
        values |= extra(making)
    return {name: value for name, value in values.items() if value is not None}


def _dark_metadata(making: Making) -> dict[str, Any]:
    return {
        "exposure.nframes": 1,
        "exposure.groupgap": 0,
        "exposure.ngroups": making.mode.readout.frames(making.groups),
        "exposure.frame_time": making.subarray.frame_time,
        "exposure.group_time": making.subarray.frame_time,
    }


def _area_metadata(making: Making) -> dict[str, Any]:
    return {
        "photometry.pixelarea_steradians": making.mode.optics.pixel_steradian,
        "photometry.pixelarea_arcsecsq": making.mode.optics.pixel_arcsec2,
    }


def _distortion_metadata(making: Making) -> dict[str, Any]:
    from astropy import units

    pupil = making.mode.pupil
    return {
        "input_units": units.pix,
        "output_units": units.arcsec,
        "instrument.p_pupil": None if pupil is None else f"{pupil}|",
    }


_EXTRA_METADATA: Mapping[str, Callable[[Making], dict[str, Any]]] = MappingProxyType(
    {
        "dark": _dark_metadata,
        "area": _area_metadata,
        "photom": _area_metadata,
        "distortion": _distortion_metadata,
    }
)


def write_references(making: Making, folder: Path, serial: int) -> dict[str, str]:
    """Write every reference file of a mode.

    Parameters
    ----------
    making : Making
        What to write.
    folder : Path
        Existing folder that gets the files.
    serial : int
        Number in the files' names, below 10000.

    Returns
    -------
    dict of str to str
        File name by reference type.
    """
    from stdatamodels.jwst import datamodels

    names = {}
    for kind, reference in making.mode.references.items():
        instrument = making.mode.instrument.lower()
        name = f"jwst_{instrument}_{kind}_{serial:04d}.{reference.suffix}"
        with getattr(datamodels, reference.model)() as model:
            for attribute, value in _MAKERS[reference.model](making).items():
                setattr(model, attribute, value)
            for attribute, value in _metadata(kind, making).items():
                group = attribute.split(".")[0]
                if hasattr(model.meta, group) or group == attribute:
                    model[f"meta.{attribute}"] = value
            model.add_history_entry(f"Drawn by the calservice simulator for {making.mode.name}.")
            model.save(folder / name)
        names[kind] = name
    return names
