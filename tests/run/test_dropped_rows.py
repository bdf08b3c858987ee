"""Steps that drop rows of an exposure: all its arrays lose them, and later steps see the smaller one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calservice.model.block import Reach
from calservice.model.step import Params, Step
from calservice.run.blocks import BoundStep, info_after, run_fused
from tests.parity.synthetic import Case

SHAPE = (2, 3, 10, 4)
KEPT = np.arange(10) % 3 != 0
INFO = Case(shape=SHAPE).info


def step(alias: str, kernel: Any, **others: Any) -> BoundStep:
    names = ("data", "pixeldq")
    return BoundStep(Step(alias=alias, summary="", params=Params, kernel=kernel, reads=names, **others), Params(), {})


def add_row_numbers(block: Any, references: Any, params: Any, info: Any) -> dict[str, Any]:
    rows = np.arange(*block.window.row, dtype=np.float32)[:, None]
    return {"data": block["data"] + rows + 100 * info.nrows}


def drop(block: Any, references: Any, params: Any, info: Any) -> dict[str, Any]:
    return {"data": block["data"][:, :, KEPT] * 2}


ADDS = step("adds", add_row_numbers, writes=("data",), reach=lambda params, info: Reach())
DROPS = step("drops", drop, writes=("data",), kept_rows=lambda params, info: KEPT if info.nrows == 10 else None)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_arrays_lose_the_rows(threads: int) -> None:
    rng = np.random.default_rng(1)
    source = {"data": rng.normal(0, 9, SHAPE).astype(np.float32), "groupdq": rng.integers(0, 9, SHAPE).astype(np.uint8)}
    source["pixeldq"] = rng.integers(0, 9, SHAPE[2:]).astype(np.uint32)
    source["zeroframe"] = source["data"][:, 0]
    made = run_fused([ADDS, DROPS, ADDS], source, INFO, threads=threads, block_bytes=200)
    rows = np.arange(10, dtype=np.float32)[:, None]
    expected = 2 * (source["data"] + rows + 1000)[:, :, KEPT] + rows[: KEPT.sum()] + 600
    np.testing.assert_array_equal(made.pop("data"), expected)
    assert {name: array.shape for name, array in made.items()} == {
        "groupdq": (2, 3, 6, 4),
        "pixeldq": (6, 4),
        "zeroframe": (2, 6, 4),
    }
    np.testing.assert_array_equal(made["groupdq"], source["groupdq"][:, :, KEPT])
    assert set(run_fused([ADDS, DROPS], source, INFO, outputs=["data"])) == {"data"}
    assert set(run_fused([ADDS], source, INFO)) == {"data"}


def test_facts_after_it() -> None:
    assert info_after(DROPS, INFO) == replace(INFO, nrows=6)
    assert info_after(ADDS, INFO) is INFO
    assert DROPS.step.drops_rows
    assert not ADDS.step.drops_rows
