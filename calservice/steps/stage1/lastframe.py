"""Set aside the last group of MIRI ramps, which the reset of the next integration disturbs."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Block, Reach, SomeGroups
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, References, Step

__all__ = ["STEP", "LastFrameParams"]

_FEWEST_GROUPS = 3


class LastFrameParams(Params):
    """Parameters of ``lastframe``: only the universal ones."""


def flag(block: Block, references: References, params: LastFrameParams, info: ExposureInfo) -> dict[str, SomeGroups]:
    """Flag the last group of every integration of a block as not to be used.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) uint8.
    references : mapping
        None.
    params : LastFrameParams
        Parameters.
    info : ExposureInfo
        ``ngroups`` tells which group is the last.

    Returns
    -------
    dict
        ``groupdq``.

    Notes
    -----
    Source: ``lastframe`` in the JWST pipeline documentation.
    """
    last = slice(info.ngroups - 1 - block.window.group[0], None)  # of no group where that is not in the block
    return {"groupdq": SomeGroups(last, block["groupdq"][:, last] | np.uint8(DO_NOT_USE))}


def _not_applicable(references: References, params: LastFrameParams, info: ExposureInfo) -> str | None:
    if not info.detector.startswith("MIR"):
        return "it is only for MIRI data"
    return "too few groups: it needs more than 2" if info.ngroups < _FEWEST_GROUPS else None


def _supports(params: LastFrameParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="lastframe",
    summary="Flag the last group of MIRI ramps",
    params=LastFrameParams,
    kernel=flag,
    reads=("groupdq",),
    writes=("groupdq",),
    reach=lambda params, info: Reach(),
    strided=True,
    discards=lambda params, info: (info.ngroups - 1,),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="lastframe",
    official="jwst.lastframe.LastFrameStep",
)
"""The step."""
