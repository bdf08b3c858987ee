"""Selection of reference files in a pinned CRDS context.

`Crds` names a context and the cache that holds it. The rules themselves are those of the crds library:
its mapping objects are loaded from the cache's folder by path, so that selection needs neither the
network nor the environment, and sets nothing there. (crds itself, when it is imported, writes the
defaults of its own settings into the environment, ``CRDS_MODE=auto`` and the like, and reads
``CRDS_IGNORE_MAPPING_CHECKSUM``. What is read here: ``CRDS_PATH``, ``CRDS_CONTEXT`` and
``CRDS_SERVER_URL`` by `Crds.resolve`, ``CRDS_ALLOW_BAD_REFERENCES`` and ``CRDS_ALLOW_BAD_RULES``.)

Lookups are remembered by the values that a mapping's parkeys read, with the time of the exposure
replaced by its place among the mapping's use-after dates, between which the answer cannot change.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from calservice.model.errors import Problems, ReferenceFileError
from calservice.references.catalog import server_info
from calservice.references.download import Progress
from calservice.references.keywords import header_from_fits
from calservice.references.locks import hold
from calservice.references.mappings import complete_context, named
from calservice.references.server import Server, address, recorded_info, setting

__all__ = ["NOT_APPLICABLE", "Crds", "cache_folder", "header_from_fits"]

NOT_APPLICABLE = "N/A"
_DATE, _TIME = "META.OBSERVATION.DATE", "META.OBSERVATION.TIME"
_INSTRUMENT = "META.INSTRUMENT.NAME"
_LATEST = ("latest", "jwst-latest", "jwst-operational")


def _bad_files(cache: Path) -> frozenset[str]:
    return frozenset(recorded_info(cache).get("bad_files_list") or ())


@dataclass
class _Rules:
    """One rmap with the lookups already made in it."""

    rmap: Any
    keys: tuple[str, ...]
    cuts: tuple[str, ...] | None
    memo: dict[tuple[Any, ...], str] = field(default_factory=dict)

    @classmethod
    def of(cls, rmap: Any) -> _Rules:
        """Wrap a loaded rmap; ``cuts`` are its use-after dates where only they see the time."""
        keys = tuple(dict.fromkeys(key.upper() for key in rmap.get_required_parkeys()))
        header = rmap.header
        simple = header.get("classes", None) == ("Match", "UseAfter")
        simple = simple and rmap.parkey[-1] == (_DATE, _TIME)
        hooks = ("hooks", "rmap_relevance", "rmap_omit", "parkey_relevance", "comment_parkeys")
        if not simple or any("OBSERVATION." in str(header.get(h, "")).upper() for h in hooks[1:]):
            return cls(rmap, keys, None)
        if "hooks" in header:
            return cls(rmap, keys, None)
        after = [choice for choice in rmap.selector.choices() if not isinstance(choice, str)]  # else "N/A"
        dates = {item.key for choice in after for item in choice._selections}
        return cls(rmap, tuple(k for k in keys if k not in (_DATE, _TIME)), tuple(sorted(dates)))

    def best(self, header: Mapping[str, str], moment: str | None) -> str:
        """Return the file name, or "N/A"; raise LookupError with crds' reason."""
        key: tuple[Any, ...] = tuple(header.get(name, "UNDEFINED") for name in self.keys)
        if self.cuts is not None:
            key += (None if moment is None else bisect_right(self.cuts, moment),)
        found = self.memo.get(key) if self.cuts is None or moment is not None else None
        if found is None:
            needed = (_INSTRUMENT, *self.rmap.get_required_parkeys())
            answer = self.rmap.get_best_ref({n: header.get(n.upper(), "UNDEFINED") for n in needed})
            found = _interpreted(answer)
            if len(self.memo) > 50_000:
                self.memo.clear()
            self.memo[key] = found
        return found


