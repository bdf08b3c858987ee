"""Completing tallies before the pass over all blocks, from some windows: then blocks need not wait for each other."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from calservice.model.block import Reach, Window
from calservice.model.passes import reach_of, region_windows, takes_images
from calservice.model.step import Tally
from calservice.run.chain import BoundStep, Chain
from calservice.run.state import Exposure

__all__ = ["looked_ahead", "sampled"]

_SAMPLES = 8
"""Blocks that are looked at to save a pass."""
_GLANCE = 8
"""How much smaller than a block is what is looked at first where that may be enough."""


def looked_ahead(steps: Sequence[BoundStep], exposure: Exposure) -> tuple[BoundStep, ...]:
    """Return the steps of a pass, those ready whose tallies a few windows decide, or that are cheap to come by."""
    ready: list[BoundStep] = []
    for bound in steps:
        tally, regions = bound.step.tally, None
        if tally is not None and bound.asks(exposure.info) and not bound.known:
            regions = tally.ahead(bound.params, exposure.info)
        if tally is None or regions is None:
            ready.append(bound)
            continue
        look = _Look(bound, tally, tuple(ready), exposure)
        ready.append(look.everywhere(regions) if tally.enough is None else look.at_some(regions))
    return tuple(ready)


def sampled(ready: Sequence[BoundStep], following: BoundStep | None, exposure: Exposure) -> BoundStep | None:
    """Return the step that waits for a pass if some of the blocks of that tell enough: then it need not wait."""
    if following is None or following.step.tally is None or following.step.tally.enough is None:
        return None
    reach = following.reach(exposure.info)
    if ready and takes_images(ready[-1].reach(exposure.info)) != takes_images(reach):
        return None
    return _Look(following, following.step.tally, tuple(ready), exposure).at_samples()


@dataclass(frozen=True)
class _Look:
    """A look at windows of an exposure for the tally of a step."""

    bound: BoundStep
    tally: Tally
    before: tuple[BoundStep, ...]
    """The steps before it."""
    exposure: Exposure

    @cached_property
    def chain(self) -> Chain:
        """What makes the arrays that the tally reads."""
        exposure = self.exposure
        whole = Chain(self.before, exposure.arrays, exposure.info, exposure.whole)
        return whole.making(self.bound.tally_reads(exposure.info))

    @cached_property
    def reach(self) -> Reach:
        """What the tally must see: what its kernel does, which may look at whole images."""
        return reach_of([self.chain.reach], self.bound.reach(self.exposure.info))

    def everywhere(self, regions: Sequence[Window]) -> BoundStep:
        """Complete the tally from all of some regions."""
        windows = [w for region in regions for w in region_windows(region, self.reach, self.exposure.block_bytes)]
        lines = _lines(windows, 1 if "row" in self.reach.whole else self.exposure.threads)
        return self.exposure.settled(self.bound, [*itertools.chain(*self.exposure.map(self._parts, lines))])

    def at_some(self, regions: Sequence[Window]) -> BoundStep:
        """Complete the tally from as much of some regions as is enough."""
        windows = [w for region in regions for w in region_windows(region, self.reach, self.exposure.block_bytes)]
        found, parts = self._until_enough(windows)
        return found or self.exposure.settled(self.bound, parts)

    def at_samples(self) -> BoundStep | None:
        """Complete the tally from a few blocks; None if these are not enough, or not few."""
        windows = region_windows(self.exposure.whole, self.reach, self.exposure.block_bytes)
        if len(windows) <= 2 * _SAMPLES:
            return None
        found, _ = self._until_enough(windows[len(windows) // _SAMPLES // 2 :: len(windows) // _SAMPLES])
        return found

    def _until_enough(self, windows: Sequence[Window]) -> tuple[BoundStep | None, list[Any]]:
        """Look at one window after the other; return the step once these are enough, and what they told."""
        exposure = self.exposure
        discarded = {group for b in self.before for group in b.step.discards(b.params, exposure.info)}
        smaller = region_windows(windows[len(windows) // 2], self.reach, exposure.block_bytes // _GLANCE)
        if len(smaller) > 1:  # a part of a block often does, and the rest of it is saved
            glance = [self._part(smaller[len(smaller) // 2], self.chain)]
            if self._enough(glance, discarded):
                return exposure.settled(self.bound, glance), glance
        parts: list[Any] = []
        for n in range(0, len(windows), exposure.threads):
            parts += exposure.map(lambda window: self._part(window, self.chain), windows[n : n + exposure.threads])
            if self._enough(parts, discarded):
                return exposure.settled(self.bound, parts), parts
        return None, parts

    def _enough(self, parts: Sequence[Any], discarded: Collection[int]) -> bool:
        assert self.tally.enough is not None
        return self.tally.enough(self.tally.combine(parts), discarded)

    def _parts(self, alike: Sequence[Window]) -> list[Any]:
        together = self.chain.beside(alike)
        return [self._part(window, together) for window in alike]

    def _part(self, window: Window, steps: Chain) -> Any:
        """Return the part of the tally that a window gives."""
        info = self.exposure.info
        block, _, _ = steps.run(window, self.bound.tally_reads(info))
        return self.bound.tallied(block, window, steps.references(self.bound, window), info)


def _lines(windows: Sequence[Window], threads: int) -> list[list[Window]]:
    """Put windows together that differ in columns only, and part their rows among threads."""
    alike: dict[Window, list[Window]] = {}
    for window in windows:
        alike.setdefault(replace(window, column=(0, 0)), []).append(window)
    made: list[list[Window]] = []
    for line, some in alike.items():
        (start, stop), count = line.row, threads if len(some) > 1 else 1
        step = -(-(stop - start) // count)
        made += [[replace(w, row=(y, min(y + step, stop))) for w in some] for y in range(start, stop, step)]
    return made
