"""Every readout mode, from raw exposure to rates: both engines make the same products, and the same step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.modes import MODES, calibrated

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("products")]

QUICK = [name for name, mode in MODES.items() if mode.quick]


@pytest.mark.parametrize("name", QUICK)
def test_mode(name: str, tmp_path: Path) -> None:
    try:
        found = calibrated(MODES[name], tmp_path)
    except FileNotFoundError as fault:
        pytest.skip(f"{fault} is not there")
    assert found.official == (), "all default steps are native"
    assert found.products
    assert all(found.steps[alias] for alias in found.native)
    for product in (*found.products, *(result for results in found.steps.values() for result in results)):
        assert product.status == "same", product
