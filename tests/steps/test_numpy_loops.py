"""Powers in kernels are those that NumPy makes on this machine, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from calservice.steps.numpy_loops import power_loop, powers


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("length", [1, 7, 64, 1001])
def test_powers(length: int) -> None:
    base = np.exp(np.random.default_rng(length).uniform(-300, 300, length))
    base[3:6] = (-2.0, np.nan, 0.0)[: base[3:6].size]
    for i in (3, 5, 10, 40):
        made = np.empty(length)
        powers(base, 1 / i, power_loop(), made)
        np.testing.assert_array_equal(made, base ** (1 / i))
