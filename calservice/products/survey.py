"""Survey: look at what was submitted - associations, exposures, folders - without reading a pixel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath

from calservice.model.association import Association, looks_like_association
from calservice.model.errors import CalserviceError, InputError
from calservice.model.exposure import FileStat
from calservice.model.names import STAGE_OF_SUFFIX, base_and_suffix, exposure_name
from calservice.products.manifest import Manifest
from calservice.products.store import Store, is_url, parent_of, shown

__all__ = ["Survey", "survey"]

_FITS = (".fits", ".fits.gz")


@dataclass
class Survey:
    """What there is to work on.

    Attributes
    ----------
    associations : list of Association
        Submitted, or found in submitted folders.
    exposures : list of FileStat
        Submitted single exposures, and those of submitted folders that no association names.
    files : dict
        Listing of every folder involved, by path or URL, then by name relative to it.
    made : dict
        Names that manifests of calservice in those folders vouch for.
    level2 : list of Association
        Level-2 associations beside the submitted ones.
    problems : list of CalserviceError
        What could not be read.
    """

    associations: list[Association] = field(default_factory=list)
    exposures: list[FileStat] = field(default_factory=list)
    files: dict[str, dict[str, FileStat]] = field(default_factory=dict)
    made: dict[str, frozenset[str]] = field(default_factory=dict)
    level2: list[Association] = field(default_factory=list)
    problems: list[CalserviceError] = field(default_factory=list)


def survey(targets: Sequence[str], *, inputs: str | None = None, pattern: str | None = None) -> Survey:
    """Survey the targets of a job.

    Parameters
    ----------
    targets : sequence of str
        Association files, exposures and folders; paths or URLs.
    inputs : str, optional
        Folder (path or URL) that holds the members, where it is not the association's own.
    pattern : str, optional
        Shell pattern that names of files found in folders must match (``jw01345*``).

    Returns
    -------
    Survey
    """
    found = Survey()
    for target in targets:
        try:
            _look(target, inputs, pattern, found)
        except CalserviceError as fault:
            found.problems.append(fault)
    for folder in {a.folder for a in found.associations} | {parent_of(f.url) for f in found.exposures}:
        try:
            _list(folder, found)
        except CalserviceError as fault:
            found.problems.append(fault)
    _list_subfolders(found)
    given = {a.where for a in found.associations}
    if any(a.level != 2 for a in found.associations) or found.exposures:
        for folder in list(found.files):
            found.level2 += [
                a for a in _associations_in(folder, found, None, quiet=True) if a.level == 2 and a.where not in given
            ]
    return found


def _look(target: str, inputs: str | None, pattern: str | None, found: Survey) -> None:
    leaf = PurePosixPath(target).name.lower()
    if leaf.endswith(_FITS):
        store = Store(parent_of(target))
        stat = store.stat(PurePosixPath(target).name)
        if stat is None:
            raise InputError(f"{shown(target)}: no such file")
        found.exposures.append(stat)
        return
    store = Store(target)
    if leaf.endswith((".json", ".asn")) or (store.local and store.path(".").is_file()):
        holder = Store(parent_of(target))
        name = PurePosixPath(target).name
        if holder.stat(name) is None:
            raise InputError(f"{shown(target)}: no such file")
        folder = _folder(inputs) if inputs else holder.root if holder.local else holder.url
        found.associations.append(Association.parse(holder.read(name), name, folder))
        return
    _look_into(store, inputs, pattern, found)


def _look_into(store: Store, inputs: str | None, pattern: str | None, found: Survey) -> None:
    folder = store.root if store.local else store.url
    _list(folder, found)
    wanted = [n for n in found.files[folder] if pattern is None or fnmatch(n, pattern)]
    associations = [a for a in _associations_in(folder, found, pattern) if a.products]
    if inputs:
        associations = [a.model_copy(update={"folder": _folder(inputs)}) for a in associations]
    if pattern:
        program = pattern.strip("jw*")
        associations = [a for a in associations if _of_program(a, program)]
    covered = {_identity(m.expname) for a in associations for p in a.products for m in p.members}
    singles: dict[str, FileStat] = {}
    for name in wanted:
        base, suffix = base_and_suffix(name)
        if not name.lower().endswith(_FITS) or "/" in name or name in found.made[folder]:
            continue
        if exposure_name(name) is None or STAGE_OF_SUFFIX.get(suffix or "", 9) >= 3 or _identity(name) in covered:
            continue
        held = singles.get(base)
        if held is None or STAGE_OF_SUFFIX[suffix or ""] > STAGE_OF_SUFFIX[base_and_suffix(held.name)[1] or ""]:
            singles[base] = found.files[folder][name]
    if not associations and not singles:
        cure = "Name the folder that holds them (--input)." if pattern else "Name the folder that holds them."
        what = f" of program {pattern.strip('jw*')}" if pattern else ""
        found.problems.append(
            InputError(f"{shown(folder)}: no association and no uncalibrated exposure{what} in it. {cure}")
        )
    found.associations += associations
    found.exposures += singles.values()


def _list(folder: str, found: Survey) -> None:
    if folder in found.files:
        return
    store = Store(folder)
    found.files[folder] = store.listing()
    names = [n for n in found.files[folder] if n.endswith(".manifest.json")]
    manifests = (Manifest.load(store.read(n)) for n in names)
    found.made[folder] = frozenset(p.name for m in manifests if m is not None for p in m.products)


def _list_subfolders(found: Survey) -> None:
    """List the sub-folders that members name, so that ``calibrated/x.fits`` is found."""
    for asn in found.associations:
        listed = found.files.get(asn.folder)
        heads = {m.expname.rpartition("/")[0] for p in asn.products for m in p.members} - {""}
        for head in sorted(heads):
            if listed is None or any(name.startswith(f"{head}/") for name in listed):
                continue
            try:
                inside = Store(f"{asn.folder.rstrip('/')}/{head}").listing()
            except InputError:
                continue  # members in it are reported missing, by name
            listed |= {f"{head}/{name}": stat for name, stat in inside.items()}


def _associations_in(folder: str, found: Survey, pattern: str | None, quiet: bool = False) -> Iterable[Association]:
    store = Store(folder)
    for name in sorted(found.files[folder]):
        if not name.endswith(".json") or name.endswith(".manifest.json") or "/" in name:
            continue
        content = store.read(name)
        try:
            if not name.endswith("_asn.json") and not looks_like_association(json.loads(content)):
                continue
            yield Association.parse(content, name, folder)
        except (CalserviceError, ValueError) as fault:
            if not quiet and isinstance(fault, CalserviceError):
                found.problems.append(fault)


def _of_program(asn: Association, program: str) -> bool:
    members = [exposure_name(m.expname) for p in asn.products for m in p.members]
    return any(m is not None and m.program == program for m in members)


def _identity(name: str) -> str:
    parsed = exposure_name(name)
    return parsed.base if parsed else base_and_suffix(name)[0]


def _folder(place: str) -> str:
    store = Store(place)
    return store.root if store.local else store.url


def program_pattern(text: str) -> str | None:
    """Return the pattern of file names of a program ID (``1345`` and ``01345`` alike); None where it is none."""
    if re.fullmatch(r"\d{1,5}", text) and not is_url(text):
        return f"jw{int(text):05d}*"
    return None
