"""Which arrays of a block are its own, and so are overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.disk import DiskArray
from calservice.model.block import Array, Block, Reach, SomeGroups, Window
from calservice.model.step import Params, Step
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep, Chain
from tests.parity.synthetic import Case

SHAPE = (2, 4, 40, 6)
DATA = np.random.default_rng(8).normal(size=SHAPE).astype(np.float32)


class Steps:
    """Three steps: one looks at neighbours, one changes few groups, one spends what it gets."""

    def __init__(self) -> None:
        self.given: dict[str, Array] = {}
        self.steps = [
            self._bound("first", self.first, Reach(frozenset(("group",)), {"row": 1}), ("groupdq",)),
            self._bound("second", self.second, Reach(), ("data",), strided=True),
            self._bound("third", self.third, Reach(), ("data",), spends=("data",)),
        ]

    def _bound(self, alias: str, kernel: Any, reach: Reach, writes: tuple[str, ...], **more: Any) -> BoundStep:
        def kept(block: Block, *others: Any) -> Any:
            self.given[alias] = block["data"]
            return kernel(block)

        step = Step(
            alias=alias,
            summary=alias,
            params=Params,
            kernel=kept,
            reads=("data", "groupdq"),
            writes=writes,
            reach=lambda params, info: reach,
            official="none",
            **more,
        )
        return BoundStep(step, Params(), {})

    @staticmethod
    def first(block: Block) -> dict[str, Any]:
        high = block["data"] > 1
        near = high.copy()
        near[..., 1:, :] |= high[..., :-1, :]
        near[..., :-1, :] |= high[..., 1:, :]
        return {"groupdq": near.astype(np.uint8)}

    @staticmethod
    def second(block: Block) -> dict[str, Any]:
        return {"data": SomeGroups(slice(2), block["data"][:, :2] + 1)}

    @staticmethod
    def third(block: Block) -> dict[str, Any]:
        data = block["data"]
        data *= 2
        return {"data": data}


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_what_was_read_is_overwritten_and_what_was_given_is_not(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "data"
    path.write_bytes(DATA.astype(">f4").tobytes())
    steps = Steps()
    window = Window((0, 2), (0, 4), (5, 5 + rows) if rows < 40 else (0, 40), (0, 6))
    meant = (DATA + np.array([1, 1, 0, 0], np.float32)[:, None, None]) * 2
    for source, same in ((DiskArray(path, ">f4", SHAPE), True), (DATA.copy(), False)):
        before = np.array(source, np.float32)
        arrays: dict[str, Any] = {"data": source}
        chain = Chain(steps.steps, arrays, Case(shape=SHAPE).info, Window.whole(SHAPE))
        block, made, _ = chain.run(window)
        assert made == {"data", "groupdq"}
        np.testing.assert_array_equal(block.cut(window)["data"], meant[window.slices(("integration", "group", "row"))])
        np.testing.assert_array_equal(np.array(source), before)
        where = [steps.given[name] for name in ("first", "second", "third")]
        assert np.shares_memory(where[0], where[1])  # a view without neighbours, or all of it
        if same and rows == 40:  # nothing is cut away, and no copy is made
            assert np.shares_memory(where[0], where[2])
        assert not isinstance(source, np.ndarray) or not np.shares_memory(source, where[2])


def test_blocks_are_as_the_whole() -> None:
    steps, info = Steps().steps, Case(shape=SHAPE).info
    whole = run_fused(steps, {"data": DATA}, info)
    for rows in (1, 7, 33):
        cuts = [Window((0, 2), (0, 4), (y, min(y + rows, 40)), (0, 6)) for y in range(0, 40, rows)]
        found = run_fused(steps, {"data": DATA}, info, cuts=cuts)
        for name, array in whole.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
