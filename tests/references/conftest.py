"""A small CRDS world: a store of mappings and references, a server of it, caches made from it."""

from __future__ import annotations

import hashlib
import json
import pprint
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from calservice.references import Patience, records
from calservice.references.select import Crds

CONTEXT = "jwst_0001.pmap"
HURRY = Patience(timeout=5, attempts=3, pause=0.02, wait=20, poll=0.02)
DATES = ("2022-01-01 00:00:00", "2024-06-01 12:00:00")


def mapping(name: str, kind: str, selector: str, **header: Any) -> str:
    """Return the text of a CRDS mapping; its checksum is that of its other lines."""
    header |= {"mapping": kind, "name": name, "observatory": "JWST", "derived_from": "made for tests"}
    lines = ["header = {\n", *(f"    {key!r} : {value!r},\n" for key, value in sorted(header.items())), "}\n"]
    lines += ["\n", f"selector = {selector}\n"]
    checksum = hashlib.sha1("".join(lines).encode()).hexdigest()
    return "".join([*lines[:-3], f"    'sha1sum' : {checksum!r},\n", *lines[-3:]])


@dataclass
class Store:
    """Mappings and references as the server has them."""

    folder: Path
    names: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: str, content: bytes) -> str:
        kind = "mappings" if name.endswith("map") else "references"
        (self.folder / kind).mkdir(parents=True, exist_ok=True)
        (self.folder / kind / name).write_bytes(content)
        self.names[name] = content
        (self.folder / "catalog.json").write_text(json.dumps(self.catalog()))
        return name

    def catalog(self) -> dict[str, dict[str, str]]:
        return {
            name: {"size": str(len(content)), "sha1sum": hashlib.sha1(content).hexdigest()}
            for name, content in self.names.items()
        }

    def rules(self, kind: str, cases: dict[str, dict[str, str]], serial: str = "0001", **header: Any) -> str:
        """Add an rmap of NIRCam that matches on the detector: detector to use-after date to file."""
        inner = "".join(f"    ({d!r},) : UseAfter({after!r}),\n" for d, after in cases.items())
        name = f"jwst_nircam_{kind}_{serial}.rmap"
        parkey = (("META.INSTRUMENT.DETECTOR",), ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME"))
        header |= {"instrument": "NIRCAM", "filekind": kind.upper(), "parkey": parkey}
        text = mapping(name, "REFERENCE", "Match({\n" + inner + "})", classes=("Match", "UseAfter"), **header)
        return self.put(name, text.encode())

    def context(self, kinds: list[str], serial: str = "0001", older: dict[str, str] | None = None) -> str:
        """Add a context of some types, whose rmaps have the serial 0001 where ``older`` names no others."""
        rmaps = {k: f"jwst_nircam_{k}_0001.rmap" for k in kinds} | (older or {})
        lines = "".join(f"    {kind.upper()!r} : {name!r},\n" for kind, name in rmaps.items())
        name = f"jwst_nircam_{serial}.imap"
        selector = "{\n" + lines + "    'FRINGE' : 'N/A',\n}"
        imap = mapping(name, "INSTRUMENT", selector, instrument="NIRCAM", parkey=("REFTYPE",))
        self.put(name, imap.encode())
        selector = "{\n    'NIRCAM' : '" + name + "',\n}"
        pmap = mapping(f"jwst_{serial}.pmap", "PIPELINE", selector, parkey=("META.INSTRUMENT.NAME",))
        return self.put(f"jwst_{serial}.pmap", pmap.encode())

    def lay(self, cache: Path, *, references: bool = True, catalog: bool = False, flat: bool = False) -> Path:
        """Lay out an offline cache: mappings, if asked for references and the server's description."""
        place = cache / "references" / "jwst" / ("" if flat else "nircam")
        for folder in (cache / "mappings" / "jwst", cache / "config" / "jwst", place):
            folder.mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "mappings").iterdir():
            shutil.copy(path, cache / "mappings" / "jwst")
        for path in (self.folder / "references").iterdir() if references else ():
            shutil.copy(path, place)
        (cache / "config" / "jwst" / "ref_cache_subdir_mode").write_text("flat" if flat else "instrument")
        if catalog:
            known = {"latest_context": CONTEXT, "bad_files_list": [], "download_metadata": self.catalog()}
            known |= {"observatory": "jwst", "force_remote_mode": False, "last_synced": "2026-01-01 00:00:00"}
            (cache / "config" / "jwst" / "server_config").write_text(pprint.pformat(known))
        return cache


@dataclass
class Loopback:
    """A running server."""

    url: str
    process: subprocess.Popen[str]

    def control(self, **settings: Any) -> None:
        request = urllib.request.Request(f"{self.url}/control", json.dumps(settings).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=5).close()

    def stats(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=5) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the user's CRDS settings out, and the user's cache folder clean."""
    for name in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL", "CRDS_MODE", "CRDS_READONLY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with dark, gain and flat of two NIRCam detectors."""
    made = Store(tmp_path / "store")
    cases: dict[str, dict[str, dict[str, str]]] = {}
    for kind in ("dark", "gain"):
        for number, detector in enumerate(("NRCA1", "NRCB1")):
            files = [f"jwst_nircam_{kind}_{number:02}{epoch:02}.fits" for epoch in range(len(DATES))]
            for name in files:
                made.put(name, hashlib.sha512(name.encode()).digest() * 3000)
            cases.setdefault(kind, {})[detector] = dict(zip(DATES, files, strict=True))
        made.rules(kind, cases[kind])
    made.rules("flat", {"NRCA1": {DATES[0]: "jwst_nircam_flat_0666.fits"}, "NRCB1": {DATES[0]: "N/A"}})
    made.context(["dark", "gain", "flat"])
    return made


@pytest.fixture
def serve(store: Store) -> Iterator[Callable[..., Loopback]]:
    """Return a function that starts a server of the store, in a process of its own."""
    running: list[Loopback] = []

    def start(**settings: Any) -> Loopback:
        script = Path(__file__).with_name("crds_server.py")
        process = subprocess.Popen([sys.executable, str(script), str(store.folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        server = Loopback(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
        running.append(server)
        server.control(**settings)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def offline(store: Store, tmp_path: Path) -> Crds:
    """Return a complete cache without a server and without a catalog."""
    return Crds.resolve(context=CONTEXT, cache=store.lay(tmp_path / "cache"))


@pytest.fixture
def hurry() -> Patience:
    """Return a patience that fits tests."""
    return HURRY


@dataclass
class Said:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def calservice() -> Callable[..., Said]:
    """Return a function that runs a command of ``calservice references`` in this process."""
    return _calservice


def _calservice(*words: object) -> Said:
    from calservice.cli import main

    records._seen.clear()  # as in a new process
    done = CliRunner().invoke(main, ["references", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Said(done.exit_code, done.stdout, done.stderr)
