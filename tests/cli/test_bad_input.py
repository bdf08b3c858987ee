"""Bad input gets a clear message, exit status 1, no traceback, and nothing half-written. Run as users run it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calservice.simulate import empty_context
from calservice.simulate.context import Rule, write_context

NAME = "jw01345001001_02101_00001_nrca1"
RAMP = f"{NAME}_uncal.fits"
HEADER = {
    "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "CHANNEL": "SHORT", "FILTER": "F200W",
    "PUPIL": "CLEAR", "EXP_TYPE": "NRC_IMAGE", "TSOVISIT": False, "READPATT": "RAPID", "SUBARRAY": "SUB160",
    "NINTS": 1, "NGROUPS": 3, "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 0.3, "TGROUP": 0.3, "SUBSTRT1": 1,
    "SUBSTRT2": 1, "SUBSIZE1": 16, "SUBSIZE2": 16, "FASTAXIS": -1, "SLOWAXIS": 2,
    "DATE-OBS": "2024-01-01", "TIME-OBS": "00:00:00.000", "DATAMODL": "Level1bModel",
}  # fmt: skip


def write_ramp(path: Path, **changes: Any) -> Path:
    """Write an uncalibrated exposure of 16 by 16 pixels."""
    primary = fits.PrimaryHDU()
    primary.header.update(HEADER | changes)
    primary.header["FILENAME"] = path.name
    data = np.arange(3 * 256, dtype=np.uint16).reshape(1, 3, 16, 16)
    fits.HDUList([primary, fits.ImageHDU(data, name="SCI")]).writeto(path)
    return path


def write_association(folder: Path, *members: str, **changes: Any) -> Path:
    path = folder / "jw01345-o001_image3_00001_asn.json"
    names = [{"expname": m, "exptype": "science"} for m in members]
    content = {"asn_type": "image3", "asn_id": "o001", "products": [{"name": "mosaic", "members": names}]}
    path.write_text(json.dumps(content | changes))
    return path


@dataclass(frozen=True)
class Failed:
    """What a command said on its standard error."""

    text: str

    def says(self, *words: str) -> None:
        assert not [word for word in words if word not in self.text], self.text


@pytest.fixture(scope="session")
def crds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("crds")
    empty_context(cache)
    return cache


@pytest.fixture
def fails(tmp_path: Path, crds: Path) -> Callable[..., Failed]:
    """Return a function that runs a command, which must fail as the rule of this module says."""

    def run(*words: object, output: Path | None = None, env: dict[str, str] | None = None) -> Failed:
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith(("CRDS_", "PYTHON"))}
        surroundings |= {"CRDS_PATH": str(crds), "CRDS_CONTEXT": "jwst_0001.pmap", "COLUMNS": "200"} | (env or {})
        place = output or tmp_path / "products"
        before = sorted(p.name for p in place.iterdir()) if place.is_dir() else []
        command = [sys.executable, "-m", "calservice.cli", *map(str, words)]
        ended = subprocess.run(
            command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=120, check=False
        )
        both = ended.stdout + ended.stderr
        assert ended.returncode == 1, both
        assert "Traceback" not in both
        assert (sorted(p.name for p in place.iterdir()) if place.is_dir() else []) == before
        return Failed(both)

    return run


@pytest.fixture
def submitted(fails: Callable[..., Failed], tmp_path: Path) -> Callable[..., Failed]:
    def run(*words: object, **options: Any) -> Failed:
        return fails("submit", *words, "--output", tmp_path / "products", **options)

    return run


def test_missing_members_all_at_once(tmp_path: Path, submitted: Any) -> None:
    others = [f"jw01345001001_02101_0000{n}_nrca1" for n in (2, 3)]
    write_ramp(tmp_path / RAMP)
    found = submitted(write_association(tmp_path, f"{NAME}_cal.fits", *(f"{o}_cal.fits" for o in others)))
    for other in others:
        found.says(f"{tmp_path}/{other}_uncal.fits is not there, nor anything that it could be made from")
    found.says("Put it there, or name its folder (--input)", "nothing was run; --keep-going runs the rest")


def test_fits_files_that_are_not_whole_or_none(tmp_path: Path, submitted: Any) -> None:
    whole = write_ramp(tmp_path / "whole.fits").read_bytes()
    names = [f"jw01345001001_02101_0000{n}_nrca1_uncal.fits" for n in range(1, 6)]
    contents = [whole[:-2000], whole[:1000], b"no FITS file at all", b"", whole[:2880]]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    found = submitted(*(tmp_path / name for name in names))
    lines = {name: next(line for line in found.text.splitlines() if name in line) for name in names}
    assert "truncated" in lines[names[0]]
    assert "truncated" in lines[names[1]] or "not a readable FITS file" in lines[names[1]]
    assert "not a FITS file" in lines[names[2]]
    assert "not a FITS file: it is empty" in lines[names[3]]
    assert all("Fetch the file again" in lines[name] for name in names[:4])
    assert names[4] in found.text  # a header and no pixels
    (tmp_path / "plain.fits").write_bytes(fits.PrimaryHDU(np.ones((2, 2))).header.tostring().encode())
    submitted(tmp_path / "plain.fits").says("plain.fits")


def test_associations_that_are_none(tmp_path: Path, fails: Any) -> None:
    (tmp_path / "text_asn.json").write_text('{"asn_type": "image3",\n "products": [}')
    (tmp_path / "schema_asn.json").write_text('{"asn_type": "image3", "products": [{"name": "m"}, {"members": 3}]}')
    outside = write_association(tmp_path, "../secret_cal.fits", "/etc/passwd", "s3://bucket/x_cal.fits")
    for command in ("submit", "plan", "batch"):
        places = (
            [tmp_path] if command == "batch" else [tmp_path / "text_asn.json", tmp_path / "schema_asn.json", outside]
        )
        found = fails(command, *places, "--output", tmp_path / "products")
        found.says("text_asn.json: not JSON: ", "line 2, column 15", "Mend it there")
        found.says("schema_asn.json: products.0.members: this key is missing", "products.1.members: a list is expected")
        found.says(
            f"{outside}: products.0.members.0.expname: member '../secret_cal.fits' leaves the association's folder"
        )
        found.says("members are names of files beside")
        found.says("'/etc/passwd' is an absolute path", "'s3://bucket/x_cal.fits' is an absolute path")


def test_unknown_exposure_type(tmp_path: Path, fails: Any) -> None:
    path = write_ramp(tmp_path / RAMP, EXP_TYPE="NRC_IMAGES")
    for words in (("submit", path), ("submit", write_association(tmp_path, f"{NAME}_cal.fits")), ("plan", path)):
        found = fails(*words, "--output", tmp_path / "products")
        found.says(
            RAMP, "EXP_TYPE 'NRC_IMAGES' is not an exposure type that a pipeline serves", "Did you mean NRC_IMAGE?"
        )


def test_pipelines_parameters_and_values(tmp_path: Path, submitted: Any, fails: Any) -> None:
    path = write_ramp(tmp_path / RAMP)
    found = submitted(
        path,
        "--steps.jump.rejection_threshold=much",
        "--steps.jump.rejection_treshold=4",
        "--steps.jumpp.skip=true",
    )
    found.says("rejection_threshold='much'", "expected float")
    found.says("jump has no parameter 'rejection_treshold'. Did you mean 'rejection_threshold'?")
    found.says(
        "--steps.jumpp.skip: any pipeline of this job has no such step or parameter. Did you mean 'steps.jump.skip'?"
    )
    submitted(path, "--calwebb_detector2.steps.jump.skip=true").says("Did you mean 'calwebb_detector1'?")
    submitted(path, "--param-file", tmp_path / "gone.asdf").says("gone.asdf: no such parameter file")
    submitted(path, "--engine", "fast").says("'fast' is not one of 'auto', 'native', 'jwst'")
    found = fails("run", "calwebb_detektor1", path, output=tmp_path)
    found.says(
        "calwebb_detektor1: no such pipeline or step. Did you mean calwebb_detector1?", "`calservice steps` lists"
    )
    fails("run", "linearity", path, "--skipp=true", output=tmp_path).says(
        "--skipp: linearity has no such parameter. Did you mean --skip?"
    )
    fails("run", "linearity", tmp_path / "gone.fits", output=tmp_path).says("gone.fits: no such file")


def test_references_that_are_not_to_be_had(tmp_path: Path, submitted: Any) -> None:
    path = write_ramp(tmp_path / RAMP)
    found = submitted(path, "--steps.dark_current.override_dark=my_dark.fits")
    found.says(f"{tmp_path}/my_dark.fits cannot be read: No such file", "Name a file that is there")
    submitted(path, "--context", "jwst_9999.pmap").says("jwst_9999.pmap", "CRDS_SERVER_URL", "name another context")
    submitted(path, env={"CRDS_PATH": ""}).says("no CRDS cache is named", "set CRDS_PATH")
    cache = tmp_path / "cache"
    (cache / "references" / "jwst" / "nircam").mkdir(parents=True)
    gone = cache / "references" / "jwst" / "nircam" / "jwst_nircam_gain_0007.fits"
    gone.write_bytes(b"x")
    rule = Rule("nircam", "gain", ("META.INSTRUMENT.DETECTOR",), ("NRCA1",), "2020-01-01T00:00:00", gone.name)
    context = write_context(cache, [rule])
    gone.unlink()
    found = submitted(path, env={"CRDS_PATH": str(cache), "CRDS_CONTEXT": context})
    found.says(RAMP, f"{gone.name} is not in the CRDS cache {cache}", "set CRDS_SERVER_URL, or put the file there")


def test_scheduler_that_cannot_be_reached(tmp_path: Path, submitted: Any) -> None:
    path = write_ramp(tmp_path / RAMP)
    with socket.socket() as nobody:  # bound but not listening: it refuses at once
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        found = submitted(path, "--scheduler", f"tcp://127.0.0.1:{port}")
        found.says(f"tcp://127.0.0.1:{port}: no Dask scheduler answers there (Connection refused)", "dask scheduler")
    for address in ("no-address:at-all", "127.0.0.1:8786", "tcp://127.0.0.1", "tcp://host:port"):
        submitted(path, "--scheduler", address).says(f"{address}: not the address of a Dask scheduler. Write tcp://")
    submitted(path, "--scheduler", "tcp://127.0.0.1:1", "--local").says("--scheduler and --local exclude each other")


def test_output_that_cannot_be_written(tmp_path: Path, fails: Any) -> None:
    path = write_ramp(tmp_path / RAMP)
    (tmp_path / "occupied").write_text("a file")
    found = fails("submit", path, "--output", tmp_path / "occupied" / "products")
    found.says(f"{tmp_path}/occupied/products: cannot be written: {tmp_path}/occupied is a file", "(--output)")
    assert (tmp_path / "occupied").read_text() == "a file"
    fails("submit", path, "--output", "nosuch://me:hunter2@host/x").says("nosuch://host/x", "cannot be opened")
    found = fails("submit", path, "--output", tmp_path / "products", "--scratch", tmp_path / "gone")
    found.says(f"{tmp_path}/gone: --scratch must be a folder that can be written")


def test_a_full_disk(tmp_path: Path, small_disk: Path, fails: Any) -> None:
    path = write_ramp(tmp_path / RAMP)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    assert os.statvfs(small_disk).f_bavail == 0
    found = fails("submit", path, "--output", small_disk, output=small_disk)
    found.says(str(small_disk), "no space left", "Free some, then submit again")
    # full while it runs: the step ends, its product cannot be published
    found = fails("run", "dq_init", path, "--engine", "native", f"--output_dir={small_disk}", output=small_disk)
    found.says("dq_init", "no space left", "Free some, then submit again")


def test_programs_and_folders_without_anything(tmp_path: Path, fails: Any) -> None:
    write_ramp(tmp_path / RAMP)
    found = fails("batch", "9999", "--input", tmp_path)
    found.says(f"{tmp_path}: no association and no uncalibrated exposure of program 09999 in it", "(--input)")
    (tmp_path / "empty").mkdir()
    fails("batch", tmp_path / "empty").says(f"{tmp_path}/empty: no association and no uncalibrated exposure in it")
    fails("batch", tmp_path / "gone").says(f"{tmp_path}/gone: no such folder")
    fails("submit", tmp_path / "gone_asn.json").says(f"{tmp_path}/gone_asn.json: no such file")
    fails("submit").says("Missing argument", "--help")
    fails("submit", "--keep-goin", tmp_path).says("No such option '--keep-goin'", "--keep-going", "--help")
