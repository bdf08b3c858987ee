"""Stores: whole or not at all, clear about what went wrong, and silent about secrets."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from calservice.model.errors import CalserviceError, InputError, OutputError
from calservice.products.store import Store, checksum, parent_of, shown

MIB = 1024 * 1024


def everything(folder: Path) -> list[str]:
    """Return all files below a folder, hidden ones too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Any:
    """Return a folder on another file system, from which files must be copied."""
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == tmp_path.stat().st_dev or not os.access(place, os.W_OK):
        pytest.skip("no second file system here")
    folder = place / f"calservice-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_publish_write_fetch_list_remove(tmp_path: Path) -> None:
    store = Store(tmp_path / "out" / "deep")
    source = tmp_path / "made.fits"
    source.write_bytes(b"x" * 1000)
    stat = store.publish(source, "a_rate.fits")
    assert (stat.name, stat.size) == ("a_rate.fits", 1000)
    assert store.stat("a_rate.fits") == stat == store.listing()["a_rate.fits"]
    source.write_bytes(b"yy")
    assert store.publish(source, "a_rate.fits").stamp != stat.stamp
    store.write(b"{}", "a.manifest.json")
    assert store.read("a.manifest.json") == b"{}"
    assert store.fetch("a_rate.fits", tmp_path / "in").read_bytes() == b"yy"
    with store.open("a_rate.fits") as file:
        assert file.read() == b"yy"
    assert sorted(store.listing()) == everything(tmp_path / "out" / "deep") == ["a.manifest.json", "a_rate.fits"]
    store.write(b"1", "sub/b.txt")
    assert "sub/b.txt" not in store.listing()
    assert "sub/b.txt" in store.listing(deep=True)
    store.remove("a_rate.fits")
    store.remove("a_rate.fits")
    assert store.stat("a_rate.fits") is None
    with pytest.raises(InputError, match=r"a_rate\.fits cannot be read: no such file"):
        store.read("a_rate.fits")
    with pytest.raises(InputError, match=r"gone: no such folder"):
        Store(tmp_path / "gone").listing()


def test_a_writer_killed_in_mid_publication_leaves_all_or_nothing(tmp_path: Path, elsewhere: Path) -> None:
    """Kill -9 a process that publishes 16 MB over and over, at random moments."""
    contents = {}
    for number in range(2):
        path = elsewhere / f"{number}.fits"
        path.write_bytes(random.Random(number).randbytes(16 * MIB))
        contents[checksum(path)] = path
    begun = time.monotonic()
    Store(tmp_path / "first").publish(elsewhere / "0.fits", "x_rate.fits")
    span = time.monotonic() - begun
    dice, interrupted, whole = random.Random(7), 0, 0
    for attempt in range(200):  # until both kinds of ends were met often enough
        if interrupted >= 3 and whole >= 3:
            break
        out = tmp_path / str(attempt)
        store = Store(out)
        child = os.fork()
        if child == 0:  # pragma: no cover - it is killed
            try:
                while True:
                    for path in contents.values():
                        store.publish(path, "x_rate.fits")
            finally:
                os._exit(1)
        time.sleep(dice.uniform(0.0, (2 + attempt) * span))  # longer and longer, should the machine be busy
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        files = store.listing() if out.is_dir() else {}
        assert set(files) <= {"x_rate.fits"}  # parts are not listed
        if files:
            assert checksum(out / "x_rate.fits") in contents
            whole += 1
        interrupted += any(".part-" in name for name in (everything(out) if out.is_dir() else ()))
        store.publish(elsewhere / "0.fits", "x_rate.fits")  # and the next writer is not disturbed
        assert store.stat("x_rate.fits") is not None
        shutil.rmtree(out)
    assert interrupted, "no writer was caught at work: the test shows nothing"
    assert whole, "no writer got as far as one file: the test shows nothing"


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "big.fits"
    source.write_bytes(os.urandom(4 * MIB))
    store = Store(small_disk / "out")
    store.write(b"kept", "earlier.txt")
    for action in (lambda: store.publish(source, "x_cal.fits"), lambda: store.write(source.read_bytes(), "x_cal.fits")):
        with pytest.raises(OutputError) as caught:
            action()
        message = str(caught.value)
        assert str(small_disk / "out") in message
        assert "x_cal.fits cannot be written: no space left" in message
        assert "Free some, then submit again" in message
        assert everything(small_disk) == ["out/earlier.txt"]
    store.check_writable()


def test_a_full_disk_leaves_the_earlier_product_alone(small_disk: Path, tmp_path: Path) -> None:
    store, source = Store(small_disk), tmp_path / "s"
    source.write_bytes(b"1" * MIB)
    store.publish(source, "x_cal.fits")
    source.write_bytes(b"2" * (3 * MIB))
    with pytest.raises(OutputError, match="no space left"):
        store.publish(source, "x_cal.fits")
    assert (small_disk / "x_cal.fits").read_bytes() == b"1" * MIB
    assert everything(small_disk) == ["x_cal.fits"]


def test_output_that_cannot_be_written(tmp_path: Path, unprivileged: Any) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match=r"file is a file\. Name a folder"):
        Store(tmp_path / "file" / "out").check_writable()
    with unprivileged() as folder:
        (folder / "mine").mkdir(mode=0o555)
        with pytest.raises(OutputError, match=r"mine: calservice-.*probe cannot be written: permission denied"):
            Store(folder / "mine").check_writable()
        with pytest.raises(OutputError, match="permission denied"):
            Store(folder / "mine" / "below").check_writable()
        assert everything(folder) == []
        (folder / "closed").mkdir(mode=0o000)
        with pytest.raises(InputError, match="closed"):
            Store(folder / "closed").listing()
    store = Store(tmp_path / "fine" / "out")
    store.check_writable()
    assert everything(tmp_path / "fine") == []


