"""Comparing products: every kind of difference is found and counted, and the verdict is that of FITSDiff."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calservice.model.errors import InputError, Problems
from calservice.products.compare import FileComparison, Settings, compare_places
from calservice.products.compare.arrays import compare_arrays, slabs

FLIGHT = Path(__file__).parents[3] / "shared/data/exposures/flight/nirspec_msa_prism_2565"
FIVE = ["DATE", "CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX"]
OFFICIAL: dict[str, Any] = {  # of the official regression tests; what the last two stand for is compared as layout
    "ignore_hdus": ["ASDF"],
    "ignore_keywords": [*FIVE, "NAXIS1", "TFORM*"],
    "ignore_fields": [*FIVE, "NAXIS1", "TFORM*"],
    "rtol": 1e-5,
    "atol": 1e-7,
}
quickly = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def product() -> fits.HDUList:
    """Return a small product: images of several types, flags, a table."""
    dice = np.random.default_rng(5)
    primary = fits.PrimaryHDU()
    primary.header.update({"DATE": "2026-01-01", "CAL_VER": "3.0.0", "CAL_VCS": "x", "TARGET": "M 16", "GAIN": 2.5})
    primary.header["NINTS"] = (2, "number of integrations")
    primary.header["HISTORY"] = "made"
    primary.header["HISTORY"] = "changed"
    sci = dice.normal(0, 10, (3, 6, 8)).astype(np.float32)
    sci[0, 1, 1:3] = np.nan, np.inf
    science = fits.ImageHDU(sci, name="SCI")
    science.header["BUNIT"] = ("DN/s", "unit")
    science.header["XPOSURE"] = 1234.5
    dq = fits.ImageHDU(dice.integers(0, 2**32, (3, 6, 8)).astype(np.uint32), name="DQ")
    wide = fits.ImageHDU(dice.normal(0, 1, (6, 8)), name="VAR_POISSON", ver=2)
    context = fits.ImageHDU(dice.integers(-9, 9, (1, 6, 8)).astype(np.int32), name="CON")
    columns = [
        fits.Column("FILENAME", "12A", array=np.array(["a.fits", "b.fits", "c.fits"])),
        fits.Column("CAL_VER", "6A", array=np.array(["3.0.0"] * 3)),
        fits.Column("FLUX", "E", unit="Jy", array=np.array([1.0, np.nan, 3.0], np.float32)),
        fits.Column("PAIR", "2D", array=dice.normal(0, 1, (3, 2))),
        fits.Column("N", "J", array=np.array([100000, 2, 3])),
        fits.Column("FLAG", "L", array=np.array([True, False, True])),
        fits.Column("DQ", "J", bzero=2**31, array=np.array([1, 2, 3], np.uint32)),
    ]
    return fits.HDUList([primary, science, dq, wide, context, fits.BinTableHDU.from_columns(columns, name="HDRTAB")])


def compared(a: fits.HDUList, b: fits.HDUList, **rules: Any) -> tuple[FileComparison, fits.FITSDiff]:
    """Write two products and compare them: ours, and FITSDiff's."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("a.fits", "b.fits")]
        for hdus, path in zip((a, b), paths, strict=True):
            hdus.writeto(path)
        (file,) = compare_places(*paths, Settings(**rules)).files
        return file, fits.FITSDiff(*paths, **OFFICIAL)


def by_name(file: FileComparison, name: str) -> Any:
    return next(hdu for hdu in file.hdus if hdu.name == name)


# -- the verdict is that of FITSDiff


def _pixel(name: str, value: Callable[[Any], Any]) -> Callable[[Any, fits.HDUList], None]:
    def change(dice: Any, hdus: fits.HDUList) -> None:
        data = hdus[name].data
        place = tuple(int(dice.integers(n)) for n in data.shape)
        data[place] = value(data[place])

    return change


def _cell(column: str, value: Callable[[Any], Any]) -> Callable[[Any, fits.HDUList], None]:
    def change(dice: Any, hdus: fits.HDUList) -> None:
        if column in hdus["HDRTAB"].columns.names:
            row = int(dice.integers(len(hdus["HDRTAB"].data)))
            hdus["HDRTAB"].data[column][row] = value(hdus["HDRTAB"].data[column][row])

    return change


def _header(name: str, act: Callable[[fits.Header], Any]) -> Callable[[Any, fits.HDUList], None]:
    def change(_: Any, hdus: fits.HDUList) -> None:
        if name in hdus:
            act(hdus[name].header)

    return change


