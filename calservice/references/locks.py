"""Locks of files that are being fetched, and sweeping up after processes that were killed.

The kernel (or the file server) drops a lock when its holder dies. Where a file system has no locks, two may
download the same file, and both files are right.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from calservice.model.errors import TransientError
from calservice.references.server import Patience

__all__ = ["locked", "sweep"]


@contextmanager
def locked(path: Path, patience: Patience) -> Iterator[bool | None]:
    """Hold the lock of a file that is to be fetched.

    Yields
    ------
    bool or None
        None if the file has come to be there instead, False where the file system has no locks.
    """
    lock = path.with_name(f".lock_{path.name}")
    file, held = _acquired(lock, path, patience)
    try:
        yield held
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)
            file.close()


def _acquired(lock: Path, path: Path, patience: Patience) -> tuple[IO[bytes] | None, bool | None]:
    """Return the lock, open, and whether it holds; (None, None) once the file is there."""
    started = time.monotonic()
    while not path.exists():
        file = lock.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == lock.stat().st_ino:  # not one just removed
                file.truncate(0)
                since = time.strftime("%F %T %z")
                file.write(f"process {os.getpid()} on {platform.node()} since {since}".encode())
                file.flush()
                return file, True
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                return file, False
            file.close()
            raise
        file.seek(0)
        holder = file.read().decode(errors="replace") or "another process"
        file.close()
        if time.monotonic() - started > patience.wait:
            raise TransientError(
                f"{path.name} is still being fetched by {holder} (lock {lock}); gave up waiting "
                f"after {patience.wait:g} s"
            )
        time.sleep(patience.poll)
    return None, None


def sweep(path: Path, *, held: bool) -> None:
    """Remove what killed downloads left: of this file if its lock is held, or untouched for a day."""
    own = re.compile(re.escape(f".tmp_{path.name}_") + "[0-9a-f]{32}")
    for left in path.parent.glob(".tmp_*"):
        try:
            if (held and own.fullmatch(left.name)) or time.time() - left.stat().st_mtime > 86400:
                left.unlink()
        except FileNotFoundError:
            continue
