"""Laws of block steps: cutting changes nothing, inputs stay as they are, declarations are true."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calservice.disk import DiskArray, scratch_array
from calservice.model.block import AXES, Block, Reach, Window
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.passes import cut_windows
from calservice.model.step import Reference, Step
from calservice.recipes import recipe_for
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep, Chain, with_parts
from calservice.steps.registry import NATIVE
from calservice.steps.stage1._emicorr_case import emi_arrays
from calservice.steps.stage1.ramp_fit import RATE_ARRAYS
from tests.parity.synthetic import Case, flagged_ramps, raw_ramps

Array = NDArray[Any]
SHAPE = (3, 5, 24, 28)
RSCD_COLUMNS = [("subarray", "U17"), ("readpatt", "U12"), ("group_skip1", "i4"), ("group_skip", "i4")]
CASES = {
    "nircam": Case(shape=SHAPE, zeroframe=True),
    "nircam averaged": Case(shape=SHAPE, nframes=4, groupgap=1, zeroframe=True, frame_divisor=8),
    "miri": Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=SHAPE),
    "miri subarray": Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=SHAPE, readpatt="FASTR1", subarray="SUB64"),
    "guider": Case("FGS", "GUIDER1", "FGS_ID-STACK", shape=SHAPE),
}
INTERFERENCE = {
    "frequencies": {"Hz390": {"frequency": 390.625, "phase_amplitudes": np.sin(np.arange(100) * 2 * np.pi / 100)}},
    "subarray_cases": {"SUB64": {"rowclocks": 28, "frameclocks": 8512, "freqs": {"FAST": ["Hz390"]}}},
}
PIPELINES = {"FGS": "calwebb_guider"}
OPTIONS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "saturation": ({}, {"n_pix_grow_sat": 2}, {"n_pix_grow_sat": 0, "use_readpatt": False}),
    "ramp_fit": (
        {},
        {"suppress_one_group": False},
        {"firstgroup": 1},
        {"save_opt": True},
        {"algorithm": "LIKELY", "save_opt": True},
    ),
    "dark_current": ({}, {"average_dark_current": 0.5}),
    "firstframe": ({}, {"bright_use_group1": False}),
    "jump": (
        {},
        {"flag_4_neighbors": False, "min_diffs_single_pass": 3},
        {"min_jump_to_flag_neighbors": 3, "after_jump_flag_dn1": 500, "after_jump_flag_time1": 25},
        {"minimum_sigclip_groups": 3, "rejection_threshold": 1.2},
        {"minimum_sigclip_groups": 13, "only_use_ints": False, "rejection_threshold": 1.5},
    ),
    "emicorr": (
        {},
        {"fit_ints_separately": True},
        {"algorithm": "sequential"},
        {"onthefly_corr_freq": [390.625], "save_intermediate_results": True},
    ),
    "persistence": (
        {"persistence_time": 30},
        {"persistence_time": 400, "dn_threshold": 20000.0, "save_persistence": "kept.asdf", "persistence_dnu": True},
    ),
    "charge_migration": ({}, {"signal_threshold": 12000.0}),
    "clean_flicker_noise": (
        {"apply_flat_field": True},
        {"apply_flat_field": True, "single_mask": False, "background_method": "model"},
        {"save_mask": True, "save_background": True, "save_noise": True},
        {"background_method": "median_image", "save_background": True},
    ),
}


def some(rng: np.random.Generator, values: Array, bad: float, chance: float = 0.03) -> Array:
    """Return float32 values, a few of them bad."""
    made = values.astype(np.float32)
    made[rng.random(made.shape) < chance] = bad
    return made


def references_of(step: Step, case: Case, seed: int = 0) -> dict[str, Reference]:
    """Return read-only references with everything that a step declares."""
    rng = np.random.default_rng(seed)
    image = case.shape[2:]
    flags = rng.choice(np.array([0, 0, 0, 1, 1 << 20, 1 << 21], np.uint32), image)
    coefficients = rng.normal(0, 1, (4, *image)) * np.array([1, 0.1, 1e-7, 1e-12])[:, None, None]
    coefficients[1] += 1
    darks = (2, 9, *image) if case.instrument == "MIRI" else (9, *image)
    made = {
        "mask": {"dq": flags},
        "saturation": {"data": some(rng, rng.uniform(2e4, 6e4, image), np.nan), "dq": flags},
        "superbias": {"data": some(rng, rng.uniform(8e3, 9e3, image), np.nan), "dq": flags},
        "linearity": {
            "coeffs": some(rng, coefficients, np.nan, 0.01),
            "inv_coeffs": some(rng, coefficients, np.nan, 0.01),
            "dq": flags,
        },
        "dark": {
            "data": some(rng, rng.normal(3, 1, darks), np.nan),
            "dq": np.stack([flags, flags << 1])[:, None] if len(darks) == 4 else flags,
            "average_dark_current": np.zeros(image, np.float32),
        },
        "ipc": {
            "data": rng.uniform(-0.1, 1, (3, 5, *image) if case.instrument == "MIRI" else (5, 3)).astype(np.float32)
        },
        "reset": {"data": some(rng, rng.normal(3, 1, (2, 4, *image)), np.nan), "dq": flags},
        "rscd": {"rscd_group_skip_table": np.array([(case.subarray, case.readpatt, 1, 2)], RSCD_COLUMNS)},
        "emicorr": emi_arrays(INTERFERENCE),
        "gain": {"data": some(rng, rng.uniform(1, 2, image), np.nan)},
        "flat": {"data": some(rng, rng.uniform(0.9, 1.1, image), np.nan)},
        "readnoise": {"data": some(rng, rng.uniform(5, 20, image), np.nan)},
    }
    meta = {
        "meta.exposure.nframes": 1,
        "meta.exposure.groupgap": 0,
        "meta.exposure.average_dark_current": 0.3,
        "meta.exposure.nints": 2,
        "meta.exposure.ngroups": 4,
        "meta.exposure.gain_factor": 1.7,
    }
    for arrays in made.values():
        for array in arrays.values():
            array.flags.writeable = False
    return {need.reftype: Reference(made[need.reftype], meta) for need in step.references if need.reftype in made}


def chain(case: Case) -> tuple[str, ...]:
    """Return the native steps that apply to a case, in order."""
    recipe = recipe_for(PIPELINES.get(case.instrument, "calwebb_detector1"), case.instrument)
    assert recipe is not None
    steps = [NATIVE[alias] for alias in recipe.steps if alias in NATIVE]
    return tuple(s.alias for s in steps if not s.not_applicable(references_of(s, case), s.params(), case.info))


def cases_of(alias: str) -> dict[str, Case]:
    """Return the cases that a step applies to."""
    return {kind: case for kind, case in CASES.items() if alias in chain(case)}


def source_of(case: Case, step: str, masks: Sequence[tuple[Window, int]]) -> dict[str, Array]:
    """Return read-only arrays as they come to a step, with flags set in whole windows."""
    if step == "gain_scale":
        return fitted(case)
    made = flagged_ramps(case) if step == "ramp_fit" else raw_ramps(case)
    made.setdefault("groupdq", np.zeros(case.shape, np.uint8))
    made.setdefault("pixeldq", np.zeros(case.shape[2:], np.uint32))
    if step == "refpix":
        made["pixeldq"][:, :4] = PIXEL_FLAGS["REFERENCE_PIXEL"]
    for window, flag in masks:
        made["groupdq"][window.slices(AXES["groupdq"])] |= np.uint8(flag)
    for array in made.values():
        array.flags.writeable = False
    return made


def fitted(case: Case) -> dict[str, Array]:
    """Return read-only fitted images."""
    rng = np.random.default_rng(case.seed)
    lengths = dict(zip(AXES["data"], SHAPE, strict=True))
    made = {}
    for name in NATIVE["gain_scale"].reads:
        made[name] = rng.normal(0, 10, [lengths[axis] for axis in AXES[name]]).astype(np.float32)
        made[name].flags.writeable = False
    return made


def bound(names: Sequence[str], case: Case, options: Mapping[str, Any]) -> list[BoundStep]:
    """Return steps with references and parameters."""
    steps = [NATIVE[name] for name in names]
    return [BoundStep(s, s.params(**options.get(s.alias, {})), references_of(s, case)) for s in steps]


def parts(draw: st.DrawFn, length: int, whole: bool) -> list[tuple[int, int]]:
    """Draw consecutive ranges that make up an axis."""
    inner = [] if whole else draw(st.lists(st.integers(1, max(1, length - 1)), max_size=3))
    edges = sorted({0, length, *(k for k in inner if k < length)})
    return list(itertools.pairwise(edges))


@st.composite
def windows(draw: st.DrawFn, reach: Reach) -> list[Window]:
    """Draw windows that cover an exposure and cut only where a reach allows it."""
    axes = ("integration", "group", "row", "column")
    ranges = [parts(draw, n, axis in reach.whole) for axis, n in zip(axes, SHAPE, strict=True)]
    made = [Window(i, g, y, x) for i in ranges[0] for g in ranges[1] for y in ranges[2] for x in ranges[3]]
    return draw(st.permutations(made)) if len(made) < 12 else made


@st.composite
def masks(draw: st.DrawFn) -> list[tuple[Window, int]]:
    """Draw windows all of whose groups have a flag, whole exposures among them."""
    made = []
    for _ in range(draw(st.integers(0, 2))):
        ranges = []
        for length in SHAPE:
            a = draw(st.integers(0, length - 1))
            ranges.append(draw(st.sampled_from([(0, length), (a, length), (0, a + 1)])))
        flag = draw(st.sampled_from(["DO_NOT_USE", "SATURATED", "JUMP_DET"]))
        made.append((Window(*ranges), PIXEL_FLAGS[flag]))
    return made


def outcome(run: list[BoundStep], source: Mapping[str, Array], case: Case, **how: Any) -> Any:
    """Return what steps make, or the text of why they make nothing."""
    from calservice.model.errors import NoScienceData

    told: dict[str, Any] = {}
    try:
        made = run_fused(run, source, case.info, metadata=told, **how)
        return {**made, "metadata": np.array(repr(sorted(told.items())))}
    except NoScienceData as reason:
        return str(reason)


def reach_of(run: Sequence[BoundStep], case: Case) -> Reach:
    """Return the reach of steps in a row."""
    reach = Reach()
    for b in run:
        for part in with_parts(b, case.info):
            reach = reach.then(part.reach(case.info))
    return reach


LAWS = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])


CHAINS = [(kind, chain(case)[:stop]) for kind, case in CASES.items() for stop in (-2, None)]
SINGLE = [(kind, (name,)) for name in NATIVE for kind in cases_of(name)]


@pytest.mark.parametrize(("kind", "names"), SINGLE + [c for c in CHAINS if len(c[1]) > 1])
@LAWS
@given(data=st.data())
def test_cutting_changes_nothing(kind: str, names: tuple[str, ...], data: st.DataObject) -> None:
    case = CASES[kind]
    options = {name: data.draw(st.sampled_from(OPTIONS.get(name, ({},)))) for name in names}
    run = bound(names, case, options)
    source = source_of(case, names[0], data.draw(masks()))
    whole = outcome(run, source, case, cuts=[Window.whole(SHAPE)])
    cuts = data.draw(windows(reach_of(run, case)))
    cut = outcome(run, source, case, cuts=cuts, threads=data.draw(st.sampled_from([1, 2])))
    if isinstance(whole, str):
        assert cut == whole
        return
    assert set(cut) == set(whole)
    for name, expected in whole.items():
        assert cut[name].dtype == expected.dtype
        assert cut[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("kind", CASES)
def test_default_cuts_and_file_byte_order_change_nothing(kind: str) -> None:
    case = CASES[kind]
    run = bound(chain(case), case, {})
    source = source_of(case, "dq_init", [])
    stored = {"data": source["data"].astype(">u2")}
    if "zeroframe" in source:
        stored["zeroframe"] = source["zeroframe"].astype(">u2")
    whole = run_fused(run, source, case.info, cuts=[Window.whole(SHAPE)])
    for threads, size in ((1, 1), (3, 20000)):
        cut = run_fused(run, stored, case.info, threads=threads, block_bytes=size)
        for name, expected in whole.items():
            assert cut[name].tobytes() == expected.tobytes(), name


@pytest.mark.parametrize("kind", ["nircam", "miri"])
def test_what_does_not_fit_memory_is_made_again_or_kept_on_disk(kind: str, tmp_path: Path) -> None:
    case = CASES[kind]
    run = bound(chain(case), case, {"jump": {"find_showers": False, "expand_large_events": True}})
    source = source_of(case, "dq_init", [])
    whole = run_fused(run, source, case.info, outputs=RATE_ARRAYS)
    for threads in (1, 3):
        how: dict[str, Any] = {"threads": threads, "block_bytes": 3000, "kept_bytes": 0, "scratch": tmp_path}
        cut = run_fused(run, source, case.info, outputs=RATE_ARRAYS, **how)
        assert set(cut) == set(whole)
        for name, expected in whole.items():
            assert isinstance(cut[name], DiskArray) == name.startswith("int_")
            assert np.asarray(cut[name]).tobytes() == expected.tobytes(), name
    assert list(tmp_path.iterdir()) == []


def test_ramps_are_made_again_without_steps_that_only_leave_remarks() -> None:
    """For rscd flags an image by what it finds in all integrations, of which ramps are made again one by one."""
    case = CASES["miri"]
    names = [name for name in chain(case) if name not in ("emicorr", "firstframe")]
    steps = bound(names[: names.index("jump")], case, {})
    run = Chain([part for b in steps for part in with_parts(b, case.info)], {}, case.info, Window.whole(SHAPE))
    assert "rscd" in names
    assert "integration" in run.reach.whole
    assert "integration" not in run.making(["data"]).reach.whole


def on_disk(array: Array, folder: Path) -> DiskArray:
    """Return a copy of an array in a file."""
    made = scratch_array(array.shape, array.dtype, folder)
    made[...] = array
    return made


@pytest.mark.parametrize("last", [28, 20])
def test_columns_of_arrays_on_disk_are_cut_in_bands_of_rows(last: int, tmp_path: Path) -> None:
    """With ``last`` below their number some columns are left out, and stay zero."""
    case = CASES["nircam"]
    names = [name for name in chain(case) if name != "clean_flicker_noise"]  # which looks at whole images
    run = bound(names, case, {"jump": {"find_showers": False, "expand_large_events": False}})
    source = source_of(case, "dq_init", [])
    whole = run_fused(run, source, case.info, outputs=RATE_ARRAYS)
    nints, ngroups, nrows, _ = SHAPE
    cuts = [
        Window((0, nints), (0, ngroups), (y, min(y + 10, nrows)), (x, min(x + 8, last)))
        for y in range(0, nrows, 10)
        for x in range(0, last, 8)
    ]
    disk = {name: on_disk(np.asarray(array), tmp_path) for name, array in source.items()}
    for threads in (1, 3):
        how: dict[str, Any] = {"threads": threads, "cuts": cuts, "kept_bytes": 0, "scratch": tmp_path}
        cut = run_fused(run, disk, case.info, outputs=RATE_ARRAYS, **how)
        for name, expected in whole.items():
            found = np.asarray(cut[name])
            assert found[..., :last].tobytes() == expected[..., :last].tobytes(), name
            assert not found[..., last:].any()


@settings(deadline=None)
@given(
    st.tuples(*(st.integers(1, 40) for _ in range(4))),
    st.sets(st.sampled_from(["integration", "row", "column"])),
    st.integers(0, 3),
    st.integers(1, 100000),
)
def test_default_windows_cover_the_exposure_once(
    shape: tuple[int, int, int, int], whole: set[Any], halo: int, size: int
) -> None:
    reach = Reach(frozenset(whole), {"row": halo})
    seen = np.zeros(shape, int)
    for window in cut_windows(shape, reach, size):
        seen[window.slices(AXES["data"])] += 1
        for axis in whole:
            assert getattr(window, axis) == getattr(Window.whole(shape), axis)
    assert (seen == 1).all()


def test_windows_that_cut_too_much_are_refused() -> None:
    case = CASES["nircam"]
    half = Window((0, 3), (0, 2), (0, 24), (0, 28))
    with pytest.raises(ValueError, match="group axis must be whole"):
        run_fused(bound(["saturation"], case, {}), source_of(case, "", []), case.info, cuts=[half])


class Seen(dict[str, Any]):
    """A mapping that remembers what is looked up in it."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.used.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.used.add(key)
        return super().get(key, default)


