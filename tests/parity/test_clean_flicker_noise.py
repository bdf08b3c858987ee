"""The native cleaning of flicker noise against the official one: same ramps, references and parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.run import models
from calservice.steps.registry import NATIVE
from tests.engines.same import same_files, same_model
from tests.parity.synthetic import Array, Case, ramp_model, write_references
from tests.parity.test_small_steps import saved

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

    for cls in (RampFitStep, step_class("ramp_fit")):
        monkeypatch.setattr(cls, "get_reference_file", lambda self, model, kind: str(tmp_path / f"{kind}.fits"))

    def run(
        case: Case,
        arrays: dict[str, Array] | None = None,
        where: Mapping[str, Any] | None = None,
        references: Mapping[str, str] | None = None,
        change: Callable[[Any], None] | None = None,
        **parameters: Any,
    ) -> tuple[Any, Any]:
        placed = {"name": "SUB256", "fastaxis": 1, "slowaxis": 2, **(where or {})}
        if not (tmp_path / "gain.fits").exists():
            write_references(tmp_path, case, size=case.shape[2:], kinds=("gain", "readnoise"), realistic=True)
        model = ramp_model(case, noisy_ramps(case, abs(placed["slowaxis"])) if arrays is None else arrays)
        for name, value in placed.items():
            setattr(model.meta.subarray, name, value)
        if change is not None:
            change(model)
        made, asked = [], []
        for cls, folder in ((step_class("clean_flicker_noise"), "ours"), (official(), "theirs")):
            (tmp_path / folder).mkdir(exist_ok=True)
            step = cls()
            step.output_dir = str(tmp_path / folder)
            step._hand_over = None  # the official step must not serve
            for kind in cls.reference_file_types:
                setattr(step, f"override_{kind}", (references or {}).get(kind, "N/A"))
            for name, value in parameters.items():
                setattr(step, name, value)
            made.append(step.process(model))
            asked.append(step._reference_files_used)
        assert set(asked[0]) == set(asked[1])  # one that decides on parameters as well is asked for twice
        same_model(*made)
        same_files(tmp_path / "ours", tmp_path / "theirs")
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
    made, given = both(case, where=where, **parameters)
    assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
    changed = np.nanstd(made.data - given.data, axis=(0, 2, 3))
    assert changed[0] == 0
    assert np.all(changed[1:] > 1)


@pytest.mark.parametrize(("shape", "slowaxis"), [((1, 3, 40, 2048), 1), ((1, 3, 40, 2048), 2), ((1, 3, 2048, 36), -1)])
def test_channels(both: Callable[..., Any], shape: tuple[int, int, int, int], slowaxis: int) -> None:
    """Outputs of a full frame have noise of their own, where the slow axis is as long as the detector."""
    case = replace(NIRCAM, shape=shape)
    arrays = noisy_ramps(case, abs(slowaxis))
    where = {"name": "FULL", "slowaxis": slowaxis, "fastaxis": 3 - abs(slowaxis)}
    apart = both(case, arrays, where, fit_by_channel=True)[0].data
    together = both(case, arrays, where)[0].data
    long = shape[2:][abs(slowaxis) - 1] == 2048
    assert np.array_equal(apart, together, equal_nan=True) == (not long)


TIMES = [[3.5], [7.0, 10.5], [14.0, 17.5, 21.0], [40.0], [43.5, 47.0]]
"""Of the reads of groups that are unevenly spaced, in seconds."""


def read_at(times: list[list[float]] | None) -> Callable[[Any], None]:
    """Return what notes the times of reads in an exposure."""

    def change(model: Any) -> None:
        if times is not None:
            model.meta.exposure.read_times = times

    return change


@pytest.mark.parametrize("parameters", [{}, {"single_mask": False, "background_method": "model"}])
def test_uneven_reads(both: Callable[..., Any], tmp_path: Path, parameters: dict[str, Any]) -> None:
    """Of ramps of such groups, drafts are made by likelihood."""
    masks = []
    for case, times in ((NIRCAM, None), (NIRCAM, TIMES), (replace(NIRCAM, shape=(2, 3, *SIZE)), TIMES[:3])):
        made = both(case, change=read_at(times), save_mask=True, **parameters)[0]
        assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
        with datamodels.open(tmp_path / "ours" / "synthetic_mask.fits") as model:
            masks.append(np.array(model.data))
    assert not np.array_equal(masks[0], masks[1])


def flat_field(path: Path, case: Case, hole: float) -> str:
    """Write a flat field with holes."""
    from stdatamodels.jwst.datamodels import FlatModel

    rng = np.random.default_rng(1)
    data = rng.uniform(0.8, 1.2, case.shape[2:]).astype(np.float32)
    data[rng.random(data.shape) < 0.02] = hole
    data[10:50, 20:90] = hole
    return saved(FlatModel(data=data), path / f"flat_{hole}.fits", case.instrument, case.shape[2:])


@pytest.mark.parametrize("hole", [0.0, np.nan, 1.0])
def test_flat_field(both: Callable[..., Any], tmp_path: Path, hole: float) -> None:
    path = flat_field(tmp_path, NIRISS, hole)
    plain = both(NIRISS)[0].data
    for parameters in ({}, {"background_method": "model", "single_mask": False}):
        made = both(NIRISS, references={"flat": path}, apply_flat_field=True, **parameters)[0]
        assert not np.array_equal(made.data, plain, equal_nan=True)
    both(NIRISS, apply_flat_field=True)


def user_mask(folder: Path, shape: tuple[int, ...]) -> str:
    """Write a mask of the background, which is where there is any other number than 0."""
    data = np.random.default_rng(6).choice([0.0, 1.0, -0.5, np.nan], p=[0.3, 0.4, 0.2, 0.1], size=shape)
    model = (datamodels.ImageModel if len(shape) == 2 else datamodels.CubeModel)(data=data.astype(np.float32))
    model.meta.instrument.name, model.meta.exposure.type = "MIRI", "MIR_IMAGE"  # not those of the exposure
    path = str(folder / f"mask{len(shape)}_{shape[0]}_{shape[-1]}.fits")
    model.save(path)
    return path


def test_user_masks(both: Callable[..., Any], tmp_path: Path) -> None:
    for shape, status in (
        (SIZE, "COMPLETE"),
        ((2, *SIZE), "COMPLETE"),
        ((3, *SIZE), "FAILED"),
        ((SIZE[0], SIZE[1] - 1), "FAILED"),
    ):
        given_mask = user_mask(tmp_path, shape)
        made, given = both(NIRCAM, user_mask=given_mask, mask_science_regions=True, save_mask=True)
        assert made.meta.cal_step.clean_flicker_noise == status
        assert np.array_equal(made.data, given.data, equal_nan=True) == (status == "FAILED")
        kept = tmp_path / "ours" / "synthetic_mask.fits"
        if status == "COMPLETE":
            np.testing.assert_array_equal(fits.getdata(kept), fits.getdata(given_mask) != 0)
            kept.unlink()
        assert not kept.exists()
        (tmp_path / "theirs" / "synthetic_mask.fits").unlink(missing_ok=True)
    both(NIRCAM, user_mask="None")


def test_what_cannot_be_cleaned(both: Callable[..., Any]) -> None:
    for case, parameters in (
        (replace(MIRI, exp_type="MIR_MRS"), {}),
        (NIRCAM, {"fit_method": "fft"}),
        (replace(NIRSPEC, exp_type="NRS_LAMP"), {"fit_method": "fft"}),
    ):
        made, given = both(case, **parameters)
        assert made.meta.cal_step.clean_flicker_noise == "FAILED"
        np.testing.assert_array_equal(made.data, given.data)
    case = replace(NIRCAM, shape=(2, 1, *SIZE))
    saved = {"save_mask": True, "save_background": True, "save_noise": True}
    assert both(case, **saved)[0].meta.cal_step.clean_flicker_noise == "COMPLETE"
    arrays = noisy_ramps(NIRCAM)
    arrays["groupdq"][1, 2] |= PIXEL_FLAGS["JUMP_DET"]
    arrays["data"][0, 3] = np.nan
    made, given = both(NIRCAM, arrays)
    np.testing.assert_array_equal(made.data[1, 2], given.data[1, 2])
    assert np.nanstd(made.data[1, 3] - given.data[1, 3]) > 1


def test_slitless_spectra_of_niriss_note_their_traces(both: Callable[..., Any], tmp_path: Path) -> None:
    case = replace(NIRISS, exp_type="NIS_SOSS")
    both(case, where={"name": "SUBSTRIP96"})
    path = tmp_path / "pastasoss.asdf"
    with asdf.AsdfFile({"meta": {}}) as file:
        file.write_to(path)
    step = NATIVE["clean_flicker_noise"]
    need = next(need for need in step.references if need.reftype == "pastasoss")
    assert need.needed(step.params(), replace(case.info, exp_type="NIS_SOSS"))
    assert not need.needed(step.params(), NIRCAM.info)


def stepped(case: Case, *, step: float, tilt: float, turn: float, sources: float, ripple: float) -> dict[str, Array]:
    """Return ramps of an image with steps between channels, slopes along both axes, sources, and uneven lines."""
    rng = np.random.default_rng(12)
    _, ngroups, nrows, ncols = case.shape
    y, x = np.mgrid[:nrows, :ncols]
    along = x if ncols == 2048 else y
    rate = 3 + step * (along // 512) + tilt * x + turn * y + rng.normal(0, ripple, along.shape[-1])[None, :]
    rate = rate + (rng.random(rate.shape) < sources) * 50
    times = 10.73677 * np.arange(1, ngroups + 1)[:, None, None]
    data = rate * times + rng.normal(0, 0.05, case.shape)
    flags = np.zeros(case.shape, np.uint8)
    return {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": np.zeros((nrows, ncols), np.uint32)}


LOOKS: tuple[dict[str, float], ...] = (
    {},
    {"tilt": 2e-4},
    {"tilt": 5e-5, "turn": 4e-5},
    {"step": 0.1},
    {"step": 0.1, "sources": 0.3},
    {"sources": 0.3, "tilt": 3e-5},
    {"step": 0.04, "ripple": 0.1},
)


@pytest.mark.parametrize("case", [replace(NIRCAM, shape=(1, 2, 64, 2048)), replace(NIRISS, shape=(1, 2, 2048, 64))])
def test_automatic_choices(case: Case) -> None:
    from jwst.clean_flicker_noise import autoparam

    from calservice.steps.stage1._flicker_choice import choose

    find = autoparam.nircam_image_parameters if case.instrument == "NIRCAM" else autoparam.niriss_image_parameters
    chosen = set()
    for look in LOOKS:
        data = stepped(case, **{"step": 0, "tilt": 0, "turn": 0, "sources": 0, "ripple": 0, **look})["data"]
        model = datamodels.ImageModel(data=(data[0, 1] - data[0, 0]) / np.float32(10.73677))
        model.meta.subarray.slowaxis = 2
        found = find(model, None)
        theirs = (found["background_method"] == "model", found["fit_by_channel"])
        assert tuple(choose(model.data.copy(), None, replace(case.info, slowaxis=2))) == theirs, look
        chosen.add(theirs)
    assert len(chosen) > 2


def test_automatic_parameters_with_a_flat_field(both: Callable[..., Any], tmp_path: Path) -> None:
    plain = both(NIRISS, autoparam=True)[0].data
    made = both(NIRISS, references={"flat": flat_field(tmp_path, NIRISS, 0.0)}, autoparam=True)[0].data
    assert not np.array_equal(made, plain, equal_nan=True)
    both(replace(NIRISS, exp_type="NIS_AMI"), autoparam=True)


@pytest.mark.parametrize(
    ("case", "parameters"),
    [
        (NIRCAM, {}),
        (NIRCAM, {"single_mask": False, "background_method": "model"}),
        (MIRI, {"background_method": None}),
    ],
)
def test_optional_products(both: Callable[..., Any], tmp_path: Path, case: Case, parameters: dict[str, Any]) -> None:
    made, given = both(case, save_mask=True, save_background=True, save_noise=True, **parameters)
    kept = {}
    for suffix in ("mask", "flicker_bkg", "flicker_noise"):
        with datamodels.open(tmp_path / "ours" / f"synthetic_{suffix}.fits") as model:
            kept[suffix] = np.array(model.data)
    assert kept["mask"].shape == (SIZE if parameters.get("single_mask", True) else (2, *SIZE))
    assert 0.5 < kept["mask"].mean() < 1
    assert np.all(kept["flicker_bkg"][:, 0] == 0)
    assert bool(kept["flicker_bkg"].any()) == (parameters.get("background_method", "median") is not None)
    np.testing.assert_array_equal(kept["flicker_noise"], made.data - given.data)


def test_rates(tmp_path: Path) -> None:
    """The official step serves them, from files and from models."""
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 0.2, (3, SIZE[0], 1)) + rng.normal(1, 0.1, (3, *SIZE))
    for name, data in (("rate", noise[0]), ("rateints", noise)):
        model = (datamodels.CubeModel if data.ndim == 3 else datamodels.ImageModel)(data=data.astype(np.float32))
        model.dq = np.zeros(data.shape, np.uint32)
        model.update(ramp_model(NIRCAM, {"data": np.zeros((1, 2, *SIZE), np.float32)}))
        model.meta.subarray.name, model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = "SUB256", 1, 2
        model.save(str(tmp_path / f"x_{name}.fits"))
        for given in (model, str(tmp_path / f"x_{name}.fits")):
            made = []
            for cls in (step_class("clean_flicker_noise"), official()):
                step = cls()
                step.override_flat = "N/A"
                made.append(step.process(given))
            same_model(*made)
            assert np.std(made[0].data - model.data) > 0.1


def test_rates_and_other_cases_are_the_official_steps() -> None:
    step = NATIVE["clean_flicker_noise"]
    assert step.supports(step.params(), replace(NIRCAM.info, num_superstripe=2))
    assert not models.suits(step, datamodels.ImageModel((4, 4)))
