"""Downloads: one file brought whole, compared with its checksum, and only then given its name."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from calservice.model.errors import CalserviceError, OutputError, ReferenceFileError
from calservice.references.locks import locked, sweep
from calservice.references.records import Entry, hashed, temporary_name
from calservice.references.server import Patience, opened, retried

__all__ = ["Counter", "Download", "Progress", "all_at_once"]

Progress = Callable[[str, int, int], None]
"""Called with (file name, bytes so far of all downloads, bytes of all downloads), from one thread at a time."""
T = TypeVar("T")


class Counter:
    """Bytes so far of all downloads, told to the caller from one thread at a time."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self.so_far, self.total, self.report = 0, total, report
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def __call__(self, name: str, size: int) -> None:
        """Count bytes of a file; negative ones were in vain."""
        with self.lock:
            self.so_far += size
            if self.report is not None:
                self.report(name, self.so_far, self.total)

    def spare(self, size: int) -> None:
        """Leave out a file that another process brought."""
        with self.lock:
            self.total -= size


@dataclass(frozen=True)
class Download:
    """One file to bring.

    Attributes
    ----------
    path : Path
        Where to.
    url : str
        Where from.
    entry : Entry
        What it must be.
    patience : Patience
        How long to wait, and how often to try.
    count : Counter
        Told of the bytes that come.
    replace : bool
        Whether a file that is there but is not what it must be is replaced.
    """

    path: Path
    url: str
    entry: Entry
    patience: Patience
    count: Counter = field(default_factory=lambda: Counter(0, None))
    replace: bool = False

    def run(self) -> str | None:
        """Bring the file; return its checksum, None if another process brought it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path, self.patience, whether_there=self.replace, stopped=self.count.stopped) as held:
                if held is not None and not self._is_there():
                    return self._bring(held=held)
        except OSError as error:
            raise self._explained(error) from error
        self.count.spare(self.entry.size or 0)
        return None

    def _is_there(self) -> bool:
        if not self.path.exists():
            return False
        return not self.replace or hashed(self.path)[0] == self.entry.sha1

    def _bring(self, *, held: bool) -> str:
        """Download, compare, publish; a corrupt download is thrown away and tried again."""
        sweep(self.path, held=held)
        temporary = temporary_name(self.path)
        what = f"cannot fetch {self.url}"
        try:
            for attempt in range(self.patience.attempts):
                if attempt:
                    time.sleep(self.patience.pause * 2 ** (attempt - 1))
                sha1, size = retried(what, lambda: self._stream(temporary), self.patience)
                if self.entry.size in (None, size) and self.entry.sha1 in (None, sha1):
                    os.replace(temporary, self.path)
                    return sha1
                self.count(self.path.name, -size)
        finally:
            temporary.unlink(missing_ok=True)
        raise ReferenceFileError(
            f"{self.url} is corrupt: {size} bytes with checksum {sha1}, the catalog says "
            f"{self.entry.size} with {self.entry.sha1} ({self.patience.attempts} attempts, none kept). "
            "Try again later, or use the other server (--server ops, --server pub)"
        )

    def _stream(self, temporary: Path) -> tuple[str, int]:
        digest, size, name = hashlib.sha1(usedforsecurity=False), 0, self.path.name
        try:
            with (
                opened(self.url, self.patience) as answer,
                temporary.open("wb") as file,
            ):
                promised = answer.headers.get("Content-Length")
                while chunk := answer.read1(1 << 20):
                    if self.count.stopped.is_set():
                        raise ReferenceFileError(f"{name}: the download was stopped")
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    self.count(name, len(chunk))
                if promised is not None and size != int(promised):
                    raise ConnectionError(f"only {size} of {promised} bytes came")
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.count(name, -size)
            raise
        return digest.hexdigest(), size

    def _explained(self, error: OSError) -> CalserviceError:
        name, folder = self.path.name, self.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            need = f" ({self.entry.size} bytes)" if self.entry.size else ""
            return OutputError(
                f"no space for {name}{need} in {folder}: {error.strerror}. Make room (calservice references prune), "
                "or use a larger cache (CRDS_PATH)"
            )
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return ReferenceFileError(
                f"{name} is not in the CRDS cache, and {folder} cannot be written "
                f"({error.strerror}): fetch it from where the cache is writable"
            )
        return ReferenceFileError(f"{name} cannot be brought into {folder}: {error}")


def all_at_once(
    actions: Iterable[Callable[[], T]], jobs: int, stopped: threading.Event | None = None
) -> tuple[list[T], list[CalserviceError]]:
    """Return the results of all actions that succeed, and the problems of the others.

    An interruption sets ``stopped``, leaves out what did not begin, and is raised once what began has ended.
    """
    problems: list[CalserviceError] = []
    results: list[T] = []
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        try:
            for future in [pool.submit(action) for action in actions]:
                try:
                    results.append(future.result())
                except CalserviceError as error:
                    problems.append(error)
        except BaseException:
            if stopped is not None:
                stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results, problems
