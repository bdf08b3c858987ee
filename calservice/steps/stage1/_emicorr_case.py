"""What the interference in an exposure of MIRI is like: clocks and waves, from tables or parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.errors import ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import Reference

__all__ = ["TICK", "Interference", "Wave", "emi_arrays", "tabled_case", "user_case"]

TICK = 10.0e-6
"""Time that a pixel takes to be read, in seconds: the unit of clocks."""

_CLOCKS: Mapping[str, tuple[int, int]] = {
    "SLITLESSPRISM": (28, 15904),
    "MASKLYOT": (90, 32400),
    "SUB64": (28, 8512),
    "SUB128": (44, 11904),
    "MASK1140": (82, 23968),
    "MASK1550": (82, 23968),
    "MASK1065": (82, 23968),
    "FULL_FAST": (271, 277504),
    "FULL_SLOW": (2333, 2388992),
    "BRIGHTSKY": (162, 86528),
    "SUB256": (96, 29952),
}
"""Clocks of a row and of a frame, where no reference tells them."""

_CASE = [
    ("subarray", "U32"),
    ("speed", "U32"),
    ("detector", "U32"),
    ("rowclocks", "f8"),
    ("frameclocks", "f8"),
    ("frequency", "U64"),
]
_FREQUENCY = [("name", "U64"), ("frequency", "f8"), ("length", "i8")]


@dataclass(frozen=True)
class Wave:
    """One interfering frequency.

    Attributes
    ----------
    name : str
        Its name.
    frequency : float
        In Hz.
    amplitudes : ndarray, optional
        The shape of the wave over one period, if it is known.
    """

    name: str
    frequency: float
    amplitudes: Array | None

    @property
    def period(self) -> float:
        """Its period in clocks."""
        return (1.0 / self.frequency) / TICK


@dataclass(frozen=True)
class Interference:
    """The clocks of a row and of a frame, and the waves, in the order of correction."""

    rowclocks: float
    frameclocks: float
    waves: tuple[Wave, ...]


def emi_arrays(tree: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays of the tree of a reference.

    Parameters
    ----------
    tree : mapping
        ``frequencies`` by name, each with ``frequency`` in Hz and ``phase_amplitudes``, and ``subarray_cases`` by
        name, each with ``rowclocks``, ``frameclocks`` and the names of ``freqs`` by speed, and for slow readout by
        detector.

    Returns
    -------
    dict
        Tables ``frequencies`` and ``subarray_cases``, and ``phase_amplitudes`` (frequency, phase), filled up with
        NaN beyond the ``length`` of each.
    """
    given = [
        (name, found["frequency"], np.array(found["phase_amplitudes"])) for name, found in tree["frequencies"].items()
    ]
    frequencies = np.array([(name, value, len(wave)) for name, value, wave in given], _FREQUENCY)
    dtype = np.result_type(np.float32, *(wave.dtype for _, _, wave in given)).newbyteorder("=")
    waves = np.full((len(given), max((len(wave) for _, _, wave in given), default=0)), np.nan, dtype)
    for row, (_, _, wave) in zip(waves, given, strict=True):
        row[: len(wave)] = wave
    cases = [
        (name, speed, detector, case["rowclocks"], case["frameclocks"], frequency)
        for name, case in tree["subarray_cases"].items()
        for speed, detector, frequency in _listed(case["freqs"])
    ]
    return {"frequencies": frequencies, "phase_amplitudes": waves, "subarray_cases": np.array(cases, _CASE)}


def _listed(freqs: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return speed, detector and name of each frequency; those of fast readout serve all detectors."""
    listed: list[tuple[str, str, str]] = []
    for speed, found in freqs.items():
        detectors = found if isinstance(found, Mapping) else {"": found}
        listed += [(speed, detector, str(name)) for detector, names in detectors.items() for name in names]
    return listed


def tabled_case(reference: Reference, info: ExposureInfo) -> Interference | None:
    """Return what a reference tells of an exposure, None if it does not know its subarray.

    Raises
    ------
    ReferenceFileError
        If it names a frequency that it does not have.
    """
    speed = "SLOW" if "SLOW" in info.readpatt else "FAST"
    name = f"{info.subarray}_{speed}" if "FULL" in info.subarray else info.subarray
    table = reference["subarray_cases"]
    detector = info.detector if speed == "SLOW" else ""
    rows = table[(table["subarray"] == name) & (table["speed"] == speed) & (table["detector"] == detector)]
    if not len(rows):
        return None
    frequencies, amplitudes = reference["frequencies"], reference["phase_amplitudes"]
    waves = []
    for wanted in rows["frequency"]:
        (places,) = np.nonzero(frequencies["name"] == wanted)
        if not len(places):
            raise ReferenceFileError(
                f"{reference.name}: the emicorr reference has no frequency {wanted}, which it names for {name}; "
                "use a complete file"
            )
        row = frequencies[places[0]]
        wave = np.array(amplitudes[places[0], : row["length"]])
        waves.append(Wave(str(wanted), float(row["frequency"]), wave))
    return Interference(float(rows["rowclocks"][0]), float(rows["frameclocks"][0]), tuple(waves))


def user_case(frequencies: Sequence[float], info: ExposureInfo) -> Interference | None:
    """Return the case of frequencies that a user gives, in Hz, None where the clocks are not known."""
    name = info.subarray
    if name == "FULL":
        name += "_FAST" if "FAST" in info.readpatt else "_SLOW"
    if name not in _CLOCKS or not frequencies:
        return None
    rowclocks, frameclocks = _CLOCKS[name]
    waves = tuple(Wave(repr(frequency), frequency, None) for frequency in frequencies)
    return Interference(float(rowclocks), float(frameclocks), waves)
