"""What people see: plans, progress and results, as rich tables or plain JSON."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from calservice.model.names import base_and_suffix
from calservice.model.outcome import Outcome
from calservice.model.plan import Plan, Stage, Task
from calservice.products.store import shown

__all__ = ["Follow", "plan_as_json", "plan_rows", "print_outcomes", "print_plan", "print_problems", "size"]

_FEW = 12
_MANY = 60


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, for ``calservice plan --json``."""
    return {
        "output": shown(plan.output),
        "context": plan.context,
        "summary": {
            "stages": len(plan.stages),
            "tasks": len(plan.tasks),
            "todo": plan.count("todo"),
            "done": plan.count("done"),
            "blocked": plan.count("blocked"),
            "peak_memory": max((s.memory for s in plan), default=0),
            "output_bytes": sum(s.output_bytes for s in plan if s.state == "todo"),
        },
        "tasks": [{"id": t.id, "stages": [s.id for s in t.stages], "after": list(t.sources)} for t in plan.tasks],
        "stages": [_stage_as_json(stage) for stage in plan],
        "missing": list(plan.missing),
        "problems": [{"kind": type(p).__name__, "message": str(p)} for p in plan.problems],
        "notes": list(plan.notes),
    }


def _stage_as_json(stage: Stage) -> dict[str, Any]:
    return {
        "id": stage.id,
        "pipeline": stage.pipeline,
        "level": stage.level,
        "product": stage.product,
        "association": stage.asn_filename or None,
        "exposure": stage.exposure.label if stage.exposure else None,
        "inputs": [
            {"name": i.name, "role": i.role, "file": shown(i.file.url) if i.file else None, "from": i.source}
            for i in stage.inputs
        ],
        "engines": dict(stage.engines),
        "parameters": stage.parameters,
        "origins": dict(stage.origins),
        "references": {r.reftype: r.name for r in stage.references},
        "cut": stage.cut,
        "memory": stage.memory,
        "output_bytes": stage.output_bytes,
        "state": stage.state,
        "reason": stage.reason,
        "key": stage.key,
    }


