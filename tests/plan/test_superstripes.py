"""The plan of a superstripe exposure: steps before stripes are put together, and after it, get other exposures."""

from __future__ import annotations

from typing import Any

import pytest

from calservice.model.exposure import Exposure, FileStat
from calservice.model.plan import Input, Stage
from calservice.plan.cut import describe_cut, project
from calservice.plan.engines import choose, native_steps
from calservice.plan.parameters import Settings

KEYWORDS: dict[str, Any] = {
    "INSTRUME": "NIRISS", "DETECTOR": "NIS", "EXP_TYPE": "NIS_SOSS", "SUBARRAY": "SUB680STRIPE_SOSS", "NOUTPUTS": 4,
    "FASTAXIS": -2, "SLOWAXIS": -1, "SUBSTRT1": 2048, "SUBSTRT2": 1, "SUBSIZE1": 684, "SUBSIZE2": 2048, "NINTS": 6,
    "NFRAMES": 1, "GROUPGAP": 0, "TFRAME": 1.0, "TGROUP": 1.0, "MSTR_RD1": 4, "MSTR_SK1": 0, "MSTR_RD2": 680,
    "MSTR_SK2": 0, "MSTR_RPT": 0, "MSTR_ILV": 0, "SSTR_STP": 680, "SSTR_NST": 3,
}  # fmt: skip
AFTER = ("linearity", "dark_current", "jump", "ramp_fit", "gain_scale")


def planned(steps: dict[str, Any] | None = None, **changes: Any) -> Stage:
    """Return the stage with its engines chosen."""
    file = FileStat("super_uncal.fits", 1, "")
    exposure = Exposure(file, {**KEYWORDS, **changes}, shape=(6, 5, 2048, 684))
    stage = Stage("s", "calwebb_detector1", 1, "super", (Input(file.name, file=file),), exposure=exposure)
    choice = choose(stage, Settings({"steps": steps or {}}, {}), "auto")
    return stage.but(engines=choice.engines, parameters={"steps": steps or {}})


def test_all_steps_are_native_and_each_stripe_is_cut_by_itself() -> None:
    stage = planned()
    assert set(stage.engines.values()) == {"native"}
    before, after = (
        describe_cut(stage, native_steps()).split("; ramps of")[0].rsplit(", of each of 3 superstripes; ", 1)
    )
    assert "superbias+refpix" in before
    assert "linearity" in after
    assert "superstripes" not in after
    ramp = 4 * 2 * 5 * 2048 * 2048
    memory, output = project(stage, (), native_steps())
    assert memory > ramp
    assert output == 3 * 5 * 4 * 2048 * 2048  # an image of the exposure, and of each of two sets of stripes


@pytest.mark.official
def test_what_follows_stripes_that_are_not_put_together_is_official() -> None:
    stage = planned({"refpix": {"skip": True}})
    assert {stage.engines[alias] for alias in ("dq_init", "saturation", "superbias")} == {"native"}
    assert {stage.engines[alias] for alias in AFTER} == {"jwst"}
    stage = planned(MSTR_ILV=1, MSTR_RPT=1)
    assert set(stage.engines.values()) == {"jwst"}
