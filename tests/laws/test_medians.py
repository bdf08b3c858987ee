"""The median rate of a tile of ramps, found by a network of comparisons, is that of NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from calservice.model.dqflags import DO_NOT_USE
from calservice.steps.stage1._ramp_fit_tiles import add_medians, median_network


@pytest.mark.parametrize("ngroups", [2, 3, 4, 5, 8, 9, 33, 50])
def test_a_network_finds_the_median_of_what_is_usable(ngroups: int) -> None:
    draw, width = np.random.default_rng(ngroups), 40
    ramps = draw.integers(0, 1000, (ngroups, width)).astype(np.float64)
    flags = np.where(draw.random((ngroups, width)) < draw.random(width), DO_NOT_USE, 0).astype(np.uint8)
    steps, turns = np.empty((ngroups - 1, width), np.float32), np.empty((2, width), np.float32)
    valid, rates = np.empty(width, np.int32), np.zeros(width)

    lone, times = np.zeros((5, width), np.int32), np.array([2.0, 1.0, 1.0])
    add_medians(ramps, flags, lone, width, times, median_network(ngroups - 1), steps, turns, valid, rates)

    usable = (flags[1:] == 0) & (flags[:-1] == 0)
    for c in range(width):
        if usable[:, c].any():
            assert rates[c] == np.median(np.diff(ramps[:, c])[usable[:, c]]) / 2.0
