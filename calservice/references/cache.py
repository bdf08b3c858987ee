"""The one CRDS cache that planners and workers share: each file brought once, whole and verified.

Several processes on several hosts may fetch at the same time. What makes that safe: a file is written
under a unique hidden name in its own folder, compared with the server's checksum, and only then
renamed into place, so nobody ever sees half of it. That each file crosses the network once is the
business of a lock beside it, which the kernel (or the file server) drops when its holder dies. Where
a file system has no locks, two may download the same file, and both files are right.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import pprint
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from calservice.model.errors import (
    CalserviceError,
    OutputError,
    Problems,
    ReferenceFileError,
    TransientError,
)
from calservice.references.locks import locked, sweep
from calservice.references.records import (
    Entry,
    Records,
    ReferenceFile,
    sha1_of,
    stamp_of,
    temporary_name,
    verified,
    write_whole,
)
from calservice.references.server import PATIENCE, Patience, Server, opened, recorded_info, retried, unpacked

if TYPE_CHECKING:
    from calservice.references.select import Crds

__all__ = ["ReferenceFile", "complete_context", "fetch", "locate", "override", "server_info"]

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
T = TypeVar("T")


def server_info(server: Server, cache: Path) -> dict[str, Any]:
    """Return the server's description of itself, and keep it in the cache for use offline."""
    info = server.info()
    try:
        write_whole(cache / "config" / "jwst" / "server_config", pprint.pformat(info).encode())
    except OSError as error:  # a read-only cache: nothing depends on the copy
        log.debug("the description of the CRDS server is not kept: %s", error)
    return info


