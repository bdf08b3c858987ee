"""Fit count rates to ramps by ordinary least squares with optimal weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.dqflags import DO_NOT_USE, PERSISTENCE, SATURATED
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, OptionalProduct, Params, ReferenceNeed, References, Step, Tally
from calservice.steps.arrays import in_line, lines, owned, owned_image

__all__ = ["RATE_ARRAYS", "STEP", "RampFitParams"]

_KINDS = ("slope", "dq", "err", "var_poisson", "var_rnoise")
RATE_ARRAYS: tuple[str, ...] = (*_KINDS, *(f"int_{kind}" for kind in _KINDS))
"""What ramp fitting makes: images of the exposure, then of each integration."""

_SEGMENTED = ("slope", "sigslope", "var_poisson", "var_rnoise", "yint", "sigyint", "weights", "crmag")
_FITOPT = (*_SEGMENTED, "pedestal")
"""What the optional product holds of each segment and jump of a ramp, and of the ramp."""

_LIKELY_GROUPS = 4
"""Groups below which the official step fits by least squares even if asked for ``LIKELY``."""


class RampFitParams(Params):
    """Parameters of ``ramp_fit``."""

    algorithm: Literal["OLS_C", "LIKELY"] = Field("OLS_C", description="Fitting algorithm")
    int_name: str = Field("", description="Name of the product with integrations")
    save_opt: bool = Field(False, description="Save optional output")
    opt_name: str = Field("", description="Name of the optional output")
    suppress_one_group: bool = Field(True, description="Suppress saturated ramps with good 0th group")
    firstgroup: int | None = Field(None, description="Ignore groups before this one (zero indexed)")
    lastgroup: int | None = Field(None, description="Ignore groups after this one (zero indexed)")
    maximum_cores: str = Field(
        "1",
        description="cores for multiprocessing. Can be an integer, 'half', 'quarter', or 'all'; "
        "native steps use the threads of their worker instead",
    )


def _selected(params: RampFitParams, ngroups: int) -> tuple[int, int]:
    """Return the half-open range of groups that the parameters leave to be fitted."""
    first = max(params.firstgroup or 0, 0)
    last = ngroups - 1 if params.lastgroup is None else params.lastgroup
    if first >= last:
        return 0, ngroups
    return first, min(last + 1, ngroups)


def _suppresses(params: RampFitParams, ngroups: int) -> bool:
    return params.suppress_one_group and ngroups > 1


def _discards(params: RampFitParams, info: ExposureInfo) -> bool:
    """Tell whether leading and trailing groups without one usable pixel are discarded."""
    return info.instrument.upper() == "MIRI" and info.ngroups > 1 and not _is_likely(params, info)


_Ramps = tuple[Array, Array, Array, Array, Array, Array, Array, tuple[int, int, int, int], bool, Array]


def _is_likely(params: RampFitParams, info: ExposureInfo) -> bool:
    """Tell whether ramps are fitted by likelihood: if asked for, or where their groups are unevenly spaced."""
    return info.ngroups >= _LIKELY_GROUPS and (params.algorithm == "LIKELY" or bool(info.read_times))


def _chunk(block: Block, references: References, params: RampFitParams, info: ExposureInfo) -> tuple[Array, Array]:
    """Return, for each group, whether no pixel of it is usable and whether all are saturated."""
    flags = block["groupdq"]
    ngroups = flags.shape[1]
    if not _discards(params, info):
        saturated = np.zeros(ngroups, np.bool_)
        saturated[0] = bool(np.all(flags[:, 0] & SATURATED))
        return np.zeros(ngroups, np.bool_), saturated
    first, stop = _selected(params, ngroups)
    unusable = (flags & DO_NOT_USE) != 0
    unusable[:, :first] = True
    unusable[:, stop:] = True
    if _suppresses(params, ngroups):
        good = ((flags & ~np.uint8(PERSISTENCE)) == 0) & ~unusable
        unusable |= (np.count_nonzero(good, axis=1) == 1)[:, None]
    return (
        unusable.all(axis=(0, 2, 3)),
        ((flags & SATURATED) != 0).all(axis=(0, 2, 3)),
    )


def _combine(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    return (
        np.logical_and.reduce([part[0] for part in parts]),
        np.logical_and.reduce([part[1] for part in parts]),
    )


def _enough(combined: tuple[Array, Array], discarded: Collection[int]) -> bool:
    """Whether all groups that can have usable pixels are known to have some, and some that are not saturated."""
    unusable, saturated = (np.delete(flags, list(discarded)) for flags in combined)
    return bool(unusable.size) and not unusable.any() and not saturated[0]


def _finalize(combined: tuple[Array, Array], each: Each) -> Mapping[str, Array]:
    """Return ``ramp_groups``: first group, stop, and whether the first is saturated everywhere."""
    unusable, saturated = combined
    first, stop = 0, unusable.size
    while first < stop and unusable[first]:
        first += 1
    if first < stop and unusable[stop - 1]:
        stop -= 1
    full = int(first < stop and saturated[first])
    return {"ramp_groups": np.array([first, stop, full], np.int64)}


def _verdict(result: Mapping[str, Array], params: RampFitParams, info: ExposureInfo) -> str | None:
    if _is_likely(params, info):
        return None
    first, stop, full = (int(n) for n in result["ramp_groups"])
    if _discards(params, info) and stop - first < 2:
        return "fewer than two groups have a usable pixel, too few to fit ramps of MIRI"
    return "all ramps are saturated in all integrations" if full else None


def fit(block: Block, references: References, params: RampFitParams, info: ExposureInfo) -> dict[str, Array]:
    """Fit the ramps of a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8,
        ``pixeldq`` (row, column) uint32; optionally ``zeroframe`` (integration, row, column) float32 in
        DN, ``average_dark_current`` (row, column) float32 in electrons/s, and the tally's
        ``ramp_groups``.
    references : mapping
        ``gain`` with ``data`` (row, column) float32 in electrons/DN and ``readnoise`` with ``data``
        float32 in DN (of the difference of two frames).
    params : RampFitParams
        Parameters.
    info : ExposureInfo
        Times in seconds and ``nframes`` are used.

    Returns
    -------
    dict
        `RATE_ARRAYS`: slopes and errors in DN/s, variances in DN^2/s^2, all float32; flags uint32. With
        ``save_opt`` also the arrays of the optional product: of least squares what is fitted to each segment, of
        the likelihood fit the chi-squared ``opt_chisq`` (row, column).

    Notes
    -----
    Source: ``ramp_fit`` (OLS) in the JWST pipeline documentation; weights of Fixsen et al. 2000, PASP
    112, 1350; segments and their combination as in JWST-STScI-001490 (SM-12).
    """
    from calservice.steps.stage1 import _ramp_fit_kernels as kernels

    nints, _, nrows, ncols = block["data"].shape
    made: dict[str, Array] = {}
    for name in RATE_ARRAYS:
        size = (nints, nrows, ncols) if name.startswith("int_") else (nrows, ncols)
        made[name] = np.zeros(size, np.uint32 if name.endswith("dq") else np.float32)
    images, integrations = tuple(made[k][None] for k in _KINDS), tuple(made[f"int_{k}"] for k in _KINDS)
    if _is_likely(params, info):
        from calservice.steps.stage1._ramp_fit_likely import fit_likely

        selected = _selected(params, info.ngroups)
        chisq = fit_likely(block, references, info, selected, images, integrations)
        return made | ({"opt_chisq": chisq} if params.save_opt else {})
    ramps = _ramps(block, references, params, info)
    used = ramps[7][1] - ramps[7][0]
    (data, groupdq), begin = lines(*ramps[:2])
    table, network = kernels.weight_table(min(used, kernels.TABLED)), kernels.median_network(used - 1)
    # pixels in a line: their tiles go on in the next row
    results = tuple(map(in_line, images)), tuple(map(in_line, integrations))
    others: tuple[Any, ...] = (*map(in_line, ramps[2:7]), *ramps[7:], table, network, *results)
    kernels.fit_ramps(data, groupdq, begin, *others)
    return made | (_segments(ramps, info) if params.save_opt else {})


def _ramps(block: Block, references: References, params: RampFitParams, info: ExposureInfo) -> _Ramps:
    """Return what the kernels of the least squares fit take of a block: arrays, groups, suppression and times."""
    data = block["data"]
    _, ngroups, nrows, ncols = data.shape
    first, stop = 0, ngroups
    if "ramp_groups" in block:
        first, stop = int(block["ramp_groups"][0]), int(block["ramp_groups"][1])
    gain = owned(references["gain"]["data"], np.float32)
    scaled = gain / np.sqrt(np.float64(2.0 * info.nframes))
    noise = (np.asarray(references["readnoise"]["data"]) * scaled).astype(np.float32)
    zero = block["zeroframe"] if "zeroframe" in block else np.zeros((0, 0, 0), np.float32)
    frame_time = float(np.float32(info.frame_time))
    return (
        data,
        block["groupdq"],
        np.ascontiguousarray(block["pixeldq"]),
        np.ascontiguousarray(zero),
        gain,
        noise,
        owned_image(block.arrays.get("average_dark_current"), (nrows, ncols), np.float32),
        (first, stop, *_selected(params, ngroups)),
        _suppresses(params, ngroups),
        np.array([np.float32(info.group_time), (info.nframes + 1.0) * frame_time / 2, frame_time]),
    )


def _segments(ramps: _Ramps, info: ExposureInfo) -> dict[str, Array]:
    """Return the arrays of the optional product of a block, as long as the ramp with most segments needs."""
    from calservice.steps.stage1 import _ramp_fit_optional as kernels
    from calservice.steps.stage1._ramp_fit_kernels import TABLED, median_network

    nints, _, nrows, ncols = ramps[0].shape
    used = ramps[7][1] - ramps[7][0]
    ramps = cast(_Ramps, (*map(np.ascontiguousarray, ramps[:2]), *ramps[2:]))
    places, hits = kernels.room(ramps[1])
    made = {kind: np.zeros((nints, places, nrows, ncols), np.float32) for kind in kernels.PLANES}
    made["pedestal"] = np.zeros((nints, nrows, ncols), np.float32)
    made["crmag"] = np.zeros((nints, hits, nrows, ncols), np.float32)
    offset = ((info.nframes + 1) / 2.0 + info.drop_frames) / (info.nframes + info.groupgap)
    planes = tuple(made[kind] for kind in kernels.PLANES)
    table = kernels.plain_weights(min(used, TABLED))
    segments, jumps = kernels.fit_optional(
        *ramps, table, median_network(used - 1), offset, planes, made["pedestal"], made["crmag"]
    )
    for kind in _SEGMENTED:
        made[kind] = made[kind][:, : jumps if kind == "crmag" else segments]
    return {f"opt_{kind}": array for kind, array in made.items()}


def _supports(params: RampFitParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "superstripe exposures"
    return None


def _metadata(references: References, params: RampFitParams, info: ExposureInfo) -> Mapping[str, Any]:
    """Note the gain factor of the reference, for ``gain_scale``."""
    factor = references["gain"].meta.get("meta.exposure.gain_factor")
    return {} if factor is None else {"meta.exposure.gain_factor": factor}


STEP = Step(
    alias="ramp_fit",
    summary="Fit count rates to the ramps",
    params=RampFitParams,
    kernel=fit,
    reads=("data", "groupdq", "pixeldq", "zeroframe", "average_dark_current"),
    writes=(*RATE_ARRAYS, *(f"opt_{kind}" for kind in _FITOPT), "opt_chisq"),
    references=(ReferenceNeed("readnoise", ("data",)), ReferenceNeed("gain", ("data",))),
    reach=lambda params, info: Reach(frozenset(("integration", "group"))),
    strided=True,
    tally=Tally(
        name="ramp_groups",
        chunk=_chunk,
        combine=_combine,
        finalize=_finalize,
        reads=("groupdq",),
        required=_discards,
        enough=_enough,
        verdict=_verdict,
    ),
    metadata=_metadata,
    supports=_supports,
    products=(
        OptionalProduct(
            model=lambda info: "RampFitOutputModel",
            wanted=lambda params, info: params.save_opt and not _is_likely(params, info),
            arrays=lambda made, references, params, info: {kind: made[f"opt_{kind}"] for kind in _FITOPT},
            named_by="opt_name",
            suffix="fitopt",
        ),
        OptionalProduct(
            model=lambda info: "ImageModel",
            wanted=lambda params, info: params.save_opt and _is_likely(params, info),
            arrays=lambda made, references, params, info: {"data": made["opt_chisq"]},
            named_by="opt_name",
            suffix="likely_chisq",
        ),
    ),
    cal_step="ramp_fit",
    official="jwst.ramp_fitting.RampFitStep",
)
"""The step."""
