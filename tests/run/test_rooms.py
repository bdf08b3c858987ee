"""Memory that is handed on: what is taken is nobody else's, and what was given back is used again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calservice.model.block import Array
from calservice.run.rooms import Rooms, fresh

MIB = 2**20
SHAPES = st.tuples(st.integers(0, 3), st.integers(0, 700), st.sampled_from((1, 333, 2048)))
KINDS = st.sampled_from(("u1", ">i2", "f4", "u4", "f8"))


@given(wishes=st.lists(st.tuples(SHAPES, KINDS, st.booleans()), max_size=12))
def test_what_is_taken_is_nobody_elses(wishes: list[tuple[tuple[int, int, int], str, bool]]) -> None:
    rooms, taken = Rooms(), dict[int, Array]()
    for n, (shape, kind, give) in enumerate(wishes):
        taken[n] = rooms.take(shape, kind)
        assert (taken[n].shape, taken[n].dtype.str[1:]) == (shape, np.dtype(kind).str[1:])
        taken[n][...] = n
        if give:
            rooms.give(taken.pop(min(taken)))
    for n, array in taken.items():
        assert (array == n).all()


def test_what_was_given_back_is_used_again() -> None:
    rooms = Rooms()
    large, small = rooms.take((9, MIB), "u1"), rooms.take((5, MIB), "u1")
    rooms.give(large[2:])
    rooms.give(small)
    again = rooms.take((MIB,), "f4")
    assert np.shares_memory(again, small)  # the smallest that is large enough
    rooms.give(again)
    for wish in ((4,), (10, MIB)):  # a waste of it, and too much
        other = rooms.take(wish, "u1")
        assert not any(np.shares_memory(other, one) for one in (large, small))
    assert np.shares_memory(rooms.take((MIB,), "f8"), large)
    assert not np.shares_memory(rooms.take((MIB,), "f8"), large)  # it is taken


def test_fresh_memory_is_zero_and_can_be_written() -> None:
    for size in (10, 5 * MIB):
        rooms = [fresh((size,), "u1") for _ in range(2)]
        assert not any(room.any() for room in rooms)
        rooms[0][...] = 1
        assert not rooms[1].any()
        del rooms
