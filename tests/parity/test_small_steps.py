"""The small native steps of stage 1 against the official ones: same inputs, references and parameters."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from calservice.engines.strun import step_class
from calservice.recipes import OFF_BY_DEFAULT
from calservice.steps.registry import NATIVE
from tests.engines.same import ARRAYS, same_model
from tests.parity.synthetic import FULL, Array, Case, flagged_ramps, ramp_model, raw_ramps

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow) .*encountered:RuntimeWarning"),
]

MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)
SUBARRAY = Case(shape=(1, 4, 17, 23), start=(9, 12), zeroframe=True)


def both(alias: str, model: Any, paths: Mapping[str, str], **parameters: Any) -> Any:
    """Run our class and the official step on a model; demand the same in every bit, and return it.

    Metadata are compared as well, and which references the steps asked for.
    """
    module, name = NATIVE[alias].official.rsplit(".", 1)
    results, asked = [], []
    for cls in (step_class(alias), getattr(importlib.import_module(module), name)):
        step = cls()
        for need in NATIVE[alias].references:
            setattr(step, f"override_{need.reftype}", paths.get(need.reftype, "N/A"))
        for parameter, value in parameters.items():
            setattr(step, parameter, value)
        results.append(step.process(model))
        asked.append(step._reference_files_used)
        assert getattr(model.meta.cal_step, NATIVE[alias].cal_step) is None
    same_model(*results)
    for array in ARRAYS:
        if results[1].hasattr(array):
            np.testing.assert_array_equal(*(getattr(result, array) for result in results), array)
    assert asked[0] == asked[1]
    return results[0]


def ramp(case: Case, **meta: Any) -> Any:
    """Return an exposure with flags of every kind; ``meta`` goes to ``meta.exposure``."""
    rng = np.random.default_rng(case.seed)
    arrays = raw_ramps(case)
    arrays["groupdq"] = flagged_ramps(case)["groupdq"]
    arrays["pixeldq"] = rng.integers(0, 2**32, case.shape[2:], dtype=np.uint32)
    model = ramp_model(case, arrays)
    for name, value in meta.items():
        setattr(model.meta.exposure, name, value)
    return model


def saved(model: Any, path: Path, instrument: str, size: tuple[int, int] | None = None, **meta: Any) -> str:
    """Write a reference, which covers a full frame of ``size`` (rows, columns) if given; return its path."""
    model.meta.description, model.meta.author, model.meta.pedigree = "synthetic", "test", "DUMMY"
    model.meta.useafter, model.meta.reftype, model.meta.instrument.name = "2020-01-01T00:00:00", path.stem, instrument
    for name, value in meta.items():
        setattr(model.meta.exposure, name, value)
    model.save(str(path))
    if size is not None:
        with fits.open(path, mode="update") as file:
            file[0].header.update(SUBSTRT1=1, SUBSTRT2=1, SUBSIZE1=size[1], SUBSIZE2=size[0])
    return str(path)


@pytest.mark.parametrize(
    ("nframes", "divisor", "status"),
    [
        (3, 4, "COMPLETE"),
        (5, 8, "COMPLETE"),
        (4, 4, "SKIPPED"),
        (3, None, "SKIPPED"),
        (4, None, "SKIPPED"),
        (None, 4, "SKIPPED"),
    ],
)
def test_group_scale(nframes: int | None, divisor: int | None, status: str) -> None:
    for case in (Case(zeroframe=True), SUBARRAY):
        made = both("group_scale", ramp(case, nframes=nframes, frame_divisor=divisor), {})
        assert made.meta.cal_step.group_scale == status


IPC_CASES = {
    "corner": Case(),
    "subarray": replace(SUBARRAY, start=(2030, 2020), shape=(1, 2, 24, 15)),
    "middle": SUBARRAY,
    "miri": replace(MIRI, start=(1, 5), shape=(2, 3, 40, 56)),
    "miri right": replace(MIRI, start=(1000, 1), shape=(1, 2, 20, 33)),
}


@pytest.mark.parametrize(
    ("kind", "shape"),
    [*((kind, (3, 5)) for kind in IPC_CASES), ("corner", (7, 7)), ("corner", (4, 2)), ("miri", (1, 1))],
)
def test_ipc_with_one_kernel(kind: str, shape: tuple[int, int], tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import IPCModel

    case = IPC_CASES[kind]
    kernel = np.random.default_rng(3).normal(0.05, 0.05, shape).astype(np.float32)
    path = saved(IPCModel(data=kernel), tmp_path / "ipc.fits", case.instrument)
    exposure = ramp(case)
    exposure.data[0, 0, 9, 9] = np.nan
    made = both("ipc", exposure, {"ipc": path})
    assert made.meta.cal_step.ipc == "COMPLETE"
    assert not np.array_equal(made.data, exposure.data, equal_nan=True)


@pytest.mark.parametrize("kind", ["corner", "middle", "miri"])
def test_ipc_with_a_kernel_for_each_pixel(kind: str, tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import IPCModel

    case = IPC_CASES[kind]
    kernels = np.random.default_rng(3).normal(0.05, 0.05, (3, 5, *FULL)).astype(np.float32)
    kernels[1, 1, 20, 20] = np.nan
    path = saved(IPCModel(data=kernels), tmp_path / "ipc.fits", case.instrument, FULL)
    both("ipc", ramp(case), {"ipc": path})


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_ipc_irs2(detector: str, tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import IPCModel

    case = Case("NIRSPEC", detector, "NRS_FIXEDSLIT", shape=(1, 2, 3200, 32), nframes=5)
    rng = np.random.default_rng(3)
    for kernel in (rng.normal(0.05, 0.05, (3, 3)), rng.normal(0.05, 0.05, (3, 3, 2048, 32))):
        size = (2048, 32) if kernel.ndim == 4 else None
        path = saved(IPCModel(data=kernel.astype(np.float32)), tmp_path / "ipc.fits", "NIRSPEC", size)
        both("ipc", ramp(case), {"ipc": path})


@pytest.mark.parametrize("alias", ["firstframe", "lastframe"])
@pytest.mark.parametrize("ngroups", [1, 2, 3, 4, 6])
def test_first_and_last_frame(alias: str, ngroups: int) -> None:
    fewest = {"firstframe": 4, "lastframe": 3}[alias]
    for options in ({}, {"bright_use_group1": False}) if alias == "firstframe" else ({},):
        made = both(alias, ramp(replace(MIRI, shape=(3, ngroups, *FULL))), {}, **options)
        assert getattr(made.meta.cal_step, alias) == ("SKIPPED" if ngroups < fewest else "COMPLETE")


@pytest.mark.parametrize("alias", ["firstframe", "lastframe", "reset", "rscd"])
def test_steps_of_miri_ask_nothing_for_others(alias: str) -> None:
    made = both(alias, ramp(Case()), {})
    assert getattr(made.meta.cal_step, alias) == "SKIPPED"


@pytest.mark.parametrize("alias", ["ipc", "reset", "rscd"])
def test_no_reference(alias: str) -> None:
    made = both(alias, ramp(MIRI), {})
    assert getattr(made.meta.cal_step, alias) == "SKIPPED"


@pytest.mark.parametrize(
    ("nints", "ngroups", "span"),
    [(1, 6, None), (2, 2, None), (4, 6, None), (2, 6, (1, 2)), (2, 6, (3, 4)), (3, 6, (2, 3)), (2, 1, None)],
)
def test_reset(nints: int, ngroups: int, span: tuple[int, int] | None, tmp_path: Path) -> None:
    """Integrations beyond the reference's, groups beyond it, parts of exposures, NaN."""
    from stdatamodels.jwst.datamodels import ResetModel

    rng = np.random.default_rng(1)
    data = rng.normal(0, 20, (3, 5, *FULL)).astype(np.float32)
    data[rng.random(data.shape) < 0.02] = np.nan
    flags = rng.integers(0, 2, FULL, dtype=np.uint32) << np.uint32(2)
    definitions = np.array(
        [(2, 4, "UNRELIABLE_DARK", "")], [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    )
    model = ResetModel(data=data, dq=flags, dq_def=definitions)
    path = saved(model, tmp_path / "reset.fits", "MIRI", FULL, nints=3, ngroups=4)
    exposure = ramp(replace(MIRI, shape=(nints, ngroups, *FULL)))
    if span is not None:
        exposure.meta.exposure.nints = 9
        exposure.meta.exposure.integration_start, exposure.meta.exposure.integration_end = span
    made = both("reset", exposure, {"reset": path})
    assert made.meta.cal_step.reset == "COMPLETE"
    assert not np.array_equal(made.data, exposure.data)


def table(path: Path, first: int, later: int) -> str:
    """Write an RSCD reference."""
    from stdatamodels.jwst.datamodels import RSCDModel

    rows = [("SUB64", "FASTR1", 9, 9), ("FULL", "SLOWR1", 8, 8), ("FULL", "FASTR1", first, later)]
    rows += [("SLITLESSPRISM", "FASTR1", 2, 3)]
    columns = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    model = RSCDModel()
    model.rscd_group_skip_table = np.array(rows, columns)
    return saved(model, path, "MIRI")


def early_saturation(case: Case, share: float = 0.6) -> Array:
    """Return flags of ramps many of which saturate early, and then stay saturated."""
    rng = np.random.default_rng(case.seed)
    nints, ngroups, nrows, ncols = case.shape
    since = rng.integers(0, ngroups + 2, (nints, 1, nrows, ncols))
    since[rng.random(since.shape) > share] = ngroups
    flags = np.where(np.arange(ngroups)[:, None, None] >= since, 2, 0)
    return (flags | rng.choice([0, 0, 0, 1, 4, 64], case.shape)).astype(np.uint8)


@pytest.mark.parametrize(
    ("first", "later", "ngroups"),
    [(1, 4, 2), (1, 4, 3), (3, 2, 5), (3, 4, 6), (1, 4, 9), (3, 7, 9), (0, 1, 9), (-1, 0, 9)],
)
def test_rscd(first: int, later: int, ngroups: int, tmp_path: Path) -> None:
    """Flags, and the keywords that count pixels, for whole exposures and for parts of them."""
    path = table(tmp_path / "rscd.fits", first, later)
    for nints, start, share in ((1, None, 0.6), (3, None, 0.6), (3, None, 0.0), (3, 1, 0.6), (1, 1, 0.6), (2, 4, 0.6)):
        case = replace(MIRI, shape=(nints, ngroups, 20, 24))
        exposure = ramp(case, readpatt="FASTR1", integration_start=start)
        exposure.groupdq = early_saturation(case, share)
        exposure.meta.subarray.name = "FULL"
        exposure.meta.exposure.nints = nints if start is None else 7
        made = both("rscd", exposure, {"rscd": path})
        assert made.meta.cal_step.rscd == ("SKIPPED" if ngroups < 3 else "COMPLETE")
        if share and later == 7 and nints > 1:
            assert made.meta.rscd.keep_groups_saturation_int2p > 0


@pytest.mark.parametrize(("subarray", "status"), [("SUBPRISM", "COMPLETE"), ("SUB128", "SKIPPED")])
def test_rscd_of_subarrays(subarray: str, status: str, tmp_path: Path) -> None:
    exposure = ramp(MIRI, readpatt="FASTR1")
    exposure.meta.subarray.name = subarray
    exposure.groupdq = early_saturation(MIRI)
    made = both("rscd", exposure, {"rscd": table(tmp_path / "rscd.fits", 1, 1)})
    assert made.meta.cal_step.rscd == status


@pytest.mark.parametrize("ngroups", [2, 3, 6])
def test_charge_migration(ngroups: int) -> None:
    for case, options in itertools.product((Case(), SUBARRAY, MIRI), ({}, {"signal_threshold": 12000.3})):
        exposure = ramp(replace(case, shape=(2, ngroups, *case.shape[2:])))
        exposure.groupdq[:, :, 4:8] = 1
        exposure.data[:, :, :, 5] = np.nan
        made = both("charge_migration", exposure, {}, **options)
        assert made.meta.cal_step.charge_migration == ("SKIPPED" if ngroups < 3 else "COMPLETE")


def rates(kind: str, factor: float | None) -> Any:
    """Return fitted images: of an exposure, of its integrations, or of an integral field unit."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(2)
    shape = (3, *FULL) if kind == "CubeModel" else FULL
    model = getattr(datamodels, kind)(shape)
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        setattr(model, name, rng.normal(0, 10, shape).astype(np.float32))
    model.data[..., 3, 3] = np.nan
    model.update(ramp(Case()), only="PRIMARY")
    model.meta.exposure.gain_factor = factor
    return model


@pytest.mark.parametrize("kind", ["ImageModel", "CubeModel", "IFUImageModel"])
@pytest.mark.parametrize("factor", [None, 1.7, 2])
def test_gain_scale(kind: str, factor: float | None, tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import GainModel

    with_factor = saved(GainModel(data=np.ones((5, 5), np.float32)), tmp_path / "a.fits", "NIRCAM", gain_factor=1.234)
    without = saved(GainModel(data=np.ones((5, 5), np.float32)), tmp_path / "b.fits", "NIRCAM")
    for paths in ({"gain": with_factor}, {"gain": without}, {}):
        model = rates(kind, factor)
        made = both("gain_scale", model, paths)
        done = factor is not None or paths.get("gain") == with_factor
        assert made.meta.cal_step.gain_scale == ("COMPLETE" if done else "SKIPPED")


GUIDE_STARS = ("FGS_ACQ1", "FGS_ACQ2", "FGS_TRACK", "FGS_FINEGUIDE", "FGS_ID-IMAGE", "FGS_ID-STACK")


def guide_star(exp_type: str, shape: tuple[int, int, int, int], start: tuple[int, int] = (9, 12)) -> Any:
    from stdatamodels.jwst.datamodels import GuiderRawModel

    case = Case("FGS", "GUIDER1", exp_type, shape=shape, start=start)
    ramps = ramp(case)
    model = GuiderRawModel(data=ramps.data, dq=ramps.pixeldq)
    model.update(ramps)
    model.flight_star_table = model.get_default("flight_star_table")
    return model


def images(folder: Path, size: tuple[int, int] = FULL) -> dict[str, str]:
    """Write gain and read noise with flaws."""
    from stdatamodels.jwst.datamodels import GainModel, ReadnoiseModel

    rng = np.random.default_rng(4)
    found = {}
    for kind, cls in (("gain", GainModel), ("readnoise", ReadnoiseModel)):
        values = rng.uniform(1, 3, size).astype(np.float32)
        values[rng.random(size) < 0.02] = 0
        if size == FULL:
            values[rng.random(size) < 0.02] = np.nan
        found[kind] = saved(cls(data=values), folder / f"{kind}.fits", "FGS", size)
    return found


@pytest.mark.parametrize("exp_type", GUIDE_STARS)
def test_guider_cds(exp_type: str, tmp_path: Path) -> None:
    paths = images(tmp_path)
    for shape, start in (((2, 2, *FULL), (1, 1)), ((3, 6, 8, 8), (9, 12)), ((2, 9, 8, 8), (9, 12))):
        made = both("guider_cds", guide_star(exp_type, shape, start), paths)
        assert made.meta.cal_step.guider_cds == "COMPLETE"
        assert made.data.shape[0] == (1 if exp_type.startswith("FGS_ID") else shape[0])


def test_guider_cds_of_stacks_without_matching_references(tmp_path: Path) -> None:
    exposure = guide_star("FGS_ID-STACK", (2, 2, 64, 70), (1, 1))
    made = both("guider_cds", exposure, images(tmp_path, (20, 30)))
    assert np.isfinite(made.err).all()


@pytest.mark.parametrize("absent", ["gain", "readnoise"])
def test_guider_cds_without_references(absent: str, tmp_path: Path) -> None:
    paths = images(tmp_path)
    del paths[absent]
    made = both("guider_cds", guide_star("FGS_ACQ1", (2, 2, *FULL), (1, 1)), paths)
    assert made.meta.cal_step.guider_cds == "SKIPPED"
    assert type(made).__name__ == "GuiderRawModel"


def test_off_by_default() -> None:
    assert {alias for alias, step in NATIVE.items() if step.params().skip} == OFF_BY_DEFAULT & NATIVE.keys()
