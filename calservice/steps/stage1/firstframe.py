"""Set aside the first group of MIRI ramps, which the reset before it disturbs."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from calservice.model.block import Axis, Block, Reach, SomeGroups
from calservice.model.dqflags import DO_NOT_USE, FLUX_ESTIMATED, SATURATED
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, References, Step

__all__ = ["STEP", "FirstFrameParams"]

_FEWEST_GROUPS = 4


class FirstFrameParams(Params):
    """Parameters of ``firstframe``."""

    bright_use_group1: bool = Field(True, description="do not flag group1 if group3 is saturated")
    skip: bool = Field(True, description="Do not run this step.")


def flag(block: Block, references: References, params: FirstFrameParams, info: ExposureInfo) -> dict[str, Any]:
    """Flag the first group of every integration of a block as not to be used.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) uint8 and ``pixeldq`` (row, column) uint32.
    references : mapping
        None.
    params : FirstFrameParams
        With ``bright_use_group1``, pixels keep the group where their third one is saturated.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``groupdq`` and, with ``bright_use_group1``, ``pixeldq``, where pixels that keep the group in any
        integration are flagged FLUX_ESTIMATED.

    Notes
    -----
    Source: ``firstframe`` in the JWST pipeline documentation.
    """
    given, first = block["groupdq"], slice(1)
    if not params.bright_use_group1:
        return {"groupdq": SomeGroups(first, given[:, first] | np.uint8(DO_NOT_USE))}
    kept = (given[:, 2:3] & SATURATED) != 0
    groupdq = SomeGroups(first, given[:, first] | np.where(kept, np.uint8(0), np.uint8(DO_NOT_USE)))
    estimated = kept.any(axis=(0, 1)).astype(np.uint32) * np.uint32(FLUX_ESTIMATED)
    return {"groupdq": groupdq, "pixeldq": block["pixeldq"] | estimated}


def _reach(params: FirstFrameParams, info: ExposureInfo) -> Reach:
    axes: tuple[Axis, ...] = ("integration", "group") if params.bright_use_group1 else ("group",)
    return Reach(frozenset(axes))


def _not_applicable(references: References, params: FirstFrameParams, info: ExposureInfo) -> str | None:
    if not info.detector.startswith("MIR"):
        return "it is only for MIRI data"
    return "too few groups: it needs more than 3" if info.ngroups < _FEWEST_GROUPS else None


def _supports(params: FirstFrameParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="firstframe",
    summary="Flag the first group of MIRI ramps",
    params=FirstFrameParams,
    kernel=flag,
    reads=("groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq"),
    remarks=("pixeldq",),
    reach=_reach,
    strided=True,
    discards=lambda params, info: () if params.bright_use_group1 else (0,),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="firstframe",
    official="jwst.firstframe.FirstFrameStep",
    deprecated="FirstFrameStep is deprecated: the rscd step flags the first group as well",
)
"""The step."""
