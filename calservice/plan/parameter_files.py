"""Parameter files: ASDF as CRDS delivers them, and the YAML form of the pipeline's manual."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from calservice.engines import official
from calservice.model.errors import ParameterError
from calservice.model.modes import PIPELINE_CLASSES
from calservice.plan.engines import native_steps
from calservice.plan.explain import Effective
from calservice.plan.parameters import Layer
from calservice.products.store import Store
from calservice.recipes import RECIPES

__all__ = ["ParameterFile", "layer_from_file", "read_parameters", "write_parameters"]


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


def write_parameters(path: str, alias: str, rows: Sequence[Effective]) -> None:
    """Write effective parameters to an ASDF file, as ``strun --save-parameters`` does: both can read it.

    Overrides of references that nobody set are left out.

    Parameters
    ----------
    path : str
        The file; it is written whole or not at all.
    alias : str
        The pipeline or step.
    rows : sequence of Effective
        Its parameters, as `calservice.plan.explain.effective` returns them.

    Raises
    ------
    OutputError
        Where it cannot be written.
    """
    import asdf

    told = [row for row in rows if not (row.name.startswith("override_") and row.value is None)]
    names = dict.fromkeys(row.step for row in told if row.step)
    classes = _class_paths(alias)
    tree: dict[str, Any] = _part(classes[""], alias, told, "")
    if names:
        tree["steps"] = [_part(classes[name], name, told, name) for name in names]
    tree["meta"] = dict.fromkeys(_META, "<SPECIFY>") | {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "description": f"Parameters for calibration step {classes['']}",
        "instrument": {"name": "<SPECIFY>"},
    }
    buffer = BytesIO()
    asdf.AsdfFile(tree).write_to(buffer)
    where = Path(path).absolute()
    Store(where.parent).write(buffer.getvalue(), where.name)


_META = ("author", "origin", "pedigree", "reftype", "telescope", "useafter")


def _part(class_path: str, name: str, rows: Sequence[Effective], step: str) -> dict[str, Any]:
    return {"class": class_path, "name": name, "parameters": {row.name: row.value for row in rows if row.step == step}}


def _class_paths(alias: str) -> dict[str, str]:
    """Return the official class of a pipeline or step (empty name), and of its steps by name."""
    if official.available():
        catalog = official.catalog()
        return {"": catalog[alias].path} | {n: catalog[a].path for n, a in catalog[alias].steps.items()}
    native = {name: step.official for name, step in native_steps().items()}
    own = {path: f"jwst.pipeline.{name}" for name, path in PIPELINE_CLASSES.items()}
    recipe = {step: native.get(step, step) for r in RECIPES if r.pipeline == alias for step in r.steps}
    return {"": native.get(alias) or own[alias]} | recipe


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
    return next((a for a, s in native_steps().items() if s.official.endswith(f".{wanted}")), "")
