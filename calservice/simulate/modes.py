"""The declared modes.

Numbers are rounded from what the instruments' public documentation gives: good enough for the
headers, scales and noise to be those of the instrument, not a calibration of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from calservice.simulate.declarations import (
    Border,
    Detector,
    Electronics,
    Mode,
    Optics,
    Photometry,
    ReadoutPattern,
    ReferenceType,
    Subarray,
)

_DETECTOR = "META.INSTRUMENT.DETECTOR"
_FILTER = "META.INSTRUMENT.FILTER"
_PUPIL = "META.INSTRUMENT.PUPIL"
_EXP_TYPE = "META.EXPOSURE.TYPE"
_READPATT = "META.EXPOSURE.READPATT"
_SUBARRAY = "META.SUBARRAY.NAME"

_COMMON_REFERENCES = {
    "mask": ReferenceType((_DETECTOR, _SUBARRAY), "MaskModel"),
    "saturation": ReferenceType((_DETECTOR, _SUBARRAY), "SaturationModel"),
    "linearity": ReferenceType((_DETECTOR, _SUBARRAY), "LinearityModel"),
    "gain": ReferenceType((_DETECTOR, _SUBARRAY), "GainModel"),
    "readnoise": ReferenceType((_DETECTOR, _READPATT, _SUBARRAY), "ReadnoiseModel"),
    "abvegaoffset": ReferenceType((), "ABVegaOffsetModel", "asdf"),
}

_NIRCAM_REFERENCES = {
    **_COMMON_REFERENCES,
    "superbias": ReferenceType((_DETECTOR, _READPATT, _SUBARRAY), "SuperBiasModel"),
    "dark": ReferenceType((_EXP_TYPE, _DETECTOR, _SUBARRAY), "DarkModel"),
    "flat": ReferenceType((_DETECTOR, _FILTER, _PUPIL, _SUBARRAY), "FlatModel"),
    "area": ReferenceType((_DETECTOR, _FILTER, _PUPIL, _EXP_TYPE, _SUBARRAY), "PixelAreaModel"),
    "photom": ReferenceType((_DETECTOR, _EXP_TYPE), "NrcImgPhotomModel"),
    "apcorr": ReferenceType((_EXP_TYPE,), "NrcImgApcorrModel"),
    "distortion": ReferenceType(
        (_EXP_TYPE, _DETECTOR, "META.INSTRUMENT.CHANNEL", _PUPIL, _FILTER),
        "DistortionModel",
        "asdf",
    ),
    "filteroffset": ReferenceType(("META.INSTRUMENT.CHANNEL", "META.INSTRUMENT.MODULE"), "FilteroffsetModel", "asdf"),
}

_MIRI_REFERENCES = {
    **_COMMON_REFERENCES,
    "dark": ReferenceType((_DETECTOR, _READPATT, _SUBARRAY), "DarkMIRIModel"),
    "flat": ReferenceType((_DETECTOR, _FILTER, _READPATT, _SUBARRAY), "FlatModel"),
    "area": ReferenceType((_DETECTOR, _FILTER, _EXP_TYPE, _SUBARRAY), "PixelAreaModel"),
    "photom": ReferenceType((_DETECTOR, _EXP_TYPE), "MirImgPhotomModel"),
    "apcorr": ReferenceType((_EXP_TYPE,), "MirImgApcorrModel"),
    "distortion": ReferenceType((_DETECTOR, _EXP_TYPE), "DistortionModel", "asdf"),
    "filteroffset": ReferenceType((_DETECTOR, _EXP_TYPE), "FilteroffsetModel", "asdf"),
}

_NIRCAM_LONG_B = Detector(
    name="NRCBLONG",
    columns=2048,
    rows=2048,
    border=Border(left=4, right=4, bottom=4, top=4),
    fastaxis=1,
    slowaxis=-2,
    gain=1.8,
    read_noise=6.5,
    dark=0.02,
    bias=9000.0,
    full_well=46000.0,
    nonlinearity=(0.03, 0.02),
    superbias=True,
    electronics=Electronics(interleaved=False, odd_even="column", offset=8.0, drift=0.8, flicker=2.0, reset=10.0),
    cosmic_rays=1.6e-5,
    large_events=1.0,
    large_event_core=2.0e5,
    large_event_halo=800.0,
    large_event_radius=(2.0, 4.0),
)

_MIRI_IMAGER = Detector(
    name="MIRIMAGE",
    columns=1032,
    rows=1024,
    border=Border(left=4, right=4, bottom=0, top=0),
    fastaxis=1,
    slowaxis=2,
    gain=3.2,
    read_noise=5.0,
    dark=0.05,
    bias=6000.0,
    full_well=50000.0,
    nonlinearity=(0.05, 0.04),
    superbias=False,
    electronics=Electronics(interleaved=True, odd_even="row", offset=6.0, drift=0.6, flicker=0.5, reset=3.0),
    cosmic_rays=3.0e-5,
    large_events=0.7,
    large_event_core=400.0,
    large_event_halo=250.0,
    large_event_radius=(4.0, 9.0),
)

_NIRCAM_IMAGE = Mode(
    name="nircam-image",
    instrument="NIRCAM",
    module="B",
    channel="LONG",
    filter="F444W",
    pupil="CLEAR",
    exp_type="NRC_IMAGE",
    template="NIRCam Imaging",
    aperture="NRCB5",
    dither="SUBARRAY_DITHER",
    detector=_NIRCAM_LONG_B,
    optics=Optics(
        v2_ref=-89.3892,
        v3_ref=-491.4440,
        v3_idl_yangle=-0.0085,
        vparity=-1,
        x_ref=1023.5,
        y_ref=1023.5,
        x_scale=0.06288,
        y_scale=0.06317,
        x_quadratic=(-1.1e-7, -7.2e-7, 1.0e-7),
        y_quadratic=(3.1e-7, -2.3e-7, -4.2e-7),
        fwhm=0.145,
        halo_fraction=0.12,
        halo_width=2.5,
        filter_offset=(0.05, -0.08),
    ),
    photometry=Photometry(photmjsr=0.42, background=0.35, ab_vega=3.24),
    subarrays=(
        Subarray("FULL", 1, 1, 2048, 2048, 10.73677, 4),
        Subarray("SUB640", 705, 705, 640, 640, 4.18584, 1),
        Subarray("SUB320", 865, 865, 320, 320, 1.06904, 1),
        Subarray("SUB160", 945, 945, 160, 160, 0.27864, 1),
        Subarray("SUB400P", 1, 1649, 400, 400, 1.65632, 1),
        Subarray("SUB160P", 1, 1889, 160, 160, 0.27864, 1),
    ),
    default_subarray="SUB320",
    readout=ReadoutPattern("BRIGHT2", nframes=2, groupgap=0),
    table_key="pupil",
    references=MappingProxyType(_NIRCAM_REFERENCES),
)

_MIRI_IMAGE = Mode(
    name="miri-image",
    instrument="MIRI",
    module=None,
    channel=None,
    filter="F770W",
    pupil=None,
    exp_type="MIR_IMAGE",
    template="MIRI Imaging",
    aperture="MIRIM",
    dither="4-POINT-SETS",
    detector=_MIRI_IMAGER,
    optics=Optics(
        v2_ref=-453.559,
        v3_ref=-373.814,
        v3_idl_yangle=4.8354,
        vparity=-1,
        x_ref=692.5,
        y_ref=511.5,
        x_scale=0.1108,
        y_scale=0.1103,
        x_quadratic=(4.0e-7, -9.0e-7, 2.0e-7),
        y_quadratic=(6.0e-7, 3.0e-7, -5.0e-7),
        fwhm=0.269,
        halo_fraction=0.12,
        halo_width=2.5,
        filter_offset=(0.12, 0.07),
    ),
    photometry=Photometry(photmjsr=0.28, background=12.0, ab_vega=4.39),
    subarrays=(
        Subarray("FULL", 1, 1, 1032, 1024, 2.77504, 4),
        Subarray("BRIGHTSKY", 457, 51, 512, 512, 0.86528, 4),
        Subarray("SUB256", 413, 51, 256, 256, 0.29952, 4),
        Subarray("SUB128", 1, 889, 136, 128, 0.1192, 4),
    ),
    default_subarray="SUB256",
    readout=ReadoutPattern("FASTR1", nframes=1, groupgap=0),
    table_key="subarray",
    references=MappingProxyType(_MIRI_REFERENCES),
)

MODES: Mapping[str, Mode] = MappingProxyType({mode.name: mode for mode in (_NIRCAM_IMAGE, _MIRI_IMAGE)})
"""Every declared mode, by name."""
