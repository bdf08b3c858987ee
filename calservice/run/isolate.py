"""`Isolate`: every stage in a process of its own, forked from a warm one.

A worker keeps one *warm* process (see `calservice.run.warm`), which has imported what stages need (seconds of imports,
once) and forks a child for every stage. The child ends with its stage. So nothing leaks from exposure to exposure,
the peak memory of each stage is measured by the kernel, the global state of crds, stpipe and logging never meets that
of another stage, code that holds the interpreter lock cannot make the worker look dead to its scheduler, and a child
that is killed for its memory is an outcome instead of a lost worker.

`multiprocessing` is not used because a worker under a Dask nanny is a daemonic process, which may not have
children of that kind.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import pickle
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calservice.model.errors import EngineError, TransientError

__all__ = ["ChildEnd", "Isolate", "shared"]

_NATIVE = (
    "calservice.run.stage",
    "calservice.run.recipe",
    "calservice.references.cache",
    "calservice.references.pinned",
    "fsspec.implementations.local",
    "calservice.run.ready:ready",
)
_OFFICIAL = ("jwst.pipeline", "jwst.step")
_LOOK = 0.2
"""Seconds between two looks at whether a call is still wanted."""
_GRACE = 5.0
"""Seconds for a child or the warm process to end after it was told to."""


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended.

    Attributes
    ----------
    code, signal : int
        Exit code, and the signal that killed it (0: none).
    peak_memory : int
        Peak resident bytes, as the kernel counted them.
    result : object
        What the function returned.
    fault : str
        What it raised instead, for people.
    """

    code: int
    signal: int
    peak_memory: int
    result: Any = None
    fault: str = ""

    @property
    def cause(self) -> str:
        """Why there is no result, for people."""
        if self.fault:
            return self.fault
        if self.signal == signal.SIGKILL:
            return (
                f"its process was killed (signal 9) after reaching {self.peak_memory / 2**30:.1f} GiB, "
                "most likely for lack of memory. Give the worker more memory, or fewer tasks at a time."
            )
        if self.signal == signal.SIGBUS:
            return "a file became shorter while it was read (signal 7). Submit again once nobody writes to it."
        if self.signal:
            return f"its process was ended by signal {self.signal} ({signal.Signals(self.signal).name})"
        return f"its process ended with status {self.code} without a result"


class Isolate:
    """The warm process of this worker, and the way to run functions in its children.

    Parameters
    ----------
    modules : sequence of str
        Modules that the warm process imports before its first child; with ``:name``, it also calls that function.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, int] | None]] = {}
        self._count = 0
        self._ready = False
        self._fault = ""
        # -P: the current folder must not shadow modules (an input folder may hold anything)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "calservice.run.warm", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name="calservice-isolate", daemon=True)
        self._listener.start()

    @property
    def alive(self) -> bool:
        """Whether the warm process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process ID of the warm process."""
        return self._process.pid

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        before: Callable[..., object] | None = None,
        folder: Path | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> ChildEnd:
        """Call ``function(*args)`` in a child and wait for its end.

        Parameters
        ----------
        function, *args
            What to call. Function, arguments and result must be picklable.
        before : callable, optional
            Called with the same arguments in the warm process, for what this child and later ones inherit. Whatever it
            raises is passed over: the child will meet it, too.
        folder : Path, optional
            Where request and answer are passed; the system's temporary folder by default.
        stopped : callable, optional
            Asked now and then; once it says yes, the child is killed.

        Raises
        ------
        EngineError
            Where the warm process cannot import what stages need.
        TransientError
            Where the warm process was lost, or the call is not wanted any more.
        """
        with tempfile.TemporaryDirectory(prefix="calservice-call-", dir=folder) as place:
            request = Path(place, "request")
            request.write_bytes(pickle.dumps((function, args, before)))
            reply = self._ask(request, stopped)
            answer = Path(place, "answer")
            # written by our own child
            fault, result = pickle.loads(answer.read_bytes()) if answer.exists() else ("", None)
        return ChildEnd(reply["code"], reply["signal"], reply["peak"], result, fault)

    def close(self) -> None:
        """End the warm process and its children."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._ready:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GRACE)
        self._process.kill()
        self._process.wait()

    def _ask(self, request: Path, stopped: Callable[[], bool] | None) -> dict[str, int]:
        waiting: Future[dict[str, int] | None] = Future()
        with self._lock:
            self._count += 1
            number = self._count
            self._waiting[number] = waiting
        self._send({"id": number, "request": str(request)})
        reply = self._await(number, waiting, stopped)
        if reply is None:
            self._process.wait()
            if self._fault:
                raise EngineError(f"{self._fault}. Reinstall it on {platform.node()}: pip install 'calservice[jwst]'")
            raise TransientError("the process that stages are forked from was lost. Submit again.")
        return reply

    def _await(
        self, number: int, waiting: Future[dict[str, int] | None], stopped: Callable[[], bool] | None
    ) -> dict[str, int] | None:
        while True:
            with contextlib.suppress(TimeoutError):
                return waiting.result(None if stopped is None else _LOOK)
            if stopped is not None and stopped():
                break
        self._send({"id": number, "kill": True})
        if self._ready:  # else no child runs yet, and none will
            try:
                waiting.result(_GRACE)
            except TimeoutError:
                self.close()
        with self._lock:
            self._waiting.pop(number, None)
        raise TransientError("stopped: nobody waits for it any more")

    def _send(self, line: dict[str, Any]) -> None:
        """Write a line; where the warm process is gone, `_listen` resolves all that wait."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        if not self.alive:
            self._listener.join()
            self._lose()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            if "id" not in reply:
                self._ready = reply.get("ready", False)
                self._fault = reply.get("fault", "")
                continue
            with self._lock:
                waiting = self._waiting.pop(reply.pop("id"), None)
            if waiting is not None:
                waiting.set_result(reply)
        self._process.wait()
        self._lose()

    def _lose(self) -> None:
        """Tell all that wait that there is nothing to wait for."""
        with self._lock:
            lost, self._waiting = self._waiting, {}
        for waiting in lost.values():
            waiting.set_result(None)


_shared: dict[bool, Isolate] = {}
_shared_lock = threading.Lock()


def shared(official: bool) -> Isolate:
    """Return the warm process of this worker, started on first use and again should it have died.

    Parameters
    ----------
    official : bool
        Whether stages may need the jwst package; importing it takes ten seconds, once.
    """
    with _shared_lock:
        held = _shared.get(True) or _shared.get(official)
        if held is None or not held.alive:
            held = _shared[official] = Isolate((*_NATIVE, *_OFFICIAL) if official else _NATIVE)
        return held


@atexit.register
def _close_shared() -> None:
    for held in _shared.values():
        held.close()