def _table(act: Callable[[list[fits.Column]], list[fits.Column]]) -> Callable[[Any, fits.HDUList], None]:
    def change(_: Any, hdus: fits.HDUList) -> None:
        columns = act(list(hdus["HDRTAB"].columns))
        hdus["HDRTAB"] = fits.BinTableHDU.from_columns(columns, name="HDRTAB")

    return change


def _swap(_: Any, hdus: fits.HDUList) -> None:
    hdus[-1], hdus[-2] = hdus[-2], hdus[-1]


def _half(_: Any, hdus: fits.HDUList) -> None:
    hdus["VAR_POISSON"].data = hdus["VAR_POISSON"].data.astype(np.float32)


def _crop(_: Any, hdus: fits.HDUList) -> None:
    hdus["SCI"].data = hdus["SCI"].data[:, :-1]


def _fewer_rows(_: Any, hdus: fits.HDUList) -> None:
    hdus["HDRTAB"].data = hdus["HDRTAB"].data[:-1]


CHANGES: dict[str, Callable[[Any, fits.HDUList], None]] = {
    "nothing": lambda dice, hdus: None,
    "pixel within": _pixel("SCI", lambda x: x * np.float32(1 + 6e-6)),
    "pixel beyond": _pixel("SCI", lambda x: x * np.float32(1 + 2e-5)),
    "pixel at the edge": _pixel("SCI", lambda x: np.float32(x + np.float32(1e-7) + np.float32(1e-5) * abs(x))),
    "double within": _pixel("VAR_POISSON", lambda x: x + 9e-8),
    "double beyond": _pixel("VAR_POISSON", lambda x: x * (1 + 1.1e-5) + 2e-7),
    "NaN": _pixel("SCI", lambda x: np.nan),
    "infinite": _pixel("SCI", lambda x: -np.inf),
    "integer": _pixel("CON", lambda x: x + 1),
    "flag": _pixel("DQ", lambda x: x ^ np.uint32(1)),
    "cell within": _cell("FLUX", lambda x: x * np.float32(1 + 6e-6)),
    "cell beyond": _cell("FLUX", lambda x: x * np.float32(1 + 3e-5) if np.isfinite(x) else 1.0),
    "cell NaN": _cell("FLUX", lambda x: np.nan if np.isfinite(x) else 1.0),
    "cell of two": _cell("PAIR", lambda x: x * [1, 1.1]),
    "cell integer": _cell("N", lambda x: x + 1),
    "cell text": _cell("FILENAME", lambda x: "other"),
    "cell logical": _cell("FLAG", lambda x: not x),
    "cell ignored": _cell("CAL_VER", lambda x: "2.0"),
    "keyword within": _header("SCI", lambda h: h.set("XPOSURE", 1234.5 * (1 + 6e-6))),
    "keyword beyond": _header("SCI", lambda h: h.set("XPOSURE", 1234.5 * (1 + 2e-5))),
    "keyword integer": _header("PRIMARY", lambda h: h.set("NINTS", 3)),
    "keyword as float": _header("PRIMARY", lambda h: h.set("NINTS", 2.0)),
    "keyword text": _header("PRIMARY", lambda h: h.set("TARGET", "M 17")),
    "keyword blanks": _header("PRIMARY", lambda h: h.set("TARGET", "M 16  ")),
    "keyword comment": _header("SCI", lambda h: h.set("BUNIT", h.get("BUNIT", "x"), "the unit")),
    "keyword more": _header("DQ", lambda h: h.set("EXTRA", True)),
    "keyword less": _header("SCI", lambda h: h.remove("BUNIT", ignore_missing=True)),
    "keyword ignored": _header("PRIMARY", lambda h: h.set("DATE", "1999-01-01", "when")),
    "keyword ignored, gone": _header("PRIMARY", lambda h: h.remove("CAL_VCS", ignore_missing=True)),
    "history more": _header("PRIMARY", lambda h: h.add_history("again")),
    "history other": _header("PRIMARY", lambda h: h.__setitem__(("HISTORY", 0), "another")),
    "blank card": _header("PRIMARY", lambda h: h.add_blank()),
    "section title": _header("PRIMARY", lambda h: h.add_blank("about the target")),
    "column gone": _table(lambda cs: [c for c in cs if c.name != "FLAG"]),
    "column renamed": _table(
        lambda cs: [fits.Column("NN", c.format, array=c.array) if c.name == "N" else c for c in cs]
    ),
    "columns swapped": _table(lambda cs: [*cs[:2], *cs[3:], cs[2]]),
    "column unit": _table(
        lambda cs: [fits.Column("FLUX", "E", unit="mJy", array=c.array) if c.name == "FLUX" else c for c in cs]
    ),
    "column format": _table(
        lambda cs: [fits.Column(c.name, "D", unit=c.unit, array=c.array) if c.name == "FLUX" else c for c in cs]
    ),
    "column ignored, wider": _table(
        lambda cs: [fits.Column("CAL_VER", "9A", array=c.array) if c.name == "CAL_VER" else c for c in cs]
    ),
    "rows": _fewer_rows,
    "type": _half,
    "shape": _crop,
    "order": _swap,
    "extension gone": lambda dice, hdus: hdus.pop(hdus.index_of("CON")),
    "extension version": _header("CON", lambda h: h.set("EXTVER", 3)),
}


