"""What notebooks show: plans, jobs and products as pieces of HTML.

They need nothing around them: no scripts, no links, styles of their own, and colours that are legible on light and
dark ground. Everything that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Protocol

from calservice.model.outcome import Outcome
from calservice.model.plan import Plan, Stage
from calservice.products.manifest import Manifest
from calservice.products.store import shown
from calservice.report import plan_rows, size

__all__ = ["ProductLike", "job_html", "plan_html", "product_html", "products_html"]

_STATES = ("todo", "done", "blocked")
_FEW = 12
_MANY = 200
"""Rows of a table of stages or products at most."""
_COLOURS = {
    "COMPLETE": "#1a7f37", "KEPT": "#4d7c5a", "done": "#4d7c5a", "FAILED": "#c62828", "NO_SCIENCE": "#8e44ad",
    "BLOCKED": "#a15c00", "blocked": "#a15c00", "running": "#1565c0", "todo": "#1565c0", "SKIPPED": "#a15c00",
    "problem": "#c62828", "note": "#a15c00",
}  # fmt: skip
_GREY = "#6b7280"
_FIRST = ("FAILED", "NO_SCIENCE", "running", "BLOCKED", "STOPPED", "COMPLETE", "KEPT", "waiting")
"""States in the order of interest: where there are too many rows, the last ones are left out."""
# the class twice: a notebook's own rules for tables and code are many-worded, and must not win
_STYLE = """<style>
.cals{font:13px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:inherit;max-width:78em;
padding:2px 0;overflow-x:auto}
.cals.cals .t{font-weight:600}
.cals.cals .m{opacity:.72}
.cals.cals table{border-collapse:collapse;table-layout:auto;margin:.5em 0;font:inherit;color:inherit}
.cals.cals tbody tr,.cals.cals tbody tr:nth-child(n),.cals.cals tbody tr:hover{background:none}
.cals.cals th,.cals.cals td{padding:.18em .8em .18em 0;border:0;border-bottom:1px solid rgba(128,128,128,.3);
text-align:left;vertical-align:top;font-size:inherit;white-space:nowrap}
.cals.cals th{font-weight:600;opacity:.72}
.cals.cals .n{text-align:right;font-variant-numeric:tabular-nums}
.cals.cals .w{white-space:normal;overflow-wrap:anywhere;min-width:15em;max-width:42em}
.cals.cals .k{display:inline-block;padding:0 .5em;border-radius:.6em;color:#fff;font-size:11px;line-height:1.55;
white-space:nowrap}
.cals.cals .bar{display:flex;height:9px;border-radius:5px;overflow:hidden;background:rgba(128,128,128,.3);
margin:.45em 0;max-width:40em}
.cals.cals .bar i{display:block;height:100%}
.cals.cals .side{display:flex;flex-wrap:wrap;gap:.4em 2em;align-items:flex-start}
.cals.cals img{display:block;max-width:340px;margin:.6em 0}
.cals.cals code{font-size:12px;background:none;color:inherit;padding:0}
.cals.cals summary{cursor:pointer}
.cals.cals p{margin:.3em 0}
</style>"""

_Row = Sequence[str]


class ProductLike(Protocol):
    """What is shown of a product."""

    name: str
    size: int
    blake3: str
    level: int
    manifest: Manifest

    @property
    def url(self) -> str:
        """Path or URL."""

    @property
    def suffix(self) -> str:
        """What kind of product it is."""


def plan_html(plan: Plan) -> str:
    """Return a plan: what is printed of it on a terminal, and what is wrong."""
    todo = [s for s in plan if s.state == "todo"]
    memory = size(max((s.memory for s in plan), default=0))
    lines = [
        _title("Plan", f"{_some(len(plan.stages), 'stage')}, {_states(Counter(s.state for s in plan))}"),
        _table("stage|exposures of|+number|+to do|+done|+blocked|+memory each|+output", plan_rows(plan)),
        _line(
            f"{_some(len(plan.tasks), 'task')}; up to {memory} of memory each; about "
            f"{size(sum(s.output_bytes for s in todo))} of products in {shown(plan.output)}"
        ),
    ]
    if plan.context:
        lines.append(_line(f"CRDS context {plan.context} in {plan.cache}"))
    cuts = Counter(f"{s.pipeline}: {s.cut}" for s in plan if s.cut and s.level <= 1 and s.state != "done")
    lines += [_line(f"cut ({number}): {text}") for text, number in cuts.items()]
    lines += [_references(plan), _messages("note", plan.notes), _messages("problem", map(str, plan.problems))]
    return _whole(*lines)


def _references(plan: Plan) -> str:
    used = {(r.reftype, r.name): r for s in plan for r in s.references if r.name != "N/A"}
    if not used:
        return ""
    rows = [(_text(kind), _code(name), size(r.size)) for (kind, name), r in sorted(used.items())]
    total = size(sum(r.size for r in used.values()))
    table = _table("type|file|+size", rows, raw=True)
    return _more(f"{_some(len(used), 'reference file')} ({total})", table)


def job_html(
    plan: Plan,
    states: Mapping[str, str],
    outcomes: Iterable[Outcome],
    *,
    problems: Iterable[Exception] = (),
    seconds: float,
    ended: bool,
    fault: str = "",
) -> str:
    """Return a job: how far it is, and every stage with its state, time, memory and message.

    Parameters
    ----------
    plan : Plan
        What it makes.
    states : mapping of str to str
        State of every stage, by id.
    outcomes : iterable of Outcome
        Of the stages that have ended.
    problems : iterable of Exception
        What was wrong before it began.
    seconds : float
        For how long it runs, or ran.
    ended : bool
        Whether it has ended.
    fault : str
        Why it could not go on.
    """
    counts = Counter(states.values())
    closed = sum(counts.values()) - counts["running"] - counts["waiting"] - counts["STOPPED"]
    found = {o.stage: o for o in outcomes}
    order = sorted(plan, key=lambda s: _FIRST.index(states[s.id])) if len(plan.stages) > _MANY else list(plan)
    rows = [_stage_row(s, states[s.id], found.get(s.id)) for s in order[:_MANY]]
    head = f"{closed} of {_some(len(plan.stages), 'stage')}, {_time(seconds)}{'' if ended else ' so far'}"
    return _whole(
        _title("Job", head),
        _bar(counts),
        f"<p>{' '.join(_chip(state, f'{counts[state]} {state}') for state in _FIRST if counts[state])}</p>",
        _messages("problem", [fault] if fault else []),
        _messages("problem", map(str, problems)),
        _table("stage|product|state|+time|+memory|~message", rows, raw=True),
        _line(f"and {len(order) - _MANY} stages more") if len(order) > _MANY else "",
        _line(f"products in {shown(plan.output)}"),
    )


def _stage_row(stage: Stage, state: str, outcome: Outcome | None) -> _Row:
    message = stage.reason if stage.state == "blocked" else ""
    seconds = memory = ""
    if outcome is not None:
        skipped = [s.alias for s in outcome.steps if s.status == "SKIPPED" and s.engine != "off"]
        message = (outcome.message.splitlines() or [f"skipped: {', '.join(skipped)}" if skipped else ""])[0]
        seconds = _time(outcome.seconds) if outcome.seconds else ""
        memory = size(outcome.peak_memory) if outcome.peak_memory else ""
    product = _text(stage.product + (f" ({stage.variant})" if stage.variant else ""))
    return (_text(stage.pipeline), product, _chip(state), seconds, memory, _text(message))


def product_html(
    product: ProductLike,
    keywords: Mapping[str, Any],
    shape: tuple[int, ...] = (),
    *,
    picture: bytes | None = None,
    fault: str = "",
) -> str:
    """Return a product: its keywords, a picture, and where it comes from.

    Parameters
    ----------
    product : ProductLike
        The product.
    keywords : mapping of str to object
        Its header.
    shape : tuple of int
        Shape of the science array.
    picture : bytes, optional
        A PNG.
    fault : str
        Why it cannot be read.
    """
    made = product.manifest
    facts = [(name, _text(value)) for name, value in _facts(product, keywords, shape)]
    facts.append(("BLAKE3", _code(f"{product.blake3[:16]}…")))
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode("ascii")
        image = f'<img alt="preview of the image" src="data:image/png;base64,{data}">'
    return _whole(
        _title(product.name, size(product.size)),
        _messages("problem", [fault] if fault else []),
        f'<div class="side">{_table("|~", [(_muted(name), value) for name, value in facts], raw=True)}{image}</div>',
        _provenance(made),
    )


def _facts(product: ProductLike, keywords: Mapping[str, Any], shape: tuple[int, ...]) -> list[tuple[str, str]]:
    def words(*names: str) -> str:
        return " ".join(str(keywords[n]) for n in names if keywords.get(n) not in (None, "", "N/A"))

    exposed = words("EFFEXPTM")
    facts = [
        ("instrument", words("INSTRUME", "DETECTOR", "CHANNEL", "BAND")),
        ("optics", words("FILTER", "PUPIL", "GRATING")),
        ("exposure type", words("EXP_TYPE")),
        ("target", words("TARGNAME") or words("TARGPROP")),
        ("begun", words("DATE-OBS", "TIME-OBS")),
        ("exposure time", f"{float(exposed):.1f} s" if exposed else ""),
        ("level", {0: "single step"}.get(product.level, str(product.level))),
        ("model", words("DATAMODL")),
        ("units", words("BUNIT")),
        ("shape", " x ".join(map(str, shape))),
        ("place", shown(product.url)),
    ]
    return [(name, value) for name, value in facts if value]


def _provenance(made: Manifest) -> str:
    versions = ", ".join(f"{n} {made.versions[n]}" for n in ("calservice", "jwst", "stcal") if n in made.versions)
    engines = " and ".join(dict.fromkeys(made.engines.values()))
    lines = [f"made by {made.pipeline}, engine {engines}" if engines else f"made by {made.pipeline}", versions]
    lines += [f"CRDS context {made.context}"] if made.context else []
    lines += [f"{made.started}, {_time(made.seconds)}, {size(made.peak_memory)} of memory"]
    steps = [
        (_text(s.alias), _text(s.engine), _chip("" if s.engine == "off" else s.status, s.status),
         "" if s.seconds is None else f"{s.seconds:.2f} s")
        for s in made.steps
    ]  # fmt: skip
    given = [(_code(name), _code(json.dumps(_value(made.parameters, name), default=str)), _text(origin))
             for name, origin in made.origins.items()]  # fmt: skip
    used = [(_text(r.reftype), _code(r.name)) for r in made.references if r.name != "N/A"]
    read = [(_code(i.name), _text(i.role), _code(f"{i.blake3[:16]}…")) for i in made.inputs]
    ran = sum(s.status == "COMPLETE" for s in made.steps)
    return "".join(
        (
            *(_line(line) for line in lines if line),
            _messages("note", made.caveats),
            _more(f"{_some(len(steps), 'step')}, {ran} complete", _table("step|engine|status|+time", steps, raw=True)),
            _more(_some(len(given), "parameter set", "parameters set"), _table("|~value|from", given, raw=True)),
            _more(_some(len(used), "reference file"), _table("type|file", used, raw=True)),
            _more(_some(len(read), "input"), _table("file|role|BLAKE3", read, raw=True)),
        )
    )


def _value(parameters: Mapping[str, Any], dotted: str) -> Any:
    found: Any = parameters
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def products_html(products: Sequence[ProductLike]) -> str:
    """Return a table of products."""
    rows = [
        (_code(p.name), _text(p.suffix), size(p.size), _text(p.manifest.pipeline),
         _text(" and ".join(dict.fromkeys(p.manifest.engines.values()))), _code(p.blake3[:12]))
        for p in products[:_MANY]
    ]  # fmt: skip
    return _whole(
        _title(_some(len(products), "product"), size(sum(p.size for p in products))),
        _table("file|kind|+size|made by|engine|BLAKE3", rows, raw=True) if rows else "",
        _line(f"and {len(products) - _MANY} more") if len(products) > _MANY else "",
    )


# -- pieces


def _whole(*pieces: str) -> str:
    return f'{_STYLE}<div class="cals">{"".join(pieces)}</div>'


def _text(value: object) -> str:
    return escape(str(value))


def _code(value: object) -> str:
    return f"<code>{_text(value)}</code>"


def _muted(value: object) -> str:
    return f'<span class="m">{_text(value)}</span>'


def _line(text: str) -> str:
    return f'<p class="m">{_text(text)}</p>'


def _title(name: str, more: str) -> str:
    return f'<p><span class="t">{_text(name)}</span> <span class="m">{_text(more)}</span></p>'


def _chip(state: str, text: str = "") -> str:
    return f'<span class="k" style="background:{_COLOURS.get(state, _GREY)}">{_text(text or state)}</span>'


def _more(summary: str, content: str) -> str:
    """Return what opens on a click; nothing where there is nothing to see."""
    return f'<details><summary class="m">{_text(summary)}</summary>{content}</details>' if "<td" in content else ""


def _messages(kind: str, texts: Iterable[str]) -> str:
    every = list(texts)
    shown_ = "".join(f"<p>{_chip(kind)} {_text(text)}</p>" for text in every[:_FEW])
    return shown_ + (f"<p>{_chip(kind)} and {len(every) - _FEW} more</p>" if len(every) > _FEW else "")


def _bar(counts: Mapping[str, int]) -> str:
    total = sum(counts.values()) or 1
    parts = "".join(
        f'<i style="width:{100 * counts[state] / total:.2f}%;background:{_COLOURS[state]}"></i>'
        for state in ("COMPLETE", "KEPT", "FAILED", "NO_SCIENCE", "BLOCKED", "running")
        if counts.get(state)
    )
    return f'<div class="bar">{parts}</div>'


def _table(columns: str, rows: Iterable[_Row], *, raw: bool = False) -> str:
    """Return a table of the columns named; ``+`` before a name: of numbers, ``~``: of text in lines.

    ``raw`` rows are HTML already.
    """
    marks = {"+": ' class="n"', "~": ' class="w"'}
    kinds = [marks.get(name[:1], "") for name in columns.split("|")]
    names = [name.lstrip("+~") for name in columns.split("|")]
    head = "".join(f"<th{kind}>{_text(name)}</th>" for kind, name in zip(kinds, names, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{k}>{v if raw else _text(v)}</td>' for k, v in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if any(names) else ''}<tbody>{body}</tbody></table>"


def _states(counts: Mapping[str, int]) -> str:
    words = {"todo": "to do"}
    return ", ".join(f"{counts[state]} {words.get(state, state)}" for state in _STATES if counts.get(state)) or "none"


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.1f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _some(number: int, thing: str, things: str = "") -> str:
    return f"{number} {thing if number == 1 else things or thing + 's'}"
