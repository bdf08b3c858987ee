"""Comparing all that a cache holds with the checksums that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from calservice.references.catalog import entries_of
from calservice.references.download import Counter, Progress, all_at_once
from calservice.references.inventory import Held, held, leftovers
from calservice.references.records import Entry, Records, hashed
from calservice.references.server import PATIENCE, Patience, Server

__all__ = ["Standing", "Verdict", "Verification", "verify"]

Standing = Literal["good", "corrupt", "changed", "unreadable", "absent", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """How a file stands.

    Attributes
    ----------
    file : Held
        The file; with an empty path where it is absent.
    standing : str
        ``good``; ``corrupt``: not what the catalog says, or not what a mapping says of itself; ``changed``: no
        longer what was recorded when it was first used; ``unreadable``; ``absent``: named, but not in the cache;
        ``unknown``: nothing to compare with. Its checksum is recorded from now on.
    sha1 : str
        Its checksum; empty where its length alone is wrong, or it could not be read.
    expected : str
        What it was compared with: a checksum, or a length.
    source : str
        Who says so: ``server``, ``cache`` (the catalog that it recorded), ``record``, ``mapping``.
    reason : str
        Why it is not good.
    """

    file: Held
    standing: Standing
    sha1: str = ""
    expected: str = ""
    source: str = ""
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it."""
        return self.standing in ("good", "unknown")


@dataclass(frozen=True)
class Verification:
    """What was found: a verdict on each file, in the order of the cache, and leftovers of killed downloads."""

    verdicts: tuple[Verdict, ...]
    leftovers: tuple[Path, ...]

    def of(self, standing: Standing) -> tuple[Verdict, ...]:
        """Return the files that stand so."""
        return tuple(verdict for verdict in self.verdicts if verdict.standing == standing)

    @property
    def good(self) -> bool:
        """Whether nothing speaks against any file."""
        return all(verdict.good for verdict in self.verdicts)


def verify(
    cache: Path,
    url: str | None,
    names: Sequence[str] = (),
    *,
    jobs: int = 2,
    on_progress: Progress | None = None,
    patience: Patience = PATIENCE,
) -> Verification:
    """Read files of a cache, references and mappings, and compare them with their checksums.

    Compared is with the server's catalog, else with what the cache recorded of it, else with what was recorded
    when the file was first used, and a mapping with the checksum that it carries. Good files are recorded as
    verified on this host.

    Parameters
    ----------
    cache : Path
        The cache folder.
    url : str or None
        The server to ask.
    names : sequence of str
        File names; none means all.
    jobs : int
        Files read at the same time.
    on_progress : callable, optional
        Called with (file name, bytes so far, bytes in all), one thread at a time.
    patience : Patience
        How long to wait for the server, and how often to try.
    """
    files = held(cache)
    if names:
        wanted = set(names)
        found = [file for file in files if file.name in wanted]
        absent = [Verdict(Held(n, Path(), 0), "absent", reason=f"not in {cache}") for n in _without(names, found)]
    else:
        found, absent = files, []
    entries, source = entries_of(cache, Server(url, patience) if url else None, [file.name for file in found])
    count = Counter(sum(file.size for file in found), on_progress)
    records = Records(cache)

    def judge(file: Held) -> Verdict:
        verdict = _verdict(file, entries.get(file.name, Entry()), source, records)
        count(file.name, file.size)
        return verdict

    verdicts, _ = all_at_once([partial(judge, file) for file in found], jobs)
    return Verification((*verdicts, *absent), tuple(leftovers(cache)))


def _without(names: Iterable[str], found: Iterable[Held]) -> list[str]:
    here = {file.name for file in found}
    return [name for name in dict.fromkeys(names) if name not in here]


def _verdict(file: Held, entry: Entry, source: str, records: Records) -> Verdict:
    if entry.size not in (None, file.size):
        why = f"{file.size} bytes, the catalog says {entry.size}"
        return Verdict(file, "corrupt", expected=f"{entry.size} bytes", source=source, reason=why)
    try:
        sha1, stamp = hashed(file.path)
    except OSError as error:
        return Verdict(file, "unreadable", reason=str(error.strerror))
    if entry.sha1 is not None:
        if sha1 != entry.sha1:
            why = f"checksum {sha1}, the catalog says {entry.sha1}"
            return Verdict(file, "corrupt", sha1, entry.sha1, source, why)
        if not file.is_mapping:
            records.write(file.path, sha1, stamp)
        return Verdict(file, "good", sha1, entry.sha1, source)
    if file.is_mapping:
        own, carried = _own_checksums(file.path)
        if own != carried:
            return Verdict(file, "corrupt", own, carried, "mapping", f"checksum {own}, its header says {carried}")
        return Verdict(file, "good", own, carried, "mapping")
    known = records.known(file.path)
    if known not in (None, sha1):
        return Verdict(file, "changed", sha1, str(known), "record", f"checksum {sha1}, {known} was recorded")
    records.write(file.path, sha1, stamp)
    return Verdict(file, "good" if known else "unknown", sha1, known or "", "record" if known else "")


def _own_checksums(path: Path) -> tuple[str, str]:
    """Return the checksum of a mapping as crds computes it, over all other lines, and that in its header."""
    import hashlib

    lines = path.read_text(errors="replace").splitlines(keepends=True)
    others = "".join(line for line in lines if "sha1sum" not in line)
    carried = next((line.partition(":")[2].strip().strip("',\"") for line in lines if "sha1sum" in line), "none")
    return hashlib.sha1(others.encode(), usedforsecurity=False).hexdigest(), carried
