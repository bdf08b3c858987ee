"""The local executor: the tasks of a plan on this machine's cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from calservice.model.errors import CalserviceError
from calservice.model.outcome import Job, Outcome
from calservice.model.plan import Plan, Task
from calservice.run.task import run_task

__all__ = ["Watcher", "run_local", "workers_that_fit"]

Watcher = Callable[[Task, str, tuple[Outcome, ...]], None]
"""Called with a task, ``started`` or ``ended``, and its outcomes."""

_RETRIES = 2


def run_local(
    plan: Plan,
    job: Job,
    *,
    workers: int | None = None,
    watch: Watcher | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Run the tasks of a plan on this machine.

    Parameters
    ----------
    plan : Plan
        Without problems that forbid running.
    job : Job
        Settings.
    workers : int, optional
        Tasks at a time; by default as many as cores and memory allow.
    watch : callable, optional
        Told when a task starts and ends.
    stop : threading.Event, optional
        Once it is set, what runs is killed and nothing more is started.
    tell : callable, optional
        Told log records, as lines of text, while tasks run (see ``job.show_level``).

    Returns
    -------
    list of Outcome
        One for each stage of the tasks, in order of completion; none for stages of tasks that were stopped.
    """
    home = {stage.id: task.id for task in plan.tasks for stage in task.stages}
    waiting = {task.id: {home[s] for s in task.sources if s in home} for task in plan.tasks}
    tasks = {task.id: task for task in plan.tasks}
    ended: dict[str, tuple[Outcome, ...]] = {}
    running: dict[Future[tuple[Outcome, ...]], str] = {}
    outcomes: list[Outcome] = []
    stop = stop or threading.Event()
    with _pool(workers or workers_that_fit(plan.tasks), stop) as pool:

        def start(ready: Iterable[str]) -> None:
            for name in ready:
                needs = [ended[n] for n in waiting.pop(name)]
                running[pool.submit(_attempt, tasks[name], job, needs, watch, stop, tell)] = name

        start([n for n, needs in waiting.items() if not needs])
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name = running.pop(future)
                ended[name] = future.result()
                outcomes += ended[name]
                if watch:
                    watch(tasks[name], "ended", ended[name])
            if not stop.is_set():
                start([n for n, needs in waiting.items() if needs <= ended.keys()])
    return outcomes


@contextmanager
def _pool(workers: int, stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Give threads, and tell them to stop when something is raised: Ctrl-C does not wait for stages to end."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _attempt(
    task: Task,
    job: Job,
    upstream: list[tuple[Outcome, ...]],
    watch: Watcher | None,
    stop: threading.Event,
    tell: Callable[[str], None] | None,
) -> tuple[Outcome, ...]:
    if stop.is_set():
        return ()
    if watch:
        watch(task, "started", ())
    for attempt in range(_RETRIES + 1):
        try:
            return run_task(task, job, *upstream, stopped=stop.is_set, tell=tell)
        except CalserviceError as fault:
            if fault.retry and stop.is_set():
                return ()
            if not fault.retry or attempt == _RETRIES:
                return tuple(Outcome(s.id, "FAILED", str(fault), error=type(fault).__name__) for s in task.stages)
    raise AssertionError("unreachable")


def workers_that_fit(tasks: Iterable[Task]) -> int:
    """Return how many tasks may run at a time: one a core, fewer where their projected memory would not fit."""
    largest = max((stage.memory for task in tasks for stage in task.stages), default=0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not largest:
        return max(1, cores)
    return max(1, min(cores, int(0.8 * _available_memory() / largest)))


def _available_memory() -> int:
    """Return the memory in bytes that this process may still use: the machine's, or its control group's."""
    limits = []
    try:
        words = Path("/proc/meminfo").read_text().split()
        limits.append(int(words[words.index("MemAvailable:") + 1]) * 1024)
    except (OSError, ValueError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            limits.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, min(limits))