def _changed(seed: int, names: list[str]) -> fits.HDUList:
    hdus, dice = product(), np.random.default_rng(seed)
    late = ("rows", "extension gone", "order")
    for name in sorted(names, key=lambda n: (n in late, n.startswith("column"), n == "extension version")):
        if name in late or not (name.startswith("column") and len(hdus["HDRTAB"].columns) < 7):
            CHANGES[name](dice, hdus)
    return hdus


@pytest.mark.parametrize("name", CHANGES)
def test_each_kind_of_change_alone(name: str) -> None:
    file, judge = compared(_changed(1, [name]), product())
    assert (file.status == "same") == judge.identical, judge.report()
    harmless = {"nothing", "pixel within", "double within", "cell within", "cell ignored", "keyword within"}
    harmless |= {"keyword as float", "keyword blanks", "keyword ignored", "blank card", "column ignored, wider"}
    if name != "pixel at the edge":
        assert (file.status == "same") == (name in harmless)


@quickly
@given(
    st.integers(0, 999),
    st.lists(
        st.sampled_from([n for n in CHANGES if n not in {"order", "extension gone", "extension version"}]), max_size=3
    ),
    st.booleans(),
)
def test_verdict_and_counts_are_those_of_fitsdiff(seed: int, names: list[str], turned: bool) -> None:
    pair = [_changed(seed, names), product()]
    file, judge = compared(*(pair[::-1] if turned else pair))
    assert (file.status == "same") == judge.identical, judge.report()
    theirs = {f"{name},{ver}": diff.diff_data for _, diff, name, ver in judge.diff_hdus if diff.diff_data is not None}
    for hdu in file.hdus:
        other = theirs.get(hdu.name)
        if hdu.array is not None:
            assert hdu.array.differing == (other.diff_total if other is not None else 0)
        if hdu.table is not None:
            assert sum(c.rows for c in hdu.table.columns) == (other.diff_total if other is not None else 0)


@quickly
@given(st.integers(0, 10**6), st.sampled_from(["f4", "f8", ">f4", "i2", ">i4", "u1", "u8"]), st.integers(8, 4096))
def test_counts_and_places_are_exact(seed: int, kind: str, limit: int) -> None:
    """Against plain NumPy on the whole arrays, however they are cut."""
    dice = np.random.default_rng(seed)
    shape = tuple(dice.integers(1, 7, dice.integers(1, 5)))
    floats = np.dtype(kind).kind == "f"
    a = (dice.normal(0, 100, shape) if floats else dice.integers(0, 128, shape)).astype(kind)
    b, touched = a.copy(), dice.random(shape) < 0.2
    if floats:
        b[touched] = b[touched] * dice.choice([1 + 4e-6, 1.5, 2], touched.sum())
        for array in (a, b):
            array[dice.random(shape) < 0.1] = np.nan
        expected = ~np.isclose(a, b, rtol=1e-5, atol=1e-7, equal_nan=True)
    else:
        b[touched] ^= dice.integers(0, 3, touched.sum()).astype(kind)
        expected = a != b
    pieces = list(slabs(shape, a.dtype.itemsize, limit))
    assert all(a[p].nbytes <= max(limit, a.dtype.itemsize) for p in pieces)
    hits = np.zeros(shape, int)
    for piece in pieces:
        hits[piece] += 1
    assert (hits == 1).all()
    from calservice.products.compare.arrays import Tally

    tally = Tally(Settings())
    for piece in pieces:
        tally.add(a[piece], b[piece], tuple(p.start for p in piece))
    found = tally.result()
    assert found.pixels == a.size
    assert found.differing == np.count_nonzero(expected)
    assert found.only_a_finite == np.count_nonzero(np.isfinite(a) & ~np.isfinite(b))
    assert found.only_b_finite == np.count_nonzero(np.isfinite(b) & ~np.isfinite(a))
    if expected.any():
        where = np.argwhere(expected)
        assert found.box == tuple(zip(where.min(axis=0), where.max(axis=0), strict=True))
        apart = np.where(expected, np.abs(a.astype(float) - b.astype(float)), np.nan)
        if np.isfinite(apart).any():
            assert found.worst is not None
            assert apart[found.worst] == found.largest_absolute == np.nanmax(apart)
            assert found.values is not None
            np.testing.assert_equal(found.values, (a[found.worst].item(), b[found.worst].item()))
    else:
        assert found.worst is found.box is None
    whole = compare_arrays(shape, a.dtype.itemsize, lambda at: (a[at], b[at]), Settings())
    assert repr(found) == repr(whole)  # NaN is not equal to itself