def _plain(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise ReferenceFileError(f"{name!r} is not a name that a file of CRDS can have")
    return name


def locate(cache: Path, name: str) -> Path:
    """Return where a reference lies in the cache, or is to lie; flat and by-instrument caches."""
    root = cache / "references" / "jwst"
    _plain(name)
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


_heard: dict[tuple[str, str], tuple[float, Entry]] = {}
"""What a server said of a file, and when."""

_HEARD_FOR = 300.0


@dataclass(frozen=True)
class _Download:
    """One file to bring: where to, where from, and what it must be."""

    path: Path
    url: str
    entry: Entry
    patience: Patience
    count: Callable[[str, int], None]

    def run(self) -> tuple[Path, str | None]:
        """Bring the file, unless somebody else does. The checksum is that of a file brought here."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path, self.patience) as held:
                ours = held is not None and not self.path.exists()
                return self.path, self._bring(held=bool(held)) if ours else None
        except OSError as error:
            raise self._explained(error) from error

    def _bring(self, *, held: bool) -> str:
        """Download, compare, publish; a corrupt download is thrown away and tried again."""
        sweep(self.path, held=held)
        temporary = temporary_name(self.path)
        what = f"cannot fetch {self.url}"
        try:
            for attempt in range(self.patience.attempts):
                if attempt:
                    time.sleep(self.patience.pause * 2 ** (attempt - 1))
                sha1, size = retried(what, lambda: self._stream(temporary), self.patience)
                if self.entry.size in (None, size) and self.entry.sha1 in (None, sha1):
                    os.replace(temporary, self.path)
                    return sha1
                self.count(self.path.name, -size)
        finally:
            temporary.unlink(missing_ok=True)
        raise ReferenceFileError(
            f"{self.url} is corrupt: {size} bytes with checksum {sha1}, the catalog says "
            f"{self.entry.size} with {self.entry.sha1} ({self.patience.attempts} attempts, none kept)"
        )

    def _stream(self, temporary: Path) -> tuple[str, int]:
        digest, size, name = hashlib.sha1(usedforsecurity=False), 0, self.path.name
        try:
            with (
                opened(self.url, self.patience) as answer,
                temporary.open("wb") as file,
            ):
                promised = answer.headers.get("Content-Length")
                while chunk := answer.read1(1 << 20):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    self.count(name, len(chunk))
                if promised is not None and size != int(promised):
                    raise ConnectionError(f"only {size} of {promised} bytes came")
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.count(name, -size)
            raise
        return digest.hexdigest(), size

    def _explained(self, error: OSError) -> CalserviceError:
        name, folder = self.path.name, self.path.parent
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            need = f" ({self.entry.size} bytes)" if self.entry.size else ""
            return OutputError(f"no space for {name}{need} in {folder}: {error.strerror}")
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return ReferenceFileError(
                f"{name} is not in the CRDS cache, and {folder} cannot be written "
                f"({error.strerror}): fetch it from where the cache is writable"
            )
        return ReferenceFileError(f"{name} cannot be brought into {folder}: {error}")


class _Counter:
    """Bytes so far of all downloads, told to the caller from one thread at a time."""

    def __init__(self, total: int, report: Progress | None) -> None:
        self.so_far, self.total, self.report = 0, total, report
        self.lock = threading.Lock()

    def __call__(self, name: str, size: int) -> None:
        with self.lock:
            self.so_far += size
            if self.report is not None:
                self.report(name, self.so_far, self.total)


def _all_at_once(actions: Iterable[Callable[[], T]], jobs: int) -> list[T]:
    """Return the results of all actions, or raise all their problems together."""
    problems: list[CalserviceError] = []
    results: list[T] = []
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for future in [pool.submit(action) for action in actions]:
            try:
                results.append(future.result())
            except CalserviceError as error:
                problems.append(error)
    if problems:
        raise Problems(problems)
    return results


def _base_url(info: Mapping[str, Any], kind: str) -> str:
    try:
        return str(info[f"{kind}_url"]["jwst"]).rstrip("/")
    except (KeyError, TypeError):
        raise ReferenceFileError(f"the CRDS server does not say where its {kind}s are") from None


def _entries(catalog: Any, names: Iterable[str]) -> dict[str, Entry]:
    found = {}
    for name in names:
        known = catalog.get(name) if isinstance(catalog, dict) else None
        if isinstance(known, dict):
            size, sha1 = known.get("size"), known.get("sha1sum")
            found[name] = Entry(str(sha1) if sha1 else None, int(size) if size else None)
    return found


def _catalog(cache: Path, server: Server | None, names: Sequence[str], *, needed: bool) -> dict[str, Entry]:
    """Return checksums and sizes: what the server says, or else what the cache recorded of it."""
    if server is not None:
        try:
            return _asked(server, names)
        except TransientError as error:
            if needed:
                raise
            log.warning("%s; every file is in the cache and its own catalog is used", error)
    return _entries(unpacked(recorded_info(cache).get("download_metadata")), names)


def _asked(server: Server, names: Sequence[str]) -> dict[str, Entry]:
    """Ask the server for the entries that it was not asked for lately."""
    now = time.monotonic()
    recent = {n for n in names if now - _heard.get((server.url, n), (-_HEARD_FOR, None))[0] < _HEARD_FOR}
    if new := sorted({*names} - recent):
        try:
            catalog = server.call("get_file_info_map", "jwst", new, ["sha1sum", "size"])
        except ReferenceFileError:  # an old server
            catalog = unpacked(server.info().get("download_metadata"))
        found = _entries(catalog, new)
        _heard.update({(server.url, name): (now, found.get(name, Entry())) for name in new})
    return {name: _heard[server.url, name][1] for name in names}


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
    paths = {name: locate(crds.cache, name) for name in dict.fromkeys(names) if name != "N/A"}
    missing = {name: path for name, path in paths.items() if not path.exists()}
    server = Server(crds.server, patience) if crds.server else None
    if server is None and missing:
        raise Problems(
            ReferenceFileError(
                f"{name} is not in the CRDS cache {crds.cache}, and there is no server to get it "
                "from: set CRDS_SERVER_URL, or put the file there"
            )
            for name in missing
        )
    entries = _catalog(crds.cache, server, list(paths), needed=bool(missing))
    records = Records(crds.cache)
    if server is not None and missing:
        base = _base_url(server_info(server, crds.cache), "reference")
        wanted = [(path, base, entries.get(name, Entry())) for name, path in missing.items()]
        for path, sha1 in _download(wanted, patience, jobs, on_progress):
            if sha1 is not None:
                records.write(path, sha1, stamp_of(path))

    def check(name: str) -> ReferenceFile:
        return verified(paths[name], entries.get(name, Entry()), records)

    actions = [lambda name=name: check(name) for name in paths]
    return {file.name: file for file in _all_at_once(actions, jobs)}


def _download(
    wanted: Sequence[tuple[Path, str, Entry]],
    patience: Patience,
    jobs: int,
    report: Progress | None,
) -> list[tuple[Path, str | None]]:
    """Bring files at the same time; returns those brought here with their checksums."""
    count = _Counter(sum(entry.size or 0 for _, _, entry in wanted), report)
    downloads = [_Download(p, f"{base}/{p.name}", e, patience, count) for p, base, e in wanted]
    return _all_at_once([download.run for download in downloads], jobs)


def complete_context(cache: Path, context: str, url: str | None, *, patience: Patience = PATIENCE) -> None:
    """Have all mappings of a context in the cache, from the server if need be.

    Raises
    ------
    ReferenceFileError
        There is no server and mappings are missing, or the server does not know the context.
    """
    folder = cache / "mappings" / "jwst"
    lacking = _lacking(folder, context)
    if not lacking:
        return
    if url is None:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ReferenceFileError(
            f"the CRDS context {context} is not complete in the cache {cache}: {lacking[0]}{more} "
            "missing; set CRDS_SERVER_URL, name another context (CRDS_CONTEXT), or fill the cache"
        )
    server = Server(url, patience)
    try:
        names = [str(name) for name in server.call("get_mapping_names", context)]
    except ReferenceFileError as error:
        raise ReferenceFileError(f"the CRDS context {context} is not in the cache {cache}, and {error}") from None
    missing = [name for name in names if not (folder / _plain(name)).exists()]
    entries = _catalog(cache, server, missing, needed=True)
    base = _base_url(server_info(server, cache), "mapping")
    for kind in (".rmap", ".imap", ".pmap"):  # the context last: where it is, it is complete
        chosen = [name for name in missing if name.endswith(kind)]
        wanted = [(folder / name, base, entries.get(name, Entry())) for name in chosen]
        _download(wanted, patience, 8, None)
    if lacking := _lacking(folder, context):
        raise ReferenceFileError(f"the CRDS server at {url} does not have {', '.join(lacking)}")


def _lacking(folder: Path, name: str) -> list[str]:
    """Return the mappings, of those that a mapping leads to, that are not in the folder."""
    if not (folder / _plain(name)).exists():
        return [name]
    if name.endswith(".rmap"):
        return []
    from crds.core import rmap
    from crds.core.exceptions import CrdsError

    try:
        selector = rmap.load_mapping(name, path=str(folder)).selector
    except (OSError, CrdsError, AssertionError) as error:
        raise ReferenceFileError(f"{folder / name} cannot be used: {error}") from error
    below = sorted({str(value) for value in selector.values() if str(value).endswith("map")})
    return [lacking for part in below for lacking in _lacking(folder, part)]


def override(path: str | Path) -> ReferenceFile:
    """Return a reference file that the user names in place of the selected one."""
    given = Path(os.path.abspath(os.path.expanduser(path)))
    try:
        return _hashed(given, *stamp_of(given))
    except OSError as error:
        why = f"the override {given} cannot be read: {error.strerror}"
        raise ReferenceFileError(f"{why}. Name a file that is there.") from error


@lru_cache(maxsize=256)
def _hashed(path: Path, size: int, mtime_ns: int, inode: int) -> ReferenceFile:
    return ReferenceFile(path.name, path, sha1_of(path), size)
