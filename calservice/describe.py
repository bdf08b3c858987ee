"""What pipelines and steps there are, and what they can be told: for ``-h``, ``steps``, completion and error messages.

Light to import, and quick: the official package is not imported but its description read, and where it is there, the
native steps are not imported either.
"""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from calservice.engines import official
from calservice.engines.official import Parameter
from calservice.model.errors import ParameterError
from calservice.model.modes import PIPELINE_CLASSES, PIPELINES
from calservice.recipes import RECIPES

__all__ = [
    "PARAMETER_FILES",
    "aliases",
    "assignments",
    "describe",
    "find",
    "list_steps",
    "native_aliases",
    "shown_value",
]

PARAMETER_FILES = (".asdf", ".yaml", ".yml")
"""How the names of parameter files end."""

_WIDTH = 110


def native_aliases() -> frozenset[str]:
    """Return the aliases of the native steps: each has a file of that name."""
    folder = Path(__file__).parent / "steps"
    return frozenset(path.stem for path in folder.glob("stage*/[a-z]*.py"))


def aliases() -> tuple[str, ...]:
    """Return the alias of every pipeline and step that an engine at hand can run."""
    entries = official.catalog().entries if official.available() else ()
    known = dict.fromkeys((*PIPELINES, *entries, *sorted(native_aliases())))
    served = {recipe.pipeline for recipe in RECIPES} | {*entries, *native_aliases()}
    return tuple(alias for alias in known if alias in served)


def find(name: str) -> str:
    """Return the alias of a pipeline or step given by alias, class path or class name.

    Parameters
    ----------
    name : str
        ``linearity``, ``LinearityStep``, ``jwst.step.LinearityStep``, ``calservice.steps.LinearityStep``; with the name
        of a package before (``jwst::linearity``), as stpipe has it.

    Raises
    ------
    ParameterError
        Where there is none, with the nearest names.
    """
    plain = name.rpartition("::")[2]
    if plain in PIPELINES or plain in aliases():
        return plain
    leaf = plain.rpartition(".")[2]
    if leaf in _classes():
        return _classes()[leaf]
    known = {known.lower(): known for known in (*_classes(), *aliases())}
    near = difflib.get_close_matches(leaf.lower(), known, n=1, cutoff=0.5)
    hint = f" Did you mean {known[near[0]]}?" if near else ""
    raise ParameterError(f"{name}: no such pipeline or step.{hint} `calservice steps` lists them.")


def _classes() -> Mapping[str, str]:
    """Return class names with their aliases."""
    if official.available():
        return {e.class_name: alias for alias, e in official.catalog().entries.items()} | {**PIPELINE_CLASSES}
    from calservice.steps.registry import NATIVE

    return {step.official.rpartition(".")[2]: alias for alias, step in NATIVE.items()} | {**PIPELINE_CLASSES}


def _sections(alias: str) -> list[tuple[str, str, str, Mapping[str, Parameter]]]:
    """Return name, alias, summary and parameters of a pipeline or step itself (name empty) and of its steps."""
    if official.available():
        catalog = official.catalog()
        entry = catalog[alias]
        found = [("", alias, entry.summary, entry.parameters)]
        return found + [(s, a, catalog[a].summary, catalog[a].parameters) for s, a in entry.steps.items()]
    from calservice.steps.registry import NATIVE

    if alias in NATIVE:
        return [("", alias, NATIVE[alias].summary, _native_parameters(alias))]
    recipes = [recipe for recipe in RECIPES if recipe.pipeline == alias]
    steps = dict.fromkeys(step for recipe in recipes for step in recipe.steps if step in NATIVE)
    return [("", alias, "", {})] + [(s, s, NATIVE[s].summary, _native_parameters(s)) for s in steps]


def _native_parameters(alias: str) -> dict[str, Parameter]:
    from calservice.engines.spec import check_of
    from calservice.steps.registry import NATIVE

    step = NATIVE[alias]
    found = {n: Parameter(n, check_of(f), f.description or "") for n, f in step.params.model_fields.items()}
    for reftype in step.reference_types:
        name = f"override_{reftype}"
        found[name] = Parameter(name, "is_string_or_datamodel(default=None)", f"Override the {reftype} reference")
    return found


