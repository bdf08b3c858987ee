"""What the tests of the isolate call in children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

counter = 0


def power(base: int, exponent: int) -> int:
    return base**exponent


def pid() -> int:
    return os.getpid()


def refuse(message: str) -> None:
    raise ValueError(message)


def unpicklable() -> object:
    return lambda: None


def count() -> int:
    global counter  # noqa: PLW0603 - what must not leak
    counter += 1
    return counter


def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def fill(megabytes: int) -> int:
    return len(b"\1" * (megabytes * 2**20))


def meet(name: str, others: list[str]) -> str:
    """Return once all the others are here too."""
    Path(name).touch()
    end = time.monotonic() + 20
    while not all(Path(other).exists() for other in others):
        if time.monotonic() > end:
            raise TimeoutError("the others did not come")
        time.sleep(0.01)
    return name


def note_and_wait(path: str) -> None:
    _note(path, os.getpid())
    signal.pause()


def start_and_wait(path: str) -> None:
    started = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    _note(path, started.pid)
    signal.pause()


def _note(path: str, number: int) -> None:
    part = Path(f"{path}.part")
    part.write_text(str(number))
    part.rename(path)