def test_the_parts_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".x_cal.fits.part-0a1b2c3d").write_bytes(b"half")
    (tmp_path / "y_cal.fits").write_bytes(b"whole")
    assert list(Store(tmp_path).listing()) == list(Store(tmp_path).listing(deep=True)) == ["y_cal.fits"]


@pytest.mark.parametrize(
    ("place", "safe"),
    [
        ("https://me:hunter2@host/raw/x.fits?token=hunter2", "https://host/raw/x.fits"),
        ("s3://key:hunter2@bucket/raw", "s3://bucket/raw"),
        ("tcp://me:hunter2@host:8786", "tcp://host:8786"),
        ("/plain/path", "/plain/path"),
    ],
)
def test_secrets_of_a_url_are_not_shown(place: str, safe: str) -> None:
    assert shown(place) == safe
    assert "hunter2" not in repr(Store("memory://me:hunter2@host/x"))


def test_faults_of_a_store_do_not_show_secrets() -> None:
    with pytest.raises(CalserviceError) as caught:
        Store("nosuch://me:hunter2@host/raw")
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("nosuch://host/raw: cannot be opened")
    store = Store("http://me:hunter2@127.0.0.1:9/raw")
    with pytest.raises(CalserviceError) as caught:
        store.read("x_uncal.fits")
    assert "hunter2" not in str(caught.value)
    assert "http://127.0.0.1:9/raw: x_uncal.fits cannot be read" in str(caught.value)


def test_parents() -> None:
    assert parent_of("s3://bucket/raw/x.fits") == "s3://bucket/raw"
    assert parent_of("/raw/x.fits") == "/raw"
    assert parent_of("x.fits") == "."


def test_a_real_object_store(s3: Any, tmp_path: Path) -> None:
    store = Store("s3://jwst/program/out")
    assert store.listing() == {}
    assert store.stat("x_rate.fits") is None
    source = tmp_path / "x"
    source.write_bytes(os.urandom(7 * MIB))  # more than one part of an upload
    stat = store.publish(source, "x_rate.fits")
    assert (stat.url, stat.size) == ("s3://jwst/program/out/x_rate.fits", 7 * MIB)
    store.write(b"{}", "x.manifest.json")
    store.write(b"deep", "sub/y.txt")
    assert set(store.listing()) == {"x_rate.fits", "x.manifest.json"}
    assert set(store.listing(deep=True)) == {"x_rate.fits", "x.manifest.json", "sub/y.txt"}
    assert store.listing()["x_rate.fits"] == stat == Store("s3://jwst/program/out").stat("x_rate.fits")
    assert store.read("x.manifest.json") == b"{}"
    assert checksum(store.fetch("x_rate.fits", tmp_path / "in")) == blake3(source.read_bytes()).hexdigest()
    with store.open("x_rate.fits") as file:
        file.seek(5 * MIB)
        assert file.read(10) == source.read_bytes()[5 * MIB : 5 * MIB + 10]
    store.write(b"other", "x.manifest.json")
    assert store.read("x.manifest.json") == b"other"
    store.check_writable()
    for name in ("x_rate.fits", "x.manifest.json", "sub/y.txt", "never.there"):
        store.remove(name)
    assert store.listing(deep=True) == {}
    for action in (lambda: store.read("x_rate.fits"), lambda: store.fetch("x_rate.fits", tmp_path / "again")):
        with pytest.raises(InputError, match=r"s3://jwst/program/out: x_rate\.fits cannot be .*no such file"):
            action()
    assert everything(tmp_path / "again") == []


def test_keys_that_an_object_store_refuses(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store("s3://jwst/kept").write(b"here", "x.txt")
    s3.use(monkeypatch, s3.readonly)
    assert Store("s3://jwst/kept").read("x.txt") == b"here"
    with pytest.raises(OutputError, match="cannot be written: permission denied"):
        Store("s3://jwst/kept").check_writable()
    s3.use(monkeypatch, s3.wrong)
    store = Store("s3://jwst/kept")
    for kind, action in (
        (InputError, store.listing),
        (InputError, lambda: store.read("x.txt")),
        (InputError, lambda: store.stat("x.txt")),
        (InputError, lambda: store.fetch("x.txt", tmp_path)),
        (OutputError, lambda: store.write(b"", "y.txt")),
    ):
        with pytest.raises(kind) as caught:
            action()
        message = str(caught.value)
        assert message.startswith("s3://jwst/kept: ")
        assert "permission denied. Check the credentials" in message
        assert not caught.value.retry
        assert all(secret not in message for _, secret in (s3.writer, s3.wrong))
    s3.use(monkeypatch, s3.writer)
    assert everything(tmp_path) == []
    assert set(Store("s3://jwst/kept").listing()) == {"x.txt"}


@pytest.mark.parametrize("size", [0, 1, 4 * 2**20, 9 * 2**20 + 7])
def test_checksums_are_those_of_blake3(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x_rate.fits"
    path.write_bytes(random.Random(size).randbytes(size))
    expected = blake3(path.read_bytes()).hexdigest()
    assert [checksum(path), Store(tmp_path).checksum(path.name)] == [expected] * 2
