"""From pixels to the telescope frame to the sky, and back.

Pixels are counted from 0 on the full detector; telescope coordinates (V2, V3) are in arcsec; right
ascension and declination are in degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Optics, Subarray

Floats = NDArray[np.float64]


def _ideal(optics: Optics, dx: Floats, dy: Floats) -> tuple[Floats, Floats]:
    xx, xy, yy = optics.x_quadratic
    x = optics.x_scale * dx + xx * dx**2 + xy * dx * dy + yy * dy**2
    xx, xy, yy = optics.y_quadratic
    y = optics.y_scale * dy + xx * dx**2 + xy * dx * dy + yy * dy**2
    return x, y


def _jacobian(optics: Optics, dx: Floats, dy: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    xx, xy, yy = optics.x_quadratic
    x_dx = optics.x_scale + 2 * xx * dx + xy * dy
    x_dy = xy * dx + 2 * yy * dy
    xx, xy, yy = optics.y_quadratic
    y_dx = 2 * xx * dx + xy * dy
    y_dy = optics.y_scale + xy * dx + 2 * yy * dy
    return x_dx, x_dy, y_dx, y_dy


def pixel_to_v2v3(optics: Optics, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Find what pixels look at in the telescope frame.

    Parameters
    ----------
    optics : Optics
        The geometry.
    x, y : ndarray of float64, any one shape
        Columns and rows, counted from 0 on the full detector.

    Returns
    -------
    v2, v3 : ndarray of float64, same shape
        Telescope coordinates, arcsec.
    """
    columns, rows = optics.filter_offset
    ideal_x, ideal_y = _ideal(optics, x + columns - optics.x_ref, y + rows - optics.y_ref)
    angle = math.radians(optics.v3_idl_yangle)
    v2 = optics.v2_ref + optics.vparity * ideal_x * math.cos(angle) + ideal_y * math.sin(angle)
    v3 = optics.v3_ref - optics.vparity * ideal_x * math.sin(angle) + ideal_y * math.cos(angle)
    return v2, v3


def v2v3_to_pixel(optics: Optics, v2: Floats, v3: Floats) -> tuple[Floats, Floats]:
    """Find the pixels that look at points of the telescope frame, by Newton's method.

    Parameters
    ----------
    optics : Optics
        The geometry.
    v2, v3 : ndarray of float64, any one shape
        Telescope coordinates, arcsec.

    Returns
    -------
    x, y : ndarray of float64, same shape
        Columns and rows, counted from 0 on the full detector.
    """
    angle = math.radians(optics.v3_idl_yangle)
    dv2, dv3 = v2 - optics.v2_ref, v3 - optics.v3_ref
    ideal_x = optics.vparity * (dv2 * math.cos(angle) - dv3 * math.sin(angle))
    ideal_y = dv2 * math.sin(angle) + dv3 * math.cos(angle)
    dx, dy = ideal_x / optics.x_scale, ideal_y / optics.y_scale
    for _ in range(6):
        now_x, now_y = _ideal(optics, dx, dy)
        x_dx, x_dy, y_dx, y_dy = _jacobian(optics, dx, dy)
        determinant = x_dx * y_dy - x_dy * y_dx
        off_x, off_y = ideal_x - now_x, ideal_y - now_y
        dx = dx + (y_dy * off_x - x_dy * off_y) / determinant
        dy = dy + (x_dx * off_y - y_dx * off_x) / determinant
    columns, rows = optics.filter_offset
    return dx + optics.x_ref - columns, dy + optics.y_ref - rows


def pixel_area(optics: Optics, subarray: Subarray) -> NDArray[np.float32]:
    """Area of every pixel of a window in units of the nominal area, (rows, columns)."""
    rows, columns = np.indices(subarray.shape, dtype=np.float64)
    dx = columns + subarray.xstart - 1 + optics.filter_offset[0] - optics.x_ref
    dy = rows + subarray.ystart - 1 + optics.filter_offset[1] - optics.y_ref
    x_dx, x_dy, y_dx, y_dy = _jacobian(optics, dx, dy)
    area = np.abs(x_dx * y_dy - x_dy * y_dx) / optics.pixel_arcsec2
    return area.astype(np.float32)


def _rotation(axis: int, degrees: float) -> Floats:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def _unit(longitude: Floats, latitude: Floats) -> Floats:
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _angles(vectors: Floats) -> tuple[Floats, Floats]:
    longitude = np.degrees(np.arctan2(vectors[1], vectors[0]))
    latitude = np.degrees(np.arcsin(np.clip(vectors[2], -1, 1)))
    return longitude, latitude


