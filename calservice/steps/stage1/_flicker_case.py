"""What clean_flicker_noise does for which exposures: its parameters, and what follows from them. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from calservice.model.info import ExposureInfo
from calservice.model.step import Params

__all__ = [
    "CleanFlickerNoiseParams",
    "by_integration",
    "chooses",
    "divides",
    "drafts",
    "needs_rates",
    "notes_traces",
    "refusal",
    "supports",
    "takes_flat_flags",
    "takes_median",
    "takes_traces",
]

_FOURIER = ("NRS_MSASPEC", "NRS_IFU", "NRS_FIXEDSLIT", "NRS_BRIGHTOBJ")
"""Exposure types that are cleaned in frequency space."""
_AUTOMATIC = ("NIS_IMAGE", "NRC_IMAGE")
"""Exposure types for which parameters are found automatically."""
_TIME_SERIES = ("NRC_TSIMAGE", "NRC_TSGRISM", "NIS_SOSS")
"""Exposure types of which the flux of the target is measured."""


class CleanFlickerNoiseParams(Params):
    """Parameters of ``clean_flicker_noise``."""

    autoparam: bool = Field(
        False, description="Automatically select some fit and background parameters for the input data."
    )
    fit_method: Literal["fft", "median"] = Field("median", description="Noise fitting algorithm.")
    fit_by_channel: bool = Field(False, description="Fit noise separately by amplifier (NIR only).")
    background_method: Literal["median", "model", "median_image"] | None = Field(
        "median", description="Background fit."
    )
    background_box_size: list[int] | None = Field(
        None,
        description="Background box size.",
        json_schema_extra={"check": "int_list"},
        min_length=2,
        max_length=2,
    )
    mask_science_regions: bool = Field(False, description="Mask known science regions.")
    apply_flat_field: bool = Field(False, description="Apply a flat correction before fitting.")
    n_sigma: float = Field(2.0, description="Clipping level for non-background signal.")
    fit_histogram: bool = Field(False, description="Fit a value histogram to derive sigma.")
    single_mask: bool = Field(True, description="Make a single mask for all integrations.")
    user_mask: str | None = Field(None, description="Path to user-supplied mask")
    save_mask: bool = Field(False, description="Save the created mask")
    save_background: bool = Field(False, description="Save the fit background")
    save_noise: bool = Field(False, description="Save the fit noise")
    skip: bool = Field(True, description="By default, skip the step.")

    @field_validator("background_method", "user_mask", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.lower() == "none" else value


def drafts(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether the background is looked for in draft rates."""
    return params.user_mask is None and refusal(params, info) is None


def chooses(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether parameters are found automatically."""
    return params.autoparam and info.exp_type in _AUTOMATIC


def takes_median(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether the background is the median of all integrations."""
    return params.background_method == "median_image" and not chooses(params, info) and refusal(params, info) is None


def notes_traces(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether it is only noted where the traces of spectra are."""
    return info.exp_type == "NIS_SOSS" and not takes_traces(params, info)


def needs_rates(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether draft rates are made."""
    return drafts(params, info) or chooses(params, info) or takes_median(params, info)


def takes_flat_flags(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether flags tell which regions of the detector science does not use."""
    return params.mask_science_regions and info.exp_type == "MIR_IMAGE" and drafts(params, info)


def takes_traces(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether no background is looked for in the traces of spectra."""
    return params.mask_science_regions and info.exp_type == "NIS_SOSS" and drafts(params, info)


def by_integration(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether draft rates of each integration are looked at."""
    return not params.single_mask or takes_median(params, info)


def divides(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether a flat field is divided by if there is one."""
    return params.apply_flat_field or chooses(params, info)


def refusal(params: CleanFlickerNoiseParams, info: ExposureInfo) -> str | None:
    """Return the reason why exposures of a type are not cleaned."""
    if info.exp_type.startswith("MIR") and info.exp_type != "MIR_IMAGE":
        return f"{info.exp_type} exposures are not cleaned"
    if params.fit_method == "fft" and info.exp_type not in _FOURIER:
        return f"{info.exp_type} exposures are not cleaned in frequency space"
    return None


def supports(params: CleanFlickerNoiseParams, info: ExposureInfo) -> str | None:
    """Return why the official step has to serve a case, None where it has not."""
    if info.num_superstripe:
        return "stripes"
    if takes_median(params, info) and info.nints > 1 and _located(params, info):
        return f"the background method median_image{' with save_mask' * params.save_mask} of {info.exp_type} exposures"
    if abs(info.slowaxis) not in (1, 2):
        return "unknown axes of the detector"
    if params.mask_science_regions and info.exp_type.startswith("NRS") and drafts(params, info):
        return f"mask_science_regions of {info.exp_type} exposures"
    return None


def _located(params: CleanFlickerNoiseParams, info: ExposureInfo) -> bool:
    """Tell whether a median of integrations takes a WCS.

    It may have to be scaled by the flux of a target, which a WCS or references locate; the exposure may show nothing
    where the WCS of NIRSpec is defined, for which the step fails; and the header of the mask tells the WCS.
    """
    time_series = info.exp_type in _TIME_SERIES or (info.exp_type == "MIR_IMAGE" and info.tsovisit)
    return params.save_mask or time_series or info.exp_type.startswith("NRS")
