"""Parameters: from defaults, CRDS, files and command line to one checked set for each stage."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, get_origin

from pydantic import ValidationError

from calservice.engines.official import items
from calservice.engines.spec import plain
from calservice.model.errors import CalserviceError, ParameterError
from calservice.model.step import Params, Step

__all__ = [
    "Layer",
    "NativeSchema",
    "Schema",
    "Schemas",
    "Settings",
    "layer_of",
    "parse_assignment",
    "resolve",
    "unused",
]

_OVERRIDE = re.compile(r"^override_[A-Za-z_][A-Za-z0-9_]*$")
_FILE_TYPES = ("string", "input_file", "is_string_or_datamodel", "string_or_datamodel")
_NO_INPUTS = frozenset(("output_file", "output_dir", "output_ext", "suffix", "input_dir"))


class Schema(Protocol):
    """The parameters of one pipeline or step."""

    def names(self) -> Iterable[str]:
        """Return the parameter names."""

    def convert(self, name: str, value: Any) -> Any:
        """Check and convert one value; raise ParameterError where it does not fit."""

    def default(self, name: str) -> Any:
        """Return the default of a parameter."""

    def takes_file(self, name: str) -> bool:
        """Whether a parameter may name a file that is read."""


@dataclass(frozen=True)
class OfficialSchema:
    """Schema over the parameters of an official pipeline or step."""

    parameters: Mapping[str, Any]

    def names(self) -> Iterable[str]:
        """Return the parameter names."""
        return self.parameters.keys()

    def convert(self, name: str, value: Any) -> Any:
        """Check and convert one value."""
        return self.parameters[name].convert(value)

    def default(self, name: str) -> Any:
        """Return the default of a parameter."""
        return self.parameters[name].default

    def takes_file(self, name: str) -> bool:
        """Whether a parameter may name a file that is read."""
        return name not in _NO_INPUTS and self.parameters[name].type in _FILE_TYPES


@dataclass(frozen=True)
class NativeSchema:
    """Schema over a native step's `Params`."""

    params: type[Params]
    references: tuple[str, ...] = ()

    def names(self) -> Iterable[str]:
        """Return the parameter names."""
        return (*self.params.model_fields, *(f"override_{r}" for r in self.references))

    def convert(self, name: str, value: Any) -> Any:
        """Check and convert one value."""
        if _OVERRIDE.match(name):
            return None if value is None else str(value)
        if isinstance(value, str) and value.lower() == "none":
            value = None
        if isinstance(value, str) and get_origin(plain(self.params.model_fields[name].annotation)) is list:
            value = items(value)
        try:
            checked = self.params.model_validate({name: value})
        except ValidationError as fault:
            message = fault.errors()[0]["msg"]
            raise ParameterError(f"{name}={value!r}: {message}") from None
        return getattr(checked, name)

    def default(self, name: str) -> Any:
        """Return the default of a parameter."""
        field = self.params.model_fields.get(name)
        return None if field is None else field.get_default(call_default_factory=True)

    def takes_file(self, name: str) -> bool:
        """Whether a parameter may name a file that is read."""
        field = self.params.model_fields.get(name)
        return name not in _NO_INPUTS and field is not None and field.annotation in (str, str | None)


@dataclass(frozen=True)
class Schemas:
    """The schema of a pipeline and of its steps by name."""

    alias: str
    own: Schema
    steps: Mapping[str, Schema] = field(default_factory=dict)

    def dotted(self) -> Iterable[str]:
        """Return every parameter as ``name`` or ``steps.<step>.<name>``."""
        yield from self.own.names()
        for step, schema in self.steps.items():
            yield from (f"steps.{step}.{name}" for name in schema.names())


@dataclass(frozen=True)
class Layer:
    """Parameters from one place.

    Attributes
    ----------
    origin : str
        Where they come from, for people.
    pipeline : str or None
        The pipeline (or single step) they are meant for; None for every pipeline that has the steps named.
    values : mapping
        Own parameters, and ``steps`` by step name.
    step : str or None
        Set where the values are those of one step, wherever it runs.
    """

    origin: str
    values: Mapping[str, Any]
    pipeline: str | None = None
    step: str | None = None

    def nested(self) -> Mapping[str, Any]:
        """Return the values with those of a step under ``steps``."""
        return {"steps": {self.step: self.values}} if self.step else self.values

    def dotted(self) -> tuple[str, ...]:
        """Return what is set, as ``name`` or ``steps.<step>.<name>``."""
        nested = self.nested()
        steps = nested.get("steps", {})
        own = [name for name in nested if name != "steps"]
        return (*own, *(f"steps.{step}.{name}" for step, values in steps.items() for name in values))


@dataclass(frozen=True)
class Settings:
    """Checked parameters: nested values, and the origin of each by dotted name."""

    values: dict[str, Any]
    origins: dict[str, str]

    def step(self, name: str) -> dict[str, Any]:
        """Return the values set for one step."""
        return dict(self.values.get("steps", {}).get(name, {}))

    @property
    def skipped(self) -> frozenset[str]:
        """Names of the steps that are told to be skipped."""
        return frozenset(n for n, v in self.values.get("steps", {}).items() if v.get("skip") is True)


