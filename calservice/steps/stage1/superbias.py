"""Subtract the superbias, the fixed pattern of the detector's bias."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, ReferenceNeed, References, Step

__all__ = ["STEP", "SuperbiasParams"]


class SuperbiasParams(Params):
    """Parameters of ``superbias``: only the universal ones."""


def subtract(block: Block, references: References, params: SuperbiasParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the superbias from every group, and from the zero frame if there is one.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``pixeldq`` (row, column) uint32 and,
        optionally, ``zeroframe`` (integration, row, column) float32 in DN.
    references : mapping
        ``superbias`` with ``data`` (row, column) float32 in DN and ``dq`` (row, column) uint32.
    params : SuperbiasParams
        Parameters.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``data``, ``pixeldq`` and, if given, ``zeroframe``.

    Notes
    -----
    Source: ``superbias`` in the JWST pipeline documentation. A bias of NaN subtracts nothing; a zero
    frame value of exactly zero means "unusable" and stays zero.
    """
    reference = references["superbias"]
    raw = np.asarray(reference["data"], np.float32)
    bias = np.where(np.isnan(raw), np.float32(0), raw)
    data = block["data"]
    data -= bias
    made: dict[str, Array] = {
        "data": data,
        "pixeldq": block["pixeldq"] | np.asarray(reference["dq"], np.uint32),
    }
    if "zeroframe" in block:
        zero = block["zeroframe"]
        made["zeroframe"] = np.where(zero == 0, np.float32(0), zero - bias)
    return made


def _supports(params: SuperbiasParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="superbias",
    summary="Subtract the superbias",
    params=SuperbiasParams,
    kernel=subtract,
    reads=("data", "pixeldq", "zeroframe"),
    writes=("data", "pixeldq", "zeroframe"),
    spends=("data",),
    references=(ReferenceNeed("superbias", ("data", "dq")),),
    reach=lambda params, info: Reach(),
    supports=_supports,
    cal_step="superbias",
    official="jwst.superbias.SuperBiasStep",
)
"""The step."""
