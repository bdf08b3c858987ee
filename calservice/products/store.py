"""`Store`: a folder of files behind a path or URL (anything fsspec knows), written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from blake3 import blake3

from calservice.model.errors import CalserviceError, InputError, OutputError, TransientError
from calservice.model.exposure import FileStat
from calservice.model.names import is_url, shown

__all__ = ["Store", "checksum", "flush", "is_url", "parent_of", "shown"]

_CHUNK = 4 * 1024 * 1024
_PIECE = 256 * 1024
_MAPPED = 4 * 1024**2
"""Bytes of a file that are mapped at a time."""
_TRANSIENT = (ConnectionError, TimeoutError)
_PART = ".part-"


def parent_of(place: str) -> str:
    """Return the folder of a path or URL."""
    if is_url(place):
        head, _, _ = place.rstrip("/").rpartition("/")
        return head
    return str(Path(place).parent)


def checksum(path: Path, threads: int = 1) -> str:
    """Return the BLAKE3 checksum of a local file, in hexadecimal: as safe as SHA-256, at a quarter of the time.

    The file is mapped, part by part: nothing is copied, and no more of it counts as memory of the process. Should
    another process make it shorter meanwhile, the kernel ends this one (SIGBUS).
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest = blake3(max_threads=threads)
        try:
            for at in range(0, size, _MAPPED):
                part = mmap.mmap(file.fileno(), min(_MAPPED, size - at), access=mmap.ACCESS_READ, offset=at)
                with part:
                    digest.update(part)
        except (OSError, ValueError):  # a file system without mappings, or a file that became shorter
            return _summed(file)
    return digest.hexdigest()


def flush(file: IO[bytes]) -> None:
    """Have the content of a file on the disk; its times may be lost, where the system keeps these apart."""
    getattr(os, "fdatasync", os.fsync)(file.fileno())


def _summed(file: Any) -> str:
    digest, room = blake3(), memoryview(bytearray(_PIECE))
    while count := file.readinto(room):
        digest.update(room[:count])
    return digest.hexdigest()


