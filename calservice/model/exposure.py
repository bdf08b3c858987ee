"""`Exposure`: one input file as its header describes it, and `FileStat`, what a listing says of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calservice.model.info import ExposureInfo
from calservice.model.modes import ALWAYS_TSO, Mode, mode_of
from calservice.model.names import base_and_suffix, stem
from calservice.model.stripes import STRIPE_KEYWORDS, Stripes

__all__ = ["NUMBERS", "Exposure", "FileStat"]


NUMBERS = frozenset(
    (
        *("NINTS", "NGROUPS", "NFRAMES", "GROUPGAP", "TFRAME", "TGROUP", "INTSTART", "INTEND", "DRPFRMS1", "FRMDIVSR"),
        *("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "FASTAXIS", "SLOWAXIS", "NOUTPUTS", "NSAMPLES"),
        *("EXPSTART", "EFFINTTM", "GAINFACT", "NRS_NORM", "NRS_REF"),
        *STRIPE_KEYWORDS,
    )
)
"""Keywords that are computed with."""


@dataclass(frozen=True)
class FileStat:
    """What a listing says of a file: where, how long, and a stamp that changes when the file does.

    Attributes
    ----------
    url : str
        Path or URL.
    size : int
        Bytes.
    stamp : str
        Modification time in nanoseconds (files) or entity tag (object stores).
    """

    url: str
    size: int
    stamp: str

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.url.replace("\\", "/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Exposure:
    """An input file, parsed and validated: header facts only, no pixels.

    Attributes
    ----------
    file : FileStat
        The file.
    keywords : mapping of str to object
        Keywords of the primary header and of SCI.
    meta : mapping of str to object
        The same by datamodel path (``meta.exposure.type`` ...), as reference selection wants them.
    shape : tuple of int
        Shape of the science array, e.g. (nints, ngroups, nrows, ncols) of a ramp.
    """

    file: FileStat
    keywords: Mapping[str, Any]
    meta: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    @property
    def base(self) -> str:
        """File name without suffix and extension."""
        return base_and_suffix(self.file.name)[0]

    @property
    def suffix(self) -> str | None:
        """Known suffix of the file name."""
        return base_and_suffix(self.file.name)[1]

    @property
    def exp_type(self) -> str:
        """EXP_TYPE."""
        return str(self.keywords.get("EXP_TYPE", "")).upper()

    @property
    def instrument(self) -> str:
        """INSTRUME."""
        return str(self.keywords.get("INSTRUME", "")).upper()

    @property
    def is_tso(self) -> bool:
        """Whether the visit is a time series (TSOVISIT)."""
        return bool(self.keywords.get("TSOVISIT", False))

    @property
    def header_only(self) -> bool:
        """Whether the file has no pixels: SCI is missing, empty or, where it was cut out, a single pixel."""
        return not self.shape or self.shape[-2:] == (1, 1)

    @property
    def by_integration(self) -> bool:
        """Whether stage 2 calibrates each integration: a time series of more than one."""
        always = self.exp_type in ALWAYS_TSO
        return (self.is_tso or always) and int(self.keywords.get("NINTS") or 2) > 1

    @property
    def mode(self) -> Mode:
        """The pipelines that serve this exposure.

        Raises
        ------
        InputError
            Where EXP_TYPE is unknown.
        """
        return mode_of(self.exp_type, self.is_tso, where=self.file.url)

    @property
    def info(self) -> ExposureInfo:
        """The facts that kernels compute with."""
        word = self.keywords.get
        dims = (1, 1, *self.shape[-4:])[-4:] if len(self.shape) >= 2 else (1, 1, 0, 0)
        return ExposureInfo(
            instrument=self.instrument,
            detector=str(word("DETECTOR", "")).upper(),
            exp_type=self.exp_type,
            readpatt=str(word("READPATT", "")).upper(),
            subarray=str(word("SUBARRAY", "")).upper(),
            nints=dims[0],
            ngroups=dims[1],
            nrows=dims[2],
            ncols=dims[3],
            nframes=int(word("NFRAMES") or 1),
            groupgap=int(word("GROUPGAP") or 0),
            frame_time=float(word("TFRAME") or 0.0),
            group_time=float(word("TGROUP") or 0.0),
            integration_start=int(word("INTSTART") or 1),
            drop_frames=int(word("DRPFRMS1") or 0),
            tsovisit=self.is_tso,
            num_superstripe=int(word("SSTR_NST") or 0),
            fastaxis=int(word("FASTAXIS") or 1),
            slowaxis=int(word("SLOWAXIS") or 2),
            noutputs=int(word("NOUTPUTS") or 0),
            stripes=Stripes.told([_number(word(keyword)) for keyword in STRIPE_KEYWORDS], str(word("SUBARRAY", ""))),
            xstart=int(word("SUBSTRT1") or 1),
            ystart=int(word("SUBSTRT2") or 1),
            integration_end=_number(word("INTEND")),
            exposure_nints=_number(word("NINTS")),
            frame_divisor=None if word("NFRAMES") is None else _number(word("FRMDIVSR")),
            start_time=float(word("EXPSTART") or 0.0),
            integration_time=float(word("EFFINTTM") or 0.0),
            nsamples=int(word("NSAMPLES") or 1),
            xsize=int(word("SUBSIZE1") or 0),
            gain_factor=float(word("GAINFACT") or 0.0) or None,
            irs2_pattern=(_number(word("NRS_NORM")), _number(word("NRS_REF"))),
            pupil_position=_position(word("PWCPOS")),
        )

    @property
    def label(self) -> str:
        """Short description for people: instrument, optical element, exposure type."""
        word = self.keywords.get
        optics = [str(word(k)) for k in ("FILTER", "GRATING", "PUPIL", "BAND") if word(k) not in (None, "", "N/A")]
        return " ".join([self.instrument, "/".join(optics), self.exp_type]).strip() or stem(self.file.name)


def _number(value: Any) -> int | None:
    """Return the value of a keyword as a whole number; None where it is not told."""
    return None if value in (None, "") else int(value)


def _position(value: Any) -> float | None:
    """Return the value of a keyword that few exposures need; None where it is not told, or is no number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
