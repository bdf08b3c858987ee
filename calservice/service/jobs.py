"""A job from the request to its exit status: plan, check, run, report."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from calservice import report
from calservice.model.errors import CalserviceError, InputError, OutputError, ParameterError, Problems
from calservice.model.outcome import Job, Outcome, exit_status
from calservice.model.plan import Plan
from calservice.plan.build import Request, make_plan
from calservice.products.store import Store
from calservice.run.local import run_local

__all__ = ["execute", "run"]


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

    Raises
    ------
    CalserviceError
        Where nothing can run at all; `Problems` with everything found wrong.
    """
    if scheduler and local:
        raise ParameterError("--scheduler and --local exclude each other")
    with _cluster(scheduler) as client:
        plan = make_plan(request)
        problems = [*plan.problems, *_cannot_start(request, scratch, bool(plan.tasks))]
        fatal = problems if not keep_going else [p for p in problems if isinstance(p, OutputError)]
        if fatal or (problems and not plan.tasks):
            hint = "" if keep_going or not plan.tasks else "\nnothing was run; --keep-going runs the rest"
            raise Problems(problems) if not hint else Problems([*problems, InputError(hint.strip())])
        report.print_problems(problems, console)
        if not plan.tasks:
            _nothing_to_do(plan, console)
            return 1 if plan.count("blocked") or problems else 0
        outcomes = execute(plan, console, client=client, workers=workers, scratch=scratch, threads=threads)
        report.print_outcomes(plan, outcomes, console)
    return exit_status(outcomes) or (1 if problems or plan.count("blocked") else 0)


def execute(
    plan: Plan,
    console: Console,
    *,
    client: Any = None,
    workers: int | None = None,
    scratch: str | None = None,
    threads: int = 1,
) -> list[Outcome]:
    """Run a plan's tasks on a cluster (with a client) or here, showing progress."""
    store = Store(plan.output)
    output = store.root if store.local else store.url
    job = Job(_job_id(plan), output, plan.context, plan.cache, scratch, threads)
    with _swept(store), report.Follow(plan, console) as follow:
        if client is None:
            return run_local(plan, job, workers=workers, watch=follow)
        from calservice.run.cluster import run_on_cluster

        if client.dashboard_link:
            console.print(f"Dask dashboard: {client.dashboard_link}")
        return run_on_cluster(plan, job, client, watch=follow)


@contextmanager
def _swept(store: Store) -> Iterator[None]:
    """Leave no temporary file of a killed writer in the output folder."""
    try:
        yield
    finally:
        store.sweep()


@contextmanager
def _cluster(scheduler: str | None) -> Iterator[Any]:
    """Connect first: a scheduler that does not answer is known before anything is read."""
    if scheduler is None:
        yield None
        return
    from calservice.run.cluster import connect

    with connect(scheduler) as client:
        yield client


def _cannot_start(request: Request, scratch: str | None, will_run: bool) -> list[CalserviceError]:
    problems: list[CalserviceError] = []
    if will_run:
        try:
            Store(request.output).check_writable()
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


def _job_id(plan: Plan) -> str:
    return hashlib.sha256("".join(s.key for s in plan).encode()).hexdigest()[:12]