# -- what FITSDiff does not tell


def test_flags_are_compared_bit_for_bit_and_named() -> None:
    a, b = product(), product()
    b["DQ"].data[0, 0, :2] ^= np.uint32(4)
    b["DQ"].data[2, 5, 7] ^= np.uint32(1 << 31 | 1)
    b["HDRTAB"].data["DQ"][1] ^= 2
    file, _ = compared(a, b)
    found = by_name(file, "DQ,1").array
    assert found.differing == 3
    assert dict(found.flags) == {"DO_NOT_USE": 1, "JUMP_DET": 2, "REFERENCE_PIXEL": 1}
    assert found.box == ((0, 2), (0, 5), (0, 7))
    (column,) = by_name(file, "HDRTAB,1").table.columns
    assert (column.name, column.rows, column.first) == ("DQ", 1, 1)
    assert dict(column.values.flags) == {"SATURATED": 1}
    assert {hdu.name for hdu in file.hdus if not hdu.same} == {"DQ,1", "HDRTAB,1"}


def test_flags_that_fitsdiff_does_not_see() -> None:
    """The sign bit of signed flags, small flags beside great ones in cells of varying length, and rounded floats."""
    signed = np.zeros((2, 4, 4), np.int32)
    signed[1, 2, 3] = -(2**31)
    cells = np.empty((2, 1), object)
    for number in range(2):
        cells[number, 0] = np.array([2**30 + number, 7], np.int32)
    floats = np.full((2, 4), 2**22, np.float32)
    floats[1, 3] += 1
    made = []
    for number in range(2):
        table = fits.BinTableHDU.from_columns([fits.Column("DQ", "PJ(2)", array=cells[number])], name="SPEC")
        images = [fits.ImageHDU(signed[number], name="DQ"), fits.ImageHDU(floats[number], name="PIXELDQ")]
        made.append(fits.HDUList([fits.PrimaryHDU(), *images, table]))
    file, judge = compared(*made)
    assert judge.identical, "FITSDiff sees them now: nothing is hidden any more"
    assert file.status == "different"
    assert by_name(file, "DQ,1").array.flags == (("REFERENCE_PIXEL", 1),)
    assert by_name(file, "PIXELDQ,1").array.differing == 1
    assert by_name(file, "SPEC,1").table.columns[0].rows == 1


def test_not_a_number() -> None:
    a, b = product(), product()
    a["SCI"].data[1, 0, 0] = np.nan
    b["SCI"].data[1, 0, 1:3] = np.nan
    a["SCI"].data[2, 0, 0], b["SCI"].data[2, 0, 0] = np.inf, np.nan
    file, judge = compared(a, b)
    found = by_name(file, "SCI,1").array
    assert (found.differing, found.only_a_finite, found.only_b_finite, found.kinds) == (3, 2, 1, 1)
    assert found.largest_absolute is None
    assert found.box == ((1, 1), (0, 0), (0, 2))
    assert judge.diff_hdus[0][1].diff_data.diff_total == 3


def test_arrays_of_varying_length_with_nan_are_the_same_as_themselves() -> None:
    cells = np.empty(2, object)
    cells[0], cells[1] = np.array([1.0, np.nan]), np.array([2.0])

    def made(change: float = 0) -> fits.HDUList:
        mine = cells.copy()
        mine[1] = cells[1] + change
        return fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("X", "PD(2)", array=mine)])])

    assert compared(made(), made())[0].status == "same"
    (column,) = compared(made(), made(1))[0].hdus[1].table.columns  # type: ignore[union-attr]
    assert (column.rows, column.first) == (1, 1)


