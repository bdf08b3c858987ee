"""Locks of files that are being fetched and of contexts that are in use; sweeping up after killed processes.

The kernel (or the file server) drops a lock when its holder dies. Where a file system has no locks, two may
download the same file, and both files are right.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from calservice.model.errors import TransientError
from calservice.references.server import Patience, setting

__all__ = ["free", "hold", "in_use", "is_leftover", "locked", "remove_leftover", "sweep"]

log = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_DAY = 86400.0


@contextmanager
def locked(
    path: Path,
    patience: Patience,
    *,
    whether_there: bool = False,
    stopped: threading.Event | None = None,
) -> Iterator[bool | None]:
    """Hold the lock of a file that is to be fetched.

    Parameters
    ----------
    path : Path
        The file.
    patience : Patience
        How long to wait for another holder.
    whether_there : bool
        Wait for the lock although the file is there.
    stopped : Event, optional
        Ends the waiting.

    Yields
    ------
    bool or None
        None if the file has come to be there instead, False where the file system has no locks.
    """
    lock = _lock_of(path)
    file, held = _acquired(lock, path, patience, whether_there, stopped)
    try:
        yield held
    finally:
        if file is not None:
            lock.unlink(missing_ok=True)
            file.close()


def _lock_of(path: Path) -> Path:
    return path.with_name(f".lock_{path.name}")


def _acquired(
    lock: Path, path: Path, patience: Patience, whether_there: bool, stopped: threading.Event | None
) -> tuple[IO[bytes] | None, bool | None]:
    """Return the lock, open, and whether it holds; (None, None) once the file is there."""
    started = time.monotonic()
    while whether_there or not path.exists():
        file = lock.open("a+b")
        held = _tried(file, lock)
        if held is not None:
            return file, held
        file.seek(0)
        holder = file.read().decode(errors="replace") or "another process"
        file.close()
        if time.monotonic() - started > patience.wait or (stopped is not None and stopped.is_set()):
            raise TransientError(
                f"{path.name} is still being fetched by {holder} (lock {lock}); gave up waiting "
                f"after {time.monotonic() - started:.3g} s. Try again later, or end that process"
            )
        time.sleep(patience.poll)
    return None, None


def _tried(file: IO[bytes], lock: Path) -> bool | None:
    """Take the lock if it is free. False where the file system has no locks, None if somebody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_ino == lock.stat().st_ino:  # not one just removed
            file.truncate(0)
            since = time.strftime("%F %T %z")
            file.write(f"process {os.getpid()} on {platform.node()} since {since}".encode())
            file.flush()
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        file.close()
        raise
    return None


@contextmanager
def free(path: Path) -> Iterator[bool]:
    """Hold the lock of a file while it is removed, if nobody else has it; yields whether."""
    lock = _lock_of(path)
    with lock.open("a+b") as file:
        held = _tried(file, lock)
        try:
            yield held is not None
        finally:
            if held is not None:
                lock.unlink(missing_ok=True)


def sweep(path: Path, *, held: bool) -> None:
    """Remove what killed downloads left: of this file if its lock is held, or untouched for a day."""
    own = re.compile(re.escape(f".tmp_{path.name}_") + "[0-9a-f]{32}")
    for left in path.parent.glob(".tmp_*"):
        try:
            if (held and own.fullmatch(left.name)) or time.time() - left.stat().st_mtime > _DAY:
                left.unlink()
        except FileNotFoundError:
            continue


def _whose(path: Path) -> Path | None:
    """Return the file for whose download a hidden file was made; None where it was not one of ours."""
    own = re.fullmatch(r"\.tmp_(.+)_[0-9a-f]{32}|\.lock_(.+)", path.name)
    return path.with_name(own[1] or own[2]) if own else None


def is_leftover(path: Path) -> bool:
    """Whether a file that a download made for itself (``.tmp_…``, ``.lock_…``) has been left by a killed process."""
    target = _whose(path)
    try:
        if target is None:
            return path.name.startswith(".tmp_") and time.time() - path.stat().st_mtime > _DAY
        lock = _lock_of(target)
        if not lock.exists():  # a download holds a lock, but for where there are none
            return time.time() - path.stat().st_mtime > 60
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return False
    except OSError:  # held, or no locks here
        return time.time() - path.stat().st_mtime > _DAY if path.exists() else False


def remove_leftover(path: Path) -> bool:
    """Remove what a killed process left, unless somebody works on that file by now; return whether."""
    if not is_leftover(path):
        return False
    target = _whose(path)
    if target is None:
        path.unlink()
        return True
    with free(target) as ours:  # and with it goes the lock
        if ours:
            path.unlink(missing_ok=True)
        return ours


_holding: dict[Path, IO[bytes]] = {}


def hold(cache: Path, context: str) -> None:
    """Mark a context as in use, as long as this process lives or one that it forks: `prune` spares its files.

    A cache that this process can neither write nor lock is used without.
    """
    place = cache / ".calservice" / "in_use" / context
    if place in _holding:
        return
    try:
        if not setting("CRDS_READONLY_CACHE"):
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        file = place.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        _holding[place] = file
    except OSError as error:
        log.debug("%s cannot be marked as in use: %s", context, error)


def in_use(cache: Path) -> tuple[str, ...]:
    """Return the contexts that processes, on any host, have marked as in use."""
    found = []
    for place in sorted((cache / ".calservice" / "in_use").glob("*.pmap")):
        try:
            with place.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(place.name)
        except OSError as error:
            log.debug("whether %s is in use cannot be told: %s", place.name, error)
    return tuple(found)
