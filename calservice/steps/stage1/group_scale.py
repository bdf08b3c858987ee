"""Rescale groups whose frames were averaged on board with a divisor that is not their number."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, References, Step

__all__ = ["STEP", "GroupScaleParams"]


class GroupScaleParams(Params):
    """Parameters of ``group_scale``: only the universal ones."""


def scale(block: Block, references: References, params: GroupScaleParams, info: ExposureInfo) -> dict[str, Array]:
    """Multiply the groups of a block by FRMDIVSR / NFRAMES.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN.
    references : mapping
        None.
    params : GroupScaleParams
        Parameters.
    info : ExposureInfo
        ``frame_divisor`` and ``nframes``.

    Returns
    -------
    dict
        ``data``.

    Notes
    -----
    Source: ``group_scale`` in the JWST pipeline documentation. On board, sums of frames are divided by
    shifting bits, so the divisor is a power of two even where NFRAMES is not. The zero frame, a single
    frame, has no such error.
    """
    if info.frame_divisor is None:
        return {}
    return {"data": block["data"] * np.float32(float(info.frame_divisor) / info.nframes)}


def _not_applicable(references: References, params: GroupScaleParams, info: ExposureInfo) -> str | None:
    if info.frame_divisor is None:
        return f"NFRAMES={info.nframes}, and no FRMDIVSR is told"
    if info.frame_divisor == info.nframes:
        return f"NFRAMES and FRMDIVSR are both {info.nframes}: correction not needed"
    return None


def _supports(params: GroupScaleParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="group_scale",
    summary="Rescale groups for on-board averaging by another divisor than the number of frames",
    params=GroupScaleParams,
    kernel=scale,
    reads=("data",),
    writes=("data",),
    reach=lambda params, info: Reach(),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="group_scale",
    official="jwst.group_scale.GroupScaleStep",
)
"""The step."""
