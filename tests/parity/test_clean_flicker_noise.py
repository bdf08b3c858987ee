"""The native cleaning of flicker noise against the official one: same ramps, references and parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.steps.registry import NATIVE
from tests.engines.same import same_model
from tests.parity.synthetic import Array, Case, ramp_model, write_references

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|All-NaN|Mean of|Covariance).*"),
]

SIZE = (96, 120)
NIRCAM = Case(shape=(2, 5, *SIZE))
NIRISS = Case("NIRISS", "NIS", "NIS_IMAGE", shape=(1, 4, *SIZE), seed=2)
MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 5, *SIZE), seed=3)
NIRSPEC = Case("NIRSPEC", "NRS1", "NRS_BRIGHTOBJ", shape=(2, 4, 32, 160), seed=4)


def noisy_ramps(case: Case, slowaxis: int = 2) -> dict[str, Array]:
    """Return ramps of a few sources on a sloping background, with noise that lines have in common, hits and flags."""
    rng = np.random.default_rng(case.seed + 3000)
    nints, ngroups, nrows, ncols = case.shape
    y, x = np.mgrid[:nrows, :ncols]
    rate = 2 + 0.6 * x / ncols + 0.3 * y / nrows
    for _ in range(9):
        away = np.hypot(y - rng.uniform(0, nrows), x - rng.uniform(0, ncols))
        rate = rate + rng.uniform(5, 400) * np.exp(-((away / 2) ** 2))
    data = 300 + rate * 10 * np.arange(1, ngroups + 1)[:, None, None] + rng.normal(0, 3, case.shape)
    across = (nints, ngroups, nrows, 1) if slowaxis == 2 else (nints, ngroups, 1, ncols)
    data += rng.normal(0, 4, across)
    hits = rng.random(case.shape) < 0.004
    data += np.cumsum(hits * rng.uniform(50, 3000, case.shape), axis=1)
    flags = np.zeros(case.shape, np.uint8)
    flags[hits] = PIXEL_FLAGS["JUMP_DET"]
    flags[rng.random(case.shape) < 0.002] |= PIXEL_FLAGS["SATURATED"] | PIXEL_FLAGS["DO_NOT_USE"]
    flags[:, :, :, 7] |= PIXEL_FLAGS["DO_NOT_USE"]
    data[rng.random(case.shape) < 0.001] = np.nan
    return {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": np.zeros((nrows, ncols), np.uint32)}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return what runs our class and the official step on an exposure, and demands the same of both."""
    from jwst.ramp_fitting import RampFitStep

    def run(case: Case, arrays: dict[str, Array] | None = None, **parameters: Any) -> tuple[Any, Any]:
        where = parameters.pop("where", {})
        references = parameters.pop("references", {})
        slowaxis = where.get("slowaxis", 2)
        if not (tmp_path / "gain.fits").exists():
            write_references(tmp_path, case, size=case.shape[2:], kinds=("gain", "readnoise"), realistic=True)
        for cls in (RampFitStep, step_class("ramp_fit")):
            monkeypatch.setattr(cls, "get_reference_file", lambda self, model, kind: str(tmp_path / f"{kind}.fits"))
        model = ramp_model(case, noisy_ramps(case, abs(slowaxis)) if arrays is None else arrays)
        for name, value in {"name": "SUB256", "fastaxis": 1, "slowaxis": 2, **where}.items():
            setattr(model.meta.subarray, name, value)
        made, asked = [], []
        for cls in (step_class("clean_flicker_noise"), official()):
            step = cls()
            for kind in cls.reference_file_types:
                setattr(step, f"override_{kind}", references.get(kind, "N/A"))
            for name, value in parameters.items():
                setattr(step, name, value)
            made.append(step.process(model))
            asked.append(step._reference_files_used)
        assert asked[0] == asked[1]
        same_model(*made)
        return made[0], model

    return run


def official() -> Any:
    from jwst.clean_flicker_noise import CleanFlickerNoiseStep

    return CleanFlickerNoiseStep


@pytest.mark.parametrize(
    ("case", "where", "parameters"),
    [
        (NIRCAM, {}, {}),
        (NIRCAM, {"slowaxis": -1, "fastaxis": 2}, {"single_mask": False}),
        (NIRCAM, {}, {"background_method": "model"}),
        (NIRCAM, {}, {"background_method": "model", "background_box_size": [25, 17], "n_sigma": 3.0}),
        (NIRCAM, {}, {"background_method": None, "single_mask": False}),
        (NIRCAM, {}, {"background_method": "none", "n_sigma": 0.0}),
        (NIRCAM, {}, {"n_sigma": 0.0}),
        (NIRCAM, {}, {"fit_histogram": True, "n_sigma": 1.5}),
        (NIRISS, {}, {"fit_by_channel": True, "mask_science_regions": True}),
        (MIRI, {}, {"fit_by_channel": True}),
        (MIRI, {}, {"single_mask": False, "background_method": "model"}),
        (NIRSPEC, {"slowaxis": 1, "fastaxis": 2}, {}),
    ],
)
def test_medians(both: Callable[..., Any], case: Case, where: dict[str, Any], parameters: dict[str, Any]) -> None:
    assert (
        NATIVE["clean_flicker_noise"].supports(step_class("clean_flicker_noise").native.params(**parameters), case.info)
        is None
    )
    made, given = both(case, where=where, **parameters)
    assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
    changed = np.nanstd(made.data - given.data, axis=(0, 2, 3))
    assert changed[0] == 0
    assert np.all(changed[1:] > 1)
