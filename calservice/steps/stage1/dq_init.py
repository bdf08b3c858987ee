"""Initialise the data quality arrays from the bad pixel mask."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.errors import ParameterError
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, Reference, ReferenceNeed, References, Step

__all__ = ["GUIDER_EXP_TYPES", "STEP", "DqInitParams"]

GUIDER_EXP_TYPES = frozenset(("FGS_ACQ1", "FGS_ACQ2", "FGS_FINEGUIDE", "FGS_ID-IMAGE", "FGS_ID-STACK", "FGS_TRACK"))
"""Exposure types of guide star data, which carry one DQ image instead of PIXELDQ and GROUPDQ."""


class DqInitParams(Params):
    """Parameters of ``dq_init``."""

    user_supplied_dq: str | None = Field(None, description="FITS user-supplied DQ file")


def _prepare(references: References, params: DqInitParams, info: ExposureInfo) -> References:
    """Merge the user's flags, if there are any, into the mask."""
    if params.user_supplied_dq is None:
        return references
    if "user_supplied_dq" not in references:
        raise ParameterError(f"dq_init: user_supplied_dq={params.user_supplied_dq} was given but not loaded")
    mask = references["mask"]
    flags = references["user_supplied_dq"]["dq"]
    if flags.shape != mask["dq"].shape:
        raise ParameterError(
            f"dq_init: user_supplied_dq={params.user_supplied_dq} has shape {flags.shape}, "
            f"but the mask of this exposure has {mask['dq'].shape}; give an image of that shape"
        )
    merged = np.asarray(mask["dq"], np.uint32) | flags.astype(np.uint32)
    return {**references, "mask": Reference({"dq": merged}, mask.meta)}


def initialise(block: Block, references: References, params: DqInitParams, info: ExposureInfo) -> dict[str, Array]:
    """Combine the mask with the data quality arrays of a block.

    Parameters
    ----------
    block : Block
        ``pixeldq`` (row, column) uint32 and ``groupdq`` (integration, group, row, column) uint8; for
        guide star exposures ``dq`` (row, column) uint32, taken as zero where it is missing.
    references : mapping
        ``mask`` with ``dq`` (row, column) uint32.
    params : DqInitParams
        Parameters; the user's flags are already part of the mask.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``pixeldq`` and ``groupdq``, or ``dq`` for guide star exposures.

    Notes
    -----
    Source: ``dq_init`` in the JWST pipeline documentation. All flags of the mask go to PIXELDQ; only
    DO_NOT_USE goes to every group as well.
    """
    mask = np.asarray(references["mask"]["dq"], np.uint32)
    if info.exp_type.upper() in GUIDER_EXP_TYPES:
        return {"dq": (block["dq"] | mask) if "dq" in block else mask.copy()}
    groupdq = block["groupdq"]
    groupdq |= (mask & DO_NOT_USE).astype(np.uint8)
    return {"pixeldq": block["pixeldq"] | mask, "groupdq": groupdq}


def _supports(params: DqInitParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "superstripe exposures"
    stripe = info.stripes is not None and info.stripes.count
    return "user_supplied_dq of superstripes" if stripe and params.user_supplied_dq is not None else None


STEP = Step(
    alias="dq_init",
    summary="Initialise the data quality arrays from the bad pixel mask",
    params=DqInitParams,
    kernel=initialise,
    reads=("pixeldq", "groupdq", "dq"),
    writes=("pixeldq", "groupdq", "dq"),
    spends=("groupdq",),
    references=(ReferenceNeed("mask", ("dq",)),),
    parameter_references=(ReferenceNeed("user_supplied_dq", ("dq",), subarray=False),),
    reach=lambda params, info: Reach(),
    supports=_supports,
    prepare=_prepare,
    cal_step="dq_init",
    official="jwst.dq_init.DQInitStep",
)
"""The step."""