@dataclass(frozen=True)
class Pointing:
    """Attitude of the telescope, as the WCS keywords state it.

    Parameters
    ----------
    v2_ref, v3_ref : float
        Reference point in the telescope frame, arcsec.
    ra_ref, dec_ref : float
        Where the reference point looks, degrees.
    roll_ref : float
        Position angle of V3 at the reference point, degrees from north through east.
    va_scale : float
        Velocity aberration scale.
    """

    v2_ref: float
    v3_ref: float
    ra_ref: float
    dec_ref: float
    roll_ref: float
    va_scale: float = 1.0

    @property
    def matrix(self) -> Floats:
        """Rotation from telescope to sky unit vectors, (3, 3)."""
        return (
            _rotation(2, self.ra_ref)
            @ _rotation(1, -self.dec_ref)
            @ _rotation(0, -self.roll_ref)
            @ _rotation(1, self.v3_ref / 3600)
            @ _rotation(2, -self.v2_ref / 3600)
        )

    def to_sky(self, v2: Floats, v3: Floats) -> tuple[Floats, Floats]:
        """Right ascension and declination (degrees) of telescope coordinates (arcsec)."""
        v2 = self.v2_ref + self.va_scale * (v2 - self.v2_ref)
        v3 = self.v3_ref + self.va_scale * (v3 - self.v3_ref)
        vectors = np.tensordot(self.matrix, _unit(v2 / 3600, v3 / 3600), axes=1)
        longitude, latitude = _angles(vectors)
        return longitude % 360, latitude

    def to_v2v3(self, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
        """Telescope coordinates (arcsec) of right ascension and declination (degrees)."""
        longitude, latitude = _angles(np.tensordot(self.matrix.T, _unit(ra, dec), axes=1))
        v2 = self.v2_ref + (longitude * 3600 - self.v2_ref) / self.va_scale
        v3 = self.v3_ref + (latitude * 3600 - self.v3_ref) / self.va_scale
        return v2, v3

    def boresight(self) -> tuple[float, float, float]:
        """Right ascension, declination and V3 position angle at V1, degrees."""
        longitude, latitude = _angles(self.matrix[:, 0])
        ra, dec = math.radians(float(longitude)), math.radians(float(latitude))
        east = np.array([-math.sin(ra), math.cos(ra), 0.0])
        north = np.array([-math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)])
        v3_axis = self.matrix[:, 2]
        angle = math.degrees(math.atan2(float(v3_axis @ east), float(v3_axis @ north)))
        return float(longitude) % 360, float(latitude), angle % 360


def aperture_reference(optics: Optics, subarray: Subarray) -> tuple[float, float]:
    """V2 and V3 (arcsec) of the middle of a window."""
    x, y = subarray.center
    v2, v3 = pixel_to_v2v3(optics, np.asarray(x + subarray.xstart - 1), np.asarray(y + subarray.ystart - 1))
    return float(v2), float(v3)


def distortion_model(optics: Optics, columns: int, rows: int) -> Any:
    """Build the pixel to (V2, V3) transform of a distortion reference.

    Parameters
    ----------
    optics : Optics
        The geometry; its filter offset is left out, since a reference of its own carries it.
    columns, rows : int
        Size of the full detector, over which the inverse is fitted.

    Returns
    -------
    astropy.modeling.Model
        Two pixel coordinates in, two telescope coordinates (arcsec) out, with an inverse.
    """
    from astropy.modeling.models import Mapping, Polynomial2D, Shift

    def quadratic(linear: tuple[float, float], terms: tuple[float, float, float]) -> Any:
        xx, xy, yy = terms
        return Polynomial2D(2, c1_0=linear[0], c0_1=linear[1], c2_0=xx, c1_1=xy, c0_2=yy)

    angle = math.radians(optics.v3_idl_yangle)
    cosine, sine, parity = math.cos(angle), math.sin(angle), optics.vparity
    center = Shift(-optics.x_ref) & Shift(-optics.y_ref)
    ideal = quadratic((optics.x_scale, 0.0), optics.x_quadratic) & quadratic((0.0, optics.y_scale), optics.y_quadratic)
    turn = Polynomial2D(1, c0_0=optics.v2_ref, c1_0=parity * cosine, c0_1=sine) & Polynomial2D(
        1, c0_0=optics.v3_ref, c1_0=-parity * sine, c0_1=cosine
    )
    forward = center | Mapping((0, 1, 0, 1)) | ideal | Mapping((0, 1, 0, 1)) | turn

    uncenter = Shift(-optics.v2_ref) & Shift(-optics.v3_ref)
    unturn = Polynomial2D(1, c1_0=parity * cosine, c0_1=-parity * sine) & Polynomial2D(1, c1_0=sine, c0_1=cosine)
    back = uncenter | Mapping((0, 1, 0, 1)) | unturn | Mapping((0, 1, 0, 1))
    forward.inverse = back | _fitted_inverse(optics, columns, rows) | Shift(optics.x_ref) & Shift(optics.y_ref)
    return forward


def _fitted_inverse(optics: Optics, columns: int, rows: int) -> Any:
    from astropy.modeling.models import Polynomial2D

    degree = 4
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    y, x = np.mgrid[0 : rows - 1 : 33j, 0 : columns - 1 : 33j]
    dx, dy = (x - optics.x_ref).ravel(), (y - optics.y_ref).ravel()
    ideal_x, ideal_y = _ideal(optics, dx, dy)
    reach = float(max(np.abs(ideal_x).max(), np.abs(ideal_y).max()))
    design = np.stack([(ideal_x / reach) ** i * (ideal_y / reach) ** j for i, j in powers], axis=1)
    parts = []
    for target in (dx, dy):
        solution = np.linalg.lstsq(design, target, rcond=None)[0]
        terms = {f"c{i}_{j}": float(value) / reach ** (i + j) for (i, j), value in zip(powers, solution, strict=True)}
        parts.append(Polynomial2D(degree, **terms))
    return parts[0] & parts[1]
