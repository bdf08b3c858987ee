"""The shared cache under the hazards of CRDS: every file whole, verified, and fetched once."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from calservice.model.errors import OutputError, Problems, ReferenceFileError, TransientError
from calservice.model.plan import ReferenceUse
from calservice.references import Patience, records
from calservice.references.cache import at_hand, confirm, fetch, locate, override
from calservice.references.select import Crds

DARK, GAIN = "jwst_nircam_dark_0000.fits", "jwst_nircam_gain_0100.fits"
FETCHER = """
import json, sys
from pathlib import Path
from calservice.references import Patience
from calservice.references.cache import fetch
from calservice.references.select import Crds
url, cache, *names = sys.argv[1:]
patience = Patience(timeout=5, attempts=3, pause=0.02, wait=30, poll=0.02)
found = fetch(Crds(Path(cache), "jwst_0001.pmap", url), names, patience=patience)
print(json.dumps({name: [file.sha1, len(file.path.read_bytes())] for name, file in found.items()}))
"""


def fetcher(url: str, cache: Path, *names: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCHER, url, str(cache), *names]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leftovers(cache: Path) -> list[str]:
    return [str(p) for p in cache.rglob(".*") if p.name.startswith((".tmp_", ".lock_"))]


def test_several_processes_fetch_each_file_once_and_whole(store: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(slow=0.5)
    names = [name for name in store.names if name.endswith(".fits")]
    running = [fetcher(server.url, tmp_path / "cache", *names) for _ in range(4)]
    outputs = [(process.communicate(timeout=60), process.returncode) for process in running]
    assert all(code == 0 for _, code in outputs), outputs
    assert len({out for (out, _), _ in outputs}) == 1
    assert {name: server.stats()[name] for name in names} == dict.fromkeys(names, 1)
    for name in names:
        assert locate(tmp_path / "cache", name).read_bytes() == store.names[name]
    assert not leftovers(tmp_path / "cache")


def test_a_file_is_never_seen_half_written(store: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(slow=1.0)
    path = locate(tmp_path, DARK)
    process = fetcher(server.url, tmp_path, DARK)
    sizes = set()
    while process.poll() is None:
        if path.exists():
            sizes.add(path.stat().st_size)
        time.sleep(0.002)
    process.communicate()
    assert process.returncode == 0
    assert sizes <= {len(store.names[DARK])}


def test_wait_for_a_held_lock_is_bounded_and_names_the_holder(serve: Any, tmp_path: Path, hurry: Patience) -> None:
    path = locate(tmp_path, DARK)
    path.parent.mkdir(parents=True)
    lock = path.with_name(f".lock_{DARK}")
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(b"process 4711 on elsewhere since noon")
        held.flush()
        server = serve()
        crds = Crds(tmp_path, "jwst_0001.pmap", server.url)
        with pytest.raises(Problems, match="fetched by process 4711 on elsewhere") as caught:
            fetch(crds, [DARK], patience=dataclasses.replace(hurry, wait=0.3))
        assert caught.value.retry
        assert lock.exists()
        assert not path.exists()
        assert DARK not in server.stats()
    assert fetch(crds, [DARK], patience=hurry)[DARK].path == path  # the lock is free: nothing to clean up


def test_killed_download_leaves_nothing_that_is_used(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve(slow=20)
    process = fetcher(server.url, tmp_path, DARK)
    folder = locate(tmp_path, DARK).parent
    deadline = time.monotonic() + 20
    while not any(p.stat().st_size for p in folder.glob(".tmp_*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert leftovers(tmp_path)
    assert not locate(tmp_path, DARK).exists()
    (folder / ".tmp_other_of_crds_77").write_bytes(b"old")
    os.utime(folder / ".tmp_other_of_crds_77", (1, 1))
    server.control(slow=0)
    found = fetch(Crds(tmp_path, "jwst_0001.pmap", server.url), [DARK], patience=hurry)
    assert found[DARK].path.read_bytes() == store.names[DARK]
    assert not leftovers(tmp_path)


def test_corrupt_download_is_never_published(serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve(corrupt=[DARK])
    crds = Crds(tmp_path, "jwst_0001.pmap", server.url)
    with pytest.raises(Problems, match=rf"{DARK} is corrupt") as caught:
        fetch(crds, [DARK, GAIN], patience=hurry)
    assert not caught.value.retry
    assert server.stats()[DARK] == hurry.attempts
    assert not locate(tmp_path, DARK).exists()
    assert locate(tmp_path, GAIN).exists()
    assert not leftovers(tmp_path)
    server.control(corrupt=[])
    assert fetch(crds, [DARK], patience=hurry)[DARK].size


def test_503_is_tried_again(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve(fail={DARK: 2}, rpc_fail=2)
    found = fetch(Crds(tmp_path, "jwst_0001.pmap", server.url), [DARK], patience=hurry)
    assert found[DARK].sha1 == hashlib.sha1(store.names[DARK]).hexdigest()
    assert server.stats()[DARK] == 3


def test_503_without_end_is_a_transient_error(serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve(fail={DARK: 999})
    with pytest.raises(Problems, match=f"{DARK}: HTTP 503") as caught:
        fetch(Crds(tmp_path, "jwst_0001.pmap", server.url), [DARK], patience=hurry)
    assert caught.value.retry
    assert not locate(tmp_path, DARK).exists()


def test_server_gone(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve()
    server.stop()
    crds = Crds(store.lay(tmp_path / "cache"), "jwst_0001.pmap", server.url)
    assert set(fetch(crds, [DARK, GAIN], patience=hurry)) == {DARK, GAIN}  # all there: not needed
    locate(crds.cache, DARK).unlink()
    with pytest.raises(TransientError, match=f"{server.url} does not answer"):
        fetch(crds, [DARK, GAIN], patience=hurry)


def test_unknown_to_the_server(serve: Any, tmp_path: Path, hurry: Patience) -> None:
    crds = Crds(tmp_path, "jwst_0001.pmap", serve().url)
    with pytest.raises(Problems, match=r"jwst_nircam_dark_9999\.fits: HTTP 404"):
        fetch(crds, ["jwst_nircam_dark_9999.fits"], patience=hurry)
    for name in ("../../etc/passwd", ".hidden", "a/b", ""):
        with pytest.raises(ReferenceFileError, match="not a name"):
            fetch(crds, [name], patience=hurry)


def test_old_server_without_file_info(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve(refuse=["get_file_info_map"], corrupt=[GAIN])
    crds = Crds(tmp_path, "jwst_0001.pmap", server.url)
    assert fetch(crds, [DARK], patience=hurry)[DARK].size == len(store.names[DARK])
    with pytest.raises(Problems, match="corrupt"):
        fetch(crds, [GAIN], patience=hurry)


def test_no_space(store: Any, serve: Any, small_disk: Path, hurry: Patience) -> None:
    crds = Crds(small_disk / "cache", "jwst_0001.pmap", serve().url)
    (small_disk / "ballast").write_bytes(bytes(2 * 1024**2 - 60_000 - 32_768))
    with pytest.raises(Problems, match=f"no space for {DARK} .*No space left on device") as caught:
        fetch(crds, [DARK], patience=hurry)
    assert isinstance(caught.value.problems[0], OutputError)
    assert not locate(crds.cache, DARK).exists()
    assert not leftovers(crds.cache)
    (small_disk / "ballast").unlink()
    assert fetch(crds, [DARK], patience=hurry)[DARK].path.read_bytes() == store.names[DARK]


def test_read_only_cache(store: Any, serve: Any, hurry: Patience, unprivileged: Any) -> None:
    server = serve()
    with unprivileged() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "home"))
        cache = folder / "cache"
        place = cache / "references" / "jwst" / "nircam"
        place.mkdir(parents=True)
        (place / GAIN).write_bytes(store.names[GAIN])
        closed = (cache, cache / "references", place.parent, place)
        for path in closed:
            path.chmod(0o555)
        crds = Crds(cache, "jwst_0001.pmap", server.url)
        with pytest.raises(Problems, match=f"{DARK} is not in the CRDS cache, and .* cannot be written"):
            fetch(crds, [DARK], patience=hurry)
        found = fetch(crds, [GAIN], patience=hurry)[GAIN]
        assert found.sha1 == hashlib.sha1(store.names[GAIN]).hexdigest()
        assert len([*(folder / "home").rglob("*.json")]) == 1
        patch.setattr(records, "hashed", lambda path: pytest.fail("hashed again"))
        records._seen.clear()
        assert fetch(crds, [GAIN], patience=hurry) == {GAIN: found}
        assert not (cache / ".calservice").exists()
        for path in closed:
            path.chmod(0o755)


def test_readonly_setting_of_crds(store: Any, serve: Any, tmp_path: Path, monkeypatch: Any, hurry: Patience) -> None:
    """A missing file is an error that names it, never a path to nothing; and nothing is written, though it could be."""
    server = serve()
    cache = store.lay(tmp_path / "cache")
    locate(cache, DARK).unlink()
    before = sorted(cache.rglob("*"))
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    crds = Crds.resolve(cache=cache, context="jwst_0001.pmap", server=server.url)
    with pytest.raises(Problems, match=f"{DARK} is not in .* CRDS_READONLY_CACHE is set") as caught:
        fetch(crds, [DARK, GAIN], patience=hurry)
    assert len(caught.value.problems) == 1
    with pytest.raises(ReferenceFileError, match=f"{DARK} is not in the CRDS cache"):
        at_hand(cache, DARK)
    assert sorted(cache.rglob("*")) == before
    (cache / "mappings" / "jwst" / "jwst_nircam_gain_0001.rmap").unlink()
    with pytest.raises(ReferenceFileError, match=r"gain_0001\.rmap missing; unset CRDS_READONLY_CACHE"):
        Crds.resolve(cache=cache, context="jwst_0001.pmap", server=server.url)


def test_offline_reports_all_missing_at_once(offline: Crds) -> None:
    found = fetch(offline, [DARK, GAIN, "N/A", DARK])
    assert set(found) == {DARK, GAIN}
    locate(offline.cache, DARK).unlink()
    locate(offline.cache, GAIN).unlink()
    with pytest.raises(Problems) as caught:
        fetch(offline, [DARK, GAIN])
    assert len(caught.value.problems) == 2
    assert all(isinstance(problem, ReferenceFileError) for problem in caught.value.problems)
    for part in (DARK, GAIN, str(offline.cache), "CRDS_SERVER_URL"):
        assert part in str(caught.value)


def test_verified_once_and_changes_are_noticed(offline: Crds, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch(offline, [DARK])[DARK]
    with monkeypatch.context() as patch:
        patch.setattr(records, "hashed", lambda path: pytest.fail("hashed again"))
        assert fetch(offline, [DARK])[DARK] == first
        records._seen.clear()  # another process: what the record says
        assert fetch(offline, [DARK])[DARK] == first
    os.utime(first.path)  # touched, same content: looked at again and fine
    assert fetch(offline, [DARK])[DARK] == first
    change_unseen(first.path)
    with pytest.raises(Problems, match=f"changed under its name.* verify --accept {DARK}"):
        fetch(offline, [DARK])
    records.Records(offline.cache).forget(DARK)
    assert fetch(offline, [DARK])[DARK].sha1 != first.sha1


def change_unseen(path: Path) -> None:
    """Change a file in place, with the same length and modification time."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_every_host_verifies_at_first_use(offline: Crds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one host verified is not taken for granted by another that shares the cache, nor by its workers."""
    read: list[str] = []
    hashed = records.hashed
    monkeypatch.setattr(records, "hashed", lambda path: read.append(path.name) or hashed(path))

    def host(name: str) -> None:
        monkeypatch.setattr(platform, "node", lambda: name)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        records._seen.clear()

    def verify() -> ReferenceUse:
        found = fetch(offline, [DARK])[DARK]
        return ReferenceUse("dark", DARK, found.sha1, found.size, str(found.path))

    host("one")
    use = verify()
    host("two")
    confirm(offline.cache, [use])
    assert at_hand(offline.cache, DARK).sha1 == use.sha1
    assert read == [DARK, DARK]
    for name in ("one", "two"):  # and again, in new processes
        host(name)
        confirm(offline.cache, [use, ReferenceUse("flat", "N/A")])
    assert len(read) == 2
    monkeypatch.setattr(platform, "node", lambda: "three")  # a home that hosts share
    records._seen.clear()
    confirm(offline.cache, [use])
    assert len(read) == 3
    change_unseen(locate(offline.cache, DARK))
    for name in ("one", "two", "four"):
        host(name)
        with pytest.raises(Problems, match=f"{DARK} has the checksum .*, the plan was made with {use.sha1}"):
            confirm(offline.cache, [use])
        with pytest.raises(ReferenceFileError, match="changed under its name"):
            at_hand(offline.cache, DARK)


