"""The fused chain of native steps against the same chain of official ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.synthetic import (
    FULL,
    Case,
    compare,
    compare_rates,
    ramp_model,
    raw_ramps,
    run_native,
    run_official,
    write_references,
)

pytestmark = pytest.mark.official

NEAR_INFRARED = ("dq_init", "saturation", "superbias", "linearity", "dark_current")
MID_INFRARED = ("dq_init", "saturation", "linearity", "dark_current")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("case", "steps"),
    [
        (Case(zeroframe=True), NEAR_INFRARED),
        (Case(nframes=4, groupgap=1, zeroframe=True), NEAR_INFRARED),
        (Case("NIRISS", "NIS", "NIS_IMAGE", shape=(3, 4, *FULL)), NEAR_INFRARED),
        (Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(3, 9, *FULL)), MID_INFRARED),
    ],
    ids=["nircam", "nircam averaged", "niriss", "miri"],
)
def test_chain(tmp_path: Path, case: Case, steps: tuple[str, ...], seed: int) -> None:
    miri = case.instrument == "MIRI"
    paths = write_references(
        tmp_path,
        case,
        inverse=case.nframes > 1,
        dark_ints=2 if miri else 0,
        dark_readout=(1, 0, 40),
        dark_rate=0.4,
        seed=seed,
    )
    if miri:
        del paths["superbias"]
    arrays = raw_ramps(case)
    theirs = ramp_model(case, arrays)
    for alias in steps:
        theirs = run_official(alias, theirs, paths, {})
    chain = [(alias, {}) for alias in steps]
    for threads in (1, 3):
        ours = run_native(case, arrays, paths, chain, threads=threads)
        names = ("data", "groupdq", "pixeldq", "zeroframe", "average_dark_current")
        compare({**arrays, **ours}, theirs, names)
    rates = run_native(case, arrays, paths, [*chain, ("ramp_fit", {})])
    compare_rates(rates, *run_official("ramp_fit", theirs, paths, {}))
