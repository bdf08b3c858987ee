"""Effective parameters: the value of every one, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calservice.model.plan import Stage
from calservice.plan.engines import schemas_for
from calservice.plan.parameters import Schema

__all__ = ["DEFAULT", "Effective", "effective"]

DEFAULT = "default"


@dataclass(frozen=True)
class Effective:
    """One parameter of a stage.

    Attributes
    ----------
    step : str
        The step it belongs to; empty for the pipeline (or single step) itself.
    name : str
        Its name.
    value : object
        Its value, converted.
    origin : str
        ``command line``, ``parameter file …``, ``CRDS …`` or ``default``.
    """

    step: str
    name: str
    value: Any
    origin: str

    @property
    def dotted(self) -> str:
        """The name as it stands on a command line, without dashes."""
        return f"steps.{self.step}.{self.name}" if self.step else self.name


def effective(stage: Stage) -> list[Effective]:
    """Return every parameter of a stage, the pipeline's own first, then step by step.

    Parameters
    ----------
    stage : Stage
        With its parameters settled.

    Returns
    -------
    list of Effective
    """
    schemas = schemas_for(stage.pipeline, stage.exposure.instrument if stage.exposure else "")
    values = stage.parameters
    found = _part("", schemas.own, values, stage)
    for step, schema in schemas.steps.items():
        found += _part(step, schema, values.get("steps", {}).get(step, {}), stage)
    return found


def _part(step: str, schema: Schema, values: Any, stage: Stage) -> list[Effective]:
    rows = []
    for name in schema.names():
        dotted = f"steps.{step}.{name}" if step else name
        told = dotted in stage.origins and name in values
        value = values[name] if told else schema.default(name)
        rows.append(Effective(step, name, value, stage.origins[dotted] if told else DEFAULT))
    return rows
