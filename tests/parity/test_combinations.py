"""Some random combinations of parameters; ``python -m tests.parity.combinations`` takes as many as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.combinations import difference

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("products")]


@pytest.mark.parametrize("seed", [13, 111])
def test_products_are_the_same(seed: int, tmp_path: Path) -> None:
    assert not difference(seed, tmp_path)
