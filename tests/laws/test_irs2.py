"""IRS2 frames are cut anywhere, though only their science rows have neighbours: the result is that of whole frames."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from calservice.model.block import Window
from calservice.model.step import Reference
from calservice.run.blocks import BoundStep, run_fused
from calservice.steps.registry import NATIVE
from calservice.steps.stage1.saturation import irs2_science_rows
from tests.parity.synthetic import Case

NCOLS = 40
LEVEL = 30000


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
@pytest.mark.parametrize("grow", [0, 1, 3, 17, 33])
def test_saturation(detector: str, grow: int) -> None:
    rng = np.random.default_rng(grow)
    case = Case("NIRSPEC", detector, "NRS_MSASPEC", shape=(2, 4, 3200, NCOLS))
    data = rng.uniform(0, LEVEL, case.shape).astype(np.float32)
    hit = rng.random(case.shape[2:]) < 0.002
    data[:, 2:, hit] = 2 * LEVEL
    source = {"data": data, "groupdq": np.zeros(case.shape, np.uint8), "pixeldq": np.zeros(case.shape[2:], np.uint32)}
    references = {
        "saturation": Reference(
            {"data": np.full((2048, NCOLS), LEVEL, np.float32), "dq": np.zeros((2048, NCOLS), "u4")}, {}
        ),
        "superbias": Reference({"data": rng.uniform(0, 100, case.shape[2:]).astype(np.float32)}, {}),
    }
    references["saturation"]["data"][rng.random((2048, NCOLS)) < 0.01] = np.nan
    step = NATIVE["saturation"]
    bound = BoundStep(step, step.params(n_pix_grow_sat=grow), references)
    ends = [0, *np.sort(rng.choice(np.arange(1, 3200), 5, replace=False)).tolist(), 3200]
    cuts = [
        Window((i, i + 1), (0, 4), (first, stop), columns)
        for i in range(2)
        for first, stop in pairwise(ends)
        for columns in ((0, 13), (13, NCOLS))
    ]
    made = run_fused([bound], source, case.info, cuts=cuts)
    whole = run_fused([bound], source, case.info, cuts=[Window.whole(case.shape)])
    assert all(np.array_equal(made[name], whole[name]) for name in whole)
    flagged: Any = (whole["groupdq"] & 2 != 0).any(axis=(0, 1, 3))
    science = irs2_science_rows(3200, detector)
    assert not flagged[~science].any()
    assert np.count_nonzero(flagged) > np.count_nonzero(hit.any(axis=1) & science) * (1 if grow else 0.9)