class Store:
    """A folder of files.

    Parameters
    ----------
    place : str or Path
        Local path, ``file://`` URL or any URL that fsspec serves (``s3://bucket/prefix``). Credentials come from the
        environment of the process, never from here.

    Raises
    ------
    InputError
        Where the URL's scheme is unknown or what serves it is not installed.
    """

    def __init__(self, place: str | Path) -> None:
        import fsspec

        self.url = str(place).rstrip("/") or "/"
        try:
            self.fs, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as fault:
            raise InputError(f"{shown(self.url)}: cannot be opened: {fault}") from None
        self.local = "file" in _protocols(self.fs)
        self.root = str(Path(root)) if self.local else root.rstrip("/")

    def __repr__(self) -> str:
        return f"Store({shown(self.url)!r})"

    def path(self, name: str) -> Path:
        """Return the local path of a file of a local store."""
        return Path(self.root) / name

    def join(self, name: str) -> str:
        """Return the path or URL of a file."""
        return str(self.path(name)) if self.local else f"{self.url}/{name}"

    def listing(self, *, deep: bool = False) -> dict[str, FileStat]:
        """List the files by name (with ``deep``, those of sub-folders too, by relative name).

        Raises
        ------
        InputError
            Where the folder does not exist or may not be listed.
        TransientError
            Where the store did not answer.
        """
        if self.local:
            return dict(self._local_listing(deep))
        with self._faults(InputError, "cannot be listed"):
            self.fs.invalidate_cache(self.root)
            try:  # not find(maxdepth=1): that takes what it may not list for empty
                entries = self.fs.find(self.root, detail=True).values() if deep else self.fs.ls(self.root, detail=True)
            except FileNotFoundError:  # an object store has no folders, only names
                return {}
        offset = len(self.root) + 1
        return {
            name[offset:]: FileStat(f"{self.url}/{name[offset:]}", int(info.get("size") or 0), _stamp(info))
            for name, info in ((str(entry["name"]), entry) for entry in entries)
            if info.get("type") == "file" and len(name) > offset and _PART not in name
        }

    def _local_listing(self, deep: bool) -> Iterator[tuple[str, FileStat]]:
        root = Path(self.root)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder")
        try:
            for place, folders, files in os.walk(root, onerror=_raise):
                folders[:] = sorted(f for f in folders if not f.startswith(".")) if deep else []
                for leaf in sorted(files):
                    path = Path(place, leaf)
                    if _PART in leaf or not path.is_file():
                        continue
                    info = path.stat()
                    name = path.relative_to(root).as_posix()
                    yield name, FileStat(str(path), info.st_size, str(info.st_mtime_ns))
        except OSError as fault:
            raise InputError(f"{root}: cannot be listed: {fault.strerror}") from None

    def stat(self, name: str) -> FileStat | None:
        """Return what is known of one file, or None where it does not exist."""
        if self.local:
            path = self.path(name)
            if not path.is_file():
                return None
            info = path.stat()
            return FileStat(str(path), info.st_size, str(info.st_mtime_ns))
        with self._faults(InputError, f"{name} cannot be looked up"):
            self.fs.invalidate_cache(self.root)
            try:
                info = self.fs.info(f"{self.root}/{name}")
            except FileNotFoundError:
                return None
        return FileStat(self.join(name), int(info.get("size") or 0), _stamp(info))

    def read(self, name: str) -> bytes:
        """Return the content of a (small) file."""
        with self._faults(InputError, f"{name} cannot be read"):
            content: bytes = self.fs.cat_file(f"{self.root}/{name}")
        return content

    def open(self, name: str, block: int = 512 * 1024) -> IO[bytes]:
        """Open a file for reading; remote ones by ranges of ``block`` bytes."""
        with self._faults(InputError, f"{name} cannot be opened"):
            if self.local:
                return open(self.path(name), "rb")
            file: IO[bytes] = self.fs.open(f"{self.root}/{name}", "rb", block_size=block, cache_type="readahead")
        return file

    def checksum(self, name: str) -> str:
        """Return the `checksum` of a file, which is read whole."""
        with self.open(name, block=_CHUNK) as file:
            return _summed(file)

    def fetch(self, name: str, folder: Path) -> Path:
        """Bring a file to a local folder; a file that is local already is linked, not copied."""
        target = folder / PurePosixPath(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.local:
            target.symlink_to(self.path(name).resolve())
            return target
        with self._faults(InputError, f"{name} cannot be fetched"):
            self.fs.get_file(f"{self.root}/{name}", str(target))
        return target

    def publish(self, path: Path, name: str) -> FileStat:
        """Write a local file into the store under ``name``: whole or not at all, replacing what is there.

        The file is moved where the store is a folder of the same file system, else copied to a temporary name and
        renamed; in object stores the upload itself is atomic.
        """
        with self._faults(OutputError, f"{name} cannot be written"):
            if self.local:
                self._publish_local(path, self.path(name))
            else:
                self.fs.put_file(str(path), f"{self.root}/{name}")
        found = self.stat(name)
        if found is None or (self.local and found.size == 0):
            raise TransientError(f"{shown(self.url)}: {name} was written but is not there")
        return found

    def _publish_local(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _part_of(target)
        with open(path, "rb") as source, ExitStack() as earlier:
            _hold(source)  # the lock is that of the file, under any of its names
            if target.is_file():  # held until after it is replaced: freeing it takes time, and locks the folder
                with suppress(OSError):
                    earlier.enter_context(open(target, "rb"))
            try:
                os.link(path, part)
            except OSError:
                _write_local(target, lambda file: shutil.copyfileobj(source, file, _CHUNK))
                return
            try:
                flush(source)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)

    def write(self, content: bytes, name: str) -> None:
        """Write a small file whole or not at all."""
        with self._faults(OutputError, f"{name} cannot be written"):
            if not self.local:
                self.fs.pipe_file(f"{self.root}/{name}", content)
                return
            target = self.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_local(target, lambda file: file.write(content))

    def remove(self, name: str) -> None:
        """Remove a file; it is no fault if it is not there."""
        with self._faults(OutputError, f"{name} cannot be removed"):
            try:
                self.fs.rm_file(f"{self.root}/{name}")
            except FileNotFoundError:
                return

    def sweep(self) -> None:
        """Remove the temporary files of writers that were killed; a living one holds a lock on its own."""
        for part in Path(self.root).glob(f".*{_PART}*") if self.local else ():
            try:
                with open(part, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
            except OSError:  # in use, or gone, or there are no locks here
                continue

    def check_writable(self) -> None:
        """Write and remove a small file; folders that this needs are removed again too.

        Raises
        ------
        OutputError
            Where that fails, with the cause.
        """
        name = f"calservice-{uuid.uuid4().hex[:8]}.probe"
        if self.local:
            folders = (Path(self.root), *Path(self.root).parents)
            missing = list(takewhile(lambda folder: not folder.exists(), folders))
            blocker = next(iter(folders[len(missing) :]), None)
            if blocker is not None and not blocker.is_dir():
                raise OutputError(f"{self.root}: cannot be written: {blocker} is a file. Name a folder (--output).")
        self.write(b"probe", name)
        self.remove(name)
        for folder in missing if self.local else ():
            with suppress(OSError):  # another writer needs it
                folder.rmdir()

    @contextmanager
    def _faults(self, kind: type[CalserviceError], what: str) -> Iterator[None]:
        """Translate the faults of file systems and stores into ours, without secrets."""
        try:
            yield
        except CalserviceError:
            raise
        except _TRANSIENT as fault:
            raise TransientError(f"{shown(self.url)}: {what}: {_cause(fault)}") from None
        except OSError as fault:
            if fault.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutputError(f"{shown(self.url)}: {what}: no space left. Free some, then submit again.") from None
            cure = " Check the credentials." if isinstance(fault, PermissionError) and not self.local else ""
            raise kind(f"{shown(self.url)}: {what}: {_cause(fault)}.{cure}".removesuffix(".")) from None
        except Exception as fault:  # noqa: BLE001 - stores raise what their client libraries raise: name, do not leak
            name = type(fault).__name__
            passing = any(word in name for word in ("Connect", "Timeout", "SlowDown", "ServerError"))
            raise (TransientError if passing else kind)(f"{shown(self.url)}: {what}: {name}: {_cause(fault)}") from None


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}{_PART}{uuid.uuid4().hex[:8]}")


def _hold(file: IO[bytes]) -> None:
    """Lock a file for as long as it is open, where the file system has locks: see `Store.sweep`."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def _write_local(target: Path, fill: Callable[[IO[bytes]], object]) -> None:
    part = _part_of(target)
    try:
        with open(part, "xb") as file:
            _hold(file)
            fill(file)
            file.flush()
            os.fsync(file.fileno())
            try:
                os.replace(part, target)
            except FileNotFoundError:  # swept in the instant before it was locked
                raise TransientError(f"{target}: its temporary file is gone") from None
    finally:
        part.unlink(missing_ok=True)


def _raise(fault: OSError) -> None:
    raise fault


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "last_modified", "mtime", "created"):
        if info.get(key):
            return str(info[key]).strip('"')
    return ""


def _cause(fault: BaseException) -> str:
    if isinstance(fault, PermissionError):
        return "permission denied"
    if isinstance(fault, FileNotFoundError):
        return "no such file or folder"
    return (getattr(fault, "strerror", None) or str(fault) or type(fault).__name__).splitlines()[0]
