"""Which pipeline serves which exposure: the official table of pipelines against exposure types.

Source: JWST documentation, *Pipeline Stages*, table "Pipelines vs. Exposure Type". Selection is by EXP_TYPE and,
where a type may or may not be a time series, by TSOVISIT.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from calservice.model.errors import InputError

__all__ = [
    "ALWAYS_TSO",
    "ASN_TYPES",
    "GUIDER_EXP_TYPES",
    "MODES",
    "PIPELINES",
    "PIPELINE_CLASSES",
    "Mode",
    "instrument_of",
    "mode_of",
    "pipeline_for_asn_type",
]

DETECTOR1 = "calwebb_detector1"
DARK = "calwebb_dark"
GUIDER = "calwebb_guider"
IMAGE2 = "calwebb_image2"
SPEC2 = "calwebb_spec2"
IMAGE3 = "calwebb_image3"
SPEC3 = "calwebb_spec3"
CORON3 = "calwebb_coron3"
AMI3 = "calwebb_ami3"
TSO3 = "calwebb_tso3"
WFS3 = "calwebb_wfs-image3"

PIPELINES: Mapping[str, int] = {
    DETECTOR1: 1,
    DARK: 1,
    GUIDER: 1,
    IMAGE2: 2,
    SPEC2: 2,
    IMAGE3: 3,
    SPEC3: 3,
    CORON3: 3,
    AMI3: 3,
    TSO3: 3,
    WFS3: 3,
}
"""Every pipeline, by alias, with its stage."""

PIPELINE_CLASSES: Mapping[str, str] = {
    f"{alias.removeprefix('calwebb_').capitalize()}Pipeline": alias for alias in PIPELINES if alias != WFS3
}
"""Official class names of the pipelines, with their aliases. (The WFS pipeline is a step, ``WfsCombineStep``.)"""


@dataclass(frozen=True)
class Mode:
    """The pipelines of stages 1 to 3 that serve an exposure; None where the stage does not apply."""

    stage1: str
    stage2: str | None = None
    stage3: str | None = None

    def pipeline(self, level: int) -> str | None:
        """Return the alias of the pipeline of stage ``level`` (1, 2 or 3)."""
        return (self.stage1, self.stage2, self.stage3)[level - 1]


_DARK = Mode(DARK)
_GUIDER = Mode(GUIDER)
_RATE_ONLY = Mode(DETECTOR1)
_IMAGE2 = Mode(DETECTOR1, IMAGE2)
_SPEC2 = Mode(DETECTOR1, SPEC2)
_IMAGE3 = Mode(DETECTOR1, IMAGE2, IMAGE3)
_SPEC3 = Mode(DETECTOR1, SPEC2, SPEC3)
_CORON3 = Mode(DETECTOR1, IMAGE2, CORON3)
_IMAGE_TSO3 = Mode(DETECTOR1, IMAGE2, TSO3)
_SPEC_TSO3 = Mode(DETECTOR1, SPEC2, TSO3)

MODES: Mapping[tuple[str, bool | None], Mode] = {
    **dict.fromkeys(
        [(t, None) for t in ("FGS_DARK", "MIR_DARKALL", "MIR_DARKIMG", "MIR_DARKMRS")]
        + [(t, None) for t in ("NRC_DARK", "NIS_DARK", "NRS_DARK")],
        _DARK,
    ),
    **dict.fromkeys(
        [(f"FGS_{t}", None) for t in ("ID-STACK", "ID-IMAGE", "ACQ1", "ACQ2", "TRACK", "FINEGUIDE")],
        _GUIDER,
    ),
    **dict.fromkeys(
        [(t, None) for t in ("FGS_SKYFLAT", "FGS_INTFLAT", "NRC_FLAT", "NRC_LED", "NRC_GRISM")]
        + [(f"MIR_{t}", None) for t in ("FLATIMAGE", "FLATIMAGE-EXT", "FLATMRS", "FLATMRS-EXT")]
        + [(t, None) for t in ("NIS_LAMP", "NIS_EXTCAL")],
        _RATE_ONLY,
    ),
    **dict.fromkeys(
        [(t, None) for t in ("FGS_FOCUS", "MIR_TACQ", "MIR_TACONFIRM", "MIR_CORONCAL")]
        + [(f"NRC_{t}", None) for t in ("TACQ", "TACONFIRM", "FOCUS")]
        + [(f"NIS_{t}", None) for t in ("TACQ", "TACONFIRM", "FOCUS")]
        + [
            (f"NRS_{t}", None)
            for t in ("IMAGE", "WATA", "TASLIT", "MSATA", "TACONFIRM", "CONFIRM", "FOCUS", "MIMF", "TACQ")
        ],
        _IMAGE2,
    ),
    **dict.fromkeys([(f"NRS_{t}", None) for t in ("AUTOWAVE", "AUTOFLAT", "LAMP")], _SPEC2),
    **dict.fromkeys([(t, None) for t in ("FGS_IMAGE", "NRC_IMAGE", "NIS_IMAGE")], _IMAGE3),
    **dict.fromkeys([(t, None) for t in ("MIR_LYOT", "MIR_4QPM", "NRC_CORON")], _CORON3),
    **dict.fromkeys(
        [(t, None) for t in ("MIR_MRS", "MIR_WFSS", "NRC_WFSS", "NIS_WFSS")]
        + [(t, None) for t in ("NRS_FIXEDSLIT", "NRS_IFU", "NRS_MSASPEC")],
        _SPEC3,
    ),
    ("NIS_AMI", None): Mode(DETECTOR1, IMAGE2, AMI3),
    ("MIR_IMAGE", True): _IMAGE_TSO3,
    ("MIR_IMAGE", False): _IMAGE3,
    ("NRC_TSIMAGE", True): _IMAGE_TSO3,
    ("NRC_TSGRISM", True): _SPEC_TSO3,
    ("NRS_BRIGHTOBJ", True): _SPEC_TSO3,
    ("MIR_LRS-FIXEDSLIT", True): _SPEC_TSO3,
    ("MIR_LRS-FIXEDSLIT", False): _SPEC3,
    ("MIR_LRS-SLITLESS", True): _SPEC_TSO3,
    ("MIR_LRS-SLITLESS", False): _SPEC2,
    ("NIS_SOSS", True): _SPEC_TSO3,
    ("NIS_SOSS", False): _SPEC3,
}
"""(EXP_TYPE, TSOVISIT) to `Mode`; TSOVISIT None where it plays no part."""

ALWAYS_TSO = frozenset(t for (t, tso) in MODES if tso and (t, False) not in MODES)
"""Exposure types that are time series whatever TSOVISIT says."""

ASN_TYPES: Mapping[str, str] = {
    "image2": IMAGE2,
    "tso-image2": IMAGE2,
    "wfs-image2": IMAGE2,
    "spec2": SPEC2,
    "tso-spec2": SPEC2,
    "nrslamp-spec2": SPEC2,
    "image3": IMAGE3,
    "spec3": SPEC3,
    "coron3": CORON3,
    "ami3": AMI3,
    "tso3": TSO3,
    "wfs-image3": WFS3,
}
"""The pipeline that each ``asn_type`` names."""

_INSTRUMENT_OF_DETECTOR = {
    "nrc": "NIRCAM",
    "nis": "NIRISS",
    "nrs": "NIRSPEC",
    "mir": "MIRI",
    "gui": "FGS",
}


GUIDER_EXP_TYPES = frozenset(t for (t, _), mode in MODES.items() if mode is _GUIDER)
"""Exposure types of guide star data."""


def mode_of(exp_type: str, tsovisit: bool, *, where: str = "the exposure") -> Mode:
    """Return the pipelines that serve an exposure.

    Parameters
    ----------
    exp_type : str
        Value of EXP_TYPE.
    tsovisit : bool
        Value of TSOVISIT. Types that are always time series are so whatever it says.
    where : str
        Name of the file, for the error message.

    Raises
    ------
    InputError
        Where the exposure type is not in the table.
    """
    kind = exp_type.upper()
    for key in ((kind, None), (kind, tsovisit), (kind, True)):
        if key in MODES:
            return MODES[key]
    known = sorted({name for name, _ in MODES})
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else f" Known types: {', '.join(known)}."
    raise InputError(f"{where}: EXP_TYPE {exp_type!r} is not an exposure type that a pipeline serves.{hint}")


def pipeline_for_asn_type(asn_type: str | None) -> str | None:
    """Return the pipeline that an association's type names, or None where it names none."""
    return ASN_TYPES.get((asn_type or "").lower())


def instrument_of(detector: str) -> str | None:
    """Return the instrument that a detector's name (``nrca1``, ``mirimage`` ...) belongs to."""
    return _INSTRUMENT_OF_DETECTOR.get(detector[:3].lower())
