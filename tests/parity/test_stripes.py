"""Exposures of several stripes of the detector against the official package: references, every step, products."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calservice.engines.strun import step_class
from calservice.model.block import Reach
from calservice.model.dqflags import DO_NOT_USE, REFERENCE_PIXEL
from calservice.model.errors import InputError, ReferenceFileError
from calservice.model.passes import cut_windows
from calservice.model.step import Reference, ReferenceNeed
from calservice.model.stripes import Stripes
from calservice.model.superstripes import facts_at, joined, of_stripe, unknown_superstripes
from calservice.references.placement import fit_to_exposure
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.run.models import exposure_info
from calservice.run.superstripes import join
from calservice.simulate.context import Rule, write_context
from calservice.steps.registry import NATIVE
from tests.engines.same import same_model
from tests.parity.synthetic import Array, Case, ramp_model, raw_ramps, same, times_of, write_references
from tests.parity.test_clean_flicker_noise import noisy_ramps
from tests.parity.test_small_pipelines import run

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|All-NaN|Mean of) .*:RuntimeWarning"),
]

FULL = 2048
NAMES = ("data", "groupdq", "pixeldq", "zeroframe")
DHS = Case(
    "NIRCAM", "NRCALONG", "NRC_TSGRISM", shape=(2, 6, 36, 24), zeroframe=True, subarray="SUB41STRIPE1_DHS",
    start=(1, 101), axes=(-1, 2), stripes=Stripes(4, 10, 8, 5, 0, 0, 0, 0, from_first=True), seed=3,
)  # fmt: skip
SOSS = Case(
    "NIRISS", "NIS", "NIS_SOSS", shape=(2, 6, 24, 36), subarray="SUB60STRIPE_SOSS",
    start=(1990, 1), axes=(-2, -1), stripes=Stripes(4, 10, 8, 5, 1, 0, 0, 0), seed=4,
)  # fmt: skip
INTERLEAVED = replace(DHS, subarray="SUB64", axes=(1, -2), start=(1, 2000), stripes=Stripes(4, 3, 8, 5, 1, 1, 0, 0))


def exposure(case: Case, arrays: Mapping[str, Array]) -> Any:
    """Return an exposure of four outputs."""
    model = ramp_model(case, arrays)
    model.meta.subarray.name = case.subarray
    model.meta.exposure.noutputs, model.meta.exposure.readpatt = 4, "RAPID"
    model.meta.exposure.start_time, model.meta.exposure.integration_time = 60000.25, 70.0
    return model


def references(folder: Path, case: Case) -> dict[str, Path]:
    """Write references of the whole length of the detector; a dark of the stripes, since darks are not cut."""
    nrows, ncols = case.shape[2:]
    paths = write_references(folder, case, size=(FULL, ncols) if abs(case.axes[1]) == 2 else (nrows, FULL))
    return paths | write_references(folder, case, size=(nrows, ncols), kinds=("dark",), dark_rate=0.4)


@st.composite
def exposures(draw: st.DrawFn) -> Case:
    """Return cases of any stripes that fill their subarray."""

    def number(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    reads1, reads2, repeat = number(0, 4), number(1, 9), number(0, 1)
    skips, interleave = (number(0, 30), number(0, 20)), number(0, 1)
    stripes = Stripes(reads1, skips[0], reads2, skips[1], repeat, interleave, 0, 0, from_first=draw(st.booleans()))
    times = number(1, 4)
    lines, width = times * (reads1 + reads2) if repeat else reads1 + times * reads2, number(1, 6)
    fast, slow = draw(st.sampled_from([1, -1])), draw(st.sampled_from([1, -1]))
    place = draw(st.sampled_from([1, 300, 900] if slow > 0 else [1, 2048, 1200])), number(1, FULL + 1 - width)
    if draw(st.booleans()):
        shape, start, axes = (1, 1, lines, width), (place[1], place[0]), (fast, 2 * slow)
    else:
        shape, start, axes = (1, 1, width, lines), place, (2 * fast, slow)
    return Case(
        shape=shape, start=start, axes=axes, stripes=stripes, subarray=DHS.subarray if stripes.from_first else "SUB64"
    )


@settings(max_examples=80, deadline=None)
@given(case=exposures())
def test_references_are_cut_as_the_official_package_does(case: Case) -> None:
    """Every array of every reference, whatever its number of axes, to any stripes that fill the subarray."""
    from jwst.lib.reffile_utils import get_subarray_model
    from stdatamodels.jwst import datamodels

    upright, (nrows, ncols), first = abs(case.axes[1]) == 2, case.shape[2:], [1, 1]
    wide = 5 + (ncols if upright else nrows)  # references need not be as wide as the detector
    place = case.start[0 if upright else 1]
    first[0 if upright else 1] = max(1, place - 3)
    size = (FULL, wide) if upright else (wide, FULL)
    image = np.arange(size[0] * size[1]).reshape(size)
    cube = np.stack([image, -image]).astype(np.float32)
    given_to = {
        datamodels.LinearityModel: {"coeffs": cube, "dq": image.astype(np.uint32)},
        datamodels.DarkMIRIModel: {"data": cube[None], "dq": cube[None, :1].astype(np.uint32)},
    }
    model = exposure(case, {"data": np.zeros(case.shape, np.float32)})
    for kind, arrays in given_to.items():
        reference = kind(**arrays)
        where = {"xstart": first[0], "ystart": first[1], "xsize": size[1], "ysize": size[0]}
        for name, value in where.items():
            setattr(reference.meta.subarray, name, value)
        theirs = get_subarray_model(model, reference)
        meta = {f"meta.subarray.{name}": value for name, value in where.items()}
        need = ReferenceNeed("any", tuple(arrays))
        ours = fit_to_exposure(Reference(arrays, meta), need, case.placement, (nrows, ncols))
        for name in arrays:
            assert np.array_equal(ours[name], getattr(theirs, name)), (kind, name)


def both(alias: str, model: Any, paths: Mapping[str, Path], **parameters: Any) -> Any:
    """Run our class and the official step on a model; demand the same, and return the official result."""
    module, name = NATIVE[alias].official.rsplit(".", 1)
    results = []
    for cls in (step_class(alias), getattr(importlib.import_module(module), name)):
        step = cls()
        step._hand_over = None  # the official step must not serve
        for kind in cls.reference_file_types:
            setattr(step, f"override_{kind}", str(paths.get(kind, "N/A")))
        for parameter, value in parameters.items():
            setattr(step, parameter, value)
        results.append(step.process(model))
    if alias == "ramp_fit":
        for ours, theirs in zip(*results, strict=True):
            same_model(ours, theirs)
        return results[1]
    same_model(*results)
    for array in NAMES:
        if results[1].hasattr(array):
            same(getattr(results[0], array), getattr(results[1], array), array)
    return results[1]


@pytest.mark.parametrize("case", [DHS, SOSS, INTERLEAVED], ids=["dhs", "soss", "interleaved"])
def test_every_step(case: Case, tmp_path: Path) -> None:
    """Each goes on with what the official step before it made."""
    paths = references(tmp_path, case)
    model = exposure(case, raw_ramps(case))
    model.meta.exposure.frame_divisor = 2
    told: dict[str, dict[str, Any]] = {
        **{alias: {} for alias in ("group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity")},
        "dark_current": {},
        "charge_migration": {"skip": False, "signal_threshold": 20000.0},
        "jump": {"expand_large_events": True, "min_jump_area": 2.0, "find_showers": True},
        "persistence": {"skip": False, "persistence_time": 60},
    }
    for alias, parameters in told.items():
        before = model.copy()
        model = both(alias, model, paths, **parameters)
        assert getattr(model.meta.cal_step, NATIVE[alias].cal_step) == "COMPLETE", alias
        assert any(not np.array_equal(getattr(before, name), getattr(model, name)) for name in NAMES[:3]), alias
    rates, _ = both("ramp_fit", model, paths)
    assert np.isfinite(rates.data).mean() > 0.15
    rates.meta.exposure.gain_factor = 1.7
    both("gain_scale", rates, paths)


def test_kernels_of_each_pixel(tmp_path: Path) -> None:
    """The official step takes them of lines that follow each other, whatever lines the stripes hold."""
    from stdatamodels.jwst.datamodels import IPCModel

    path = tmp_path / "ipc.fits"
    kernels = 1 + np.arange(FULL * FULL, dtype=np.float32).reshape(1, 1, FULL, FULL) / FULL**2
    IPCModel(data=kernels).save(str(path))
    model = exposure(INTERLEAVED, raw_ramps(INTERLEAVED))
    assert np.any(both("ipc", model, {"ipc": path}).data != model.data)


def _changes_of_lines(case: Case) -> dict[str, Any]:
    """Return drifts and outliers among reference pixels that are anywhere, some of which may not be used."""
    rng = np.random.default_rng(case.seed)
    nints, _, nrows, ncols = case.shape
    data = rng.normal(0, 9, case.shape) + rng.normal(0, 100, (*case.shape[:2], 1, 1)) + 7 * (np.arange(ncols) // 512)
    flags = np.where(rng.random((nrows, ncols)) < 0.15, REFERENCE_PIXEL, 0).astype(np.uint32)
    data[..., (flags > 0) & (rng.random(flags.shape) < 0.1)] += 2000
    flags[rng.random(flags.shape) < 0.1] |= DO_NOT_USE
    made = {"data": data.astype(np.float32), "pixeldq": flags, "groupdq": np.zeros(case.shape, np.uint8)}
    if case.zeroframe:
        zero = rng.normal(50, 9, (nints, nrows, ncols)).astype(np.float32)
        zero[rng.random(zero.shape) < 0.05] = 0
        made["zeroframe"] = zero
    return made


@pytest.mark.parametrize(
    "parameters", [{}, {"odd_even_columns": False}, {"siglimit": 1.5, "use_side_ref_pixels": False}]
)
@pytest.mark.parametrize(
    ("axes", "shape", "start"),
    [
        ((1, 2), (2, 3, 36, FULL), (1, 1)),
        ((-1, -2), (2, 2, 36, 1301), (258, 2048)),
        ((2, 1), (1, 3, 700, 36), (1, 1000)),
        ((-2, -1), (1, 2, 701, 36), (2000, 1000)),
    ],
)
def test_drifts_of_each_output(
    axes: tuple[int, int], shape: tuple[int, int, int, int], start: tuple[int, int], parameters: dict[str, Any]
) -> None:
    """Bit for bit, whole and cut; one output has no reference pixels."""
    from jwst.refpix import RefPixStep

    case = replace(DHS, shape=shape, axes=axes, start=start, stripes=Stripes(4, 10, 8, 5, 0, 0, 0, 0))
    arrays = _changes_of_lines(case)
    (arrays["pixeldq"] if abs(axes[0]) == 1 else arrays["pixeldq"].T)[:, :250] = 0
    model = exposure(case, arrays)
    step, info = NATIVE["refpix"], exposure_info(model)
    params = step.params(**parameters)
    assert step.refuses(params, info) is None
    theirs = RefPixStep(**parameters).run(model)
    assert theirs.meta.cal_step.refpix == "COMPLETE"
    assert not np.array_equal(arrays["data"], theirs.data)
    for cuts in (None, cut_windows(case.shape, Reach(frozenset(("group",))), 100_000)):
        ours = run_fused([BoundStep(step, params, {})], arrays, info, cuts=cuts)
        assert np.array_equal(ours["data"], theirs.data)
        assert np.array_equal(ours["zeroframe"], theirs.zeroframe)


@pytest.mark.parametrize("parameters", [{}, {"fit_by_channel": True, "single_mask": False}])
def test_flicker_noise(parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jwst.ramp_fitting import RampFitStep

    case = replace(DHS, shape=(2, 5, 84, 120), zeroframe=False)
    paths = write_references(tmp_path, case, size=(FULL, 120), kinds=("gain", "readnoise"), realistic=True)
    for cls in (RampFitStep, step_class("ramp_fit")):
        monkeypatch.setattr(cls, "get_reference_file", lambda self, model, kind: str(paths[kind]))
    model = exposure(case, noisy_ramps(case))
    made = both("clean_flicker_noise", model, {}, skip=False, **parameters)
    assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
    assert np.nanstd(made.data - model.data) > 1


def test_what_is_left_to_the_official_steps_and_what_no_step_can_do(tmp_path: Path) -> None:
    step, info = NATIVE["superbias"], DHS.info
    assert step.refuses(step.params(), info) is None
    wrong = {
        "stripes without MSTR_SK2, MSTR_RPT": {"stripes": replace(DHS.stripes, skips2=None, repeat=None)},
        "stripes that do not fill its 37 lines": {"nrows": 37},
        "stripes without lines": {"stripes": replace(DHS.stripes, reads2=0)},
        "stripes that do not fit the detector": {"xstart": 2040},
        "stripes of MIRI": {"instrument": "MIRI"},
        "stripes of IRS2 frames": {"nrows": 3200},
        "unknown axes of the detector": {"slowaxis": 3},
    }
    for reason, change in wrong.items():
        assert step.refuses(step.params(), replace(info, **change)) == reason
        assert NATIVE["lastframe"].refuses(NATIVE["lastframe"].params(), replace(info, **change)) is None
    ipc = NATIVE["ipc"]
    with pytest.raises(InputError, match="Skip the step"):
        ipc.prepare({}, ipc.params(), replace(info, ystart=2048))
    case = replace(DHS, stripes=replace(DHS.stripes, skips2=2000))
    reference = Reference({"data": np.zeros((FULL, 24))}, {})
    meta = {
        f"meta.subarray.{name}": value
        for name, value in zip(("xstart", "ystart", "xsize", "ysize"), (1, 1, 24, FULL), strict=True)
    }
    for beyond in (replace(reference, meta=meta), replace(reference, meta=meta | {"meta.subarray.ystart": 2})):
        with pytest.raises(ReferenceFileError, match="the exposure has several stripes"):
            fit_to_exposure(beyond, ReferenceNeed("gain", ("data",)), case.placement, (36, 24))


def uncalibrated(path: Path, case: Case, **changes: Any) -> Path:
    """Write a raw exposure."""
    from stdatamodels.jwst.datamodels import Level1bModel

    arrays = raw_ramps(case, realistic=True)
    model = Level1bModel(data=arrays["data"].astype(np.uint16))
    model.update(exposure(case, arrays))
    if case.zeroframe:
        model.zeroframe = arrays["zeroframe"].astype(np.uint16)
    for name, value in changes.items():
        setattr(model.meta.exposure, name, value)
    model.int_times = times_of(case.shape[0])
    model.save(str(path))
    return path


def both_engines(pipeline: str, raw: Path, case: Case, paths: Mapping[str, Path], *words: str) -> dict[str, str]:
    """Run a pipeline by both engines with a context of references; return what became of the native steps."""
    cache, instrument = raw.parent / "crds", case.instrument.lower()
    place = cache / "references" / "jwst" / instrument
    place.mkdir(parents=True)
    rules = []
    for kind in {*paths} - {"ipc", "reset", "rscd"}:
        name = f"jwst_{instrument}_{kind}_0001.fits"
        (place / name).symlink_to(paths[kind])
        keys, values = ("META.INSTRUMENT.DETECTOR",), (case.detector,)
        rules.append(Rule(instrument, kind, keys, values, "2020-01-01T00:00:00", name))
    environment = {"CRDS_PATH": str(cache), "CRDS_CONTEXT": write_context(cache, rules)}
    return run(pipeline, raw, raw.parent / "out", words, environment)


def test_products(tmp_path: Path) -> None:
    case = replace(DHS, shape=(2, 6, 36, 700))
    raw = uncalibrated(tmp_path / "stripes_uncal.fits", case)
    words = ["--save_calibrated_ramp=true", "--steps.clean_flicker_noise.skip=false"]
    found = both_engines("calwebb_detector1", raw, case, references(tmp_path, case), *words)
    done = {"dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump", "ramp_fit"}
    assert {found[alias] for alias in done | {"clean_flicker_noise"}} == {"COMPLETE"}
    names = {path.name for path in (tmp_path / "out" / "auto").glob("*.fits")}
    assert names == {"stripes_rate.fits", "stripes_rateints.fits", "stripes_ramp.fits"}


# -- superstripes


SOSS_SETS = Case(
    "NIRISS", "NIS", "NIS_SOSS", shape=(6, 5, 40, 12), subarray="SUB680STRIPE_SOSS",
    axes=(-2, -1), start=(1990, 1), stripes=Stripes(4, 9, 8, 0, 0, 0, 8, 3), seed=5,
)  # fmt: skip
REPEATED = Case(
    "NIRCAM", "NRCB1", "NRC_IMAGE", shape=(6, 4, 20, 40), subarray="SUB64P_SUPSTP002", zeroframe=True, nframes=2,
    groupgap=1, axes=(-1, 2), start=(3, 5), stripes=Stripes(4, 0, 6, 0, 1, 0, 7, 2), seed=6,
)  # fmt: skip
"""Of which a line between stripes is not read."""


@st.composite
def superstripes(draw: st.DrawFn) -> tuple[Case, dict[str, int]]:
    """Return cases of any superstripes that can be put together, and which integrations of an exposure they are."""

    def number(least: int, most: int) -> int:
        return draw(st.integers(least, most))

    reads1, reads2, repeat, count = number(0, 4), number(0, 7), number(0, 1), number(1, 4)
    step = number(-5, 9) if reads2 else number(1, 9)
    repeats = number(1, 3) if repeat and reads2 else 1
    stripes = Stripes(reads1, 60, reads2, number(0, 9), repeat, 0, step, count)
    lines = repeats * (reads1 + (reads2 or step)) if repeat else reads1 + (reads2 or step)
    fast, slow, width = draw(st.sampled_from([1, -1])), draw(st.sampled_from([1, -1])), number(9, 20)
    place = draw(st.sampled_from([1, 300, 900] if slow > 0 else [1, 2048, 1200]))
    upright, name = draw(st.booleans()), draw(st.sampled_from([SOSS_SETS.subarray, REPEATED.subarray, DHS.subarray]))
    image, start = ((lines, width), (1, place)) if upright else ((width, lines), (place, 1))
    case = Case(
        shape=(count * number(1, 3), number(1, 3), *image), axes=(fast, 2 * slow) if upright else (2 * fast, slow),
        start=start, stripes=replace(stripes, from_first="DHS" in name), subarray=name, zeroframe=draw(st.booleans()),
        nframes=number(1, 3), groupgap=number(0, 2), seed=number(0, 99),
    )  # fmt: skip
    first = 1 + count * number(0, 2)
    last = first + case.shape[0] - 1
    return case, {"integration_start": first, "integration_end": last, "nints": last + number(0, 9)}


@settings(max_examples=60, deadline=None)
@given(drawn=superstripes(), noutputs=st.sampled_from([1, 4]))
def test_stripes_are_put_together_as_the_official_package_does(
    drawn: tuple[Case, dict[str, int]], noutputs: int
) -> None:
    """References for each stripe, and the ramp that they make: pixels, times, every keyword."""
    from jwst.lib.reffile_utils import get_subarray_model
    from jwst.lib.stripe_utils import collate_superstripes
    from stdatamodels.jwst import datamodels

    case, numbers = drawn
    rng = np.random.default_rng(case.seed)
    model = datamodels.SuperstripeRampModel(data=rng.normal(0, 9, case.shape).astype(np.float32))
    model.update(exposure(case, {"data": model.data}))
    model.groupdq = rng.integers(0, 256, case.shape, np.uint8)
    model.pixeldq = rng.integers(0, 2**32, (case.info.num_superstripe, *case.shape[2:]), np.uint32)
    if case.zeroframe:
        model.zeroframe = rng.normal(0, 9, (case.shape[0], *case.shape[2:])).astype(np.float32)
    model.int_times = times_of(case.shape[0])
    for name, value in {**numbers, "noutputs": noutputs}.items():
        setattr(model.meta.exposure, name, value)
    info = exposure_info(model)
    assert unknown_superstripes(info) is None
    size = (FULL, case.shape[3]) if abs(case.axes[1]) == 2 else (case.shape[2], FULL)
    gain = datamodels.GainModel(data=np.arange(size[0] * size[1], dtype=np.float32).reshape(size))
    where = {"xstart": 1, "ystart": 1, "xsize": size[1], "ysize": size[0]}
    for name, value in where.items():
        setattr(gain.meta.subarray, name, value)
    whole = Reference({"data": gain.data}, {f"meta.subarray.{name}": value for name, value in where.items()})
    theirs = get_subarray_model(model, gain)
    for k in range(info.num_superstripe):
        placement = replace(case.placement, stripes=of_stripe(info, k).stripes)
        cut = fit_to_exposure(whole, ReferenceNeed("gain", ("data",)), placement, case.shape[2:])
        assert np.array_equal(cut["data"], theirs.data[k])
    ours = join(model.copy(), info)
    theirs = collate_superstripes(model)
    same_model(ours, theirs)
    for table in ("int_times", "int_times_stripe"):
        assert np.array_equal(getattr(ours, table), getattr(theirs, table)), table
    assert joined(info) == exposure_info(theirs)


@pytest.mark.parametrize("case", [SOSS_SETS, REPEATED], ids=["soss", "repeated"])
def test_every_step_of_superstripes(case: Case, tmp_path: Path) -> None:
    """Until they are put together; each goes on with what the official step before it made."""
    from stdatamodels.jwst.datamodels import SuperstripeRampModel

    numbers = {"nints": case.shape[0], "integration_end": case.shape[0], "frame_divisor": 3}
    width = case.start[0] - 1 + case.shape[3]
    kinds = ("mask", "saturation", "superbias", "ipc")
    paths = write_references(
        tmp_path, case, kinds=kinds, size=(FULL, width) if abs(case.axes[1]) == 2 else (case.shape[2], FULL)
    )
    with SuperstripeRampModel(str(uncalibrated(tmp_path / "super_uncal.fits", case, **numbers))) as raw:
        model = raw.copy()
    for alias in ("group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix"):
        before = model.copy()
        model = both(alias, model, paths)
        assert getattr(model.meta.cal_step, NATIVE[alias].cal_step) == "COMPLETE", alias
        assert any(not np.array_equal(getattr(before, name), getattr(model, name)) for name in NAMES[:3]), alias
    assert type(model).__name__ == "RampModel"


def test_superstripes_that_are_left_to_the_official_steps() -> None:
    info = replace(REPEATED.info, exposure_nints=6, noutputs=4)
    stripes = REPEATED.stripes
    assert stripes is not None
    assert unknown_superstripes(info) is None
    wrong: dict[str, dict[str, Any]] = {
        "superstripe exposures": {"stripes": None},
        "superstripes that are not complete": {"nints": 5},
        "superstripes of several places each": {"stripes": replace(stripes, interleave=1)},
        "superstripes of unknown read times": {"noutputs": 2},
        "superstripes that do not fit the detector": {"ystart": 2040},
        "stripes without SSTR_STP": {"stripes": replace(stripes, step=None)},
    }
    for reason, change in wrong.items():
        changed = replace(info, **change)
        assert unknown_superstripes(changed) == reason
        assert facts_at(changed, "dq_init", ["dq_init", "refpix"]) is changed
    for alias in ("linearity", "jump", "ramp_fit"):
        step = NATIVE[alias]
        assert step.refuses(step.params(), facts_at(info, alias, [alias, "refpix"])) is None
        assert step.refuses(step.params(), facts_at(info, alias, [alias])) == "superstripe exposures"
    step = NATIVE["dq_init"]
    flags = step.params(user_supplied_dq="flags.fits")
    assert step.refuses(flags, facts_at(info, "dq_init", ["dq_init"])) == "user_supplied_dq of superstripes"


def engines(pipeline: str, case: Case, folder: Path, *words: str, **changes: Any) -> dict[str, str]:
    """Run a pipeline on a superstripe exposure by both engines; return what became of the native steps."""
    whole = joined(replace(case.info, exposure_nints=case.shape[0], noutputs=4))
    wide = case.start[0] - 1 + case.shape[3] if abs(case.axes[1]) == 2 else case.start[1] - 1 + case.shape[2]
    paths = write_references(folder, case, size=(FULL, wide) if abs(case.axes[1]) == 2 else (wide, FULL))
    dark = (1, 0, whole.ngroups * (case.nframes + case.groupgap))
    size = (whole.nrows, whole.ncols)
    paths |= write_references(folder, case, size=size, kinds=("dark",), dark_rate=0.4, dark_readout=dark)
    raw = uncalibrated(folder / "super_uncal.fits", case, **{"nints": case.shape[0], **changes})
    return both_engines(pipeline, raw, case, paths, *words)


@pytest.mark.parametrize("case", [SOSS_SETS, REPEATED], ids=["soss", "repeated"])
def test_products_of_superstripes(case: Case, tmp_path: Path) -> None:
    """All products, and what steps made before stripes are put together, while they are, and after it."""
    words = [f"--steps.{alias}.save_results=true" for alias in ("saturation", "superbias", "refpix", "jump")]
    segment = {"nints": 4 * case.shape[0], "integration_start": 1 + case.shape[0], "integration_end": 2 * case.shape[0]}
    found = engines("calwebb_detector1", case, tmp_path, *words, "--save_calibrated_ramp=true", **segment)
    done = {"dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump", "ramp_fit"}
    assert {found[alias] for alias in done} == {"COMPLETE"}
    names = {path.name.removeprefix("super_") for path in (tmp_path / "out" / "auto").glob("*.fits")}
    steps = {f"{alias}.fits" for alias in ("saturation", "superbias", "refpix", "jump")}
    assert names == {"rate.fits", "rateints.fits", "ramp.fits", *steps}


@pytest.mark.parametrize("alias", ["saturation", "refpix"])
def test_a_single_step_of_superstripes(alias: str, tmp_path: Path) -> None:
    assert engines(alias, REPEATED, tmp_path) == {alias: "COMPLETE"}