def test_options() -> None:
    a, b = product(), product()
    b["SCI"].data[0, 3, :3] += 1
    b["DQ"].data[0, 3, :2] ^= np.uint32(4)
    assert compared(a, b, max_pixels=2)[0].status == "different"
    file, _ = compared(a, b, max_pixels=3)
    assert file.status == "same"
    assert file.allowance == (("SCI,1", 3), ("DQ,1", 2))
    assert compared(a, b, rtol=1e6)[0].status == "different"  # flags have no tolerance
    assert by_name(compared(a, b, atol=2)[0], "SCI,1").array.tolerated == 3
    b = product()
    b[0].header["R_DARK"], b[0].header["R_FLAT"] = "x", "y"
    b["HDRTAB"].data["N"][0] = 5
    assert compared(a, b, ignore=("R_*",))[0].status == "different"
    assert compared(a, b, ignore=("r_*", "N"))[0].status == "same"
    b["HDRTAB"].data["N"][0] = 100000
    file, _ = compared(a, b, max_pixels=99)
    assert [(k.name, k.what, k.b) for k in by_name(file, "PRIMARY,1").keywords] == [
        ("R_DARK", "only in B", "x"),
        ("R_FLAT", "only in B", "y"),
    ]


def test_layout_is_named() -> None:
    file, _ = compared(_changed(0, ["shape", "type"]), product())
    assert by_name(file, "SCI,1").layout == (("shape", (3, 5, 8), (3, 6, 8)),)
    assert by_name(file, "VAR_POISSON,2").layout == (("type", "float32", "float64"),)
    assert not by_name(file, "VAR_POISSON,2").same
    file, _ = compared(_changed(0, ["extension gone", "column gone", "rows"]), product())
    assert (file.only_a, file.only_b) == ((), ("CON,1",))
    table = by_name(file, "HDRTAB,1").table
    assert (table.rows, table.only_a, table.only_b, table.reordered) == ((2, 3), (), ("FLAG",), False)
    assert compared(_changed(0, ["order"]), product())[0].reordered


def test_extensions_of_one_name_are_told_apart() -> None:
    def made(value: float) -> fits.HDUList:
        images = [fits.ImageHDU(np.full((2, 2), x, np.float32), name="SCI") for x in (1, value)]
        return fits.HDUList([fits.PrimaryHDU(), *images])

    file, _ = compared(made(2), made(3))
    assert [(hdu.name, hdu.same) for hdu in file.hdus] == [("PRIMARY,1", True), ("SCI,1", True), ("SCI,1,2", False)]


def test_large_arrays_and_tables_are_not_held_whole(tmp_path: Path) -> None:
    data = np.zeros((1, 12, 1024, 1024), np.uint16)
    rows = np.zeros(20_000, [("X", "f8", 150)])
    for name in "ab":
        data[0, 11, 5, 7] = rows["X"][19_999, 3] = ord(name)
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI"), fits.BinTableHDU(rows, name="SPEC")]
        fits.HDUList(hdus).writeto(tmp_path / f"{name}.fits")
    compare_places(str(tmp_path / "a.fits"), str(tmp_path / "a.fits"))
    tracemalloc.start()
    (file,) = compare_places(str(tmp_path / "a.fits"), str(tmp_path / "b.fits")).files
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert by_name(file, "SCI,1").array.worst == (0, 11, 5, 7)
    assert by_name(file, "SPEC,1").table.columns[0].first == 19_999
    assert peak < 40e6 < data.nbytes + rows.nbytes


# -- world coordinates


def _with_wcs(path: Path, east: float = 0.0, *, outline: float = 31.5, log: str = "") -> Path:
    """Write a product with a WCS whose sky is shifted by some milliarcseconds."""
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling.models import Pix2Sky_TAN, RotateNative2Celestial, Scale, Shift
    from gwcs import coordinate_frames
    from stdatamodels import asdf_in_fits

    scale = 0.03 / 3600
    pixel = (Shift(-15.5) | Scale(scale)) & (Shift(-15.5) | Scale(scale))
    model = pixel | Pix2Sky_TAN() | RotateNative2Celestial(30.0 + east / 3.6e6, 0.0, 180)
    detector = coordinate_frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    sky = coordinate_frames.CelestialFrame(name="world", reference_frame=coordinates.ICRS())
    wcs = gwcs.WCS([(detector, model), (sky, None)])
    wcs.bounding_box = ((-0.5, outline), (-0.5, 31.5))
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((32, 32), np.float32), name="SCI")])
    asdf_in_fits.write(path, {"meta": {"wcs": wcs}, "cal_logs": {"x": [log]}}, hdus)
    return path


