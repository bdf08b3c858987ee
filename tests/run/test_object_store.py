"""A job whose inputs and outputs are in an object store: a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calservice.products.manifest import Manifest
from calservice.products.store import Store
from calservice.simulate import simulate

if TYPE_CHECKING:
    from tests.conftest import S3

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("s3")]


def test_from_bucket_to_bucket(s3: S3, tmp_path: Path) -> None:
    program = simulate(tmp_path / "program", modes=("nircam-image",), exposures=1, groups=4, stars=10)
    raw = Store("s3://jwst/raw")
    for path in program.data.iterdir():
        raw.publish(path, path.name)
    environment = {**os.environ, "CRDS_PATH": str(program.crds), "CRDS_CONTEXT": program.context}
    environment.pop("CRDS_SERVER_URL", None)
    batch = [sys.executable, "-m", "calservice.cli", "batch", "s3://jwst/raw", "--output", "s3://jwst/products"]

    def run(*more: str) -> str:
        done = subprocess.run([*batch, *more], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert s3.writer[1] not in done.stdout + done.stderr
        return done.stdout

    run("--level", "2")
    products = Store("s3://jwst/products")
    names = set(products.listing())
    (base,) = {n.removesuffix("_rate.fits") for n in names if n.endswith("_rate.fits")}
    assert {f"{base}_{s}.fits" for s in ("rate", "rateints", "cal", "i2d")} <= names
    for name in (n for n in names if n.endswith(".manifest.json")):
        content = products.read(name)
        manifest = Manifest.load(content)
        assert manifest is not None
        assert {p.name for p in manifest.products} <= names
        assert s3.writer[1].encode() not in content

    assert "nothing to do" in run("--level", "2")
    products.remove(f"{base}_i2d.fits")
    assert "1 stage made, 1 up to date" in run("--level", "2")
