"""``calservice run`` and ``calservice steps``: one pipeline or step on one input, and what there is to run."""

from __future__ import annotations

import difflib
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from calservice import report
from calservice.engines import official
from calservice.model.errors import ParameterError, Problems, TransientError
from calservice.model.modes import PIPELINE_CLASSES, PIPELINES
from calservice.model.outcome import Job, Outcome, exit_status
from calservice.model.plan import Plan
from calservice.plan.build import Request, make_single_plan
from calservice.plan.engines import EngineName, native_steps
from calservice.plan.parameter_files import layer_from_file, read_parameters
from calservice.plan.parameters import Layer, layer_of, parse_assignment
from calservice.products.store import Store
from calservice.recipes import RECIPES
from calservice.run.stage import Failure, run_stage

__all__ = ["describe", "find", "list_steps", "run"]

_FILES = (".asdf", ".yaml", ".yml")


def find(name: str) -> str:
    """Return the alias of a pipeline or step given by alias, class path or class name.

    Raises
    ------
    ParameterError
        Where there is none, with the nearest name.
    """
    aliases = dict.fromkeys(
        (*PIPELINES, *native_steps(), *(official.catalog().entries if official.available() else ()))
    )
    if name in aliases:
        return name
    leaf = name.rpartition(".")[2]
    if official.available():
        for alias, entry in official.catalog().entries.items():
            if entry.class_name == leaf:
                return alias
    if leaf in PIPELINE_CLASSES:
        return PIPELINE_CLASSES[leaf]
    for alias, step in native_steps().items():
        if step.official.rpartition(".")[2] == leaf:
            return alias
    near = difflib.get_close_matches(name, aliases, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ParameterError(f"{name}: no such pipeline or step.{hint} `calservice steps` lists them.")


def run(
    name: str,
    target: str,
    parameters: Sequence[str],
    *,
    console: Console,
    engine: EngineName = "auto",
    context: str | None = None,
    param_files: Sequence[str] = (),
    threads: int = 1,
) -> int:
    """Run one pipeline or step and return the exit status of ``strun``: 0, 1, or 64 for no science data.

    Raises
    ------
    CalserviceError
        Where it cannot start; `Problems` with everything found wrong.
    """
    layers: list[Layer] = []
    if name.endswith(_FILES):
        layers.append(layer_from_file(name))
        name = read_parameters(name).class_name
    alias = find(name)
    layers += [layer_from_file(path) for path in param_files]
    output = "."
    for word in parameters:
        path, value = parse_assignment(word)
        if path == ["output_dir"]:
            output = value
            continue
        layer = layer_of(path, value, ())
        layers.append(Layer(layer.origin, layer.values, alias))
    request = Request((target,), output=output, engine=engine, context=context, layers=tuple(layers), force=True)
    plan = make_single_plan(alias, target, request)
    if plan.problems:
        raise Problems(plan.problems)
    outcomes = _run_here(plan, threads)
    report.print_outcomes(plan, outcomes, console)
    return exit_status(outcomes)


def _run_here(plan: Plan, threads: int) -> list[Outcome]:
    """Run the stages in this process, with the log on the terminal as strun has it."""
    screen = logging.StreamHandler()
    screen.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logging.getLogger().addHandler(screen)
    store = Store(plan.output)
    job = Job("run", store.root if store.local else store.url, plan.context, plan.cache, threads=threads)
    outcomes = []
    for stage in plan:
        with tempfile.TemporaryDirectory(prefix="calservice-run-") as folder:
            result = run_stage(stage, job, Path(folder, "0"), {})
        if isinstance(result, Failure):
            raise TransientError(result.message)
        outcomes.append(result)
    logging.getLogger().removeHandler(screen)
    return outcomes


def describe(name: str) -> str:
    """Return the parameters of a pipeline or step with type, default and meaning."""
    alias = find(read_parameters(name).class_name if name.endswith(_FILES) else name)
    lines: list[str] = []
    if official.available() and alias in official.catalog():
        entry = official.catalog()[alias]
        lines = [f"{alias} ({entry.path}): {entry.summary}", ""]
        lines += [_line(n, p.check, p.help) for n, p in entry.parameters.items()]
        for step, inner in entry.steps.items():
            lines += ["", f"steps.{step}: {official.catalog()[inner].summary}"]
            parameters = official.catalog()[inner].parameters.items()
            lines += [_line(f"steps.{step}.{n}", p.check, p.help) for n, p in parameters]
    elif alias in native_steps():
        step_value = native_steps()[alias]
        lines = [f"{alias}: {step_value.summary}", ""]
        for field, info in step_value.params.model_fields.items():
            lines.append(
                _line(field, f"{_type_name(info.annotation)}(default={info.default!r})", info.description or "")
            )
    return "\n".join(lines)


def _line(name: str, check: str, meaning: str) -> str:
    return f"  --{name} = {check}" + (f"\n        {meaning}" if meaning else "")


def _type_name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)


def list_steps(as_json: bool) -> str:
    """Return pipelines and steps with the engines that run them, as text or JSON."""
    entries = official.catalog().entries if official.available() else {}
    native = native_steps()
    rows = []
    for alias in dict.fromkeys((*PIPELINES, *entries, *native)):
        has_native = alias in native or any(r.pipeline == alias for r in RECIPES)
        engines = [e for e, has in (("native", has_native), ("jwst", alias in entries)) if has]
        summary = native[alias].summary if alias in native else entries[alias].summary if alias in entries else ""
        kind = "pipeline" if alias in PIPELINES else "step"
        rows.append({"alias": alias, "kind": kind, "engines": engines, "summary": summary})
    if as_json:
        return json.dumps(rows, indent=1) + "\n"
    return "".join(f"{r['alias']:<24} {r['kind']:<9} {'+'.join(r['engines']):<12} {r['summary']}\n" for r in rows)
