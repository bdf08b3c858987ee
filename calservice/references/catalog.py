"""What a CRDS server says of its files - addresses, sizes, checksums - or what a cache recorded of it."""

from __future__ import annotations

import logging
import pprint
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from calservice.model.errors import ReferenceFileError, TransientError
from calservice.references.records import READ_ONLY, Entry, stamp_of, write_whole
from calservice.references.server import Server, recorded_info, setting, unpacked

__all__ = ["asked", "base_url", "entries_of", "recorded_entries", "server_info"]

log = logging.getLogger(__name__)


def server_info(server: Server, cache: Path) -> dict[str, Any]:
    """Return the server's description of itself, and keep it in the cache for use offline."""
    info = server.info()
    if setting(READ_ONLY):
        return info
    try:
        write_whole(cache / "config" / "jwst" / "server_config", pprint.pformat(info).encode())
    except OSError as error:  # a read-only cache: nothing depends on the copy
        log.debug("the description of the CRDS server is not kept: %s", error)
    return info


_heard: dict[tuple[str, str], tuple[float, Entry]] = {}
"""What a server said of a file, and when."""

_HEARD_FOR = 300.0


def base_url(info: Mapping[str, Any], kind: str) -> str:
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


@lru_cache(maxsize=2)
def _recorded_catalog(cache: Path, stamp: tuple[int, ...]) -> Any:
    return unpacked(recorded_info(cache).get("download_metadata"))


def recorded_entries(cache: Path, names: Iterable[str]) -> dict[str, Entry]:
    """Return what the cache recorded of its server's catalog."""
    try:
        stamp = tuple(stamp_of(cache / "config" / "jwst" / "server_config"))
    except OSError:
        return {}
    return _entries(_recorded_catalog(cache, stamp), names)


def entries_of(
    cache: Path, server: Server | None, names: Sequence[str], *, needed: bool = False
) -> tuple[dict[str, Entry], str]:
    """Return checksums and sizes, and who gives them.

    Parameters
    ----------
    cache : Path
        Takes the place of a server that there is not: what it recorded of the catalog.
    server : Server or None
        The server to ask.
    names : sequence of str
        File names.
    needed : bool
        Whether nothing can be done without the server.

    Raises
    ------
    TransientError
        It is needed and does not answer.
    """
    if server is not None:
        try:
            return asked(server, names), "server"
        except TransientError as error:
            if needed:
                raise
            log.warning("%s; what the cache recorded of its catalog is used", error)
    return recorded_entries(cache, names), "cache"


def asked(server: Server, names: Sequence[str]) -> dict[str, Entry]:
    """Return the entries that a server gives, all of ``names``; it is asked for those that it was not lately."""
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