def test_a_host_without_a_home_remembers_too(offline: Crds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fetch(offline, [DARK])
    records._seen.clear()
    monkeypatch.setattr(records, "hashed", lambda path: pytest.fail("hashed again"))
    assert fetch(offline, [DARK])[DARK].size
    private = tmp_path / f"calservice-{os.geteuid()}"
    assert private.stat().st_mode & 0o777 == 0o700
    private.rename(tmp_path / "real")
    private.symlink_to(tmp_path / "real")  # laid there by somebody else: not believed
    records._seen.clear()
    with pytest.raises(pytest.fail.Exception, match="hashed again"):
        fetch(offline, [DARK])


def test_overrides_are_confirmed_where_they_lie(offline: Crds, tmp_path: Path) -> None:
    path = tmp_path / "mine.fits"
    path.write_bytes(b"mine")
    found = override(path)
    use = ReferenceUse("dark", str(path), found.sha1, found.size, str(path))
    confirm(offline.cache, [use])
    path.write_bytes(b"thine")
    gone = ReferenceUse("gain", "gone.fits", "0", 1, str(tmp_path / "gone.fits"))
    with pytest.raises(Problems) as caught:
        confirm(offline.cache, [use, gone])
    assert "has 5 bytes, the plan was made with 4" in str(caught.value.problems[0])
    assert "gone.fits cannot be read" in str(caught.value.problems[1])
    assert [p.name for p in tmp_path.glob("*.json")] == []


def test_catalog_of_the_cache_is_compared(store: Any, tmp_path: Path) -> None:
    crds = Crds.resolve(cache=store.lay(tmp_path / "cache", catalog=True))
    assert fetch(crds, [DARK, GAIN])
    path = locate(crds.cache, DARK)
    path.write_bytes(store.names[DARK][:-1] + b"?")
    locate(crds.cache, GAIN).write_bytes(b"short")
    with pytest.raises(Problems) as caught:
        fetch(crds, [DARK, GAIN])
    assert "the CRDS catalog says" in str(caught.value.problems[0])
    assert "has 5 bytes" in str(caught.value.problems[1])


def test_corrupt_file_left_in_the_cache_is_not_used(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    crds = Crds(store.lay(tmp_path / "cache"), "jwst_0001.pmap", serve().url)
    path = locate(crds.cache, DARK)
    path.write_bytes(store.names[DARK][:-1] + b"?")
    with pytest.raises(Problems, match="the CRDS catalog says"):
        fetch(crds, [DARK], patience=hurry)


def test_the_server_is_asked_once_for_each_file(serve: Any, tmp_path: Path, hurry: Patience) -> None:
    server = serve()
    crds = Crds(tmp_path, "jwst_0001.pmap", server.url)
    for _ in range(5):
        fetch(crds, [DARK], patience=hurry)
    fetch(crds, [DARK, GAIN], patience=hurry)
    assert server.stats()["get_file_info_map"] == 2


def test_file_systems_without_locks(serve: Any, tmp_path: Path, hurry: Patience, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    live = locate(tmp_path, DARK).with_name(f".tmp_{DARK}_{'0' * 32}")
    live.parent.mkdir(parents=True)
    live.write_bytes(b"of another host")
    crds = Crds(tmp_path, "jwst_0001.pmap", serve().url)
    assert fetch(crds, [DARK], patience=hurry)[DARK].size
    assert leftovers(tmp_path) == [str(live)]


def test_flat_and_unmarked_caches(store: Any, tmp_path: Path) -> None:
    flat = store.lay(tmp_path / "flat", flat=True)
    assert locate(flat, DARK) == flat / "references" / "jwst" / DARK
    assert locate(tmp_path / "new", DARK) == tmp_path / "new" / "references" / "jwst" / "nircam" / DARK
    (flat / "config" / "jwst" / "ref_cache_subdir_mode").unlink()
    for number in range(30):
        (flat / "references" / "jwst" / f"jwst_miri_gain_{number:04}.fits").touch()
    assert locate(flat, DARK) == flat / "references" / "jwst" / DARK
    odd = tmp_path / "odd" / "references" / "jwst" / "miri"
    odd.mkdir(parents=True)
    (odd / "weird.fits").touch()
    assert locate(tmp_path / "odd", "weird.fits") == odd / "weird.fits"


def test_progress(store: Any, serve: Any, tmp_path: Path, hurry: Patience) -> None:
    seen: list[tuple[str, int, int]] = []
    crds = Crds(tmp_path, "jwst_0001.pmap", serve().url)
    fetch(crds, [DARK, GAIN], patience=hurry, on_progress=lambda *args: seen.append(args))
    total = len(store.names[DARK]) + len(store.names[GAIN])
    assert seen[-1][1:] == (total, total)


def test_override(tmp_path: Path) -> None:
    path = tmp_path / "mine.fits"
    path.write_bytes(b"one")
    first = override(path)
    assert (first.name, first.path, first.size) == ("mine.fits", path, 3)
    path.write_bytes(b"three")
    assert override(str(path)).sha1 == hashlib.sha1(b"three").hexdigest()
    with pytest.raises(ReferenceFileError, match=r"absent\.fits cannot be read"):
        override(tmp_path / "absent.fits")
