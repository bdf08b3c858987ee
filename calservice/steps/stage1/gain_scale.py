"""Rescale fitted images for a detector gain that is not the standard one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, ReferenceNeed, References, Step

__all__ = ["STEP", "GainScaleParams"]

_POWERS: Mapping[str, int] = {"slope": 1, "err": 1, "var_poisson": 2, "var_rnoise": 2}
"""The power of the factor by which each array is multiplied."""
_ARRAYS = (*_POWERS, *(f"int_{name}" for name in _POWERS))


class GainScaleParams(Params):
    """Parameters of ``gain_scale``: only the universal ones."""


def _needs_reference(params: GainScaleParams, info: ExposureInfo) -> bool:
    return info.gain_factor is None


def _factor(references: References, info: ExposureInfo) -> float | None:
    """Return the factor: the exposure's, which ramp fitting notes, else the reference's."""
    if info.gain_factor is not None or "gain" not in references:
        return info.gain_factor
    factor: float | None = references["gain"].meta.get("meta.exposure.gain_factor")
    return factor


def scale(block: Block, references: References, params: GainScaleParams, info: ExposureInfo) -> dict[str, Array]:
    """Multiply the images of a block by the gain factor, variances by its square.

    Parameters
    ----------
    block : Block
        Those of ``slope``, ``err`` (row, column) float32 in DN/s, ``var_poisson``, ``var_rnoise`` in
        DN^2/s^2, and of the same of each integration (``int_slope`` ...) that there are.
    references : mapping
        ``gain`` with GAINFACT in its header, where the exposure does not have it.
    params : GainScaleParams
        Parameters.
    info : ExposureInfo
        ``gain_factor``.

    Returns
    -------
    dict
        The same arrays.

    Notes
    -----
    Source: ``gain_scale`` in the JWST pipeline documentation.
    """
    factor = _factor(references, info)
    if factor is None:
        return {}
    made: dict[str, Array] = {}
    for name in _ARRAYS:
        if name in block:
            power = _POWERS[name.removeprefix("int_")]
            made[name] = block[name] * np.float32(factor**power)
    return made


def _not_applicable(references: References, params: GainScaleParams, info: ExposureInfo) -> str | None:
    return "GAINFACT not found in gain reference file" if _factor(references, info) is None else None


def _metadata(references: References, params: GainScaleParams, info: ExposureInfo) -> Mapping[str, Any]:
    return {"meta.exposure.gain_factor": _factor(references, info)}


def _supports(params: GainScaleParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="gain_scale",
    summary="Rescale fitted images for a gain that is not the standard one",
    params=GainScaleParams,
    kernel=scale,
    reads=_ARRAYS,
    writes=_ARRAYS,
    references=(ReferenceNeed("gain", optional=True, needed=_needs_reference),),
    reach=lambda params, info: Reach(),
    not_applicable=_not_applicable,
    metadata=_metadata,
    supports=_supports,
    cal_step="gain_scale",
    official="jwst.gain_scale.GainScaleStep",
)
"""The step."""
