"""`Stripes`: which lines of the detector an exposure of several stripes holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from calservice.model.info import ExposureInfo

__all__ = ["FULL", "STRIPE_ATTRIBUTES", "STRIPE_KEYWORDS", "Run", "Stripes", "unknown_stripes"]

FULL = 2048
"""Rows and columns of the near-infrared detectors, which are the ones that are read in stripes."""

STRIPE_KEYWORDS = ("MSTR_RD1", "MSTR_SK1", "MSTR_RD2", "MSTR_SK2", "MSTR_RPT", "MSTR_ILV", "SSTR_STP", "SSTR_NST")
"""Keywords that tell of stripes, in the order of what `Stripes` takes. Without the first there are none."""
STRIPE_ATTRIBUTES = (
    *("multistripe_reads1", "multistripe_skips1", "multistripe_reads2", "multistripe_skips2"),
    *("repeat_stripe", "interleave_reads1", "superstripe_step", "num_superstripe"),
)
"""The same as attributes of ``meta.subarray``."""


class Run(NamedTuple):
    """Lines of the detector that are read one after the other.

    Attributes
    ----------
    start, stop : int
        The first of them, and the one after the last, counted from 0 in the order of reading.
    reference : bool
        Whether they are lines of reference pixels that are read again before each stripe, rather than a stripe.
    """

    start: int
    stop: int
    reference: bool

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Stripes:
    """How a detector is read in stripes, as the keywords of an exposure tell it.

    Lines are those across the slow axis; they are counted from 0 in the order in which the detector reads them.

    Attributes
    ----------
    reads1 : int
        Lines of reference pixels that are read first (MSTR_RD1).
    skips1, skips2 : int or None
        Lines left out after these (MSTR_SK1), and between stripes (MSTR_SK2).
    reads2 : int or None
        Lines of a stripe (MSTR_RD2).
    repeat : int or None
        Whether each stripe begins at the start again (MSTR_RPT), with lines of reference pixels of its own.
    interleave : int or None
        Whether these go on where the one before ended, rather than read the same lines once more (MSTR_ILV).
    step : int or None
        Of superstripes, lines from one to the next (SSTR_STP).
    count : int or None
        Number of superstripes, of which integrations hold one each in turn; 0 if there are none (SSTR_NST).
    which : int
        Of superstripes, the number of the one that is meant, from 0.
    from_first : bool
        Whether they begin with the first line of the detector, whatever the header says. It is so in the subarrays of
        NIRCam's Dispersed Hartmann Sensor (DHS), whose stripes are counted from there.

    Notes
    -----
    Source: the schema of these keywords in the JWST data models, and the lines that the official package cuts out of
    references.
    """

    reads1: int
    skips1: int | None
    reads2: int | None
    skips2: int | None
    repeat: int | None
    interleave: int | None
    step: int | None
    count: int | None
    which: int = 0
    from_first: bool = False

    @classmethod
    def told(cls, values: Sequence[int | None], subarray: str) -> Stripes | None:
        """Return what the values of `STRIPE_KEYWORDS` and SUBARRAY tell; None where there are no stripes."""
        reads1, skips1, reads2, skips2, repeat, interleave, step, count = values
        if reads1 is None:
            return None
        first = "DHS" in subarray.upper()
        return cls(reads1, skips1, reads2, skips2, repeat, interleave, step, count, from_first=first)

    def fault(self, length: int) -> str | None:
        """Return why the lines of a subarray are not known; None where they are.

        Parameters
        ----------
        length : int
            Lines of the subarray.
        """
        told = (0, self.skips1, self.reads2, self.skips2, self.repeat, 0, self.step if self.count else 0, self.count)
        absent = [keyword for keyword, value in zip(STRIPE_KEYWORDS, told, strict=True) if value is None]
        if absent:
            return f"stripes without {', '.join(absent)}"
        each = self._stripe
        if each <= 0 or self.reads1 < 0:
            return "stripes without lines"
        rest = length % (self.reads1 + each) if self.repeat else (length - self.reads1) % each
        return f"stripes that do not fill its {length} lines" if rest or length < self.reads1 + each else None

    @property
    def _stripe(self) -> int:
        """Lines of a stripe; superstripes without any are as long as what lies between them."""
        return (self.reads2 or 0) or ((self.step or 0) if self.count else 0)

    def runs(self, length: int, start: int = 0) -> list[Run]:
        """Return the lines of the detector that a subarray holds, in the order of reading.

        Parameters
        ----------
        length : int
            Lines of the subarray, of which `fault` knows none.
        start : int
            The line of the detector that is read first.
        """
        skips1, skips2, each = self.skips1 or 0, self.skips2 or 0, self._stripe
        ahead = self.reads1 + skips1
        first = start + ahead + self.which * (self.step or 0 if self.count else 0)
        found: list[Run] = []
        for n in range(length // (self.reads1 + each) if self.repeat else (length - self.reads1) // each):
            if self.reads1 and (self.repeat or not n):
                found.append(Run(start, start + self.reads1, True))
            place = first + n * (each + skips2)
            if self.repeat:
                place = start + ahead + n * (each + skips2) if self.interleave and n else first
            found.append(Run(place, place + each, False))
        return found

    def first_line(self, slowaxis: int, start: int) -> int:
        """Return the line that is read first, from 0 in the order of reading; see `placed`."""
        if slowaxis > 0:
            return 0 if self.from_first else start - 1
        return 0 if self.from_first or start == 1 else FULL - start

    def placed(self, length: int, slowaxis: int, start: int) -> list[tuple[int, int]]:
        """Return the ranges of lines of the detector's image that a subarray holds, in the order of its own image.

        Parameters
        ----------
        length : int
            Lines of the subarray.
        slowaxis : int
            SLOWAXIS: negative where images have the first line that is read last.
        start : int
            First line of the subarray, from 1 (SUBSTRT1 or SUBSTRT2); where the slow axis is negative, the line that
            is read first, for which 1 stands for the last one of the detector.

        Returns
        -------
        list of tuple of int
            First line, from 0, and the one after the last.
        """
        found = self.runs(length, self.first_line(slowaxis, start))
        if slowaxis > 0:
            return [(run.start, run.stop) for run in found]
        return [(FULL - run.stop, FULL - run.start) for run in reversed(found)]


def unknown_stripes(info: ExposureInfo) -> str | None:
    """Return why it is not known which lines of the detector an exposure holds; None where it is, or is no question."""
    if info.stripes is None:
        return None
    if info.instrument == "MIRI":
        return "stripes of MIRI"
    if max(info.nrows, info.ncols) > FULL:
        return "stripes of IRS2 frames"
    if {abs(info.fastaxis), abs(info.slowaxis)} != {1, 2}:
        return "unknown axes of the detector"
    upright = abs(info.slowaxis) == 2
    start, width, length = (info.xstart, info.ncols, info.nrows) if upright else (info.ystart, info.nrows, info.ncols)
    if not 1 <= start <= FULL + 1 - width:
        return "stripes that do not fit the detector"
    return info.stripes.fault(length)
