"""Real schedulers, workers and command lines, and the processes below them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil

BIN = Path(sys.executable).parent
WARM = "calservice.run.warm"
T = TypeVar("T")


def until(found: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:g} s in vain for {what}")


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started, itself first; those that ended are left out."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_warm(process: psutil.Process) -> bool:
    try:
        return WARM in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def stage_children(pid: int) -> list[psutil.Process]:
    """Return the processes that run stages below a worker, a nanny or a client: forks of its warm process."""
    warm = [p for p in family(pid) if is_warm(p)]
    pids = {p.pid for p in warm}
    found = []
    for process in warm:
        try:
            if process.ppid() in pids and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def hold(process: psutil.Process) -> bool:
    """Suspend a process, so that it cannot end by itself; whether that was in time."""
    with suppress(psutil.NoSuchProcess):
        process.suspend()
        while (status := process.status()) not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.001)  # signals take a moment
        return status == psutil.STATUS_STOPPED
    return False


def held_children(pid: int) -> list[psutil.Process]:
    """Suspend all that runs stages below a process; return what is suspended."""
    return [process for process in stage_children(pid) if hold(process)]


def gone(processes: list[psutil.Process], seconds: float = 20.0) -> bool:
    """Wait for processes to end; whether all did."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def leftovers(*folders: Path) -> list[Path]:
    """Return temporary files and scratch folders of calservice that were left in folders."""
    found = []
    for folder in folders:
        for parent, below, files in os.walk(folder):  # what vanishes meanwhile is passed over
            found += [Path(parent, name) for name in below if name.startswith("calservice-")]
            found += [Path(parent, name) for name in (*below, *files) if ".part-" in name]
    return found


@dataclass
class Cluster:
    """A scheduler and workers as processes of their own on the loopback interface."""

    folder: Path
    env: Mapping[str, str]
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *workers: str, nanny: bool = False) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        found = self.folder / "scheduler.json"
        found.unlink(missing_ok=True)
        self.scheduler = self._spawn(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(found), "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0",
        )  # fmt: skip
        log = self.folder / "scheduler.log"
        self.address = until(lambda: _address(log), "the scheduler's address")
        for name in workers:
            self.work(name, nanny=nanny)
        return self

    def work(self, name: str, *, nanny: bool = False) -> subprocess.Popen[bytes]:
        self.workers[name] = self._spawn(
            "worker", self.address, "--name", name, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard",
            "--nanny" if nanny else "--no-nanny", "--local-directory", str(self.folder / name), log=name,
        )  # fmt: skip
        return self.workers[name]

    def worker_pid(self, name: str) -> int:
        """Return the process of a worker that runs its tasks: below a nanny, a child of it."""
        first, *below = family(self.workers[name].pid)
        owners = {p.ppid() for p in below if is_warm(p)} - {p.pid for p in below if is_warm(p)}
        return owners.pop() if owners else first.pid

    def held(self, seconds: float = 60.0) -> tuple[str, psutil.Process]:
        """Wait until a worker runs a stage, and suspend that one; return worker and process."""
        return until(self._held, "a stage to hold", seconds)

    def _held(self) -> tuple[str, psutil.Process] | None:
        return next(((n, c) for n, w in self.workers.items() for c in stage_children(w.pid) if hold(c)), None)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        """Kill whatever is left."""
        tops = [p for p in (self.scheduler, *self.workers.values()) if p is not None]
        everyone = [process for top in tops for process in family(top.pid)]
        for process in everyone:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        for top in tops:
            top.wait(30)
        assert gone(everyone)

    def _spawn(self, command: str, *words: str, log: str = "") -> subprocess.Popen[bytes]:
        with open(self.folder / f"{log or command}.log", "wb") as file:
            return subprocess.Popen(
                [BIN / "dask", command, *words], stdout=file, stderr=file, env=dict(self.env), cwd=self.folder
            )


def _address(log: Path) -> str:
    for line in log.read_text().splitlines():
        _, found, address = line.partition("Scheduler at:")
        if found:
            return address.strip()
    return ""


@dataclass
class Client:
    """The command line, with an environment of its own."""

    env: Mapping[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        command = [BIN / "calservice", *map(str, words)]
        job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(self.env))
        self.started.append(job)
        return job

    def stop(self) -> None:
        """Kill whatever is left."""
        for job in self.started:
            if job.poll() is None:
                job.kill()
                job.wait(30)

    def __call__(self, *words: str | Path, seconds: float = 150.0) -> tuple[int, str]:
        """Run a command to its end; return its exit status and all that it printed."""
        return finish(self.start(*words), seconds)


def finish(process: subprocess.Popen[str], seconds: float = 150.0) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        everyone = family(process.pid)
        for one in everyone:
            one.kill()
        said, _ = process.communicate()
        raise AssertionError(f"still running after {seconds:g} s, having said:\n{said}") from None
    return process.returncode, said


def environment(crds: Path, context: str, scratch: Path) -> dict[str, str]:
    """Return the environment of commands and workers: references, and a scratch folder of their own."""
    scratch.mkdir(parents=True, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CRDS_", "DASK_", "STPIPE_"))}
    return env | {"CRDS_PATH": str(crds), "CRDS_CONTEXT": context, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
