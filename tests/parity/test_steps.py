"""Each native step against the official one: same inputs, references and parameters."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import NoScienceData, ParameterError, ReferenceFileError
from calservice.references.load import load_reference
from calservice.steps.registry import NATIVE
from tests.parity.synthetic import (
    FULL,
    Case,
    bind,
    compare,
    compare_rates,
    flagged_ramps,
    ramp_model,
    raw_ramps,
    run_native,
    run_official,
    with_charge_migration,
    write_references,
)

pytestmark = pytest.mark.official

RAMP = ("data", "groupdq", "pixeldq", "zeroframe", "average_dark_current")
SUBARRAY = Case(shape=(1, 4, 17, 23), start=(9, 12), zeroframe=True)
MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", integration_start=1, seed=5)


def both(alias: str, case: Case, arrays: Any, paths: dict[str, Path], **parameters: Any) -> tuple[dict[str, Any], Any]:
    """Return what the native and the official step make."""
    ours = run_native(case, arrays, paths, [(alias, parameters)])
    return ours, run_official(alias, ramp_model(case, arrays), paths, parameters)


def references(alias: str, folder: Path, case: Case, **options: Any) -> dict[str, Path]:
    """Write the references that a step uses."""
    kinds = [need.reftype for need in NATIVE[alias].references]
    return write_references(folder, case, kinds=kinds, **options)


def check(alias: str, case: Case, arrays: Any, paths: dict[str, Path], **parameters: Any) -> None:
    """Compare all arrays of a ramp."""
    ours, theirs = both(alias, case, arrays, paths, **parameters)
    compare({**arrays, **ours}, theirs, RAMP)
    assert ("average_dark_current" in ours) == (theirs.average_dark_current is not None)
    assert getattr(theirs.meta.cal_step, NATIVE[alias].cal_step) == "COMPLETE"


def earlier_flags(case: Case) -> dict[str, Any]:
    """Return flags that an exposure may carry before the step."""
    rng = np.random.default_rng(case.seed)
    groups = rng.choice(np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 65], np.uint8), case.shape)
    pixels = rng.integers(0, 2**32, case.shape[2:], dtype=np.uint32)
    return {"groupdq": groups, "pixeldq": pixels}


@pytest.mark.parametrize("case", [Case(), SUBARRAY, MIRI], ids=["full", "subarray", "miri"])
def test_dq_init(tmp_path: Path, case: Case) -> None:
    paths = references("dq_init", tmp_path, case)
    for flags in ({}, earlier_flags(case)):
        check("dq_init", case, raw_ramps(case) | flags, paths)


def test_dq_init_user_flags(tmp_path: Path) -> None:
    from astropy.io import fits

    case, name = Case(), tmp_path / "user.fits"
    fits.writeto(name, np.arange(FULL[0] * FULL[1], dtype=np.int32).reshape(FULL))
    paths = references("dq_init", tmp_path, case)
    check("dq_init", case, raw_ramps(case), paths, user_supplied_dq=str(name))
    with pytest.raises(ParameterError, match="give an image of that shape"):
        run_native(SUBARRAY, raw_ramps(SUBARRAY), paths, [("dq_init", {"user_supplied_dq": str(name)})])


def test_dq_init_guide_stars(tmp_path: Path) -> None:
    from stdatamodels.jwst import datamodels

    case = Case("FGS", "GUIDER1", "FGS_ID-STACK")
    arrays = raw_ramps(case) | {"dq": earlier_flags(case)["pixeldq"]}
    paths = references("dq_init", tmp_path, case)
    model = datamodels.GuiderRawModel(data=arrays["data"], dq=arrays["dq"].copy())
    model.update(ramp_model(case, arrays))
    theirs = run_official("dq_init", model, paths, {})
    ours = run_native(case, arrays, paths, [("dq_init", {})])
    assert set(ours) == {"dq"}
    compare(ours, theirs, ["dq"])


@pytest.mark.parametrize(
    "case",
    [
        Case(zeroframe=True),
        Case(nframes=4, groupgap=1, zeroframe=True, shape=(2, 5, *FULL)),
        Case(nframes=8, shape=(1, 2, *FULL)),
        Case(nframes=2, shape=(1, 1, *FULL)),
        replace(SUBARRAY, nframes=4),
        MIRI,
    ],
    ids=["nframes1", "nframes4", "two groups", "one group", "subarray", "miri"],
)
def test_saturation(tmp_path: Path, case: Case) -> None:
    paths = references("saturation", tmp_path, case)
    if case is MIRI:
        del paths["superbias"]
    arrays = raw_ramps(case) | earlier_flags(case)
    for grow, readpatt in itertools.product((0, 1, 3), (True, False)):
        check("saturation", case, arrays, paths, n_pix_grow_sat=grow, use_readpatt=readpatt)


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
@pytest.mark.parametrize("parameters", [{}, {"n_pix_grow_sat": 2, "use_readpatt": False}])
def test_saturation_irs2(tmp_path: Path, detector: str, parameters: dict[str, Any]) -> None:
    case = Case("NIRSPEC", detector, "NRS_FIXEDSLIT", shape=(1, 4, 3200, 32), nframes=5)
    paths = references("saturation", tmp_path, case, size=(2048, 32), irs2=True)
    arrays = raw_ramps(case) | earlier_flags(case)
    check("saturation", case, arrays, paths, **parameters)


@pytest.mark.parametrize("case", [Case(zeroframe=True), SUBARRAY], ids=["full", "subarray"])
def test_superbias(tmp_path: Path, case: Case) -> None:
    arrays = raw_ramps(case) | earlier_flags(case)
    check("superbias", case, arrays, references("superbias", tmp_path, case))


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        Case(zeroframe=True),
        Case(nframes=4, zeroframe=True),
        replace(SUBARRAY, nframes=8),
        Case(nframes=2, shape=(2, 2, *FULL)),
        replace(MIRI, nframes=2, read_times=(1.0, 2.0)),
    ],
    ids=["nframes1", "nframes4", "subarray", "two groups", "uneven reads"],
)
def test_linearity(tmp_path: Path, case: Case, inverse: bool) -> None:
    arrays = raw_ramps(case) | earlier_flags(case)
    check("linearity", case, arrays, references("linearity", tmp_path, case, inverse=inverse))


@pytest.mark.parametrize(
    ("case", "reference"),
    [
        (Case(), {}),
        (Case(), {"dark_readout": (1, 0, 4), "dark_rate": 0.25}),
        (Case(nframes=4, groupgap=1), {"dark_readout": (1, 0, 40)}),
        (Case(nframes=4, groupgap=1), {"dark_readout": (1, 0, 17)}),
        (Case(nframes=1, groupgap=2), {"dark_readout": (1, 0, 20)}),
        (Case(nframes=8, groupgap=2), {"dark_readout": (2, 1, 30)}),
        (Case(), {"dark_rate": np.full(FULL, 0.5, np.float32)}),
        (Case(), {"dark_rate": np.zeros(FULL, np.float32)}),
        (MIRI, {"dark_ints": 2}),
        (replace(MIRI, shape=(4, 5, *FULL)), {"dark_ints": 3, "dark_readout": (1, 0, 3)}),
        (replace(MIRI, integration_start=4), {"dark_ints": 3}),
        (replace(MIRI, nframes=2, groupgap=1), {"dark_ints": 1, "dark_readout": (1, 0, 30)}),
        (
            replace(MIRI, nframes=2, integration_start=3),
            {"dark_ints": 3, "dark_readout": (1, 0, 30)},
        ),
    ],
)
def test_dark_current(tmp_path: Path, case: Case, reference: dict[str, Any]) -> None:
    arrays = raw_ramps(case) | earlier_flags(case)
    check("dark_current", case, arrays, references("dark_current", tmp_path, case, **reference))


def test_dark_current_that_cannot_be_made(tmp_path: Path) -> None:
    case = Case(nframes=2)
    paths = references("dark_current", tmp_path, case, dark_readout=(4, 1, 20))
    bound = bind("dark_current", case, paths, {})
    reason = bound.step.not_applicable(bound.references, bound.params, case.info)
    assert reason is not None
    assert "NFRAMES=4" in reason
    official = run_official("dark_current", ramp_model(case, raw_ramps(case)), paths, {})
    assert official.meta.cal_step.dark_sub == "SKIPPED"
    with pytest.raises(ReferenceFileError, match="not cut"):
        bind("dark_current", SUBARRAY, paths, {})


FITS = [
    (Case(zeroframe=True), {}),
    (Case(zeroframe=True, seed=3), {"suppress_one_group": False}),
    (Case(nframes=8, groupgap=2, shape=(3, 10, *FULL)), {"firstgroup": 1, "lastgroup": 8}),
    (Case(shape=(1, 10, *FULL)), {"firstgroup": 7, "lastgroup": 3}),
    (Case(shape=(2, 1, *FULL), zeroframe=True), {}),
    (Case(shape=(1, 2, *FULL)), {"suppress_one_group": False}),
    (Case(shape=(1, 3, *FULL)), {"lastgroup": 40}),
    (Case(shape=(1, 150, 12, 14)), {}),
    (replace(SUBARRAY, nframes=4), {"maximum_cores": "1"}),
    (Case("NIRISS", "NIS", "NIS_SOSS", shape=(5, 3, *FULL)), {}),
    (Case("NIRSPEC", "NRS1", "NRS_FIXEDSLIT", shape=(1, 20, *FULL)), {}),
    (MIRI, {}),
]


@pytest.mark.parametrize(("case", "parameters"), FITS)
def test_ramp_fit(tmp_path: Path, case: Case, parameters: dict[str, Any]) -> None:
    paths = references("ramp_fit", tmp_path, case)
    arrays = flagged_ramps(case)
    for ramps in (arrays, with_charge_migration(arrays, case.seed)):
        ours, theirs = both("ramp_fit", case, ramps, paths, **parameters)
        compare_rates(ours, *theirs)


@pytest.mark.parametrize(("leading", "trailing"), [(1, 0), (2, 1), (0, 1)])
@pytest.mark.parametrize("suppress", [True, False])
def test_ramp_fit_discards_groups_of_miri(tmp_path: Path, leading: int, trailing: int, suppress: bool) -> None:
    case = replace(MIRI, shape=(2, 8, *FULL))
    arrays = with_charge_migration(flagged_ramps(case), 3)
    flags = arrays["groupdq"]
    flags[:, :, 2:4] = 1
    flags[:, :leading] |= 1
    flags[:, 8 - trailing :] |= 1
    paths = references("ramp_fit", tmp_path, case)
    ours, theirs = both("ramp_fit", case, arrays, paths, suppress_one_group=suppress)
    compare_rates(ours, *theirs)


@pytest.mark.parametrize("instrument", ["NIRCAM", "MIRI"])
def test_ramp_fit_without_data(tmp_path: Path, instrument: str) -> None:
    """Exposures of which the official step makes nothing: all saturated, all groups unusable."""
    case = replace(MIRI, instrument=instrument)
    paths = references("ramp_fit", tmp_path, case)
    for flag in ("SATURATED", "DO_NOT_USE") if instrument == "MIRI" else ("SATURATED",):
        arrays = flagged_ramps(case)
        arrays["groupdq"][...] = PIXEL_FLAGS[flag]
        official = run_official("ramp_fit", ramp_model(case, arrays), paths, {})
        assert official == (None, None)
        with pytest.raises(NoScienceData):
            run_native(case, arrays, paths, [("ramp_fit", {})])


def test_average_dark_current_adds_to_the_poisson_variance(tmp_path: Path) -> None:
    case = Case(shape=(1, 6, *FULL))
    paths = write_references(tmp_path, case, dark_rate=3.0)
    arrays = flagged_ramps(case)
    steps = ["dark_current", "ramp_fit"]
    theirs = ramp_model(case, arrays)
    for alias in steps:
        theirs = run_official(alias, theirs, paths, {})
    ours = run_native(case, arrays, paths, [(alias, {}) for alias in steps])
    compare_rates(ours, *theirs)


def test_what_is_not_native() -> None:
    info = Case().info
    guider = NATIVE["guider_cds"]
    stars = replace(info, exp_type="FGS_ID-STACK")
    for other in (info, replace(stars, nints=1), replace(stars, ngroups=1)):
        assert guider.supports(guider.params(), other)
    for step in NATIVE.values():
        told = {"persistence_time": 30} if step.alias == "persistence" else {}
        assert step.supports(step.params(**told), stars if step is guider else info) is None
        assert step.supports(step.params(), replace(info, num_superstripe=4))


def test_parameters_are_the_official_ones() -> None:
    """Names and defaults of every native step's parameters are those of the official step."""
    import importlib

    from calservice.model.step import Params

    for step in NATIVE.values():
        module, name = step.official.rsplit(".", 1)
        official = getattr(importlib.import_module(module), name)()
        theirs = {k for k in official.get_pars() if k not in Params.model_fields}
        ours = {k: v for k, v in step.params() if k not in Params.model_fields}
        assert set(ours) == theirs, step.alias
        assert all(getattr(official, k) == v for k, v in ours.items()), step.alias


def test_references_are_loaded_as_stdatamodels_does(tmp_path: Path) -> None:
    from stdatamodels.jwst import datamodels

    paths = write_references(tmp_path, Case(), inverse=True, dark_rate=np.ones(FULL, np.float32))
    for step in NATIVE.values():
        for need in (n for n in step.references if n.reftype in paths):
            ours = load_reference(paths[need.reftype], need)
            with datamodels.open(str(paths[need.reftype])) as theirs:
                for name in ours.arrays:
                    expected = np.asarray(getattr(theirs, name)).astype(ours[name].dtype)
                    np.testing.assert_array_equal(ours[name], expected)
            assert load_reference(paths[need.reftype], need) is ours
