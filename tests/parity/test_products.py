"""Whole products: stage 1 with native steps against the official pipeline, on simulated exposures of both modes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calservice.products.compare import compare_places
from calservice.report_compare import comparison_as_json
from calservice.simulate import simulate

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("products")]

IGNORED = ["DATE", "CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage 1 of one exposure of each mode, two integrations, by both engines: engine to folder of products."""
    folder = tmp_path_factory.mktemp("program")
    program = simulate(folder, exposures=1, integrations=2, groups=6, stars=30)
    environment = {**os.environ, "CRDS_PATH": str(program.crds), "CRDS_CONTEXT": program.context}
    environment.pop("CRDS_SERVER_URL", None)
    products = {}
    for engine in ("auto", "jwst"):
        products[engine] = folder / engine
        command = [sys.executable, "-m", "calservice.cli", "batch", str(program.data), "--level", "1"]
        options = ["--engine", engine, "--output", str(products[engine]), "--workers", "1"]
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return products


@pytest.mark.parametrize("suffix", ["rate", "rateints"])
@pytest.mark.parametrize("detector", ["nrcblong", "mirimage"])
def test_products_are_those_of_the_official_pipeline(made: dict[str, Path], detector: str, suffix: str) -> None:
    (ours,) = made["auto"].glob(f"*_{detector}_{suffix}.fits")
    theirs = made["jwst"] / ours.name
    difference = fits.FITSDiff(theirs, ours, rtol=1e-5, atol=1e-7, ignore_keywords=IGNORED, ignore_hdus=["ASDF"])
    assert difference.identical, difference.report()
    found = compare_places(str(ours), str(theirs))  # which knows WCSs and flags, too
    assert found.same, json.dumps(comparison_as_json(found), indent=1)
    with fits.open(ours) as a, fits.open(theirs) as b:
        assert np.array_equal(a["DQ"].data, b["DQ"].data)
        assert np.count_nonzero(a["DQ"].data & 4), "no jump was flagged: the comparison would prove little"
        assert np.isfinite(a["SCI"].data).mean() > 0.9


def test_native_steps_did_run(made: dict[str, Path]) -> None:
    from calservice.products.manifest import Manifest

    for path in made["auto"].glob("*.manifest.json"):
        manifest = Manifest.load(path.read_bytes())
        assert manifest is not None
        native = {s.alias for s in manifest.steps if s.engine == "native" and s.status == "COMPLETE"}
        assert {"dq_init", "saturation", "linearity", "dark_current", "ramp_fit"} <= native