def assignments(alias: str) -> dict[str, Parameter]:
    """Return everything that a pipeline or step can be told, by what stands before ``=`` on a command line.

    Parameters
    ----------
    alias : str
        As `find` returns it.

    Returns
    -------
    dict of str to Parameter
        By ``name`` and ``steps.<step>.<name>``.
    """
    return {
        f"steps.{step}.{name}" if step else name: parameter
        for step, _, _, parameters in _sections(alias)
        for name, parameter in parameters.items()
    }


def describe(name: str) -> str:
    """Return a page on a pipeline or step: its parameters with type, default and meaning.

    Parameters
    ----------
    name : str
        Alias, class, or parameter file.

    Raises
    ------
    ParameterError
        Where there is no such pipeline or step.
    """
    if name.endswith(PARAMETER_FILES):
        from calservice.plan.parameter_files import read_parameters

        name = read_parameters(name).class_name
    alias = find(name)
    native = native_aliases()
    lines: list[str] = []
    for step, inner, summary, parameters in _sections(alias):
        engine = "native" if inner in native else "official"
        if not step:
            kind = "" if alias in PIPELINES else f" ({engine})"
            lines += [f"{alias}{kind}: {summary}".rstrip(": "), ""]
            form = "[--NAME=VALUE] [--steps.STEP.NAME=VALUE]" if alias in PIPELINES else "[--NAME=VALUE]"
            lines += [f"  calservice run {alias} INPUT {form}...", ""]
        else:
            lines += ["", f"steps.{step} ({engine}): {summary}".rstrip(": "), ""]
        prefix = f"--steps.{step}." if step else "--"
        for key, parameter in parameters.items():
            lines += _entry(f"{prefix}{key}", parameter)
    lines += ["", "Options of the run itself (--engine, --context, --explain, --log-level ...): calservice run --help"]
    return "\n".join(lines)


def _entry(option: str, parameter: Parameter) -> list[str]:
    """Return the lines on one parameter: name, type, default; meaning."""
    meaning = textwrap.wrap(parameter.help, _WIDTH - 8)
    default = shown_value(parameter.default)
    return [f"  {option}  {_type(parameter)} [default: {default}]", *(f"        {line}" for line in meaning)]


def shown_value(value: object) -> str:
    """Return a value of a parameter as it is written on a command line."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown_value, value)) or "empty"
    return str(value).lower() if isinstance(value, bool) else str(value)


_TYPES = {
    "boolean": "true|false",
    "float": "number",
    "string": "text",
    "output_file": "file name",
    "input_file": "file",
    "is_string_or_datamodel": "file",
    "string_or_datamodel": "file",
    "list": "list",
}


def _type(parameter: Parameter) -> str:
    """Return the type of a parameter for people, with its bounds."""
    inside = parameter.check.partition("(")[2].rpartition(")")[0]
    words = re.sub(r",?\s*default\s*=.*", "", inside).strip()
    if parameter.type == "option":
        return "|".join(word.strip(" '\"") for word in words.split(","))
    kind = _TYPES.get(parameter.type, parameter.type.replace("_", " "))
    return f"{kind} ({words.replace('=', ' ')})" if words and parameter.type != "boolean" else kind


def list_steps(as_json: bool) -> str:
    """Return pipelines and steps with the engines that run them, as text or JSON."""
    native = native_aliases()
    entries = official.catalog().entries if official.available() else {}
    rows = []
    for alias in aliases():
        has_native = alias in native or any(r.pipeline == alias for r in RECIPES)
        engines = [e for e, has in (("native", has_native), ("jwst", alias in entries)) if has]
        kind = "pipeline" if alias in PIPELINES else "step"
        rows.append({"alias": alias, "kind": kind, "engines": engines, "summary": _sections(alias)[0][2]})
    if as_json:
        return json.dumps(rows, indent=1) + "\n"
    return _table([(r["alias"], r["kind"], "+".join(r["engines"]), r["summary"]) for r in rows])


def _table(rows: Iterable[tuple[object, ...]]) -> str:
    return "".join(f"{a:<24} {k:<9} {e:<12} {s}\n" for a, k, e, s in rows)
