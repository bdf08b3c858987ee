"""Official steps take their references from a pinned context: no network, no locks, no missing paths.

`install` is called once in each process that runs steps of the jwst package. It replaces the
functions of ``stpipe.crds_client`` through which every step asks for references (stpipe's steps and
pipelines, ``jwst.stpipe`` and the few jwst modules that ask by themselves all look them up there at
each call), so that what a step gets is what the plan was made with.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache as once
from pathlib import Path
from typing import Any

from calservice.model.errors import ReferenceFileError
from calservice.references.cache import at_hand
from calservice.references.locks import hold
from calservice.references.mappings import complete_context
from calservice.references.select import NOT_APPLICABLE, Crds

__all__ = ["install", "installed"]

SERVERLESS = "https://crds-serverless-mode.stsci.edu"
"""The address by which crds knows that there is no server; it is never contacted."""

_lock = threading.Lock()
_current: Crds | None = None


def installed() -> Crds | None:
    """Return the cache and context that this process is pinned to, or None."""
    return _current


def install(cache: Path, context: str) -> None:
    """Pin reference selection of official steps in this process; again, to pin it anew.

    Sets ``CRDS_PATH``, ``CRDS_CONTEXT``, ``CRDS_MODE=local``, ``CRDS_READONLY_CACHE=1`` for this
    process and its children, and removes ``CRDS_SERVER_URL`` and the variables by which crds would
    look for parts of its cache elsewhere. Whether the mappings are there is seen when the first step asks: where all
    steps are native, none does. A type that the context does not know is "N/A"; a file
    that is not in the cache, or is found changed at its first use on this host, is a ReferenceFileError
    that names it; a type without a match is crds' own CrdsLookupError, since some steps expect and
    handle it.

    Parameters
    ----------
    cache : Path
        The cache folder; it is not written.
    context : str
        Name of a pipeline mapping whose mappings are all in the cache.
    """
    global _current  # noqa: PLW0603
    with _lock:
        crds = Crds.settle(context=context, cache=cache, server="")
        hold(crds.cache, crds.context)
        if crds != _current:
            _set_environment(crds)
            _forget_configuration()
            _replace_functions()
            _current = crds


def _set_environment(crds: Crds) -> None:
    for name in [*os.environ]:
        if name == "CRDS_SERVER_URL" or (name.startswith("CRDS_") and "PATH" in name):
            del os.environ[name]
    os.environ.update(CRDS_PATH=str(crds.cache), CRDS_CONTEXT=crds.context, CRDS_MODE="local", CRDS_READONLY_CACHE="1")


def _forget_configuration() -> None:
    """Make a crds that is already imported read the environment anew, and keep it off the network."""
    from crds.client import api
    from crds.core import config, utils

    api.set_crds_server(SERVERLESS)
    config.CRDS_REF_SUBDIR_MODE = None
    utils.clear_function_caches()


def _replace_functions() -> None:
    from stpipe import crds_client

    replacements: Mapping[str, Callable[..., Any]] = {
        "get_multiple_reference_paths": _reference_paths,
        "get_context_used": _context_used,
        "reference_uri_to_cache_path": _uri_to_path,
    }
    for name, function in replacements.items():
        setattr(crds_client, name, function)


def _pinned(observatory: str) -> Crds:
    if _current is None or observatory != "jwst":
        raise ReferenceFileError(f"no CRDS context is pinned for {observatory!r}")
    return _current


def _context_used(observatory: str) -> str:
    return _pinned(observatory).context


def _uri_to_path(reference_uri: str, observatory: str) -> str:
    return _path(_pinned(observatory), reference_uri.removeprefix("crds://"))


def _reference_paths(
    parameters: Mapping[str, Any], reference_file_types: Sequence[str], observatory: str
) -> dict[str, str]:
    """Return the path of the best reference of each type, or "N/A"; every path exists."""
    from crds.core.exceptions import CrdsLookupError

    crds = _pinned(observatory)
    if not reference_file_types:
        return {}
    _complete(crds)
    try:
        found = crds.look_up(parameters, tuple(reference_file_types))
    except ReferenceFileError as error:
        raise CrdsLookupError(str(error)) from error
    if errors := [str(error) for error in found.values() if isinstance(error, ReferenceFileError)]:
        raise CrdsLookupError("; ".join(errors))
    return {kind: _path(crds, str(name)) for kind, name in found.items()}


@once
def _complete(crds: Crds) -> None:
    """Demand that the cache has all mappings of the context."""
    complete_context(crds.cache, crds.context, None)


def _path(crds: Crds, name: str) -> str:
    return name if name == NOT_APPLICABLE else str(at_hand(crds.cache, name).path)
