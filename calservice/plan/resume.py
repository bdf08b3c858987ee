"""Which stages are done already: comparing the plan with the manifests beside the products."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from calservice import __version__
from calservice.model.exposure import FileStat
from calservice.model.plan import Input, Stage
from calservice.products.manifest import InputRecord, Manifest

__all__ = ["keyed", "recipe_key", "shaping_versions", "standing"]


def shaping_versions() -> dict[str, str]:
    """Return the versions that change products: ours and those of the packages that calibrate."""
    found = {"calservice": __version__}
    for package in ("jwst", "stcal", "stdatamodels"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def recipe_key(stage: Stage, versions: Mapping[str, str]) -> str:
    """Return the digest of everything but the inputs' content: pipeline, association, engines, parameters,
    references by checksum, versions.
    """
    return _digest(
        {
            "pipeline": stage.pipeline,
            "product": stage.product,
            "association": stage.association,
            "members": [(i.name, i.role) for i in stage.inputs],
            "engines": dict(stage.engines),
            "parameters": stage.parameters,
            "references": [(r.reftype, r.name, r.sha1) for r in stage.references],
            "versions": dict(versions),
        }
    )


def keyed(stage: Stage) -> str:
    """Return the digest of a stage: its recipe and the identity of its inputs."""
    identities = [i.key or ((i.file.size, i.file.stamp) if i.file else None) for i in stage.inputs]
    return _digest({"recipe": stage.recipe_key, "inputs": identities})


def standing(
    stage: Stage,
    manifest: Manifest | None,
    listing: Mapping[str, FileStat],
    content: Callable[[FileStat], str],
    versions: Mapping[str, str],
) -> tuple[bool, str]:
    """Tell whether a stage's products still stand, and why not.

    Parameters
    ----------
    stage : Stage
        Resolved, with its recipe key.
    manifest : Manifest or None
        What lies beside the products.
    listing : mapping of str to FileStat
        Files in the output folder.
    content : callable
        Gives the checksum of a file; asked only where its length is unchanged but its stamp is not.
    versions : mapping
        Versions that the recipe key holds.
    """
    if manifest is None:
        return False, "not made yet"
    if manifest.recipe_key != stage.recipe_key:
        return False, _what_changed(stage, manifest, versions)
    records = {(r.name, r.role): r for r in manifest.inputs}
    for item in stage.inputs:
        record = records.get((item.name, item.role))
        if record is None or not _same(item, record, content):
            return False, f"input {item.name} changed"
    for product in manifest.products:
        found = listing.get(product.name)
        if found is None:
            return False, f"{product.name} is gone"
        if found.size != product.size or (found.stamp != product.stamp and content(found) != product.blake3):
            return False, f"{product.name} was changed"
    return True, "up to date"


def _same(item: Input, record: InputRecord, content: Callable[[FileStat], str]) -> bool:
    if item.file is None:
        return item.key == record.key
    if record.key or item.file.size != record.size:
        return False
    return item.file.stamp == record.stamp or content(item.file) == record.blake3


def _what_changed(stage: Stage, manifest: Manifest, versions: Mapping[str, str]) -> str:
    if _plain(stage.parameters) != _plain(manifest.parameters):
        return "parameters changed"
    if dict(stage.engines) != manifest.engines:
        return "another engine"
    now = {r.reftype: (r.name, r.sha1) for r in stage.references}
    then = {r.reftype: (r.name, r.sha1) for r in manifest.references}
    for reftype in sorted(set(now) | set(then)):
        if now.get(reftype) != then.get(reftype):
            return f"reference {reftype} changed"
    for package, version in versions.items():
        if manifest.versions.get(package) != version:
            return f"{package} is now {version}, was {manifest.versions.get(package, 'absent')}"
    return "association changed"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True, default=str))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
