"""The native emicorr step against the official one: both algorithms, subarrays and read patterns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.engines.strun import step_class
from calservice.steps.stage1._emicorr_case import _CLOCKS
from tests.engines.same import same_model
from tests.parity.synthetic import Array, Case, ramp_model

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|Mean of|All-NaN|Degrees) .*:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Input data contains invalid values"),
    pytest.mark.filterwarnings("ignore:The 'user_supplied_reffile'"),
]

WAVES = {"Hz390": (390.625, 64), "Hz10": (10.039216, 100), "Hz10_slow_MIRIMAGE": (10.039216, 80)}
NAMES = {"FAST": ["Hz390", "Hz10"], "SLOW": {"MIRIMAGE": ["Hz390", "Hz10_slow_MIRIMAGE"], "MIRIFULONG": ["Hz390"]}}


def wave(name: str) -> Array:
    """Return one period of a wave."""
    phases = np.arange(WAVES[name][1]) / WAVES[name][1]
    rough = np.random.default_rng(len(name)).normal(0, 0.2, phases.size)
    return np.asarray(np.sin(2 * np.pi * phases) + 0.4 * np.sin(4 * np.pi * phases + 1) + rough, np.float32)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a reference of all subarrays but one."""
    from stdatamodels.jwst.datamodels import EmiModel

    model = EmiModel()
    model.frequencies = {n: {"frequency": value, "phase_amplitudes": wave(n)} for n, (value, _) in WAVES.items()}
    model.subarray_cases = {
        name: {"rowclocks": row, "frameclocks": frame, "freqs": NAMES if name != "SUB128" else {"SLOW": {}}}
        for name, (row, frame) in _CLOCKS.items()
        if name != "SUB256"
    }
    model.meta.author, model.meta.description, model.meta.pedigree = "test", "synthetic", "GROUND"
    model.meta.useafter = "2024-01-01T00:00:00"
    path = tmp_path_factory.mktemp("emicorr") / "emi.asdf"
    model.save(str(path))
    return path


def exposure(shape: tuple[int, ...], subarray: str = "SUB64", readpatt: str = "FASTR1", **told: Any) -> Any:
    """Return ramps with interference, a few of whose pixels are flagged."""
    nints, ngroups, nrows, ncols = shape
    case = Case("MIRI", told.pop("detector", "MIRIMAGE"), "MIR_IMAGE", shape=(nints, ngroups, nrows, ncols))
    rng = np.random.default_rng(sum(shape))
    rate = np.exp(rng.normal(1, 1, (nrows, ncols)))
    data = 9000 + rate * np.arange(1, ngroups + 1)[:, None, None] + rng.normal(0, 2, shape)
    row, frame = _CLOCKS.get(subarray) or _CLOCKS["FULL_SLOW" if "SLOW" in readpatt else "FULL_FAST"]
    samples = 9 if "SLOW" in readpatt else 1
    pixels = np.arange(nrows)[:, None] * row + np.arange(ncols // 4) * samples
    starts = np.arange(nints * ngroups).reshape(nints, ngroups) * (nrows * row + 7 * (1024 - nrows))
    starts = starts + np.arange(nints)[:, None] * (frame if readpatt.endswith("R1") else 0)
    for name in ("Hz390", "Hz10"):
        value, length = WAVES[name]
        phases = ((starts[:, :, None, None] + pixels) * value * 1e-5 + 0.3) % 1
        data += 4 * np.repeat(wave(name)[(phases * length).astype(int)], 4, axis=-1)
    flags = (rng.random((nrows, ncols)) < 0.02).astype(np.uint32)
    model = ramp_model(case, {"data": data.astype(np.float32), "pixeldq": flags})
    model.meta.subarray.name, model.meta.exposure.readpatt = subarray, readpatt
    model.meta.exposure.nsamples = samples
    model.meta.subarray.xstart, model.meta.subarray.xsize = told.pop("xstart", 1), ncols
    return model


def both(model: Any, reference: Path | str, **parameters: Any) -> Any:
    """Run our class and the official step on a model; demand the same, and return it."""
    from jwst.emicorr import EmiCorrStep

    results = []
    for cls in (step_class("emicorr"), EmiCorrStep):
        step = cls()
        for name, value in {"skip": False, "override_emicorr": str(reference), **parameters}.items():
            setattr(step, name, value)
        results.append(step.process(model))
    same_model(*results)
    return results[0]


TOGETHER: list[dict[str, Any]] = [
    {"scale_reference": False, "nbins": 40},
    {"nints_to_phase": 7, "use_n_cycles": 5},
    {"use_n_cycles": 60, "nbins": 100},
]


@pytest.mark.parametrize("parameters", TOGETHER)
def test_parameters_that_meet(parameters: dict[str, Any], reference: Path) -> None:
    before = exposure((3, 12, 40, 72))
    made = both(before, reference, algorithm="sequential", **parameters)
    assert made.meta.cal_step.emicorr == "COMPLETE"
    assert np.abs(made.data - before.data).max() > 2


SUBARRAYS = [(name, "FASTR1") for name in _CLOCKS if not name.startswith("FULL") and name not in ("SUB128", "SUB256")]
OTHERS = [("SUB64", "SLOWR1"), ("FULL", "FAST"), ("FULL", "SLOW"), ("FULL", "SLOWR1")]


@pytest.mark.parametrize(
    ("subarray", "readpatt", "algorithm"),
    [*((*one, "joint") for one in SUBARRAYS + OTHERS), *((*one, "sequential") for one in OTHERS)],
)
def test_readouts(subarray: str, readpatt: str, algorithm: str, reference: Path) -> None:
    """The full frame reaches the reference pixels of the last column, which are read late."""
    ncols = 1032 if subarray == "FULL" else 40
    made = both(exposure((2, 5, 24, ncols), subarray, readpatt), reference, algorithm=algorithm)
    assert made.meta.cal_step.emicorr == "COMPLETE"
    assert not np.array_equal(made.data, exposure((2, 5, 24, ncols), subarray, readpatt).data)


@pytest.mark.parametrize("separately", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 48, 56), (1, 5, 256, 24)], ids=["half a period", "whole periods"])
def test_groups_in_step_with_the_wave(shape: tuple[int, ...], separately: bool, reference: Path) -> None:
    """Two phases, or all, then leave ramps equally straight, and rounding decides."""
    subarray = "FULL" if shape[2] == 48 else "MASK1550"
    both(exposure(shape, subarray), reference, fit_ints_separately=separately)


