"""Exposures and references with faults: the products of the official pipeline, or a clear error and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from tests.parity.faults import Bench, Prepared, bench, differences, edited, prepared

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("bad input")]

Spoil = Callable[[Prepared], object]
INT_TIMES = [("integration_number", "i4")] + [
    (f"int_{part}_{scale}", "f8") for scale in ("MJD_UTC", "BJD_TDB") for part in ("start", "mid", "end")
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("crds")) as started:
        yield started


def nothing(made: Prepared) -> None:
    """Leave everything as it is."""


def groups(number: int, value: int = 65535, integrations: slice = slice(None)) -> Spoil:
    """Have all pixels at a value from a group on."""

    def spoil(made: Prepared) -> None:
        with edited(made.exposure) as hdus:
            hdus["SCI"].data[integrations, number:] = value

    return spoil


def header(of: str = "", /, **words: Any) -> Spoil:
    """Change keywords of the exposure, or of a reference; those that become None are removed."""

    def spoil(made: Prepared) -> None:
        with edited(made.references[of] if of else made.exposure) as hdus:
            for keyword, value in words.items():
                hdus[0].header.remove(keyword, ignore_missing=True)
                if value is not None:
                    hdus[0].header[keyword] = value

    return spoil


def in_pixels(**words: Any) -> Spoil:
    """Change what the header of SCI says of how its pixels are stored, in the bytes of the file."""

    def spoil(made: Prepared) -> None:
        raw = made.exposure.read_bytes()
        with fits.open(made.exposure) as hdus:
            place, told = hdus["SCI"].fileinfo(), hdus["SCI"].header.copy()
        told.update(words)
        start, stop = place["hdrLoc"], place["datLoc"]
        made.exposure.write_bytes(raw[:start] + told.tostring().encode("ascii") + raw[stop:])

    return spoil


def pixels(change: Callable[[Any], Any], of: str = "") -> Spoil:
    """Change the pixels of the exposure, or of a reference."""

    def spoil(made: Prepared) -> None:
        with edited(made.references[of] if of else made.exposure) as hdus:
            for hdu in hdus[1:]:
                if hdu.is_image and hdu.data is not None:
                    hdu.data = change(hdu.data)

    return spoil


def extension(hdu: Callable[[], Any], **words: Any) -> Spoil:
    """Append an extension to the exposure, and change its header."""

    def spoil(made: Prepared) -> None:
        header(**words)(made)
        with edited(made.exposure) as hdus:
            hdus.append(hdu())

    return spoil


def holes(made: Prepared) -> None:
    """Have values that are none, zero, infinite or negative in every floating-point array of every reference."""
    rng = np.random.default_rng(5)
    for path in made.references.values():
        with edited(path) as hdus:
            for hdu in hdus[1:]:
                if hdu.is_image and hdu.data is not None and hdu.data.dtype.kind == "f":
                    values = hdu.data.astype(np.float32)
                    for value in (np.nan, 0, np.inf):
                        values[rng.random(values.shape) < 0.02] = value
                    values[rng.random(values.shape) < 0.02] *= -1
                    hdu.data = values


def length(axis: int) -> Spoil:
    """Have the header of SCI, which then has no pixels, tell of an axis without length."""

    def spoil(made: Prepared) -> None:
        raw = made.exposure.read_bytes()
        with fits.open(made.exposure) as hdus:
            place, told = hdus["SCI"].fileinfo(), hdus["SCI"].header.copy()
        told[f"NAXIS{axis}"] = 0
        start, stop = place["hdrLoc"], place["datLoc"] + place["datSpan"]
        made.exposure.write_bytes(raw[:start] + told.tostring().encode("ascii") + raw[stop:])

    return spoil


def truncated(of: str = "") -> Spoil:
    def spoil(made: Prepared) -> None:
        path = made.references[of] if of else made.exposure
        path.write_bytes(path.read_bytes()[:12000])

    return spoil


def own_darks(made: Prepared) -> None:
    """Have references that are never cut in the size of the exposure."""
    name = "MIRI" if made.instrument == "MIRI" else "NIRCam"
    own = prepared(made.exposure.parent / "own", name).references
    made.references.update({kind: own[kind] for kind in ("dark", "reset") if kind in own})


FEW = {"NIRCam": (1, 2, 3), "NIRSpec": (1, 2, 3), "MIRI": (1, 2, 3), "dark": (1, 2, 3)}
EQUAL: dict[str, tuple[str, Spoil, dict[str, Any]]] = {
    **{
        f"{name}, groups: {number}": (name, nothing, {"shape": (2, number, 32, 40)})
        for name, numbers in FEW.items()
        for number in numbers
    },
    "NIRCam, saturated but for the first group": ("NIRCam", groups(1), {}),
    "MIRI, saturated but for two groups": ("MIRI", groups(2), {}),
    "NIRSpec, one integration saturated": ("NIRSpec", groups(0, integrations=slice(1)), {}),
    "MIRI, one integration saturated": ("MIRI", groups(0, integrations=slice(1, None)), {}),
    "NIRCam, at the floor": ("NIRCam", groups(0, 0), {}),
    "dark, saturated": ("dark", groups(0), {}),
    "NIRCam, holes in references": ("NIRCam", holes, {}),
    "MIRI, holes in references": ("MIRI", holes, {}),
    **{
        f"NIRCam, {kind} is {value}": ("NIRCam", pixels(lambda a, value=value: a * 0 + np.float32(value), kind), {})
        for kind, value in (("gain", np.nan), ("gain", -1), ("readnoise", np.nan), ("readnoise", 0), ("linearity", 0))
    },
    "NIRCam, full frames are cut": ("NIRCam", own_darks, {"size": (48, 56), "start": (9, 5)}),
    "MIRI, full frames are cut": ("MIRI", own_darks, {"size": (48, 56), "start": (1, 13)}),
    "a reference whose size is another than told": ("NIRCam", header("gain", SUBSIZE1=64), {}),
    "a reference of another pattern": ("NIRCam", header("gain", READPATT="DEEP8", NFRAMES=8), {}),
    "a dark of another pattern": ("NIRCam", header("dark", READPATT="DEEP8", NFRAMES=8, GROUPGAP=12), {}),
    "a short dark": ("NIRCam", pixels(lambda a: a[..., :3, :, :] if a.ndim > 2 else a, "dark"), {}),
    "a short dark of MIRI": ("MIRI", pixels(lambda a: a[..., :3, :, :] if a.shape[-3] > 1 else a, "dark"), {}),
    "more integrations told": ("NIRCam", header(NINTS=5), {}),
    "fewer integrations told": ("MIRI", header(NINTS=1), {}),
    "more groups told": ("NIRCam", header(NGROUPS=9), {}),
    "floating-point pixels, some none": (
        "NIRCam",
        pixels(lambda a: np.where(a % 97 == 0, np.nan, a).astype(np.float32) if a.ndim > 2 else a),
        {},
    ),
    "a table of times of another length": (
        "MIRI",
        extension(lambda: fits.BinTableHDU(np.zeros(7, INT_TIMES), name="INT_TIMES")),
        {},
    ),
}


@pytest.mark.parametrize(("name", "spoil", "changes"), EQUAL.values(), ids=EQUAL.keys())
def test_like_the_official_pipeline(
    programs: Bench, tmp_path: Path, name: str, spoil: Spoil, changes: dict[str, Any]
) -> None:
    made = prepared(tmp_path / "made", name, **changes)
    spoil(made)
    ours, theirs = programs.both(made, tmp_path)
    assert theirs.status == 0, theirs.said
    assert ours.status == 0, ours.said
    assert ours.products
    assert not differences(ours, theirs)


@pytest.mark.parametrize(("name", "number"), [("NIRCam", 0), ("NIRSpec", 0), ("MIRI", 0), ("MIRI", 1)])
def test_no_science(programs: Bench, tmp_path: Path, name: str, number: int) -> None:
    """Where no ramp can be fitted the official pipeline ends without products; ours has a status for that."""
    made = prepared(tmp_path / "made", name)
    groups(number)(made)
    ours, theirs = programs.both(made, tmp_path)
    assert (ours.status, theirs.status) == (64, 0), ours.said
    assert ours.products == theirs.products == []
    assert "NO_SCIENCE" in ours.said
    assert ("too few to fit ramps of MIRI" if number else "all ramps are saturated") in ours.said


def crop(array: Any) -> Any:
    return array[..., :20, :]


def timeless(made: Prepared) -> None:
    """Have no time of a group where times are counted in groups."""
    header(TGROUP=0.0)(made)
    made.words += ["--steps.jump.expand_large_events=true", "--steps.jump.after_jump_flag_time1=30"]


def pattern(made: Prepared) -> None:
    """Have IRS2 frames, few columns of them, that are read in a pattern of which there are no references."""
    prepared(made.exposure.parent, "NIRSpec", shape=(1, 3, 3200, 8), size=(2048, 8))
    header(NRS_NORM=8, NRS_REF=2)(made)


AGAIN = "Fetch the file again"
PLANNED: dict[str, tuple[str, Spoil, tuple[str, ...]]] = {
    "no integration": ("NIRCam", length(4), ("SCI has no integrations (0 x 5 x 32 x 40)", AGAIN)),
    "no group": ("MIRI", length(3), ("SCI has no groups (2 x 0 x 32 x 40)", AGAIN)),
    "an image": ("NIRCam", pixels(lambda a: a[0, 0]), ("SCI has 2 dimensions (32 x 40)", "Give an uncalibrated")),
    "a cube": ("dark", pixels(lambda a: a[0]), ("SCI has 3 dimensions (5 x 32 x 40)", "Give an uncalibrated")),
    "truncated": ("NIRCam", truncated(), ("truncated: 12000 bytes, but extension SCI ends at", AGAIN)),
    "fewer groups told": ("MIRI", header(NGROUPS=3), ("tells of 3 groups (NGROUPS), where SCI has 7", AGAIN)),
    "more integrations told": (
        "MIRI",
        header(NINTS=5),
        ("tells of 5 integrations (NINTS, INTSTART, INTEND), where SCI has 2", AGAIN),
    ),
    "no group told": ("NIRCam", header(NGROUPS=0), ("NGROUPS=0", AGAIN)),
    "no number of frames": ("NIRCam", header(NFRAMES=0), ("NFRAMES=0", AGAIN)),
    "a word for a number": ("NIRCam", header(NFRAMES="many"), ("NFRAMES='many', which is no number", "Correct it")),
    "no time": ("NIRCam", timeless, ("TGROUP=0", AGAIN)),
    "nothing of times": ("NIRCam", header(TGROUP=None, TFRAME=None), ("no TGROUP, no TFRAME", "add what is missing")),
    "no place": ("MIRI", header(SUBSTRT1=None), ("no SUBSTRT1", "add what is missing")),
    "no direction": ("NIRCam", header(FASTAXIS=None), ("no FASTAXIS", "add what is missing")),
    "another size": ("NIRCam", header(SUBSIZE2=20), ("20 rows (SUBSIZE2), where SCI has 32", AGAIN)),
    "another pattern of IRS2": ("NIRSpec", pattern, ("NRS_NORM=8, NRS_REF=2", "16 pixels between 4", "Correct it")),
    "another instrument": ("NIRCam", header(INSTRUME="WFC3"), ("INSTRUME='WFC3'", "Correct it")),
}


def refused(programs: Bench, made: Prepared, folder: Path, begin: str, words: tuple[str, ...]) -> Any:
    """Run both programs, which fail; ours says so in one line that begins as given and has all of some words."""
    ours, theirs = programs.both(made, folder)
    assert theirs.status != 0, "the official pipeline calibrates it"
    assert ours.status == 1, ours.said
    (line,) = (line for line in ours.said.splitlines() if line.startswith(begin))
    assert not [word for word in words if word not in line], line
    assert "Traceback" not in ours.said
    return ours


@pytest.mark.parametrize(("name", "spoil", "words"), PLANNED.values(), ids=PLANNED.keys())
def test_faults_that_planning_sees(
    programs: Bench, tmp_path: Path, name: str, spoil: Spoil, words: tuple[str, ...]
) -> None:
    made = prepared(tmp_path / "made", name)
    spoil(made)
    ours = refused(programs, made, tmp_path, f"error: {made.exposure}: ", words)
    assert not list(ours.folder.iterdir())


ZERO = fits.ImageHDU(np.zeros((1, 32, 40), np.uint16), name="ZEROFRAME")
COVERS = "covers 40 x 32 pixels from (10, 1) on, the exposure 40 x 32 from (1, 1) on"
LIES = "does not say where on the detector its 40 x 32 pixels lie; add SUBSTRT1"
RUN: dict[str, tuple[str, Spoil, tuple[str, ...]]] = {
    "a reference beside the exposure": ("NIRCam", header("gain", SUBSTRT1=10), ("/gain.fits", COVERS, "give a")),
    "a reference from anywhere": (
        "MIRI",
        header("linearity", SUBSTRT1=None, SUBSIZE1=None),
        ("/linearity.fits", LIES),
    ),
    "a reference that is smaller than told": (
        "NIRCam",
        pixels(crop, "superbias"),
        ("/superbias.fits: data of the superbias reference has 40 x 20 pixels", "exposure's 40 x 32", "give a file"),
    ),
    "a dark of another size": (
        "MIRI",
        pixels(crop, "dark"),
        ("/dark.fits: the dark reference has 40 x 20 pixels, the exposure 40 x 32", "give one of the subarray"),
    ),
    "a dark of one group": (
        "NIRCam",
        pixels(lambda a: a[:1] if a.ndim > 2 else a, "dark"),
        ("/dark.fits: the dark reference has one group", "the 5 groups of the exposure", "use a dark with more groups"),
    ),
    "a truncated reference": ("NIRCam", truncated("linearity"), ("/linearity.fits: ", "cannot be read")),
    "another number of rows": (
        "MIRI",
        pixels(lambda a: a[..., :30, :]),
        ("tells of 40 x 32 pixels (SUBSIZE1, SUBSIZE2) where it has 40 x 30", "correct the header of the exposure"),
    ),
    "no such detector": ("NIRCam", header(DETECTOR="NRCX"), ("exposure_uncal.fits", "DETECTOR='NRCX'", "Correct it")),
    "no zero frames": ("NIRCam", header(ZEROFRAM=True), ("exposure_uncal.fits", "no extension ZEROFRAME", AGAIN)),
    "pixels of no known scale": ("NIRCam", in_pixels(BZERO="half"), ("exposure_uncal.fits: it cannot be read", AGAIN)),
    "pixels of another version": ("MIRI", in_pixels(EXTVER=3), ("exposure_uncal.fits: it cannot be read", AGAIN)),
    "zero frames of another shape": (
        "NIRCam",
        extension(ZERO.copy, ZEROFRAM=True),
        ("exposure_uncal.fits: ZEROFRAME has the shape (1, 32, 40), where SCI has (2, 32, 40)", AGAIN),
    ),
}


@pytest.mark.parametrize(("name", "spoil", "words"), RUN.values(), ids=RUN.keys())
def test_faults_that_pixels_show(
    programs: Bench, tmp_path: Path, name: str, spoil: Spoil, words: tuple[str, ...]
) -> None:
    made = prepared(tmp_path / "made", name)
    spoil(made)
    ours = refused(programs, made, tmp_path, "FAILED ", words)
    assert [path.suffix for path in ours.folder.iterdir()] == [".log"]


def test_references_smaller_than_a_larger_exposure(programs: Bench, tmp_path: Path) -> None:
    made = prepared(tmp_path / "made", "NIRCam", size=(24, 32))
    ours, theirs = programs.both(made, tmp_path)
    assert (ours.status, theirs.status) == (1, 1)
    assert "/mask.fits: the mask reference covers 32 x 24 pixels from (1, 1) on, the exposure 40 x 32" in ours.said
