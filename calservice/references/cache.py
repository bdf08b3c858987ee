"""The one CRDS cache that planners and workers share: each file brought once, whole and verified.

Several processes on several hosts may fetch at the same time. What makes that safe: a file is written
under a unique hidden name in its own folder, compared with the server's checksum, and only then
renamed into place, so nobody ever sees half of it. That each file crosses the network once is the
business of a lock beside it, which the kernel (or the file server) drops when its holder dies. Where
a file system has no locks, two may download the same file, and both files are right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from calservice.model.errors import CalserviceError, Problems, ReferenceFileError
from calservice.references.catalog import asked, base_url, entries_of, recorded_entries, server_info
from calservice.references.download import Counter, Download, Progress, all_at_once
from calservice.references.records import READ_ONLY, Entry, Records, ReferenceFile, hashed, stamp_of, verified
from calservice.references.server import PATIENCE, Patience, Server, setting

if TYPE_CHECKING:
    from calservice.model.plan import ReferenceUse
    from calservice.references.select import Crds

__all__ = [
    "Brought",
    "ReferenceFile",
    "at_hand",
    "bring",
    "confirm",
    "fetch",
    "locate",
    "override",
    "plain",
    "replace",
]


def plain(name: str) -> str:
    """Return a name of a file, which must lead nowhere else."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise ReferenceFileError(f"{name!r} is not a name that a file of CRDS can have")
    return name


def locate(cache: Path, name: str) -> Path:
    """Return where a reference lies in the cache, or is to lie; flat and by-instrument caches."""
    root = cache / "references" / "jwst"
    plain(name)
    try:
        mode = (cache / "config" / "jwst" / "ref_cache_subdir_mode").read_text().strip()
    except OSError:  # the guess that crds makes
        mode = "flat" if root.is_dir() and len([*root.glob("*")]) > 20 else "instrument"
    if mode == "flat":
        return root / name
    own = root / (name.split("_")[1].lower() if name.count("_") > 1 else "all")
    if not (own / name).exists() and root.is_dir():
        for folder in root.iterdir():
            if (folder / name).exists():
                return folder / name
    return own / name


@dataclass(frozen=True)
class Brought:
    """What became of files that were to be brought.

    Attributes
    ----------
    files : mapping of str to ReferenceFile
        Those at hand, verified.
    downloaded : frozenset of str
        Those of them that came from the server, to this process.
    waited : frozenset of str
        Those that another process brought in the meantime.
    problems : tuple of CalserviceError
        Why the others are not at hand.
    """

    files: Mapping[str, ReferenceFile] = field(default_factory=dict)
    downloaded: frozenset[str] = frozenset()
    waited: frozenset[str] = frozenset()
    problems: tuple[CalserviceError, ...] = ()


def fetch(
    crds: Crds,
    names: Iterable[str],
    *,
    jobs: int = 4,
    on_progress: Progress | None = None,
    patience: Patience = PATIENCE,
) -> dict[str, ReferenceFile]:
    """Have reference files in the cache, each whole, verified and downloaded once.

    Parameters
    ----------
    crds : Crds
        The cache, and the server to get missing files from; without one they are all reported.
    names : iterable of str
        File names; "N/A" is passed over.
    jobs : int
        Downloads at the same time.
    on_progress : callable, optional
        Called with (file name, bytes so far, bytes to download in all), one thread at a time.
    patience : Patience
        How long to wait, and how often to try.

    Raises
    ------
    Problems
        Every file that cannot be had, with the reason: ReferenceFileError (missing, corrupt,
        changed under its name), OutputError (no space), TransientError (the network).
    """
    brought = bring(crds, names, jobs=jobs, on_progress=on_progress, patience=patience)
    if brought.problems:
        raise Problems(brought.problems)
    return dict(brought.files)


def bring(
    crds: Crds,
    names: Iterable[str],
    *,
    jobs: int = 4,
    on_progress: Progress | None = None,
    patience: Patience = PATIENCE,
) -> Brought:
    """Do as `fetch` does, and return what could be had with what could not.

    Raises
    ------
    TransientError
        Files are missing and the server does not answer at all.
    """
    paths = {name: locate(crds.cache, name) for name in dict.fromkeys(names) if name != "N/A"}
    missing = {name: path for name, path in paths.items() if not path.exists()}
    server = Server(crds.server, patience) if crds.server else None
    problems: list[CalserviceError] = []
    if server is None or setting(READ_ONLY):
        why = (
            "there is no server to get it from: set CRDS_SERVER_URL, or put the file there"
            if server is None
            else f"{READ_ONLY} is set, so that nothing is put there: fetch it from where the cache may be written"
        )
        problems = [ReferenceFileError(f"{n} is not in the CRDS cache {crds.cache}, and {why}") for n in missing]
        paths = {name: path for name, path in paths.items() if name not in missing}
        missing = {}
    entries, _ = entries_of(crds.cache, server, list(paths), needed=bool(missing))
    base = base_url(server_info(server, crds.cache), "reference") if server is not None and missing else ""
    count = Counter(sum(entries.get(n, Entry()).size or 0 for n in missing), on_progress)
    records = Records(crds.cache)
    downloaded: set[str] = set()

    def have(name: str) -> ReferenceFile:
        path, entry = paths[name], entries.get(name, Entry())
        if name in missing:
            sha1 = Download(path, f"{base}/{name}", entry, patience, count).run()
            if sha1 is not None:
                downloaded.add(name)
                with suppress(FileNotFoundError):  # removed by somebody; said below
                    records.write(path, sha1, stamp_of(path))
        return verified(path, entry, records)

    files, faults = all_at_once([partial(have, name) for name in paths], jobs, count.stopped)
    here = {file.name: file for file in files}
    waited = frozenset(missing.keys() & here.keys() - downloaded)
    return Brought(here, frozenset(downloaded & here.keys()), waited, (*problems, *faults))


