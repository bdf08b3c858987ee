"""One task on a worker: its stages one after the other, each in a process of its own."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from calservice.model.errors import EngineError, TransientError
from calservice.model.outcome import Job, Outcome
from calservice.model.plan import Stage, Task
from calservice.run import isolate
from calservice.run.logs import Tail
from calservice.run.stage import Failure, prepare, run_stage

__all__ = ["run_task", "scratch", "task_key"]

_PREFIX = "calservice-task-"
_LOCK = "lock"


def run_task(
    task: Task,
    job: Job,
    *upstream: Sequence[Outcome],
    stopped: Callable[[], bool] | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Outcome, ...]:
    """Run the stages of a task.

    Parameters
    ----------
    task : Task
        Stages in order.
    job : Job
        Settings of the job.
    *upstream : sequence of Outcome
        Outcomes of the tasks it depends on; where one it needs is not good, its stages are BLOCKED.
    stopped : callable, optional
        Asked now and then; once it says yes, the stage that runs is killed.
    tell : callable, optional
        Told log records of ``job.show_level`` and above while stages run, as lines of text.

    Returns
    -------
    tuple of Outcome
        One for each stage.

    Raises
    ------
    TransientError
        Where only a retry can tell, or once it was stopped.
    """
    bad = {o.stage: o for outcomes in upstream for o in outcomes if not o.good}
    made: dict[str, str] = {}
    outcomes: list[Outcome] = []
    with scratch(job.scratch) as folder:
        tail = None if tell is None else Tail(folder, tell)
        asked = stopped if tail is None else _followed(stopped, tail)
        for number, stage in enumerate(task.stages):
            blocked = _blocked(stage, bad)
            outcome = blocked or _run_isolated(stage, job, folder / str(number), made, asked)
            if tail is not None:
                tail.look()
            outcomes.append(outcome)
            if outcome.status == "COMPLETE":
                made |= {name: str(folder / str(number) / "out" / name) for name in outcome.products}
            elif not outcome.good:
                bad[stage.id] = outcome
    return tuple(outcomes)


def _followed(stopped: Callable[[], bool] | None, tail: Tail) -> Callable[[], bool]:
    """Have log records passed on whenever it is asked whether to stop."""

    def asked() -> bool:
        tail.look()
        return stopped is not None and stopped()

    return asked


def _run_isolated(
    stage: Stage, job: Job, folder: Path, made: dict[str, str], stopped: Callable[[], bool] | None
) -> Outcome:
    folder.mkdir()
    official = any(engine == "jwst" for engine in stage.engines.values())
    try:
        end = isolate.shared(official).run(
            run_stage, stage, job, folder, dict(made), before=prepare, folder=folder, stopped=stopped
        )
    except EngineError as fault:
        return Outcome(stage.id, "FAILED", str(fault), host=platform.node(), error="EngineError")
    if isinstance(end.result, Outcome):
        return end.result
    if isinstance(end.result, Failure):
        raise TransientError(f"{stage.id}: {end.result.message}")
    return Outcome(
        stage.id, "FAILED", f"{end.cause}", peak_memory=end.peak_memory, host=platform.node(), error="ProcessLost"
    )


def _blocked(stage: Stage, bad: dict[str, Outcome]) -> Outcome | None:
    for source in stage.sources:
        if source in bad:
            first = bad[source]
            cause = first.message if first.status == "BLOCKED" else f"{source} failed: {first.message}"
            return Outcome(stage.id, "BLOCKED", cause)
    return None


def task_key(task: Task, job: Job) -> str:
    """Return the key of a task: the same work for the same place has the same key, whoever submits it."""
    digest = hashlib.sha256("\n".join((job.output, *(s.key for s in task.stages))).encode()).hexdigest()
    return f"calservice-{task.id}-{digest[:16]}"


@contextmanager
def scratch(parent: str | None) -> Iterator[Path]:
    """Make a private folder and remove it again, and with it what tasks left behind whose worker was killed.

    A lock held on a file in it, which the kernel drops with its holder, tells whose worker lives.

    Parameters
    ----------
    parent : str, optional
        Where; the system's temporary folder by default.

    Yields
    ------
    Path
        The folder.
    """
    place = Path(parent or tempfile.gettempdir())
    _sweep(place)
    folder, lock = _locked_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()
        _sweep(place)


def _locked_folder(place: Path) -> tuple[Path, IO[bytes]]:
    """Make a folder with a lock; another one should a task that sweeps have taken it before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{platform.node()}-", dir=place))
        lock = open(folder / _LOCK, "wb")  # noqa: SIM115 - held as long as the folder
        with suppress(OSError):  # where there are no locks, nothing is swept
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        lock.close()


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}{platform.node()}-*"):
        try:
            with open(folder / _LOCK, "r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # its worker lives, or it is new or gone
            continue
