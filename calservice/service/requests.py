"""From what users give, in words or as values, to a `Request`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from calservice.model.errors import ParameterError
from calservice.model.modes import PIPELINES
from calservice.plan.engines import EngineName
from calservice.plan.expand import Start
from calservice.plan.parameter_files import layer_from_file
from calservice.plan.parameters import Layer
from calservice.plan.request import Filters, Request
from calservice.products.survey import program_pattern

__all__ = ["Several", "Target", "layers_of", "make_request", "several"]

Target = str | os.PathLike[str] | int
"""An association, exposure or folder (path or URL), or the ID of a program."""
Several = str | int | Iterable[str | int]
"""One value or more."""

_ORIGIN = "parameters"


def make_request(
    targets: Sequence[Target],
    *,
    programs: bool = False,
    level: int = 3,
    engine: str = "auto",
    start: str = "auto",
    inputs: str | None = None,
    observation: Several = (),
    instrument: Several = (),
    exp_type: Several = (),
    filter: Several = (),
    layers: Sequence[Layer] = (),
    **more: Any,
) -> Request:
    """Make a request.

    Parameters
    ----------
    targets : sequence of str, path or int
        Associations, exposures, folders; with ``programs`` also the ID of one program, which selects its files in
        ``inputs`` (by default the current folder).
    programs : bool
        Whether a target of up to five digits is a program.
    level, engine, start, inputs, layers, **more
        As in `Request`; ``level`` is its ``top``.
    observation, instrument, exp_type, filter : one or several
        Which exposures to take; nothing means all.

    Raises
    ------
    ParameterError
        Where one of these has a value that it cannot have.
    """
    places = tuple(target if isinstance(target, str) else _place(target) for target in targets)
    if not places:
        raise ParameterError("name at least one association, exposure or folder")
    ids = [target for target in targets if isinstance(target, str | int)] if programs else []
    pattern = next((found for found in map(program_pattern, map(str, ids)) if found), None)
    if pattern is not None:
        if len(places) > 1:
            raise ParameterError("name one program at a time")
        places, inputs = (inputs or ".",), None
    return Request(
        targets=places,
        inputs=inputs,
        pattern=pattern,
        engine=_one_of("engine", engine, EngineName),
        start=_one_of("start", start, Start),
        top=_one_of("level", level, Literal[1, 2, 3]),
        filters=Filters(*(frozenset(several(v, str.upper)) for v in (observation, instrument, exp_type, filter))),
        layers=tuple(layers),
        **more,
    )


def _place(target: Any) -> str:
    if isinstance(target, int):
        return str(target)
    try:
        return str(os.fspath(target))
    except TypeError:
        raise ParameterError(f"{target!r}: not a path, URL or program ID") from None


def several(values: Any, change: Any = str) -> tuple[str, ...]:
    """Return one value or several as words."""
    if isinstance(values, str | int | os.PathLike):
        values = (values,)
    return tuple(change(str(value)) for value in values)


def _one_of(name: str, value: Any, known: Any) -> Any:
    if value not in get_args(known):
        raise ParameterError(f"{name}={value!r}: not one of {', '.join(map(repr, get_args(known)))}")
    return value


def layers_of(parameters: Mapping[str, Any] | None, files: Any = ()) -> tuple[Layer, ...]:
    """Return the layers of parameter files and of a nested mapping with the official names.

    Parameters
    ----------
    parameters : mapping, optional
        ``{"steps": {"jump": {"rejection_threshold": 5}}}`` holds for every pipeline that has the step,
        ``{"calwebb_spec3": {"steps": {...}}}`` for one; names beside ``steps`` are parameters of the pipelines.
    files : path or sequence of paths
        Parameter files, which have lower precedence.

    Raises
    ------
    ParameterError
        Where the mapping does not have that form, or a file cannot be read. Names and values are checked with the plan.
    """
    general = dict(_mapping({} if parameters is None else parameters, ""))
    own = {name: _nested(general.pop(name), name) for name in list(general) if name in PIPELINES}
    layers = [layer_from_file(name) for name in several(files)]
    if general:
        layers.append(Layer(_ORIGIN, _nested(general, "")))
    return (*layers, *(Layer(_ORIGIN, values, pipeline) for pipeline, values in own.items()))


def _nested(values: Any, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _mapping(values, place).items():
        where = f"{place}.{name}" if place else name
        if name == "steps":
            steps = _mapping(value, where).items()
            found[name] = {s: {k: _plain(v) for k, v in _mapping(of, f"{where}.{s}").items()} for s, of in steps}
        elif isinstance(value, Mapping):
            near = difflib.get_close_matches(name, ("steps", *PIPELINES), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" For a step, write {{'steps': {{{name!r}: ...}}}}."
            raise ParameterError(f"{_ORIGIN}: {where!r} is neither 'steps' nor the alias of a pipeline.{hint}")
        else:
            found[name] = _plain(value)
    return found


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ParameterError(f"{_ORIGIN}: {place + ': ' if place else ''}names with values are expected, not {value!r}")
    return value


def _plain(value: Any) -> Any:
    """Return paths as text, and numbers of NumPy as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
