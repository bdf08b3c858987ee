"""Exit status 64: an exposure that holds no science data, by either engine, here and on a worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from processes import Client, Cluster


@pytest.fixture(scope="module")
def saturated(exposure: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exposure of which every pixel is saturated from the first group on."""
    path = tmp_path_factory.mktemp("saturated") / exposure.name
    with fits.open(exposure) as hdus:
        hdus["SCI"].data = np.full_like(hdus["SCI"].data, 65535)
        hdus.writeto(path)
    return path


@pytest.mark.parametrize("engine", ["auto", "jwst"])
def test_no_science_data_on_a_worker(
    cluster: Cluster, client: Client, saturated: Path, tmp_path: Path, engine: str
) -> None:
    words = ("submit", saturated, "--output", tmp_path, "--engine", engine, "--scheduler", cluster.address)
    status, said = client(*words)
    assert status == 64, said
    assert "NO_SCIENCE" in said
    assert ("no pixel of this exposure can be fitted" if engine == "jwst" else "all ramps are saturated") in said
    assert "BLOCKED" in said  # what would be made of it
    assert [path.name for path in tmp_path.iterdir()] == [saturated.name.replace("uncal.fits", "calwebb_detector1.log")]


@pytest.mark.parametrize("engine", ["auto", "jwst"])
def test_no_science_data_here(client: Client, saturated: Path, tmp_path: Path, engine: str) -> None:
    status, said = client("run", "calwebb_detector1", saturated, f"--output_dir={tmp_path}", "--engine", engine)
    assert status == 64, said
    assert not list(tmp_path.glob("*.fits"))
