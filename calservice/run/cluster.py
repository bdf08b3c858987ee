"""The cluster executor: the tasks of a plan on a Dask cluster. The only module that imports dask."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from calservice.model.errors import SchedulerError
from calservice.model.outcome import Job, Outcome
from calservice.model.plan import Plan, Task
from calservice.products.store import shown
from calservice.run.local import Watcher
from calservice.run.task import run_task, task_key

__all__ = ["connect", "local_cluster", "run_on_cluster"]

_RETRIES = 2
_GRACE = 3.0
"""Seconds that a scheduler may take to open its port."""
_START = "Start one with: dask scheduler; dask worker ADDRESS"
_WINDOW = 4
"""Tasks submitted ahead, for each thread of the cluster."""
_LOOK = 0.05
"""Seconds between two looks at whether a job that can be stopped goes on."""


@contextmanager
def connect(address: str, timeout: float = 15.0) -> Iterator[Any]:
    """Connect to a running scheduler.

    Parameters
    ----------
    address : str
        ``tcp://host:port`` or ``tls://host:port`` (TLS files as dask's configuration names them).
    timeout : float
        Seconds to wait.

    Raises
    ------
    SchedulerError
        Where it does not answer, or has no workers.
    """
    _await_listener(address)
    from distributed import Client

    # what its client logs (a traceback when the scheduler goes away) is told by our own errors
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as fault:
        raise SchedulerError(
            f"{shown(address)}: no Dask scheduler answers there ({type(fault).__name__}). {_START}"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            raise SchedulerError(
                f"{shown(address)}: the scheduler has no workers. Start some with: dask worker {shown(address)}"
            ) from None
        yield client


def _await_listener(address: str) -> None:
    """See that somebody listens; Dask itself would go on asking for half a minute, whatever the answer."""
    parts = urlsplit(address)
    try:
        place = (parts.hostname or "", parts.port or 0)
    except ValueError:
        place = ("", 0)
    if parts.scheme not in ("tcp", "tls") or not all(place):
        raise SchedulerError(f"{shown(address)}: not the address of a Dask scheduler. Write tcp://host:port.")
    until = time.monotonic() + _GRACE
    while True:
        try:
            socket.create_connection(place, timeout=_GRACE).close()
            return
        except OSError as fault:
            if time.monotonic() > until or isinstance(fault, socket.gaierror):
                why = fault.strerror or type(fault).__name__
                raise SchedulerError(f"{shown(address)}: no Dask scheduler answers there ({why}). {_START}") from None
            time.sleep(0.2)


@contextmanager
def local_cluster(workers: int, dashboard: bool) -> Iterator[Any]:
    """Start a Dask cluster of worker processes on this machine and connect to it."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.admin.log-format": "%(name)s - %(levelname)s - %(message)s"}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0" if dashboard else None,
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run_on_cluster(
    plan: Plan,
    job: Job,
    client: Any,
    *,
    watch: Watcher | None = None,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """Run the tasks of a plan on a Dask cluster.

    Tasks are submitted in a window that moves on as they end, so that a job of thousands stays light on the
    scheduler. A lost worker's tasks are run again by Dask; what calservice itself can tell to be permanent is
    never raised.

    Parameters
    ----------
    plan : Plan
        Without problems that forbid running.
    job : Job
        Settings; paths in it must mean the same on the workers.
    client : distributed.Client
        Connected.
    watch : callable, optional
        Told when a task is submitted and ends.
    stop : threading.Event, optional
        Once it is set, the tasks are given up - workers kill what runs, unless another job waits for it too - and
        stages of tasks that had not ended have no outcome.
    tell : callable, optional
        Told log records of the workers, as lines of text, while tasks run (see ``job.show_level``).

    Raises
    ------
    SchedulerError
        Where the scheduler goes away in mid-job. What was published stands; submit again to go on.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError

    home = {stage.id: task.id for task in plan.tasks for stage in task.stages}
    waiting = {t.id: {home[s] for s in t.sources if s in home} for t in plan.tasks}
    tasks = {task.id: task for task in plan.tasks}
    ended: dict[str, tuple[Outcome, ...]] = {}
    futures: dict[Any, str] = {}
    outcomes: list[Outcome] = []
    done = as_completed(loop=client.loop)
    window = max(8, _WINDOW * sum(client.nthreads().values()))

    def submit() -> None:
        ready = [n for n, needs in waiting.items() if needs <= ended.keys()]
        for name in ready[: max(0, window - len(futures))]:
            needs = [ended[n] for n in waiting.pop(name)]
            future = client.submit(
                _on_worker, tasks[name], job, *needs, key=task_key(tasks[name], job), retries=_RETRIES, pure=False
            )
            futures[future] = name
            done.add(future)
            if watch:
                watch(tasks[name], "started", ())

    try:
        with _told(client, job, tell):
            submit()
            while futures and _await_one(done, stop):
                future = next(done)
                name = futures.pop(future)
                ended[name] = _result(future, tasks[name])
                outcomes += ended[name]
                future.release()
                if watch:
                    watch(tasks[name], "ended", ended[name])
                submit()
    except (FutureCancelledError, OSError, StopIteration) as fault:
        raise SchedulerError(
            f"{shown(client.scheduler.address if client.scheduler else '')}: the scheduler went away in mid-job "
            f"({type(fault).__name__}). What is finished stands; submit the same job again to go on."
        ) from None
    for future in futures:
        future.release()
    return outcomes


@contextmanager
def _told(client: Any, job: Job, tell: Callable[[str], None] | None) -> Iterator[None]:
    """Have the log records of workers told, the last ones too, for as long as it is entered."""
    if tell is None:
        yield
        return
    seen = 0

    def heard(event: tuple[float, str]) -> None:
        nonlocal seen
        seen += 1
        tell(event[1])

    before = len(client.get_events(_topic(job)))
    client.subscribe_topic(_topic(job), heard)
    try:
        yield
        until = time.monotonic() + _GRACE
        while seen < len(client.get_events(_topic(job))) - before and time.monotonic() < until:
            time.sleep(_LOOK)
    finally:
        client.unsubscribe_topic(_topic(job))


def _topic(job: Job) -> str:
    return f"calservice-log-{job.id}"


def _await_one(done: Any, stop: threading.Event | None) -> bool:
    """Wait until a future has ended, or none is left that could; False once the job is to stop."""
    while stop is not None and not stop.is_set() and not done.has_ready() and not done.is_empty():
        stop.wait(_LOOK)
    return stop is None or not stop.is_set()


def _on_worker(task: Task, job: Job, *upstream: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Run a task in a thread of a Dask worker, for as long as the scheduler wants it and the worker stays."""
    from distributed import Status, get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def stopped() -> bool:
        known = worker.state.tasks.get(key)
        unwanted = known is None or known.state == "cancelled"
        return unwanted or worker.status in (Status.closing, Status.closed, Status.failed)

    def tell(text: str) -> None:
        worker.log_event(_topic(job), text)

    return run_task(task, job, *upstream, stopped=stopped, tell=None if job.show_level is None else tell)


def _result(future: Any, task: Task) -> tuple[Outcome, ...]:
    """Return the outcomes of a finished future; what could not be run is an outcome too."""
    from distributed.client import FutureCancelledError

    if future.status == "cancelled":
        raise FutureCancelledError(key=future.key, reason="lost")
    fault = future.exception()
    if fault is None:
        outcomes: tuple[Outcome, ...] = future.result()
        return outcomes
    if type(fault).__name__ == "KilledWorker":
        message = (
            "it took several workers down with it, most likely for lack of memory. "
            "Give the workers more memory, or fewer threads."
        )
    else:
        message = f"{type(fault).__name__}: {fault}"
    return tuple(Outcome(s.id, "FAILED", message, error=type(fault).__name__) for s in task.stages)
