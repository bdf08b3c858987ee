"""The pixels of one detector window: every map that a ramp and its reference files share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Detector, Mode, Subarray

Image = NDArray[np.float32]

SATURATION_MARGIN = 0.98
"""Saturation threshold in units of the level at which a pixel stops responding."""


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Return a random generator of its own for `labels`, the same in every process."""
    words = [label if isinstance(label, int) else zlib.crc32(label.encode()) for label in labels]
    return np.random.default_rng([seed, *words])


@dataclass(frozen=True)
class Response:
    """Maps of one window; images are float32 of shape (rows, columns) unless said otherwise.

    Parameters
    ----------
    detector : Detector
        The declared numbers that the maps scatter around.
    subarray : Subarray
        The window.
    gain : ndarray
        Electrons per DN.
    read_noise : ndarray
        Standard deviation of one read, DN.
    dark : ndarray
        Dark current, DN per second.
    bias : ndarray
        Level after a reset, DN.
    full_well : ndarray
        Signal above the bias at which the pixel stops responding, DN.
    flat : ndarray
        Relative response to uniform light, the pixel's area included.
    polynomial : ndarray, shape (4, rows, columns)
        Linearity coefficients, constant term first.
    reference, dead, hot, warm, unchecked, unlinearized : ndarray of bool
        Reference pixels; dead and hot pixels, which the mask lists; warm ones, which it does not;
        those without saturation check; those without linearity correction.
    channel : ndarray of uint8
        Which offset of the electronics a pixel gets: output times two, plus one if odd.
    """

    detector: Detector
    subarray: Subarray
    gain: Image
    read_noise: Image
    dark: Image
    bias: Image
    full_well: Image
    flat: Image
    polynomial: NDArray[np.float32]
    reference: NDArray[np.bool_]
    dead: NDArray[np.bool_]
    hot: NDArray[np.bool_]
    warm: NDArray[np.bool_]
    unchecked: NDArray[np.bool_]
    unlinearized: NDArray[np.bool_]
    channel: NDArray[np.uint8]

    @property
    def origin(self) -> Image | np.float32:
        """Raw level from which the linearity polynomial counts, DN."""
        return self.bias if self.detector.superbias else np.float32(0)

    @property
    def saturation(self) -> Image:
        """Raw level from which a pixel is called saturated, DN."""
        return np.asarray(self.bias + np.float32(SATURATION_MARGIN) * self.full_well)

    def linearize(self, raw: Image) -> Image:
        """Apply the linearity polynomial to levels counted from `origin`, DN."""
        _, first, second, third = self.polynomial
        return np.asarray(raw * (first + raw * (second + raw * third)))

    def measure(self, electrons: Image) -> Image:
        """Raw level (DN, without noise) of pixels that hold `electrons`."""
        _, first, second, third = self.polynomial
        start = self.bias - self.origin
        wanted = electrons / self.gain
        level = start + wanted
        wanted = wanted + self.linearize(start)
        for _ in range(4):
            value = level * (first + level * (second + level * third)) - wanted
            slope = first + level * (2 * second + level * (3 * third))
            level = level - value / slope
        top = start + self.full_well
        return np.asarray(self.origin + np.minimum(level, top), dtype=np.float32)


def reference_pixels(detector: Detector, subarray: Subarray) -> NDArray[np.bool_]:
    """Mark the reference pixels that lie in a window, (rows, columns)."""
    rows, columns = np.indices(subarray.shape)
    rows, columns = rows + subarray.ystart - 1, columns + subarray.xstart - 1
    border = detector.border
    inside = (columns >= border.left) & (columns < detector.columns - border.right)
    inside &= (rows >= border.bottom) & (rows < detector.rows - border.top)
    return ~inside


def _channels(detector: Detector, subarray: Subarray) -> NDArray[np.uint8]:
    rows, columns = np.indices(subarray.shape)
    rows, columns = rows + subarray.ystart - 1, columns + subarray.xstart - 1
    electronics = detector.electronics
    turns, bands = columns % subarray.outputs, columns * subarray.outputs // detector.columns
    output = turns if electronics.interleaved else bands
    parity = (columns if electronics.odd_even == "column" else rows) % 2
    return np.asarray(2 * output + parity, dtype=np.uint8)


def _sprinkle(rng: np.random.Generator, allowed: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    return np.asarray((rng.random(allowed.shape, dtype=np.float32) < share) & allowed)


def make_response(mode: Mode, subarray: Subarray, area: NDArray[np.float32], seed: int, blemishes: bool) -> Response:
    """Draw the maps of one window.

    Parameters
    ----------
    mode : Mode
        Whose detector.
    subarray : Subarray
        The window.
    area : ndarray of float32, shape (rows, columns)
        Pixel areas in units of the nominal one.
    seed : int
        The same seed gives the same maps.
    blemishes : bool
        Whether some pixels are dead, hot, warm or lack a calibration.
    """
    detector, shape = mode.detector, subarray.shape
    rng = generator(seed, mode.name, subarray.name, "response")

    def scatter(mean: float, relative: float) -> Image:
        normal = rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(mean * (1 + relative * np.clip(normal, -4, 4)), dtype=np.float32)

    reference = reference_pixels(detector, subarray)
    none = np.zeros(shape, dtype=bool)
    dead = _sprinkle(rng, ~reference, 4e-4) if blemishes else none
    hot = _sprinkle(rng, ~reference & ~dead, 4e-4) if blemishes else none
    warm = _sprinkle(rng, ~reference & ~dead & ~hot, 4e-4) if blemishes else none
    unchecked = _sprinkle(rng, ~reference & ~dead & ~hot, 1e-4) if blemishes else none
    unlinearized = _sprinkle(rng, ~reference & ~dead & ~hot, 1e-4) if blemishes else none

    flat = scatter(1.0, 0.015) * area
    flat[dead] = 0.01
    flat[reference] = 1.0
    dark = scatter(detector.dark, 0.1)
    dark[hot] = 200 * detector.dark + 20
    dark[warm] = 20 * detector.dark
    dark[reference] = 0.0
    first_order, second_order = detector.nonlinearity
    polynomial = np.zeros((4, *shape), dtype=np.float32)
    polynomial[1] = 1.0
    straight = reference | unlinearized
    well = detector.full_well
    polynomial[2] = np.where(straight, 0.0, scatter(first_order / well, 0.1))
    polynomial[3] = np.where(straight, 0.0, scatter(second_order / well**2, 0.1))
    return Response(
        detector=detector,
        subarray=subarray,
        gain=scatter(detector.gain, 0.01),
        read_noise=scatter(detector.read_noise, 0.08),
        dark=dark,
        bias=scatter(detector.bias, 0.02),
        full_well=scatter(well, 0.02),
        flat=flat,
        polynomial=polynomial,
        reference=reference,
        dead=dead,
        hot=hot,
        warm=warm,
        unchecked=unchecked,
        unlinearized=unlinearized,
        channel=_channels(detector, subarray),
    )
