"""File names: exposures, products and their suffixes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit, urlunsplit

__all__ = [
    "STAGE_OF_SUFFIX",
    "SUFFIXES",
    "ExposureName",
    "base_and_suffix",
    "exposure_name",
    "is_url",
    "shown",
    "stem",
]

_CLASS_SUFFIXES = re.findall(
    r"\w+",
    """
    adaptivetracemodelstep alignrefsstep ami3pipeline amianalyzestep aminormalizestep assignmtwcsstep
    assignwcsstep backgroundstep badpixselfcalstep barshadowstep chargemigrationstep cleanflickernoisestep
    combine1dstep coron3pipeline cubebuildstep darkcurrentstep darkpipeline detector1pipeline dqinitstep
    emicorrstep extract1dstep extract2dstep firstframestep flatfieldstep fringestep gainscalestep groupscalestep
    guidercdsstep guiderpipeline hlspstep image2pipeline image3pipeline imprintstep ipcstep jumpstep klipstep
    lastframestep linearitystep masterbackgroundmosstep masterbackgroundstep msaflagopenstep
    outlierdetectionstep pathlossstep persistencestep photomstep pictureframestep pixelreplacestep rampfitstep
    refpixstep resamplespecstep resamplestep resetstep residualfringestep rscdstep saturationstep skymatchstep
    sourcecatalogstep sourcetypestep spec2pipeline spec3pipeline spectralleakstep stackrefsstep straylightstep
    superbiasstep targcentroidstep tso3pipeline tsophotometrystep tweakregstep wavecorrstep wfscombinestep
    wfsscontamstep whitelightstep
    """,
)
"""Names of classes, which steps and pipelines run from Python give to what they save."""

SUFFIXES = frozenset(
    [
        *_CLASS_SUFFIXES,
        "uncal",
        "ramp",
        "rate",
        "rateints",
        "fitopt",
        "bsub",
        "bsubints",
        "cal",
        "calints",
        "crf",
        "crfints",
        "i2d",
        "s2d",
        "s3d",
        "x1d",
        "x1dints",
        "c1d",
        "cat",
        "segm",
        "phot",
        "whtlt",
        "psfstack",
        "psfalign",
        "psfsub",
        "ami",
        "amiavg",
        "aminorm",
        "ami-oi",
        "amimulti-oi",
        "amilg",
        "aminorm-oi",
        "dark",
        "trapsfilled",
        "blot",
        "mbsub",
        "median",
        "residual_fringe",
        "snr",
        "wfscmb",
        "adaptive_trace_model",
        "align_refs",
        "ami_analyze",
        "ami_normalize",
        "assign_mtwcs",
        "assign_wcs",
        "badpix_selfcal",
        "barshadow",
        "bkg_subtract",
        "charge_migration",
        "clean_flicker_noise",
        "combine_1d",
        "cube_build",
        "dark_current",
        "dq_init",
        "emicorr",
        "extract_1d",
        "extract_2d",
        "firstframe",
        "flat_field",
        "fringe",
        "gain_scale",
        "gain_scaleints",
        "group_scale",
        "guider_cds",
        "hlsp",
        "imprint",
        "ipc",
        "jump",
        "klip",
        "lastframe",
        "linearity",
        "master_background",
        "master_background_mos",
        "msa_flagging",
        "outlier_detection",
        "pathloss",
        "persistence",
        "photom",
        "picture_frame",
        "pixel_replace",
        "refpix",
        "resample",
        "resample_spec",
        "reset",
        "ramp_fit",
        "rscd",
        "saturation",
        "skymatch",
        "source_catalog",
        "spectral_leak",
        "srctype",
        "stack_refs",
        "straylight",
        "superbias",
        "targ_centroid",
        "tso_photometry",
        "tweakreg",
        "wavecorr",
        "wfss_contam",
        "white_light",
    ]
)
"""Suffixes that name a product or the output of a single step, and are replaced by the next one."""

STAGE_OF_SUFFIX = {
    "uncal": 0,
    "ramp": 1,
    "rate": 2,
    "rateints": 2,
    "cal": 3,
    "calints": 3,
    "crf": 4,
    "crfints": 4,
}
"""How far along an exposure is, by its suffix."""


_EXPOSURE = re.compile(
    r"^(?P<base>jw(?P<program>\d{5})(?P<observation>\d{3})(?P<visit>\d{3})"
    r"_(?P<group>\d{2}[0-9a-z]\d{2})_(?P<exposure>\d{5})(?:-seg(?P<segment>\d{3}))?"
    r"_(?P<detector>[a-z][a-z0-9]+))(?:_|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ExposureName:
    """The parts of the name of a JWST exposure of one detector.

    Attributes
    ----------
    base : str
        Name without suffix: ``jwPPPPPOOOVVV_GGSAA_EEEEE[-segNNN]_detector``.
    """

    base: str
    program: str
    observation: str
    visit: str
    detector: str
    segment: str | None = None


def stem(name: str) -> str:
    """Return a file name without folder and extension (``.fits.gz`` counts as one)."""
    leaf = PurePosixPath(name).name
    for ending in (".fits.gz", ".fits", ".asdf", ".json", ".ecsv"):
        if leaf.lower().endswith(ending):
            return leaf[: -len(ending)]
    return PurePosixPath(leaf).stem


def base_and_suffix(name: str) -> tuple[str, str | None]:
    """Split a file name into its base and its known suffix (None where it has no known one).

    The longest known suffix wins: ``x_gain_scaleints.fits`` is ``("x", "gain_scaleints")``.
    """
    whole = stem(name)
    parts = whole.split("_")
    for first in range(1, len(parts)):
        candidate = "_".join(parts[first:])
        if candidate.lower() in SUFFIXES:
            return "_".join(parts[:first]), candidate
    return whole, None


def exposure_name(name: str) -> ExposureName | None:
    """Parse the name of an exposure, or return None where it does not follow the convention."""
    found = _EXPOSURE.match(stem(name))
    if found is None:
        return None
    part = found.groupdict()
    return ExposureName(
        part["base"], part["program"], part["observation"], part["visit"], part["detector"].lower(), part["segment"]
    )


def is_url(place: str) -> bool:
    """Whether a place is a URL rather than a local path."""
    return "://" in place and not place.startswith("file://")


def shown(place: str) -> str:
    """Return a path or URL as it may be shown: without user name, password or query."""
    if not is_url(place):
        return place
    parts = urlsplit(place)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
