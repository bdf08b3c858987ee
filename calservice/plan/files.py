"""Files that parameters name: found where the user stands, read and hashed before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from calservice.model.errors import CalserviceError, ParameterError
from calservice.model.names import is_url
from calservice.model.plan import ReferenceUse
from calservice.plan.parameters import Schema, Schemas, Settings

__all__ = ["named_files", "settle_folders"]

_HOOKS = ("pre_hooks", "post_hooks")


def named_files(settings: Settings, schemas: Schemas) -> tuple[dict[str, ReferenceUse], list[CalserviceError]]:
    """Settle the files that parameters name: ``override_<type>``, catalogs, masks, programs in hooks.

    Relative names are made absolute in ``settings``, since stages run elsewhere.

    Parameters
    ----------
    settings : Settings
        Checked parameters; changed in place.
    schemas : Schemas
        What the pipeline and its steps accept.

    Returns
    -------
    dict of str to ReferenceUse
        The files with their checksums, by the dotted name of the parameter.
    list of CalserviceError
        Overrides that cannot be read.
    """
    found: dict[str, ReferenceUse] = {}
    problems: list[CalserviceError] = []
    for prefix, schema, values in _parts(settings, schemas):
        for name, value in list(values.items()):
            if name.startswith("override_") and value:
                try:
                    use = _override(name.removeprefix("override_"), str(value))
                except CalserviceError as fault:
                    problems.append(fault)
                    continue
                values[name] = use.path or "N/A"
                found[f"{prefix}{name}"] = replace(use, step=prefix.removeprefix("steps.").rstrip("."))
            elif name in _HOOKS:
                values[name] = [_command(hook) for hook in value]
            elif isinstance(value, list):
                values[name] = [_file(one, f"{prefix}{name}", found) if isinstance(one, str) else one for one in value]
            elif isinstance(value, str) and schema.takes_file(name):
                values[name] = _file(value, f"{prefix}{name}", found)
    return found, problems


def _parts(settings: Settings, schemas: Schemas) -> Iterator[tuple[str, Schema, dict[str, Any]]]:
    yield "", schemas.own, settings.values
    for step, values in settings.values.get("steps", {}).items():
        yield f"steps.{step}.", schemas.steps[step], values


def settle_folders(settings: Settings, output: str, single: bool) -> list[CalserviceError]:
    """Settle where steps write that were told a folder of their own (``output_dir``).

    Parameters
    ----------
    settings : Settings
        Checked parameters; changed in place: folders become relative to ``output``, or absolute paths.
    output : str
        Folder or URL of the job's products.
    single : bool
        Whether this is the run of one pipeline or step: folders are then relative to the current one and may lie
        anywhere, as for ``strun``. In a job they lie below the output.

    Returns
    -------
    list of CalserviceError
        What is not allowed.
    """
    problems: list[CalserviceError] = []
    if settings.values.get("output_dir") is not None and not single:
        problems.append(ParameterError("output_dir: the products of a job go to --output; set it for single steps"))
    for step, values in settings.values.get("steps", {}).items():
        folder = values.get("output_dir")
        if not folder:
            continue
        place = os.path.expandvars(os.path.expanduser(folder))
        if single and not is_url(output):
            root = os.path.abspath(output)
            place = os.path.abspath(place)
            place = os.path.relpath(place, root) if Path(place).is_relative_to(root) else place
        elif os.path.isabs(place) or ".." in PurePosixPath(place).parts or is_url(place):
            problems.append(ParameterError(f"steps.{step}.output_dir={folder}: lies outside the output of the job"))
        values["output_dir"] = place
    return problems


def _override(reftype: str, value: str) -> ReferenceUse:
    from calservice.references.cache import override

    if value.strip().upper() == "N/A":
        return ReferenceUse(reftype, "N/A")
    file = override(value)
    return ReferenceUse(reftype, str(file.path), file.sha1, file.size, str(file.path))


def _file(value: str, name: str, found: dict[str, ReferenceUse]) -> str:
    """Return the absolute path of an existing file, and note it; any other text as it is."""
    from calservice.references.records import sha1_of

    path = Path(os.path.expandvars(value)).expanduser()
    if not value.strip() or not ("." in value or "/" in value) or not path.is_file():
        return value
    place = path.absolute()
    found[name] = ReferenceUse(name, str(place), sha1_of(place), place.stat().st_size, str(place))
    return str(place)


def _command(hook: Any) -> Any:
    """Return a hook with the files that it names as words made absolute."""
    if not isinstance(hook, str):
        return hook
    words = hook.split(" ")
    return " ".join(str(Path(word).absolute()) if "." in word and Path(word).is_file() else word for word in words)
