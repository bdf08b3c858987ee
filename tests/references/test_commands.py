"""``calservice references``: as users call it, and many of them at once with a server in trouble."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from astropy.io import fits

from calservice.engines import official
from calservice.plan.build import make_plan
from calservice.plan.request import Request
from calservice.references.cache import locate
from calservice.references.server import SERVERS, address

CONTEXT = "jwst_0001.pmap"
DARK, GAIN = "jwst_nircam_dark_0000.fits", "jwst_nircam_gain_0000.fits"
PARS = "jwst_nircam_pars-detector1pipeline_0001.asdf"
COMMAND = [sys.executable, "-m", "calservice.cli", "references"]


@pytest.fixture(scope="module", autouse=True)
def _described_once() -> None:
    """Have the description of the official package read before tests get a cache folder of their own."""
    if official.available():
        official.catalog()


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def leftovers(cache: Path) -> list[str]:
    return [str(p) for p in cache.rglob(".*") if p.name.startswith((".tmp_", ".lock_"))]


def eventually(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a folder with ramps of two detectors, and one association of what is not there."""
    folder = tmp_path / "program"
    folder.mkdir()
    for detector in ("nrca1", "nrcb1"):
        header = fits.Header(
            {
                "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": detector.upper(), "EXP_TYPE": "NRC_IMAGE",
                "DATE-OBS": "2023-05-05", "TIME-OBS": "10:00:00", "FILTER": "F200W", "PUPIL": "CLEAR",
                "SUBARRAY": "SUB8", "READPATT": "RAPID", "DATAMODL": "Level1bModel", "NINTS": 1, "NGROUPS": 2,
                "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 10.0, "TGROUP": 10.0, "FASTAXIS": 1, "SLOWAXIS": 2,
                "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 8, "SUBSIZE2": 8,
            }
        )  # fmt: skip
        science = fits.ImageHDU(np.ones((1, 2, 8, 8), np.uint16), name="SCI")
        name = f"jw09901001001_02101_00001_{detector}_uncal.fits"
        fits.HDUList([fits.PrimaryHDU(header=header), science]).writeto(folder / name)
    return folder


@pytest.fixture
def no_dark(store: Any, tmp_path: Path) -> None:
    """Add a parameter reference that switches the dark off, for one detector."""
    tree = {
        "class": "jwst.pipeline.Detector1Pipeline",
        "name": "Detector1Pipeline",
        "parameters": {},
        "steps": [{"class": "jwst.dark_current.DarkCurrentStep", "name": "dark_current", "parameters": {"skip": True}}],
    }
    asdf.AsdfFile(tree).write_to(tmp_path / PARS)
    store.put(PARS, (tmp_path / PARS).read_bytes())
    store.rules("pars-detector1pipeline", {"NRCA1": {"2020-01-01 00:00:00": PARS}})
    store.context(["dark", "gain", "pars-detector1pipeline"])


# -- what is needed


