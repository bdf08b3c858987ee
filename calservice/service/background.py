"""`JobRun`: a job in a thread of its own, to be followed, waited for and cancelled."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Literal

from calservice.model.errors import CalserviceError, InputError, ParameterError
from calservice.model.outcome import Outcome, Status
from calservice.model.plan import Plan, Stage, Task
from calservice.products.store import Store, shown
from calservice.service import jobs
from calservice.service.files import ProductList, products_of

__all__ = ["JobRun", "Progress", "StageState"]

log = logging.getLogger("calservice.service")

StageState = Status | Literal["waiting", "running", "STOPPED"]
"""Where a stage of a job is: STOPPED, if the job ended before it did."""
_CANCELLED = 130


class JobRun:
    """A job that runs in the background, as `Client.submit` returns it.

    Attributes
    ----------
    plan : Plan
        What it makes.
    problems : tuple of CalserviceError
        What was wrong before it began, where it was to keep going.

    Notes
    -----
    A program that ends before its job stops it as `cancel` does, and says so.
    """

    def __init__(
        self,
        plan: Plan,
        problems: Sequence[CalserviceError] = (),
        *,
        owner: object = None,
        progress: Progress | None = None,
        **how: Any,
    ) -> None:
        self.plan = plan
        self.problems = tuple(problems)
        self._owner = owner  # whose connection it uses: it must live as long
        self._progress = progress
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._outcomes: list[Outcome] = []
        self._running: dict[str, None] = {}
        self._fault: BaseException | None = None
        self._begun = time.monotonic()
        self._seconds: float | None = None
        self._products: dict[str, ProductList] = {}
        self._thread = threading.Thread(target=self._run, args=(how,), name=f"calservice-job-{self.id}", daemon=True)
        _untold.add(self)
        _watch_program()
        self._thread.start()

    # -- how far it is

    @property
    def id(self) -> str:
        """Short name, as in the logs; the same work has the same."""
        return jobs.job_id(self.plan)

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or other."""
        return self._seconds is not None

    @property
    def seconds(self) -> float:
        """For how long it runs, or ran."""
        return time.monotonic() - self._begun if self._seconds is None else self._seconds

    @property
    def status(self) -> dict[str, StageState]:
        """State of every stage by id, those of the plan that were up to date (KEPT) or blocked included.

        Stages 1 and 2 of an exposure are one task: they are ``running`` together, and end together. On a cluster
        ``running`` includes what its scheduler holds ready for a worker.
        """
        with self._change:
            ended = {o.stage: o.status for o in self._outcomes}
            return {stage.id: ended.get(stage.id) or self._unended(stage) for stage in self.plan}

    def _unended(self, stage: Stage) -> StageState:
        if stage.state != "todo":
            return "KEPT" if stage.state == "done" else "BLOCKED"
        if self.done:
            return "STOPPED"
        return "running" if stage.id in self._running else "waiting"

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of the stages that have ended, in order of completion."""
        with self._change:
            return tuple(self._outcomes)

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that are not good: FAILED, BLOCKED, NO_SCIENCE."""
        return tuple(o for o in self.outcomes if not o.good)

    @property
    def exit_status(self) -> int | None:
        """What ``calservice submit`` would end with; None as long as it runs.

        0: everything was made or up to date; 1: something failed; 64: all that failed had no science data; 130: it
        was cancelled.
        """
        if not self.done:
            return None
        if self._fault is not None:
            return 1
        return _CANCELLED if "STOPPED" in self.status.values() else jobs.status(self.plan, self.problems, self.outcomes)

    # -- waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether it has ended. Interrupting this (Ctrl-C) does not stop the job; `cancel` does.

        Raises
        ------
        CalserviceError
            Where the job itself could not go on, for example since the scheduler went away. Stages that failed are
            outcomes.
        """
        with self._change:
            self._change.wait_for(lambda: self.done, timeout)
        if self._fault is not None:
            _untold.discard(self)
            raise self._fault
        return self.done

    def as_completed(self) -> Iterator[Outcome]:
        """Yield the outcomes of stages as they end; ends with the job, and raises what `wait` does."""
        number = 0
        while news := self._after(number):
            yield from news
            number += len(news)
        self.wait()

    def _after(self, number: int) -> list[Outcome]:
        """Wait for more outcomes than a number, and return those; none once it has ended."""
        with self._change:
            self._change.wait_for(lambda: self.done or len(self._outcomes) > number)
            return self._outcomes[number:]

    def cancel(self) -> None:
        """Stop it: what runs is killed, on a cluster too, and nothing more is started.

        What is finished stands; submitting the same job again goes on from there. Nothing happens if it has ended.
        """
        self._stop.set()
        if threading.current_thread() is not self._thread:  # which it is in a progress callback
            with self._change:
                self._change.wait_for(lambda: self.done)

    # -- what it made

    @property
    def products(self) -> ProductList:
        """The products that stand, in the order of the plan; those that were up to date are among them."""
        good = {name for name, state in self.status.items() if state in ("COMPLETE", "KEPT")}
        store = Store(self.plan.output)
        for stage in self.plan:
            if stage.id in good and stage.id not in self._products:
                self._products[stage.id] = products_of(stage, store)
        return ProductList(p for stage in self.plan for p in self._products.get(stage.id, ()))

    def log(self, stage: str | Outcome | Stage) -> str:
        """Return the log of a stage.

        Parameters
        ----------
        stage : str, Outcome or Stage
            The stage, its outcome, its id, or a part of the id that no other has.

        Raises
        ------
        ParameterError
            Where there is no such stage.
        InputError
            Where it has no log: it has not run, or was blocked.
        """
        name = stage if isinstance(stage, str) else stage.stage if isinstance(stage, Outcome) else stage.id
        found = [name] if name in self.plan.stages else [s for s in self.plan.stages if name in s]
        if len(found) != 1:
            names = ", ".join(found or self.plan.stages)
            raise ParameterError(f"{name}: {'more than one' if found else 'no such'} stage in this job: {names}")
        one = self.plan.stages[found[0]]
        state, store = self.status[one.id], Store(self.plan.output)
        if state in ("waiting", "running", "STOPPED", "BLOCKED") or store.stat(f"{one.label}.log") is None:
            raise InputError(f"{one.id}: no log in {shown(store.url)}: it is {state}")
        return store.read(f"{one.label}.log").decode("utf-8", "replace")

    # -- showing

    def __repr__(self) -> str:
        counts = Counter(self.status.values())
        states = ", ".join(f"{number} {state}" for state, number in counts.items()) or "no stages"
        return f"<JobRun {self.id}, {'ended' if self.done else 'running'}: {states}; {self.seconds:.1f} s>"

    def _repr_html_(self) -> str:
        from calservice.report_html import job_html

        return job_html(
            self.plan,
            self.status,
            self.outcomes,
            problems=self.problems,
            seconds=self.seconds,
            ended=self.done,
            fault=str(self._fault or ""),
        )

    # -- in its thread

    def _run(self, how: dict[str, Any]) -> None:
        try:
            if self.plan.tasks:
                jobs.launch(self.plan, watch=self._watch, stop=self._stop, **how)
        except BaseException as fault:  # noqa: BLE001 - it is raised where somebody waits
            self._fault = fault
        finally:
            with self._change:
                self._seconds = time.monotonic() - self._begun
                self._change.notify_all()
            if self._fault is None:
                _untold.discard(self)

    def _watch(self, task: Task, event: str, outcomes: tuple[Outcome, ...]) -> None:
        with self._change:
            for stage in task.stages:
                if event == "started":
                    self._running[stage.id] = None
                else:
                    self._running.pop(stage.id, None)
            self._outcomes += outcomes
            self._change.notify_all()
        for outcome in outcomes if self._progress else ():
            assert self._progress is not None
            try:
                self._progress(self, outcome)
            except Exception:  # a callback must not take the job with it
                log.exception("the progress callback failed on %s", outcome.stage)


Progress = Callable[[JobRun, Outcome], object]
"""Called in the thread of a job with the job and the outcome of each stage as it ends."""

_untold: set[JobRun] = set()
"""Jobs that have not ended, or not well without anybody having waited for them."""


_left: list[JobRun] = []
"""Jobs that were stopped by the end of the program."""


@cache
def _watch_program() -> None:
    """Have jobs stopped when the main thread ends: it is then too late to start what they would start."""

    def stop() -> None:
        threading.main_thread().join()
        _left.extend(tuple(_untold))
        for job in _left:
            job._stop.set()

    threading.Thread(target=stop, name="calservice-end-of-program", daemon=True).start()


@atexit.register
def _tell() -> None:
    for job in dict.fromkeys((*_left, *tuple(_untold))):
        print(f"calservice: the program did not wait for its job; submit it again to go on: {job}", file=sys.stderr)
