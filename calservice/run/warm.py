"""The warm process of a worker: it imports once what stages need, and forks a child for every call.

The warm process is started by ``python -m calservice.run.warm`` and talks in lines of JSON on its standard streams.
It begins with ``{"ready": true}``, or with ``{"fault": text}`` where an import failed, and ends then. Requests are
``{"id": n, "request": path}``, with the reply ``{"id": n, "code": c, "signal": s, "peak": bytes}``, and
``{"id": n, "kill": true}``, after which that reply comes early. The request file is a pickle written by the same user
in a private folder. When its standard input closes - the worker is gone, by ``kill -9`` too - it kills its children and
ends; should it be killed itself, the kernel kills them. It leads a session of its own, so that Ctrl-C on a terminal
reaches the worker only, which then decides.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pickle
import selectors
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["Warm"]

_PR_SET_PDEATHSIG = 1


class Warm:
    """The warm process: forks a child for every request line and reports its end."""

    def __init__(self) -> None:
        self.children: dict[int, int] = {}
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)  # what libraries print must not reach the worker as a reply
        self.buffer = b""

    def say(self, **line: Any) -> None:
        """Write a line to the worker; should it be gone, standard input tells so too."""
        with contextlib.suppress(BrokenPipeError):
            self.out.write(json.dumps(line) + "\n")

    def serve(self) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        signal.set_wakeup_fd(write_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watch = selectors.DefaultSelector()
        watch.register(0, selectors.EVENT_READ)
        watch.register(read_end, selectors.EVENT_READ)
        self.say(ready=True)
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
        requests = [json.loads(line) for line in lines]
        unwanted = {r["id"] for r in requests if "kill" in r}
        for pid in [pid for pid, number in self.children.items() if number in unwanted]:
            _kill(pid)
        for request in requests:
            if "kill" in request or request["id"] in unwanted:
                continue
            place = Path(request["request"])
            _prepare(place)
            parent, pid = os.getpid(), os.fork()
            if pid == 0:
                watch.close()
                _child(place, parent, (0, self.out.fileno(), *pipes))
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
            self.say(id=number, code=max(code, 0), signal=max(-code, 0), peak=usage.ru_maxrss * unit)

    def _end(self) -> None:
        for pid in self.children:
            _kill(pid)


def _kill(pid: int) -> None:
    """Kill a child and what it started; it may not lead its group yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _prepare(request: Path) -> None:
    """Do what this process is asked to do before the child is forked."""
    with contextlib.suppress(Exception):  # which the child will meet, too, and tell of
        _, args, before = pickle.loads(request.read_bytes())
        if before is not None:
            before(*args)


def _child(request: Path, parent: int, inherited: tuple[int, ...]) -> None:
    """Run one request in this freshly forked process and end it."""
    code = 1
    try:
        os.setpgid(0, 0)
        _die_with(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in inherited:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        os.open(os.devnull, os.O_RDONLY)
        function, args, _ = pickle.loads(request.read_bytes())
        answer: tuple[str, Any] = ("", function(*args))
        code = 0
    except BaseException as fault:  # noqa: BLE001 - whatever it was, this process ends here
        import traceback

        traceback.print_exc()
        answer = (f"{type(fault).__name__}: {fault}", None)
    try:
        part = request.with_name("answer.part")
        part.write_bytes(pickle.dumps(answer))
        part.rename(request.with_name("answer"))
    except Exception as fault:  # noqa: BLE001 - as above
        code = 1
        print(f"the result cannot be handed back: {fault}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _main(entries: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm = Warm()
    for entry in entries:
        name, _, function = entry.partition(":")
        try:
            module = importlib.import_module(name)
            if function:
                getattr(module, function)()
        except Exception as fault:  # noqa: BLE001 - a broken installation may raise anything
            warm.say(fault=f"{name} cannot be imported: {type(fault).__name__}: {fault}")
            sys.exit(1)
    gc.collect()
    gc.freeze()
    warm.serve()


if __name__ == "__main__":
    _main(sys.argv[1:])
