"""The tree of errors.

Every class says, in :attr:`CalserviceError.retry`, whether doing the same thing again can help. What a
retry cannot cure is reported as an outcome of its task and never raised across the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "AssociationError",
    "CalserviceError",
    "EngineError",
    "InputError",
    "MissingInput",
    "NoScienceData",
    "OutputError",
    "ParameterError",
    "Problems",
    "ReferenceFileError",
    "SchedulerError",
    "StepFailed",
    "TransientError",
]


class CalserviceError(Exception):
    """Base of all errors that calservice raises on purpose; its text is meant for the user."""

    retry: bool = False
    """Whether running the same thing again can succeed."""


class InputError(CalserviceError):
    """An input file is missing, unreadable, truncated or of a kind no pipeline serves."""


class MissingInput(InputError):
    """An input is not there, nor anything that it could be made from."""


class AssociationError(InputError):
    """An association is not JSON, breaks the schema or names a member outside its folder."""


class ParameterError(CalserviceError):
    """A pipeline, step or parameter that does not exist, or a value that it does not accept."""


class ReferenceFileError(CalserviceError):
    """A reference file or a CRDS context cannot be had, or does not have its checksum."""


class EngineError(CalserviceError):
    """No engine at hand can run a step that the plan needs."""


class OutputError(CalserviceError):
    """A product cannot be written: no permission, no space, no such store."""


class StepFailed(CalserviceError):
    """A step failed on its data; the text carries the step's own message."""


class NoScienceData(StepFailed):
    """The input holds no science data (``strun`` exit status 64)."""


class SchedulerError(CalserviceError):
    """The Dask scheduler cannot be reached, or went away. A later attempt can succeed."""

    retry = True


class TransientError(CalserviceError):
    """The network or a store failed in passing. A later attempt can succeed."""

    retry = True


class Problems(CalserviceError):
    """Several problems found together, reported all at once.

    Parameters
    ----------
    problems : iterable of CalserviceError
        What was found, in the order in which it was found. Equal messages are kept once.
    """

    def __init__(self, problems: Iterable[CalserviceError]) -> None:
        self.problems: tuple[CalserviceError, ...] = tuple({str(p): p for p in problems}.values())
        self.retry = bool(self.problems) and all(p.retry for p in self.problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
