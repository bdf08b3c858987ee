"""What a comparison found, for people (a line per file, details where something differs) and as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from calservice.products.compare.results import (
    ArrayDifference,
    Comparison,
    FileComparison,
    HduComparison,
    KeywordDifference,
    Settings,
    TableDifference,
    WcsDifference,
)

__all__ = ["comparison_as_json", "print_comparison"]

_FEW = 12
_LONG = 60
_STYLES = {"same": "green", "different": "red"}


def comparison_as_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data, for ``calservice compare --json``; NaN and infinity become text."""
    plain: dict[str, Any] = _plain(asdict(found))
    plain["same"] = found.same
    for file, source in zip(plain["files"], found.files, strict=True):
        file["tolerated"] = source.tolerated
        file["allowance"] = dict(source.allowance)
        for hdu, compared in zip(file["hdus"], source.hdus, strict=True):
            hdu["same"] = compared.same
    return plain


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, tuple | list):
        return [_plain(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return str(node)
    return node if isinstance(node, bool | int | float | str | None) else str(node)


def print_comparison(found: Comparison, console: Console) -> None:
    """Print a line per file, what differs in those that do, and the verdict."""
    console.print(escape(f"A: {found.a}\nB: {found.b}\n{_rules(found.settings)}\n"), soft_wrap=True)
    for file in found.files:
        console.print(_headline(file), soft_wrap=True)
        for line in _details(file):
            console.print(escape(f"    {line}"), soft_wrap=True)
    total, same = len(found.files), found.count("same")
    let_pass = sum(bool(file.allowance) for file in found.files)
    used = f", {let_pass} of them by --max-pixels {found.settings.max_pixels}" if let_pass else ""
    verdict = "[green]same[/]" if found.same else "[red]different[/]"
    console.print(f"\n{verdict}: {same} of {_some(total, 'file')} the same{used}", soft_wrap=True)
    if not found.same:
        console.print("Indices count from 0, slowest axis first.", style="dim")


def _rules(settings: Settings) -> str:
    rules = f"rtol {settings.rtol:g}, atol {settings.atol:g}"
    if settings.ignore:
        rules += f", without {', '.join(settings.ignore)}"
    if settings.max_pixels:
        rules += f", up to {_some(settings.max_pixels, 'pixel')} of an image may differ"
    return rules


def _headline(file: FileComparison) -> str:
    text = f"[{_STYLES.get(file.status, 'yellow')}]{file.status:<14}[/] {escape(file.name)}"
    notes = []
    if file.status == "same":
        notes += [f"{_some(file.tolerated, 'value')} unequal within tolerance"] if file.tolerated else []
        notes += [f"allowed: {_some(n, 'pixel')} of {name} differ" for name, n in file.allowance]
    kinds = sum(hdu.array.kinds for hdu in file.hdus if hdu.array)
    notes += [f"{_some(kinds, 'value')} not finite on either side, but not of one kind"] if kinds else []
    return text + (f" [dim]({escape('; '.join(notes))})[/]" if notes else "")


def _details(file: FileComparison) -> Iterator[str]:
    if file.reason:
        yield file.reason
    for side, names in (("A", file.only_a), ("B", file.only_b)):
        if names:
            yield from _few([f"extensions only in {side}: {', '.join(names)}"])
    if file.reordered:
        yield "the extensions come in another order"
    for hdu in file.hdus:
        if not hdu.same or hdu.allowance:
            yield from _few(list(_of_hdu(hdu)))
    wcs = [line for one in file.wcs if not one.same for line in _of_wcs(one)]
    yield from _few(wcs)
    yield from _few([line for node in file.nodes for line in _of_node(node)])
    if file.table is not None and not file.table.same:
        yield from _few(list(_of_table(file.table)))


def _few(lines: list[str]) -> Iterator[str]:
    """Yield a dozen lines at most; the last says how many were left out."""
    if len(lines) <= _FEW:
        yield from lines
    else:
        yield from lines[: _FEW - 1]
        yield f"  … and {len(lines) - _FEW + 1} more; --json has all"


def _of_hdu(hdu: HduComparison) -> Iterator[str]:
    yield f"{hdu.name}{': let pass' if hdu.same else ''}"
    for what, a, b in hdu.layout:
        yield f"  {what}: A {a}, B {b}"
    if hdu.array is not None and hdu.array.differing:
        yield from (f"  {line}" for line in _of_array(hdu.array, "pixel"))
    if hdu.table is not None and not hdu.table.same:
        yield from (f"  {line}" for line in _of_table(hdu.table))
    for keyword in sorted(hdu.keywords, key=_weight):
        if keyword.what in {"value", "comment"}:
            what = "" if keyword.what == "value" else " (comment)"
            yield f"  {keyword.name}{what}: {_both(keyword.a, keyword.b)}"
        elif keyword.what in {"only in A", "only in B"}:
            yield f"  {keyword.name} {keyword.what}: {_short(keyword.a if keyword.b is None else keyword.b)}"
        else:
            yield f"  {keyword.name}: {keyword.what}"


def _weight(keyword: KeywordDifference) -> int:
    """Values come first, then comments, then lines of text without a keyword."""
    return 2 if keyword.name in {"(no keyword)", "COMMENT", "HISTORY"} else int(keyword.what == "comment")


def _of_array(found: ArrayDifference, thing: str) -> Iterator[str]:
    yield f"{found.differing} of {_some(found.pixels, thing)} differ ({_percent(found.fraction)})"
    if found.flags:
        yield "flags: " + ", ".join(f"{name} in {count}" for name, count in found.flags)
    elif found.largest_absolute is not None:
        relative = "" if found.largest_relative is None else f", relative to B {found.largest_relative:.3g}"
        yield f"largest difference {found.largest_absolute:.4g}{relative}"
    if found.worst is not None and found.values is not None:
        a, b = (f"{v:.9g}" if isinstance(v, float) else str(v) for v in found.values)
        yield f"worst at {list(found.worst)}: A {a}, B {b}"
    if found.box is not None and found.differing > 1:
        yield "within [" + ", ".join(f"{low}:{high + 1}" for low, high in found.box) + "]"
    if found.only_a_finite or found.only_b_finite:
        yield f"finite in A only: {found.only_a_finite}, in B only: {found.only_b_finite}"


def _of_table(found: TableDifference) -> Iterator[str]:
    if found.rows[0] != found.rows[1]:
        yield f"rows: A {found.rows[0]}, B {found.rows[1]}"
    for side, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            yield f"columns only in {side}: {', '.join(names)}"
    if found.reordered:
        yield "the columns come in another order"
    for column in found.columns:
        for what, a, b in column.attributes:
            yield f"column {column.name}: {what}: {_both(a, b)}"
        if column.rows:
            far = ""
            if column.values is not None and column.values.flags:
                far = "; flags: " + ", ".join(f"{name} in {count}" for name, count in column.values.flags)
            elif column.values is not None and column.values.largest_absolute is not None:
                far = f"; largest difference {column.values.largest_absolute:.4g}"
            rows = f"{column.rows} of {_some(found.rows[0], 'row')} differ, the first is {column.first}"
            yield f"column {column.name}: {rows}{far}"


def _of_wcs(found: WcsDifference) -> Iterator[str]:
    name = f"WCS {found.path}".rstrip()
    if found.reason:
        yield f"{name}: {found.reason}"
    if found.sky:
        pixels = "" if found.in_pixels is None else f" ({found.in_pixels:.3g} pixels)"
        at = "" if found.at is None else f" at pixel {tuple(round(x, 1) for x in found.at)}, x first"
        yield f"{name}: up to {found.sky:.4g} mas apart{pixels}{at}, on a grid of {found.points}"
    if found.other:
        yield f"{name}: other coordinates up to {found.other:.4g} apart"
    if found.undefined:
        yield f"{name}: defined on one side only at {found.undefined} of {_some(found.points, 'pixel')}"


def _of_node(node: Any) -> Iterator[str]:
    if node.array is not None:
        yield from (f"{node.path}: {line}" for line in _of_array(node.array, "value"))
    elif node.what in {"only in A", "only in B"}:
        yield f"{node.path} {node.what}: {_short(node.a if node.what == 'only in A' else node.b)}"
    elif node.a is None and node.b is None:
        yield f"{node.path}: {node.what}"
    else:
        yield f"{node.path}{'' if node.what == 'value' else f': {node.what}'}: {_both(node.a, node.b)}"


def _both(a: Any, b: Any) -> str:
    """Show two values; of long texts, the part where they begin to differ."""
    if isinstance(a, str) and isinstance(b, str) and max(len(a), len(b)) > _LONG:
        start = max(0, next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))) - 9)
        a, b = (("…" if start else "") + text[start:] for text in (a, b))
    return f"A {_short(a)}, B {_short(b)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…{text[-1] if isinstance(value, str) else ''}"


def _some(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"
