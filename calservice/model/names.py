"""File names: exposures, products and their suffixes.

Two questions are asked of a suffix, and they have different answers:

- *How is an output called?* `remove_suffix` and `output_name` answer as the official package does: it replaces the
  suffixes that it knows (`KNOWN_SUFFIXES`, in lower case, after ``_`` or ``-``) and appends to any other name.
- *What is this file?* `base_and_suffix` recognises a product by any suffix that pipelines give, also by those that the
  official package writes but does not know as suffixes, such as ``fitopt`` and ``segm``, and in any case of letters.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from urllib.parse import urlsplit, urlunsplit

__all__ = [
    "KNOWN_SUFFIXES",
    "PRODUCT_SUFFIXES",
    "STAGE_OF_SUFFIX",
    "ExposureName",
    "base_and_suffix",
    "exposure_name",
    "is_url",
    "output_name",
    "remove_suffix",
    "shown",
    "stem",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KNOWN_SUFFIXES = _words(
    """
    uncal ramp rate rateints bsub bsubints cal calints crf crfints i2d s2d s3d x1d x1dints c1d cat phot whtlt
    psfstack psfalign psfsub ami ami-oi aminorm aminorm-oi dark blot median mbsub snr wfscmb

    adaptive_trace_model align_refs ami_analyze ami_normalize assign_mtwcs assign_wcs bkg_subtract
    clean_flicker_noise combine_1d cube_build dark_current dq_init emicorr engdblog extract_1d extract_2d
    firstframe flat_field fringe gain_scale group_scale guider_cds hlsp imprint ipc jump klip lastframe linearity
    master_background outlier_detection pathloss persistence photom picture_frame ramp_fit refpix resample
    resample_spec reset residual_fringe rscd saturation skymatch source_catalog spec2nrslamp spectral_leak srctype
    stackrefs straylight superbias targ_centroid tweakreg wfscombine white_light

    adaptivetracemodelstep alignrefsstep ami3pipeline amianalyzestep aminormalizestep assignmtwcsstep
    assignwcsstep backgroundstep badpixselfcalstep barshadowstep chargemigrationstep cleanflickernoisestep
    combine1dstep coron3pipeline cubebuildstep darkcurrentstep darkpipeline detector1pipeline dqinitstep
    emicorrstep extract1dstep extract2dstep firstframestep flatfieldstep fringestep gainscalestep groupscalestep
    guidercdsstep guiderpipeline hlspstep image2pipeline image3pipeline imprintstep ipcstep jumpstep klipstep
    lastframestep linearitystep masterbackgroundmosstep masterbackgroundstep msaflagopenstep outlierdetectionstep
    pathlossstep persistencestep photomstep pictureframestep pixelreplacestep rampfitstep refpixstep
    resamplespecstep resamplestep resetstep residualfringestep rscdstep saturationstep skymatchstep
    sourcecatalogstep sourcetypestep spec2pipeline spec3pipeline spectralleakstep stackrefsstep straylightstep
    superbiasstep targcentroidstep tso3pipeline tsophotometrystep tweakregstep wavecorrstep wfscombinestep
    wfsscontamstep whitelightstep
    """
)
"""Suffixes that the official package knows, and therefore replaces: of products, of steps, and the names of classes,
which steps and pipelines run from Python give to what they save."""

PRODUCT_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "uncal": "uncalibrated raw input",
        "ramp": "corrected ramp data",
        "rate": "corrected countrate image",
        "rateints": "corrected countrates of each integration",
        "fitopt": "optional results of the ramp fit",
        "bsub": "background-subtracted image",
        "bsubints": "background-subtracted images of each integration",
        "cal": "calibrated image",
        "calints": "calibrated images of each integration",
        "crf": "image with cosmic rays flagged",
        "crfints": "images of each integration with cosmic rays flagged",
        "i2d": "resampled 2-D image",
        "s2d": "resampled 2-D spectrum",
        "s3d": "resampled 3-D cube of an integral field unit",
        "x1d": "extracted 1-D spectrum",
        "x1dints": "extracted 1-D spectra of each integration",
        "c1d": "combined 1-D spectrum",
        "cat": "source catalog",
        "segm": "segmentation map",
        "phot": "photometric catalog of a time series",
        "whtlt": "white-light catalog of a time series",
        "psfstack": "stack of coronagraphic PSF images",
        "psfalign": "aligned coronagraphic PSF images",
        "psfsub": "coronagraphic images with the PSF subtracted",
        "ami": "fringes and closure phases",
        "amiavg": "averaged fringes and closure phases",
        "aminorm": "normalized fringes and closure phases",
    }
)
"""What the products are that the user manual lists, by suffix."""

_ALSO_WRITTEN = _words(
    """
    amilg amimulti-oi badpix_selfcal barshadow charge_migration gain_scaleints master_background_mos msa_flagging
    pixel_replace stack_refs trapsfilled tso_photometry wavecorr wfss_contam
    """
)
"""Endings of further files that steps write; the official package does not know them as suffixes."""

_RECOGNISED = KNOWN_SUFFIXES | PRODUCT_SUFFIXES.keys() | _ALSO_WRITTEN

_KNOWN = re.compile(rf"(?P<root>.+?)(?P<separator>[_-])(?:{'|'.join(sorted(KNOWN_SUFFIXES))})$")

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


def remove_suffix(name: str) -> tuple[str, str]:
    """Take a known suffix off a name, as the official package does before it gives another one.

    Case counts, and of several suffixes at the end only the last goes: ``x_cal_rate`` becomes ``x_cal``.

    Parameters
    ----------
    name : str
        File name without folder and extension.

    Returns
    -------
    root : str
        The name without suffix; the name as it is where it ends in no known one.
    separator : str
        What stands before a suffix of this name: ``-`` where the known one was set off by it, else ``_``.
    """
    found = _KNOWN.match(name)
    return (name, "_") if found is None else (found["root"], found["separator"])


def output_name(name: str, suffix: str | None, *components: object, ext: str = ".fits") -> str:
    """Return the name of an output, as stpipe makes it from the name of the input.

    Parameters
    ----------
    name : str
        What the output is named after: a file name, path or URL of which folder and extension are dropped. What
        follows the last dot counts as extension.
    suffix : str or None
        Suffix of the output, which replaces a known one. None: the name keeps the suffix that it has (stpipe says
        ``suffix=False``).
    *components : object
        What comes between name and suffix, such as an association's id, a slit or an index; None is left out.
    ext : str
        Extension of the output, with or without its dot.

    Returns
    -------
    str
        File name.
    """
    root, separator = posixpath.splitext(posixpath.basename(name))[0], "_"
    if suffix is not None:
        root, separator = remove_suffix(root)
    whole = "_".join([root, *(str(part) for part in components if part is not None)])
    return f"{whole}{'' if suffix is None else separator + suffix}.{ext.removeprefix('.')}"


def base_and_suffix(name: str) -> tuple[str, str | None]:
    """Split the name of a file into what products of it share and the suffix that tells what it is.

    This recognises products; `output_name` names outputs. The longest suffix wins: ``x_gain_scaleints.fits`` is
    ``("x", "gain_scaleints")``. The suffix is None where no product has such a one.
    """
    whole = stem(name)
    parts = whole.split("_")
    for first in range(1, len(parts)):
        candidate = "_".join(parts[first:])
        if candidate.lower() in _RECOGNISED:
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
