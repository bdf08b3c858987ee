"""The native reference pixel correction against the official one: every orientation, output layout and parameter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from calservice.model.block import Reach
from calservice.model.dqflags import DO_NOT_USE, REFERENCE_PIXEL
from calservice.model.passes import cut_windows
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE

pytestmark = pytest.mark.official


@dataclass(frozen=True)
class Frame:
    """Where an exposure lies on its detector, and how that is read."""

    instrument: str = "NIRCAM"
    detector: str = "NRCB1"
    subarray: str = "FULL"
    axes: tuple[int, int] = (-1, 2)
    shape: tuple[int, int, int, int] = (1, 3, 2048, 2048)
    start: tuple[int, int] = (1, 1)
    noutputs: int = 4
    zeroframe: bool = False


FULL = Frame()
MIRI = Frame("MIRI", "MIRIMAGE", axes=(1, 2), shape=(2, 3, 1024, 1032))
CORNER = Frame(subarray="SUB160P", shape=(2, 3, 160, 160), noutputs=1, zeroframe=True)
STRIPE = Frame(subarray="SUB64STRIPE", axes=(1, -2), shape=(2, 2, 64, 2048), zeroframe=True)


def ramp(frame: Frame, seed: int = 3) -> Any:
    """Return an exposure with drifts, outliers among its reference pixels, and some that may not be used."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(seed)
    nints, ngroups, nrows, ncols = frame.shape
    model = datamodels.RampModel(frame.shape)
    drifts = rng.normal(0, 30, (nints, ngroups, 1, 1)) + rng.normal(0, 5, (nints, ngroups, nrows, 1))
    data = rng.normal(0, 9, frame.shape) + drifts + 7 * (np.arange(ncols) % 2)
    model.data = data.astype(np.float32)
    height, width = (1024, 1032) if frame.instrument == "MIRI" else (2048, 2048)
    rows = np.arange(nrows) + frame.start[1] - 1
    columns = np.arange(ncols) + frame.start[0] - 1
    edge = ((rows < 4) | (rows >= height - 4))[:, None] | ((columns < 4) | (columns >= width - 4))[None, :]
    if frame.instrument == "MIRI":
        edge = np.broadcast_to((columns < 4) | (columns >= width - 4), (nrows, ncols))
    flags = np.where(edge, REFERENCE_PIXEL, 0).astype(np.uint32)
    bad = rng.random((nrows, ncols)) < 0.05
    flags[bad] |= DO_NOT_USE
    model.data[..., bad & (rng.random((nrows, ncols)) < 0.5)] = 1e5
    model.data[..., edge & (rng.random((nrows, ncols)) < 0.02)] += 300
    model.pixeldq = flags
    model.groupdq = np.zeros(frame.shape, np.uint8)
    if frame.zeroframe:
        zero = rng.normal(5, 9, (nints, nrows, ncols)).astype(np.float32)
        zero[rng.random(zero.shape) < 0.05] = 0
        model.zeroframe = zero
    meta = model.meta
    meta.instrument.name, meta.instrument.detector = frame.instrument, frame.detector
    meta.subarray.name = frame.subarray
    meta.subarray.xstart, meta.subarray.ystart = frame.start
    meta.subarray.xsize, meta.subarray.ysize = ncols, nrows
    meta.subarray.fastaxis, meta.subarray.slowaxis = frame.axes
    meta.exposure.type, meta.exposure.noutputs, meta.exposure.zero_frame = "NRC_IMAGE", frame.noutputs, frame.zeroframe
    meta.exposure.nints, meta.exposure.ngroups = nints, ngroups
    meta.observation.date, meta.observation.time = "2024-01-01", "00:00:00"
    return model


def check(frame: Frame, **parameters: Any) -> None:
    """Compare with the official step: bit for bit, whole and cut."""
    from jwst.refpix import RefPixStep

    model = ramp(frame)
    step = NATIVE["refpix"]
    info, params = exposure_info(model), step.params(**parameters)
    assert step.supports(params, info) is None
    assert step.not_applicable({}, params, info) is None
    source = {name: np.array(getattr(model, name)) for name in ("data", "pixeldq", "groupdq")}
    if frame.zeroframe:
        source["zeroframe"] = np.array(model.zeroframe)
    theirs = RefPixStep(**parameters).run(model)
    assert theirs.meta.cal_step.refpix == "COMPLETE"
    for cuts in (None, cut_windows(frame.shape, Reach(frozenset(("group",))), 500_000)):
        ours = run_fused([BoundStep(step, params, {})], source, info, cuts=cuts)
        assert np.array_equal(ours["data"], theirs.data, equal_nan=True)
        if frame.zeroframe:
            assert np.array_equal(ours["zeroframe"], theirs.zeroframe, equal_nan=True)
    assert not np.array_equal(source["data"], theirs.data)


@pytest.mark.parametrize("axes", [(-1, 2), (1, -2), (2, 1), (-2, -1), (2, -1), (-2, 1)])
def test_every_orientation_of_a_detector(axes: tuple[int, int]) -> None:
    check(replace(FULL, axes=axes, shape=(1, 2, 2048, 2048)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"use_side_ref_pixels": False},
        {"odd_even_columns": False, "side_gain": 0.7},
        {"side_smoothing_length": 20, "siglimit": 2.0},
        {"odd_even_columns": False, "use_side_ref_pixels": False},
    ],
)
def test_parameters_of_four_outputs(parameters: dict[str, Any]) -> None:
    check(replace(FULL, shape=(2, 1, 2048, 2048), zeroframe=True), **parameters)


@pytest.mark.parametrize("parameters", [{}, {"odd_even_columns": False}, {"siglimit": 1.5}])
@pytest.mark.parametrize(
    "frame",
    [
        STRIPE,
        replace(STRIPE, start=(1, 1985)),
        replace(STRIPE, start=(1, 900), axes=(-1, 2)),
        CORNER,
        replace(CORNER, start=(1889, 1889), axes=(2, 1)),
        replace(CORNER, start=(1, 700), axes=(-2, -1)),
        replace(
            CORNER, instrument="NIRSPEC", detector="NRS1", subarray="SUB32", shape=(1, 2, 32, 32), start=(900, 800)
        ),
    ],
    ids=["stripe", "upper", "inner", "corner", "far", "edge", "edgeless"],
)
def test_subarrays(frame: Frame, parameters: dict[str, Any]) -> None:
    check(frame, **parameters)


@pytest.mark.parametrize("parameters", [{}, {"odd_even_rows": False}, {"siglimit": 2.0}])
def test_miri(parameters: dict[str, Any]) -> None:
    check(MIRI, **parameters)


def test_where_nothing_is_to_be_corrected_or_all_is_left_to_the_official_step() -> None:
    step = NATIVE["refpix"]
    info = exposure_info(ramp(CORNER))
    params = step.params()
    small = replace(info, instrument="MIRI", nrows=512)
    assert step.not_applicable({}, params, small) == "MIRI subarrays are not corrected"
    assert step.not_applicable({}, params, replace(info, xstart=1900)) == "the subarray does not fit the detector"
    assert step.supports(step.params(refpix_algorithm="sirs"), info) is None
    assert step.supports(params, replace(info, num_superstripe=2)) == "superstripe exposures"
