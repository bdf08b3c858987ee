"""Headers as the rules of CRDS see them: FITS keywords under their ``meta.…`` names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["header_from_fits"]


@lru_cache(maxsize=1)
def _keyword_table() -> dict[str, tuple[tuple[str, str], ...]]:
    """Return keyword to ((HDU, ``meta`` name), ...) of the core schema.

    The schema's file is read as it lies in the installed package: importing that package, or asking asdf for the
    schema, takes a hundred times as long.
    """
    import yaml

    spec = find_spec("stdatamodels")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "jwst" / "datamodels" / "schemas"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table: dict[str, dict[tuple[str, str], None]] = {}

    def visit(node: Mapping[str, Any], path: tuple[str, ...]) -> None:
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2].removesuffix(".yaml")
            node = yaml.load((folder / f"{name}.yaml").read_text(), loader)  # noqa: S506 - a safe loader
        if "fits_keyword" in node:
            place = (str(node.get("fits_hdu", "PRIMARY")), ".".join(path))
            table.setdefault(str(node["fits_keyword"]).upper(), {})[place] = None
        for name, inner in node.get("properties", {}).items():
            visit(inner, (*path, str(name)))
        for kind in ("allOf", "anyOf", "oneOf"):
            for inner in node.get(kind, ()):
                visit(inner, path)

    visit({"$ref": "core.schema"}, ())
    return {keyword: tuple(places) for keyword, places in table.items()}


def header_from_fits(header: Any) -> dict[str, Any]:
    """Return FITS keywords under the ``meta.…`` names that the rules of CRDS match on.

    Parameters
    ----------
    header : FITS header, mapping of keywords, HDU list, or sequence of headers
        One header is taken as it is, whatever extension its keywords belong to. In several, each
        keyword counts only in its own extension, and the first one wins.
    """
    alone = hasattr(header, "keys")
    table, found = _keyword_table(), dict[str, Any]()
    for part in [header] if alone else [getattr(item, "header", item) for item in header]:
        here = str(part.get("EXTNAME", "PRIMARY")).strip().upper()
        for keyword, value in part.items():
            for hdu, name in table.get(keyword.upper(), ()):
                if (alone or hdu == here) and isinstance(value, (str, int, float, bool)):
                    found.setdefault(name, value)
    return found
