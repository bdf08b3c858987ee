"""``calservice references verify`` and ``prune``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calservice.model.errors import TransientError
from calservice.references.cache import locate
from calservice.references.locks import in_use
from calservice.references.select import Crds
from calservice.references.verify import verify

CONTEXT, OLD = "jwst_0001.pmap", "jwst_0000.pmap"
DARK, GAIN = "jwst_nircam_dark_0000.fits", "jwst_nircam_gain_0000.fits"


# -- verifying


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def test_verify_and_repair(calservice: Any, store: Any, serve: Any, tmp_path: Path) -> None:
    server, cache = serve(), store.lay(tmp_path / "cache")
    context = cache / "mappings" / "jwst" / CONTEXT
    spoil(locate(cache, DARK))
    locate(cache, GAIN).write_bytes(b"short")
    context.write_text(context.read_text().replace("nircam", "nircan"))
    own = locate(cache, "jwst_nircam_gain_9999.fits")
    own.write_bytes(b"of nobody")
    part = locate(cache, DARK).with_name(f".tmp_{DARK}_{'0' * 32}")
    part.write_bytes(b"half")
    os.utime(part, (1, 1))
    where = ("--cache", cache, "--server", server.url)
    said = calservice("verify", *where)
    assert said.status == 1
    assert f"corrupt {locate(cache, DARK)}: checksum" in said.out
    assert f"corrupt {locate(cache, GAIN)}: 5 bytes, the catalog says 192000" in said.out
    assert f"unknown {own}" in said.out
    assert f"corrupt {context}" in said.out
    assert "10 files good (10 by the server's catalog), 3 corrupt, 1 unknown" in said.out
    assert "1 file left by killed downloads" in said.out
    server.control(corrupt=[GAIN])
    said = calservice("verify", *where, "--repair", "--json")
    assert (said.status, said.json["good"]) == (1, False)
    assert {f["name"] for f in said.json["files"] if f["repaired"]} == {DARK, CONTEXT}
    assert "is corrupt" in said.json["problems"][0]["message"]
    assert locate(cache, GAIN).read_bytes() == b"short"  # nothing worse than before
    server.control(corrupt=[])
    assert calservice("verify", *where, "--repair").status == 0
    assert locate(cache, GAIN).read_bytes() == store.names[GAIN]
    assert context.read_bytes() == store.names[CONTEXT]
    done = calservice("verify", *where, GAIN, "nothing.fits")
    assert (done.status, "absent nothing.fits" in done.out) == (1, True)


def test_verify_without_a_server(calservice: Any, store: Any, tmp_path: Path) -> None:
    """Compared is with the catalog in the cache, with what was recorded at first use, with a mapping's own checksum."""
    cache = store.lay(tmp_path / "cache")
    rules = cache / "mappings" / "jwst" / "jwst_nircam_gain_0001.rmap"
    said = calservice("verify", "--cache", cache, "--json").json
    standing = {file["name"]: file["standing"] for file in said["files"]}
    assert (standing[DARK], standing[rules.name]) == ("unknown", "good")
    assert re.match(
        r"13 files good \(5 by the checksum that .*; 8 by what was", calservice("verify", "--cache", cache).out
    )
    spoil(locate(cache, DARK))
    rules.write_text(rules.read_text().replace("NRCB1", "NRCB2"))
    said = calservice("verify", "--cache", cache)
    assert said.status == 1
    assert f"changed {locate(cache, DARK)}" in said.out
    assert f"corrupt {rules}" in said.out
    said = calservice("verify", "--cache", cache, "--repair")
    assert (said.status, "there is no server" in said.err) == (1, True)
    assert calservice("verify", "--cache", cache, "--accept", DARK).status == 0
    assert calservice("fetch", "--reference", DARK, "--cache", cache).status == 0
    known = store.lay(tmp_path / "other", catalog=True)
    spoil(locate(known, DARK))
    said = calservice("verify", "--cache", known, "--accept", DARK)
    assert (said.status, "the catalog says" in said.out) == (1, True)  # accepting does not help against a catalog


