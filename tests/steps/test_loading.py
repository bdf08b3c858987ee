"""Loading references and cutting them to an exposure; the registry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calservice.disk import cut_image
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import ReferenceFileError
from calservice.model.step import Reference, ReferenceNeed
from calservice.references.load import load_reference, load_user_flags
from calservice.references.placement import Placement, fit_to_exposure
from calservice.steps.stage1.saturation import irs2_science_rows

NEED = ReferenceNeed("gain", ("data", "dq"))
IMAGE = np.arange(48 * 64, dtype=np.float64).reshape(48, 64)
PLACE = {"xstart": 1, "ystart": 1, "xsize": 64, "ysize": 48}


def placed(**place: int | None) -> Reference:
    meta = {f"meta.subarray.{name}": value for name, value in (PLACE | place).items()}
    return Reference({"data": IMAGE, "dq": np.zeros((48, 64), np.uint32), "table": np.arange(3)}, meta)


def test_a_full_frame_is_cut_to_a_subarray() -> None:
    cut = fit_to_exposure(placed(), NEED, Placement(5, 9, 10, 8), (8, 10))
    np.testing.assert_array_equal(cut["data"], IMAGE[8:16, 4:14])
    assert cut["dq"].shape == (8, 10)
    assert cut["table"].shape == (3,)
    whole = placed()
    assert fit_to_exposure(whole, NEED, Placement(1, 1, 64, 48), (48, 64)) is whole


@pytest.mark.parametrize(
    ("reference", "science", "message"),
    [
        (placed(xstart=9), Placement(5, 9, 10, 8), "covers 64 x 48 pixels from .9, 1."),
        (placed(), Placement(60, 9, 10, 8), "give a reference that covers the subarray"),
        (placed(ystart=0), Placement(1, 1, 10, 8), "pixels count from 1"),
        (placed(xsize=None), Placement(1, 1, 10, 8), "add SUBSTRT1"),
    ],
)
def test_references_that_do_not_fit(reference: Reference, science: Placement, message: str) -> None:
    with pytest.raises(ReferenceFileError, match=message) as caught:
        fit_to_exposure(reference, NEED, science, (8, 10), "/cache/gain.fits")
    assert str(caught.value).startswith("/cache/gain.fits: ")


def test_references_without_placement_are_full_frames_if_they_have_that_size() -> None:
    full = Reference({"data": np.broadcast_to(np.float32(1), (2048, 2048))}, {})
    cut = fit_to_exposure(full, NEED, Placement(101, 1, 10, 8), (8, 10))
    assert cut["data"].shape == (8, 10)


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "gain.fits"
    image = fits.ImageHDU(IMAGE, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    first = load_reference(path, NEED)
    assert load_reference(path, NEED) is first
    assert first["data"].dtype == np.float32
    assert first["data"].dtype.isnative
    assert first["dq"].shape == IMAGE.shape
    assert not first["data"].flags.writeable
    os.utime(path, ns=(1, 1))
    assert load_reference(path, NEED) is not first


def test_images_stay_on_disk_and_windows_of_them_are_as_if_they_were_read(tmp_path: Path) -> None:
    path = tmp_path / "dark.fits"
    random = np.random.default_rng(4)
    cube = random.normal(0, 1, (3, 20, 30)).astype(np.float32)
    stored = random.integers(0, 2**32, (20, 30), np.uint32)
    defined = [(1, "DO_NOT_USE"), (2, "HOT"), (2**9 + 4, "DEAD"), (2**31, "UNKNOWN"), (2**17, "NON_SCIENCE")]
    table = np.array([(0, v, n, "") for v, n in defined], "i4,i8,U40,U80")
    table.dtype.names = ("BIT", "VALUE", "NAME", "DESCRIPTION")
    images = [fits.ImageHDU(cube, name="SCI"), fits.ImageHDU(stored, name="DQ"), fits.BinTableHDU(table, name="DQ_DEF")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    flags = np.zeros_like(stored)
    for value, name in defined:
        flags[(stored & value) != 0] |= np.uint32(PIXEL_FLAGS.get(name, 0))

    made = load_reference(path, ReferenceNeed("dark", ("data", "dq")))
    assert not any(isinstance(array, np.ndarray) for array in made.arrays.values())
    meta = {f"meta.subarray.{name}": n for name, n in (PLACE | {"xsize": 30, "ysize": 20}).items()}
    once = fit_to_exposure(Reference(made.arrays, meta), NEED, Placement(3, 2, 20, 15), (15, 20))
    assert once["data"].shape == (3, 15, 20)
    inner = cut_image(once["dq"], slice(2, 9), slice(1, 20))
    for array, whole in ((made["data"], cube), (once["data"], cube[:, 1:16, 2:22]), (inner, flags[3:10, 3:22])):
        found = np.asarray(array)
        assert found.dtype.isnative
        np.testing.assert_array_equal(found, whole)
        np.testing.assert_array_equal(array[..., 2:5, 7], whole[..., 2:5, 7])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match="cannot be read"):
        load_reference(tmp_path / "missing.fits", NEED)
    broken = tmp_path / "broken.fits"
    broken.write_text("not FITS")
    with pytest.raises(ReferenceFileError, match="cannot be read"):
        load_reference(broken, NEED)
    empty = tmp_path / "empty.fits"
    fits.PrimaryHDU().writeto(empty)
    with pytest.raises(ReferenceFileError, match="none of the arrays data, dq"):
        load_reference(empty, NEED)
    fits.writeto(tmp_path / "float.fits", IMAGE)
    with pytest.raises(ReferenceFileError, match="2-D image of integers"):
        load_user_flags(tmp_path / "float.fits")


def test_irs2_rows() -> None:
    rows = irs2_science_rows(3200, "NRS1")
    assert rows.sum() == 2048
    assert not rows[:640].any()
    assert rows[640:648].all()
    assert not rows[648:652].any()
    np.testing.assert_array_equal(irs2_science_rows(3200, "NRS2"), rows[::-1])


def test_the_registry_loads_neither_jwst_nor_numba() -> None:
    code = "import sys, calservice.steps.registry; print(*sys.modules)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jwst", "numba", "stcal", "stdatamodels"} & set(made.stdout.split())
