"""Which reference types are selected of a stage whose steps are told files."""

from __future__ import annotations

from typing import Any

import pytest

from calservice.model.exposure import Exposure, FileStat
from calservice.model.plan import Input, Stage
from calservice.plan.engines import EngineName, choose, overridden, reference_types
from calservice.plan.parameters import Settings


def planned(instrument: str, detector: str, exp_type: str, steps: dict[str, Any], engine: EngineName) -> Any:
    """Return a stage, the engines of its steps, and settings."""
    keywords = {
        "INSTRUME": instrument, "DETECTOR": detector, "EXP_TYPE": exp_type, "SUBARRAY": "FULL", "NINTS": 2,
        "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 1.0, "TGROUP": 1.0, "FASTAXIS": 1, "SLOWAXIS": 2,
    }  # fmt: skip
    file = FileStat("x_uncal.fits", 1, "")
    exposure = Exposure(file, keywords, shape=(2, 5, 64, 64))
    stage = Stage("s", "calwebb_detector1", 1, "x", (Input(file.name, file=file),), exposure=exposure)
    settings = Settings({"steps": steps}, {})
    return stage, choose(stage, settings, engine).engines, settings


@pytest.mark.parametrize(
    ("instrument", "detector", "exp_type", "values", "settled"),
    [
        ("NIRCAM", "NRCA1", "NRC_IMAGE", {"mask_science_regions": True}, {"flat"}),
        ("MIRI", "MIRIMAGE", "MIR_IMAGE", {}, {"flat"}),
        ("MIRI", "MIRIMAGE", "MIR_IMAGE", {"mask_science_regions": True}, set()),
        ("MIRI", "MIRIMAGE", "MIR_IMAGE", {"mask_science_regions": True, "user_mask": "mask.fits"}, {"flat", "gain"}),
    ],
)
def test_files_that_are_told_do_not_reach_what_a_step_runs_for_itself(
    instrument: str, detector: str, exp_type: str, values: dict[str, Any], settled: set[str]
) -> None:
    """Draft rates have the gain, and masks of regions the flat field, that CRDS knows; else a file serves alone."""
    steps: dict[str, Any] = {"clean_flicker_noise": {"skip": False, "override_flat": "flat.fits", **values}}
    steps |= {alias: {"override_gain": "gain.fits"} for alias in ("jump", "ramp_fit", "gain_scale")}
    stage, engines, settings = planned(instrument, detector, exp_type, steps, "auto")
    assert engines["clean_flicker_noise"] == "native"
    assert overridden(stage, engines, settings) & {"flat", "gain"} == settled


@pytest.mark.official
@pytest.mark.parametrize("engine", ["auto", "jwst"])
def test_references_of_what_official_steps_run_for_themselves(engine: EngineName) -> None:
    """They declare none of these, and what is not fetched before a stage is not there in it."""
    wcs = {"camera", "msa", "wavelengthrange"}
    for step, told, due in (
        ("clean_flicker_noise", {}, set()),
        ("clean_flicker_noise", {"mask_science_regions": True}, wcs | {"msaoper"}),
        ("clean_flicker_noise", {"background_method": "median_image", "save_mask": True}, wcs | {"msaoper"}),
        ("picture_frame", {}, wcs | {"msaoper"}),
        ("picture_frame", {"mask_science_regions": False}, set()),
    ):
        given = planned("NIRSPEC", "NRS1", "NRS_MSASPEC", {step: {"skip": False, **told}}, engine)
        types = set(reference_types(*given))
        assert types & (wcs | {"msaoper"}) == due, (step, told)
        assert {"gain", "readnoise"} <= types - overridden(*given)
    steps = {"clean_flicker_noise": {"skip": False, "override_flat": "flat.fits", "mask_science_regions": True}}
    assert "flat" not in overridden(*planned("MIRI", "MIRIMAGE", "MIR_IMAGE", steps, engine))
