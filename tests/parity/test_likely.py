"""The native likelihood fit against the official one: slopes, errors, variances, chi-squared, and flags bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calservice.model.dqflags import PIXEL_FLAGS
from calservice.run.models import exposure_info
from tests.parity.synthetic import (
    FULL,
    Array,
    Case,
    bind,
    compare_rates,
    flagged_ramps,
    official_step,
    ramp_model,
    run_fused,
    run_native,
    same,
    write_references,
)

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|All-NaN).*:RuntimeWarning"),
]

MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)

CASES: list[tuple[Case, dict[str, Any]]] = [
    (Case(), {}),
    (Case(shape=(1, 4, *FULL)), {}),
    (Case(zeroframe=True, seed=3), {"suppress_one_group": False}),
    (Case(zeroframe=True, nframes=8, groupgap=2, shape=(3, 10, *FULL)), {"firstgroup": 1, "lastgroup": 8}),
    (Case(shape=(1, 12, 17, 23), start=(9, 12), nframes=4), {"maximum_cores": "2"}),
    (replace(MIRI, shape=(2, 40, 24, 30)), {}),
]


def check(case: Case, arrays: Mapping[str, Array], folder: Path, change: Any = None, **parameters: Any) -> Any:
    """Compare all products of the fit; return ours."""
    if not (folder / "gain.fits").exists():
        write_references(folder, case, kinds=("gain", "readnoise"))
    paths = {kind: folder / f"{kind}.fits" for kind in ("gain", "readnoise")}
    told = {"save_opt": True, "algorithm": "LIKELY", **parameters}
    model = ramp_model(case, arrays)
    if change is not None:
        change(model)
    info = exposure_info(model)
    ours = run_fused([bind("ramp_fit", case, paths, told)], arrays, info, threads=2, block_bytes=30000)
    step, kept = official_step("ramp_fit", paths, {**told, "opt_name": "kept.fits"}), []
    step.save_model = lambda model, suffix, **_: kept.append((suffix, np.array(model.data)))
    compare_rates(ours, *step.process(model))
    ((suffix, chisq),) = kept
    assert suffix == "likely_chisq"
    same(ours["opt_chisq"], chisq, "chisq")
    return ours


@pytest.mark.parametrize(("case", "parameters"), CASES)
def test_fits(tmp_path: Path, case: Case, parameters: dict[str, Any]) -> None:
    arrays = flagged_ramps(case)
    check(case, arrays, tmp_path, **parameters)
    arrays["groupdq"][np.random.default_rng(1).random(case.shape) < 0.95] = 0  # jumps that nobody flagged
    made = check(case, arrays, tmp_path, **parameters)
    jump = PIXEL_FLAGS["JUMP_DET"]
    told = np.any(arrays["groupdq"] & jump, axis=1)
    assert np.count_nonzero(made["int_dq"] & ~arrays["pixeldq"] & jump & ~(told * jump)) > 50
    assert np.isfinite(made["slope"]).mean() > 0.5


@pytest.mark.parametrize("ngroups", [6, 7, 8, 11])
def test_ramps_of_read_noise(tmp_path: Path, ngroups: int) -> None:
    """Chi-squared without a pair of differences is then 0 / 0 for some ramps, and none of these is left out."""
    case = Case(shape=(2, ngroups, *FULL))
    rng = np.random.default_rng(ngroups)
    data = rng.normal(0, 8, case.shape) - 1.5 * np.arange(ngroups)[:, None, None]
    data += np.cumsum((rng.random(case.shape) < 0.15) * rng.uniform(10, 200, case.shape), axis=1)
    flags = (rng.random(case.shape) < 0.03).astype(np.uint8)
    arrays = {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": np.zeros(FULL, np.uint32)}
    check(case, arrays, tmp_path)


def test_dark_current_counts(tmp_path: Path) -> None:
    arrays = flagged_ramps(Case())
    dark = np.random.default_rng(2).uniform(0, 30, FULL).astype(np.float32)

    def change(model: Any) -> None:
        model.average_dark_current = dark

    with_dark = check(Case(), {**arrays, "average_dark_current": dark}, tmp_path, change)
    assert not np.allclose(with_dark["err"], check(Case(), arrays, tmp_path)["err"], equal_nan=True)


@pytest.mark.parametrize("algorithm", ["LIKELY", "OLS_C"])
def test_uneven_reads(tmp_path: Path, algorithm: str) -> None:
    """Groups of different numbers of reads at any times are fitted by likelihood whatever is asked for."""
    case = Case(shape=(2, 7, *FULL))
    counts, at = (1, 1, 2, 4, 4, 2, 1), iter(range(1, 40))
    times = [[3.5 * next(at) for _ in range(count)] for count in counts]

    def change(model: Any) -> None:
        model.meta.exposure.read_times = times

    if algorithm == "OLS_C":  # the official step then saves no chi-squared unless it is told LIKELY
        paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
        model = ramp_model(case, flagged_ramps(case))
        change(model)
        bound = [bind("ramp_fit", case, paths, {})]
        ours = run_fused(bound, flagged_ramps(case), exposure_info(model))
        compare_rates(ours, *official_step("ramp_fit", paths, {}).process(model))
        return
    check(case, flagged_ramps(case), tmp_path, change)


def test_few_groups_are_fitted_by_least_squares(tmp_path: Path) -> None:
    case = Case(shape=(2, 3, *FULL))
    paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
    ours = run_fused([bind("ramp_fit", case, paths, {"algorithm": "LIKELY"})], flagged_ramps(case), case.info)
    model = ramp_model(case, flagged_ramps(case))
    compare_rates(ours, *official_step("ramp_fit", paths, {"algorithm": "LIKELY"}).process(model))


@pytest.mark.parametrize("name", ["SATURATED", "DO_NOT_USE"])
def test_nothing_to_fit(tmp_path: Path, name: str) -> None:
    """Unlike least squares, the likelihood fit makes products even then."""
    arrays = flagged_ramps(MIRI)
    arrays["groupdq"][...] = PIXEL_FLAGS[name]
    assert np.isnan(check(MIRI, arrays, tmp_path)["slope"]).all()


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    arrays = flagged_ramps(Case())
    rng = np.random.default_rng(4)
    arrays["data"][rng.random(arrays["data"].shape) < 0.01] = np.nan
    arrays["data"][:, :, 20] = 7.0
    check(Case(), arrays, tmp_path)


def test_a_single_integration_is_scaled_once(tmp_path: Path) -> None:
    """The official images share their memory, and gain_scale after it scales them twice: not where it opens files."""
    case = Case(shape=(1, 6, *FULL))
    paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
    fits.setval(paths["gain"], "GAINFACT", value=1.3)
    likely = {"algorithm": "LIKELY"}
    ours = run_native(case, flagged_ramps(case), paths, [("ramp_fit", likely), ("gain_scale", {})])
    image, cube = official_step("ramp_fit", paths, likely).process(ramp_model(case, flagged_ramps(case)))
    assert np.shares_memory(image.data, cube.data)
    scaled = []
    for name, model in (("rate", image), ("rateints", cube)):
        model.save(tmp_path / f"{name}.fits")
        scaled.append(official_step("gain_scale", paths, {}).process(str(tmp_path / f"{name}.fits")))
    compare_rates(ours, *scaled)
