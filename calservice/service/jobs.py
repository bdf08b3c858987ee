"""A job from the request to its exit status: plan, check, run, report.

`check`, `launch` and `status` are the one way in which a plan becomes products; the command line (`run`) and jobs in
the background (`calservice.service.background`) are made of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from calservice import report
from calservice.model.errors import CalserviceError, InputError, OutputError, ParameterError, Problems
from calservice.model.outcome import Job, Outcome, exit_status
from calservice.model.plan import Plan
from calservice.plan.build import make_plan
from calservice.plan.request import Request
from calservice.products.store import Store
from calservice.run.local import run_local
from calservice.run.logs import level_of

__all__ = ["begin", "check", "connected", "execute", "job_id", "launch", "run", "status"]


def run(
    request: Request,
    *,
    keep_going: bool,
    console: Console,
    scheduler: str | None = None,
    local: bool = False,
    workers: int | None = None,
    scratch: str | None = None,
    threads: int = 1,
    log_level: str | None = None,
) -> int:
    """Run a job and return its exit status.

    Parameters
    ----------
    request : Request
        What to make.
    keep_going : bool
        Run what can run although the plan has problems.
    console : rich.console.Console
        Where progress and results go.
    scheduler : str, optional
        Address of a Dask scheduler; without it the job runs on this machine.
    local : bool
        Run on this machine.
    workers, threads : int, optional
        Tasks at a time (this machine only), and threads of each one's kernels.
    scratch : str, optional
        Folder for temporary files.
    log_level : str, optional
        Lowest level of the log records that are shown while tasks run; by default none are.

    Raises
    ------
    CalserviceError
        Where nothing can run at all; `Problems` with everything found wrong.
    """
    with connected(scheduler, local) as client:
        return begin(
            request,
            keep_going=keep_going,
            console=console,
            client=client,
            workers=workers,
            scratch=scratch,
            threads=threads,
            log_level=log_level,
        )()


def begin(
    request: Request, *, keep_going: bool, console: Console, scratch: str | None = None, **how: Any
) -> Callable[[], int]:
    """Plan and check a job; return the function that runs it, reports, and returns the exit status.

    Parameters
    ----------
    request, keep_going, console, scratch
        As for `run`.
    **how
        As for `execute`.

    Raises
    ------
    CalserviceError
        Where nothing can run at all; `Problems` with everything found wrong.
    """
    plan = make_plan(request)
    problems = check(plan, keep_going=keep_going, scratch=scratch)

    def go() -> int:
        report.print_problems(problems, console)
        if not plan.tasks:
            _nothing_to_do(plan, console)
            return status(plan, problems, ())
        outcomes = execute(plan, console, scratch=scratch, **how)
        report.print_outcomes(plan, outcomes, console)
        return status(plan, problems, outcomes)

    return go


def check(
    plan: Plan, *, keep_going: bool, scratch: str | None = None, cure: str = "--keep-going"
) -> tuple[CalserviceError, ...]:
    """Find everything that is wrong before the first task.

    Parameters
    ----------
    plan : Plan
        What is to run.
    keep_going : bool
        Run what can run although something is wrong.
    scratch : str, optional
        Folder for temporary files.
    cure : str
        How the user asks for that.

    Returns
    -------
    tuple of CalserviceError
        What is wrong without keeping the rest from running.

    Raises
    ------
    Problems
        Where nothing may run.
    """
    problems = [*plan.problems, *_cannot_start(plan, scratch)]
    fatal = problems if not keep_going else [p for p in problems if isinstance(p, OutputError)]
    if fatal or (problems and not plan.tasks):
        hopeless = keep_going or not plan.tasks
        raise Problems(problems if hopeless else [*problems, InputError(f"nothing was run; {cure} runs the rest")])
    return tuple(problems)


def execute(plan: Plan, console: Console, *, client: Any = None, **how: Any) -> list[Outcome]:
    """Run a plan's tasks as `launch` does, showing progress."""
    with report.Follow(plan, console) as follow:
        if client is not None and client.dashboard_link:
            console.print(f"Dask dashboard: {client.dashboard_link}")
        return launch(plan, client=client, watch=follow, tell=follow.tell, **how)


def launch(
    plan: Plan,
    *,
    client: Any = None,
    workers: int | None = None,
    scratch: str | None = None,
    threads: int = 1,
    log_level: str | None = None,
    tell: Callable[[str], None] = print,
    **following: Any,
) -> list[Outcome]:
    """Run a plan's tasks on a cluster, or here.

    Parameters
    ----------
    plan : Plan
        Checked.
    client : distributed.Client, optional
        Connected; without it the tasks run on this machine.
    workers, threads : int, optional
        Tasks at a time (this machine only), and threads of each one's kernels.
    scratch : str, optional
        Folder for temporary files.
    log_level : str, optional
        Lowest level of the log records that are told while tasks run; by default none are.
    tell : callable
        Told them, as lines of text.
    **following
        What `run_local` and `run_on_cluster` take besides: ``watch``, ``stop``.

    Returns
    -------
    list of Outcome
        In order of completion.
    """
    store = Store(plan.output)
    output = store.root if store.local else store.url
    job = Job(job_id(plan), output, plan.context, plan.cache, scratch, threads)
    if log_level is not None:
        show = level_of(log_level)
        job = replace(job, show_level=show, log_level=min(show, job.log_level))
        following["tell"] = tell
    with _swept(store):
        if client is None:
            return run_local(plan, job, workers=workers, **following)
        from calservice.run.cluster import run_on_cluster

        return run_on_cluster(plan, job, client, **following)


def status(plan: Plan, problems: Iterable[CalserviceError], outcomes: Iterable[Outcome]) -> int:
    """Return the exit status of a job: that of its outcomes; 1 where something else was wrong."""
    if any(True for _ in problems) or plan.count("blocked"):
        return 1
    return exit_status(outcomes)


@contextmanager
def connected(scheduler: str | None, local: bool = False) -> Iterator[Any]:
    """Connect to a scheduler, if one is named: that it does not answer is known before anything is read.

    Raises
    ------
    ParameterError
        Where the job is to run on this machine as well.
    SchedulerError
        Where it does not answer.
    """
    if scheduler and local:
        raise ParameterError("--scheduler and --local exclude each other")
    if scheduler is None:
        yield None
        return
    from calservice.run.cluster import connect

    with connect(scheduler) as client:
        yield client


@contextmanager
def _swept(store: Store) -> Iterator[None]:
    """Leave no temporary file of a killed writer in the output folder."""
    try:
        yield
    finally:
        store.sweep()


def _cannot_start(plan: Plan, scratch: str | None) -> list[CalserviceError]:
    problems: list[CalserviceError] = []
    if plan.tasks:
        try:
            Store(plan.output).check_writable()
        except CalserviceError as fault:
            problems.append(fault)
    if scratch is not None and not (Path(scratch).is_dir() and os.access(scratch, os.W_OK)):
        problems.append(OutputError(f"{scratch}: --scratch must be a folder that can be written"))
    return problems


def _nothing_to_do(plan: Plan, console: Console) -> None:
    for note in plan.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for stage in plan:
        if stage.state == "blocked":
            console.print(f"[yellow]BLOCKED[/] {stage.id}: {stage.reason}", soft_wrap=True)
    console.print(f"nothing to do: {plan.count('done')} stages are up to date in {plan.output}")


def job_id(plan: Plan) -> str:
    """Return the short name of a job."""
    return hashlib.sha256("".join(s.key for s in plan).encode()).hexdigest()[:12]
