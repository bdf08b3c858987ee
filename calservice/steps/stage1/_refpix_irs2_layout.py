"""Where the samples of a NIRSpec IRS2 frame lie in the file, and when they were read.

A frame is read through five outputs at once, of which the first, the reference output, sees no pixels. Of each row an
output reads 640 samples: 512 pixels, and after every 16 of them (after 8 at both ends) 4 interleaved reference pixels.
Stepping out to these and back takes the time of one sample each, and the start of a new row that of eight: a row is 712
slots long.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from calservice.model.block import Array

__all__ = [
    "FRAME",
    "LENGTH",
    "LINE",
    "LINES",
    "NORMAL",
    "OUTPUTS",
    "REFERENCE",
    "SAMPLES",
    "SIZE",
    "SLOTS",
    "Layout",
    "layout",
    "reference_samples",
]

SIZE = 2048
"""Rows of a frame as the detector reads them, and science columns of each."""
OUTPUTS = 5
SAMPLES = 640
"""Samples of an output in each row."""
NORMAL, REFERENCE = 16, 4
"""Pixels read between visits to the reference pixels, and reference pixels read at each."""
FRAME = (OUTPUTS * SAMPLES, SIZE)
"""Rows and columns of a frame as it lies in the file."""
SLOTS = 712
"""Time of a row, in samples."""
LENGTH = SIZE * SLOTS
"""Samples of the time series of a frame."""
LINES, LINE = SLOTS // 2, SIZE + 16
"""The first half of a spectrum lies in so many lines of SIZE frequencies. The first of the next line follows each, and
padding, so that lines do not displace each other from the cache."""
_PAIR = REFERENCE // 2


@dataclass(frozen=True)
class Layout:
    """Places of the samples of a detector.

    Attributes
    ----------
    rows : ndarray
        (OUTPUTS, SAMPLES) int64: the row in the file of each sample, in the order of readout.
    backwards : bool
        Whether the columns of the file run against the order of readout.
    slots : ndarray
        (SAMPLES,) int64: the slot of each sample in its row.
    reference : ndarray
        (SAMPLES,) bool: which samples are interleaved reference pixels.
    spread_from, spread_to : ndarray
        (256,) int64: how reference pixels are laid out as a signal of their own: the sample that is taken, and
        the slot that it fills. Each pixel stands for two samples of its kind.
    """

    rows: Array
    backwards: bool
    slots: Array
    reference: Array
    spread_from: Array
    spread_to: Array


def reference_samples() -> Array:
    """Return which of the samples of an output are interleaved reference pixels: (SAMPLES,) bool."""
    phase = np.arange(SAMPLES) % (NORMAL + REFERENCE)
    made: Array = (phase >= NORMAL // 2) & (phase < NORMAL // 2 + REFERENCE)
    return made


@cache
def layout(detector: str) -> Layout:
    """Return the layout of detector ``NRS1`` or ``NRS2``.

    Notes
    -----
    Source: "NIRSpec IRS2 Detector Readout Mode" in the JWST User Documentation, and ``refpix`` in the JWST pipeline
    documentation. Neighbouring outputs are read in opposite directions; NRS2 is turned by 180 degrees against NRS1.
    """
    sample = np.arange(SAMPLES)
    forwards = sample[None, :] + SAMPLES * np.arange(OUTPUTS)[:, None]
    columns = np.where(np.arange(OUTPUTS)[:, None] % 2 == 1, forwards, forwards[:, ::-1])
    backwards = detector == "NRS2"
    visit, phase = np.divmod(sample, NORMAL + REFERENCE)
    before = NORMAL // 2
    late = (phase >= before).astype(np.int64) + (phase >= before + REFERENCE)
    slots = sample + 2 * visit + late
    first = np.arange(before, SAMPLES, NORMAL + REFERENCE)
    pattern = np.array([0, 2, 0, 2, 1, 3, 1, 3])
    targets = np.arange(2 * REFERENCE) - _PAIR
    return Layout(
        rows=FRAME[0] - 1 - columns if backwards else columns,
        backwards=backwards,
        slots=slots,
        reference=reference_samples(),
        spread_from=(first[:, None] + pattern).ravel(),
        spread_to=(slots[first][:, None] + targets).ravel(),
    )
