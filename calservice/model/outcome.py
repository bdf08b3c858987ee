"""`Outcome`: what became of a stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Job", "Outcome", "Status", "StepOutcome", "exit_status"]

Status = Literal["COMPLETE", "KEPT", "FAILED", "BLOCKED", "NO_SCIENCE"]


@dataclass(frozen=True)
class Job:
    """What every task of a job needs besides its stages. Goes to the workers; holds no secret.

    Attributes
    ----------
    id : str
        Short name of the job, in logs.
    output : str
        Path or URL where products go.
    context, cache : str
        CRDS context and cache folder, as the workers see it. Empty context: no reference is needed.
    scratch : str or None
        Folder for temporary files; None takes the system's.
    threads : int
        Threads that the native kernels of one task may use.
    log_level : int
        Lowest level of the records that logs and products hold.
    show_level : int or None
        Lowest level of the records that the user sees while the job runs; None: none.
    debug : bool
        Enter the Python debugger where a stage fails. Only for stages that run in the user's own process.
    """

    id: str
    output: str
    context: str = ""
    cache: str = ""
    scratch: str | None = None
    threads: int = 1
    log_level: int = logging.INFO
    show_level: int | None = None
    debug: bool = False


@dataclass(frozen=True)
class StepOutcome:
    """What happened to one step: COMPLETE or SKIPPED, by which engine, in how many seconds."""

    alias: str
    engine: str
    status: str
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one stage.

    Attributes
    ----------
    stage : str
        Id of the stage.
    status : str
        COMPLETE, KEPT (its products were up to date), FAILED, BLOCKED (something it needs failed) or NO_SCIENCE.
    message : str
        Why, for all but COMPLETE.
    products : tuple of str
        Names of the files made.
    steps : tuple of StepOutcome
        The steps in order.
    log : str
        Name of the log beside the products.
    seconds, peak_memory : float, int
        Wall time in seconds, and peak resident bytes of the process that ran it.
    """

    stage: str
    status: Status
    message: str = ""
    products: tuple[str, ...] = ()
    steps: tuple[StepOutcome, ...] = field(default=())
    log: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    host: str = ""
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether its products stand."""
        return self.status in ("COMPLETE", "KEPT")


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """Return the exit status of a job: 0; 64 where all that failed had no science data; else 1.

    What is blocked by a failure does not count beside it.
    """
    bad = {o.status for o in outcomes if not o.good}
    if not bad:
        return 0
    return 64 if bad - {"BLOCKED"} == {"NO_SCIENCE"} else 1
