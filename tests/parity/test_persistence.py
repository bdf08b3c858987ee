"""The native persistence step against the official one: flags bit for bit, and the file for the next exposure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.run.blocks import BoundStep, run_fused
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE
from tests.engines.same import same_model
from tests.parity.synthetic import FULL, Case, flagged_ramps, ramp_model, raw_ramps

pytestmark = pytest.mark.official

FLAG = PIXEL_FLAGS["PERSISTENCE"]


def exposure(case: Case, start: float = 60000.25, table: int | None = None) -> Any:
    """Return ramps, some of which saturate and recover; ``table`` is how many integrations have a time of their own."""
    rng = np.random.default_rng(case.seed)
    flags = flagged_ramps(case)["groupdq"]
    flags[rng.random(case.shape) < 0.05] |= 2
    model = ramp_model(case, raw_ramps(case) | {"groupdq": flags})
    model.meta.exposure.start_time = start
    model.meta.exposure.integration_time = case.info.group_time * case.shape[1] + 3.25
    if table is not None:
        model.int_times = model.get_default("int_times")
        times = np.zeros(table, model.int_times.dtype)
        times["int_start_MJD_UTC"] = start + np.arange(table) * 0.0012 + 0.0001
        model.int_times = times
    return model


def both(model: Any, folder: Path, *, made: int = 1, **parameters: Any) -> Any:
    """Run our class and the official step, each with files of its own; demand the same, and return our result."""
    from jwst.persistence import PersistenceStep

    results = []
    for name, cls in (("ours", step_class("persistence")), ("theirs", PersistenceStep)):
        step = cls()
        step.skip = False
        for parameter, value in parameters.items():
            told = str(folder / name / value) if isinstance(value, str) else value
            (folder / name).mkdir(exist_ok=True)
            setattr(step, parameter, told)
        results.append(step.process(model))
    same_model(*results)
    assert np.count_nonzero((results[0].groupdq & ~model.groupdq) & FLAG) >= made
    return results[0]


CASES = [
    Case(shape=(3, 8, *FULL)),
    Case(shape=(1, 30, 12, 14), nframes=4, groupgap=1, seed=4),
    Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(6, 5, *FULL), seed=5),
]
WINDOWS: list[dict[str, Any]] = [
    {"persistence_time": 15},
    {"persistence_time": 45, "dn_threshold": 20000.0},
    {"persistence_time": 100000, "persistence_dnu": True},
]


@pytest.mark.parametrize("table", [None, 2, 9])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parameters", WINDOWS)
def test_flags(case: Case, parameters: dict[str, Any], table: int | None, tmp_path: Path) -> None:
    both(exposure(case, table=table), tmp_path, made=20, **parameters)


@pytest.mark.parametrize("seconds", [None, 0, -4])
def test_no_time(seconds: int | None, tmp_path: Path) -> None:
    made = both(exposure(CASES[0]), tmp_path, made=0, persistence_time=seconds)
    assert made.meta.cal_step.persistence == "FAILED"


def test_from_one_exposure_to_the_next(tmp_path: Path) -> None:
    """Two detectors and two exposures share a file; a later one of another length of windows starts anew."""
    import asdf

    files = {"save_persistence": "kept.fits", "persistence_array_file": "kept.asdf", "persistence_time": 4000}
    for n, (detector, seed) in enumerate([("NRCA1", 1), ("NRCA2", 2), ("NRCA1", 3), ("NRCA2", 4)]):
        case = replace(CASES[0], detector=detector, seed=seed)
        both(exposure(case, start=60000.0 + 0.01 * n), tmp_path, **files)
        trees = []
        for name in ("ours", "theirs"):
            assert [path.name for path in (tmp_path / name).iterdir()] == ["kept.asdf"]
            with asdf.open(tmp_path / name / "kept.asdf", memmap=False, lazy_load=False) as file:
                trees.append({key: file.tree[key] for key in file.tree if key.startswith("NRC")})
        assert set(trees[0]) == set(trees[1]) == {"NRCA1", "NRCA2"} if n else {"NRCA1"}
        for key, theirs in trees[1].items():
            assert set(trees[0][key]) == set(theirs)
            for field, value in theirs.items():
                assert np.array_equal(trees[0][key][field], value), field
            assert len(theirs["vals"])
    other = both(exposure(CASES[0], start=60000.06), tmp_path, **{**files, "persistence_time": 90})
    alone = both(exposure(CASES[0], start=60000.06), tmp_path, persistence_time=90)
    assert np.array_equal(other.groupdq, alone.groupdq)


def test_windows_of_earlier_exposures_in_any_block(tmp_path: Path) -> None:
    model = exposure(CASES[0], start=60000.01)
    kept = tmp_path / "ours" / "kept.asdf"
    both(exposure(CASES[0], start=60000.0), tmp_path, save_persistence="kept.asdf", persistence_time=4000)
    step = NATIVE["persistence"]
    params = step.params(persistence_time=4000, persistence_array_file=str(kept))
    from calservice.references.load import load_reference

    reference = {"persistence_array_file": load_reference(kept, step.parameter_references[0])}
    arrays = {"data": np.asarray(model.data), "groupdq": np.asarray(model.groupdq)}
    whole, cut = (
        run_fused([BoundStep(step, params, reference)], arrays, exposure_info(model), block_bytes=size)
        for size in (10**9, 20000)
    )
    assert np.array_equal(whole["groupdq"], cut["groupdq"])
    assert not np.array_equal(
        whole["groupdq"], run_fused([BoundStep(step, params, {})], arrays, exposure_info(model))["groupdq"]
    )
