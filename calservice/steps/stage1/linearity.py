"""Correct the non-linear response of the detector, pixel by pixel, with a polynomial."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.dqflags import NO_LIN_CORR
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, ReferenceNeed, References, Step
from calservice.steps.arrays import narrow_in_line, owned

__all__ = ["STEP", "LinearityParams"]


class LinearityParams(Params):
    """Parameters of ``linearity``: only the universal ones."""


def _usable(coefficients: Array, flags: Array, pixeldq: Array) -> Array:
    """Return coefficients that change nothing where none can be used; flag such pixels in place.

    A pixel has no correction if the reference says so, if a coefficient is NaN, or if the linear
    term is zero.
    """
    from calservice.steps.stage1 import _linearity_kernels as kernels

    made = owned(coefficients, np.float32)
    kernels.settle_coefficients(made, flags, np.uint32(NO_LIN_CORR), pixeldq)
    return made


def _read_level(references: References, info: ExposureInfo) -> bool:
    """Tell whether groups are taken apart into their reads, for which the inverse is needed."""
    has_inverse = "inv_coeffs" in references["linearity"]
    return has_inverse and info.nframes > 1 and info.ngroups > 1 and not info.read_times


def correct(block: Block, references: References, params: LinearityParams, info: ExposureInfo) -> dict[str, Array]:
    """Correct the groups of a block that are not saturated, and the zero frame.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8,
        ``pixeldq`` (row, column) uint32 and, optionally, ``zeroframe`` (integration, row, column).
    references : mapping
        ``linearity`` with ``coeffs`` (order + 1, row, column) float32, ``dq`` (row, column) uint32 and,
        optionally, ``inv_coeffs``, the coefficients of the inverse.
    params : LinearityParams
        Parameters.
    info : ExposureInfo
        ``nframes`` decides whether groups are taken apart into their reads.

    Returns
    -------
    dict
        ``data``, ``pixeldq`` and, if given, ``zeroframe``.

    Notes
    -----
    Source: ``linearity`` in the JWST pipeline documentation; WFC3 Data Handbook 2.1, section 6.5. With
    inverse coefficients and more than one frame a group, the reads of each group are estimated from
    the rate, corrected one by one, and averaged. A single group has no rate, and is corrected as it is.
    """
    from calservice.steps.stage1 import _linearity_kernels as kernels

    reference = references["linearity"]
    flags = np.asarray(reference["dq"], np.uint32)
    pixeldq = owned(block["pixeldq"], np.uint32) | flags
    forward, data = _usable(reference["coeffs"], flags, pixeldq), block["data"]
    if _read_level(references, info):
        inverse = _usable(reference["inv_coeffs"], flags, pixeldq)
        kernels.correct_reads(data, block["groupdq"], forward, inverse, info.nframes)
    else:
        kernels.correct_groups(*map(narrow_in_line, (data, block["groupdq"], forward)))
    made: dict[str, Array] = {"data": data, "pixeldq": pixeldq}
    if "zeroframe" in block:
        zero = block["zeroframe"]
        corrected = kernels.correct_images(zero, forward)
        made["zeroframe"] = np.where(zero == 0, np.float32(0), corrected)
    return made


def _supports(params: LinearityParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="linearity",
    summary="Correct the non-linear response of the detector",
    params=LinearityParams,
    kernel=correct,
    reads=("data", "groupdq", "pixeldq", "zeroframe"),
    writes=("data", "pixeldq", "zeroframe"),
    spends=("data",),
    references=(ReferenceNeed("linearity", ("coeffs", "dq", "inv_coeffs")),),
    reach=lambda params, info: Reach(frozenset(("group",))),
    supports=_supports,
    cal_step="linearity",
    official="jwst.linearity.LinearityStep",
)
"""The step."""
