"""The optional products of native steps, as datamodels that carry the metadata of the exposure or of a reference."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calservice.model.block import OPTIONAL, Array
from calservice.model.info import ExposureInfo
from calservice.model.step import OptionalProduct
from calservice.run import models
from calservice.run.chain import BoundStep, with_parts
from calservice.run.results import put_metadata

__all__ = ["optional_products", "recorded_references", "save_tree", "without_optional"]


def save_tree(entries: Mapping[str, Any], path: Path, ext: str) -> None:
    """Write entries of an ASDF tree into a file; others that it has already stay.

    Parameters
    ----------
    entries : mapping
        By name.
    path : Path
        The file.
    ext : str
        Its extension, whatever ``path`` has.
    """
    import asdf

    path = path.with_suffix(ext)
    tree: dict[str, Any] = {}
    if path.exists():
        with asdf.open(path, memmap=False, lazy_load=False) as file:
            tree = {name: found for name, found in file.tree.items() if name not in ("asdf_library", "history")}
    asdf.AsdfFile({**tree, **entries}).write_to(path)


def without_optional(made: Mapping[str, Array]) -> dict[str, Array]:
    """Return what steps made but for the arrays of optional products."""
    return {name: array for name, array in made.items() if name not in OPTIONAL}


def recorded_references(model: Any) -> Mapping[str, Any]:
    """Return a copy of what is recorded in a model of references, for `optional_products`."""
    found: Mapping[str, Any] = copy.deepcopy(dict(model.meta.ref_file.instance))
    return found


def optional_products(
    bound: BoundStep,
    made: Mapping[str, Array],
    model: Any,
    info: ExposureInfo,
    places: Mapping[str, Any],
    others: Mapping[str, str],
    before: Mapping[str, Any] | None = None,
) -> Iterator[tuple[OptionalProduct, Any, str | None]]:
    """Make the products that a step was told to make beside its result.

    Parameters
    ----------
    bound : BoundStep
        The step.
    made : mapping of str to ndarray
        What `calservice.run.blocks.run_fused` returned.
    model : datamodel
        The exposure as the step got it.
    info : ExposureInfo
        Facts of the exposure.
    places : mapping of str to str, Path or datamodel
        The references by type.
    others : mapping of str to str
        How references that the step has of others are recorded, by type.
    before : mapping, optional
        What was recorded in the exposure before the step: see `recorded_references`. Default: what is now.

    Yields
    ------
    product, model, name : OptionalProduct, datamodel or dict, str or None
        The declaration, the product, a dict where it is a tree, and the file name that it is to be named by, None
        for that of the result.
    """
    from stdatamodels.jwst import datamodels

    wanted = [product for product in bound.step.products if product.wanted(bound.params, info)]
    references = with_parts(bound, info)[0].references if wanted else {}
    for product in wanted:
        if product.model is None:
            tree = product.arrays(made, references, bound.params, info)
            entries = {name: {"filename": model.meta.filename, **entry} for name, entry in tree.items()}
            yield product, entries, getattr(bound.params, product.named_by)
            continue
        arrays = product.arrays(made, references, bound.params, info)
        if not arrays:
            continue
        result = getattr(datamodels, product.model(info))(**arrays)  # takes arrays only
        for name, value in arrays.items():
            if not isinstance(value, np.ndarray):
                setattr(result, name, value)
        if product.like == "exposure":
            result.meta.filename = model.meta.filename
            result.update(model)
            if before is not None:
                result.meta.ref_file = copy.deepcopy(dict(before))
        elif product.like:
            with datamodels.open(places[product.like]) as reference:
                result.update(reference)
        put_metadata(product.metadata(references, bound.params, info), result)
        for reftype, name in others.items() if product.records_others(bound.params, info) else ():
            models.record_reference(result, reftype, name)
        told = getattr(bound.params, product.named_by) if product.named_by else None
        named = told or model.meta.filename if product.named_by or product.after_exposure else None
        yield product, result, named
