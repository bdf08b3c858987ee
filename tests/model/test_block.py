"""Blocks, and what kernels return of them."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Block, SomeGroups, Window


def test_some_groups_are_put_into_arrays_that_nobody_else_has() -> None:
    mine, theirs = np.zeros((2, 4, 1, 1), np.float32), np.zeros((2, 4, 1, 1), np.uint8)
    block = Block({"data": mine, "groupdq": theirs}, Window.whole((2, 4, 1, 1)))
    changed = {
        "data": SomeGroups(slice(1, 3), np.ones((2, 2, 1, 1), np.float32)),
        "groupdq": SomeGroups(slice(4, None), np.ones((2, 0, 1, 1), np.uint8)),
    }
    made = block.updated(changed, own=["data"])
    assert made["data"] is mine
    assert mine[:, :, 0, 0].tolist() == [[0, 1, 1, 0]] * 2
    assert not np.shares_memory(made["groupdq"], theirs)
    assert not made["groupdq"].any()
    assert block["groupdq"] is theirs
