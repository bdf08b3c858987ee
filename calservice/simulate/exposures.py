"""Raw exposures: pixels with the header of a flight uncal file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Mode, Subarray
from calservice.simulate.geometry import pixel_to_v2v3
from calservice.simulate.scene import TARGET, Dither

_FIRST_START = datetime(2026, 1, 15, 6, 0, 0)
_MJD_EPOCH = datetime(1858, 11, 17)
_OVERHEAD = 300.0
_VISIT_GROUP, _SEQUENCE, _ACTIVITY = "02", "1", "01"


@dataclass(frozen=True)
class Exposure:
    """What one raw exposure is made of, besides its pixels.

    Parameters
    ----------
    mode, subarray : Mode, Subarray
        What looked.
    dither : Dither
        Where it looked.
    program : str
        Program number, five digits.
    observation : int
        Observation number.
    number, total : int
        Place of the exposure in the visit, from 1, and the visit's exposures.
    integrations, groups : int
        Shape of the ramps.
    """

    mode: Mode
    subarray: Subarray
    dither: Dither
    program: str
    observation: int
    number: int
    total: int
    integrations: int
    groups: int

    @property
    def name(self) -> str:
        """File name without suffix and extension."""
        visit = f"jw{self.program}{self.observation:03d}001"
        activity = f"{_VISIT_GROUP}{_SEQUENCE}{_ACTIVITY}"
        return f"{visit}_{activity}_{self.number:05d}_{self.mode.detector.name.lower()}"

    @property
    def integration_time(self) -> float:
        """Seconds from the reset to the last frame of an integration."""
        return self.mode.readout.frames(self.groups) * self.subarray.frame_time

    @property
    def duration(self) -> float:
        """Seconds from the first reset to the last frame, one frame per later reset included."""
        resets = (self.integrations - 1) * self.subarray.frame_time
        return self.integrations * self.integration_time + resets

    @property
    def start(self) -> datetime:
        """When the exposure starts."""
        visit = timedelta(hours=8 * (self.observation - 1))
        return _FIRST_START + visit + (self.number - 1) * timedelta(seconds=round(self.duration + _OVERHEAD))


def _mjd(moment: datetime) -> float:
    return (moment - _MJD_EPOCH).total_seconds() / 86400


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _observation(exposure: Exposure, product: str) -> dict[str, Any]:
    start, end = exposure.start, exposure.start + timedelta(seconds=exposure.duration)
    visit = f"{exposure.program}{exposure.observation:03d}001"
    activity = f"{_VISIT_GROUP}{_SEQUENCE}{_ACTIVITY}"
    first = start - (exposure.number - 1) * timedelta(seconds=round(exposure.duration + _OVERHEAD))
    return {
        "origin": "STSCI",
        "telescope": "JWST",
        "time_sys": "UTC",
        "time_unit": "s",
        "filename": f"{product}_uncal.fits",
        "program.title": "Simulated star field",
        "program.category": "CAL",
        "observation.date": start.date().isoformat(),
        "observation.time": _stamp(start).split("T")[1],
        "observation.date_beg": _stamp(start),
        "observation.date_end": _stamp(end),
        "observation.obs_id": f"V{visit}P00000000{activity}",
        "observation.visit_id": visit,
        "observation.program_number": exposure.program,
        "observation.observation_number": f"{exposure.observation:03d}",
        "observation.visit_number": "001",
        "observation.visit_group": _VISIT_GROUP,
        "observation.sequence_id": _SEQUENCE,
        "observation.activity_id": _ACTIVITY,
        "observation.exposure_number": str(exposure.number),
        "observation.bkgdtarg": False,
        "observation.template": exposure.mode.template,
        "observation.observation_label": exposure.mode.name,
        "visit.engineering_quality": "OK",
        "visit.engdb_pointing_quality": "CALCULATED_TRACK_TR_202111",
        "visit.type": "PRIME_TARGETED_FIXED",
        "visit.start_time": _stamp(first - timedelta(minutes=10)).replace("T", " "),
        "visit.status": "SUCCESSFUL",
        "visit.total_exposures": exposure.total,
        "visit.internal_target": False,
        "visit.tsovisit": False,
        "visit.exp_only": False,
        "visit.crowded_field": False,
        "target.proposer_name": "SIMULATED-FIELD",
        "target.catalog_name": "SIMULATED-FIELD",
        "target.type": "FIXED",
        "target.ra": TARGET[0],
        "target.dec": TARGET[1],
        "target.proposer_ra": TARGET[0],
        "target.proposer_dec": TARGET[1],
        "guidestar.gs_pcs_mode": "FINEGUIDE",
    }


def _instrument(exposure: Exposure) -> dict[str, Any]:
    mode, subarray = exposure.mode, exposure.subarray
    values = {
        "instrument.name": mode.instrument,
        "instrument.detector": mode.detector.name,
        "instrument.module": mode.module,
        "instrument.channel": mode.channel,
        "instrument.filter": mode.filter,
        "instrument.pupil": mode.pupil,
        "aperture.name": f"{mode.aperture}_{subarray.name}",
        "aperture.pps_name": f"{mode.aperture}_{subarray.name}",
        "subarray.name": subarray.name,
        "subarray.xstart": subarray.xstart,
        "subarray.ystart": subarray.ystart,
        "subarray.xsize": subarray.xsize,
        "subarray.ysize": subarray.ysize,
        "subarray.fastaxis": mode.detector.fastaxis,
        "subarray.slowaxis": mode.detector.slowaxis,
        "dither.primary_type": mode.dither,
        "dither.position_number": exposure.number,
        "dither.total_points": exposure.total,
        "dither.pattern_start": 1,
        "dither.x_offset": exposure.dither.x_offset,
        "dither.y_offset": exposure.dither.y_offset,
    }
    return {key: value for key, value in values.items() if value is not None}


def _timing(exposure: Exposure) -> dict[str, Any]:
    readout, subarray = exposure.mode.readout, exposure.subarray
    begin = _mjd(exposure.start)
    middle, end = begin + exposure.duration / 2 / 86400, begin + exposure.duration / 86400
    effective = exposure.integrations * exposure.integration_time
    values = {
        "count": exposure.number,
        "prime_parallel": "PRIME",
        "type": exposure.mode.exp_type,
        "start_time": begin,
        "mid_time": middle,
        "end_time": end,
        "start_time_mjd": begin,
        "mid_time_mjd": middle,
        "end_time_mjd": end,
        "readpatt": readout.name,
        "noutputs": subarray.outputs,
        "nints": exposure.integrations,
        "ngroups": exposure.groups,
        "nframes": readout.nframes,
        "frame_divisor": readout.nframes,
        "groupgap": readout.groupgap,
        "drop_frames1": 0,
        "drop_frames3": 0,
        "nsamples": 1,
        "sample_time": 10.0,
        "frame_time": subarray.frame_time,
        "group_time": (readout.nframes + readout.groupgap) * subarray.frame_time,
        "integration_time": exposure.integration_time,
        "exposure_time": effective,
        "effective_exposure_time": effective,
        "elapsed_exposure_time": exposure.duration,
        "duration": exposure.duration,
        "nresets_at_start": 1,
        "nresets_between_ints": 1,
        "integration_start": 1,
        "integration_end": exposure.integrations,
        "segment_number": 1,
        "segment_total": 1,
        "zero_frame": False,
        "data_problem": False,
        "psf_reference": False,
        "self_reference_survey": False,
    }
    return {f"exposure.{key}": value for key, value in values.items()}


def _footprint(exposure: Exposure) -> str:
    subarray, optics = exposure.subarray, exposure.mode.optics
    left, low = subarray.xstart - 1.5, subarray.ystart - 1.5
    x = np.array([left, left, left + subarray.xsize, left + subarray.xsize])
    y = np.array([low, low + subarray.ysize, low + subarray.ysize, low])
    ra, dec = exposure.dither.reported.to_sky(*pixel_to_v2v3(optics, x, y))
    corners = " ".join(f"{a:.9f} {d:.9f}" for a, d in zip(ra, dec, strict=True))
    return f"POLYGON ICRS  {corners}"


def _world(exposure: Exposure) -> dict[str, Any]:
    pointing, optics = exposure.dither.reported, exposure.mode.optics
    ra_v1, dec_v1, pa_v3 = pointing.boresight()
    x, y = exposure.subarray.center
    angle = math.radians(pointing.roll_ref + optics.v3_idl_yangle)
    values = {
        "wcsaxes": 2,
        "crpix1": x + 1,
        "crpix2": y + 1,
        "crval1": pointing.ra_ref,
        "crval2": pointing.dec_ref,
        "ctype1": "RA---TAN",
        "ctype2": "DEC--TAN",
        "cunit1": "deg",
        "cunit2": "deg",
        "cdelt1": optics.x_scale / 3600,
        "cdelt2": optics.y_scale / 3600,
        "pc1_1": optics.vparity * math.cos(angle),
        "pc1_2": math.sin(angle),
        "pc2_1": -optics.vparity * math.sin(angle),
        "pc2_2": math.cos(angle),
        "v2_ref": pointing.v2_ref,
        "v3_ref": pointing.v3_ref,
        "vparity": optics.vparity,
        "v3yangle": optics.v3_idl_yangle,
        "ra_ref": pointing.ra_ref,
        "dec_ref": pointing.dec_ref,
        "roll_ref": pointing.roll_ref,
        "velosys": 0.0,
        "s_region": _footprint(exposure),
    }
    return {
        **{f"wcsinfo.{key}": value for key, value in values.items()},
        "coordinates.reference_frame": "ICRS",
        "pointing.ra_v1": ra_v1,
        "pointing.dec_v1": dec_v1,
        "pointing.pa_v3": pa_v3,
        "aperture.position_angle": (pointing.roll_ref + optics.v3_idl_yangle) % 360,
        "velocity_aberration.scale_factor": pointing.va_scale,
        "velocity_aberration.va_ra_ref": pointing.ra_ref,
        "velocity_aberration.va_dec_ref": pointing.dec_ref,
    }


def _integration_times(exposure: Exposure) -> list[tuple[float, ...]]:
    period = exposure.integration_time + exposure.subarray.frame_time
    rows: list[tuple[float, ...]] = []
    for integration in range(exposure.integrations):
        begin = _mjd(exposure.start) + integration * period / 86400
        span = exposure.integration_time / 86400
        times = (begin, begin + span / 2, begin + span)
        rows.append((integration + 1, *times, *times))
    return rows


def _group_times(exposure: Exposure) -> list[tuple[Any, ...]]:
    readout, subarray = exposure.mode.readout, exposure.subarray
    period = exposure.integration_time + subarray.frame_time
    epoch = datetime(2000, 1, 1)
    rows: list[tuple[Any, ...]] = []
    for integration in range(exposure.integrations):
        for group in range(exposure.groups):
            seconds = integration * period + readout.frames(group + 1) * subarray.frame_time
            end = exposure.start + timedelta(seconds=seconds)
            since = end - epoch
            milliseconds = since.seconds * 1000 + since.microseconds // 1000
            size = (subarray.xsize, subarray.ysize)
            when = (_mjd(end), _mjd(end))
            place = (integration + 1, group + 1)
            clock = (since.days, milliseconds, since.microseconds % 1000)
            text = end.isoformat(timespec="microseconds").encode()
            rows.append((*place, *clock, text, *size, 0, 0, b"COMPLETE", *when))
    return rows


def write_exposure(exposure: Exposure, pixels: NDArray[np.uint16], folder: Path) -> Path:
    """Write one uncal file.

    Parameters
    ----------
    exposure : Exposure
        What the header says.
    pixels : ndarray of uint16, shape (integrations, groups, rows, columns)
        Raw groups, DN.
    folder : Path
        Where the file goes.

    Returns
    -------
    Path
        The file.
    """
    from stdatamodels.jwst.datamodels import Level1bModel

    path = folder / f"{exposure.name}_uncal.fits"
    keywords = {
        **_observation(exposure, exposure.name),
        **_instrument(exposure),
        **_timing(exposure),
        **_world(exposure),
        "bunit_data": "DN",
    }
    with Level1bModel(data=pixels) as model:
        for name, value in keywords.items():
            model[f"meta.{name}"] = value
        model.int_times = np.array(_integration_times(exposure), model.get_dtype("int_times"))
        model.group = np.array(_group_times(exposure), model.get_dtype("group"))
        model.save(path)
    return path
