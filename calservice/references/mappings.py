"""The mappings of a context: bringing them, and the files that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from calservice.model.errors import Problems, ReferenceFileError
from calservice.references.cache import plain
from calservice.references.catalog import asked, base_url, server_info
from calservice.references.download import Counter, Download, Progress, all_at_once
from calservice.references.records import READ_ONLY
from calservice.references.server import PATIENCE, Patience, Server, setting

__all__ = ["Named", "complete_context", "lacking_mappings", "named"]


def complete_context(
    cache: Path,
    context: str,
    url: str | None,
    *,
    patience: Patience = PATIENCE,
    on_progress: Progress | None = None,
) -> None:
    """Have all mappings of a context in the cache, from the server if need be.

    Raises
    ------
    ReferenceFileError
        There is no server and mappings are missing, or the server does not know the context.
    Problems
        Mappings that could not be brought, each with the reason.
    """
    folder = cache / "mappings" / "jwst"
    lacking = lacking_mappings(folder, context)
    if not lacking:
        return
    if url is None or setting(READ_ONLY):
        cure = "set CRDS_SERVER_URL" if url is None else f"unset {READ_ONLY}"
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise ReferenceFileError(
            f"the CRDS context {context} is not complete in the cache {cache}: {lacking[0]}{more} "
            f"missing; {cure}, name another context (CRDS_CONTEXT), or fill the cache"
        )
    server = Server(url, patience)
    try:
        names = [str(name) for name in server.call("get_mapping_names", context)]
    except ReferenceFileError as error:
        raise ReferenceFileError(f"the CRDS context {context} is not in the cache {cache}, and {error}") from None
    missing = [name for name in names if not (folder / plain(name)).exists()]
    entries = asked(server, missing)
    base = base_url(server_info(server, cache), "mapping")
    count = Counter(sum(entries[name].size or 0 for name in missing), on_progress)
    for kind in (".rmap", ".imap", ".pmap"):  # the context last: where it is, it is complete
        wanted = [name for name in missing if name.endswith(kind)]
        downloads = [Download(folder / name, f"{base}/{name}", entries[name], patience, count) for name in wanted]
        _, problems = all_at_once([download.run for download in downloads], 8, count.stopped)
        if problems:
            raise Problems(problems)
    if lacking := lacking_mappings(folder, context):
        raise ReferenceFileError(f"the CRDS server at {url} does not have {', '.join(lacking)}")


def lacking_mappings(folder: Path, name: str) -> list[str]:
    """Return the mappings, of those that a mapping leads to, that are not in the folder."""
    if not (folder / plain(name)).exists():
        return [name]
    if name.endswith(".rmap"):
        return []
    from crds.core import rmap
    from crds.core.exceptions import CrdsError

    try:
        selector = rmap.load_mapping(name, path=str(folder)).selector
    except (OSError, CrdsError, AssertionError) as error:
        raise _unusable(folder / name, error) from error
    below = sorted({str(value) for value in selector.values() if str(value).endswith("map")})
    return [lacking for part in below for lacking in lacking_mappings(folder, part)]


def _unusable(path: Path, error: Exception) -> ReferenceFileError:
    cure = f"calservice references verify --repair {path.name} fetches it again"
    return ReferenceFileError(f"{path} cannot be used: {error}. {cure}")


@dataclass(frozen=True)
class Named:
    """The files that a context names.

    Attributes
    ----------
    mappings : frozenset of str
        The context itself and every mapping that it leads to.
    references : mapping of (str, str) to frozenset of str
        Reference files by instrument and type, in small letters.
    """

    mappings: frozenset[str]
    references: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def chosen(self, instruments: Iterable[str] = (), types: Iterable[str] = ()) -> frozenset[str]:
        """Return the references of some instruments and types; of all where none is named.

        Raises
        ------
        ReferenceFileError
            The context has nothing of an instrument or type.
        """
        wanted = {name.lower() for name in instruments}, {name.lower() for name in types}
        for number, (what, names) in enumerate(zip(("instrument", "type"), wanted, strict=True)):
            known = {key[number] for key in self.references}
            if unknown := sorted(names - known):
                raise ReferenceFileError(
                    f"the context names no files of the {what} {unknown[0]}; it has {', '.join(sorted(known))}"
                )
        return frozenset(
            name
            for (instrument, kind), names in self.references.items()
            if (not wanted[0] or instrument in wanted[0]) and (not wanted[1] or kind in wanted[1])
            for name in names
        )


@lru_cache(maxsize=4)
def named(cache: Path, context: str) -> Named:
    """Return the files that a context names, whose mappings are all in the cache.

    Raises
    ------
    ReferenceFileError
        A mapping is missing or cannot be used.
    """
    from crds.core import rmap
    from crds.core.exceptions import CrdsError

    folder = cache / "mappings" / "jwst"
    mappings: set[str] = set()
    references: dict[tuple[str, str], frozenset[str]] = {}
    todo = [context]
    while todo:
        name = todo.pop()
        if name in mappings:
            continue
        mappings.add(name)
        try:
            mapping = rmap.load_mapping(name, path=str(folder))
        except (OSError, CrdsError, AssertionError) as error:
            raise _unusable(folder / name, error) from error
        if name.endswith(".rmap"):
            key = (str(mapping.instrument).lower(), str(mapping.filekind).lower())
            references[key] = references.get(key, frozenset()) | frozenset(map(str, mapping.reference_names()))
        else:
            todo += [str(value) for value in mapping.selector.values() if str(value).endswith("map")]
    return Named(frozenset(mappings), references)
