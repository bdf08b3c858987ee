"""Every parameter of every native step: the values that are compared with the official step, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from calservice.model.step import Params
from calservice.steps.registry import NATIVE

__all__ = ["VARIATIONS", "Variation", "missing"]


@dataclass(frozen=True)
class Variation:
    """Values of a parameter, and exposures on which they make a difference.

    Parameters
    ----------
    step, parameter : str
        Alias, name.
    values : tuple
        Other values than the default. ``"@name"`` stands for a file of the scene, ``"@out/name"`` for one to be made.
    scenes : tuple of str
        Names of exposures.
    given : mapping
        Other parameters, without which this one does nothing.
    inert : bool
        Whether it changes nothing that is made.
    official : bool
        Whether the official step serves it.
    """

    step: str
    parameter: str
    values: tuple[Any, ...]
    scenes: tuple[str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)
    inert: bool = False
    official: bool = False

    @property
    def name(self) -> str:
        return f"{self.step}.{self.parameter}" + (" (official)" if self.official else "")


def _of(step: str, *scenes: str, **given: Any) -> Any:
    """Return what declares values of parameters of a step, on some scenes."""

    def declare(parameter: str, *values: Any, on: str = "", **how: Any) -> Variation:
        return Variation(step, parameter, values, (on,) if on else scenes, given, **how)

    return declare


_emi = _of("emicorr", "MIRI SUB64, interference")
_phased = _of("emicorr", "MIRI SUB64, interference", algorithm="sequential")
_frame = _of("refpix", "NIRCam full frame")
_any_frame = _of("refpix", "NIRCam full frame", "NIRCam SUB64STRIPE")
_sirs = _of("refpix", "NIRCam full frame", refpix_algorithm="sirs")
_irs2 = _of("refpix", "NIRSpec IRS2")
_jump = _of("jump", "NIRCam, hits")
_clipped = _of("jump", "NIRCam, 12 integrations", rejection_threshold=2.0)
_snowball = _of("jump", "NIRCam, snowballs", expand_large_events=True)
_shower = _of("jump", "MIRI, showers", find_showers=True)
_flicker = _of("clean_flicker_noise", "NIRCam, flicker")
_any_flicker = _of("clean_flicker_noise", "NIRCam, flicker", "MIRI, flicker", "NIRSpec SUB512, flicker")
_persist = _of("persistence", "NIRCam, saturating", persistence_time=45)
_fit = _of("ramp_fit", "NIRCam, flagged", "MIRI, flagged")

VARIATIONS: tuple[Variation, ...] = (
    _of("dq_init", "NIRCam")("user_supplied_dq", "@flags"),
    _emi("algorithm", "sequential"),
    _emi("onthefly_corr_freq", [390.625], [390.625, 218.52]),
    _emi("fit_ints_separately", True),
    _of("emicorr", "MIRI SUB64, interference", override_emicorr="N/A")("user_supplied_reffile", "@waves"),
    _of("emicorr", "MIRI SUB64, interference", onthefly_corr_freq=[390.625])("save_intermediate_results", True),
    _of("emicorr", "MIRI SUB64, interference", algorithm="sequential", use_n_cycles=None)("nints_to_phase", 1, 2),
    _phased("nbins", 40, 100),
    _phased("scale_reference", False),
    _phased("use_n_cycles", None, 500),
    _of("saturation", "NIRCam", "NIRCam, averaged", "MIRI")("n_pix_grow_sat", 0, 2, 5),
    _of("saturation", "NIRCam, averaged")("use_readpatt", False),
    _any_frame("odd_even_columns", False),
    _frame("use_side_ref_pixels", False),
    _frame("side_smoothing_length", 3, 20),
    _frame("side_gain", 0.0, 0.7),
    _of("refpix", "MIRI full frame")("odd_even_rows", False),
    _irs2("ovr_corr_mitigation_ftr", 1.5, 6.0),
    _irs2("preserve_irs2_refpix", True),
    _irs2("irs2_mean_subtraction", True),
    _frame("refpix_algorithm", "sirs"),
    _sirs("sigreject", 2.0, 3.0),
    _sirs("gaussmooth", 0.5, 2.5),
    _sirs("halfwidth", 12, 50),
    _of("refpix", "NIRCam full frame", "NIRCam SUB64STRIPE", "MIRI full frame")("siglimit", 1.5, 5.0),
    _of("firstframe", "MIRI, flagged")("bright_use_group1", False),
    _of("dark_current", "NIRCam", "NIRCam, averaged", "MIRI")("dark_output", "dark_as_used"),
    _of("dark_current", "NIRCam", "MIRI")("average_dark_current", 0.2, 1.5),
    _of("charge_migration", "NIRCam", "MIRI")("signal_threshold", 12000.3, 40000.0),
    _jump("rejection_threshold", 0.0, 2.5, 9.0),
    _jump("three_group_rejection_threshold", 3.0, 10.0, on="NIRCam, 3 groups"),
    _jump("four_group_rejection_threshold", 2.0, 9.0, on="NIRCam, 4 groups"),
    _jump("maximum_cores", "quarter", inert=True),
    _jump("flag_4_neighbors", False),
    _jump("max_jump_to_flag_neighbors", 40.0, 1e6),
    _jump("min_jump_to_flag_neighbors", 2.0, 100.0),
    _of("jump", "NIRCam, hits", after_jump_flag_time1=25)("after_jump_flag_dn1", 100.0, 5000.0),
    _jump("after_jump_flag_time1", 11.0, 45.0),
    _of("jump", "NIRCam, hits", after_jump_flag_time2=60)("after_jump_flag_dn2", 100.0, 5000.0),
    _jump("after_jump_flag_time2", 11.0, 45.0),
    _jump("expand_large_events", True, on="NIRCam, snowballs"),
    _snowball("min_sat_area", 10.0, 40.0),
    _snowball("min_jump_area", 1.0, 40.0),
    _snowball("expand_factor", 1.0, 2.7),
    _snowball("use_ellipses", True, inert=True),
    _snowball("sat_required_snowball", False),
    _snowball("min_sat_radius_extend", 0.0, 6.0),
    _snowball("sat_expand", 0, 5),
    _snowball("edge_size", 0, 10),
    _snowball("mask_snowball_core_next_int", False),
    _snowball("snowball_time_masked_next_int", 5, 25),
    _snowball("max_extended_radius", 4, 8),
    _jump("find_showers", True, on="MIRI, showers"),
    _of("jump", "MIRI, showers", minimum_sigclip_groups=2, extend_snr_threshold=0.9)("find_showers", True),
    _shower("max_shower_amplitude", 0.1, 1.0, inert=True),
    _shower("extend_snr_threshold", 1.7, 3.0),
    _shower("extend_min_area", 20, 300),
    _shower("extend_inner_radius", 2.0, 3.0),
    _shower("extend_outer_radius", 1.5, 4.0),
    _shower("extend_ellipse_expand_ratio", 1.0, 2.0),
    _shower("time_masked_after_shower", 0.0, 60.0),
    _shower("max_extended_radius", 4, 8),
    _jump("min_diffs_single_pass", 3, 7),
    _jump("minimum_groups", 1, 20, inert=True),
    _clipped("minimum_sigclip_groups", 5, 12),
    _of("jump", "NIRCam, 12 integrations", rejection_threshold=2.0, minimum_sigclip_groups=5)("only_use_ints", False),
    _of("picture_frame", "NIRSpec, picture frame", mask_science_regions=False)("n_sigma", 0.0, 3.0),
    _of("picture_frame", "NIRSpec, picture frame")("mask_science_regions", False),
    _of("picture_frame", "NIRSpec, picture frame")("mask_science_regions", True, official=True),
    _of("picture_frame", "NIRSpec, picture frame", mask_science_regions=False)("save_mask", True),
    _of("picture_frame", "NIRSpec, picture frame", mask_science_regions=False)("save_correction", True),
    _flicker("autoparam", True, on="NIRISS, flicker"),
    _flicker("fit_method", "fft", on="NIRSpec SUB512, flicker"),
    _flicker("fit_by_channel", True, on="NIRCam channels"),
    _any_flicker("background_method", "model", None),
    _of("clean_flicker_noise", "NIRCam, flicker", "MIRI, flicker")("background_method", "median_image"),
    _flicker("background_method", "median_image", official=True, on="NIRSpec SUB512, flicker"),
    _of("clean_flicker_noise", "NIRCam, flicker", background_method="model")("background_box_size", [25, 17], [10, 12]),
    _flicker("mask_science_regions", True, inert=True, on="NIRISS, flicker"),
    _flicker("mask_science_regions", True, on="MIRI, flicker"),
    _flicker("mask_science_regions", True, official=True, on="NIRSpec SUB512, flicker"),
    _flicker("apply_flat_field", True, on="NIRISS, flicker"),
    _any_flicker("n_sigma", 0.0, 3.0),
    _any_flicker("fit_histogram", True),
    _any_flicker("single_mask", False),
    _flicker("user_mask", "@mask"),
    _flicker("save_mask", True),
    _flicker("save_background", True),
    _flicker("save_noise", True),
    _of("clean_flicker_noise", "NIRSpec SUB512, flicker", fit_method="fft")("save_noise", True),
    _of("clean_flicker_noise", "NIRCam, flicker", user_mask="@mask")("save_mask", True),
    _of("persistence", "NIRCam, saturating")("persistence_time", 15, 100000),
    _persist("save_persistence", "@out/kept.asdf"),
    _persist("dn_threshold", 20000.0, 50000.0),
    _of("persistence", "NIRCam, saturating", persistence_time=4000)("persistence_array_file", "@earlier"),
    _persist("persistence_dnu", True),
    _fit("algorithm", "LIKELY"),
    _fit("int_name", "integrations", inert=True),
    _fit("save_opt", True),
    _of("ramp_fit", "NIRCam, flagged", save_opt=True)("opt_name", "segments"),
    _fit("suppress_one_group", False, on="NIRCam, flagged"),
    _fit("firstgroup", 1, 3),
    _fit("lastgroup", 2, 5),
    _fit("maximum_cores", "quarter", inert=True),
)
"""All of them, by steps."""


def missing() -> list[str]:
    """Return the parameters, and their values, that no variation has.

    Of a switch or a choice, every value but the default is wanted; of a number, two; of anything else, one. Parameters
    that every step has, which name and save outputs, are compared in ``tests/engines/test_strun.py``.
    """
    wanting = []
    for step in NATIVE.values():
        for name, about in step.params.model_fields.items():
            if name in Params.model_fields:
                continue
            seen = [
                value for one in VARIATIONS if (one.step, one.parameter) == (step.alias, name) for value in one.values
            ]
            choices = [value for value in _choices(about.annotation) if value != about.default]
            if choices:
                wanting += [f"{step.alias}.{name}={value}" for value in choices if value not in seen]
            elif len(seen) < (2 if isinstance(about.default, (int, float)) else 1):
                wanting.append(f"{step.alias}.{name}")
    known = {(step.alias, name) for step in NATIVE.values() for name in step.params.model_fields}
    return wanting + [f"{one.name}: no such parameter" for one in VARIATIONS if (one.step, one.parameter) not in known]


def _choices(annotation: Any) -> list[Any]:
    if annotation is bool:
        return [True, False]
    if annotation is type(None):
        return [None]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    inner = [_choices(one) for one in get_args(annotation)] if get_origin(annotation) is not list else []
    return [value for values in inner for value in values] if any(len(values) > 1 for values in inner) else []
