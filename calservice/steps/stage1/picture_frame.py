"""Subtract the thermal picture frame of NIRSpec: a pattern that is brighter or fainter near the edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, Params, ReferenceNeed, References, Step
from calservice.steps.arrays import owned
from calservice.steps.stage1._flicker_draft import (
    READS,
    WRITES,
    Drafts,
    draft_rates,
    draft_references,
    draft_tally,
    kept_product,
    rates_tally,
)

__all__ = ["STEP", "PictureFrameParams"]

_OF_MASK = {"meta.cal_step.picture_frame": None}
"""Metadata of the mask, which is made before it is known what becomes of the step."""


class PictureFrameParams(Params):
    """Parameters of ``picture_frame``."""

    mask_science_regions: bool = Field(True, description="Mask known science regions.")
    n_sigma: float = Field(2.0, description="Clipping level for non-background signal.")
    save_mask: bool = Field(False, description="Save the created background mask.")
    save_correction: bool = Field(False, description="Save the thermal correction data.")
    skip: bool = Field(True, description="By default, skip the step.")


def draft(block: Block, references: References, params: PictureFrameParams, info: ExposureInfo) -> dict[str, Array]:
    """Make draft rates.

    Parameters
    ----------
    block : Block
        What ``ramp_fit`` reads.
    references : mapping
        ``gain`` in electrons/DN and ``readnoise`` in DN, ``data`` (row, column) float32.
    params : PictureFrameParams
        Parameters.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``draft_slope`` (row, column) float32 in DN/s.
    """
    return draft_rates(block, references, info, integrations=False)


def _finalize(found: Drafts, each: Each) -> Mapping[str, Array]:
    """Return where in the center and near the edges there is background."""
    from calservice.steps.stage1._flicker_mask import scene_mask
    from calservice.steps.stage1._picture_frame_kernels import regions

    rates = found.whole("draft_slope")
    assert rates is not None
    mask = scene_mask(rates, found.params.n_sigma, fit_histogram=False)
    center, edge = regions(mask)
    return {"frame_center": center, "frame_edge": edge, "frame_mask": mask}


def correct(block: Block, references: References, params: PictureFrameParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the picture frame, scaled to each group.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, and what the tally found: ``frame_center`` and
        ``frame_edge``, the places of background pixels.
    references : mapping
        ``pictureframe`` with ``data`` (row, column) float32.
    params : PictureFrameParams
        Parameters.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``data``, and ``noise_fitted`` (integration,), for the account: 0 where there is no background to scale to, and
        nothing was changed. For optional products ``opt_mask`` (row, column) bool, where there is background, and
        ``opt_noise``, what was added to ``data``.

    Notes
    -----
    Source: ``picture_frame`` in the JWST pipeline documentation. What a group has more than the first one is compared,
    by its medians in the center and near the edges, with the reference.
    """
    data, center, edge = block["data"], block["frame_center"], block["frame_edge"]
    nints = data.shape[0]
    kept: dict[str, Array] = {"opt_mask": block["frame_mask"]} if params.save_mask else {}
    if not center.size or not edge.size:
        return {"data": np.array(data, np.float32), "noise_fitted": np.zeros(nints, np.uint8), **kept}
    from calservice.steps.stage1._picture_frame_kernels import correct_ramp

    frame = owned(references["pictureframe"]["data"], np.float32)
    made = np.zeros(data.shape, np.float32)
    for i in range(nints):
        made[i] = correct_ramp(data[i], frame, center, edge)
    if params.save_correction:
        kept["opt_noise"] = made - data
    return {"data": made, "noise_fitted": np.ones(nints, np.uint8), **kept}


def _account(made: Mapping[str, Array], params: PictureFrameParams, info: ExposureInfo) -> Mapping[str, Any]:
    return {} if made["noise_fitted"].all() else {"meta.cal_step.picture_frame": "SKIPPED"}


_CORRECTION = Step(
    alias="picture_frame",
    summary="Subtract the picture frame",
    params=PictureFrameParams,
    kernel=correct,
    reads=("data",),
    writes=("data", "noise_fitted", "opt_mask", "opt_noise"),
    reach=lambda params, info: Reach(frozenset(("group", "row", "column"))),
    tally=rates_tally("frame", _finalize),
    account=_account,
)


def _applies(params: PictureFrameParams, info: ExposureInfo) -> bool:
    return info.instrument == "NIRSPEC" and info.subarray == "FULL" and info.ngroups > 1


def _not_applicable(references: References, params: PictureFrameParams, info: ExposureInfo) -> str | None:
    if _applies(params, info):
        return None
    return "only full frames of NIRSpec with more than one group have a picture frame"


def _supports(params: PictureFrameParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "stripes"
    if not _applies(params, info):
        return None
    return "mask_science_regions" if params.mask_science_regions else None


STEP = Step(
    alias="picture_frame",
    summary="Subtract the thermal picture frame",
    params=PictureFrameParams,
    kernel=draft,
    reads=READS,
    writes=WRITES,
    references=(ReferenceNeed("pictureframe", ("data",), subarray=False), *draft_references(_applies)),
    reach=lambda params, info: Reach(frozenset(("integration", "group"))),
    tally=draft_tally(_applies),
    not_applicable=_not_applicable,
    supports=_supports,
    then=lambda params, info: (_CORRECTION,),
    products=(
        kept_product("opt_mask", "save_mask", "pctfrm_mask", "ImageModel", _applies, _applies, _OF_MASK),
        kept_product("opt_noise", "save_correction", "pctfrm_correction", "RampModel", _applies),
    ),
    rates_too=True,
    cal_step="picture_frame",
    official="jwst.picture_frame.PictureFrameStep",
)
"""The step."""