def parse_assignment(text: str) -> tuple[list[str], str]:
    """Split ``--steps.jump.skip=true`` into its path and value.

    Raises
    ------
    ParameterError
        Where there is no ``=``, or the path is empty.
    """
    name, equals, value = text.lstrip("-").partition("=")
    path = name.split(".")
    if not equals or not all(path):
        raise ParameterError(
            f"{text!r} is not a parameter; write --name=value or --steps.<step>.<name>=value; --help lists options"
        )
    return path, value.strip("'\"")


def layer_of(path: Sequence[str], value: Any, pipelines: Collection[str]) -> Layer:
    """Turn one assignment into a layer; its path may start with the alias of a pipeline."""
    pipeline = None
    rest = list(path)
    if len(rest) > 1 and rest[0] in pipelines:
        pipeline = rest.pop(0)
    if len(rest) == 3 and rest[0] == "steps":
        values: dict[str, Any] = {"steps": {rest[1]: {rest[2]: value}}}
    elif len(rest) == 1:
        values = {rest[0]: value}
    else:
        dotted = ".".join(path)
        form = "write --name=value or --steps.<step>.<name>=value, with the alias of a pipeline before if need be"
        raise ParameterError(f"--{dotted}: {form}.{_near(path[0], pipelines)}")
    return Layer("command line", values, pipeline)


def resolve(schemas: Schemas, layers: Sequence[Layer]) -> tuple[Settings, list[CalserviceError], set[tuple[int, str]]]:
    """Lay parameters over each other, lowest precedence first, and check every one.

    Parameters
    ----------
    schemas : Schemas
        What the pipeline and its steps accept.
    layers : sequence of Layer
        Lowest precedence first.

    Returns
    -------
    Settings
        The checked values that were set, with origins.
    list of CalserviceError
        What did not fit.
    set of tuple of int and str
        What had a meaning for this pipeline: index of the layer, and dotted name.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[CalserviceError] = []
    used: set[tuple[int, str]] = set()
    for index, layer in enumerate(layers):
        if layer.pipeline not in (None, schemas.alias):
            continue
        general = layer.pipeline is None
        nested = layer.nested()
        if layer.step == schemas.alias:  # the step runs by itself
            used |= {(index, name) for name in layer.dotted()}
            nested, general = layer.values, False
        for name, value in nested.items():
            if name == "steps" or (general and name not in set(schemas.own.names())):
                continue
            used.add((index, name))
            _set(schemas.own, schemas.alias, (name,), value, layer, values, origins, problems)
        for step, settings in nested.get("steps", {}).items():
            if general and step not in schemas.steps:
                continue
            used |= {(index, f"steps.{step}.{name}") for name in settings}
            if step not in schemas.steps:
                problems.append(_unknown(f"{schemas.alias} has no step {step!r}", step, schemas.steps, layer))
                continue
            for name, value in settings.items():
                place = ("steps", step, name)
                _set(schemas.steps[step], step, place, value, layer, values, origins, problems)
    return Settings(values, origins), problems, used


def _set(
    schema: Schema,
    owner: str,
    place: tuple[str, ...],
    value: Any,
    layer: Layer,
    values: dict[str, Any],
    origins: dict[str, str],
    problems: list[CalserviceError],
) -> None:
    name = place[-1]
    if name not in set(schema.names()):
        problems.append(_unknown(f"{owner} has no parameter {name!r}", name, schema.names(), layer))
        return
    try:
        converted = schema.convert(name, value)
    except ParameterError as fault:
        problems.append(ParameterError(f"{layer.origin}: {owner}: {fault}"))
        return
    inner = values
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[name] = converted
    origins[".".join(place)] = layer.origin


def unused(layers: Sequence[Layer], used: Collection[tuple[int, str]], known: Collection[str]) -> list[CalserviceError]:
    """Return what was set for no pipeline of the job.

    Parameters
    ----------
    layers : sequence of Layer
        What the user set.
    used : collection of tuple of int and str
        What had a meaning somewhere, as `resolve` tells.
    known : collection of str
        Dotted names of all parameters that the pipelines of the job have.
    """
    problems: list[CalserviceError] = []
    for index, layer in enumerate(layers):
        for name in layer.dotted():
            if (index, name) not in used:
                where = layer.pipeline or "any pipeline of this job"
                fault = f"{layer.origin}: --{name}: {where} has no such step or parameter."
                problems.append(ParameterError(f"{fault}{_near(name, known)}"))
    return problems


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _unknown(message: str, name: str, known: Iterable[str], layer: Layer) -> ParameterError:
    names = sorted(known)
    hint = _near(name, names) or f" Known: {', '.join(names)}."
    return ParameterError(f"{layer.origin}: {message}.{hint}")


def schema_of(step: Step) -> NativeSchema:
    """Return the schema of a native step."""
    return NativeSchema(step.params, step.reference_types)
