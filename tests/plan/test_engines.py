"""Which reference types are selected of a stage whose steps are told files."""

from __future__ import annotations

from typing import Any

import pytest

from calservice.model.exposure import Exposure, FileStat
from calservice.model.plan import Input, Stage
from calservice.plan.engines import choose, overridden
from calservice.plan.parameters import Settings


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
    keywords = {
        "INSTRUME": instrument, "DETECTOR": detector, "EXP_TYPE": exp_type, "SUBARRAY": "FULL", "NINTS": 1,
        "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 1.0, "TGROUP": 1.0, "FASTAXIS": 1, "SLOWAXIS": 2,
    }  # fmt: skip
    steps: dict[str, Any] = {"clean_flicker_noise": {"skip": False, "override_flat": "flat.fits", **values}}
    steps |= {alias: {"override_gain": "gain.fits"} for alias in ("jump", "ramp_fit", "gain_scale")}
    file = FileStat("x_uncal.fits", 1, "")
    exposure = Exposure(file, keywords, shape=(1, 5, 64, 64))
    stage = Stage("s", "calwebb_detector1", 1, "x", (Input(file.name, file=file),), exposure=exposure)
    settings = Settings({"steps": steps}, {})
    engines = choose(stage, settings, "auto").engines
    assert engines["clean_flicker_noise"] == "native"
    assert overridden(stage, engines, settings) & {"flat", "gain"} == settled
