"""Submitting again: what is finished is never made twice, and only what changed is made again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from astropy.io import fits
from processes import Client, Cluster, leftovers
from products import differences, stamps

from calservice.simulate import Simulation


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A folder with the products of a finished job."""
    folder = tmp_path / "finished"
    shutil.copytree(undisturbed, folder)
    return folder


def changed(before: dict[str, int], folder: Path) -> set[str]:
    """Return the names of the files that are new or were written again."""
    return {name for name, stamp in stamps(folder).items() if before.get(name) != stamp}


def test_a_finished_job_makes_nothing(cluster: Cluster, client: Client, association: Path, finished: Path) -> None:
    before = stamps(finished)

    status, said = client("submit", association, "--output", finished, "--scheduler", cluster.address)

    assert status == 0, said
    assert "nothing to do" in said
    assert stamps(finished) == before


def test_a_deleted_product_is_made_again_and_nothing_else(
    cluster: Cluster, client: Client, association: Path, finished: Path, undisturbed: Path
) -> None:
    victim = sorted(finished.glob("*_cal.fits"))[0]
    base = victim.name.removesuffix("_cal.fits")
    victim.unlink()
    before = stamps(finished)

    status, said = client("submit", association, "--output", finished, "--scheduler", cluster.address)

    assert status == 0, said
    of_stage = {f"{base}_{end}" for end in ("cal.fits", "i2d.fits")}
    of_stage |= {f"{base}_calwebb_image2{end}" for end in (".log", ".manifest.json")}
    assert changed(before, finished) == of_stage
    assert not differences(victim, undisturbed / victim.name)
    status, said = client("submit", association, "--output", finished)
    assert "nothing to do" in said


def test_touching_an_input_makes_nothing(
    client: Client, association: Path, program: Simulation, finished: Path
) -> None:
    for path in program.data.glob("*_uncal.fits"):
        os.utime(path)
    before = stamps(finished)

    status, said = client("submit", association, "--output", finished)

    assert status == 0, said
    assert "nothing to do" in said
    assert stamps(finished) == before


def test_a_parameter_remakes_what_depends_on_it(
    cluster: Cluster, client: Client, association: Path, finished: Path
) -> None:
    before = stamps(finished)
    words = [f"--calwebb_image3.steps.{step}.skip=true" for step in ("tweakreg", "outlier_detection")]
    words += ["--scheduler", cluster.address]

    status, said = client("submit", association, "--output", finished, *words)

    assert status == 0, said
    again = changed(before, finished)
    assert {n for n in again if n.endswith(".manifest.json")} == {
        p.name for p in finished.glob("*_calwebb_image3.manifest.json")
    }
    products = {n for n in again if n.endswith((".fits", ".ecsv"))}
    assert {n.rpartition("_")[2] for n in products} == {"i2d.fits", "segm.fits", "cat.ecsv"}
    assert all(n.startswith("jw09901-o001_t001_") for n in products), "stage 3 only"
    retired = {n for n in before if n.endswith("_crf.fits")}
    assert len(retired) == 2
    assert before.keys() - stamps(finished).keys() == retired


def test_one_bad_exposure_fails_alone(
    cluster: Cluster, client: Client, association: Path, program: Simulation, scratch: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(program.data, data)
    bad, good = sorted(data.glob("*_uncal.fits"))
    with fits.open(bad, mode="update") as hdus:
        hdus[0].header["SUBSTRT1"] = 1500  # a corner that no reference of this subarray covers
    products = tmp_path / "products"

    status, said = client("submit", data / association.name, "--output", products, "--scheduler", cluster.address)

    assert status == 1
    assert "Traceback" not in said
    base = bad.name.removesuffix("_uncal.fits")
    reason = f"calwebb_detector1:{base} failed: "
    blocked = [line for line in said.splitlines() if line.startswith("BLOCKED calwebb_image3")]
    assert len(blocked) == 1
    assert reason in blocked[0]
    assert "give a reference that covers the subarray" in blocked[0]
    log = (products / f"{base}_calwebb_detector1.log").read_text()
    assert "give a reference that covers the subarray" in log
    made = {p.name for p in products.glob("*.fits")}
    whole = good.name.removesuffix("_uncal.fits")
    assert made == {f"{whole}_{suffix}.fits" for suffix in ("rate", "rateints", "cal", "i2d")}
    assert leftovers(products, scratch) == []
