"""What a cache holds, and what of it no context names any more."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from calservice.model.errors import CalserviceError, ReferenceFileError
from calservice.references.cache import locate
from calservice.references.catalog import entries_of, recorded_entries
from calservice.references.locks import free, in_use, is_leftover, remove_leftover
from calservice.references.mappings import lacking_mappings, named
from calservice.references.records import READ_ONLY, Entry, Records, stamp_of
from calservice.references.select import Crds, cache_folder
from calservice.references.server import Server, address, setting

__all__ = [
    "Contents",
    "Held",
    "Prunable",
    "Removed",
    "contents",
    "held",
    "leftovers",
    "present",
    "prunable",
    "remove",
    "sizes",
    "without_context",
]

_NAME = re.compile(r"jwst_([a-z0-9]+)_([a-z0-9-]+)_\d+\.\w+")
_MAPS = {".pmap": 0, ".imap": 1, ".rmap": 2}


@dataclass(frozen=True)
class Held:
    """A file that the cache holds.

    Attributes
    ----------
    instrument, reftype : str
        As its name says. A mapping has the type ``mapping``. Both are empty where the name is not one of CRDS.
    """

    name: str
    path: Path
    size: int
    instrument: str = ""
    reftype: str = ""

    @property
    def is_mapping(self) -> bool:
        """Whether it holds rules."""
        return self.reftype == "mapping"


def held(cache: Path) -> list[Held]:
    """Return the mappings and references in a cache, by place and name."""
    return sorted(
        (*_mappings(cache / "mappings" / "jwst"), *_references(cache / "references" / "jwst")),
        key=lambda file: (not file.is_mapping, file.instrument, file.reftype, file.name),
    )


def _mappings(folder: Path) -> Iterator[Held]:
    for path, size in _files(folder.glob("*.[pir]map")):
        instrument = path.name.split("_")[1] if path.suffix != ".pmap" else ""
        yield Held(path.name, path, size, instrument, "mapping")


def _references(folder: Path) -> Iterator[Held]:
    for path, size in _files(folder.rglob("*")):
        found = _NAME.fullmatch(path.name)
        instrument, reftype = (found[1], found[2]) if found else ("", "")
        yield Held(path.name, path, size, instrument, reftype)


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Yield the files among some paths, with their sizes; others may remove files meanwhile."""
    for path in paths:
        with suppress(FileNotFoundError):
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and not path.name.startswith("."):
                yield path, found.st_size


def leftovers(cache: Path) -> list[Path]:
    """Return what killed downloads left in a cache: parts of files, locks that nobody holds."""
    parts = ("references", "mappings", "config", ".calservice")
    return sorted(p for part in parts for p in (cache / part).rglob(".*") if p.is_file() and is_leftover(p))


def without_context(cache: str | Path | None, server: str) -> Crds:
    """Return a cache and a server where no context is needed.

    Raises
    ------
    ReferenceFileError
        No cache is named, or it does not exist and there is no server to fill it from.
    """
    found = Crds(cache_folder(cache), "", address(server))
    if found.server is None:
        Crds.settle(context="any.pmap", cache=found.cache, server="")
    return found


def present(crds: Crds, names: Collection[str]) -> dict[str, Path]:
    """Return where those of some references are that the cache holds."""
    return {name: path for name in names if (path := locate(crds.cache, name)).is_file()}


def sizes(crds: Crds, names: Collection[str]) -> Mapping[str, int | None]:
    """Return the sizes of references: of those in the cache as they are, of others as the catalog says."""
    here = {name: path.stat().st_size for name, path in present(crds, names).items()}
    away = sorted(set(names) - here.keys())
    entries, _ = entries_of(crds.cache, Server(crds.server) if crds.server and away else None, away)
    return {**{name: entry.size for name, entry in entries.items()}, **here}


@dataclass(frozen=True)
class Contents:
    """What a cache holds, and the context it is used with.

    Attributes
    ----------
    context : str
        Empty where it cannot be told.
    lacking : str
        Why the context cannot be told or used; empty where it can.
    sha1, verified : mapping of str to str, collection of str
        Checksums that are known; files that this host has verified as they are.
    """

    cache: Path
    context: str
    server: str | None
    lacking: str
    held: Sequence[Held]
    leftovers: Sequence[Path]
    sha1: Mapping[str, str] = field(default_factory=dict)
    verified: Collection[str] = ()