def test_bins_without_a_value(reference: Path) -> None:
    """More bins than phases at which pixels are read: nothing is subtracted."""
    before = exposure((1, 5, 24, 40))
    made = both(before, reference, onthefly_corr_freq=[390.625], nbins=600)
    assert np.array_equal(made.data, before.data)


@pytest.mark.parametrize(
    "model",
    [
        exposure((1, 5, 16, 24), "SUB256"),
        exposure((1, 5, 16, 24), "SUB128"),
        exposure((1, 5, 16, 24), readpatt="SLOW", detector="MIRIFUSHORT"),
        exposure((1, 2, 16, 24)),
        exposure((1, 5, 16, 24), readpatt="FASTGRPAVG"),
    ],
    ids=["subarray", "speed", "detector", "groups", "pattern"],
)
def test_skipped(model: Any, reference: Path) -> None:
    made = both(model, reference)
    assert made.meta.cal_step.emicorr == "SKIPPED"
    assert np.array_equal(made.data, model.data)


def test_skipped_without_a_reference() -> None:
    assert both(exposure((1, 5, 16, 24)), "N/A").meta.cal_step.emicorr == "SKIPPED"
    other = ramp_model(Case(), {"data": np.zeros(Case().shape, np.float32)})
    assert both(other, "N/A").meta.cal_step.emicorr == "SKIPPED"


@pytest.mark.parametrize("algorithm", ["joint", "sequential"])
def test_values_that_are_no_numbers(algorithm: str, reference: Path) -> None:
    model = exposure((2, 8, 24, 40))
    model.data[0, 3, 7, 30] = np.nan
    model.data[1, :, 9] = np.inf
    theirs = both(model, reference, algorithm=algorithm)
    assert not np.isfinite(theirs.data).all()


@pytest.mark.parametrize("algorithm", ["joint", "sequential"])
def test_fewest_groups_and_no_usable_pixel(algorithm: str, reference: Path) -> None:
    few = exposure((1, 4, 24, 40))
    both(few, reference, algorithm=algorithm)
    few.pixeldq[:] = 1
    both(few, reference, algorithm=algorithm)


def test_reference_as_parameter_and_as_model(reference: Path) -> None:
    from stdatamodels.jwst.datamodels import EmiModel

    model = exposure((1, 6, 24, 40))
    expected = both(model, reference).data
    assert np.array_equal(both(model, "N/A", user_supplied_reffile=str(reference)).data, expected)
    step = step_class("emicorr")()
    step.override_emicorr = EmiModel(str(reference))
    assert np.array_equal(step.process(model).data, expected)


@pytest.mark.parametrize("readpatt", ["FASTR1", "SLOW"])
def test_saved_waves(readpatt: str, reference: Path, tmp_path: Path) -> None:
    """The waves found are written as a reference, which then serves."""
    import asdf

    model = exposure((2, 10, 24, 40), readpatt=readpatt)
    trees = []
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    from jwst.emicorr import EmiCorrStep

    for folder, cls in (("ours", step_class("emicorr")), ("theirs", EmiCorrStep)):
        step = cls()
        step.onthefly_corr_freq, step.save_intermediate_results = [390.625, 10.039216], True
        step.output_dir, step.output_file = str(tmp_path / folder), "mine.fits"
        step.process(model)
        (name,) = os.listdir(tmp_path / folder)
        assert name == "mine_emi_ref_waves.asdf"
        with asdf.open(tmp_path / folder / name, memmap=False, lazy_load=False) as file:
            trees.append({key: file.tree[key] for key in ("meta", "frequencies", "subarray_cases")})
    ours, theirs = trees
    assert ours["subarray_cases"] == theirs["subarray_cases"]
    assert set(ours["frequencies"]) == set(theirs["frequencies"]) == {"390.625", "10.039216"}
    for name, found in theirs["frequencies"].items():
        assert ours["frequencies"][name]["frequency"] == found["frequency"]
        waves = (mine["frequencies"][name]["phase_amplitudes"] for mine in trees)
        np.testing.assert_allclose(*waves, rtol=1e-5, atol=1e-7)
    plain = [{k: v for k, v in tree["meta"].items() if k not in ("date", "useafter")} for tree in trees]
    assert plain[0] == plain[1]
