"""The native side pixel correction by convolution (SIRS) against the official one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.model.block import Reach
from calservice.references.load import load_reference
from calservice.run.blocks import BoundStep, cut_windows, run_fused
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE
from tests.parity.test_refpix import FULL, ramp

pytestmark = pytest.mark.official

STEP = NATIVE["refpix"]
FRAME = replace(FULL, shape=(1, 2, 2048, 2048))


def write_kernels(path: Path) -> Path:
    """Write a reference with coefficients of two detectors."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(4)
    model = datamodels.SIRSKernelModel()
    falling = 1 / (1 + np.arange(1025) / 20)
    for detector in ("nrcb1", "nis"):
        made = {name: falling * rng.uniform(0.4, 0.7, (4, 1)) for name in ("gamma", "zeta")}
        setattr(model, detector, made)
    model.meta.description, model.meta.author, model.meta.reftype = "synthetic", "test", "sirskernel"
    model.meta.pedigree, model.meta.useafter = "DUMMY", "2020-01-01T00:00:00"
    model.meta.instrument.name = "NIRCAM"
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kernels(tmp_path_factory.mktemp("references") / "sirskernel.asdf")


def part(start: tuple[int, int], *shape: int, **changed: Any) -> dict[str, Any]:
    """Return what makes a frame a subarray that is read through four outputs. Its name decides on the algorithm."""
    return {"subarray": "FULLP", "start": start, "shape": shape, "zeroframe": True, **changed}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("axes", "changed", "parameters"),
    [
        ((-1, 2), {"zeroframe": True}, {}),
        ((1, -2), {}, {"sigreject": 2.0, "gaussmooth": 2.5, "halfwidth": 12, "odd_even_columns": False}),
        ((2, 1), {"instrument": "NIRISS", "detector": "NIS"}, {}),
        ((-2, -1), {}, {"halfwidth": 50}),
        ((-1, 2), {"detector": "NRCB2"}, {}),
        ((-1, 2), {}, {"use_side_ref_pixels": False}),
        ((1, -2), part((1, 1), 2, 2, 64, 2048), {}),
        ((-1, 2), part((1, 1985), 1, 3, 64, 2048), {"odd_even_columns": False}),
        ((1, -2), part((1, 900), 1, 2, 64, 2048), {}),
        ((1, 2), part((1985, 1), 2, 2, 2048, 64), {"halfwidth": 12}),
        ((-2, 1), part((1, 1025), 1, 2, 1024, 2048, zeroframe=False), {"sigreject": 2.0}),
        ((2, -1), part((1889, 1), 2, 3, 160, 160), {}),
        ((1, -2), part((1, 1), 2, 2, 64, 2048), {"use_side_ref_pixels": False}),
    ],
    ids=[
        *("default", "parameters", "transposed", "turned", "no kernel", "no side pixels"),
        *("rows", "last rows", "inner rows", "columns", "half", "corner", "rows, no side pixels"),
    ],
)
def test_parity(axes: Any, changed: dict[str, Any], parameters: dict[str, Any], kernels: Path) -> None:
    """Equal bit for bit, whole and cut."""
    from jwst.refpix import RefPixStep

    frame = replace(FRAME, axes=axes, **changed)
    model = ramp(frame)
    parameters = {"refpix_algorithm": "sirs", **parameters}
    info, params = exposure_info(model), STEP.params(**parameters)
    assert STEP.supports(params, info) is None
    (need,) = (need for need in STEP.references if need.needed(params, info))
    bound = BoundStep(STEP, params, {"sirskernel": load_reference(kernels, need)})
    source = {name: np.array(getattr(model, name)) for name in ("data", "pixeldq", "groupdq")}
    if frame.zeroframe:
        source["zeroframe"] = np.array(model.zeroframe)
    median = run_fused([BoundStep(STEP, params, {})], source, info)
    theirs = RefPixStep(override_sirskernel=str(kernels), **parameters).process(model)
    for cuts in (None, cut_windows(frame.shape, Reach(frozenset(("group",))), source["data"].nbytes // 6)):
        ours = run_fused([bound], source, info, cuts=cuts)
        assert np.array_equal(ours["data"], theirs.data, equal_nan=True)
        if frame.zeroframe:
            assert np.array_equal(ours["zeroframe"], theirs.zeroframe, equal_nan=True)
    other = frame.detector == "NRCB2" or not params.use_side_ref_pixels
    assert np.array_equal(ours["data"], median["data"]) == other
    assert not np.array_equal(ours["data"], source["data"])


def test_where_it_applies() -> None:
    info = exposure_info(ramp(replace(FULL, shape=(1, 1, 64, 64), noutputs=1)))
    sirs = STEP.params(refpix_algorithm="sirs")
    assert STEP.supports(sirs, info) is None
    assert STEP.supports(sirs, replace(info, noutputs=4)) is None
    (need,) = (need for need in STEP.references if need.reftype == "sirskernel")
    wanted = [replace(info, subarray="SUB64"), replace(info, instrument="MIRI"), replace(info, nrows=3200), info]
    assert [need.needed(sirs, case) for case in wanted] == [False, False, False, True]
    assert not need.needed(STEP.params(), info)