def _interpreted(answer: Any) -> str:
    """Return crds' answer as stpipe understands it: a file name, or "N/A"."""
    if answer is None:  # the rules say to leave the type out
        return NOT_APPLICABLE
    if not isinstance(answer, str):  # crds itself fails on these
        raise LookupError(f"the rules do not settle on one file but on {answer}")
    text = answer
    if text.startswith("NOT FOUND") and "n/a" not in text.lower():
        raise LookupError(" ".join(text.removeprefix("NOT FOUND").split()) or "no match")
    return NOT_APPLICABLE if "N/A" in text.upper() else text


class _Context:
    """A loaded context: the pmap, and the rmaps of it that were asked for."""

    def __init__(self, cache: Path, context: str) -> None:
        from crds.core import rmap

        self.name = context
        self.cache = cache
        self.lock = threading.RLock()
        self.pmap = rmap.load_mapping(context, path=str(cache / "mappings" / "jwst"))
        self.rules: dict[tuple[str, str], _Rules | None] = {}
        self.checked: set[str] = set()

    def imap(self, instrument: str) -> Any:
        """Return the instrument's mapping, or None where the context says N/A."""
        from crds.core.exceptions import CrdsUnknownInstrumentError

        try:
            imap = self.pmap.get_imap(instrument)
        except CrdsUnknownInstrumentError:
            raise ReferenceFileError(
                f"the CRDS context {self.name} has no rules for the instrument {instrument!r}"
            ) from None
        if isinstance(imap, str):
            return None
        if instrument not in self.checked and not setting("CRDS_ALLOW_BAD_RULES"):
            names = {self.name, imap.basename, *map(str, imap.selector.values())}
            if bad := sorted(names & _bad_files(self.cache)):
                raise ReferenceFileError(
                    f"the CRDS server marks {', '.join(bad)} of the context {self.name} as "
                    "scientifically invalid; choose another context, or set CRDS_ALLOW_BAD_RULES=1"
                )
        self.checked.add(instrument)
        return imap

    def rules_of(self, instrument: str, reftype: str) -> _Rules | None:
        """Return the rules of a type, or None where it does not apply to the instrument."""
        from crds.core import exceptions as crds_errors

        key = (instrument, reftype)
        if key not in self.rules:
            imap = self.imap(instrument)
            try:
                self.rules[key] = None if imap is None else _Rules.of(imap.get_rmap(reftype))
            except (
                crds_errors.CrdsUnknownReftypeError,
                crds_errors.IrrelevantReferenceTypeError,
                crds_errors.OmitReferenceTypeError,
            ):
                self.rules[key] = None
        return self.rules[key]


@lru_cache(maxsize=8)
def _load(cache: Path, context: str) -> _Context:
    from crds.core.exceptions import CrdsError

    try:
        return _Context(cache, context)
    except (OSError, CrdsError) as error:
        raise ReferenceFileError(f"the CRDS context {context} in {cache}: {error}") from error


