"""Pipelines with all small steps of stage 1 doing something: the products of both engines are the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calservice.recipes import recipe_for
from calservice.simulate import simulate
from calservice.simulate.context import write_context
from tests.parity.synthetic import FULL, Case, ramp_model, raw_ramps, write_references

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("products")]


def run(pipeline: str, exposure: Path, out: Path, words: Sequence[str], environment: dict[str, str]) -> dict[str, str]:
    """Run a pipeline by both engines; demand the same products, and return what became of the native steps."""
    command = [sys.executable, "-m", "calservice.cli", "run", pipeline, str(exposure), f"--output_dir={out}", *words]
    command += ["--engine", "auto,jwst", "--compare", "--log-level", "WARNING"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=exposure.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (manifest,) = (out / "auto").glob("*.manifest.json")
    steps = json.loads(manifest.read_text())["steps"]
    return {step["alias"]: step["status"] for step in steps if step["engine"] == "native"}


def overrides(folder: Path, case: Case) -> list[str]:
    """Write references that CRDS does not have here, or not as they should be; return the words that name them."""
    paths = write_references(folder, case, size=case.shape[2:], kinds=["ipc", "reset", "rscd"])
    (gain,) = (folder / "crds").rglob("*_gain_*.fits")
    paths["gain"] = folder / "gain.fits"
    shutil.copy(gain, paths["gain"])
    fits.setval(paths["gain"], "GAINFACT", value=1.3)
    named = [("ipc", "ipc"), ("jump", "gain"), ("ramp_fit", "gain"), ("gain_scale", "gain")]
    if case.instrument == "MIRI":
        named += [("reset", "reset"), ("rscd", "rscd")]
    return [f"--steps.{step}.override_{kind}={paths[kind]}" for step, kind in named]


@pytest.mark.parametrize("mode", ["nircam-image", "miri-image"])
def test_detector1(mode: str, tmp_path: Path) -> None:
    program = simulate(tmp_path, modes=[mode], exposures=1, integrations=3, groups=6, stars=20)
    (exposure,) = program.data.glob("*_uncal.fits")
    header = fits.getheader(exposure)
    fits.setval(exposure, "FRMDIVSR", value=2 * header["NFRAMES"])
    instrument, detector = header["INSTRUME"], header["DETECTOR"]
    case = Case(instrument, detector, shape=(3, 6, *fits.getdata(exposure, "SCI").shape[2:]))
    words = [*overrides(tmp_path, case), "--steps.charge_migration.skip=false", "--save_calibrated_ramp=true"]
    words += ["--steps.charge_migration.signal_threshold=20000", "--steps.gain_scale.save_results=true"]
    words += ["--steps.clean_flicker_noise.skip=false"]  # whose draft rates take the gain of CRDS
    words += [f"--steps.clean_flicker_noise.save_{kind}=true" for kind in ("mask", "background", "noise")]
    if instrument == "MIRI":
        words += ["--steps.firstframe.skip=false"]
    environment = {"CRDS_PATH": str(program.crds), "CRDS_CONTEXT": program.context}
    found = run("calwebb_detector1", exposure, tmp_path / "out", words, environment)
    done = {"group_scale", "ipc", "charge_migration", "clean_flicker_noise", "gain_scale"}
    done |= {"firstframe", "lastframe", "reset", "rscd"} if instrument == "MIRI" else set()
    assert {found[alias] for alias in done} == {"COMPLETE"}
    names = {path.name.rpartition("_")[2] for path in (tmp_path / "out" / "auto").glob("*.fits")}
    assert {"rate.fits", "rateints.fits", "scale.fits", "scaleints.fits"} <= names
    assert {"mask.fits", "bkg.fits", "noise.fits"} <= names


def test_steps_that_are_off(tmp_path: Path) -> None:
    """Keywords tell so of each, but of dark_current, whose alias is none of them."""
    program = simulate(tmp_path, modes=["miri-image"], exposures=1, integrations=1, groups=4, stars=5)
    (exposure,) = program.data.glob("*_uncal.fits")
    recipe = recipe_for("calwebb_detector1", "MIRI")
    assert recipe is not None
    words = [f"--steps.{alias}.skip=true" for alias in recipe.steps if alias != "ramp_fit"]
    environment = {"CRDS_PATH": str(program.crds), "CRDS_CONTEXT": program.context}
    assert run("calwebb_detector1", exposure, tmp_path / "out", words, environment) == {"ramp_fit": "COMPLETE"}
    (product,) = (tmp_path / "out" / "auto").glob("*_rate.fits")
    header = fits.getheader(product)
    assert header["S_LINEAR"] == "SKIPPED"
    assert "S_DARK" not in header


def test_guider(tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import FlatModel, GuiderRawModel

    case = Case("FGS", "GUIDER1", "FGS_FINEGUIDE", shape=(3, 9, *FULL))
    model = GuiderRawModel(data=raw_ramps(case)["data"])
    model.update(ramp_model(case, raw_ramps(case)))
    model.meta.exposure.readpatt, model.meta.exposure.nints, model.meta.exposure.ngroups = "FINEGUIDE", 3, 9
    model.flight_star_table = model.get_default("flight_star_table")
    model.save(str(tmp_path / "guide_uncal.fits"))
    paths = write_references(tmp_path, case, kinds=["mask", "gain", "readnoise"])
    flat = FlatModel(data=np.random.default_rng(1).uniform(0.9, 1.1, FULL).astype(np.float32))
    flat.update(model, only="PRIMARY")
    flat.save(str(tmp_path / "flat.fits"))
    words = [f"--steps.guider_cds.override_{kind}={paths[kind]}" for kind in ("gain", "readnoise")]
    words += [
        f"--steps.dq_init.override_mask={paths['mask']}",
        f"--steps.flat_field.override_flat={tmp_path}/flat.fits",
    ]
    environment = {"CRDS_PATH": str(tmp_path / "crds"), "CRDS_CONTEXT": write_context(tmp_path / "crds", [])}
    found = run("calwebb_guider", tmp_path / "guide_uncal.fits", tmp_path / "out", words, environment)
    assert found == {"dq_init": "COMPLETE", "guider_cds": "COMPLETE"}
    assert [path.name for path in (tmp_path / "out" / "auto").glob("*.fits")] == ["guide_cal.fits"]
