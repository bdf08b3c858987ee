"""Jumps that are found without a division each are those that it would find, whatever the limit."""

import numpy as np
import pytest

from calservice.steps.stage1._jump_pixel import find_at_once


@pytest.mark.parametrize("limit", [-1.0, 0.0, 1e-3, 1.0, 4.0, 5.3, 1e300, np.inf, np.nan])
@pytest.mark.parametrize("sigma", [0.0, 1e-3, 1 / 3, 7.7, np.inf, np.nan])
def test_differences_beyond_any_limit_are_those_of_the_quotient(limit: float, sigma: float) -> None:
    differences = np.random.default_rng(1).normal(scale=20, size=400).astype(np.float32)
    differences[:4] = np.nan, np.inf, -np.inf, 2.5
    middle, places = 2.5, np.empty(differences.size, np.int64)
    with np.errstate(all="ignore"):
        far = np.abs(differences.astype(np.float64) - middle) / sigma > limit
    expected = np.flatnonzero(far & np.isfinite(differences)) if sigma > 0 else []
    found = places[: find_at_once(differences, middle, sigma, limit, places)]
    assert found.tolist() == list(expected)
