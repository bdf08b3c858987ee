"""The JWST data quality flags by name.

Source: "Data Quality Flags" in the References chapter of the JWST pipeline documentation. A group's flags
are the lowest eight bits, an image's all 32.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "AD_FLOOR",
    "CHARGELOSS",
    "DO_NOT_USE",
    "FLUX_ESTIMATED",
    "JUMP_DET",
    "NO_GAIN_VALUE",
    "NO_LIN_CORR",
    "NO_SAT_CHECK",
    "PERSISTENCE",
    "PIXEL_FLAGS",
    "SATURATED",
]

_NAMES = (
    "DO_NOT_USE",
    "SATURATED",
    "JUMP_DET",
    "DROPOUT",
    "OUTLIER",
    "PERSISTENCE",
    "AD_FLOOR",
    "CHARGELOSS",
    "RESERVED",
    "NON_SCIENCE",
    "DEAD",
    "HOT",
    "WARM",
    "LOW_QE",
    "RC",
    "TELEGRAPH",
    "NONLINEAR",
    "BAD_REF_PIXEL",
    "NO_FLAT_FIELD",
    "NO_GAIN_VALUE",
    "NO_LIN_CORR",
    "NO_SAT_CHECK",
    "UNRELIABLE_BIAS",
    "UNRELIABLE_DARK",
    "UNRELIABLE_SLOPE",
    "UNRELIABLE_FLAT",
    "OPEN",
    "ADJ_OPEN",
    "FLUX_ESTIMATED",
    "MSA_FAILED_OPEN",
    "OTHER_BAD_PIXEL",
    "REFERENCE_PIXEL",
)

PIXEL_FLAGS: Mapping[str, int] = {"GOOD": 0, **{name: 1 << i for i, name in enumerate(_NAMES)}}
"""Value of every flag, by its mnemonic."""

DO_NOT_USE = PIXEL_FLAGS["DO_NOT_USE"]
SATURATED = PIXEL_FLAGS["SATURATED"]
JUMP_DET = PIXEL_FLAGS["JUMP_DET"]
PERSISTENCE = PIXEL_FLAGS["PERSISTENCE"]
AD_FLOOR = PIXEL_FLAGS["AD_FLOOR"]
CHARGELOSS = PIXEL_FLAGS["CHARGELOSS"]
FLUX_ESTIMATED = PIXEL_FLAGS["FLUX_ESTIMATED"]
NO_GAIN_VALUE = PIXEL_FLAGS["NO_GAIN_VALUE"]
NO_LIN_CORR = PIXEL_FLAGS["NO_LIN_CORR"]
NO_SAT_CHECK = PIXEL_FLAGS["NO_SAT_CHECK"]
REFERENCE_PIXEL = PIXEL_FLAGS["REFERENCE_PIXEL"]
