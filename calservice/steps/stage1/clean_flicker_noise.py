"""Fit and take away the noise that lines of a detector have in common, or that is slow as it is read (1/f)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from calservice.model.block import Array, Block, Reach
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, Reference, ReferenceNeed, References, Step
from calservice.steps.stage1._flicker_case import (
    CleanFlickerNoiseParams,
    by_integration,
    chooses,
    divides,
    drafts,
    needs_rates,
    notes_traces,
    refusal,
    supports,
    takes_flat_flags,
    takes_median,
    takes_traces,
)
from calservice.steps.stage1._flicker_draft import (
    READS,
    WRITES,
    Drafts,
    draft_rates,
    draft_references,
    draft_tally,
    kept_product,
    rates_tally,
)
from calservice.steps.stage1._flicker_regions import trace_arrays

__all__ = ["STEP", "CleanFlickerNoiseParams"]

# -- draft rates, and where they are background


def draft(
    block: Block, references: References, params: CleanFlickerNoiseParams, info: ExposureInfo
) -> dict[str, Array]:
    """Make draft rates, unless they are not needed, and the median of integrations where it is the background.

    Parameters
    ----------
    block : Block
        What ``ramp_fit`` reads.
    references : mapping
        ``gain`` in electrons/DN and ``readnoise`` in DN, ``data`` (row, column) float32.
    params : CleanFlickerNoiseParams
        Parameters.
    info : ExposureInfo
        Facts of the exposure.

    Returns
    -------
    dict
        ``draft_slope`` (row, column) and, for what is found of each integration, ``int_draft_slope`` (integration, row,
        column), float32 in DN/s; ``draft_unused`` or ``int_draft_unused`` bool, where flags say that science makes no
        use of pixels, for masks of regions; ``draft_median`` (group, row, column) float32 in DN.
    """
    if not needs_rates(params, info):
        return {}
    integrations, flags = by_integration(params, info), takes_flat_flags(params, info)
    made = draft_rates(block, references, info, integrations, flags)
    if takes_median(params, info):
        from calservice.steps.stage1._flicker_median import median_ramp

        made["draft_median"] = median_ramp(block["data"])
    return made


def _finalize(found: Drafts, each: Each) -> Mapping[str, Array]:
    """Return where the scene is background, the median of integrations, and what is chosen automatically."""
    params, info = found.params, found.info
    made: dict[str, Array] = {}
    flat = _flat(found.references, info)
    if chooses(params, info):
        from calservice.steps.stage1._flicker_choice import choose

        rates = found.whole("draft_slope")
        assert rates is not None
        made["flicker_choice"] = choose(rates, flat, info)
    if not (drafts(params, info) or takes_median(params, info)):
        return made
    rates = found.whole("int_draft_slope" if by_integration(params, info) else "draft_slope")
    assert rates is not None
    if flat is not None and divides(params, info):
        rates /= flat
    if drafts(params, info):
        from calservice.steps.stage1._flicker_mask import scene_mask

        made["flicker_mask"] = scene_mask(rates, params.n_sigma, params.fit_histogram, _regions(found))
    if takes_median(params, info):
        from calservice.steps.stage1._flicker_median import scales

        median = found.whole("draft_median")
        assert median is not None
        made |= {"flicker_median": median, "flicker_scales": scales(rates)}
    return made


def _regions(found: Drafts) -> Array | None:
    """Return regions that science uses, or never does: (row, column) or (integration, row, column) bool."""
    params, info = found.params, found.info
    regions: Array | None = None
    if "regions" in found.references:
        regions = np.asarray(found.references["regions"]["whole"]).reshape(info.nrows, info.ncols)
    if not takes_flat_flags(params, info):
        return regions
    flagged = found.whole("int_draft_unused" if by_integration(params, info) else "draft_unused")
    assert flagged is not None
    return flagged if regions is None else flagged | regions


def _flat(references: References, info: ExposureInfo) -> Array | None:
    if "flat" not in references:
        return None
    return np.asarray(references["flat"]["whole"]).reshape(info.nrows, info.ncols)


def _prepare(references: References, params: CleanFlickerNoiseParams, info: ExposureInfo) -> References:
    """Fill the holes of the flat field, and find regions; kept in one row, both are seen whole by all blocks."""
    made = dict(references)
    if "flat" in made:
        from calservice.steps.stage1._flicker_mask import whole_flat

        flat = made["flat"]
        made["flat"] = Reference({"whole": whole_flat(np.asarray(flat["data"])).reshape(-1)}, flat.meta)
    regions: Array | None = None
    if "flat_flags" in made:
        from calservice.steps.stage1._flicker_regions import without_flat

        regions = without_flat(made.pop("flat_flags"))
    elif takes_traces(params, info):
        from calservice.steps.stage1._flicker_regions import no_traces, traced

        if "pastasoss" not in made:
            raise no_traces()
        regions = traced(made["pastasoss"], info)
    if regions is not None:
        made["regions"] = Reference({"whole": regions.reshape(-1)}, {})
    return made


# -- the kernel


def clean(
    block: Block, references: References, params: CleanFlickerNoiseParams, info: ExposureInfo
) -> dict[str, Array]:
    """Take the noise of each group away.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8, and what the
        tally found: ``flicker_mask``, where the scene is background, (row, column) or (integration, row, column)
        bool; ``flicker_choice``, parameters chosen automatically; ``flicker_median``, the median of integrations
        (group, row, column) float32 in DN, and ``flicker_scales`` (integration,) float32, how bright each is.
    references : mapping
        Optionally ``flat`` with its pixels in one row, ``whole`` float32, and ``user_mask`` with ``data`` instead of
        the mask found.
    params : CleanFlickerNoiseParams
        Parameters.
    info : ExposureInfo
        Detector, exposure type, axes.

    Returns
    -------
    dict
        ``data``, and ``noise_fitted`` (integration,), for the account: 0 where noise could not be fitted, and nothing
        was changed. For optional products ``opt_mask`` (row, column) or ``opt_int_mask`` (integration, row, column)
        bool, where there is background; ``opt_background``, its level in each difference of groups; and
        ``opt_noise``, what was added to ``data``.

    Notes
    -----
    Source: ``clean_flicker_noise`` in the JWST pipeline documentation. Differences of consecutive groups are cleaned
    and added to the group before, which was cleaned itself. Medians: after Willott's image1overf. Frequencies: NSClean,
    Rauscher 2024, PASP 136, 015001.
    """
    from calservice.steps.stage1._flicker_clean import NoFit, clean_ramp

    data, flags = block["data"], block["groupdq"]
    how = _cleaning(block, references, params, info)
    masks = references["user_mask"]["data"] if "user_mask" in references else block["flicker_mask"]
    made = np.zeros(data.shape, np.float32)
    levels = np.zeros(data.shape, np.float32) if params.save_background else None
    first, stop = block.window.integration
    for i, ramp in enumerate(data):
        mask = masks if masks.ndim == 2 else masks[first + i]
        try:
            scene = _scene(block, first + i)
            clean_ramp(ramp, flags[i], mask, how, made[i], None if levels is None else levels[i], scene)
        except NoFit:
            return {"data": np.array(data, np.float32), "noise_fitted": np.zeros(len(data), np.uint8)}
    fitted: dict[str, Array] = {"noise_fitted": np.ones(len(data), np.uint8)}
    if params.save_mask:
        fitted |= {"opt_mask": masks} if masks.ndim == 2 else {"opt_int_mask": masks[first:stop]}
    if levels is not None:
        fitted["opt_background"] = levels
    if params.save_noise:
        fitted["opt_noise"] = made - data
    return {"data": made, **fitted}


def _scene(block: Block, integration: int) -> Array | None:
    """Return what an integration shows without noise, as all of them tell it (group, row, column) float32.

    Raises
    ------
    NoFit
        If it is not known how bright any of them is.
    """
    from calservice.steps.stage1._flicker_clean import NoFit

    if "flicker_median" not in block:
        return None
    scale = block["flicker_scales"][integration]
    if np.isnan(scale):
        raise NoFit
    scene: Array = block["flicker_median"] * scale
    return scene


def _cleaning(block: Block, references: References, params: CleanFlickerNoiseParams, info: ExposureInfo) -> Any:
    """Return how noise is fitted, automatic choices included."""
    from calservice.steps.stage1._flicker_clean import Cleaning

    background, channels = params.background_method, params.fit_by_channel
    if "flicker_choice" in block:
        smooth, by_channel = block["flicker_choice"]
        background, channels = "model" if smooth else "median", bool(by_channel)
    elif background == "median_image":
        background = None  # the median is what differences are taken to
    miri = info.exp_type.startswith("MIR")
    return Cleaning(
        method=params.fit_method,
        background=background,
        box_size=params.background_box_size,
        n_sigma=params.n_sigma,
        down=miri or abs(info.slowaxis) == 1,
        channels=channels and info.subarray == "FULL" and not miri,
        flat=_flat(references, info) if divides(params, info) else None,
        detector=info.detector,
        subarray=info.subarray,
        last_digits=params.save_noise,
    )


def _account(made: Mapping[str, Array], params: CleanFlickerNoiseParams, info: ExposureInfo) -> Mapping[str, Any]:
    fitted = "noise_fitted" not in made or bool(made["noise_fitted"].all())
    return {} if fitted else {"meta.cal_step.clean_flicker_noise": "FAILED"}


def _reach_of_cleaning(params: CleanFlickerNoiseParams, info: ExposureInfo) -> Reach:
    """Return the reach: a fit in frequency space may fail, and then no integration is changed."""
    if params.fit_method == "fft":
        return Reach.everything()
    return Reach(frozenset(("group", "row", "column")))


_CLEANING = Step(
    alias="clean_flicker_noise",
    summary="Take flicker noise away",
    params=CleanFlickerNoiseParams,
    kernel=clean,
    reads=("data", "groupdq"),
    writes=("data", "noise_fitted", "opt_mask", "opt_int_mask", "opt_background", "opt_noise"),
    reach=_reach_of_cleaning,
    tally=rates_tally("flicker_mask", _finalize),
    account=_account,
)


def _not_applicable(references: References, params: CleanFlickerNoiseParams, info: ExposureInfo) -> str | None:
    reason = refusal(params, info)
    if reason is None and takes_median(params, info) and info.nints < 2:
        reason = "a median of integrations cannot be made of one of them"
    if reason is not None or "user_mask" not in references:
        return reason
    shape = references["user_mask"]["data"].shape
    wrong = shape[-2:] != (info.nrows, info.ncols) or shape[:-2] not in ((), (info.nints,))
    return f"the mask has the shape {shape}" if wrong else None


STEP = Step(
    alias="clean_flicker_noise",
    summary="Fit flicker noise and take it away",
    params=CleanFlickerNoiseParams,
    kernel=draft,
    reads=READS,
    writes=WRITES,
    references=(
        ReferenceNeed("flat", ("data",), optional=True, needed=divides),
        ReferenceNeed(
            "flat",
            ("data", "dq", "err"),
            optional=True,
            needed=takes_flat_flags,
            of="flat_field",
            unrecorded=True,
            called="flat_flags",
        ),
        ReferenceNeed("pastasoss", optional=True, needed=notes_traces),
        ReferenceNeed(
            "pastasoss", ("wheel",), optional=True, subarray=False, axes=9, needed=takes_traces, tree=trace_arrays
        ),
        *draft_references(needs_rates),
    ),
    parameter_references=(ReferenceNeed("user_mask", ("data",), subarray=False),),
    reach=lambda params, info: Reach(frozenset(("integration", "group"))),
    tally=draft_tally(needs_rates),
    not_applicable=_not_applicable,
    otherwise="FAILED",
    supports=supports,
    then=lambda params, info: (_CLEANING,),
    prepare=_prepare,
    products=(
        kept_product("opt_mask", "save_mask", "mask", "ImageModel", drafted=drafts),
        kept_product("opt_int_mask", "save_mask", "mask", "CubeModel", drafted=drafts),
        kept_product("opt_background", "save_background", "flicker_bkg", "RampModel"),
        kept_product("opt_noise", "save_noise", "flicker_noise", "RampModel"),
    ),
    rates_too=True,
    cal_step="clean_flicker_noise",
    official="jwst.clean_flicker_noise.CleanFlickerNoiseStep",
)
"""The step."""