def test_verify_while_the_server_is_gone(store: Any, serve: Any, tmp_path: Path, hurry: Any) -> None:
    server = serve()
    server.stop()
    found = verify(store.lay(tmp_path / "cache", catalog=True), server.url, patience=hurry)
    assert found.good
    assert {verdict.source for verdict in found.verdicts} == {"cache"}
    with pytest.raises(TransientError):
        Crds.settle(cache=tmp_path / "new", server=server.url)


# -- pruning


def test_prune(calservice: Any, store: Any, tmp_path: Path) -> None:
    cache, old = older(store, tmp_path / "cache")
    place = locate(cache, DARK).parent
    part, lock = place / f".tmp_{DARK}_{'0' * 32}", place / f".lock_{GAIN}"
    for left in (part, lock):
        left.write_bytes(b"left")
        os.utime(left, (1, 1))
    (place / "mine.fits").write_bytes(b"mine")
    assert calservice("fetch", "--reference", old, "--cache", cache).status == 0  # leaves a record
    before = sorted(cache.rglob("*"))
    dry = calservice("prune", "--cache", cache, "--keep-context", CONTEXT)
    assert dry.status == 0
    assert re.search(r"\n6 files, [\d.]+ kB, may go\n", dry.out)
    assert "nothing was removed; --yes does it" in dry.out
    assert set(before) <= set(cache.rglob("*"))
    only = ("--cache", cache, "--keep-context", CONTEXT)
    found = calservice("prune", "--cache", cache, "--context", CONTEXT, "--json").json
    gone = {file["name"] for file in found["files"]}
    assert gone == {OLD, "jwst_nircam_0000.imap", "jwst_nircam_dark_0000.rmap", old}
    assert found["leftovers"] == sorted(map(str, (part, lock)))
    assert found["foreign"] == [str(place / "mine.fits")]
    done = calservice("prune", *only, "--yes")
    assert (done.status, "6 files removed" in done.out) == (0, True)
    assert {p.name for p in cache.rglob("*") if p.is_file()} & {*gone, part.name, lock.name, f"{old}.json"} == set()
    assert {p.name for p in place.iterdir()} - {"mine.fits"} == {n for n in store.names if n[-1] == "s" and n != old}
    assert calservice("verify", "--cache", cache).status == 0
    assert "nothing is to be removed" in calservice("prune", *only, "--yes").out
    refused = calservice("prune", "--cache", cache, "--keep-context", OLD, "--yes")
    assert (refused.status, "not complete" in refused.err) == (1, True)


HOLDER = """
import sys
from calservice.references.select import Crds
Crds.resolve(cache=sys.argv[1], context=sys.argv[2], server="")
print("holding", flush=True)
sys.stdin.read()
"""


def test_prune_spares_what_is_in_use(calservice: Any, store: Any, tmp_path: Path) -> None:
    """A context that a process works with stays, whoever prunes; so does a file that is being fetched."""
    cache, old = older(store, tmp_path / "cache")
    command = [sys.executable, "-c", HOLDER, str(cache), OLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        assert in_use(cache) == (OLD,)
        kept = calservice("prune", "--cache", cache, "--keep-context", CONTEXT, "--yes", "--json").json
        assert (kept["in_use"], kept["files"], kept["removed"]) == ([OLD], [], [])
        holder.kill()
    locking = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    lock = locate(cache, old).with_name(f".lock_{old}")
    command = [sys.executable, "-c", locking, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fetcher:
        assert fetcher.stdout is not None
        fetcher.stdout.readline()
        done = calservice("prune", "--cache", cache, "--keep-context", CONTEXT, "--yes")
        assert f"stays {locate(cache, old)}: locked" in done.out
        assert lock.exists()
        fetcher.kill()
    assert calservice("prune", "--cache", cache, "--keep-context", CONTEXT, "--yes").status == 0
    assert not locate(cache, old).exists()
    assert not lock.exists()


def older(store: Any, cache: Path) -> tuple[Path, str]:
    """Lay out a cache with a second, older context, which shares the gains and has a dark of its own."""
    old = store.put("jwst_nircam_dark_0777.fits", b"old" * 100)
    rules = store.rules("dark", {"NRCA1": {"2020-01-01 00:00:00": old}}, serial="0000")
    assert store.context(["gain"], serial="0000", older={"dark": rules}) == OLD
    return store.lay(cache), old
