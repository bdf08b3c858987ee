"""Schemas of datamodels, merged once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["schema_of"]


@cache
def schema_of(kind: Any) -> Mapping[str, Any]:
    """Return the schema of a class of datamodels, to make models with: each would read, copy and merge it anew."""
    from asdf.schema import load_schema
    from stdatamodels.schema import merge_property_trees

    merged: Mapping[str, Any] = merge_property_trees(load_schema(kind.schema_url, resolve_references=True))
    return merged