def test_wcs_is_compared_by_what_it_does(tmp_path: Path) -> None:
    base = str(_with_wcs(tmp_path / "base.fits", log="one run"))

    def against(**changes: Any) -> Any:
        other = _with_wcs(tmp_path / f"{len(list(tmp_path.iterdir()))}.fits", **changes)
        (file,) = compare_places(str(other), base).files
        (wcs,) = file.wcs
        assert (file.status == "same") == wcs.same
        return wcs

    alike = against(log="another run")  # the trees differ, what they do does not
    assert (alike.same, alike.sky, alike.points) == (True, 0.0, 441)
    assert against(east=1e-4).same
    shifted = against(east=1.0)
    assert not shifted.same
    assert shifted.sky == pytest.approx(1.0, rel=1e-4)
    assert shifted.in_pixels == pytest.approx(1 / 30, rel=1e-3)
    assert "bounding boxes differ" in against(outline=30.5).reason
    tree = asdf.AsdfFile({"roman": {"wcs": _tree_of(base)}})
    tree.write_to(tmp_path / "a.asdf")
    asdf.AsdfFile({"roman": {"wcs": _tree_of(str(_with_wcs(tmp_path / "z.fits", 1.0)))}}).write_to(tmp_path / "b.asdf")
    (file,) = compare_places(str(tmp_path / "a.asdf"), str(tmp_path / "b.asdf")).files
    assert (file.status, file.format, file.nodes) == ("different", "ASDF", ())
    assert file.wcs[0].path == "roman.wcs"
    assert file.wcs[0].sky == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("inputs", [3, 5])
def test_wcs_of_slices_and_grisms(inputs: int) -> None:
    """Inputs beyond the pixel: the slice, which chooses the bounding box; the direct image's pixel and the order."""
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling.bounding_box import CompoundBoundingBox
    from astropy.modeling.models import Mapping, Scale, Shift
    from gwcs import coordinate_frames

    from calservice.products.compare.wcs import compare_wcs

    def made(east: float) -> Any:
        pick = Mapping((0, 1, 2)) if inputs == 3 else Mapping((2, 3, 4), n_inputs=5)
        model = pick | (Scale(1e-5) | Shift(east / 3.6e6)) & Scale(1e-5) & Scale(2.0)
        axes = tuple(range(inputs))
        pixels = coordinate_frames.CoordinateFrame(
            inputs, ("SPATIAL",) * inputs, axes, ("pix",) * inputs, name="detector"
        )
        sky = coordinate_frames.CelestialFrame(name="sky", reference_frame=coordinates.ICRS())
        colour = coordinate_frames.SpectralFrame(name="wave", unit=units.um, axes_order=(2,))
        wcs = gwcs.WCS([(pixels, model), (coordinate_frames.CompositeFrame([sky, colour], name="world"), None)])
        if inputs == 3:
            boxes = {(float(i),): ((-0.5, 20.5), (10 * i - 0.5, 10 * i + 9.5)) for i in range(2)}
            wcs.bounding_box = CompoundBoundingBox.validate(model, boxes, selector_args=[(2, True)], order="F")
        return wcs

    found = compare_wcs("wcs", made(1.0), made(0.0), Settings(), (32, 32))
    assert (found.same, found.reason, found.other) == (False, "", 0.0)
    assert found.sky == pytest.approx(1.0)
    assert found.points > 400
    assert compare_wcs("wcs", made(0.0), made(0.0), Settings(), (32, 32)).same


def _tree_of(path: str) -> Any:
    from stdatamodels import asdf_in_fits

    with asdf_in_fits.open(path) as file:
        return file.tree["meta"]["wcs"]


# -- other formats


def test_asdf_and_json_trees(tmp_path: Path) -> None:
    a = {"meta": {"date": "today", "x": 1.0, "n": 3, "text": "t"}, "data": np.arange(12.0).reshape(3, 4), "l": [1, 2]}
    b = {"meta": {"date": "then", "x": 1.0 + 1e-7, "n": 4, "more": 1}, "data": a["data"].copy(), "l": [1, 2, 3]}
    b["data"][1, 2] += 1  # type: ignore[index]
    for name, tree in (("a", a), ("b", b)):
        asdf.AsdfFile(tree).write_to(tmp_path / f"{name}.asdf")
        (tmp_path / f"{name}.json").write_text(json.dumps({**tree, "data": tree["data"].tolist()}))  # type: ignore[attr-defined]
    for suffix in ("asdf", "json"):
        places = [str(tmp_path / f"{name}.{suffix}") for name in "ab"]
        (file,) = compare_places(*places).files
        found = {node.path: node for node in file.nodes}
        assert found.keys() == {"meta.n", "meta.text", "meta.more", "l", "data" if suffix == "asdf" else "data[1][2]"}
        assert (found["meta.n"].a, found["meta.n"].b) == (3, 4)
        assert found["meta.text"].what == "only in A"
        assert compare_places(places[0], places[0]).same
        assert compare_places(*places, Settings(ignore=("n", "meta.[tm]*", "l", "data"))).same
    (file,) = compare_places(str(tmp_path / "a.asdf"), str(tmp_path / "b.asdf")).files
    array = next(node.array for node in file.nodes if node.path == "data")
    assert array is not None
    assert (array.differing, array.worst) == (1, (1, 2))


