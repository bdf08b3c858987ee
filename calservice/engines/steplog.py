"""What an official pipeline says of its steps while it runs: which ran, which were skipped, and for how long."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from types import TracebackType

from calservice.model.outcome import StepOutcome

__all__ = ["StepLog", "settled"]

_RUNNING = re.compile(r"Step (\S+) running with args")
_DONE = re.compile(r"Step (\S+) done$")
_SKIPPED = "Step skipped."


class StepLog(logging.Handler):
    """Follows the records of stpipe for as long as it is entered.

    Parameters
    ----------
    entered : callable, optional
        Told the name of the step that runs from now on; an empty name after the last.

    Attributes
    ----------
    seconds : dict of str to float
        Wall time of every step that ran, over all exposures, by its name in the pipeline. Steps that were
        skipped every time are not in it.
    """

    def __init__(self, entered: Callable[[str], None] | None = None) -> None:
        super().__init__(logging.INFO)
        self._entered = entered or (lambda name: None)
        self.seconds: dict[str, float] = {}
        self._open: list[tuple[str, float]] = []

    def __enter__(self) -> StepLog:
        logging.getLogger("stpipe").addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("stpipe").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        text = record.getMessage()
        if running := _RUNNING.match(text):
            self._open.append((running[1], record.created))
            self._entered(running[1])
        elif text == _SKIPPED and self._open:
            self._open.pop()
            self._entered(self._open[-1][0] if self._open else "")
        elif done := _DONE.match(text):
            while self._open:  # a step that failed and was passed over says nothing
                name, since = self._open.pop()
                if name == done[1]:
                    self.seconds[name] = self.seconds.get(name, 0.0) + record.created - since
                    break
            self._entered(self._open[-1][0] if self._open else "")


def settled(
    engines: Mapping[str, str], seconds: Mapping[str, float], recorded: Mapping[str, set[str]]
) -> tuple[StepOutcome, ...]:
    """Tell what happened to each step of an official pipeline.

    Parameters
    ----------
    engines : mapping of str to str
        Steps that were to run, in order, and their engines.
    seconds : mapping of str to float
        Those that ran, see `StepLog`.
    recorded : mapping of str to set of str
        What the products' metadata say of each step. A step that ran and found that it does not apply says
        SKIPPED there; what earlier stages recorded of a step that did not run here does not count. Steps that the
        pipeline does not run on this kind of exposure are SKIPPED with the engine ``off``.
    """
    outcomes = []
    for alias, engine in engines.items():
        said = recorded.get(alias, set())
        ran = alias in seconds and ("COMPLETE" in said or "SKIPPED" not in said)
        took = round(seconds[alias], 3) if alias in seconds else None
        by = engine if alias in seconds else "off"
        outcomes.append(StepOutcome(alias, by, "COMPLETE" if ran else "SKIPPED", took))
    return tuple(outcomes)
