"""The official engine: what the installed ``jwst`` package offers, and the parameters of each.

Nothing here imports jwst. The package is described once for each installed version by `introspect`, in a process of
its own, and the description is kept in the user's cache folder; so command lines stay quick and the description is
always that of the package that will run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from calservice.model.errors import EngineError, ParameterError

__all__ = ["Catalog", "Entry", "Parameter", "available", "catalog", "items", "version"]

_FORMAT = 3


@dataclass(frozen=True)
class Parameter:
    """One parameter of an official pipeline or step: its check in the configobj language, and its meaning."""

    name: str
    check: str
    help: str = ""

    @property
    def type(self) -> str:
        """Name of the type: ``float``, ``option`` ..."""
        return self.check.partition("(")[0]

    @property
    def default(self) -> Any:
        """The default value."""
        return self.convert(_validator().get_default_value(self.check))

    def convert(self, value: Any) -> Any:
        """Check and convert a value, given as text or as itself.

        Raises
        ------
        ParameterError
            Where the value does not fit.
        """
        from configobj.validate import ValidateError

        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        if self.type.endswith("list") and isinstance(value, str):
            value = items(value)
        if isinstance(value, bool) and self.type not in ("boolean", "is_string_or_datamodel"):
            value = str(value)
        try:
            return _validator().check(self.check, value)
        except (ValidateError, TypeError, ValueError) as fault:
            raise ParameterError(f"{self.name}={value!r}: {fault}; expected {self.check}") from None


@dataclass(frozen=True)
class Entry:
    """One official pipeline or step.

    Attributes
    ----------
    alias, path : str
        Its alias and the dotted path of its class.
    steps : mapping of str to str
        Steps of a pipeline, in declaration order: name within the pipeline to alias.
    references : tuple of str
        Reference types of a step.
    pars : str
        CRDS type of its parameter reference.
    """

    alias: str
    path: str
    summary: str
    references: tuple[str, ...] = ()
    pars: str = ""
    steps: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """Name of the class without its module."""
        return self.path.rpartition(".")[2]

    @property
    def off(self) -> bool:
        """Whether a pipeline skips this step unless told otherwise."""
        skip = self.parameters.get("skip")
        return skip is not None and skip.default is True


@dataclass(frozen=True)
class Catalog:
    """Everything the installed jwst package offers, by alias."""

    version: str
    entries: Mapping[str, Entry]

    def __getitem__(self, alias: str) -> Entry:
        return self.entries[alias]

    def __contains__(self, alias: str) -> bool:
        return alias in self.entries

    def references(self, alias: str, skipped: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Return the reference types that a pipeline or step uses, without those of skipped steps."""
        entry = self.entries[alias]
        found: dict[str, None] = dict.fromkeys(entry.references)
        for name, inner in entry.steps.items():
            if name not in skipped:
                found |= dict.fromkeys(self.references(inner))
        return tuple(found)

    def pars(self, alias: str) -> dict[str, str]:
        """Return the types of the parameter references of a pipeline and its steps: dotted name to type."""
        entry = self.entries[alias]
        return {"": entry.pars} | {name: self.entries[inner].pars for name, inner in entry.steps.items()}


def items(text: str) -> list[str]:
    """Split a list as it stands on a command line at its commas, but not within brackets or quotes.

    ``[1, 2]`` and ``1, 2`` are the same list.
    """
    inside = text.strip()
    if inside[:1] + inside[-1:] in ("[]", "()"):
        inside = inside[1:-1]
    parts = re.findall(r"""(?:[^,("'\[]|\([^)]*\)|\[[^]]*\]|"[^"]*"|'[^']*'|["'([])+""", inside)
    return [part.strip().strip("'\"") for part in parts if part.strip()]


def version() -> str | None:
    """Return the version of the installed jwst package, None where there is none."""
    try:
        return metadata.version("jwst")
    except metadata.PackageNotFoundError:
        return None


def available() -> bool:
    """Whether the official engine is installed."""
    return version() is not None


@cache
def catalog() -> Catalog:
    """Return the description of the installed jwst package.

    Raises
    ------
    EngineError
        Where jwst is not installed or cannot be imported.
    """
    found = version()
    if found is None:
        raise EngineError("the official engine is not installed. Install it with: pip install 'calservice[jwst]'")
    path = _cache_folder() / f"jwst-{found}-py{sys.version_info.major}.{sys.version_info.minor}-{_FORMAT}.json"
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        content = _introspect()
        _keep(path, content)
    return Catalog(found, {alias: _entry(alias, described) for alias, described in content.items()})


def _introspect() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "calservice.engines.introspect"], capture_output=True, text=True, check=False
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"the official engine cannot be imported: {last}. Reinstall it: pip install 'calservice[jwst]'"
        )
    content: dict[str, Any] = json.loads(run.stdout)
    return content


def _keep(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps(content))
        os.replace(part, path)
    except OSError:
        return  # a home that cannot be written costs ten seconds a run, not the run


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calservice"


def _entry(alias: str, described: Mapping[str, Any]) -> Entry:
    return Entry(
        alias=alias,
        path=described["path"],
        summary=described["summary"],
        references=tuple(described["references"]),
        pars=described["pars"],
        steps=described["steps"],
        parameters={n: Parameter(n, p["check"], p["help"]) for n, p in described["parameters"].items()},
    )


_CAL_STEPS: Mapping[str, str] = {
    "dark_sub": "dark_current",
    "back_sub": "bkg_subtract",
    "imprint": "imprint_subtract",
    "nsclean": "clean_flicker_noise",
    "wfs_combine": "calwebb_wfs-image3",
}


def alias_of_cal_step(name: str) -> str:
    """Return the name of the step in its pipeline that ``meta.cal_step.<name>`` records."""
    return _CAL_STEPS.get(name, name)


@cache
def _validator() -> Any:
    from configobj.validate import Validator

    def text(value: Any, default: Any = None) -> Any:
        return value if value is None else str(value)

    return Validator({"output_file": text, "input_file": text, "is_string_or_datamodel": text})