def plan_rows(plan: Plan) -> list[tuple[str, ...]]:
    """Return a row for each kind of stage: pipeline, exposures, number, to do, done, blocked, memory, output."""
    kinds: dict[tuple[str, str], list[Stage]] = {}
    for stage in plan:
        kinds.setdefault((stage.pipeline, stage.exposure.label if stage.exposure else "unknown"), []).append(stage)
    return [
        (
            *kind,
            str(len(stages)),
            *(str(sum(s.state == state for s in stages)) for state in ("todo", "done", "blocked")),
            size(max(s.memory for s in stages)),
            size(sum(s.output_bytes for s in stages)),
        )
        for kind, stages in sorted(kinds.items(), key=lambda item: (item[1][0].level, item[0]))
    ]


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan: one row for each kind of stage, then cuts, references, and what is wrong."""
    table = Table(title="Plan", title_justify="left")
    for name in ("stage", "exposures of", "number", "to do", "done", "blocked", "memory each", "output"):
        table.add_column(name, justify="left" if name in ("stage", "exposures of") else "right", overflow="fold")
    for row in plan_rows(plan):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print(
        f"{len(plan.tasks)} tasks; up to {size(max((s.memory for s in plan), default=0))} of memory each; "
        f"about {size(sum(s.output_bytes for s in plan if s.state == 'todo'))} of products in "
        f"{escape(shown(plan.output))}"
    )
    if plan.context:
        console.print(f"CRDS context {plan.context} in {escape(plan.cache)}")
    _print_cuts(plan, console)
    _print_references(plan, console)
    for note in plan.notes[:_FEW]:
        console.print(f"[yellow]note[/]: {escape(note)}")
    if len(plan.notes) > _FEW:
        console.print(f"[yellow]note[/]: and {len(plan.notes) - _FEW} more (--json has all)")
    print_problems(plan.problems, console)


def _print_cuts(plan: Plan, console: Console) -> None:
    cuts = Counter(f"{s.pipeline}: {s.cut}" for s in plan if s.cut and s.level <= 1 and s.state != "done")
    for text, number in cuts.items():
        console.print(f"cut ({number}): {escape(text)}")


def _print_references(plan: Plan, console: Console) -> None:
    used = {(r.reftype, r.name): r for s in plan for r in s.references if r.name != "N/A"}
    if used:
        names = ", ".join(sorted({r.reftype for r in used.values()}))
        total = sum(r.size for r in used.values())
        console.print(f"{len(used)} reference files ({size(total)}): {names}")


def print_problems(problems: Sequence[Exception], console: Console) -> None:
    """Print what is wrong, the first dozen in full."""
    for problem in problems[:_FEW]:
        console.print(f"[red]problem[/]: {escape(str(problem))}", soft_wrap=True)
    if len(problems) > _FEW:
        console.print(f"[red]problem[/]: and {len(problems) - _FEW} more (--json has all)")


class Follow:
    """Progress of a job: a live bar on a terminal, a line for each task elsewhere.

    Parameters
    ----------
    plan : Plan
        The plan that runs.
    console : rich.console.Console
        Where to.
    """

    def __init__(self, plan: Plan, console: Console) -> None:
        self.console = console
        self.begun = time.monotonic()
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.running: dict[str, None] = {}
        self.row = self.bar.add_task("calibrating", total=sum(len(t.stages) for t in plan.tasks))

    def __enter__(self) -> Follow:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, task: Task, event: str, outcomes: tuple[Outcome, ...]) -> None:
        if event == "started":
            self.running[task.id] = None
        else:
            self.running.pop(task.id, None)
            for outcome in outcomes:
                self._say(outcome)
            self.bar.advance(self.row, len(outcomes))
        first = next(iter(self.running), "")
        more = f" and {len(self.running) - 1} more" if len(self.running) > 1 else ""
        self.bar.update(self.row, description=escape(f"{first}{more}") or "calibrating")

    def tell(self, text: str) -> None:
        """Print log records, above the bar."""
        self.console.print(escape(text), soft_wrap=True)

    def _say(self, outcome: Outcome) -> None:
        colour = "green" if outcome.good else "yellow" if outcome.status == "BLOCKED" else "red"
        text = f"[{colour}]{outcome.status.lower():>10}[/] {escape(outcome.stage)}"
        if outcome.seconds:
            text += f"  {outcome.seconds:.1f} s, {size(outcome.peak_memory)}"
        if outcome.message:
            text += f"  {escape(outcome.message.splitlines()[0])}"
        self.console.print(text, soft_wrap=True)


def print_outcomes(plan: Plan, outcomes: Iterable[Outcome], console: Console) -> None:
    """Print what came of a job: products, failures with their logs, steps that were skipped."""
    ended = list(outcomes)
    kept = plan.count("done")
    good = [o for o in ended if o.good]
    if good:
        console.print(_products_table(good[:_MANY]))
    if len(good) > _MANY:
        console.print(f"and the products of {len(good) - _MANY} stages more")
    _print_skipped(good, console)
    bad = [o for o in ended if not o.good]
    for outcome in bad:
        where = f" (log: {outcome.log})" if outcome.log else ""
        console.print(
            f"[red]{outcome.status}[/] {escape(outcome.stage)}: {escape(outcome.message)}{escape(where)}",
            soft_wrap=True,
        )
    for stage in plan:
        if stage.state == "blocked":
            console.print(f"[yellow]BLOCKED[/] {escape(stage.id)}: {escape(stage.reason)}", soft_wrap=True)
    words = [f"{len(good)} {'stage' if len(good) == 1 else 'stages'} made"] + [f"{kept} up to date"] * bool(kept)
    blocked = sum(o.status == "BLOCKED" for o in bad) + plan.count("blocked")
    failed = sum(o.status != "BLOCKED" for o in bad)
    words += [f"{failed} failed"] if failed else []
    words += [f"{blocked} blocked"] if blocked else []
    console.print(f"{', '.join(words)}; products in {escape(shown(plan.output))}")


def _products_table(outcomes: Sequence[Outcome]) -> Table:
    """Return one row for each stage: its products by common name and suffixes, time and memory."""
    table = Table(title="Products", title_justify="left")
    for name, justify in (("stage", "left"), ("products", "left"), ("time", "right"), ("peak memory", "right")):
        table.add_column(name, justify="right" if justify == "right" else "left", overflow="fold")
    for outcome in outcomes:
        names: dict[str, list[str]] = {}
        for product in outcome.products:
            base, suffix = base_and_suffix(product)
            names.setdefault(base, []).append(suffix or product.removeprefix(base))
        rows = [f"{base} [bold]{' '.join(suffixes)}[/]" for base, suffixes in sorted(names.items())]
        pipeline = outcome.stage.partition(":")[0]
        table.add_row(pipeline, "\n".join(rows), f"{outcome.seconds:.1f} s", size(outcome.peak_memory))
    return table


def _print_skipped(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print the steps that were to run but were skipped: success with caveats."""
    skipped: dict[tuple[str, str], int] = Counter()
    total: dict[str, int] = Counter(o.stage.partition(":")[0] for o in outcomes)
    for outcome in outcomes:
        for step in outcome.steps:
            if step.status == "SKIPPED" and step.engine != "off":
                skipped[outcome.stage.partition(":")[0], step.alias] += 1
    for pipeline in dict.fromkeys(name for name, _ in skipped):
        steps = (f"{a} ({n} of {total[pipeline]})" for (p, a), n in skipped.items() if p == pipeline)
        console.print(f"[yellow]skipped[/] in {pipeline}: {', '.join(steps)}", soft_wrap=True)
