"""Count rates of guide stars, from the differences of late and early groups (correlated double sampling)."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array, Axis, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.modes import GUIDER_EXP_TYPES
from calservice.model.step import Params, ReferenceNeed, References, Step

__all__ = ["STEP", "GuiderCdsParams"]

_FINE_GUIDE, _IDENTIFICATION = "FGS_FINEGUIDE", "FGS_ID"
_AVERAGED = 4
"""Groups that are averaged at both ends of a ramp of fine guiding."""


class GuiderCdsParams(Params):
    """Parameters of ``guider_cds``: only the universal ones."""


def _identifies(info: ExposureInfo) -> bool:
    return info.exp_type.startswith(_IDENTIFICATION)


def _differences(data: Array, info: ExposureInfo) -> Array:
    """Return the signal (integration, row, column) between the ends of ramps, in DN."""
    made: Array
    if info.exp_type == _FINE_GUIDE:
        made = data[:, -_AVERAGED:].mean(axis=1) - data[:, :_AVERAGED].mean(axis=1)
        return made
    made = data[:, 1] - data[:, 0]
    return np.minimum(made[1:2], made[:1]) if _identifies(info) else made


def rates(block: Block, references: References, params: GuiderCdsParams, info: ExposureInfo) -> dict[str, Array]:
    """Compute count rates and their errors for a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN.
    references : mapping
        ``gain`` with ``data`` (row, column) float32 in electrons/DN, ``readnoise`` with ``data`` float32 in
        DN.
    params : GuiderCdsParams
        Parameters.
    info : ExposureInfo
        ``exp_type`` and ``group_time`` in seconds.

    Returns
    -------
    dict
        ``int_slope`` and ``int_err`` (integration, row, column) float32 in DN/s; for identification, whose
        integrations are compared, ``slope`` and ``err`` (row, column).

    Notes
    -----
    Source: ``guider_cds`` in the JWST pipeline documentation. Fine guiding: mean of the last four groups
    less that of the first four; else the second group less the first; for identification the smaller
    difference of two integrations, which cosmic rays are not likely to hit both. Negative variances of
    Poisson noise count as 0.
    """
    signal = _differences(block["data"], info)
    gain = np.asarray(references["gain"]["data"], np.float32)
    noise = np.asarray(references["readnoise"]["data"], np.float32)
    time = np.float32(info.group_time)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        poisson = signal / (gain * time)
        poisson[poisson < 0] = 0
        slope, error = signal / time, np.sqrt(2 * (noise / time) ** 2 + poisson)
    if _identifies(info):
        return {"slope": slope[0], "err": error[0]}
    return {"int_slope": slope, "int_err": error}


def _reach(params: GuiderCdsParams, info: ExposureInfo) -> Reach:
    axes: tuple[Axis, ...] = ("integration", "group") if _identifies(info) else ("group",)
    return Reach(frozenset(axes))


def _supports(params: GuiderCdsParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "superstripe exposures"
    if info.exp_type not in GUIDER_EXP_TYPES:
        return "an exposure that is not of guide stars"
    if info.ngroups < 2 and info.exp_type != _FINE_GUIDE:
        return "ramps of one group"
    return "one integration, where two are compared" if _identifies(info) and info.nints < 2 else None


STEP = Step(
    alias="guider_cds",
    summary="Compute count rates of guide stars",
    params=GuiderCdsParams,
    kernel=rates,
    reads=("data",),
    writes=("slope", "err", "int_slope", "int_err"),
    references=(
        ReferenceNeed("gain", ("data",), averaged="STACK"),
        ReferenceNeed("readnoise", ("data",), averaged="STACK"),
    ),
    reach=_reach,
    supports=_supports,
    cal_step="guider_cds",
    official="jwst.guider_cds.GuiderCdsStep",
)
"""The step."""
