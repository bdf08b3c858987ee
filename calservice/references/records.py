"""What is known of the files of a cache: which content each has, and what this host has read itself.

Two kinds of record. In ``.calservice/verified`` of the cache lies the checksum of each file as it was first seen,
for all hosts that share the cache: where no catalog has a checksum, a file that changed under its name is noticed
by comparing with it. What a host has verified itself lies on that host, under ``$XDG_CACHE_HOME/calservice`` (the
temporary folder where that cannot be written), with the file's size, times and inode: every host reads every file
once, at its first use, and not again until the file changes. That another host found a file good proves nothing
about what comes through this host's mount, its disk or its own copy.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from calservice.model.errors import ReferenceFileError
from calservice.references.server import setting

__all__ = [
    "READ_ONLY",
    "Entry",
    "Records",
    "ReferenceFile",
    "hashed",
    "sha1_of",
    "stamp_of",
    "temporary_name",
    "verified",
    "write_whole",
]

log = logging.getLogger(__name__)

READ_ONLY = "CRDS_READONLY_CACHE"
"""The setting of crds by which the cache is not written, whether it could be or not."""


@dataclass(frozen=True)
class ReferenceFile:
    """A reference file at hand, whole, with its checksum."""

    name: str
    path: Path
    sha1: str
    size: int


@dataclass(frozen=True)
class Entry:
    """What a catalog says of a file."""

    sha1: str | None = None
    size: int | None = None


def write_whole(path: Path, content: bytes) -> None:
    """Publish a small file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    return path.with_name(f".tmp_{path.name}_{uuid.uuid4().hex}")


def stamp_of(path: Path) -> list[int]:
    """Return what changes when a file does: size, times of content and of status, inode."""
    return _stamp(path.stat())


def _stamp(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def hashed(path: Path) -> tuple[str, list[int]]:
    """Return the SHA-1 of a file's content, and the stamp of what was read."""
    with path.open("rb") as stream:
        stamp = _stamp(os.fstat(stream.fileno()))
        return hashlib.file_digest(stream, "sha1").hexdigest(), stamp


def sha1_of(path: Path) -> str:
    """Return the SHA-1 of a file's content."""
    return hashed(path)[0]


def _fallback() -> Path | None:
    """Return the folder for records where the home cannot be written; None if somebody else made it, who might lie."""
    private = Path(tempfile.gettempdir()) / f"calservice-{os.geteuid()}"
    try:
        return private if private.lstat().st_uid == os.geteuid() and not private.is_symlink() else None
    except OSError:
        return private


class Records:
    """Records of the files of one cache.

    Parameters
    ----------
    cache : Path
        The cache folder.
    shared : bool
        Whether checksums are kept in the cache too, for all hosts.
    """

    def __init__(self, cache: Path, *, shared: bool = True) -> None:
        self.shared = cache / ".calservice" / "verified" if shared else None
        key = hashlib.sha1(str(cache).encode(), usedforsecurity=False).hexdigest()[:16]
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        places = (home, fallback) if (fallback := _fallback()) else (home,)
        host = platform.node() or "host"
        self.own = tuple(place / "calservice" / "verified" / key / host for place in places)

    def verified_here(self, path: Path, stamp: list[int]) -> str | None:
        """Return the checksum of a file that this host has verified and that did not change since."""
        for folder in self.own:
            sha1, found = _read(folder / f"{path.name}.json", path)
            if found == stamp:
                return sha1
        return None

    def known(self, path: Path) -> str | None:
        """Return the checksum that a file had when it was last found good, by any host or else by this one."""
        return next((sha1 for record in self.paths(path.name) if (sha1 := _read(record, path)[0])), None)

    def paths(self, name: str) -> list[Path]:
        """Return the records of a file that exist, the one that counts first."""
        folders = (self.shared, *self.own) if self.shared else self.own
        return [record for folder in folders if (record := folder / f"{name}.json").is_file()]

    def write(self, path: Path, sha1: str, stamp: list[int]) -> None:
        """Remember; a record that cannot be kept costs time and nothing else."""
        name = f"{path.name}.json"
        content = json.dumps({"path": str(path), "sha1": sha1, "stamp": stamp}).encode()
        if self.shared and not setting(READ_ONLY) and _read(self.shared / name, path)[0] != sha1:
            _kept(self.shared / name, content)
        if not _kept(self.own[0] / name, content) and (private := _fallback()):
            with suppress(OSError):
                private.mkdir(mode=0o700, exist_ok=True)
            any(_kept(folder / name, content) for folder in self.own[1:])

    def forget(self, name: str) -> None:
        """Remove the records of a file, so that it is taken as it is when it is used next."""
        for record in self.paths(name):
            record.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Path]:
        """Yield the shared records."""
        return iter(sorted(self.shared.glob("*.json")) if self.shared else ())


def _kept(record: Path, content: bytes) -> bool:
    try:
        write_whole(record, content)
    except OSError as error:
        log.debug("no record %s: %s", record, error)
        return False
    return True


def _read(record: Path, path: Path) -> tuple[str | None, list[int]]:
    """Return checksum and stamp, or (None, []) where there is no readable record of this file."""
    try:
        known = json.loads(record.read_bytes())
        same = Path(str(known["path"])).name == path.name
        return (str(known["sha1"]), list(known["stamp"])) if same else (None, [])
    except (OSError, ValueError, KeyError, TypeError):
        return None, []


_seen: dict[Path, tuple[list[int], ReferenceFile]] = {}
"""What this process verified: a plan asks for the same few files for each of its exposures."""


def verified(path: Path, entry: Entry, records: Records, *, says: str = "the CRDS catalog says") -> ReferenceFile:
    """Return a file at hand after comparing it with what it must be, and with the record.

    It is read if this host has not read it yet, or if it changed since.

    Raises
    ------
    ReferenceFileError
        It is not the file that it is to be, or cannot be read.
    """
    try:
        return _verified(path, entry, records, says)
    except OSError as error:
        raise ReferenceFileError(
            f"{path} cannot be read: {error.strerror}. Mend that, or fetch it again: "
            f"calservice references fetch --reference {path.name}"
        ) from error


def _verified(path: Path, entry: Entry, records: Records, says: str) -> ReferenceFile:
    stamp = stamp_of(path)
    if (seen := _seen.get(path)) and seen[0] == stamp and entry.sha1 in (None, seen[1].sha1):
        return seen[1]
    cure = f"calservice references verify --repair {path.name} fetches it again"
    if entry.size not in (None, stamp[0]):
        raise ReferenceFileError(f"{path} has {stamp[0]} bytes, {says} {entry.size}: {cure}")
    before = records.verified_here(path, stamp)
    sha1, stamp = (before, stamp) if before else hashed(path)
    if entry.sha1 not in (None, sha1):
        raise ReferenceFileError(f"{path} has the checksum {sha1}, {says} {entry.sha1}: {cure}")
    if entry.sha1 is None and (known := records.known(path)) not in (None, sha1):
        raise ReferenceFileError(
            f"{path} changed under its name: its checksum is {sha1}, {known} was recorded: {cure}; "
            f"calservice references verify --accept {path.name} takes it as it is"
        )
    if before is None:
        records.write(path, sha1, stamp)
    found = ReferenceFile(path.name, path, sha1, stamp[0])
    _seen[path] = (stamp, found)
    return found
