"""Flag the groups from which charge spills into neighbouring pixels."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, References, Step

__all__ = ["STEP", "ChargeMigrationParams"]

_FEWEST_GROUPS = 3


class ChargeMigrationParams(Params):
    """Parameters of ``charge_migration``."""

    signal_threshold: float = Field(25000, description="Signal above which groups are flagged, DN")
    skip: bool = Field(True, description="Skip this step")


def flag(block: Block, references: References, params: ChargeMigrationParams, info: ExposureInfo) -> dict[str, Array]:
    """Flag groups above the threshold, those after them, and the same of the four adjacent pixels.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8.
    references : mapping
        None.
    params : ChargeMigrationParams
        ``signal_threshold`` in DN.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``groupdq``.

    Notes
    -----
    Source: ``charge_migration`` in the JWST pipeline documentation. Groups that have DO_NOT_USE and no
    other flag do not start anything.
    """
    from calservice.steps.stage1 import _charge_migration_kernels as kernels

    return {"groupdq": kernels.flag_spilling(block["data"], block["groupdq"], np.float32(params.signal_threshold))}


def _not_applicable(references: References, params: ChargeMigrationParams, info: ExposureInfo) -> str | None:
    return "too few groups: it needs more than 2" if info.ngroups < _FEWEST_GROUPS else None


def _supports(params: ChargeMigrationParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="charge_migration",
    summary="Flag groups that lose charge to neighbouring pixels",
    params=ChargeMigrationParams,
    kernel=flag,
    reads=("data", "groupdq"),
    writes=("groupdq",),
    reach=lambda params, info: Reach(frozenset(("group",)), {"row": 1, "column": 1}),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="charge_migration",
    official="jwst.charge_migration.ChargeMigrationStep",
)
"""The step."""
