"""What is known of the files of a cache: checksums, remembered with the stamp of the file they belong to.

Every file is hashed once. The result is remembered with the file's size, modification time and inode
in ``.calservice/verified`` of the cache, or under ``$XDG_CACHE_HOME/calservice`` where the cache is
read-only: planning again does not read gigabytes, and a file that changed under its name is noticed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from calservice.model.errors import ReferenceFileError

__all__ = ["Entry", "Records", "ReferenceFile", "sha1_of", "stamp_of", "temporary_name", "verified", "write_whole"]

log = logging.getLogger(__name__)


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


class Records:
    """What was found when the files of a cache were last hashed."""

    def __init__(self, cache: Path) -> None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        key = hashlib.sha1(str(cache).encode(), usedforsecurity=False).hexdigest()[:16]
        self.folders = (cache / ".calservice" / "verified", home / "calservice" / "verified" / key)

    def path(self, name: str) -> Path | None:
        """Return the record of a file that counts, the newest."""
        found = [p for folder in self.folders if (p := folder / f"{name}.json").is_file()]
        return max(found, key=lambda p: p.stat().st_mtime_ns, default=None)

    def read(self, name: str) -> tuple[str | None, list[int]]:
        """Return checksum and stamp, or (None, []) where there is no readable record."""
        try:
            path = self.path(name)
            known = json.loads(path.read_bytes()) if path else {}
            return known.get("sha1"), known.get("stamp", [])
        except (OSError, ValueError):
            return None, []

    def write(self, path: Path, sha1: str, stamp: list[int]) -> None:
        """Remember; a record that cannot be kept costs time and nothing else."""
        content = json.dumps({"path": str(path), "sha1": sha1, "stamp": stamp}).encode()
        for folder in self.folders:
            try:
                return write_whole(folder / f"{path.name}.json", content)
            except OSError as error:
                log.debug("no record of %s in %s: %s", path.name, folder, error)
        return None


def stamp_of(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def sha1_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha1").hexdigest()


_seen: dict[Path, tuple[list[int], ReferenceFile]] = {}
"""What this process verified: a plan asks for the same few files for each of its exposures."""


def verified(path: Path, entry: Entry, records: Records) -> ReferenceFile:
    """Return a file of the cache after comparing it with catalog and record."""
    stamp = stamp_of(path)
    if (seen := _seen.get(path)) and seen[0] == stamp and entry.sha1 in (None, seen[1].sha1):
        return seen[1]
    recorded, recorded_stamp = records.read(path.name)
    cure = "remove it so that it is fetched again, or restore the right file"
    if entry.size not in (None, stamp[0]):
        raise ReferenceFileError(f"{path} has {stamp[0]} bytes, the CRDS catalog says {entry.size}: {cure}")
    sha1 = recorded if recorded and recorded_stamp == stamp else sha1_of(path)
    if entry.sha1 not in (None, sha1):
        raise ReferenceFileError(f"{path} has the checksum {sha1}, the CRDS catalog says {entry.sha1}: {cure}")
    if entry.sha1 is None and recorded not in (None, sha1):
        raise ReferenceFileError(
            f"{path} changed under its name: its checksum is {sha1}, {recorded} was recorded: {cure} "
            f"(to accept it as it is, remove {records.path(path.name)})"
        )
    if recorded_stamp != stamp:
        records.write(path, sha1, stamp)
    found = ReferenceFile(path.name, path, sha1, stamp[0])
    _seen[path] = (stamp, found)
    return found
