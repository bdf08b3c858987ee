"""One task on a worker: its stages one after the other, each in a process of its own."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from calservice.model.errors import TransientError
from calservice.model.outcome import Job, Outcome
from calservice.model.plan import Stage, Task
from calservice.run import isolate
from calservice.run.stage import Failure, run_stage

__all__ = ["run_task", "sweep", "task_key"]

_PREFIX = "calservice-task-"


def run_task(task: Task, job: Job, *upstream: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Run the stages of a task.

    Parameters
    ----------
    task : Task
        Stages in order.
    job : Job
        Settings of the job.
    *upstream : sequence of Outcome
        Outcomes of the tasks it depends on; where one it needs is not good, its stages are BLOCKED.

    Returns
    -------
    tuple of Outcome
        One for each stage.

    Raises
    ------
    TransientError
        Where only a retry can tell.
    """
    bad = {o.stage: o for outcomes in upstream for o in outcomes if not o.good}
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{platform.node()}-{os.getpid()}-", dir=job.scratch))
    made: dict[str, str] = {}
    outcomes: list[Outcome] = []
    try:
        for number, stage in enumerate(task.stages):
            blocked = _blocked(stage, bad)
            outcome = blocked or _run_isolated(stage, job, folder / str(number), made)
            outcomes.append(outcome)
            if outcome.good:
                made |= {name: str(folder / str(number) / "out" / name) for name in outcome.products}
            else:
                bad[stage.id] = outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tuple(outcomes)


def _run_isolated(stage: Stage, job: Job, folder: Path, made: dict[str, str]) -> Outcome:
    folder.mkdir()
    official = any(engine == "jwst" for engine in stage.engines.values())
    end = isolate.shared(official).run(run_stage, stage, job, folder, dict(made))
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


def sweep(folders: Iterable[Path]) -> None:
    """Remove scratch folders that processes of this host left behind when they were killed."""
    for parent in folders:
        for left in parent.glob(f"{_PREFIX}{platform.node()}-*"):
            pid = left.name.removeprefix(f"{_PREFIX}{platform.node()}-").split("-")[0]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
