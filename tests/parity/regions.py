"""References that tell of regions of the detector: a flat field of MIRI, traces of NIRISS SOSS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from stdatamodels.jwst import datamodels

from calservice.model.dqflags import PIXEL_FLAGS
from tests.parity.synthetic import Array
from tests.parity.test_small_steps import saved

__all__ = ["write_flat", "write_traces"]


def write_flat(place: Path, shape: tuple[int, ...], flags: Array | None = None) -> None:
    """Write a flat field that flags pixels by numbers of its own, and has holes in values and errors."""
    rng = np.random.default_rng(8)
    data = rng.uniform(0.8, 1.2, shape).astype(np.float32)
    data[5, 3:30], data[6, 3:30] = np.nan, 0.0
    err = np.full(shape, 0.01, np.float32)
    err[7, 3:30] = np.nan
    dq = np.zeros(shape, np.uint32)
    dq[60:, 70:], dq[50:55] = PIXEL_FLAGS["DO_NOT_USE"], PIXEL_FLAGS["NON_SCIENCE"]
    dq[40, 40:60], dq[41, 40:60] = PIXEL_FLAGS["NO_FLAT_FIELD"], PIXEL_FLAGS["HOT"]
    model = datamodels.FlatModel(data=data, err=err)
    model.dq = dq if flags is None else flags  # in the file, they have numbers of their own
    names = {1: "HOT", 8: "DO_NOT_USE", 16: "NON_SCIENCE", 32: "NO_FLAT_FIELD"}
    numbered = [(int(np.log2(value)), value, name, "") for value, name in names.items()]
    model.dq_def = np.array(numbered, model.get_dtype("dq_def"))
    saved(model, place, "MIRI", (shape[0], shape[1]))


def write_traces(place: Path, columns: int = 2048) -> str:
    """Write a reference of traces: of three orders, the second of which leaves the strip."""
    rng = np.random.default_rng(9)
    x = np.arange(columns, dtype=float)
    orders, models = [], []
    for order, (height, slope) in enumerate(((40.0, 0.02), (55.0, 0.12), (120.0, -0.01)), 1):
        y = height + slope * x + 1e-5 * (x - 900) ** 2
        orders.append(
            {"spectral_order": order, "pivot_x": 900.5, "pivot_y": height + 3, "trace": np.stack([x, y], axis=1)}
        )
        coefficients = np.array([2.9, -2.1, 0.03, 0.05, -0.02, 0.01]) / order + rng.normal(0, 1e-3, 6)
        extents = np.array([[0.0, -0.25], [columns - 1.0, 0.25]])
        models.append({"spectral_order": order, "coefficients": coefficients, "scale_extents": extents})
    model = datamodels.PastasossModel()
    model.traces, model.wavecal_models = orders, models
    meta = model.meta
    meta.pwcpos_cmd, meta.pwcpos_bounds = 245.76, [245.51, 246.01]
    meta.wavemap_wlmin, meta.wavemap_wlmax, meta.wavemap_nwl = 0.5, 5.5, 5001
    meta.subarray_ymin, meta.soss_xdim, meta.soss_ydim = 1792, 2048, 300
    return saved(model, place, "NIRISS")
