"""Subtract the reset anomaly of MIRI, the transient after each reset, from the first groups."""

from __future__ import annotations

import itertools

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.errors import ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, Reference, ReferenceNeed, References, Step
from calservice.steps.stage1._stored import subtract_images

__all__ = ["STEP", "ResetParams"]


class ResetParams(Params):
    """Parameters of ``reset``: only the universal ones."""


def _is_miri(params: ResetParams, info: ExposureInfo) -> bool:
    return info.detector.startswith("MIR")


def _extent(reference: Reference) -> tuple[int, int]:
    """Return for how many integrations, and for how many groups of each, there is a correction."""
    nints, ngroups = (reference.meta.get(f"meta.exposure.{name}") for name in ("nints", "ngroups"))
    if nints is None or ngroups is None:
        raise ReferenceFileError(
            f"{reference.name}: the header of the reset reference has no NINTS or no NGROUPS, which tell what part of "
            "an exposure it corrects; use a complete file"
        )
    return int(nints), int(ngroups)


def subtract(block: Block, references: References, params: ResetParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the reset anomaly from the first groups of a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN and ``pixeldq`` (row, column) uint32.
    references : mapping
        ``reset`` with ``data`` (integration, group, row, column) float32 in DN, ``dq`` (row, column)
        uint32, and the numbers of integrations and groups to use in its header.
    params : ResetParams
        Parameters.
    info : ExposureInfo
        ``integration_start`` and ``integration_end`` tell which integrations of an exposure these are.

    Returns
    -------
    dict
        ``data`` and ``pixeldq``.

    Notes
    -----
    Source: ``reset`` in the JWST pipeline documentation. Integrations beyond those of the reference take
    its last one; groups beyond those of the reference stay as they are; NaN in it counts as 0.
    """
    reference = references["reset"]
    reset_nints, reset_ngroups = _extent(reference)
    data, images = block["data"], reference["data"]
    (first, _), (start, _) = block.window.integration, block.window.group
    count = max(0, min(reset_ngroups, images.shape[-3], start + data.shape[1]) - start)
    before = info.integration_start - 1
    end = info.integration_end if info.integration_end is not None else info.exposure_nints
    numbers = [before + first + i for i in range(len(data)) if end is None or before + first + i < end]
    serving = [min(number, reset_nints - 1) for number in numbers]
    for k, alike in itertools.groupby(range(len(serving)), key=serving.__getitem__):
        some = list(alike)
        subtract_images(data, (some[0], some[-1] + 1), images, (k,), (start, start + count))
    return {"data": data, "pixeldq": block["pixeldq"] | np.asarray(reference["dq"], np.uint32)}


def _not_applicable(references: References, params: ResetParams, info: ExposureInfo) -> str | None:
    return None if _is_miri(params, info) else "it is only for MIRI data"


def _supports(params: ResetParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="reset",
    summary="Subtract the reset anomaly of MIRI",
    params=ResetParams,
    kernel=subtract,
    reads=("data", "pixeldq"),
    writes=("data", "pixeldq"),
    spends=("data",),
    references=(ReferenceNeed("reset", ("data", "dq"), subarray=False, needed=_is_miri),),
    reach=lambda params, info: Reach(),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="reset",
    official="jwst.reset.ResetStep",
)
"""The step."""
