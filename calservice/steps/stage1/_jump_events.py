"""Large events: what `jump` flags around jumps, snowballs of near-infrared detectors and showers of MIRI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.step import ExposureInfo, References
from calservice.steps.arrays import owned

if TYPE_CHECKING:
    from calservice.steps.stage1._jump_showers import Showers
    from calservice.steps.stage1._jump_snowballs import Snowballs

__all__ = ["extend", "reach_of_events"]

_SHOWER_AMPLITUDE = 6
"""Largest shower, in electrons/s. The official step takes this number whatever max_shower_amplitude says."""


def _groups(seconds: float, info: ExposureInfo) -> int:
    """Return how many groups a time takes; 0 where the planner sees a header that does not tell."""
    return int(seconds // info.group_time) if info.group_time else 0


def extend(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Flag large events around jumps.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) uint8 with jumps flagged, whole images. For showers also
        ``data``, ``pixeldq`` and the ``primary_crs`` of `detect`, all integrations.
    references : mapping
        Those of `detect`; used for showers.
    params : JumpParams
        Parameters.
    info : ExposureInfo
        ``group_time`` and ``nframes`` are used.

    Returns
    -------
    dict
        ``groupdq``, and, for the account, ``usable_groups`` and ``extended_events`` (integration, group),
        the number of events; showers are counted in the first group, and instead of snowballs.
    """
    from calservice.steps.stage1 import _jump_kernels as kernels
    from calservice.steps.stage1._jump_snowballs import flag_snowballs

    flags = owned(block["groupdq"], np.uint8)
    events = np.zeros(flags.shape[:2], np.int32)
    if params.expand_large_events:
        events = flag_snowballs(flags, _snowballs(params, info))
    if params.find_showers:
        from calservice.steps.stage1._jump_showers import flag_showers

        images = {kind: owned(references[kind]["data"], np.float32) for kind in ("gain", "readnoise")}
        exposure = {"data": block["data"], "groupdq": flags, "pixeldq": block["pixeldq"], **images}
        masked = bool(block["primary_crs"].min() >= 0)
        found = flag_showers(exposure, block["groupdq"], masked, info.nframes, _showers(params, info))
        events[:] = 0
        if found is not None:
            flags, events[0, 0] = found
    usable = np.zeros(flags.shape[:2], np.bool_)
    kernels.usable_groups(flags, usable)
    return {"groupdq": flags, "usable_groups": usable.astype(np.uint8), "extended_events": events}


def _snowballs(params: Any, info: ExposureInfo) -> Snowballs:
    from calservice.steps.stage1._jump_snowballs import Snowballs

    return Snowballs(
        least_jump=params.min_jump_area,
        least_core=params.min_sat_area,
        core_required=params.sat_required_snowball,
        edge=params.edge_size,
        factor=params.expand_factor,
        least_core_axis=params.min_sat_radius_extend,
        core_growth=2 * params.sat_expand,
        longest_axis=2 * params.max_extended_radius,
        masked_next=_masked_next(params, info),
    )


def _showers(params: Any, info: ExposureInfo) -> Showers:
    from calservice.steps.stage1._jump_showers import Showers

    return Showers(
        least=params.extend_snr_threshold,
        area=params.extend_min_area,
        radius=params.extend_inner_radius,
        width=params.extend_outer_radius,
        factor=params.extend_ellipse_expand_ratio,
        longest_axis=2 * params.max_extended_radius,
        groups=_groups(params.time_masked_after_shower, info),
        largest_change=_SHOWER_AMPLITUDE * info.group_time,
        clipped=info.nints >= params.minimum_sigclip_groups,
    )


def _masked_next(params: Any, info: ExposureInfo) -> int:
    """Return up to which group the next integration is flagged where a snowball saturated this one."""
    return _groups(params.snowball_time_masked_next_int, info) if params.mask_snowball_core_next_int else 0


def reach_of_events(params: Any, info: ExposureInfo) -> Reach:
    """Return what must be seen whole to find large events: images of all groups; of all integrations if need be."""
    if params.find_showers or _masked_next(params, info) > 1:
        return Reach.everything()
    return Reach(frozenset(("group", "row", "column")))