def test_catalogs(tmp_path: Path) -> None:
    def made(name: str, flux: float = 2.0, version: str = "1", **meta: Any) -> str:
        table = Table({"label": [1, 2], "flux": [1.0, flux], "name": ["x", "y"], "date": ["a", version]})
        table["near"] = MaskedColumn([1, 2], mask=[False, flux > 5])
        table["flux"].unit = "Jy"
        table.meta.update({"version": {"jwst": version}, "date": version, "radius": 3.5, **meta})
        path = tmp_path / name
        table.write(path, format="ascii.ecsv")
        return str(path)

    a = made("a_cat.ecsv")
    assert compare_places(made("b.ecsv", 2.0 + 1e-7, version="2"), a).same
    (file,) = compare_places(made("c.ecsv", 9.0), a).files
    assert file.table is not None
    assert {(c.name, c.rows, c.first) for c in file.table.columns} == {("flux", 1, 1), ("near", 1, 1)}
    (file,) = compare_places(made("d.ecsv", radius=3.6), a).files
    assert [node.path for node in file.nodes] == ["meta.radius"]
    Table({"label": [1], "flux": [1.0]}).write(tmp_path / "e.ecsv", format="ascii.ecsv")
    (file,) = compare_places(str(tmp_path / "e.ecsv"), a).files
    assert file.table is not None
    assert file.table.rows == (1, 2)
    assert file.table.only_b == ("name", "near")  # a column DATE is left out


def test_folders_and_urls(tmp_path: Path) -> None:
    from calservice.products.store import Store

    for side in "ab":
        folder = tmp_path / side / "deep"
        folder.mkdir(parents=True)
        product().writeto(folder / "x_cal.fits")
        (folder.parent / "x.log").write_text(side)
        (folder.parent / "x.manifest.json").write_text(f'"{side}"')
        (folder.parent / "x_i2d.png").write_bytes(b"123" + side.encode())
    (tmp_path / "a" / "only_rate.fits").write_bytes((tmp_path / "a/deep/x_cal.fits").read_bytes())
    (tmp_path / "b" / "broken_rate.fits").write_bytes(b"no")
    (tmp_path / "a" / "broken_rate.fits").write_bytes((tmp_path / "a/deep/x_cal.fits").read_bytes()[:20000])
    store = Store("memory://compare-test")
    for path in (tmp_path / "b").rglob("*.*"):
        store.write(path.read_bytes(), path.relative_to(tmp_path / "b").as_posix())
    for place in (str(tmp_path / "b"), "memory://compare-test"):
        found = compare_places(str(tmp_path / "a"), place)
        assert {file.name: file.status for file in found.files} == {
            "broken_rate.fits": "not comparable",
            "deep/x_cal.fits": "same",
            "only_rate.fits": "only in A",
            "x_i2d.png": "different",
        }
        assert not found.same
        assert len(compare_places(str(tmp_path / "a"), place, everything=True).files) == 6
    assert compare_places(str(tmp_path / "a/deep/x_cal.fits"), "memory://compare-test/deep/x_cal.fits").same
    (tmp_path / "x.fits.gz").write_bytes(__import__("gzip").compress((tmp_path / "a/deep/x_cal.fits").read_bytes()))
    assert compare_places(str(tmp_path / "x.fits.gz"), str(tmp_path / "a/deep/x_cal.fits")).same
    with pytest.raises(Problems, match=r"gone\.fits: no such file or folder"):
        compare_places("memory://compare-test/gone.fits", str(tmp_path / "a"))


@pytest.mark.parametrize("end", [100, 3000, 9000, 20000])
def test_files_cut_short(tmp_path: Path, end: int) -> None:
    whole, cut = tmp_path / "a.fits", tmp_path / "b.fits"
    product().writeto(whole)
    cut.write_bytes(whole.read_bytes()[:end])
    with pytest.raises(InputError, match=r"b\.fits: (truncated|not a readable FITS file)"):
        compare_places(str(whole), str(cut))


