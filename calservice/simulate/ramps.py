"""Reading out: from a light rate to the raw groups of one integration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.declarations import Detector, Electronics, ReadoutPattern
from calservice.simulate.response import Image, Response

_RAW_MAXIMUM = 65535


@dataclass(frozen=True)
class Hit:
    """Charge that arrives all at once.

    Parameters
    ----------
    frame : int
        The first frame that shows it, counted from 0.
    rows, columns : ndarray of intp, shape (pixels,)
        Where.
    electrons : ndarray of float32, shape (pixels,)
        How much.
    """

    frame: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    electrons: NDArray[np.float32]


def cosmic_rays(
    detector: Detector,
    shape: tuple[int, int],
    frames: int,
    frame_time: float,
    rng: np.random.Generator,
) -> list[Hit]:
    """Draw the cosmic rays of one integration: short straight tracks.

    Parameters
    ----------
    detector : Detector
        Rate of hits.
    shape : tuple of int
        Rows and columns of the window.
    frames : int
        Frames of the integration.
    frame_time : float
        Seconds per frame.
    rng : numpy.random.Generator
        Source of chance.
    """
    rows, columns = shape
    number = int(rng.poisson(detector.cosmic_rays * rows * columns * frames * frame_time))
    hits = []
    for _ in range(number):
        length = 1 + min(int(rng.exponential(1.2)), 6)
        angle = rng.uniform(0, 2 * np.pi)
        steps = np.arange(length)
        row = np.rint(rng.uniform(0, rows - 1) + steps * np.sin(angle)).astype(np.intp)
        column = np.rint(rng.uniform(0, columns - 1) + steps * np.cos(angle)).astype(np.intp)
        charge = np.full(length, rng.lognormal(7.3, 0.9), dtype=np.float32)
        charge *= rng.uniform(0.5, 1.5, length).astype(np.float32)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        frame = int(rng.integers(frames))
        hits.append(Hit(frame, row[inside], column[inside], charge[inside]))
    return hits


def large_events(detector: Detector, shape: tuple[int, int], frames: int, rng: np.random.Generator) -> list[Hit]:
    """Draw the snowballs or showers of one integration: a round core and a fading halo.

    Parameters
    ----------
    detector : Detector
        Number and size of the events.
    shape : tuple of int
        Rows and columns of the window.
    frames : int
        Frames of the integration.
    rng : numpy.random.Generator
        Source of chance.
    """
    rows, columns = shape
    hits = []
    for _ in range(int(rng.poisson(detector.large_events))):
        radius = float(rng.uniform(*detector.large_event_radius))
        reach = int(np.ceil(4 * radius))
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        low, high = max(0, row - reach), min(rows, row + reach + 1)
        left, right = max(0, column - reach), min(columns, column + reach + 1)
        y, x = np.mgrid[low:high, left:right]
        distance = np.hypot(y - row, x - column)
        fading = detector.large_event_halo * np.exp(-(distance - radius) / (0.7 * radius))
        charge = np.where(distance <= radius, detector.large_event_core, fading)
        charge[distance > reach] = 0
        hits.append(
            Hit(
                int(rng.integers(frames)),
                y.ravel().astype(np.intp),
                x.ravel().astype(np.intp),
                charge.ravel().astype(np.float32),
            )
        )
    return hits


def _flicker(rows: int, amplitude: float, rng: np.random.Generator) -> Image:
    """Noise of one value per row with power inversely proportional to frequency, (rows, 1)."""
    frequency = np.fft.rfftfreq(rows)
    frequency[0] = frequency[1]
    spectrum = rng.standard_normal((2, frequency.size)) / np.sqrt(frequency)
    series = np.fft.irfft(spectrum[0] + 1j * spectrum[1], n=rows)
    series *= amplitude / series.std()
    return np.asarray(series[:, None], dtype=np.float32)


class _Readout:
    """Noise that the electronics add to every frame of one integration."""

    def __init__(self, response: Response, rng: np.random.Generator) -> None:
        electronics: Electronics = response.detector.electronics
        self._response = response
        self._electronics = electronics
        self._rng = rng
        self._channels = int(response.channel.max()) + 1
        offsets = electronics.offset * rng.standard_normal(self._channels, dtype=np.float32)
        reset = electronics.reset * rng.standard_normal(response.bias.shape, dtype=np.float32)
        self._constant = reset + offsets[response.channel]

    def frame(self) -> Image:
        """Noise of the next frame, DN."""
        rng, response, electronics = self._rng, self._response, self._electronics
        shape = response.bias.shape
        noise = response.read_noise * rng.standard_normal(shape, dtype=np.float32)
        drift = electronics.drift * rng.standard_normal(self._channels, dtype=np.float32)
        noise += drift[response.channel]
        noise += _flicker(shape[0], electronics.flicker, rng)
        return np.asarray(noise + self._constant)


def read_ramp(
    response: Response,
    rate: Image,
    pattern: ReadoutPattern,
    groups: int,
    rng: np.random.Generator | None,
) -> NDArray[np.uint16]:
    """Read one integration.

    Parameters
    ----------
    response : Response
        The pixels.
    rate : ndarray of float32, shape (rows, columns)
        Electrons per second, dark current included.
    pattern : ReadoutPattern
        How frames become groups.
    groups : int
        Number of groups.
    rng : numpy.random.Generator or None
        Source of chance; None reads without noise, cosmic rays or offsets.

    Returns
    -------
    ndarray of uint16, shape (groups, rows, columns)
        Raw groups, DN.
    """
    shape, frame_time = rate.shape, response.subarray.frame_time
    frames, cycle = pattern.frames(groups), pattern.nframes + pattern.groupgap
    readout = None if rng is None else _Readout(response, rng)
    arrivals: Sequence[Hit] = ()
    if rng is not None:
        window = (int(shape[0]), int(shape[1]))
        arrivals = cosmic_rays(response.detector, window, frames, frame_time, rng)
        arrivals += large_events(response.detector, window, frames, rng)
    electrons = np.zeros(shape, dtype=np.float32)
    expected = rate.astype(np.float64) * frame_time
    total = np.zeros(shape, dtype=np.float32)
    result = np.empty((groups, *shape), dtype=np.uint16)
    for frame in range(frames):
        electrons += expected if rng is None else rng.poisson(expected)
        for hit in arrivals:
            if hit.frame == frame:
                np.add.at(electrons, (hit.rows, hit.columns), hit.electrons)
        electrons[response.reference] = 0
        group, place = divmod(frame, cycle)
        if place >= pattern.nframes:
            continue
        level = response.measure(electrons)
        if readout is not None:
            level += readout.frame()
        total += np.clip(np.rint(level), 0, _RAW_MAXIMUM)
        if place == pattern.nframes - 1:
            result[group] = np.rint(total / pattern.nframes)
            total[:] = 0
    return result
