"""Parameter files: ASDF as CRDS delivers them, and the YAML form of the pipeline's manual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calservice.engines import official
from calservice.model.errors import ParameterError
from calservice.plan.parameters import Layer

__all__ = ["ParameterFile", "layer_from_file", "read_parameters"]


@dataclass(frozen=True)
class ParameterFile:
    """The content of a parameter file: the class it is for, its values with steps nested under ``steps``."""

    path: str
    class_name: str
    values: dict[str, Any]


def read_parameters(path: str) -> ParameterFile:
    """Read a parameter file.

    Parameters
    ----------
    path : str
        An ``.asdf`` file with a tree of ``class``, ``name``, ``parameters`` and ``steps``, or the same as YAML.

    Raises
    ------
    ParameterError
        Not there, not readable, or without that structure.
    """
    if not Path(path).is_file():
        raise ParameterError(f"{path}: no such parameter file")
    tree = _asdf(path) if path.endswith(".asdf") else _yaml(path)
    if not isinstance(tree, Mapping) or not ({"parameters", "steps"} & set(tree)):
        raise ParameterError(f"{path}: not a parameter file: it has neither 'parameters' nor 'steps'")
    return ParameterFile(path, str(tree.get("class", "")).rpartition(".")[2], _values(tree, path))


def layer_from_file(path: str) -> Layer:
    """Return the layer that a user's parameter file makes.

    A file for a pipeline holds for that pipeline, one for a step wherever the step runs, one without a class (the
    manual's snippet with ``steps`` only) for every pipeline that has its steps.
    """
    read = read_parameters(path)
    if not read.class_name or not official.available():
        return Layer(f"parameter file {path}", read.values)
    for alias, entry in official.catalog().entries.items():
        if entry.class_name == read.class_name:
            if entry.steps:
                return Layer(f"parameter file {path}", read.values, pipeline=alias)
            return Layer(f"parameter file {path}", read.values, step=alias)
    raise ParameterError(f"{path}: no pipeline or step has the class {read.class_name}")


def _asdf(path: str) -> Any:
    import asdf

    try:
        with asdf.open(path, lazy_load=False, memmap=False) as file:
            return {k: v for k, v in file.tree.items() if k in ("class", "name", "parameters", "steps")}
    except (OSError, ValueError) as fault:
        raise ParameterError(f"{path}: not a readable ASDF file: {str(fault).splitlines()[0]}") from None


def _yaml(path: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ParameterError(f"{path}: not readable as YAML: {' '.join(str(fault).split())}") from None


def _values(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
    values = _mapping(tree.get("parameters"), path, "parameters")
    steps: dict[str, Any] = {}
    given = tree.get("steps") or ()
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise ParameterError(f"{path}: 'steps' is not a list")
    for step in given:
        if not isinstance(step, Mapping):
            raise ParameterError(f"{path}: each entry under 'steps' has 'class' or 'name', and 'parameters'")
        name = step.get("name") or _alias(str(step.get("class", "")))
        if not name:
            raise ParameterError(f"{path}: a step without 'name' and with unknown 'class' {step.get('class')!r}")
        steps[str(name)] = _mapping(step.get("parameters"), path, f"parameters of {name}")
    for universal in ("logcfg", "name", "class"):
        values.pop(universal, None)
    return {**values, "steps": steps} if steps else values


def _mapping(value: Any, path: str, what: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise ParameterError(f"{path}: {what}: names and values are expected, not {value!r}")
    return dict(value or {})


def _alias(class_path: str) -> str:
    """Return the alias of the step class with the given path or name."""
    wanted = class_path.rpartition(".")[2]
    if official.available():
        for alias, entry in official.catalog().entries.items():
            if entry.class_name == wanted:
                return alias
    from calservice.plan.engines import native_steps

    return next((a for a, s in native_steps().items() if s.official.endswith(f".{wanted}")), "")
