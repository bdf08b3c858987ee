"""The parameters of a native step in the language of stpipe: one line of ``spec`` each, made from its `Params`."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge
from pydantic.fields import FieldInfo

from calservice.model.step import Params

__all__ = ["check_of", "own_parameters", "spec_text"]

_CHECKS: dict[Any, str] = {bool: "boolean", int: "integer", float: "float", str: "string"}


def own_parameters(params: type[Params]) -> tuple[str, ...]:
    """Return the names of the parameters that a step has beside those of every step, or with defaults of its own."""
    general = Params.model_fields
    return tuple(
        name
        for name, field in params.model_fields.items()
        if name not in general or field.default != general[name].default
    )


def spec_text(params: type[Params], names: tuple[str, ...]) -> str:
    """Write parameters as stpipe declares them.

    Parameters
    ----------
    params : type of Params
        The parameters of a step.
    names : tuple of str
        Those to declare.

    Returns
    -------
    str
        Lines ``name = type(default=value)  # meaning``.
    """
    fields = {name: params.model_fields[name] for name in names}
    meanings = {name: f"  # {field.description}" if field.description else "" for name, field in fields.items()}
    return "".join(f"{name} = {check_of(field)}{meanings[name]}\n" for name, field in fields.items())


def check_of(field: FieldInfo) -> str:
    """Return the declaration of one parameter: ``type(default=value)``."""
    extra = field.json_schema_extra
    given = extra.get("check") if isinstance(extra, dict) else None
    kind = _plain(field.annotation)
    if get_origin(kind) is list and given is None:
        return "list(default=list())"
    if given is None and get_origin(kind) is Literal:
        return f"option({', '.join(map(repr, get_args(kind)))}, default={field.default!r})"
    least = "".join(f",min={limit.ge}" for limit in field.metadata if isinstance(limit, Ge))
    return f"{given or _CHECKS[kind]}(default={field.default!r}{least})"


def _plain(annotation: Any) -> Any:
    """Return a type without its ``| None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not type(None))
    return annotation
