"""Describe the installed ``jwst`` package as JSON: every pipeline and step, its parameters and reference types.

Run as ``python -m calservice.engines.introspect``. It imports all of jwst, which takes ten seconds or so; `official`
runs it once for each installed version and keeps the answer.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import Any


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _parameters(cls: Any) -> dict[str, dict[str, str]]:
    spec = cls.load_spec_file()
    comments = {key: " ".join((spec.inline_comments.get(key) or "").split()) for key in spec.scalars}
    return {
        key: {"check": str(spec[key]), "help": comments[key].lstrip("# ").strip()}
        for key in spec.scalars
        if key not in ("name", "class", "config_file", "logcfg")
    }


def describe() -> dict[str, Any]:
    """Return the description of every pipeline and step of the installed jwst package, by alias."""
    from jwst.stpipe.integration import get_steps

    found: dict[str, Any] = {}
    for path, alias, _ in get_steps():
        cls = _load(path)
        for name, step in getattr(cls, "step_defs", {}).items():
            found.setdefault(step.class_alias or name, _entry(step, f"{step.__module__}.{step.__name__}"))
        found[alias] = _entry(cls, path)
    return found


def _entry(cls: Any, path: str) -> dict[str, Any]:
    steps = {name: step.class_alias or name for name, step in getattr(cls, "step_defs", {}).items()}
    is_pipeline = bool(steps)
    summary = (cls.__doc__ or "").strip().splitlines()
    return {
        "path": path,
        "is_pipeline": is_pipeline,
        "summary": summary[0].strip() if summary else "",
        "references": [] if is_pipeline else sorted(cls.reference_file_types),
        "prefetch": bool(getattr(cls, "prefetch_references", True)),
        "pars": cls.get_config_reftype(),
        "steps": steps,
        "parameters": _parameters(cls),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        description = describe()
    json.dump(description, sys.stdout)
