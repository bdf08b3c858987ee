"""The native jump step against the official one: same ramps, references and parameters, flags bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import InputError
from calservice.run.blocks import run_fused
from calservice.steps.registry import NATIVE
from tests.parity.hits import hit_ramps, large_events
from tests.parity.synthetic import (
    FULL,
    Case,
    bind,
    ramp_model,
    run_official,
    same,
    write_references,
)

pytestmark = pytest.mark.official

MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)
KEYWORDS = ("primary_cosmic_rays", "extended_emission_events")


def both(case: Case, arrays: Mapping[str, Any], folder: Path, **parameters: Any) -> tuple[dict[str, Any], Any]:
    """Return what the native and the official step make; metadata of the first are among its arrays."""
    if not (folder / "gain.fits").exists():
        write_references(folder, case, kinds=("gain", "readnoise"))  # of the size that subarrays are cut from
    paths = {kind: folder / f"{kind}.fits" for kind in ("gain", "readnoise")}
    assert NATIVE["jump"].supports(NATIVE["jump"].params(**parameters), case.info) is None
    source = {name: array.copy() for name, array in arrays.items()}
    for array in source.values():
        array.flags.writeable = False
    told: dict[str, Any] = {}
    bound = [bind("jump", case, paths, parameters)]
    made: dict[str, Any] = run_fused(bound, source, case.info, threads=2, block_bytes=30000, metadata=told)
    return made | told, run_official("jump", ramp_model(case, arrays), paths, parameters)


def check(case: Case, arrays: Mapping[str, Any], folder: Path, **parameters: Any) -> int:
    """Compare flags and keywords; return how many groups have a jump that had none before."""
    ours, theirs = both(case, arrays, folder, **parameters)
    for name in ("groupdq", "pixeldq"):
        same(ours[name], np.asarray(getattr(theirs, name)), name)
    for name in KEYWORDS:
        assert ours.get(f"meta.exposure.{name}") == getattr(theirs.meta.exposure, name), name
    assert theirs.meta.cal_step.jump == "COMPLETE"
    jump = PIXEL_FLAGS["JUMP_DET"]
    return int(np.count_nonzero(ours["groupdq"] & ~arrays["groupdq"] & jump))


ONE_BY_ONE: list[tuple[Case, dict[str, Any]]] = [
    (Case(), {}),
    (Case(shape=(1, 3, *FULL)), {}),
    (Case(shape=(2, 4, *FULL), nframes=8), {"three_group_rejection_threshold": 3, "four_group_rejection_threshold": 2}),
    (Case(shape=(1, 17, 23, 41), start=(9, 12), nframes=4), {"min_diffs_single_pass": 17}),
    (replace(MIRI, shape=(7, 6, *FULL)), {"rejection_threshold": 2.5, "max_jump_to_flag_neighbors": 40}),
    (Case(shape=(1, 8, *FULL)), {"rejection_threshold": 0, "flag_4_neighbors": False}),
]
AT_ONCE: list[tuple[Case, dict[str, Any]]] = [
    (Case(shape=(1, 11, *FULL)), {}),
    (Case(shape=(1, 4, *FULL), nframes=4), {"min_diffs_single_pass": 3, "min_jump_to_flag_neighbors": 2}),
    (replace(MIRI, shape=(2, 40, 24, 30)), {"rejection_threshold": 3}),
    (replace(MIRI, shape=(1, 13, *FULL)), {"flag_4_neighbors": False}),
]
CLIPPED: list[tuple[Case, dict[str, Any]]] = [
    (Case(shape=(12, 4, *FULL)), {"minimum_sigclip_groups": 12, "rejection_threshold": 2}),
    (replace(MIRI, shape=(101, 3, 8, 9)), {}),
    (Case(shape=(5, 6, *FULL)), {"minimum_sigclip_groups": 20, "only_use_ints": False, "rejection_threshold": 1.5}),
    (Case(shape=(3, 6, *FULL)), {"minimum_sigclip_groups": 19, "only_use_ints": False}),
]
FOLLOWED = {"after_jump_flag_dn1": 100, "after_jump_flag_time1": 25, "after_jump_flag_dn2": 2e3}
AFTER: list[tuple[Case, dict[str, Any]]] = [
    (Case(shape=(2, 9, *FULL)), {**FOLLOWED, "after_jump_flag_time2": 60}),
    (replace(MIRI, shape=(1, 70, 12, 14)), {**FOLLOWED, "after_jump_flag_time2": 590}),
    (Case(), {"after_jump_flag_time1": 11}),
]


READS = (3.0, 5.0, 80.0, 81.0, 400.0)
"""Explicit read times, which change nothing."""
READ = [
    (replace(case, read_times=READS), parameters)
    for case, parameters in (ONE_BY_ONE[2], AT_ONCE[0], CLIPPED[0], CLIPPED[2], AFTER[0])
]


@pytest.mark.parametrize(("case", "parameters"), ONE_BY_ONE + AT_ONCE + CLIPPED + AFTER + READ)
def test_jumps(tmp_path: Path, case: Case, parameters: dict[str, Any]) -> None:
    assert check(case, hit_ramps(case), tmp_path, **parameters)
    check(case, hit_ramps(case, kept=1), tmp_path, **parameters)


@pytest.mark.parametrize("name", ["DO_NOT_USE", "SATURATED"])
def test_groups_without_a_usable_pixel(tmp_path: Path, name: str) -> None:
    """They decide on the way that jumps are found, and whether any are looked for."""
    case = Case(shape=(2, 13, *FULL))
    arrays = hit_ramps(case)
    found = []
    for spent in (1, 2, 3, 10, 11, 13):
        arrays["groupdq"][1, -spent:] |= PIXEL_FLAGS[name]
        found.append(check(case, arrays, tmp_path))
    assert found[0] > 0
    assert (found[-1] == 0) == (name == "DO_NOT_USE")


def test_groups_that_clipping_would_empty_are_kept(tmp_path: Path) -> None:
    case = Case(shape=(12, 4, 6, 7))
    arrays = hit_ramps(case, kept=0)
    arrays["groupdq"][:, :, :3] = PIXEL_FLAGS["DO_NOT_USE"]
    arrays["data"][5, 2:] += 30000
    check(case, arrays, tmp_path, minimum_sigclip_groups=12, rejection_threshold=2)
    arrays["groupdq"][7, 2] |= PIXEL_FLAGS["JUMP_DET"]
    check(case, arrays, tmp_path, minimum_sigclip_groups=12, rejection_threshold=2, flag_4_neighbors=False)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_values_and_parameters(tmp_path: Path) -> None:
    """Values near the limits, equal ones, and infinite ones, with parameters drawn at random."""
    rng = np.random.default_rng(3)
    found = 0
    for seed in range(15):
        shape = (int(rng.integers(1, 4)), int(rng.integers(3, 14)), 10, 12)
        case = Case(shape=shape, nframes=int(rng.choice([1, 2, 8])), seed=seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        write_references(folder, case, size=shape[2:], kinds=("gain", "readnoise"))
        steps = rng.choice([0, 1, 30, 60, 200], shape) + rng.integers(0, 40, shape[2:])
        arrays = {"data": np.cumsum(steps, axis=1).astype(np.float32)}
        arrays["data"][rng.random(shape) < 0.002] = rng.choice([np.inf, -np.inf, np.nan])
        arrays["groupdq"] = rng.choice(np.array([0] * 20 + [1, 2, 3, 4, 5, 6, 68], np.uint8), shape)
        arrays["pixeldq"] = rng.integers(0, 2**32, shape[2:], dtype=np.uint32)
        parameters = {
            "rejection_threshold": float(rng.uniform(0, 5)),
            "three_group_rejection_threshold": float(rng.uniform(0, 7)),
            "four_group_rejection_threshold": float(rng.uniform(0, 6)),
            "min_jump_to_flag_neighbors": float(rng.uniform(0, 10)),
            "max_jump_to_flag_neighbors": float(rng.uniform(5, 50)),
            "after_jump_flag_dn1": float(rng.uniform(-10, 100)),
            "after_jump_flag_time1": float(rng.choice([0, 12, 30])),
            "min_diffs_single_pass": int(rng.integers(2, 12)),
            "minimum_sigclip_groups": int(rng.integers(3, 30)),
            "only_use_ints": bool(rng.integers(2)),
        }
        found += check(case, arrays, folder, **parameters)
    assert found > 500


@pytest.mark.parametrize("seed", range(5))
def test_snowballs(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 8)), 90, 110)
    case = Case(shape=shape, read_times=READS if seed == 4 else ())
    write_references(tmp_path, case, size=case.shape[2:], kinds=("gain", "readnoise"), realistic=True)
    parameters = {
        "edge_size": int(rng.choice([0, 10, 25])),
        "min_jump_area": float(rng.choice([1, 5, 15])),
        "min_sat_area": float(rng.choice([1, 10])),
        "expand_factor": float(rng.choice([1.0, 2.0, 2.7])),
        "sat_required_snowball": seed % 3 > 0,
        "min_sat_radius_extend": float(rng.choice([0, 2.5])),
        "sat_expand": int(rng.integers(0, 4)),
        "mask_snowball_core_next_int": seed % 2 > 0,
        "snowball_time_masked_next_int": int(rng.choice([5, 25, 4000])),
        "max_extended_radius": int(rng.choice([4, 200])),
    }
    arrays = large_events(case, seed)
    without = both(case, arrays, tmp_path)[0]["groupdq"]
    check(case, arrays, tmp_path, expand_large_events=True, **parameters)
    made = both(case, arrays, tmp_path, expand_large_events=True, **parameters)[0]
    assert np.count_nonzero(made["groupdq"] != without) > 20
    assert made["meta.exposure.extended_emission_events"] > 0


def test_showers(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    changed = 0
    for seed in range(4):
        shape = (int(rng.integers(1, 4)), int(rng.integers(7, 12)), 90, 110)
        case = replace(MIRI, shape=shape, nframes=int(rng.choice([1, 4])), groupgap=5 * (seed % 2))
        case = replace(case, read_times=READS if seed == 1 else ())
        folder = tmp_path / str(seed)
        folder.mkdir()
        write_references(folder, case, size=shape[2:], kinds=("gain", "readnoise"), realistic=True)
        parameters = {
            "extend_snr_threshold": float(rng.choice([1.2, 1.7])),
            "extend_min_area": int(rng.choice([20, 90])),
            "extend_inner_radius": float(rng.choice([1, 2])),
            "extend_outer_radius": float(rng.choice([2.6, 4])),
            "extend_ellipse_expand_ratio": float(rng.choice([1.0, 1.1, 2])),
            "time_masked_after_shower": float(rng.choice([0, 15, 60])),
            "max_extended_radius": int(rng.choice([10, 200])),
            "max_shower_amplitude": float(rng.choice([0.1, 4])),
            "expand_large_events": seed == 3,
        }
        arrays = large_events(case, seed)
        if seed == 2:  # no jumps are looked for where too few groups can be used
            arrays["groupdq"][0, 2:] |= PIXEL_FLAGS["DO_NOT_USE"]
        without = both(case, arrays, folder)[0]["groupdq"]
        check(case, arrays, folder, find_showers=True, **parameters)
        made = both(case, arrays, folder, find_showers=True, **parameters)[0]["groupdq"]
        changed += int(np.count_nonzero(made != without))
    assert changed > 1000


SHOWERS_CLIPPED: list[tuple[tuple[int, int], dict[str, Any]]] = [
    ((5, 9), {"minimum_sigclip_groups": 5}),
    ((5, 9), {"minimum_sigclip_groups": 5, "only_use_ints": False, "extend_snr_threshold": 1.0}),
    ((12, 3), {"minimum_sigclip_groups": 3, "rejection_threshold": 2.5, "extend_snr_threshold": 1.0}),
    ((40, 4), {"minimum_sigclip_groups": 40, "rejection_threshold": 100.0, "extend_snr_threshold": 0.9}),
    ((3, 6), {"minimum_sigclip_groups": 2, "extend_snr_threshold": 0.95, "expand_large_events": True}),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("size", "parameters"), SHOWERS_CLIPPED)
def test_showers_by_sigma_clipping(tmp_path: Path, size: tuple[int, int], parameters: dict[str, Any]) -> None:
    """Groups are then compared with the same group of the other integrations, clipped at 5 standard deviations."""
    case = replace(MIRI, shape=(*size, 90, 110), nframes=size[0] % 3 + 1)
    write_references(tmp_path, case, size=case.shape[2:], kinds=("gain", "readnoise"), realistic=True)
    arrays = large_events(case, size[1])
    arrays["data"][0, 1:, 40:50, 50:60] = np.inf
    arrays["groupdq"][1:, 1, 60:70, 20:60] |= PIXEL_FLAGS["DO_NOT_USE"]
    arrays["groupdq"][:, -1, 70:80, 20:60] |= PIXEL_FLAGS["SATURATED"]
    without = both(case, arrays, tmp_path, **parameters)[0]["groupdq"]
    check(case, arrays, tmp_path, find_showers=True, **parameters)
    made = both(case, arrays, tmp_path, find_showers=True, **parameters)[0]["groupdq"]
    assert np.count_nonzero(made != without) > 500
    apart = both(case, arrays, tmp_path, find_showers=True, **{**parameters, "minimum_sigclip_groups": 1000})[0]
    assert np.count_nonzero(made != apart["groupdq"]) > 500


def test_few_groups(tmp_path: Path) -> None:
    step = NATIVE["jump"]
    for ngroups in (1, 2):
        case = Case(shape=(2, ngroups, *FULL))
        paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
        assert step.not_applicable({}, step.params(), case.info) is not None
        theirs = run_official("jump", ramp_model(case, hit_ramps(case)), paths, {})
        assert theirs.meta.cal_step.jump == "SKIPPED"


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_no_time_of_a_group(tmp_path: Path, seconds: float | None) -> None:
    """The official step fails; ours says what is wrong. Too few groups are skipped by both."""
    case = Case(shape=(1, 3, *FULL))
    paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
    model = ramp_model(case, hit_ramps(case))
    model.meta.exposure.group_time = seconds
    ours = step_class("jump")()
    for kind, path in paths.items():
        setattr(ours, f"override_{kind}", str(path))
    with pytest.raises(InputError, match=r"synthetic_uncal.fits: .* time of a group \(TGROUP\), .* Correct it"):
        ours.process(model.copy())
    with pytest.raises((TypeError, ZeroDivisionError)):
        run_official("jump", model, paths, {})
    model.data, model.groupdq = model.data[:, :2], model.groupdq[:, :2]
    for made in (ours.process(model.copy()), run_official("jump", model, paths, {})):
        assert made.meta.cal_step.jump == "SKIPPED"


def test_what_the_official_step_serves() -> None:
    step, info = NATIVE["jump"], Case().info
    assert step.supports(step.params(), replace(info, group_time=0.0)) is None
    assert step.supports(step.params(), replace(info, num_superstripe=4)) == "superstripe exposures"
