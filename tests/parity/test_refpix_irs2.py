"""The native correction of IRS2 frames against the official one: what is bad, what replaces it, and all the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import calservice.steps
from calservice.model.block import Block, Window
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import InputError
from calservice.model.step import Reference
from calservice.references.load import load_reference
from calservice.run.blocks import BoundStep, run_fused
from calservice.run.models import exposure_info, source_arrays
from calservice.steps.registry import NATIVE
from calservice.steps.stage1._refpix_irs2_bad import sources
from calservice.steps.stage1._refpix_irs2_layout import layout
from calservice.steps.stage1._refpix_irs2_tally import bad_rows, look_at_pairs, pairs_together
from calservice.steps.stage1.saturation import irs2_science_rows
from tests.parity.irs2 import NAMED, exposure, write_reference
from tests.parity.synthetic import same

pytestmark = pytest.mark.official

STEP = NATIVE["refpix"]
ARRAYS = ("data", "pixeldq", "groupdq")
MEANS = {"irs2_mean_subtraction": True}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reference(tmp_path_factory.mktemp("references") / "refpix.fits")


def bad_in_blocks(data: Any, pixeldq: Any, limit: float, info: Any) -> Any:
    """Look at blocks that cut pairs of reference pixels, integrations and some of the columns."""
    windows = [
        Window(ints, (0, info.ngroups), rows, columns)
        for ints in ((0, 1), (1, 2))
        for rows in pairwise((0, 9, 700, 1289, 1330, 2501, 3200))
        for columns in (((0, 10), (10, 24)) if rows[0] == 1289 else ((0, 24),))
    ]
    whole = Block({"data": data, "pixeldq": pixeldq}, Window.whole(data.shape))
    params = STEP.params(ovr_corr_mitigation_ftr=limit)
    parts = [look_at_pairs(whole.cut(window), {}, params, info) for window in reversed(windows)]
    return bad_rows(pairs_together(parts))["irs2_bad_rows"]


def where_kept(detector: str, rows: int) -> Any:
    return slice(None) if rows == 3200 else irs2_science_rows(3200, detector)


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
@pytest.mark.parametrize("limit", [3.0, 1.5])
def test_bad_reference_pixels(detector: str, limit: float) -> None:
    """On few columns, so that there can be many cases: the same rows are bad, and become the same."""
    from jwst.refpix import irs2_subtract_reference as official

    for seed in range(3):
        model = exposure(detector, (2, 3), ncols=24, seed=seed)
        raw, flags = np.array(model.data), np.array(model.pixeldq)
        bad = bad_in_blocks(raw, flags, limit, exposure_info(model))
        official.flag_bad_refpix(model, n_sigma=limit, flag_only=True)
        theirs = (model.pixeldq & PIXEL_FLAGS["BAD_REF_PIXEL"] != 0).all(axis=1)
        assert np.array_equal(bad, theirs)
        assert np.count_nonzero(bad) > np.count_nonzero((flags & PIXEL_FLAGS["BAD_REF_PIXEL"]).any(axis=1)) + 3
        official.flag_bad_refpix(model, replace_only=True)
        where = layout(detector)
        turn = -1 if where.backwards else 1
        columns = np.array(list(NAMED), [("output", "u2"), ("odd_even", "u2"), ("mask", "u4")])
        turned = np.swapaxes(model.data, 2, 3)[:, :, ::turn, ::turn]
        is_reference = np.tile(where.reference, 5)
        named = (columns[name] for name in columns.dtype.names)
        official.clobber_ref(turned, *named, bad[::turn].copy(), is_reference)
        found = sources(bad, columns, where.backwards)
        ours = (raw[:, :, found.first] + raw[:, :, found.second]) / np.float32(2)
        ours[:, :, found.first < 0] = 0
        assert (found.first < 0).any()
        assert np.array_equal(ours, model.data)


@pytest.mark.parametrize(
    ("detector", "shape", "table", "parameters"),
    [
        ("NRS1", (2, 2), True, {}),
        ("NRS2", (1, 2), True, {"irs2_mean_subtraction": True, "ovr_corr_mitigation_ftr": 2.0}),
        ("NRS2", (1, 2), False, {"preserve_irs2_refpix": True, **MEANS, "odd_even_columns": False, "siglimit": 2.0}),
    ],
    ids=["default", "means", "preserved"],
)
def test_parity(
    detector: str, shape: tuple[int, int], table: bool, parameters: dict[str, Any], reference: Path, tmp_path: Path
) -> None:
    """Equal bit for bit, a rare last digit apart; the class is taken where there are parameters."""
    from jwst.refpix import RefPixStep

    path = reference if table else write_reference(tmp_path / "refpix.fits", table=())
    model = exposure(detector, shape)
    if not table:
        model.meta.exposure.readpatt = "NRSN32R8"  # which is told for people only: NRS_NORM and NRS_REF decide
    info, params = exposure_info(model), STEP.params(**parameters)
    assert STEP.supports(params, info) is None
    source = {name: np.array(array) for name, array in source_arrays(model, [STEP]).items()}
    if parameters:
        step = calservice.steps.RefPixStep(override_refpix=str(path), **parameters)
        made = step.process(model.copy())
        assert made.meta.cal_step.refpix == "COMPLETE"
        ours = {name: getattr(made, name) for name in ARRAYS}
    else:
        for array in source.values():
            array.flags.writeable = False
        bound = BoundStep(STEP, params, {"refpix": load_reference(path, STEP.references[0])})
        ours = run_fused([bound], source, info, threads=2)
        whole = run_fused([bound], source, info, kept_bytes=0)  # which does not cut groups
        assert all(np.array_equal(ours[name], whole[name], equal_nan=True) for name in ours)
    theirs = RefPixStep(override_refpix=str(path), **parameters).process(model)
    assert theirs.meta.cal_step.refpix == "COMPLETE"
    rows = 3200 if params.preserve_irs2_refpix else 2048
    assert ours["data"].shape == (*shape, rows, 2048)
    for name in ARRAYS:
        assert ours[name].dtype == getattr(theirs, name).dtype
        same(ours[name], getattr(theirs, name), name)
        assert np.mean(ours[name] == getattr(theirs, name)) > 0.999
    assert np.ptp(ours["data"] - source["data"][:, :, where_kept(detector, rows)]) > 10


@pytest.mark.parametrize("preserved", [False, True])
def test_exposures_are_cut_anyhow(preserved: bool, reference: Path, tmp_path: Path) -> None:
    """Frame by frame in place of what there was, by integrations computed again and kept on disk, or as a whole."""
    model = exposure("NRS2", (2, 2))
    rng = np.random.default_rng(1)
    bias = {"data": rng.uniform(0, 50, (3200, 2048)).astype(np.float32), "dq": np.zeros((3200, 2048), np.uint32)}
    steps = [
        BoundStep(NATIVE["superbias"], NATIVE["superbias"].params(), {"superbias": Reference(bias, {})}),
        BoundStep(
            STEP,
            STEP.params(preserve_irs2_refpix=preserved),
            {"refpix": load_reference(reference, STEP.references[0])},
        ),
    ]
    source, info = source_arrays(model, [bound.step for bound in steps]), exposure_info(model)
    made = run_fused(steps, source, info, threads=2)
    for how in ({"kept_bytes": 0, "scratch": tmp_path}, {"block_bytes": 2**40}):
        other = run_fused(steps, source, info, **how)
        assert other.keys() == made.keys()
        assert all(np.array_equal(np.asarray(other[name]), made[name], equal_nan=True) for name in made)


@pytest.mark.parametrize("pattern", [(8, 2), (32, 8), (16, 6), (None, 4)])
def test_other_patterns(pattern: tuple[int | None, int], reference: Path) -> None:
    """The official step fails at each, since references are those of one pattern; ours says what is wrong."""
    from jwst.refpix import RefPixStep

    model = exposure("NRS1", (1, 1))
    model.meta.filename = "x_uncal.fits"
    model.meta.exposure.nrs_normal, model.meta.exposure.nrs_reference = pattern
    told = f"x_uncal.fits: its header says NRS_NORM={pattern[0]}, NRS_REF={pattern[1]}, .* Correct it"
    with pytest.raises(InputError, match=told):
        calservice.steps.RefPixStep(override_refpix=str(reference)).process(model.copy())
    with pytest.raises((ValueError, IndexError, TypeError)):
        RefPixStep(override_refpix=str(reference)).process(model)
    for alias in ("saturation", "ipc"):  # these have official steps that know such patterns
        step, info = NATIVE[alias], exposure_info(model)
        assert "other than of 16 pixels and 4 reference pixels" in str(step.supports(step.params(), info))
        assert step.supports(step.params(), replace(info, irs2_pattern=(16, 4))) is None


def test_what_is_skipped_or_left_to_the_official_step(tmp_path: Path) -> None:
    info = replace(exposure_info(exposure("NRS1", (1, 1), ncols=8)), ncols=2048)
    params = STEP.params()
    assert STEP.supports(params, info) is None
    assert STEP.not_applicable({}, params, info) == "No REFPIX reference file found"
    short = load_reference(write_reference(tmp_path / "short.fits", length=8), STEP.references[0])
    assert STEP.not_applicable({"refpix": short}, params, info) == "the refpix reference is not one of IRS2 frames"
    for other in ({"detector": "NRCA1"}, {"nrows": 4000}, {"ncols": 1024}):
        assert "other than 3200 x 2048" in str(STEP.supports(params, replace(info, **other)))
    turned = replace(info, fastaxis=1, slowaxis=2)
    assert STEP.supports(params, turned) is None
    assert STEP.supports(STEP.params(irs2_mean_subtraction=True), turned) == "unknown axes of the detector"