@pytest.mark.official
def test_needs_are_those_of_the_plan(
    calservice: Any, store: Any, no_dark: None, program: Path, serve: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """``list`` fetches no reference; ``fetch`` brings what the plan uses, with what parameter references say of it."""
    pytest.importorskip("jwst")
    server, cache = serve(), tmp_path / "cache"
    where = ("--cache", cache, "--server", server.url)
    listed = calservice("list", program, *where, "--json").json
    assert not (cache / "references").exists()
    assert not [name for name in server.stats() if name.endswith((".fits", ".asdf"))]
    needs = {(s["exposure"][26:31], s["pipeline"]): s["references"] for s in listed["stages"]}
    assert needs["nrca1", "calwebb_detector1"].items() >= {"dark": DARK, "mask": "N/A"}.items()
    assert "pars-detector1pipeline" not in needs["nrcb1", "calwebb_detector1"]
    assert {file["name"]: file["size"] for file in listed["files"]}[PARS] == len(store.names[PARS])
    assert not any(file["cached"] for file in listed["files"])

    done = calservice("fetch", program, *where, "--json")
    assert (done.status, done.err) == (0, "")
    fetched = {file["name"] for file in done.json["files"]}
    assert DARK not in fetched
    assert {PARS, "jwst_nircam_gain_0000.fits", "jwst_nircam_dark_0100.fits"} <= fetched
    server.stop()
    listed = calservice("list", program, "--cache", cache, "--offline", "--context", CONTEXT, "--json").json
    monkeypatch.setenv("CRDS_PATH", str(cache))
    plan = make_plan(Request((str(program),), context=CONTEXT))
    assert not plan.problems
    for need in listed["stages"]:
        used = {use.reftype: use.name for use in plan.stages[need["id"]].references}
        assert used == need["references"]
    assert len(listed["stages"]) == len(plan.stages) == 4


@pytest.mark.official
def test_needs_of_levels_pipelines_and_programs(
    calservice: Any, store: Any, program: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("jwst")
    where = ("--cache", store.lay(tmp_path / "cache"), "--context", CONTEXT, "--json")

    def pipelines(*words: object) -> list[str]:
        said = calservice("list", *words, *where)
        assert said.status == 0, said
        return sorted({stage["pipeline"] for stage in said.json["stages"]})

    assert pipelines(program, "--level", "1") == ["calwebb_detector1"]
    assert pipelines(program) == ["calwebb_detector1", "calwebb_image2"]
    assert pipelines(program, "--pipeline", "calwebb_image2") == ["calwebb_image2"]
    assert pipelines(program, "--pipeline", "gain_scale") == ["gain_scale"]
    assert pipelines("9901", "--input", program, "--level", "1") == ["calwebb_detector1"]
    absent = calservice("list", program, "--pipeline", "nonsense", *where)
    assert absent.status == 1
    assert "nonsense: no such pipeline or step" in absent.err
    exposure = next(program.glob("*nrca1*"))
    fits.setval(exposure, "DETECTOR", value="NRCALONG")
    said = calservice("list", program, *where[:-1], "--level", "1")
    assert said.status == 1
    assert re.search(rf"error: {exposure.name}: no dark reference .* {CONTEXT}", said.err)
    assert "jwst_nircam_dark_0100.fits" in said.out


# -- what is there


def test_list_shows_what_the_cache_holds(calservice: Any, store: Any, tmp_path: Path) -> None:
    cache = store.lay(tmp_path / "cache", catalog=True)
    (cache / "references" / "jwst" / "nircam" / "notes.txt").write_text("mine")
    assert calservice("fetch", "--reference", DARK, "--cache", cache).status == 0
    found = calservice("list", "--cache", cache, "--json").json
    assert (found["context"], found["usable"], found["server"]) == (CONTEXT, True, None)
    files = {file["name"]: file for file in found["files"]}
    assert files.keys() == {*store.names, "notes.txt"}
    assert files[DARK] == {
        "name": DARK,
        "path": str(locate(cache, DARK)),
        "kind": "reference",
        "instrument": "nircam",
        "type": "dark",
        "size": len(store.names[DARK]),
        "sha1": hashlib.sha1(store.names[DARK]).hexdigest(),
        "verified": True,
    }
    assert not files[GAIN]["verified"]
    assert files["notes.txt"]["sha1"] is None
    text = calservice("list", "--cache", cache).out
    assert f"CRDS context {CONTEXT}" in text
    assert re.search(r"nircam\W+dark\W+4\W+768\.0 kB\W+1\W", text)
    (cache / "mappings" / "jwst" / "jwst_nircam_gain_0001.rmap").unlink()
    assert "not all in the cache" in calservice("list", "--cache", cache).out
    assert "cannot be told" in calservice("list", "--cache", cache, "--context", "2022-01-01").out
    nowhere = calservice("list", "--cache", tmp_path / "nowhere")
    assert (nowhere.status, nowhere.out) == (1, "")
    assert f"the CRDS cache {tmp_path / 'nowhere'} does not exist" in nowhere.err


# -- fetching


def test_fetch_reports_all_failures_at_once(calservice: Any, store: Any, serve: Any, tmp_path: Path) -> None:
    server, cache = serve(corrupt=[GAIN], fail={DARK: 99}), tmp_path / "cache"
    names = [DARK, GAIN, "jwst_nircam_dark_9999.fits", "jwst_nircam_dark_0001.fits"]
    words = ("fetch", *(word for name in names for word in ("--reference", name)), "--cache", cache)
    said = calservice(*words, "--server", server.url, "--attempts", 1)
    assert said.status == 1
    assert "1 file at hand, 192.0 kB: 1 from http" in said.out
    assert len(said.err.splitlines()) == 3
    for part in (f"{DARK}: HTTP 503", f"{GAIN} is corrupt", "dark_9999.fits: HTTP 404"):
        assert part in said.err
    server.control(corrupt=[], fail={})
    found = calservice(*words[:5], "--cache", cache, "--server", server.url, "--json")
    assert found.status == 0
    assert {file["from"] for file in found.json["files"]} == {"server"}
    server.stop()
    said = calservice(*words, "--offline", "--json")
    assert said.status == 1
    assert [p["kind"] for p in said.json["problems"]] == ["ReferenceFileError"]
    assert {file["from"] for file in said.json["files"]} == {"cache"}


def test_fetch_all_of_a_type(calservice: Any, store: Any, serve: Any, tmp_path: Path) -> None:
    where = ("--cache", tmp_path / "cache", "--server", serve().url)
    dry = calservice("fetch", "--all", "--type", "gain", *where, "--dry-run").out
    assert "4 of 4 files would be fetched, 768.0 kB" in dry
    assert not (tmp_path / "cache" / "references").exists()
    said = calservice("fetch", "--all", "--type", "gain", "--instrument", "NIRCam", *where, "--json").json
    assert {f["name"] for f in said["files"]} == {n for n in store.names if "_gain_" in n and n.endswith(".fits")}
    everything = calservice("fetch", "--all", *where, "--dry-run", "--json").json
    assert "jwst_nircam_flat_0666.fits" not in {file["name"] for file in everything["missing"]}  # marked as bad
    unknown = calservice("fetch", "--all", "--type", "nonsense", *where)
    assert (unknown.status, "it has dark, flat, gain" in unknown.err) == (1, True)
    assert "go with --all" in calservice("fetch", "x.fits", "--type", "gain").err
    assert "name exposures" in calservice("fetch").err


def test_servers_have_names() -> None:
    assert (address("ops"), address("PUB")) == (SERVERS["ops"], SERVERS["pub"])
    assert address("http://localhost:1/") == "http://localhost:1"
    assert address("https://crds-serverless-mode.stsci.edu") is address("") is address(None) is None


def test_many_processes_with_a_server_in_trouble(calservice: Any, store: Any, serve: Any, tmp_path: Path) -> None:
    """A cold cache; the server is slow, fails now and then and has a corrupt file; a process is killed half-way."""
    bad, cache = "jwst_nircam_dark_0101.fits", tmp_path / "cache"
    server = serve(slow=0.4, corrupt=[bad], fail={DARK: 1, "jwst_nircam_0001.imap": 1}, rpc_fail=3)
    words = ("fetch", "--all", "--instrument", "nircam", "--cache", cache, "--server", server.url, "--attempts", 2)
    running = [start(*words) for _ in range(4)]
    _, holder = eventually(lambda: a_download(cache))
    victim = next(process for process in running if process.pid == holder)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    running.remove(victim)
    ended = [(process.communicate(timeout=60), process.returncode) for process in running]
    names = [name for name in store.names if re.search(r"(dark|gain)_\d+\.fits$", name)]
    for (out, err), code in ended:
        assert code == 1, err
        assert re.findall(r"^error: http\S+/(\S+) is corrupt", err, re.MULTILINE) == [bad]
        assert err.count("error") == 1
        assert f"{len(names) - 1} files at hand" in out
    for name in names:
        if name != bad:
            assert locate(cache, name).read_bytes() == store.names[name]
    assert not locate(cache, bad).exists()
    assert not leftovers(cache)
    asked = server.stats()
    assert sum(asked[name] - 1 for name in names if name not in (DARK, bad)) <= 4  # what the victim had begun
    assert 6 <= asked[bad] <= 8  # two attempts of each
    server.control(corrupt=[])
    assert calservice(*words).status == 0
    assert calservice("verify", "--cache", cache, "--server", server.url).status == 0
    assert server.stats()[DARK] == asked[DARK]


def a_download(cache: Path) -> tuple[str, int] | None:
    """Return the name of a file that is half there, and the process that fetches it."""
    for part in (cache / "references").rglob(".tmp_*"):
        name = re.sub(r"^\.tmp_(.*)_[0-9a-f]{32}$", r"\1", part.name)
        try:
            said = part.with_name(f".lock_{name}").read_text()
            if part.stat().st_size and (found := re.match(r"process (\d+) ", said)):
                return name, int(found[1])
        except FileNotFoundError:
            continue
    return None


def test_a_lock_held_for_long_is_waited_for_and_left_alone(store: Any, serve: Any, tmp_path: Path) -> None:
    """crds gives up after 5 seconds, with a path to nothing, and deletes the lock of the other."""
    server, cache = serve(slow=7.0), tmp_path / "cache"
    words = ("fetch", "--reference", DARK, "--cache", cache, "--server", server.url)
    first = start(*words)
    lock = locate(cache, DARK).with_name(f".lock_{DARK}")
    eventually(lambda: lock.exists() and lock.stat().st_size)
    inode, begun = lock.stat().st_ino, time.monotonic()
    second = start(*words, "--json")
    while not locate(cache, DARK).exists():
        assert second.poll() is None
        try:
            assert lock.stat().st_ino == inode
        except FileNotFoundError:
            assert locate(cache, DARK).exists()
        time.sleep(0.05)
    assert time.monotonic() - begun > 5
    (out, _), (one, _) = second.communicate(timeout=20), first.communicate(timeout=20)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "1 from http" in one
    assert json.loads(out)["files"][0]["from"] == "another process"
    assert server.stats()[DARK] == 1
    assert not leftovers(cache)


def test_interrupted_in_the_middle(serve: Any, tmp_path: Path) -> None:
    server, cache = serve(slow=40), tmp_path / "cache"
    process = start("fetch", "--all", "--type", "dark", "--cache", cache, "--server", server.url, "--jobs", 2)
    eventually(lambda: a_download(cache))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert not leftovers(cache)
    assert sum(server.stats().get(f"jwst_nircam_dark_0{d}0{e}.fits", 0) for d in (0, 1) for e in (0, 1)) == 2
