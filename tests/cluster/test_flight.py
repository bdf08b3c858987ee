"""Flight data through separate scheduler and worker processes, against the product of the archive."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy.io import fits
from blake3 import blake3
from processes import Client, Cluster

FOLDER = "exposures/flight/nirspec_msa_prism_2565"
BASE = "jw02565-o007_s000020115_nirspec_clear-prism"


def test_spec3_of_flight_data_is_that_of_the_archive(
    cluster: Cluster, empty_client: Client, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    asn = shared(f"{FOLDER}/jw02565-o007_spec3_00001_asn.json")

    status, said = empty_client("submit", asn, "--scheduler", cluster.address, "--output", tmp_path)

    assert status == 0, said
    products = {f"{BASE}_{suffix}.fits" for suffix in ("cal", "crf", "s2d", "x1d")}
    assert products <= {p.name for p in tmp_path.iterdir()}
    with fits.open(tmp_path / f"{BASE}_cal.fits") as made, fits.open(asn.with_name(f"{BASE}_cal.fits")) as archived:
        ours, theirs = ([h.data for h in hdus if h.name == "SCI"] for hdus in (made, archived))
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=True)
        assert np.isfinite(one).any()
    _check_manifest(tmp_path, asn, products)


def _check_manifest(folder: Path, asn: Path, products: set[str]) -> None:
    [path] = folder.glob("*_calwebb_spec3.manifest.json")
    manifest = json.loads(path.read_text())
    members = {m["expname"] for m in json.loads(asn.read_text())["products"][0]["members"]}
    digests = {i["name"]: i["blake3"] for i in manifest["inputs"]}
    assert digests == {name: blake3((asn.parent / name).read_bytes()).hexdigest() for name in members}
    assert {p["name"]: p["blake3"] for p in manifest["products"]} == {
        name: blake3((folder / name).read_bytes()).hexdigest() for name in products
    }
    for package in ("calservice", "jwst", "stcal", "crds"):
        assert manifest["versions"][package] == version(package)
    steps = {s["alias"]: s["status"] for s in manifest["steps"]}
    ran = {"outlier_detection", "resample_spec", "extract_1d"}
    assert {alias for alias, status in steps.items() if status == "COMPLETE"} == ran
    assert {"assign_mtwcs", "photom"} <= steps.keys() - ran  # recorded by stage 2, but not run here
    assert all(s["seconds"] > 0 for s in manifest["steps"] if s["alias"] in ran)
    assert manifest["context"] == "jwst_0001.pmap"
    assert manifest["seconds"] > 0
    assert manifest["peak_memory"] > 50 * 2**20