def at_hand(cache: Path, name: str) -> ReferenceFile:
    """Return a file of the cache, read and verified if this is its first use on this host. Nothing is downloaded.

    Raises
    ------
    ReferenceFileError
        It is not in the cache, or is not what it must be.
    """
    path, records = locate(cache, name), Records(cache)
    if not path.is_file():
        raise ReferenceFileError(
            f"the reference file {name} is not in the CRDS cache {cache}: fetch it before it is used "
            f"(calservice references fetch --reference {name})"
        )
    known = records.verified_here(path, stamp_of(path))
    entry = Entry() if known else recorded_entries(cache, [name]).get(name, Entry())
    return verified(path, entry, records)


def confirm(cache: Path, uses: Iterable[ReferenceUse]) -> None:
    """Verify on this host, at first use, the references that a plan made elsewhere names.

    Parameters
    ----------
    cache : Path
        The cache they lie in. Files elsewhere (overrides) are compared as well.
    uses : iterable of ReferenceUse
        With the checksums that the plan was made with.

    Raises
    ------
    Problems
        Every file that is missing, unreadable or another one than the plan was made with.
    """
    problems = []
    for use in uses:
        if use.name == "N/A" or not use.path:
            continue
        path = Path(use.path)
        inside = path.is_relative_to(cache)
        records = Records(cache if inside else path.parent, shared=inside)
        try:
            verified(path, Entry(use.sha1 or None, use.size or None), records, says="the plan was made with")
        except ReferenceFileError as error:
            problems.append(error)
    if problems:
        raise Problems(problems)


def replace(
    cache: Path,
    url: str | None,
    names: Sequence[str],
    *,
    jobs: int = 4,
    on_progress: Progress | None = None,
    patience: Patience = PATIENCE,
) -> Brought:
    """Fetch again files, references and mappings, whose content is not what the server's catalog says.

    A file is replaced at once and whole; whoever has the old one open keeps it.

    Raises
    ------
    ReferenceFileError
        There is no server.
    TransientError
        The server does not answer.
    """
    if not url:
        raise ReferenceFileError(
            f"nothing in {cache} can be fetched again: there is no server. Set CRDS_SERVER_URL, or give --server"
        )
    if setting(READ_ONLY):
        raise ReferenceFileError(f"nothing in {cache} can be fetched again: {READ_ONLY} is set. Unset it")
    server = Server(url, patience)
    entries = asked(server, names)
    info = server_info(server, cache)
    count = Counter(sum(entries[n].size or 0 for n in names), on_progress)
    records = Records(cache)

    def again(name: str) -> ReferenceFile:
        is_mapping = name.endswith("map")
        path = cache / "mappings" / "jwst" / plain(name) if is_mapping else locate(cache, name)
        if entries[name].sha1 is None:
            raise ReferenceFileError(
                f"{name} cannot be fetched again: {url} does not know it. Restore it from a copy, or remove {path}"
            )
        address = f"{base_url(info, 'mapping' if is_mapping else 'reference')}/{name}"
        Download(path, address, entries[name], patience, count, replace=True).run()
        if is_mapping:
            sha1, stamp = hashed(path)
            return ReferenceFile(name, path, sha1, stamp[0])
        return verified(path, entries[name], records)

    files, problems = all_at_once([partial(again, name) for name in names], jobs, count.stopped)
    found = {file.name: file for file in files}
    return Brought(found, frozenset(found), problems=tuple(problems))


def override(path: str | Path) -> ReferenceFile:
    """Return a reference file that the user names in place of the selected one."""
    given = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        return _hashed(given, tuple(stamp_of(given)))
    except OSError as error:
        why = f"the override {given} cannot be read: {error.strerror}"
        raise ReferenceFileError(f"{why}. Name a file that is there.") from error


@lru_cache(maxsize=256)
def _hashed(path: Path, stamp: tuple[int, ...]) -> ReferenceFile:
    sha1, found = hashed(path)
    return ReferenceFile(path.name, path, sha1, found[0])