def test_a_real_pair() -> None:
    names = [FLIGHT / f"jw02565007001_03101_0000{n}_nrs2_cal.fits" for n in (2, 3)]
    for path in names:
        if not path.exists():
            pytest.skip(f"{path.name} is not here")
    (file,) = compare_places(*map(str, names)).files
    with fits.open(names[0]) as a, fits.open(names[1]) as b:
        assert by_name(file, "DQ,1").array.differing == np.count_nonzero(a["DQ"].data != b["DQ"].data) == 1
    assert dict(by_name(file, "DQ,1").array.flags).keys() == {"DO_NOT_USE", "NO_FLAT_FIELD", "UNRELIABLE_FLAT"}
    judge = fits.FITSDiff(*map(str, names), **OFFICIAL)
    theirs = {name: diff.diff_data.diff_total for _, diff, name, _ in judge.diff_hdus if diff.diff_data is not None}
    ours = {hdu.name.partition(",")[0]: hdu.array.differing for hdu in file.hdus if hdu.array and hdu.array.differing}
    assert ours == {name: count for name, count in theirs.items() if count}
    (wcs,) = file.wcs
    assert wcs.sky is not None
    assert 500 < wcs.sky < 2000  # the shutter's height apart: another nod
    assert compare_places(str(names[0]), str(names[0])).same


# -- as users run it


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "calservice.cli", "compare", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_line(tmp_path: Path) -> None:
    a, b = tmp_path / "a" / "x_cal.fits", tmp_path / "b" / "x_cal.fits"
    for path in (a, b):
        path.parent.mkdir()
    product().writeto(a)
    changed = product()
    changed["SCI"].data[1, 2, 3] = np.inf
    changed["DQ"].data[1, 2, 3] ^= np.uint32(4)
    changed[0].header["TARGET"] = "M 17 [x]"
    changed.writeto(b)
    different = run(a, b)
    assert (different.returncode, different.stderr) == (1, "")
    for text in (
        "1 of 144 pixels differ",
        "flags: JUMP_DET in 1",
        "TARGET: A 'M 16', B 'M 17 [x]'",
        "finite in A only",
    ):
        assert text in different.stdout
    allowed = run(a.parent, b.parent, "--max-pixels", 1, "--ignore", "targ*")
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert "same: 1 of 1 file the same, 1 of them by --max-pixels 1" in allowed.stdout
    assert "allowed: 1 pixel of SCI,1 differ; allowed: 1 pixel of DQ,1 differ" in allowed.stdout
    printed = run(a, b, "--json")
    assert printed.returncode == 1
    found = json.loads(printed.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["same"] is False
    (file,) = found["files"]
    science = next(hdu for hdu in file["hdus"] if hdu["name"] == "SCI,1")
    assert science["array"]["worst"] == [1, 2, 3]
    assert science["array"]["values"][1] == "inf"
    assert {hdu["name"] for hdu in file["hdus"] if not hdu["same"]} == {"PRIMARY,1", "SCI,1", "DQ,1"}


def test_reports_stay_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = product(), product()
    b["SCI"].data += 1
    for number in range(100):
        b["SCI"].header[f"KEY{number}"] = "[bold]" + "x" * 60
    b["SCI"].header["BUNIT"] = ("DN/s", "another comment")
    for name, hdus in (("a", a), ("b", b)):
        hdus.writeto(tmp_path / f"{name}.fits")
    assert invoked(tmp_path / "a.fits", tmp_path / "b.fits") == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 + 1 + 12 + 3
    assert any("KEY0 only in B: '[bold]xxx" in line for line in printed)
    assert any("and 95 more; --json has all" in line for line in printed)


def invoked(*words: object) -> int:
    """Run the command in this process and return its exit status."""
    from calservice.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, words)])
    return int(ended.value.code or 0)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, text, empty = tmp_path / "a.fits", tmp_path / "b.fits", tmp_path / "empty"
    product().writeto(good)
    text.write_text("this is no FITS file")
    (tmp_path / "c.json").write_text("{no")
    empty.mkdir()
    cases: list[tuple[tuple[object, ...], str]] = [
        ((good, tmp_path / "gone.fits"), "gone.fits: no such file or folder"),
        ((good, text), "b.fits: not a FITS file"),
        ((good, tmp_path), "is a folder"),
        ((empty, empty), "no product in it"),
        ((good, "nosuch://host/x.fits"), "nosuch://host/x.fits: cannot be opened"),
        ((good, tmp_path / "c.json"), "c.json JSON: not comparable"),
        ((tmp_path / "c.json", tmp_path / "c.json"), "c.json: not a readable JSON file"),
    ]
    assert invoked(good, good) == 0
    capsys.readouterr()
    for words, message in cases:
        assert invoked(*words) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    ended = run(good, text)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: {text}: not a FITS file\n"