def _moment(header: Mapping[str, str]) -> str | None:
    """Return the exposure's start as crds compares it, or None where it is not a date."""
    from crds.core import timestamp
    from crds.core.exceptions import CrdsError

    try:
        return str(timestamp.reformat_date(f"{header[_DATE]} {header[_TIME]}"))
    except (CrdsError, LookupError, TypeError, ValueError):
        return None


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return the folder of the cache: the given one, else that of ``CRDS_PATH``.

    Raises
    ------
    ReferenceFileError
        None is named.
    """
    place = cache or os.environ.get("CRDS_PATH")
    if not place:
        raise ReferenceFileError("no CRDS cache is named: give its folder, or set CRDS_PATH")
    return Path(os.path.abspath(os.path.expanduser(place)))


@dataclass(frozen=True)
class Crds:
    """A CRDS context, pinned, with the cache that holds it.

    Attributes
    ----------
    cache : Path
        The cache folder (``CRDS_PATH``).
    context : str
        The name of a pipeline mapping, e.g. ``jwst_0676.pmap``.
    server : str or None
        URL of the CRDS server, None to stay off the network.
    """

    cache: Path
    context: str
    server: str | None

    @classmethod
    def resolve(
        cls,
        *,
        context: str | None = None,
        cache: str | Path | None = None,
        server: str | None = None,
        on_progress: Progress | None = None,
    ) -> Crds:
        """Settle cache, server and context, and have the context's mappings in the cache.

        The context is marked as in use by this process, so that its files are not pruned.

        Parameters
        ----------
        context, cache, server : optional
            As for `settle`.
        on_progress : callable, optional
            Called as mappings come: (file name, bytes so far, bytes in all), one thread at a time.

        Raises
        ------
        ReferenceFileError
            No cache is named, or the context is to be had neither there nor from a server.
        TransientError
            The server is needed and does not answer.
        Problems
            Mappings that could not be brought, each with the reason.
        """
        found = cls.settle(context=context, cache=cache, server=server)
        complete_context(found.cache, found.context, found.server, on_progress=on_progress)
        hold(found.cache, found.context)
        return found

    @classmethod
    def settle(
        cls,
        *,
        context: str | None = None,
        cache: str | Path | None = None,
        server: str | None = None,
    ) -> Crds:
        """Settle cache, server and the name of the context; its mappings need not be there.

        Parameters
        ----------
        context : str, optional
            A pipeline mapping, ``latest``, ``edit``, ``build`` (of the installed jwst) or a dated
            context. By default ``CRDS_CONTEXT``, then the operational context of the server, then
            (offline) the one that the cache recorded.
        cache : path, optional
            By default ``CRDS_PATH``.
        server : str, optional
            URL, ``ops`` or ``pub``. By default ``CRDS_SERVER_URL``; an empty string stays offline.

        Raises
        ------
        ReferenceFileError
            No cache is named, or nothing says which context it is to be.
        TransientError
            The server is needed and does not answer.
        """
        folder = cache_folder(cache)
        url = address(os.environ.get("CRDS_SERVER_URL") if server is None else server)
        asked = context or os.environ.get("CRDS_CONTEXT") or "latest"
        if url is None and not folder.is_dir():
            raise ReferenceFileError(
                f"the CRDS cache {folder} does not exist: create and fill it, or set CRDS_SERVER_URL"
            )
        name = asked if asked.endswith(".pmap") else _translated(asked, folder, url)
        if Path(name).name != name:
            raise ReferenceFileError(f"{name!r} is not the name of a CRDS context")
        return cls(folder, name, url)

    def look_up(self, parameters: Mapping[str, Any], reftypes: Sequence[str]) -> dict[str, str | ReferenceFileError]:
        """Return for each type its file name, "N/A", or the error that says why there is none."""
        from crds.core import utils
        from crds.core.exceptions import CrdsError

        if not any(key.lower().startswith("meta.") for key in parameters):
            parameters = header_from_fits(parameters)
        simple = (str, int, float, bool)
        raw = {key.upper(): value for key, value in parameters.items() if isinstance(value, simple)}
        instrument = str(raw.get(_INSTRUMENT, "")).strip().lower()
        if not instrument:
            raise ReferenceFileError("no instrument is named (INSTRUME, meta.instrument.name)")
        context = _load(self.cache, self.context)
        with context.lock:
            try:
                rules = {kind: context.rules_of(instrument, kind.lower()) for kind in reftypes}
                needed = {key for r in rules.values() if r for key in r.keys} | {_DATE, _TIME}
                header = {k: utils.condition_value(raw[k]) for k in needed if k in raw}
                header[_INSTRUMENT] = instrument.upper()
                moment = _moment(header)
                bad = _bad_files(self.cache)
                return {k: self._best(k, rule, header, moment, bad) for k, rule in rules.items()}
            except (OSError, CrdsError) as error:
                raise ReferenceFileError(f"the CRDS context {self.context} in {self.cache}: {error}") from error

    def _best(
        self,
        kind: str,
        rules: _Rules | None,
        header: Mapping[str, str],
        moment: str | None,
        bad: frozenset[str],
    ) -> str | ReferenceFileError:
        if rules is None:
            return NOT_APPLICABLE
        try:
            name = rules.best(header, moment)
        except LookupError as error:
            if kind.lower().startswith("pars-"):  # the official steps then take their defaults
                return NOT_APPLICABLE
            where = f"{header[_INSTRUMENT]} exposure in the CRDS context {self.context}"
            keys = rules.rmap.get_required_parkeys()
            values = ", ".join(f"{k.lower()}={header[k.upper()]}" for k in keys if k.upper() in header)
            why = f"{str(error.args[0]).rstrip('.')} ({values})"
            return ReferenceFileError(f"no {kind} reference for this {where}: {why}")
        if name in bad and not setting("CRDS_ALLOW_BAD_REFERENCES"):
            return ReferenceFileError(
                f"the {kind} reference {name} of {self.context} is marked as scientifically invalid "
                "by the CRDS server; set CRDS_ALLOW_BAD_REFERENCES=1 to use it all the same"
            )
        return name

    def select(self, parameters: Mapping[str, Any], reftypes: Sequence[str]) -> dict[str, str]:
        """Return the best reference of each type: a file name, or "N/A".

        Parameters
        ----------
        parameters : mapping
            Flat metadata (``meta.instrument.name`` ...) as datamodels give it, or FITS keywords.
        reftypes : sequence of str
            CRDS types. One that the context does not know is "N/A"; so is a ``pars-`` type without
            a match, which the official steps take as "use the defaults".

        Raises
        ------
        Problems
            One ReferenceFileError for each type without a match, with type, context and reason.
        """
        found = self.look_up(parameters, reftypes)
        if errors := [error for error in found.values() if isinstance(error, ReferenceFileError)]:
            raise Problems(errors)
        return {kind: str(name) for kind, name in found.items()}

    def everything(self, instruments: Iterable[str] = (), types: Iterable[str] = ()) -> frozenset[str]:
        """Return all references that the context names for some instruments and types (none: all of them).

        Those that the server marks as scientifically invalid are left out, unless they are allowed.

        Raises
        ------
        ReferenceFileError
            The context has nothing of an instrument or type, or a mapping is missing.
        """
        bad = frozenset() if setting("CRDS_ALLOW_BAD_REFERENCES") else _bad_files(self.cache)
        return named(self.cache, self.context).chosen(instruments, types) - bad

    def parkeys(self, instrument: str, reftypes: Iterable[str]) -> frozenset[str]:
        """Return the ``meta.…`` names that selection of these types reads."""
        context = _load(self.cache, self.context)
        with context.lock:
            rules = [context.rules_of(instrument.lower(), kind.lower()) for kind in reftypes]
        keys = {k.lower() for r in rules if r is not None for k in r.rmap.get_required_parkeys()}
        return frozenset(keys | {_INSTRUMENT.lower()})


def _translated(asked: str, cache: Path, url: str | None) -> str:
    """Return the mapping that a symbolic or dated context name stands for."""
    if url is None:
        info = recorded_info(cache)
        edit = asked in ("edit", "jwst-edit")
        found = info.get("edit_context") if edit else info.get("latest_context")
        found = found if edit else found or info.get("operational_context")
        if (edit or asked in _LATEST) and found:
            return str(found)
        raise ReferenceFileError(
            f"which CRDS context {asked!r} is cannot be told offline from the cache {cache}: "
            "name one (CRDS_CONTEXT=jwst_NNNN.pmap), or set CRDS_SERVER_URL"
        )
    server = Server(url)
    if asked in ("build", "jwst-build"):
        from importlib.metadata import PackageNotFoundError, version

        try:
            return str(server.call("get_build_context", "jwst", version("jwst")))
        except PackageNotFoundError:
            raise ReferenceFileError("the context 'build' needs the jwst package") from None
    if asked not in (*_LATEST, "edit", "jwst-edit"):
        return str(server.call("get_context_by_date", asked, "jwst"))
    info = server_info(server, cache)
    if asked.endswith("edit"):
        return str(info["edit_context"])
    return str(info.get("latest_context") or info["operational_context"])
