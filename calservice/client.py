"""`Client`: plans, submits and follows jobs from Python and from a notebook."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any

from calservice.model.errors import ParameterError, SchedulerError
from calservice.model.plan import Plan
from calservice.plan.build import make_plan
from calservice.products.store import shown
from calservice.run.logs import level_of
from calservice.service import jobs
from calservice.service.background import JobRun, Progress
from calservice.service.requests import Several, Target, layers_of, make_request

if TYPE_CHECKING:
    import distributed

__all__ = ["Client", "ShownPlan"]


@dataclass(frozen=True, repr=False)
class ShownPlan(Plan):
    """A plan that notebooks show as a table."""

    def __repr__(self) -> str:
        return (
            f"<Plan: {len(self.stages)} stages in {len(self.tasks)} tasks, {self.count('todo')} to do, "
            f"{self.count('done')} done, {self.count('blocked')} blocked, {len(self.problems)} problems; "
            f"output {shown(self.output)}>"
        )

    def _repr_html_(self) -> str:
        from calservice.report_html import plan_html

        return plan_html(self)


class Client:
    """Runs jobs on this machine or on a Dask cluster.

    Parameters
    ----------
    scheduler : str or distributed.Client, optional
        Address of a Dask scheduler, or a connected client, which stays open; without it jobs run on this machine.
    output : str or path
        Folder or URL where products go.
    inputs : str or path, optional
        Folder or URL of the members, where it is not that of the associations.
    engine : {"auto", "native", "jwst"}
        Which steps to run.
    context : str, optional
        CRDS context; by default CRDS_CONTEXT, else the server's.
    workers : int, optional
        Tasks at a time of each job, on this machine; by default as many as cores and memory allow.
    threads : int
        Threads of the kernels of each task.
    scratch : str or path, optional
        Folder for temporary files.

    Raises
    ------
    SchedulerError
        Where the scheduler does not answer or has no workers.

    Notes
    -----
    Used as ``with Client() as client:``, leaving the block waits for its jobs; an exception cancels them.
    """

    def __init__(
        self,
        scheduler: str | distributed.Client | None = None,
        *,
        output: str | os.PathLike[str] = ".",
        inputs: str | os.PathLike[str] | None = None,
        engine: str = "auto",
        context: str | None = None,
        workers: int | None = None,
        threads: int = 1,
        scratch: str | os.PathLike[str] | None = None,
    ) -> None:
        for name, number in (("workers", workers), ("threads", threads)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise ParameterError(f"{name}={number!r}: a number of 1 or more is expected")
        self._request: dict[str, Any] = {
            "output": os.fspath(output),
            "inputs": None if inputs is None else os.fspath(inputs),
            "engine": engine,
            "context": context,
        }
        make_request((".",), **self._request)  # a wrong engine is said now
        self._jobs: list[JobRun] = []
        self._held = ExitStack()
        weakref.finalize(self, self._held.close)  # as the program ends: later Dask could not close any more
        self._cluster: Any = scheduler
        if isinstance(scheduler, str):
            self._cluster = self._held.enter_context(jobs.connected(scheduler))
        self._check_cluster()
        folder = None if scratch is None else os.fspath(scratch)
        self._how = {"client": self._cluster, "workers": workers, "threads": threads, "scratch": folder}

    def _check_cluster(self) -> None:
        client = self._cluster
        if client is None:
            return
        if not hasattr(client, "nthreads"):
            raise ParameterError(f"{client!r}: the address of a Dask scheduler or a distributed.Client is expected")
        if client.asynchronous:
            raise SchedulerError("an asynchronous Dask client cannot be used here. Make one with asynchronous=False.")
        try:
            threads = client.nthreads() if client.status == "running" else None
        except OSError:
            threads = None
        if threads is None:
            raise SchedulerError("the connection to the Dask scheduler is closed. Make a new client.")
        if not threads:
            raise SchedulerError("the Dask scheduler has no workers. Start some with: dask worker ADDRESS")

    def plan(
        self,
        *targets: Target,
        parameters: Mapping[str, Any] | None = None,
        param_files: Several | os.PathLike[str] = (),
        level: int = 3,
        start: str = "auto",
        force: bool = False,
        observation: Several = (),
        instrument: Several = (),
        exp_type: Several = (),
        filter: Several = (),
        **settings: Any,
    ) -> ShownPlan:
        """Plan a job; nothing is run, and no pixel is read.

        Parameters
        ----------
        *targets : str, path or int
            Associations, exposures and folders, as paths or URLs; or the ID of one program, which selects its files in
            ``inputs`` (by default the current folder).
        parameters : mapping, optional
            Parameters of steps with their official names: ``{"steps": {"jump": {"rejection_threshold": 5}}}`` for every
            pipeline that has the step, ``{"calwebb_spec3": {"steps": {...}}}`` for one.
        param_files : path or sequence of paths
            Parameter files, ASDF or YAML. What ``parameters`` says comes first.
        level : int
            Last stage.
        start : {"auto", "uncal", "ramp", "rate", "cal"}
            Which files count as inputs; ``auto`` takes the most advanced.
        force : bool
            Make everything again, up to date or not.
        observation, instrument, exp_type, filter : one or several
            Only these exposures.
        **settings
            ``output``, ``inputs``, ``engine``, ``context``: for this job other than for the client.

        Returns
        -------
        Plan
            Whatever is wrong is in its ``problems``.

        Raises
        ------
        ParameterError
            Where an argument has a value that it cannot have.
        """
        unknown = settings.keys() - self._request.keys()
        if unknown:
            raise TypeError(f"unexpected arguments: {', '.join(sorted(unknown))}")
        places = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in settings.items()}
        request = make_request(
            targets,
            programs=True,
            layers=layers_of(parameters, param_files),
            level=level,
            start=start,
            force=force,
            observation=observation,
            instrument=instrument,
            exp_type=exp_type,
            filter=filter,
            **{**self._request, **places},
        )
        made = make_plan(request)
        return ShownPlan(**{f.name: getattr(made, f.name) for f in fields(made)})

    def submit(
        self,
        *targets: Target | Plan,
        keep_going: bool = False,
        progress: Progress | None = None,
        log_level: str | None = None,
        **planning: Any,
    ) -> JobRun:
        """Run a job in the background.

        Parameters
        ----------
        *targets : str, path or int; or one Plan
            As for `plan`; or what that returned.
        keep_going : bool
            Run what can run although something is wrong.
        progress : callable, optional
            Called with the job and the outcome of each stage as it ends, in the job's own thread.
        log_level : str, optional
            Print log records from this level on, of workers too: ``"INFO"``, ``"DEBUG"`` ...
        **planning
            What `plan` takes: ``parameters``, ``param_files``, ``level``, ``start``, ``force``, ``observation``,
            ``instrument``, ``exp_type``, ``filter``, ``output``, ``inputs``, ``engine``, ``context``.

        Returns
        -------
        JobRun
            At once.

        Raises
        ------
        Problems
            Where it cannot run, with everything found wrong. Nothing was run then.
        SchedulerError
            Where the connection to the scheduler was lost.
        """
        self._check_cluster()
        plan = self._planned(targets, planning)
        problems = jobs.check(plan, keep_going=keep_going, scratch=self._how["scratch"], cure="keep_going=True")
        if log_level is not None:
            level_of(log_level)  # a wrong one is said now
        job = JobRun(plan, problems, owner=self, progress=progress, log_level=log_level, **self._how)
        self._jobs = [*(j for j in self._jobs if not j.done), job]
        return job

    def _planned(self, targets: tuple[Target | Plan, ...], planning: dict[str, Any]) -> Plan:
        plans = [target for target in targets if isinstance(target, Plan)]
        if not plans:
            return self.plan(*(t for t in targets if not isinstance(t, Plan)), **planning)
        if len(targets) > 1 or planning:
            raise ParameterError("a plan is submitted by itself: what it says of targets and parameters is settled")
        return plans[0]

    @property
    def running(self) -> tuple[JobRun, ...]:
        """The jobs that run."""
        return tuple(job for job in self._jobs if not job.done)

    def close(self, *, cancel: bool = False) -> None:
        """End the connection, having waited for the jobs that run.

        Parameters
        ----------
        cancel : bool
            Cancel them instead. What is finished stands.
        """
        try:
            for job in () if cancel else self.running:
                job.wait()
        finally:  # Ctrl-C while it waits too
            for job in self.running:
                job.cancel()
            self._held.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(cancel=kind is not None)

    def __repr__(self) -> str:
        where = "this machine" if self._cluster is None else shown(str(self._cluster.scheduler.address))
        return f"<Client on {where}: {len(self.running)} jobs running; output {shown(self._request['output'])}>"
