"""`Isolate`: every stage in a process of its own, forked from a warm one.

A worker keeps one *warm* process, which has imported what stages need (seconds of imports, once) and forks a child for
every stage. The child ends with its stage. So nothing leaks from exposure to exposure, the peak memory of each stage is
measured by the kernel, the global state of crds, stpipe and logging never meets that of another stage, code that
holds the interpreter lock cannot make the worker look dead to its scheduler, and a child that is killed for
its memory is an outcome instead of a lost worker.

The warm process is started by ``python -m calservice.run.isolate`` and talks in lines of JSON on its standard streams:
requests ``{"id": n, "request": path}``, replies ``{"id": n, "code": c, "signal": s, "peak": bytes}``. The request file
is a pickle written by the same user in a private folder. When its standard input closes - the worker is gone, by
``kill -9`` too - it kills its children and ends.

`multiprocessing` is not used because a worker under a Dask nanny is a daemonic process, which may not have
children of that kind.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pickle
import selectors
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

__all__ = ["ChildEnd", "Isolate", "shared"]

_NATIVE = ("calservice.run.stage", "calservice.steps.registry", "stdatamodels.jwst.datamodels")
_OFFICIAL = ("jwst.pipeline", "jwst.step")


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended: exit code, the signal that killed it (0: none), peak resident bytes, its result."""

    code: int
    signal: int
    peak_memory: int
    result: Any

    @property
    def cause(self) -> str:
        """Why there is no result, for people."""
        if self.signal == signal.SIGKILL:
            return (
                f"its process was killed (signal 9) after reaching {self.peak_memory / 2**30:.1f} GiB, "
                "most likely for lack of memory. Give the worker more memory, or fewer tasks at a time."
            )
        if self.signal:
            return f"its process was ended by signal {self.signal} ({signal.Signals(self.signal).name})"
        return f"its process ended with status {self.code} without a result"


class Isolate:
    """The warm process of this worker, and the way to run functions in its children.

    Parameters
    ----------
    modules : sequence of str
        Modules that the warm process imports before its first child.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[dict[str, int]]] = {}
        self._count = 0
        # -P: the current folder must not shadow modules (an input folder may hold anything)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "calservice.run.isolate", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._listen, name="calservice-isolate", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the warm process runs."""
        return self._process.poll() is None

    def run(self, function: Callable[..., Any], *args: Any) -> ChildEnd:
        """Call ``function(*args)`` in a child and wait for its end.

        Function, arguments and result must be picklable. A result that is an exception is returned, not raised.
        """
        with tempfile.TemporaryDirectory(prefix="calservice-call-") as folder:
            request = Path(folder, "request")
            request.write_bytes(pickle.dumps((function, args)))
            reply = self._ask(request)
            answer = Path(folder, "answer")
            result = pickle.loads(answer.read_bytes()) if answer.exists() else None  # written by our own child
        return ChildEnd(reply["code"], reply["signal"], reply["peak"], result)

    def close(self) -> None:
        """End the warm process and its children."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._process.kill()

    def _ask(self, request: Path) -> dict[str, int]:
        waiting: Future[dict[str, int]] = Future()
        with self._lock:
            self._count += 1
            number = self._count
            self._waiting[number] = waiting
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"id": number, "request": str(request)}) + "\n")
                self._process.stdin.flush()
            except OSError:
                self._waiting.pop(number)
                return {"code": self._process.wait(), "signal": 0, "peak": 0}
        return waiting.result()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            with self._lock:
                waiting = self._waiting.pop(reply.pop("id"))
            waiting.set_result(reply)
        code = self._process.wait()
        with self._lock:
            lost, self._waiting = self._waiting, {}
        for waiting in lost.values():
            waiting.set_result({"code": max(code, 0), "signal": max(-code, 0), "peak": 0})


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


class _Warm:
    """The warm process: forks a child for every request line and reports its end."""

    def __init__(self) -> None:
        self.children: dict[int, int] = {}
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what libraries print must not reach the worker as a reply
        self.buffer = b""

    def serve(self) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watch = selectors.DefaultSelector()
        watch.register(0, selectors.EVENT_READ)
        watch.register(read_end, selectors.EVENT_READ)
        while True:
            for key, _ in watch.select():
                if key.fd == read_end:
                    with contextlib.suppress(BlockingIOError):
                        os.read(read_end, 4096)
                elif not self._requests(watch, (read_end, write_end)):
                    return self._end()
            self._reap()

    def _requests(self, watch: selectors.BaseSelector, pipes: tuple[int, int]) -> bool:
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                watch.close()
                _child(Path(request["request"]), (0, *pipes))
            self.children[pid] = request["id"]
        return True

    def _reap(self) -> None:
        while self.children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.children.pop(pid, None)
            if number is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            reply = {"id": number, "code": max(code, 0), "signal": max(-code, 0), "peak": usage.ru_maxrss * unit}
            self.out.write(json.dumps(reply) + "\n")

    def _end(self) -> None:
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _child(request: Path, inherited: tuple[int, ...]) -> None:
    """Run one request in this freshly forked process and end it."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in inherited:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        os.open(os.devnull, os.O_RDONLY)
        function, args = pickle.loads(request.read_bytes())
        result = function(*args)
        part = request.with_name("answer.part")
        part.write_bytes(pickle.dumps(result))
        part.rename(request.with_name("answer"))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(modules: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    _Warm().serve()


if __name__ == "__main__":
    _main(sys.argv[1:])
