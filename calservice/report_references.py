"""What people see of references: needs, the cache, downloads, verification; as rich tables or plain JSON."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.table import Column, Table

from calservice.references.cache import Brought
from calservice.references.inventory import Contents, Held, Prunable, Removed
from calservice.references.select import NOT_APPLICABLE
from calservice.references.verify import Verdict, Verification
from calservice.report import size

if TYPE_CHECKING:
    from calservice.needs import Needs

__all__ = [
    "Bytes",
    "contents_as_json",
    "fetched_as_json",
    "needs_as_json",
    "print_contents",
    "print_fetched",
    "print_needs",
    "print_prunable",
    "print_removed",
    "print_verification",
    "prunable_as_json",
    "verification_as_json",
]

_FEW = 20


class Bytes:
    """Progress of downloads or of reading: a live bar on a terminal, nothing elsewhere.

    Parameters
    ----------
    what : str
        What goes on.
    console : rich.console.Console or None
        Where to; None shows nothing.
    """

    def __init__(self, what: str, console: Console | None) -> None:
        whole, name = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis")
        self.bar = Progress(
            TextColumn(what, table_column=whole),
            BarColumn(20),
            DownloadColumn(table_column=whole),
            TransferSpeedColumn(table_column=whole),
            TimeElapsedColumn(table_column=whole),
            TextColumn("{task.description}", table_column=name),
            console=console,
            transient=True,
            disable=console is None or not console.is_terminal,
        )
        self.row = self.bar.add_task("", total=None)
        self.begun = time.monotonic()

    def __enter__(self) -> Bytes:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, name: str, so_far: int, total: int) -> None:
        self.bar.update(self.row, description=escape(name), completed=so_far, total=total or None)

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.monotonic() - self.begun


def files(number: int) -> str:
    """Return a number of files in words."""
    return f"{number} file{'' if number == 1 else 's'}"


# -- what the cache holds


def contents_as_json(found: Contents) -> dict[str, Any]:
    """Return what a cache holds as plain data."""
    return {
        "context": found.context or None,
        "usable": not found.lacking,
        "reason": found.lacking,
        "server": found.server,
        "cache": str(found.cache),
        "files": [
            {
                "name": file.name,
                "path": str(file.path),
                "kind": "mapping" if file.is_mapping else "reference",
                "instrument": file.instrument,
                "type": "" if file.is_mapping else file.reftype,
                "size": file.size,
                "sha1": found.sha1.get(file.name),
                "verified": file.name in found.verified,
            }
            for file in found.held
        ],
        "leftovers": [str(path) for path in found.leftovers],
    }


def print_contents(found: Contents, console: Console) -> None:
    """Print the context, and what the cache holds by instrument and type."""
    console.print(f"CRDS context {found.context or 'unknown'}", soft_wrap=True)
    if found.lacking:
        console.print(f"[yellow]note[/]: {escape(found.lacking)}", soft_wrap=True)
    console.print(f"server {escape(found.server or 'none')}", soft_wrap=True)
    console.print(f"cache {escape(str(found.cache))}", soft_wrap=True)
    references = [file for file in found.held if not file.is_mapping]
    if references:
        table = _table("References", ("instrument", "type"), ("files", "size", "verified here"))
        for (instrument, kind), group in _by_type(references).items():
            here = sum(file.name in found.verified for file in group)
            table.add_row(instrument or "-", kind or "other", str(len(group)), size(_bytes(group)), str(here))
        console.print(table)
    mappings = [file for file in found.held if file.is_mapping]
    console.print(
        f"{files(len(references))}, {size(_bytes(references))}, of references; "
        f"{files(len(mappings))}, {size(_bytes(mappings))}, of rules"
    )
    _print_leftovers(found.leftovers, console)


def _print_leftovers(paths: Sequence[Path], console: Console) -> None:
    if paths:
        console.print(
            f"[yellow]note[/]: {files(len(paths))} left by killed downloads; calservice references prune removes them"
        )


def _table(title: str, left: Iterable[str], right: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right")
    return table


def _by_type(held: Iterable[Held]) -> dict[tuple[str, str], list[Held]]:
    groups: dict[tuple[str, str], list[Held]] = defaultdict(list)
    for file in held:
        groups[file.instrument, file.reftype].append(file)
    return dict(sorted(groups.items()))


def _bytes(held: Iterable[Held]) -> int:
    return sum(file.size for file in held)


# -- what a job needs


def needs_as_json(
    found: Needs, where: Mapping[str, Any], sizes: Mapping[str, int | None], here: Mapping[str, Path]
) -> dict[str, Any]:
    """Return what a job needs as plain data: each stage with its references, and each file once."""
    return {
        **where,
        "stages": [
            {"id": n.stage, "pipeline": n.pipeline, "exposure": n.exposure, "references": dict(n.references)}
            for n in found.stages
        ],
        "files": [
            {
                "name": name,
                "size": sizes.get(name),
                "cached": name in here,
                "path": str(here[name]) if name in here else None,
            }
            for name in sorted(found.names)
        ],
        "problems": problems_as_json(found.problems),
        "notes": found.notes,
    }


def problems_as_json(problems: Iterable[Exception]) -> list[dict[str, str]]:
    """Return what is wrong as plain data."""
    return [{"kind": type(problem).__name__, "message": str(problem)} for problem in problems]


def print_needs(
    found: Needs, sizes: Mapping[str, int | None], here: Collection[str], console: Console, *, context: str
) -> None:
    """Print the references of a job: one row for each file of each pipeline, then types that do not apply."""
    uses: Counter[tuple[str, str, str]] = Counter()
    stages = Counter(need.pipeline for need in found.stages)
    for need in found.stages:
        uses.update((need.pipeline, kind, name) for kind, name in need.references.items())
    table = _table(f"References in {context}", ("pipeline", "type", "reference"), ("size", "stages", "in the cache"))
    apart: dict[str, list[str]] = {pipeline: [] for pipeline in stages}
    order = list(stages)
    for (pipeline, kind, name), number in sorted(uses.items(), key=lambda use: (order.index(use[0][0]), use[0])):
        if name == NOT_APPLICABLE:
            apart[pipeline].append(f"{kind} ({number} of {stages[pipeline]})" if number < stages[pipeline] else kind)
            continue
        length = sizes.get(name)
        cached = "yes" if name in here else "[yellow]no[/]"
        table.add_row(pipeline, kind, name, "?" if length is None else size(length), str(number), cached)
    if table.row_count:
        console.print(table)
    for pipeline, kinds in apart.items():
        rules = [kind for kind in kinds if not kind.startswith("pars-")]
        more = f", {len(kinds) - len(rules)} of parameters" if len(kinds) > len(rules) else ""
        console.print(f"not applicable in {pipeline}: {', '.join(rules) or 'none'}{more}", soft_wrap=True)
    away = [name for name in found.names if name not in here]
    number = len(found.stages)
    text = f"{files(len(found.names))} for {number} stage{'' if number == 1 else 's'}"
    text += f"; {len(found.names) - len(away)} in the cache"
    if away:
        known = [length for name in away if (length := sizes.get(name)) is not None]
        words = [size(sum(known))] if known else []
        words += [f"{len(away) - len(known)} of unknown size"] if len(known) < len(away) else []
        text += f", {len(away)} to be fetched ({' and '.join(words)})"
    console.print(text)
    for note in found.notes:
        console.print(f"[yellow]note[/]: {escape(note)}", soft_wrap=True)


# -- fetching


def _origin(brought: Brought, name: str) -> str:
    return "server" if name in brought.downloaded else "another process" if name in brought.waited else "cache"


def fetched_as_json(brought: Brought, where: Mapping[str, Any], problems: Iterable[Exception]) -> dict[str, Any]:
    """Return what was fetched as plain data."""
    return {
        **where,
        "files": [
            {"name": n, "path": str(f.path), "size": f.size, "sha1": f.sha1, "from": _origin(brought, n)}
            for n, f in sorted(brought.files.items())
        ],
        "problems": problems_as_json(problems),
    }


def print_fetched(brought: Brought, server: str | None, seconds: float, console: Console) -> None:
    """Print how many files are at hand now, and where they came from."""
    totals: dict[str, list[int]] = defaultdict(list)
    for name, file in brought.files.items():
        totals[_origin(brought, name)].append(file.size)
    words = {"cache": "from the cache", "server": f"from {server}", "another process": "brought by another process"}
    parts = [f"{len(v)} {words[k]} ({size(sum(v))})" for k in words if (v := totals.get(k))]
    whole = sum(file.size for file in brought.files.values())
    console.print(
        escape(f"{files(len(brought.files))} at hand, {size(whole)}{': ' if parts else ''}{', '.join(parts)}; ")
        + f"{seconds:.1f} s",
        soft_wrap=True,
    )


# -- verifying


def verification_as_json(found: Verification, repaired: Brought | None) -> dict[str, Any]:
    """Return every verdict as plain data."""
    mended = repaired.files if repaired else {}
    return {
        "good": all(v.good or v.file.name in mended for v in found.verdicts),
        "files": [
            {
                "name": v.file.name,
                "path": str(v.file.path) if v.standing != "absent" else None,
                "size": v.file.size,
                "standing": v.standing,
                "sha1": v.sha1 or None,
                "expected": v.expected or None,
                "compared_with": v.source or None,
                "reason": v.reason,
                "repaired": v.file.name in mended,
            }
            for v in found.verdicts
        ],
        "leftovers": [str(path) for path in found.leftovers],
        "problems": problems_as_json(repaired.problems if repaired else ()),
    }


_SOURCES = {
    "server": "the server's catalog",
    "cache": "the catalog that the cache recorded",
    "record": "what was recorded at first use",
    "mapping": "the checksum that a mapping carries",
}


def print_verification(found: Verification, console: Console, repaired: Brought | None = None) -> None:
    """Print what is wrong with which files, and how many are good."""
    mended = repaired.files if repaired else {}
    for verdict in found.verdicts:
        if not verdict.good:
            state = "[green]repaired[/]" if verdict.file.name in mended else f"[red]{verdict.standing}[/]"
            where = verdict.file.name if verdict.standing == "absent" else str(verdict.file.path)
            console.print(f"{state} {escape(where)}: {escape(verdict.reason)}", soft_wrap=True)
    unknown = found.of("unknown")
    for verdict in unknown[:_FEW]:
        console.print(
            f"[yellow]unknown[/] {escape(str(verdict.file.path))}: no checksum to compare with", soft_wrap=True
        )
    if len(unknown) > _FEW:
        console.print(f"[yellow]unknown[/] and {len(unknown) - _FEW} more (--json has all)")
    compared = Counter(verdict.source for verdict in found.of("good"))
    by = "; ".join(f"{number} by {_SOURCES[source]}" for source, number in compared.items())
    console.print(f"{files(len(found.of('good')))} good{f' ({by})' if by else ''}, {_summary(found, mended)}")
    if unknown:
        console.print("What was unknown is recorded from now on: a change under the same name will be noticed.")
    _print_cures(found, mended, console)
    _print_leftovers(found.leftovers, console)


def _summary(found: Verification, mended: Collection[str]) -> str:
    left = Counter(v.standing for v in found.verdicts if v.file.name not in mended)
    words = [f"{left[s]} {s}" for s in ("corrupt", "changed", "unreadable", "absent", "unknown") if left[s]]
    words += [f"{len(mended)} repaired"] if mended else []
    return ", ".join(words) or "nothing wrong"


def _print_cures(found: Verification, mended: Collection[str], console: Console) -> None:
    def left(verdicts: Iterable[Verdict]) -> bool:
        return any(v.file.name not in mended for v in verdicts)

    if left(found.of("corrupt")):
        console.print("corrupt: --repair fetches them again; nothing here uses them until then")
    if left(found.of("changed")):
        console.print("changed: restore them, or fetch them again (--repair), or take them as they are (--accept NAME)")


# -- pruning


def prunable_as_json(found: Prunable, removed: Removed | None) -> dict[str, Any]:
    """Return what may go, and what went, as plain data."""
    return {
        "kept_contexts": list(found.contexts),
        "in_use": list(found.used),
        "files": [{"name": f.name, "path": str(f.path), "size": f.size} for f in found.files],
        "bytes": _bytes(found.files),
        "leftovers": [str(path) for path in found.leftovers],
        "foreign": [str(file.path) for file in found.foreign],
        "removed": [str(path) for path in removed.paths] if removed else [],
        "removed_bytes": removed.size if removed else 0,
        "stayed": [{"path": str(path), "reason": why} for path, why in removed.stayed] if removed else [],
    }


def print_prunable(found: Prunable, console: Console) -> None:
    """Print what may go, by instrument and type, and its bytes."""
    console.print(f"keeping what {', '.join(found.contexts)} {'names' if len(found.contexts) == 1 else 'name'}")
    if found.used:
        console.print(f"[yellow]note[/]: {', '.join(found.used)} in use by a running process")
    if found.files:
        table = _table("Named by none of these", ("instrument", "type"), ("files", "size"))
        for (instrument, kind), group in _by_type(found.files).items():
            table.add_row(instrument or "-", kind, str(len(group)), size(_bytes(group)))
        console.print(table)
    for path in [file.path for file in found.files][:_FEW]:
        console.print(f"  {escape(str(path))}", soft_wrap=True)
    if len(found.files) > _FEW:
        console.print(f"  and {len(found.files) - _FEW} more (--json has all)")
    for path in found.leftovers:
        console.print(f"  left by a killed process: {escape(str(path))}", soft_wrap=True)
    if found.foreign:
        console.print(f"[yellow]note[/]: {files(len(found.foreign))} with names that CRDS does not give stay (--json)")
    number = len(found.files) + len(found.leftovers)
    text = f"{files(number)}, {size(_bytes(found.files))}, may go" if number else "nothing is to be removed"
    console.print(text)


def print_removed(removed: Removed, console: Console) -> None:
    """Print how much went, and what could not."""
    for path, why in removed.stayed:
        console.print(f"[yellow]stays[/] {escape(str(path))}: {escape(why)}", soft_wrap=True)
    console.print(f"{files(len(removed.paths))} removed, {size(removed.size)}")
