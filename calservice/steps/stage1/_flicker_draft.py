"""Draft rates, in which steps that correct ramps for noise look for the background.

They are what ``ramp_fit`` makes of the ramps as they are, with its default parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from calservice import __version__
from calservice.model.block import AXES, Array, Block, Window
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, OptionalProduct, ReferenceNeed, References, Tally
from calservice.steps.stage1 import ramp_fit

__all__ = [
    "READS",
    "WRITES",
    "Drafts",
    "draft_rates",
    "draft_references",
    "draft_tally",
    "kept_product",
    "rates_tally",
]

READS: tuple[str, ...] = ramp_fit.STEP.reads
WRITES = ("draft_slope", "int_draft_slope", "draft_unused", "int_draft_unused", "draft_median")
Needed = Callable[[Any, ExposureInfo], bool]

_PARAMS = ramp_fit.RampFitParams()
_OF_DRAFTS: Mapping[str, Any] = MappingProxyType(
    {
        "meta.cal_step.ramp_fit": "COMPLETE",
        "meta.bunit_data": "DN/s",
        "meta.bunit_err": "DN/s",
        "meta.calibration_software_version": f"calservice {__version__}",
        "meta.calibration_software_revision": "RELEASE",
    }
)
"""Metadata of draft rates, which masks that are made of them carry."""


def _always(params: Any, info: ExposureInfo) -> bool:
    return True


def _never(params: Any, info: ExposureInfo) -> bool:
    return False


def kept_product(
    array: str,
    parameter: str,
    suffix: str,
    model: str,
    applies: Needed = _always,
    drafted: Needed = _never,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> OptionalProduct:
    """Return the product of an array that a kernel makes where a parameter asks for it, and else does not make.

    It carries the metadata of the exposure; where ``drafted(params, info)``, those of draft rates. ``told`` gives some
    that differ, by datamodel path.
    """

    def metadata(references: References, params: Any, info: ExposureInfo) -> Mapping[str, Any]:
        if not drafted(params, info):
            return told
        return {**_OF_DRAFTS, **ramp_fit.STEP.metadata(references, _PARAMS, info), **told}

    return OptionalProduct(
        model=lambda info: model,
        wanted=lambda params, info: applies(params, info) and getattr(params, parameter),
        arrays=lambda made, references, params, info: {"data": made[array]} if array in made else {},
        after_exposure=True,
        suffix=suffix,
        metadata=metadata,
        records_others=drafted,
    )


def draft_references(needed: Needed) -> tuple[ReferenceNeed, ...]:
    """Return the references of draft rates, which are those of ``ramp_fit``."""
    return tuple(
        ReferenceNeed(need.reftype, need.arrays, needed=needed, of="ramp_fit") for need in ramp_fit.STEP.references
    )


def draft_rates(
    block: Block, references: References, info: ExposureInfo, integrations: bool, flags: bool = False
) -> dict[str, Array]:
    """Return the rates of the exposure, and those of its integrations if asked for, float32 in DN/s.

    Parameters
    ----------
    block : Block
        `READS`, as `ramp_fit.fit` takes them.
    references : mapping
        ``gain`` and ``readnoise``.
    info : ExposureInfo
        Facts of the exposure.
    integrations : bool
        Whether those of integrations are asked for.
    flags : bool
        Whether it is asked for where their flags say that science makes no use of pixels.
    """
    from calservice.steps.stage1._flicker_regions import unused

    made = ramp_fit.fit(block, references, _PARAMS, info)
    found = {"draft_slope": made["slope"]}
    if integrations:
        found["int_draft_slope"] = made["int_slope"]
    if flags and integrations:
        found["int_draft_unused"] = unused(made["int_dq"])
    elif flags:
        found["draft_unused"] = unused(made["dq"])
    return found


def draft_tally(needed: Needed) -> Tally:
    """Return what draft rates have to know of the whole exposure: the tally of ``ramp_fit``."""
    tally = ramp_fit.STEP.tally
    assert tally is not None

    def verdict(result: Mapping[str, Array], params: Any, info: ExposureInfo) -> str | None:
        return tally.verdict(result, _PARAMS, info) if needed(params, info) else None

    return Tally(
        name=tally.name,
        chunk=lambda block, references, params, info: tally.chunk(block, references, _PARAMS, info),
        combine=tally.combine,
        finalize=tally.finalize,
        reads=tally.reads,
        required=lambda params, info: needed(params, info) and tally.required(_PARAMS, info),
        verdict=verdict,
    )


@dataclass(frozen=True)
class Drafts:
    """Draft rates of some blocks, and what is needed to make something of them.

    Attributes
    ----------
    params : Params
        Parameters of the step.
    info : ExposureInfo
        Facts of the exposure.
    references : mapping
        Of which arrays are whole.
    pieces : tuple
        Rates of each block by name, with its place.
    """

    params: Any
    info: ExposureInfo
    references: References
    pieces: tuple[tuple[Window, Mapping[str, Array]], ...] = field(default=())

    def whole(self, name: str) -> Array | None:
        """Return rates, a median, or where flags are, of the whole exposure; None where there are none."""
        if not all(name in arrays for _, arrays in self.pieces):
            return None
        info = self.info
        lengths = {"integration": info.nints, "group": info.ngroups, "row": info.nrows, "column": info.ncols}
        made = np.empty([lengths[axis] for axis in AXES[name]], self.pieces[0][1][name].dtype)
        for window, arrays in self.pieces:
            made[window.slices(AXES[name])] = arrays[name]
        return made


def _chunk(block: Block, references: References, params: Any, info: ExposureInfo) -> Drafts:
    arrays = {name: block[name] for name in WRITES if name in block}
    return Drafts(params, info, references, ((block.window, arrays),))


def _combine(parts: Sequence[Drafts]) -> Drafts:
    first = parts[0]
    return Drafts(first.params, first.info, first.references, tuple(piece for part in parts for piece in part.pieces))


def rates_tally(name: str, finalize: Callable[[Drafts, Each], Mapping[str, Array]]) -> Tally:
    """Return the tally that puts draft rates of all blocks together; ``finalize`` makes what a kernel waits for."""
    return Tally(name=name, chunk=_chunk, combine=_combine, finalize=finalize, reads=WRITES)
