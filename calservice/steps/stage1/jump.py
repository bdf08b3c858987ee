"""Flag jumps in ramps, which are mostly hits of cosmic rays."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach, Window
from calservice.model.dqflags import DO_NOT_USE, NO_GAIN_VALUE
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, Params, Reference, ReferenceNeed, References, Step, Tally
from calservice.steps.arrays import owned
from calservice.steps.stage1._jump_events import (
    compare_differences,
    find_showers,
    find_snowballs,
    mask_cores,
    masks_cores,
    shower_groups,
)

__all__ = ["STEP", "JumpParams"]

_FEWEST = 3
"""Groups that the comparison of differences needs. Official runs on one core use this number, not minimum_groups."""
_NOT_LOOKED_FOR = -99
"""What the official step takes for the number of hits where there are too few groups to look for any."""


class JumpParams(Params):
    """Parameters of ``jump``."""

    rejection_threshold: float = Field(4.0, ge=0, description="CR sigma rejection threshold")
    three_group_rejection_threshold: float = Field(6.0, ge=0, description="CR sigma rejection threshold")
    four_group_rejection_threshold: float = Field(5.0, ge=0, description="CR sigma rejection threshold")
    maximum_cores: str = Field(
        "1",
        description="cores for multiprocessing. Can be an integer, 'half', 'quarter', or 'all'; "
        "native steps use the threads of their worker instead",
    )
    flag_4_neighbors: bool = Field(True, description="flag the four perpendicular neighbors of each CR")
    max_jump_to_flag_neighbors: float = Field(
        1000, description="maximum jump sigma that will trigger neighbor flagging"
    )
    min_jump_to_flag_neighbors: float = Field(10, description="minimum jump sigma that will trigger neighbor flagging")
    after_jump_flag_dn1: float = Field(0, description="1st flag groups after jump above DN threshold")
    after_jump_flag_time1: float = Field(0, description="1st flag groups after jump groups within specified time")
    after_jump_flag_dn2: float = Field(0, description="2nd flag groups after jump above DN threshold")
    after_jump_flag_time2: float = Field(0, description="2nd flag groups after jump groups within specified time")
    expand_large_events: bool = Field(False, description="Turns on Snowball detector for NIR detectors")
    min_sat_area: float = Field(1.0, description="minimum required area for the central saturation of snowballs")
    min_jump_area: float = Field(5.0, description="minimum area to trigger large events processing")
    expand_factor: float = Field(2.0, description="The expansion factor for the enclosing circles or ellipses")
    use_ellipses: bool = Field(False, description="deprecated")
    sat_required_snowball: bool = Field(True, description="Require the center of snowballs to be saturated")
    min_sat_radius_extend: float = Field(
        2.5, description="The min radius of the sat core to trigger the extension of the core"
    )
    sat_expand: int = Field(2, description="Number of pixels to add to the radius of the saturated core of snowballs")
    edge_size: int = Field(
        25,
        description="Distance from detector edge where a saturated core is not required for snowball detection",
    )
    mask_snowball_core_next_int: bool = Field(
        True, description="Flag saturated cores of snowballs in the next integration?"
    )
    snowball_time_masked_next_int: int = Field(
        4000, description="Time in seconds over which saturated cores are flagged in next integration"
    )
    find_showers: bool = Field(False, description="Apply MIRI shower flagging?")
    max_shower_amplitude: float = Field(4, description="Maximum MIRI shower amplitude in DN/s")
    extend_snr_threshold: float = Field(1.2, description="The SNR minimum for detection of extended showers in MIRI")
    extend_min_area: int = Field(90, description="Min area of emission after convolution for the detection of showers")
    extend_inner_radius: float = Field(1, description="Inner radius of the ring_2D_kernel used for convolution")
    extend_outer_radius: float = Field(2.6, description="Outer radius of the ring_2D_Kernel used for convolution")
    extend_ellipse_expand_ratio: float = Field(
        1.1, description="Expand the radius of the ellipse fit to the extended emission"
    )
    time_masked_after_shower: float = Field(
        15, description="Seconds to flag as jump after a detected extended emission"
    )
    min_diffs_single_pass: int = Field(
        10,
        description="The minimum number of differences needed to skip the iterative flagging of jumps.",
    )
    max_extended_radius: int = Field(200, description="The maximum radius of an extended snowball or shower")
    minimum_groups: int = Field(
        3, description="The minimum number of groups to perform jump detection using sigma clipping"
    )
    minimum_sigclip_groups: int = Field(100, description="The minimum number of groups to switch to sigma clipping")
    only_use_ints: bool = Field(
        True, description="In sigclip only compare the same group across ints, if False compare all groups"
    )


def _may_clip(params: JumpParams, info: ExposureInfo, unusable: int = 0) -> bool:
    """Tell whether outliers are found by sigma clipping, given how many groups no pixel can use."""
    values = info.nints if params.only_use_ints else info.nints * info.ngroups - unusable
    return values >= params.minimum_sigclip_groups


def _chunk(block: Block, references: References, params: JumpParams, info: ExposureInfo) -> Array:
    """Return for each group of a block whether a pixel can be used, and whether one is left after clipping, if any."""
    from calservice.steps.stage1 import _jump_kernels as kernels

    flags = block["groupdq"]
    some = np.zeros((2, *flags.shape[:2]), np.bool_)
    kernels.usable_groups(flags, some[0])
    if _may_clip(params, info):
        gain = owned(references["gain"]["data"], np.float32)
        kernels.kept_groups(block["data"], flags, gain, not params.only_use_ints, params.rejection_threshold, some[1])
    else:
        some[1] = True
    return some


def _combine(parts: Sequence[Array]) -> Array:
    made: Array = np.logical_or.reduce(parts)
    return made


def _enough(some: Array, discarded: Collection[int]) -> bool:
    """Whether all groups that can have such pixels are known to have them."""
    return bool(np.delete(some, list(discarded), axis=-1).all())


def _finalize(some: Array, each: Each) -> Mapping[str, Array]:
    return {"jump_groups": some}


def _ahead(params: JumpParams, info: ExposureInfo) -> Sequence[Window] | None:
    """Return the windows to look at: one after the other, until all groups are known to have such pixels."""
    return (Window.whole((info.nints, info.ngroups, info.nrows, info.ncols)),)


def _method(some: Array, params: JumpParams, info: ExposureInfo) -> int | None:
    """Return the way to find jumps, of `_jump_kernels`; None where there are too few groups for any."""
    from calservice.steps.stage1 import _jump_kernels as kernels

    if _may_clip(params, info, int(np.count_nonzero(~some[0]))):
        return kernels.CLIP_INTEGRATIONS if params.only_use_ints else kernels.CLIP_ALL
    fewest = int(some[0].sum(axis=1).min())
    if fewest < _FEWEST:
        return None
    return kernels.AT_ONCE if fewest - 1 >= params.min_diffs_single_pass else kernels.ONE_BY_ONE


def detect(block: Block, references: References, params: JumpParams, info: ExposureInfo) -> dict[str, Array]:
    """Flag the jumps of a block, their neighbours, and what follows large ones.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8,
        ``pixeldq`` (row, column) uint32, and the tally's ``jump_groups``.
    references : mapping
        ``gain`` with ``data`` (row, column) float32 in electrons/DN, and ``readnoise`` with ``data``
        float32 in DN (of the difference of two frames).
    params : JumpParams
        Parameters.
    info : ExposureInfo
        ``nframes`` and ``group_time`` are used.

    Returns
    -------
    dict
        ``groupdq``, ``pixeldq``, and, for the account, ``primary_crs`` (row, column) int32, the number of
        groups with a jump that is no neighbour's, or -1 where there are too few groups to look for any, and
        ``usable_groups`` (integration, group) uint8, the tally's.

    Notes
    -----
    Source: ``jump`` in the JWST pipeline documentation and *Jump Algorithm* in that of stcal; the
    comparison of differences is that of Anderson and Gordon 2011, PASP 123, 1237. Values are rounded
    where the official step rounds them: ramps and differences to float32, statistics to float64.
    Explicit read times change nothing, as in the official step, which takes note of them but never looks at them.
    """
    from calservice.steps.stage1 import _jump_kernels as kernels

    data, flags = block["data"], block["groupdq"]
    gain = owned(references["gain"]["data"], np.float32)
    some = block["jump_groups"] if "jump_groups" in block else _chunk(block, references, params, info)
    method = _method(some, params, info)
    out = kernels.without_lost_jumps(flags)
    shape = data.shape[2:]
    primary = np.full(shape, 0 if method is not None else -1, np.int32)
    pixeldq = owned(block["pixeldq"], np.uint32)
    pixeldq[~(gain > 0)] |= np.uint32(NO_GAIN_VALUE | DO_NOT_USE)
    usable = some[0].astype(np.uint8)
    made = {"groupdq": out, "pixeldq": pixeldq, "primary_crs": primary, "usable_groups": usable}
    if method is None:
        return made
    clips = method in (kernels.CLIP_INTEGRATIONS, kernels.CLIP_ALL)
    touched = np.zeros(shape, np.uint8)
    kernels.find_jumps(
        data,
        flags,
        gain,
        owned(references["readnoise"]["data"], np.float32),
        float(info.nframes),
        method,
        (
            float(params.rejection_threshold),
            float(params.four_group_rejection_threshold),
            float(params.three_group_rejection_threshold),
        ),
        params.flag_4_neighbors,
        (float(params.min_jump_to_flag_neighbors), float(params.max_jump_to_flag_neighbors)),
        ~some[1] if clips else np.zeros(data.shape[:2], np.bool_),
        out,
        primary,
        touched,
    )
    lengths = _after(params, info)
    if max(lengths) > 0:
        middle = references["gain"]["median"]
        amounts = (float(params.after_jump_flag_dn1 * middle), float(params.after_jump_flag_dn2 * middle))
        kernels.flag_after_jumps(data, gain, out, touched, amounts, lengths)
    return made


def _account(made: Mapping[str, Array], params: JumpParams, info: ExposureInfo) -> Mapping[str, float]:
    """Return how often the exposure was hit: per thousand pixels and second, and by large events per million."""
    groups = int(np.count_nonzero(made["usable_groups"])) - info.nints
    if groups < 1:
        return {}
    hits = _NOT_LOOKED_FOR if made["primary_crs"].min() < 0 else int(made["primary_crs"].sum())
    events = int(made["extended_events"].sum()) if "extended_events" in made else 0
    exposed = info.group_time * groups * (info.nrows * info.ncols)
    return {
        "meta.exposure.primary_cosmic_rays": 1000 * hits / exposed,
        "meta.exposure.extended_emission_events": 1e6 * events / exposed,
    }


def _after(params: JumpParams, info: ExposureInfo) -> tuple[int, int]:
    """Return in how many groups after large and very large jumps flags are set."""
    times = (params.after_jump_flag_time1, params.after_jump_flag_time2)
    first, second = (int(time // info.group_time) if time else 0 for time in times)
    return first, second


def _prepare(references: References, params: JumpParams, info: ExposureInfo) -> References:
    """Add the median gain of the exposure, by which amounts in DN become electrons."""
    if max(_after(params, info)) <= 0:
        return references
    gain = references["gain"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
        middle = np.asarray(np.nanmedian(gain["data"]))
    return {**references, "gain": Reference({**gain.arrays, "median": middle}, gain.meta)}


def _has_enough_groups(params: JumpParams, info: ExposureInfo) -> bool:
    return info.ngroups >= _FEWEST


def _not_applicable(references: References, params: JumpParams, info: ExposureInfo) -> str | None:
    return None if _has_enough_groups(params, info) else "jumps are not found in fewer than three groups"


def _fault(info: ExposureInfo) -> str | None:
    needs = "its header says nothing of the time of a group (TGROUP), or 0, where jump needs it. Correct it"
    return None if info.group_time or info.num_superstripe else needs


def _supports(params: JumpParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else None


_IMAGES = Reach(frozenset(("group", "row", "column")))
_RAMPS = Reach(frozenset(("integration", "group")))

_SNOWBALLS = Step(
    alias="jump",
    summary="Flag snowballs around jumps",
    params=JumpParams,
    kernel=find_snowballs,
    reads=("groupdq",),
    writes=("groupdq", "snowball_cores", "usable_groups", "extended_events"),
    reach=lambda params, info: _IMAGES,
)
_CORES = Step(
    alias="jump",
    summary="Flag cores of snowballs in the next integration",
    params=JumpParams,
    kernel=mask_cores,
    reads=("groupdq", "snowball_cores"),
    writes=("groupdq",),
    spends=("groupdq",),
    reach=lambda params, info: _RAMPS,
)
_DIFFERENCES = Step(
    alias="jump",
    summary="Find what differences of groups typically are",
    params=JumpParams,
    kernel=compare_differences,
    reads=("data", "groupdq", "jump_groupdq", "primary_crs"),
    writes=("typical_difference", "difference_noise"),
    reach=lambda params, info: _RAMPS,
)
_SHOWERS = Step(
    alias="jump",
    summary="Flag showers around jumps",
    params=JumpParams,
    kernel=find_showers,
    reads=(*_DIFFERENCES.reads, *_DIFFERENCES.writes, "pixeldq"),
    writes=("groupdq", "usable_groups", "extended_events"),
    reach=lambda params, info: _IMAGES,
    tally=Tally(
        name="shower_groups",
        chunk=shower_groups,
        combine=_combine,
        finalize=lambda some, each: {"shower_groups": some},
        reads=("groupdq",),
    ),
)


def _then(params: JumpParams, info: ExposureInfo) -> list[Step]:
    """Return what follows where large events are looked for."""
    steps: list[Step] = []
    if params.expand_large_events:
        before = ("jump_groupdq",) if params.find_showers else ()
        steps.append(replace(_SNOWBALLS, writes=(*_SNOWBALLS.writes, *before)))
        steps += [_CORES] if masks_cores(params, info) else []
    if params.find_showers:
        steps += [_DIFFERENCES, _SHOWERS]
    return steps


STEP = Step(
    alias="jump",
    summary="Flag jumps in ramps",
    params=JumpParams,
    kernel=detect,
    reads=("data", "groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq", "primary_crs", "usable_groups"),
    references=tuple(ReferenceNeed(kind, ("data",), needed=_has_enough_groups) for kind in ("gain", "readnoise")),
    reach=lambda params, info: Reach(
        frozenset(("integration", "group")), {"row": 1, "column": 1} if params.flag_4_neighbors else {}
    ),
    tally=Tally(
        name="jump_groups",
        chunk=_chunk,
        combine=_combine,
        finalize=_finalize,
        reads=lambda params, info: ("data", "groupdq") if _may_clip(params, info) else ("groupdq",),
        ahead=_ahead,
        enough=_enough,
    ),
    not_applicable=_not_applicable,
    supports=_supports,
    fault=_fault,
    then=_then,
    account=_account,
    prepare=_prepare,
    cal_step="jump",
    official="jwst.jump.JumpStep",
)
"""The step."""
