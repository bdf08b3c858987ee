"""The stars of one mode: where they are, how bright, and where the exposures look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Mode, Subarray
from calservice.simulate.geometry import (
    Pointing,
    aperture_reference,
    pixel_to_v2v3,
    v2v3_to_pixel,
)
from calservice.simulate.psf import draw_stars, peak_fraction
from calservice.simulate.response import generator

Floats = NDArray[np.float64]

TARGET = (80.487, -69.498)
"""Right ascension and declination of the target, degrees."""

_ROLL = 37.0
_VA_SCALE = 1.0000403
_DITHER_RADIUS = 5.0
_POINTING_ERROR = 0.002
_SEPARATION = 18.0
_FAINTEST, _BRIGHTEST, _OVERFULL = 0.05, 0.6, 1.4
_OVERFULL_STARS = 2


@dataclass(frozen=True)
class Stars:
    """A star field.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (stars,)
        Positions, degrees.
    flux : ndarray of float64, shape (stars,)
        Flux densities, Jy.
    """

    ra: Floats
    dec: Floats
    flux: Floats

    @property
    def abmag(self) -> Floats:
        """AB magnitudes."""
        return -2.5 * np.log10(self.flux / 3631.0)

    def write(self, path: Path, mode: Mode) -> None:
        """Write the field as an ECSV table with columns id, ra, dec, flux and abmag."""
        from astropy import units
        from astropy.table import Table

        table = Table(
            {
                "id": np.arange(1, self.ra.size + 1),
                "ra": self.ra * units.deg,
                "dec": self.dec * units.deg,
                "flux": self.flux * units.Jy,
                "abmag": self.abmag * units.ABmag,
            },
            meta={
                "mode": mode.name,
                "instrument": mode.instrument,
                "filter": mode.filter,
                "pupil": mode.pupil or "N/A",
            },
        )
        table.write(path, format="ascii.ecsv", overwrite=True)


@dataclass(frozen=True)
class Dither:
    """One pointing of a dither pattern.

    Parameters
    ----------
    true : Pointing
        Where the telescope looks.
    reported : Pointing
        Where the header says it looks.
    x_offset, y_offset : float
        Offset from the first position in the ideal frame, arcsec.
    """

    true: Pointing
    reported: Pointing
    x_offset: float
    y_offset: float


def make_dithers(mode: Mode, subarray: Subarray, exposures: int, seed: int, errors: bool) -> tuple[Dither, ...]:
    """Lay out the pointings: a spiral of a few pixels with sub-pixel steps.

    Parameters
    ----------
    mode, subarray : Mode, Subarray
        What looks.
    exposures : int
        Number of pointings.
    seed : int
        The same seed gives the same errors.
    errors : bool
        Whether the positions reported after the first are off by about two milliarcsec.
    """
    optics = mode.optics
    v2, v3 = aperture_reference(optics, subarray)
    nominal = Pointing(v2, v3, *TARGET, _ROLL, _VA_SCALE)
    rng = generator(seed, mode.name, "pointing")
    angle = math.radians(optics.v3_idl_yangle)
    scale = math.sqrt(optics.pixel_arcsec2)
    dithers = []
    for number in range(exposures):
        radius = _DITHER_RADIUS * math.sqrt(number / max(1, exposures - 1)) * scale
        turn = 2.399963 * number
        x_offset, y_offset = radius * math.cos(turn), radius * math.sin(turn)
        shift_v2 = optics.vparity * x_offset * math.cos(angle) + y_offset * math.sin(angle)
        shift_v3 = -optics.vparity * x_offset * math.sin(angle) + y_offset * math.cos(angle)
        ra, dec = nominal.to_sky(np.asarray(v2 - shift_v2), np.asarray(v3 - shift_v3))
        true = Pointing(v2, v3, float(ra), float(dec), _ROLL, _VA_SCALE)
        slip = _POINTING_ERROR * rng.standard_normal(2) if errors and number else np.zeros(2)
        reported = Pointing(
            v2,
            v3,
            float(ra) + float(slip[0]) / 3600 / math.cos(math.radians(float(dec))),
            float(dec) + float(slip[1]) / 3600,
            _ROLL,
            _VA_SCALE,
        )
        dithers.append(Dither(true, reported, x_offset, y_offset))
    return tuple(dithers)


def _positions(
    subarray: Subarray, number: int, usable: tuple[Floats, Floats], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Well-separated pixel positions, as far as the window has room for them."""
    (left, low), (right, high) = usable
    chosen: list[tuple[float, float]] = []
    separation = _SEPARATION
    while len(chosen) < number:
        for _ in range(4000):
            x, y = float(rng.uniform(left, right)), float(rng.uniform(low, high))
            if all(math.hypot(x - a, y - b) >= separation for a, b in chosen):
                chosen.append((x, y))
            if len(chosen) == number:
                break
        separation *= 0.8
    points = np.array(chosen).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def make_stars(
    mode: Mode, subarray: Subarray, dithers: tuple[Dither, ...], number: int, groups: int, seed: int
) -> Stars:
    """Draw a field that every exposure sees whole.

    Fluxes follow from the time of one integration, so that most stars fill their brightest pixel
    to between a twentieth and three fifths of its range, and two of them saturate.

    Parameters
    ----------
    mode, subarray : Mode, Subarray
        What looks at the field.
    dithers : tuple of Dither
        Pointings; the first one anchors the field.
    number : int
        Stars.
    groups : int
        Groups of one integration.
    seed : int
        The same seed gives the same field.
    """
    rng = generator(seed, mode.name, "stars")
    detector, optics = mode.detector, mode.optics
    margin = _DITHER_RADIUS + 10
    border = detector.border
    left = max(0, border.left - subarray.xstart + 1) + margin
    low = max(0, border.bottom - subarray.ystart + 1) + margin
    right = min(subarray.xsize, detector.columns - border.right - subarray.xstart + 1) - margin
    high = min(subarray.ysize, detector.rows - border.top - subarray.ystart + 1) - margin
    x, y = _positions(subarray, number, (np.array([left, low]), np.array([right, high])), rng)
    v2, v3 = pixel_to_v2v3(optics, x + subarray.xstart - 1, y + subarray.ystart - 1)
    ra, dec = dithers[0].true.to_sky(v2, v3)

    fill = np.exp(rng.uniform(math.log(_FAINTEST), math.log(_BRIGHTEST), number))
    fill[:_OVERFULL_STARS] = _OVERFULL
    time = mode.readout.frames(groups) * subarray.frame_time
    peak = fill * detector.full_well / time
    flux = peak / peak_fraction(optics) * _jansky_per_dn(mode)
    return Stars(ra, dec, flux)


def _jansky_per_dn(mode: Mode) -> float:
    """Jy of a source whose image sums to one DN per second."""
    return mode.photometry.photmjsr * mode.optics.pixel_steradian * 1e6


def light_rate(
    mode: Mode, subarray: Subarray, pointing: Pointing, stars: Stars, area: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Rate that an ideal detector (flat response) would see.

    Parameters
    ----------
    mode, subarray : Mode, Subarray
        What looks.
    pointing : Pointing
        Where it looks.
    stars : Stars
        What is there, beside the uniform background.
    area : ndarray of float32, shape (rows, columns)
        Pixel areas in units of the nominal one.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        Surface brightness as DN per second and nominal pixel area.
    """
    optics = mode.optics
    x, y = v2v3_to_pixel(optics, *pointing.to_v2v3(stars.ra, stars.dec))
    x, y = x - (subarray.xstart - 1), y - (subarray.ystart - 1)
    image = draw_stars(optics, subarray.shape, x, y, stars.flux / _jansky_per_dn(mode)) / area
    image += mode.photometry.background / mode.photometry.photmjsr
    return np.asarray(image, dtype=np.float32)