def tally_of(bound: BoundStep, arrays: Mapping[str, Array], case: Case) -> Mapping[str, Array]:
    """Return what a step's kernel waits for."""
    step = bound.step
    if step.tally is None or not step.tally.required(bound.params, case.info):
        return {}
    part = step.tally.chunk(Block(arrays, Window.whole(SHAPE)), bound.references, bound.params, case.info)
    return step.tally.finalize(step.tally.combine([part]), lambda work, items: [*map(work, items)])


@pytest.mark.parametrize("name", NATIVE)
def test_references_and_arrays_declared_are_those_used(name: str) -> None:
    step, used, read = NATIVE[name], set(), set()
    declared: set[tuple[str, str]] = set()
    cases = cases_of(name)
    if not cases:
        pytest.skip("applies to none of these small exposures")
    for case in cases.values():
        for options in OPTIONS.get(name, ({},)):
            params = step.params(**options)
            needs = [need for need in step.references if need.needed(params, case.info)]
            declared |= {(need.reftype, array) for need in needs for array in need.arrays}
            recorders = {
                kind: replace(reference, arrays=Seen({**reference.arrays, "err": None}))
                for kind, reference in references_of(step, case).items()
            }
            references = Seen(recorders)
            prepared = step.prepare(references, params, case.info)
            assert step.not_applicable(references, params, case.info) is None
            step.metadata(references, params, case.info)
            average = np.zeros(SHAPE[2:], np.float32)
            plain = {**source_of(case, name, []), "average_dark_current": average}
            tallied = tally_of(BoundStep(step, params, prepared), plain, case)
            plain |= {array: plain[array].copy() for array in step.spends}  # the others cannot be written to
            arrays = Seen({**plain, **tallied})
            block = Block(arrays, Window.whole(SHAPE))
            made = step.kernel(block, prepared, params, case.info)
            assert set(made) <= set(step.writes)
            for kind, array in block.updated(made).arrays.items():
                assert kind not in made or array.ndim == len(AXES[kind])
            used |= {(kind, n) for kind, r in recorders.items() for n in r.arrays.used}
            read |= arrays.used - tallied.keys()
    assert used == declared
    assert read <= set(step.reads)


