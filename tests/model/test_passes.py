"""How steps are parted into passes over an exposure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calservice.model.block import Axis, Reach, Window
from calservice.model.passes import at_once, passes, reach_of, takes_images

AXES: tuple[Axis, ...] = ("integration", "group", "row", "column")
STEPS = st.lists(st.tuples(st.sets(st.sampled_from(AXES)), st.booleans()), max_size=8)


@given(STEPS)
def test_passes_go_over_all_steps_in_order_and_images_are_not_of_more_integrations_than_their_steps_need(
    steps: list[tuple[set[Axis], bool]],
) -> None:
    reaches, waits = [Reach(frozenset(whole)) for whole, _ in steps], [wait for _, wait in steps]
    made = list(passes(reaches, waits))
    assert [n for start, stop, _ in made for n in range(start, stop)] == list(range(len(steps)))
    assert [stop for _, stop, asked in made if asked] == [n for n, wait in enumerate(waits) if wait]
    for start, stop, asked in made:
        together = reaches[start:stop]
        assert len({takes_images(reach) for reach in together}) <= 1
        seen = reach_of(together, reaches[stop] if asked else None)
        if together and takes_images(together[0]) and not (asked and takes_images(reaches[stop])):
            assert seen.whole == frozenset().union(*(reach.whole for reach in together))


def test_few_pieces_of_long_ramps_are_worked_on_at_once() -> None:
    long, short = (Window.whole((1, groups, 2048, 2048)) for groups in (60, 4))
    assert at_once(long, ("data", "groupdq", "pixeldq")) == 1
    assert at_once(long, ("groupdq",)) == 4
    assert at_once(short, ("data", "groupdq")) == 12
