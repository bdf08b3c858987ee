"""Medians of integrations as the background of flicker noise, against the official step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from calservice.model.dqflags import PIXEL_FLAGS
from calservice.steps.registry import NATIVE
from tests.parity import test_clean_flicker_noise as flicker
from tests.parity.synthetic import Case
from tests.peer.context import make_model

pytestmark = flicker.pytestmark

both = flicker.both
MIRI, NIRCAM, NIRISS, SIZE = flicker.MIRI, flicker.NIRCAM, flicker.NIRISS, flicker.SIZE
BY_MEDIAN = {"background_method": "median_image"}


@pytest.fixture
def without_wcs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the official step take draft rates as if they had got a WCS, and flags of a flat field."""
    from jwst.assign_wcs import AssignWcsStep
    from jwst.flatfield import FlatFieldStep

    def flagged(self: Any, model: Any) -> Any:
        made = model.copy()
        made.dq[..., ::3] |= PIXEL_FLAGS["DO_NOT_USE"]
        return made

    monkeypatch.setattr(AssignWcsStep, "process", lambda self, model: model)
    monkeypatch.setattr(FlatFieldStep, "process", flagged)


@pytest.mark.parametrize(
    ("case", "parameters"),
    [
        (NIRCAM, {"save_background": True}),
        (replace(NIRCAM, shape=(3, 1, *SIZE)), {"single_mask": False, "save_background": True}),
        (replace(NIRCAM, shape=(4, 3, *SIZE)), {"apply_flat_field": True, "n_sigma": 0.0}),
        (MIRI, {"fit_histogram": True, "save_noise": True}),
        (replace(NIRISS, shape=(2, 3, *SIZE), exp_type="NIS_AMI"), {"autoparam": True}),
        (replace(NIRISS, shape=(2, 3, *SIZE)), {"autoparam": True}),  # which chooses another method
    ],
)
@pytest.mark.usefixtures("without_wcs")
def test_medians_of_integrations(
    both: Callable[..., Any], tmp_path: Path, case: Case, parameters: dict[str, Any]
) -> None:
    nrows, ncols = case.shape[2:]
    arrays = flicker.noisy_ramps(case)
    arrays["data"] *= np.linspace(1, 1.3, case.shape[0], dtype=np.float32)[:, None, None, None]  # a bright one
    arrays["data"][:, :, 3, 4] = np.nan
    arrays["data"][0, :, nrows - 2, ncols - 9] = np.nan
    references = {"flat": flicker.flat_field(tmp_path, case, 0.0)} if "apply_flat_field" in parameters else None
    made, given = both(case, arrays, None, references, **BY_MEDIAN, **parameters)
    assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
    first = np.nanstd(made.data[:, 0] - given.data[:, 0])
    assert first > 0.3 if made.meta.exposure.type != "NIS_IMAGE" else first == 0


@pytest.mark.parametrize(
    "levels",
    [
        (2, 3, 5, 4),
        (2, np.nan, 5),
        (2, np.inf, 5),
        (-1, 0, 1),
        (1, np.inf, np.inf),
        (0, 0, 2),
        (np.nan, np.nan),
        (3, 0),
    ],
)
def test_scales_of_integrations(levels: tuple[float, ...]) -> None:
    """Scaled medians where levels are not finite, or their median vanishes; NaN where the official one is none."""
    from jwst.clean_flicker_noise.tso_median_image import make_median_image

    from calservice.steps.stage1._flicker_median import median_ramp, scales

    data = np.random.default_rng(3).normal(50, 9, (len(levels), 2, 5, 6)).astype(np.float32)
    data[0, :, 0] = np.nan
    data[:, 1, 1] = np.nan
    rates = data[:, 0] - data[:, 0] + np.array(levels, np.float32)[:, None, None]
    ours = median_ramp(data) * scales(rates)[:, None, None, None]
    models = datamodels.RampModel(data=data), datamodels.CubeModel(data=rates)
    for model in models:
        model.meta.exposure.type = "NRC_IMAGE"
    try:
        np.testing.assert_array_equal(ours, make_median_image(*models))
    except ValueError:
        assert np.isnan(ours).all()


def test_a_median_with_a_wcs(both: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The WCS that the official step assigns to draft rates changes nothing of what it makes of an image."""
    from jwst.assign_wcs import AssignWcsStep

    make_model("distortion", "nircam").save(str(tmp_path / "distortion.asdf"))
    places = {"distortion": str(tmp_path / "distortion.asdf")}
    monkeypatch.setattr(AssignWcsStep, "get_reference_file", lambda self, model, kind: places.get(kind, "N/A"))

    def change(model: Any) -> None:
        where, how = model.meta.wcsinfo, model.meta.instrument
        where.v2_ref, where.v3_ref, where.v3yangle, where.vparity = 120.0, -500.0, 0.0, -1
        where.ra_ref, where.dec_ref, where.roll_ref = 80.0, -69.0, 10.0
        how.pupil, how.filter, how.channel, how.module = "CLEAR", "F200W", "SHORT", "A"

    made, _ = both(NIRCAM, change=change, save_background=True, save_noise=True, **BY_MEDIAN)
    assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"


@pytest.mark.usefixtures("without_wcs")
def test_medians_that_cannot_be_taken(both: Callable[..., Any], tmp_path: Path) -> None:
    """One integration, or none of which it is known how bright it is; one that is not counts as the median."""
    made = both(NIRISS, save_mask=True, save_background=True, **BY_MEDIAN)[0]
    assert made.meta.cal_step.clean_flicker_noise == "FAILED"
    dark, one = flicker.noisy_ramps(NIRCAM), flicker.noisy_ramps(NIRCAM)
    dark["groupdq"][:, 1:] = PIXEL_FLAGS["DO_NOT_USE"]
    one["groupdq"][1, 1:] = PIXEL_FLAGS["DO_NOT_USE"]
    for arrays, status in ((dark, "FAILED"), (one, "COMPLETE")):
        made = both(NIRCAM, arrays, user_mask=flicker.user_mask(tmp_path, SIZE), save_background=True, **BY_MEDIAN)[0]
        assert made.meta.cal_step.clean_flicker_noise == status


def test_what_takes_a_wcs_is_the_official_steps() -> None:
    step = NATIVE["clean_flicker_noise"]
    by_median = step.params(**BY_MEDIAN)
    for info in (
        flicker.NIRSPEC.info,
        replace(NIRCAM.info, exp_type="NRC_TSIMAGE"),
        replace(MIRI.info, tsovisit=True),
    ):
        assert step.supports(by_median, info)
        assert step.supports(step.params(), info) is None
    assert step.supports(step.params(save_mask=True, **BY_MEDIAN), NIRCAM.info)
    assert step.supports(by_median, NIRCAM.info) is None
    assert step.supports(by_median, MIRI.info) is None
