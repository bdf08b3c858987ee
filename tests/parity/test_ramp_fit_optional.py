"""The optional products of native steps against those of the official ones: arrays, files, names and keywords."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.engines.strun import step_class
from calservice.steps.registry import NATIVE
from tests.engines.same import same_files, same_model
from tests.parity.synthetic import (
    FULL,
    Array,
    Case,
    flagged_ramps,
    official_step,
    ramp_model,
    raw_ramps,
    run_native,
    same,
    with_charge_migration,
    write_references,
)

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|Mean of empty).*:RuntimeWarning"),
]

MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)
ARRAYS = ("slope", "sigslope", "var_poisson", "var_rnoise", "yint", "sigyint", "weights", "crmag", "pedestal")

FITS: list[tuple[Case, dict[str, Any]]] = [
    (Case(zeroframe=True), {}),
    (Case(zeroframe=True, seed=3), {"suppress_one_group": False}),
    (Case(nframes=8, groupgap=2, shape=(3, 10, *FULL)), {"firstgroup": 1, "lastgroup": 8}),
    (Case(shape=(2, 1, *FULL), zeroframe=True), {}),
    (Case(shape=(1, 2, *FULL)), {"suppress_one_group": False}),
    (Case(shape=(1, 140, 12, 14)), {}),
    (replace(MIRI, shape=(2, 8, *FULL)), {}),
]


def optional_arrays(case: Case, arrays: Mapping[str, Array], paths: Mapping[str, Path], **parameters: Any) -> Any:
    """Return the arrays of the official optional product."""
    step = official_step("ramp_fit", paths, {"save_opt": True, "opt_name": "kept.fits", **parameters})
    kept: dict[str, Array] = {}
    step.save_model = lambda model, suffix, **_: kept.update({n: np.array(getattr(model, n)) for n in ARRAYS})
    step.process(ramp_model(case, arrays))
    return kept


@pytest.mark.parametrize(("case", "parameters"), FITS)
def test_segments(tmp_path: Path, case: Case, parameters: dict[str, Any]) -> None:
    paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
    arrays = flagged_ramps(case)
    if case.instrument == "MIRI":
        arrays["groupdq"][:, 0] |= 1
        arrays["groupdq"][:, -1] |= 1
    for ramps in (arrays, with_charge_migration(arrays, case.seed)):
        ours = run_native(case, ramps, paths, [("ramp_fit", {"save_opt": True, **parameters})])
        theirs = optional_arrays(case, ramps, paths, **parameters)
        for name in ARRAYS:
            same(ours[f"opt_{name}"], theirs[name], name)
        assert np.count_nonzero(theirs["slope"])


def test_segments_whatever_the_blocks(tmp_path: Path) -> None:
    """Blocks have ramps of different numbers of segments and jumps; the exposure has room for the most."""
    case = Case(shape=(2, 9, *FULL))
    paths = write_references(tmp_path, case, kinds=("gain", "readnoise"))
    arrays = flagged_ramps(case)
    arrays["groupdq"][:, :, :20] &= ~np.uint8(4)
    from calservice.model.block import Window

    cuts = [Window((0, 2), (0, 9), rows, (0, 56)) for rows in ((0, 10), (10, 30), (30, 48))]
    whole, cut = (run_native(case, arrays, paths, [("ramp_fit", {"save_opt": True})], how) for how in (None, cuts))
    assert whole["opt_crmag"].shape[1] > 0
    for name in ARRAYS:
        assert np.array_equal(whole[f"opt_{name}"], cut[f"opt_{name}"], equal_nan=True), name


READOUTS: dict[str, tuple[str, Case, dict[str, Any], dict[str, Any]]] = {
    "fitopt": ("ramp_fit", Case(zeroframe=True), {"save_opt": True}, {}),
    "fitopt, named": ("ramp_fit", MIRI, {"save_opt": True, "opt_name": "segments_uncal.fits"}, {}),
    "chi-squared": ("ramp_fit", Case(), {"save_opt": True, "algorithm": "LIKELY"}, {}),
    "chi-squared, named": ("ramp_fit", Case(), {"save_opt": True, "algorithm": "LIKELY", "opt_name": "chi"}, {}),
    "dark": ("dark_current", Case(), {"dark_output": "dark_as_used"}, {}),
    "dark, averaged": (
        "dark_current",
        Case(nframes=4, groupgap=1),
        {"dark_output": "mean.fits"},
        {"dark_readout": (1, 0, 40)},
    ),
    "dark, extrapolated": ("dark_current", Case(), {"dark_output": "more.fits"}, {"dark_readout": (1, 0, 4)}),
    "dark of MIRI": ("dark_current", MIRI, {"dark_output": "miri.fits"}, {"dark_ints": 2}),
    "dark of MIRI, averaged": (
        "dark_current",
        replace(MIRI, nframes=2, groupgap=1, shape=(1, 6, *FULL)),
        {"dark_output": "miri.fits"},
        {"dark_ints": 2, "dark_readout": (1, 0, 30)},
    ),
}


@pytest.mark.parametrize("name", READOUTS)
def test_files(name: str, tmp_path: Path) -> None:
    """Both classes write the same products: names, extensions, keywords and arrays."""
    alias, case, parameters, reference = READOUTS[name]
    arrays = flagged_ramps(case) if alias == "ramp_fit" else raw_ramps(case)
    (tmp_path / "references").mkdir()
    kinds = [need.reftype for need in NATIVE[alias].references]
    paths = write_references(tmp_path / "references", case, kinds=kinds, **reference)
    told = {f"override_{kind}": str(path) for kind, path in paths.items()} | parameters
    module, cls = NATIVE[alias].official.rsplit(".", 1)
    results = []
    for folder, made_by in (("ours", step_class(alias)), ("theirs", getattr(importlib.import_module(module), cls))):
        (tmp_path / folder).mkdir()
        step = made_by()
        for parameter, value in {**told, "output_dir": str(tmp_path / folder)}.items():
            setattr(step, parameter, value)
        results.append(step.process(ramp_model(case, arrays)))
    same_model(*results)
    (made,) = same_files(tmp_path / "ours", tmp_path / "theirs")
    assert made.endswith(".fits")
