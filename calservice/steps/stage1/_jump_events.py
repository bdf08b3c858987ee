"""Large events: what `jump` flags around jumps, snowballs of near-infrared detectors and showers of MIRI's.

They are found in whole images, integration by integration. What an integration says of others is looked at apart, where
rows can be cut: cores of snowballs, which are flagged in the next integration, and what differences of groups typically
are, from which showers stand out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from calservice.model.block import Array, Block
from calservice.model.info import ExposureInfo
from calservice.model.step import References
from calservice.steps.arrays import owned

if TYPE_CHECKING:
    from calservice.steps.stage1._jump_showers import Ramps, Showers
    from calservice.steps.stage1._jump_snowballs import Snowballs

__all__ = ["compare_differences", "find_showers", "find_snowballs", "mask_cores", "masks_cores", "shower_groups"]

_SHOWER_AMPLITUDE = 6
"""Largest shower, in electrons/s. The official step takes this number whatever max_shower_amplitude says."""


def _groups(seconds: float, info: ExposureInfo) -> int:
    """Return how many groups a time takes; 0 where the planner sees a header that does not tell."""
    return int(seconds // info.group_time) if info.group_time else 0


def _usable(flags: Array) -> Array:
    """Return which groups have a pixel that can be used: (integration, group) uint8."""
    from calservice.steps.stage1 import _jump_kernels as kernels

    usable = np.zeros(flags.shape[:2], np.bool_)
    kernels.usable_groups(flags, usable)
    return usable.astype(np.uint8)


def find_snowballs(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Flag snowballs around jumps.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) uint8 with jumps flagged, whole images of all groups.
    references : mapping
        Not used.
    params : JumpParams
        Parameters.
    info : ExposureInfo
        Not used.

    Returns
    -------
    dict
        ``groupdq``; ``snowball_cores`` (integration, row, column) uint8, ``JUMP_DET`` where saturated cores grew; where
        showers are looked for, too, ``jump_groupdq``, the flags as they were; and, for the account, ``usable_groups``
        and ``extended_events`` (integration, group), the number of snowballs.
    """
    from calservice.steps.stage1._jump_snowballs import flag_snowballs

    flags = owned(block["groupdq"], np.uint8)
    events, cores = flag_snowballs(flags, _snowballs(params))
    made = {"groupdq": flags, "snowball_cores": cores, "usable_groups": _usable(flags), "extended_events": events}
    return {**made, "jump_groupdq": block["groupdq"]} if params.find_showers else made


def mask_cores(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Flag the saturated cores of snowballs in the groups of the next integration.

    Parameters
    ----------
    block : Block
        ``groupdq`` (integration, group, row, column) and ``snowball_cores`` of `find_snowballs`, all integrations and
        groups. The first is overwritten.
    references : mapping
        Not used.
    params : JumpParams
        Parameters.
    info : ExposureInfo
        ``group_time`` is used.

    Returns
    -------
    dict
        ``groupdq``. The first group of an integration is not flagged.
    """
    flags, cores = block["groupdq"], block["snowball_cores"]
    flags[1:, 1 : _masked_groups(params, info)] |= cores[:-1, None]
    return {"groupdq": flags}


def masks_cores(params: Any, info: ExposureInfo) -> bool:
    """Tell whether cores of snowballs may have to be flagged in a next integration."""
    return info.nints > 1 and _masked_groups(params, info) > 1


def _masked_groups(params: Any, info: ExposureInfo) -> int:
    """Return up to which group the next integration is flagged where a snowball saturated this one."""
    return _groups(params.snowball_time_masked_next_int, info) if params.mask_snowball_core_next_int else 0


def compare_differences(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Find what differences of groups typically are, for showers to stand out from.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` with jumps, ``jump_groupdq`` if there are
        flags of snowballs among these, and ``primary_crs`` of `detect`; all integrations and groups.
    references : mapping
        Those of `detect`.
    params : JumpParams
        Parameters.
    info : ExposureInfo
        ``nframes`` and ``nints`` are used.

    Returns
    -------
    dict
        ``typical_difference`` and ``difference_noise``, (group, row, column) float32 in electrons, of one group where
        they are the same for all.
    """
    from calservice.steps.stage1._jump_showers import typical_differences

    clipped = info.nints >= params.minimum_sigclip_groups
    readnoise = owned(references["readnoise"]["data"], np.float32)
    middle, noise = typical_differences(_ramps(block, references), readnoise, info.nframes, clipped)
    return {"typical_difference": middle, "difference_noise": noise}


def find_showers(block: Block, references: References, params: Any, info: ExposureInfo) -> dict[str, Array]:
    """Flag showers around jumps.

    Parameters
    ----------
    block : Block
        What `compare_differences` sees, of whole images of all groups, and what it makes; ``pixeldq`` (row, column)
        uint32, and the tally's ``shower_groups`` (integration, group), which groups of all have a usable pixel.
    references : mapping
        Those of `detect`.
    params : JumpParams
        Parameters.
    info : ExposureInfo
        ``group_time`` is used.

    Returns
    -------
    dict
        ``groupdq``, and, for the account, ``usable_groups`` and ``extended_events`` (integration, group), the number of
        showers, counted in the first group and instead of snowballs. Where there are too few groups, none are flagged.
    """
    from calservice.steps.stage1._jump_showers import enough_groups, flag_showers

    ramps = _ramps(block, references)
    flags, events = ramps.flags, np.zeros(ramps.flags.shape[:2], np.int32)
    if enough_groups(block["shower_groups"]):
        typical = block["typical_difference"], block["difference_noise"]
        flags, events[:, 0] = flag_showers(ramps, block["pixeldq"], typical, _showers(params, info))
    return {"groupdq": flags, "usable_groups": _usable(flags), "extended_events": events}


def shower_groups(block: Block, references: References, params: Any, info: ExposureInfo) -> Array:
    """Return which groups of a block have a usable pixel, for the tally of `find_showers`."""
    return _usable(block["groupdq"])


def _ramps(block: Block, references: References) -> Ramps:
    from calservice.steps.stage1._jump_showers import Ramps

    flags = block["groupdq"]
    original = block["jump_groupdq" if "jump_groupdq" in block else "groupdq"]
    gain = owned(references["gain"]["data"], np.float32)
    return Ramps(block["data"], flags, original, gain, masked=bool(block["primary_crs"].min() >= 0))


def _snowballs(params: Any) -> Snowballs:
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
    )
