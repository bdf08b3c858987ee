"""What is not FITS: ASDF, catalogs in ECSV, JSON, and any other file byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.diff import diff_values

from calservice.model.errors import InputError
from calservice.products.compare.arrays import ColumnTally, compare_arrays
from calservice.products.compare.results import (
    ColumnDifference,
    FileComparison,
    NodeDifference,
    Settings,
    Status,
    TableDifference,
    WcsDifference,
)
from calservice.products.compare.wcs import as_written, compare_wcs, is_wcs

__all__ = ["compare_asdf", "compare_bytes", "compare_ecsv", "compare_json"]

_VOLATILE = {
    "asdf_library", "history", "_fits_hash", "cal_logs", "date", "version", "version_id", "code_version",
    "meta.date", "meta.calibration_software_version", "meta.calibration_software_revision",
    "meta.ref_file.crds.sw_version", "meta.ref_file.crds.context_used", "meta.cal_logs",
}  # fmt: skip
_CHUNK = 4 * 1024 * 1024
Paths = tuple[Path, Path]
Places = tuple[str, str]


def compare_json(name: str, paths: Paths, places: Places, settings: Settings) -> FileComparison:
    """Compare two JSON files node by node; dates and versions of software at the top do not count."""
    trees = [_parsed(path, place, "JSON", _load_json) for path, place in zip(paths, places, strict=True)]
    nodes, _ = _compare_nodes(trees[0], trees[1], settings)
    return FileComparison(name, _status(not nodes), "JSON", nodes=nodes)


def compare_asdf(name: str, paths: Paths, places: Places, settings: Settings) -> FileComparison:
    """Compare two ASDF trees node by node, and WCSs by what they do."""
    import asdf

    with ExitStack() as stack:

        def load(path: Path) -> Any:
            return stack.enter_context(asdf.open(path, memmap=True, lazy_load=True)).tree

        trees = [_parsed(path, place, "ASDF", load) for path, place in zip(paths, places, strict=True)]
        nodes, wcs = _compare_nodes(trees[0], trees[1], settings)
    return FileComparison(name, _status(not nodes and all(w.same for w in wcs)), "ASDF", wcs=wcs, nodes=nodes)


def compare_ecsv(name: str, paths: Paths, places: Places, settings: Settings) -> FileComparison:
    """Compare two catalogs column by column, and their metadata, of which dates and versions do not count."""
    tables = [_parsed(path, place, "ECSV", _load_ecsv) for path, place in zip(paths, places, strict=True)]
    nodes, _ = _compare_nodes(dict(tables[0].meta), dict(tables[1].meta), settings, "meta")
    table = _compare_catalogs(tables, settings)
    return FileComparison(name, _status(table.same and not nodes), "ECSV", nodes=nodes, table=table)


def compare_bytes(name: str, paths: Paths, places: Places, settings: Settings) -> FileComparison:
    """Compare two files byte for byte."""
    sizes = [path.stat().st_size for path in paths]
    if sizes[0] != sizes[1]:
        node = NodeDifference("size", "value", sizes[0], sizes[1])
        return FileComparison(name, "different", "bytes", nodes=(node,))
    differing, first, start = 0, -1, 0
    with open(paths[0], "rb") as a, open(paths[1], "rb") as b:
        while chunk := a.read(_CHUNK):
            unequal = np.flatnonzero(np.frombuffer(chunk, np.uint8) != np.frombuffer(b.read(len(chunk)), np.uint8))
            if len(unequal) and not differing:
                first = start + int(unequal[0])
            differing += len(unequal)
            start += len(chunk)
    text = f"{differing} of {sizes[0]} bytes differ, the first is byte {first}"
    nodes = (NodeDifference("bytes", text),) if differing else ()
    return FileComparison(name, _status(not differing), "bytes", nodes=nodes)


def _status(same: bool) -> Status:
    return "same" if same else "different"


def _parsed(path: Path, place: str, kind: str, load: Callable[[Path], Any]) -> Any:
    try:
        return load(path)
    except Exception as fault:  # noqa: BLE001 - parsers raise what they like on damaged files
        cause = (str(fault).splitlines() or [type(fault).__name__])[0]
        raise InputError(f"{place}: not a readable {kind} file: {cause}") from None


def _load_json(path: Path) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _load_ecsv(path: Path) -> Any:
    from astropy.table import Table
    from astropy.table.serialize import represent_mixins_as_columns

    table = represent_mixins_as_columns(Table.read(path, format="ascii.ecsv"))
    table.meta.pop("__serialized_columns__", None)
    return table


# -- nodes of trees


def _compare_nodes(
    a: Any, b: Any, settings: Settings, root: str = ""
) -> tuple[tuple[NodeDifference, ...], tuple[WcsDifference, ...]]:
    nodes: list[NodeDifference] = []
    wcs: list[WcsDifference] = []
    for found in _differences(a, b, "", settings):
        if isinstance(found, WcsDifference):
            wcs.append(found)
        else:
            path = ".".join(part for part in (root, found.path) if part)
            nodes.append(NodeDifference(path or "(root)", found.what, found.a, found.b, found.array))
    return tuple(nodes), tuple(wcs)


def _differences(a: Any, b: Any, path: str, settings: Settings) -> Iterator[NodeDifference | WcsDifference]:
    a, b = (node.item() if isinstance(node, np.generic) else node for node in (a, b))
    if is_array(a) and is_array(b):
        yield from _compare_array_nodes(a, b, path, settings)
    elif isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in [*a, *(key for key in b if key not in a)]:
            inner = f"{path}.{key}" if path else str(key)
            if inner in _VOLATILE or settings.ignores(str(key)) or settings.omits(inner):
                continue
            if key not in a or key not in b:
                side = "A" if key in a else "B"
                values = (_brief(a[key]), None) if side == "A" else (None, _brief(b[key]))
                yield NodeDifference(inner, f"only in {side}", *values)
            else:
                yield from _differences(a[key], b[key], inner, settings)
    elif _is_list(a) and _is_list(b):
        if len(a) != len(b):
            yield NodeDifference(path, "length", len(a), len(b))
        for index, (x, y) in enumerate(zip(a, b, strict=False)):
            yield from _differences(x, y, f"{path}[{index}]", settings)
    elif is_wcs_pair(a, b):
        yield compare_wcs(path, a, b, settings)
    elif not _equal(a, b, settings):
        yield NodeDifference(path, "value", _brief(a), _brief(b))


def is_array(node: Any) -> bool:
    """Whether a node is an array, of NumPy or as ASDF loads it when it is needed."""
    return hasattr(node, "dtype") and hasattr(node, "shape") and hasattr(node, "__array__")


def is_wcs_pair(a: Any, b: Any) -> bool:
    """Whether both nodes are WCSs; plain values are told apart without importing gwcs."""
    return not isinstance(a, str | int | float | None) and is_wcs(a) and is_wcs(b)


def _is_list(node: Any) -> bool:
    return isinstance(node, Sequence) and not isinstance(node, str | bytes)


def _equal(a: Any, b: Any, settings: Settings) -> bool:
    plain = (str, int, float, bool, type(None), bytes)
    if isinstance(a, plain) or isinstance(b, plain):
        return type(a) is type(b) and not diff_values(a, b, rtol=settings.rtol, atol=settings.atol)
    return as_written(a) == as_written(b)


def _compare_array_nodes(a: Any, b: Any, path: str, settings: Settings) -> Iterator[NodeDifference]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        yield NodeDifference(path, "shape or type", f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}")
    elif a.dtype.names:
        for field in a.dtype.names:
            yield from _compare_array_nodes(a[field], b[field], f"{path}.{field}", settings)
    else:
        x, y = np.atleast_1d(a), np.atleast_1d(b)
        found = compare_arrays(x.shape, x.dtype.itemsize, lambda at: (x[at], y[at]), settings)
        if not found.same:
            yield NodeDifference(path, "array", array=found)


def _brief(node: Any) -> Any:
    if isinstance(node, bool | int | float | None):
        return node
    text = node if isinstance(node, str) else repr(node)
    return text if len(text) <= 200 else f"{text[:200]}…"


# -- catalogs


def _compare_catalogs(tables: list[Any], settings: Settings) -> TableDifference:
    names = [[name for name in table.colnames if not settings.ignores(name)] for table in tables]
    common = [name for name in names[0] if name in names[1]]
    only = [tuple(n for n in mine if n not in other) for mine, other in (names, names[::-1])]
    rows = (len(tables[0]), len(tables[1]))
    found: list[ColumnDifference] = []
    tolerated = 0
    for name in common:
        columns = [table[name] for table in tables]
        attributes = _catalog_attributes(columns)
        tally = ColumnTally(name, settings)
        if rows[0] == rows[1] and not any(what == "type" for what, _, _ in attributes):
            tally.add(*_filled(columns))
        tolerated += tally.tolerated
        different = tally.result(attributes)
        if different is not None:
            found.append(different)
    reordered = common != [name for name in names[1] if name in names[0]]
    return TableDifference(rows, only[0], only[1], reordered, tuple(found), tolerated)


def _catalog_attributes(columns: list[Any]) -> tuple[tuple[str, Any, Any], ...]:
    types = [c.dtype.kind if c.dtype.kind in "USO" else str(c.dtype) for c in columns]
    pairs = (("type", *types), ("unit", *(str(c.unit or "") for c in columns)))
    return tuple((what, a, b) for what, a, b in pairs if a != b)


def _filled(columns: list[Any]) -> tuple[Any, Any]:
    """Return the values of two columns in which those masked in both are equal, and those masked in one are not."""
    masks = [np.ma.getmaskarray(np.ma.asanyarray(column)) for column in columns]
    values = [np.ma.getdata(np.ma.asanyarray(column)) for column in columns]
    if not (masks[0].any() or masks[1].any()):
        return np.asarray(values[0]), np.asarray(values[1])
    if values[0].dtype.kind == "f":
        a, b = (np.where(mask, np.nan, value) for mask, value in zip(masks, values, strict=True))
        return a, b
    a, b = (np.where(mask, "", value.astype(str)) for mask, value in zip(masks, values, strict=True))
    return a, b
