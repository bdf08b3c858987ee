"""Set aside the first groups of MIRI ramps, which the reset switch charge decay disturbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calservice.model.block import Array, Block, Reach, SomeGroups
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, Params, Reference, ReferenceNeed, References, Step, Tally

__all__ = ["STEP", "RscdParams"]

_FEWEST_GROUPS, _SHORT_RAMP = 3, 5
_LATER_NAMES = {"SUBPRISM": "SLITLESSPRISM"}
"""Subarrays that are called otherwise in the reference."""


class RscdParams(Params):
    """Parameters of ``rscd``: only the universal ones."""


@dataclass(frozen=True)
class _Range:
    """Integrations of a file whose ramps begin alike."""

    label: str
    """What metadata of it end in."""
    start: int
    stop: int
    groups: int
    """How many groups to flag where nothing is saturated."""


def _is_miri(params: RscdParams, info: ExposureInfo) -> bool:
    return info.detector.startswith("MIR")


def _tabled(reference: Reference, info: ExposureInfo) -> tuple[int, int] | None:
    """Return the groups to flag in the first integration and in later ones, as the reference has them."""
    table = reference["rscd_group_skip_table"]
    subarray = _LATER_NAMES.get(info.subarray, info.subarray)
    columns = table.dtype.names or ()
    for row in table:
        if (str(row["subarray"]), str(row["readpatt"])) == (subarray, info.readpatt):
            first = int(row["group_skip1"]) if "group_skip1" in columns else -1
            return 1 if first < 0 else first, int(row["group_skip"])
    return None


def _ranges(references: References, info: ExposureInfo) -> tuple[_Range, ...]:
    """Return the integrations of this file, in order: the first of the exposure if it is there, and the others.

    As many groups are flagged as leave three, of which the last is not used. Short ramps lose one.
    """
    tabled = _tabled(references["rscd"], info) or (0, 0)
    most = max(0, info.ngroups - 3)
    first, later = (min(n, most) for n in ((1, 1) if info.ngroups <= _SHORT_RAMP else tabled))
    begins = info.integration_start == 1
    made = [_Range("int1", 0, 1, first)] if begins else []
    if (info.exposure_nints or info.nints) > 1:
        made.append(_Range("int2p", int(begins), info.nints, later))
    return tuple(made)


def flag(block: Block, references: References, params: RscdParams, info: ExposureInfo) -> dict[str, Any]:
    """Flag the first groups of the ramps of a block as not to be used.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) uint8 and ``pixeldq`` (row, column) uint32.
    references : mapping
        ``rscd`` with ``rscd_group_skip_table``: ``subarray``, ``readpatt``, ``group_skip1`` (groups to flag
        in the first integration of an exposure) and ``group_skip`` (in later ones).
    params : RscdParams
        Parameters.
    info : ExposureInfo
        Readout, and which integrations of the exposure these are.

    Returns
    -------
    dict
        ``groupdq`` and ``pixeldq``, where pixels of which fewer groups are flagged because they saturate
        are FLUX_ESTIMATED.

    Notes
    -----
    Source: ``rscd`` in the JWST pipeline documentation. Ramps that saturate early, but not in the first
    group, keep their last two groups before saturation. All groups from the first saturated one on are
    taken as saturated, which is how the ``saturation`` step flags them.
    """
    from calservice.steps.stage1 import _rscd_kernels as kernels

    ranges = _ranges(references, info)
    seen = slice(max((part.groups for part in ranges), default=0) + 2)
    groupdq, pixeldq = block["groupdq"][:, seen].copy(), block["pixeldq"].copy()
    for part in ranges:
        kernels.flag_first_groups(groupdq, pixeldq, part.start, part.stop, part.groups)
    return {"groupdq": SomeGroups(seen, groupdq), "pixeldq": pixeldq}


def _chunk(block: Block, references: References, params: RscdParams, info: ExposureInfo) -> Array:
    """Return for each range: whether a ramp saturates early, pixels that keep groups, and those that keep all."""
    from calservice.steps.stage1 import _rscd_kernels as kernels

    ranges = _ranges(references, info)
    counts = [kernels.count_kept(block["groupdq"], part.start, part.stop, part.groups) for part in ranges]
    made: Array = np.array(counts, np.int64).reshape(len(ranges), 3)
    return made


def _combine(parts: Sequence[Array]) -> Array:
    total: Array = np.sum(parts, axis=0)
    return total


def _finalize(combined: Array, each: Each) -> Mapping[str, Array]:
    return {"rscd_counts": combined}


def _counts(result: Mapping[str, Array], params: RscdParams, info: ExposureInfo) -> Mapping[str, Any]:
    """Return how many pixels keep groups, and the first group: 0 where no ramp saturates early."""
    labels = ("int1", "int2p") if info.integration_start == 1 else ("int2p",)
    found: dict[str, Any] = {}
    for label, (saturated, lowered, first) in zip(labels, result["rscd_counts"], strict=False):
        found[f"meta.rscd.keep_bright_firstgroup_{label}"] = int(first) if saturated else 0
        found[f"meta.rscd.keep_groups_saturation_{label}"] = int(lowered)
    return found


def _metadata(references: References, params: RscdParams, info: ExposureInfo) -> Mapping[str, Any]:
    return {f"meta.rscd.ngroups_skip_{part.label}": part.groups for part in _ranges(references, info)}


def _not_applicable(references: References, params: RscdParams, info: ExposureInfo) -> str | None:
    if not _is_miri(params, info):
        return "it is only for MIRI data"
    if _tabled(references["rscd"], info) is None:
        return f"READPATT, SUBARRAY combination not found in its reference: {info.readpatt}, {info.subarray}"
    return "too few groups: it needs 3" if info.ngroups < _FEWEST_GROUPS else None


def _supports(params: RscdParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


STEP = Step(
    alias="rscd",
    summary="Flag the first groups of MIRI ramps",
    params=RscdParams,
    kernel=flag,
    reads=("groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq"),
    remarks=("pixeldq",),
    references=(ReferenceNeed("rscd", ("rscd_group_skip_table",), needed=_is_miri),),
    reach=lambda params, info: Reach(frozenset(("integration", "group"))),
    tally=Tally(
        name="rscd_counts",
        chunk=_chunk,
        combine=_combine,
        finalize=_finalize,
        reads=("groupdq",),
        required=lambda params, info: False,
        metadata=_counts,
    ),
    not_applicable=_not_applicable,
    metadata=_metadata,
    supports=_supports,
    cal_step="rscd",
    official="jwst.rscd.RscdStep",
)
"""The step."""
