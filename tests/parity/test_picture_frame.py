"""The native correction of the picture frame against the official one: same ramps, reference and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.steps.registry import NATIVE
from tests.engines.same import same_files, same_model
from tests.parity.synthetic import Array, Case, ramp_model, write_references
from tests.parity.test_clean_flicker_noise import TIMES, read_at
from tests.parity.test_small_steps import saved

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|All-NaN|Mean of).*"),
]

SIZE = (200, 230)
CASE = Case("NIRSPEC", "NRS1", "NRS_IFU", shape=(2, 4, *SIZE), seed=4)
"""Stands for a full frame: it has the first edges and a part of the center."""


def framed_ramps(case: Case, frame: Array) -> dict[str, Array]:
    """Return ramps with a picture frame of another strength in each group, a few sources, flags and NaNs."""
    rng = np.random.default_rng(case.seed)
    nints, ngroups = case.shape[:2]
    rate = 0.2 + (rng.random(frame.shape) < 0.05) * rng.uniform(1, 50, frame.shape)
    strength = rng.uniform(1, 9, (nints, ngroups, 1, 1))
    data = rate * 10 * np.arange(1, ngroups + 1)[:, None, None] + strength * frame + rng.normal(30, 2, case.shape)
    data[rng.random(case.shape) < 0.001] = np.nan
    flags = (rng.random(case.shape) < 0.01).astype(np.uint8) * np.uint8(PIXEL_FLAGS["JUMP_DET"])
    return {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": np.zeros(frame.shape, np.uint32)}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what runs our class and the official step on an exposure, and demands the same of both."""
    from jwst.picture_frame import PictureFrameStep
    from jwst.ramp_fitting import RampFitStep
    from stdatamodels.jwst.datamodels import PictureFrameModel

    for cls in (RampFitStep, step_class("ramp_fit")):
        monkeypatch.setattr(cls, "get_reference_file", lambda self, model, kind: str(tmp_path / f"{kind}.fits"))

    def run(
        case: Case,
        subarray: str = "FULL",
        empty: bool = False,
        absent: bool = False,
        larger: int = 0,
        change: Callable[[Any], None] | None = None,
        **parameters: Any,
    ) -> Any:
        size = case.shape[2:]
        write_references(tmp_path, case, size=size, kinds=("gain", "readnoise"), realistic=True)
        y, x = np.mgrid[: size[0], : size[1]]
        frame = (np.hypot(y - 120, x - 140) / 40 + np.random.default_rng(1).normal(0, 0.1, size)).astype(np.float32)
        frame[:, 50] = np.nan
        reference = PictureFrameModel(data=np.pad(frame, ((0, larger), (0, 0))))
        path = saved(reference, tmp_path / "pictureframe.fits", "NIRSPEC")
        arrays = framed_ramps(case, np.nan_to_num(frame))
        if empty:
            arrays["data"][:, :, 76:, 76:] = np.nan
        model = ramp_model(case, arrays)
        model.meta.subarray.name = subarray
        if change is not None:
            change(model)
        made, asked = [], []
        for cls, folder in ((step_class("picture_frame"), "ours"), (PictureFrameStep, "theirs")):
            (tmp_path / folder).mkdir(exist_ok=True)
            step = cls(mask_science_regions=False, **parameters)
            step.output_dir = str(tmp_path / folder)
            step._hand_over = None  # the official step must not serve
            step.override_pictureframe = "N/A" if absent else path
            made.append(step.process(model))
            asked.append(step._reference_files_used)
        assert asked[0] == asked[1]
        same_model(*made)
        same_files(tmp_path / "ours", tmp_path / "theirs")
        return made[0], model

    return run


@pytest.mark.parametrize(
    ("case", "n_sigma"),
    [(CASE, 2.0), (CASE, 0.0), (replace(CASE, shape=(1, 2, *SIZE), detector="NRS2", exp_type="NRS_MSASPEC"), 3.0)],
)
def test_ramps(both: Callable[..., Any], case: Case, n_sigma: float) -> None:
    made, given = both(case, n_sigma=n_sigma)
    assert made.meta.cal_step.picture_frame == "COMPLETE"
    changed = np.nanstd(made.data - given.data, axis=(2, 3))
    assert np.all(changed[:, 0] == 0)
    assert np.all(changed[:, 1:] > 0.05)


def test_uneven_reads(both: Callable[..., Any], tmp_path: Path) -> None:
    masks = []
    for times in (None, TIMES[:4]):
        made = both(CASE, change=read_at(times), save_mask=True)[0]
        assert made.meta.cal_step.picture_frame == "COMPLETE"
        masks.append(np.array(datamodels.open(tmp_path / "ours" / "synthetic_pctfrm_mask.fits").data))
    assert not np.array_equal(*masks)


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (CASE, {"empty": True}),
        (CASE, {"absent": True}),
        (CASE, {"subarray": "SUB512"}),
        (CASE, {"subarray": "SUB512", "larger": 7}),
        (replace(CASE, shape=(2, 1, *SIZE)), {}),
        (replace(CASE, instrument="NIRCAM", detector="NRCA1", exp_type="NRC_IMAGE"), {}),
    ],
)
def test_what_has_no_picture_frame(both: Callable[..., Any], case: Case, options: dict[str, Any]) -> None:
    made, given = both(case, **options)
    assert made.meta.cal_step.picture_frame == "SKIPPED"
    np.testing.assert_array_equal(made.data, given.data)


@pytest.mark.parametrize("empty", [False, True])
def test_optional_products(both: Callable[..., Any], tmp_path: Path, empty: bool) -> None:
    """Where there is no background to scale to, there is a mask but no correction."""
    both(CASE, empty=empty, save_mask=True, save_correction=True)
    names = {path.name for path in (tmp_path / "ours").iterdir()}
    correction = set() if empty else {"synthetic_pctfrm_correction.fits"}
    assert names == {"synthetic_pctfrm_mask.fits", *correction}


def test_regions_of_the_detector() -> None:
    from jwst.picture_frame.picture_frame import _region_masks

    from calservice.steps.stage1._picture_frame_kernels import regions

    background = np.random.default_rng(2).random((2048, 2048)) < 0.7
    for ours, theirs in zip(regions(background), _region_masks(background), strict=True):
        np.testing.assert_array_equal(ours, np.flatnonzero(theirs))


def test_what_the_official_step_serves() -> None:
    step, info = NATIVE["picture_frame"], replace(CASE.info, subarray="FULL")
    assert step.supports(step.params(), info) == "mask_science_regions"
    assert step.supports(step.params(mask_science_regions=False), info) is None
    assert step.supports(step.params(), replace(info, subarray="SUB512")) is None