def contents(*, context: str | None, cache: str | Path | None, server: str) -> Contents:
    """Return what a cache holds. That its context cannot be told or used is part of the answer.

    Raises
    ------
    ReferenceFileError
        No cache is named, or it does not exist and there is no server to fill it from.
    """
    crds, lacking = without_context(cache, server), ""
    folder = crds.cache
    try:
        crds = Crds.settle(context=context, cache=folder, server=server)
        if missing := lacking_mappings(folder / "mappings" / "jwst", crds.context):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            lacking = f"its rules are not all in the cache: {missing[0]}{more} missing. They are fetched when needed"
    except CalserviceError as fault:
        lacking = str(fault)
    files, records = held(folder), Records(folder)
    entries = recorded_entries(folder, [file.name for file in files])
    known = {file.name: entries.get(file.name, Entry()).sha1 or records.known(file.path) for file in files}
    here = set()
    for file in files:
        with suppress(OSError):
            if records.verified_here(file.path, stamp_of(file.path)):
                here.add(file.name)
    sha1 = {name: checksum for name, checksum in known.items() if checksum}
    return Contents(folder, crds.context, crds.server, lacking, files, leftovers(folder), sha1, here)


@dataclass(frozen=True)
class Prunable:
    """What may go.

    Attributes
    ----------
    contexts : tuple of str
        The contexts whose files stay.
    used : tuple of str
        Those of them that stay because a process uses them.
    files : tuple of Held
        Mappings and references that none of them names; contexts first, so that none is left without its files.
    leftovers : tuple of Path
        What killed downloads left.
    foreign : tuple of Held
        Files whose names are not those of CRDS. They stay.
    """

    contexts: tuple[str, ...]
    used: tuple[str, ...]
    files: tuple[Held, ...]
    leftovers: tuple[Path, ...]
    foreign: tuple[Held, ...]


def prunable(cache: Path, contexts: Iterable[str]) -> Prunable:
    """Find what none of some contexts names, nor any context that a process uses now.

    Parameters
    ----------
    cache : Path
        The cache folder.
    contexts : iterable of str
        Pipeline mappings to keep; their mappings are all in the cache.

    Raises
    ------
    ReferenceFileError
        A mapping of a context to keep is missing or cannot be used, so that it cannot be told what it names.
    """
    wanted = tuple(dict.fromkeys(contexts))
    used = tuple(name for name in in_use(cache) if name not in wanted)
    keep: set[str] = set()
    for context in (*wanted, *used):
        found = named(cache, context)
        keep |= found.mappings | found.chosen()
    everything = held(cache)
    unnamed = [file for file in everything if file.name not in keep]
    gone = sorted((f for f in unnamed if f.reftype), key=lambda file: _MAPS.get(file.path.suffix, 3))
    foreign = tuple(file for file in unnamed if not file.reftype)
    return Prunable((*wanted, *used), used, tuple(gone), tuple(leftovers(cache)), foreign)


@dataclass(frozen=True)
class Removed:
    """What went, and what could not.

    Attributes
    ----------
    paths : tuple of Path
        What was removed.
    size : int
        Its bytes.
    stayed : tuple of (Path, str)
        What was not removed, and why.
    """

    paths: tuple[Path, ...]
    size: int
    stayed: tuple[tuple[Path, str], ...]


def remove(cache: Path, found: Prunable) -> Removed:
    """Remove what may go, but for what somebody locks by now, and the records of files that are gone.

    Raises
    ------
    ReferenceFileError
        The cache is not to be written.
    """
    if setting(READ_ONLY):
        raise ReferenceFileError(f"nothing is removed from {cache}: {READ_ONLY} is set. Unset it")
    gone: list[Path] = []
    stayed: list[tuple[Path, str]] = []
    size = 0
    for path in (*(file.path for file in found.files), *found.leftovers):
        try:
            length = path.stat().st_size
            why = _removed(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = f"cannot be removed: {error.strerror}"
        if why:
            stayed.append((path, why))
        else:
            gone.append(path)
            size += length
    records, here = Records(cache), {file.name for file in held(cache)}
    for record in records:
        if record.stem not in here:
            records.forget(record.stem)
    return Removed(tuple(gone), size, tuple(stayed))


def _removed(path: Path) -> str:
    """Remove a file, or say why it stays."""
    if path.name.startswith("."):
        return "" if remove_leftover(path) else "in use again"
    with free(path) as ours:
        if not ours:
            return "locked: it is being fetched"
        path.unlink()
    return ""
