"""What every stage needs and takes seconds to come by: done once in the warm process, its children have it."""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import cache, lru_cache, wraps
from typing import Any

__all__ = ["keep_blocks", "load_extensions", "load_kernels", "ready"]

_TRIM, _MAP = -1, -3
_KEPT_SCHEMAS = 16
_BLOCK, _KEPT = 32 * 2**20, 256 * 2**20
_loaded: dict[str, int] = {}
"""Folders of machine code, and when they had changed last as it was loaded."""


def ready() -> None:
    """Bring what stages need into memory: the schemas of datamodels, extensions of ASDF, and compiled kernels."""
    from calservice.run import models, stage

    load_extensions()
    _keep_schemas()
    _keep_settings()
    _open_and_save()
    models.cal_steps()
    stage.versions()
    load_kernels()


def load_extensions() -> None:
    """Load the extensions of ASDF, whose manifests it reads with the slow parser: here with that of libyaml.

    They are some fifty files, a second of each process that opens a first model. Later calls find them loaded.
    """
    import asdf
    import yaml

    parsers: Any = yaml
    slow = parsers.SafeLoader
    parsers.SafeLoader = getattr(yaml, "CSafeLoader", slow)
    try:
        _ = asdf.get_config().extensions
    finally:
        parsers.SafeLoader = slow


def _keep_schemas() -> None:
    """Have asdf parse each schema that arrays refer to once.

    It means to keep them, but parses their YAML anew at each reference from one to another, some fifty times an
    exposure. They are four; schemas of datamodels, which are many and large, are kept in another way already. Where a
    later version has no such function, there is nothing to do.
    """
    from asdf import schema

    make = getattr(schema, "_make_schema_loader", None)
    if make is not None:
        kept = lru_cache(_KEPT_SCHEMAS)(make())
        schema._make_schema_loader = lambda: kept


def _keep_settings() -> None:
    """Have astropy look up each of its settings once, until one is changed.

    Each time that it asks for one it goes through files and sections, and checks it: seven thousand times an exposure.
    Where a later version has no such methods, there is nothing to do.
    """
    from astropy.config import ConfigItem

    kept: dict[Any, Any] = {}
    look_up, *changes = (vars(ConfigItem).get(name) for name in ("__call__", "set", "reload"))
    if look_up is None or None in changes:
        return

    def value(item: Any) -> Any:
        if item not in kept:
            kept[item] = look_up(item)
        return kept[item]

    def forgetting(change: Any) -> Any:
        @wraps(change)
        def changed(*args: Any, **named: Any) -> Any:
            try:
                return change(*args, **named)
            finally:
                kept.clear()

        return changed

    ConfigItem.__call__ = value
    ConfigItem.set, ConfigItem.reload = map(forgetting, changes)


def keep_blocks() -> None:
    """Have the C library keep freed memory of the size of blocks for the next ones, where it is glibc.

    It would give it back to the system each time, and each block of each step would begin with page faults.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MAP, _BLOCK)
        mallopt(_TRIM, _KEPT)


def _open_and_save() -> None:
    """Open and save small models, which reads schemas and extensions for all later ones."""
    from astropy.io import fits
    from stdatamodels.jwst import datamodels

    from calservice.run.schemas import schema_of

    raw = datamodels.RampModel((1, 1, 2, 2))
    for made in (raw, datamodels.ImageModel((2, 2)), datamodels.CubeModel((1, 2, 2))):
        kind: Any = type(made)
        schema_of(kind)
        made.meta.instrument.name = "NIRCAM"
        room = io.BytesIO()
        made.to_fits(room)
        room.seek(0)
        with fits.open(room) as hdus:
            kind(hdus)


def load_kernels() -> int:
    """Load the machine code of all native kernels that Numba has in its cache; return of how many functions.

    Each takes a megabyte of memory; those that are only parts of others are left out. What is not in the cache is
    compiled when it is needed, as ever. Called again, it loads what has come into the cache meanwhile: a worker that
    began without has it as soon as its first exposure is done.
    """
    kernels = _kernels()
    stamps = _stamps(kernels)
    if stamps == _loaded:
        return 0
    _loaded.clear()
    _loaded.update(stamps)
    return sum(map(_load, kernels))


@cache
def _kernels() -> list[Any]:
    """Return all kernels but those that are only parts of others."""
    from numba.core.dispatcher import Dispatcher

    import calservice.steps.stage1 as package

    made = []
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("_kernels"):
            continue
        found = vars(importlib.import_module(module.name))
        kernels = {name: function for name, function in found.items() if isinstance(function, Dispatcher)}
        parts = {name for function in kernels.values() for name in function.py_func.__code__.co_names}
        named = [kernels[name] for name in kernels.keys() - parts]
        made += [function for function in named if function.py_func.__module__ == module.name]
    return made


def _stamps(kernels: Sequence[Any]) -> dict[str, int]:
    """Return when the folders of the cache have changed last; none of them before there is a cache."""
    from calservice.steps.compiled import cache_file

    folders = {str(index._cache_path) for index in map(cache_file, kernels) if index is not None}
    return {folder: os.stat(folder).st_mtime_ns for folder in folders if os.path.isdir(folder)}


def _load(function: Any) -> bool:
    """Load what the cache holds of a function."""
    from calservice.steps.compiled import cache_file

    index = cache_file(function)
    signatures = {key[0] for key in index._load_index()} if index is not None else set()
    for signature in signatures:
        function.compile(signature)
    return bool(signatures)