@pytest.mark.parametrize("name", [name for name, step in NATIVE.items() if step.spends])
def test_what_steps_overwrite_is_their_own(name: str) -> None:
    for case in cases_of(name).values():
        source = {array: values.copy() for array, values in source_of(case, name, []).items()}
        before = {array: values.copy() for array, values in source.items()}
        made = run_fused(bound([name], case, {}), source, case.info)
        spent = made.keys() & set(NATIVE[name].spends)
        assert not any(np.shares_memory(made[array], source[array]) for array in spent)
        for array, values in before.items():
            assert source[array].tobytes() == values.tobytes(), array


@pytest.mark.official
def test_every_step_records_itself_in_a_keyword_of_the_schema() -> None:
    from stdatamodels.jwst.datamodels import RampModel

    def find(schema: Mapping[str, Any], path: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        if not path:
            yield schema
        for part in schema.get("allOf", ()):
            yield from find(part, path)
        if path and path[0] in schema.get("properties", {}):
            yield from find(schema["properties"][path[0]], path[1:])

    schema = RampModel().schema
    for step in NATIVE.values():
        found = list(find(schema, ["meta", "cal_step", step.cal_step]))
        assert any("fits_keyword" in entry for entry in found), step.alias


@pytest.mark.parametrize(
    "options", [{}, {"minimum_sigclip_groups": 3}, {"minimum_sigclip_groups": 13, "only_use_ints": False}]
)
def test_tallies_see_all_integrations_where_their_kernel_does(options: Mapping[str, Any]) -> None:
    case = replace(CASES["nircam"], shape=(40, 5, 24, 28))
    run = bound(["dq_init", "saturation", "superbias", "jump", "ramp_fit"], case, {"jump": options})
    source = source_of(case, "dq_init", [])
    whole = run_fused(run, source, case.info, cuts=[Window.whole(case.shape)])
    cut = run_fused(run, source, case.info, block_bytes=12000)
    for name, expected in whole.items():
        assert cut[name].tobytes() == expected.tobytes(), name
