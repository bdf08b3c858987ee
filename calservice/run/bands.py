"""Bands: rows of arrays on disk, held in memory while blocks cut their columns.

Pieces of rows would be many, and small; so rows are read and written as a whole.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

from calservice.disk import DiskArray
from calservice.model.block import AXES, Array, Window
from calservice.run.chain import Chain
from calservice.run.rooms import Rooms

__all__ = ["Band", "banded"]

_SAMPLE = 4
"""Bytes that a pixel may take in a group."""


class _Held:
    """A window of an array, in memory; it is indexed as the array."""

    def __init__(self, name: str, array: Array, window: Window) -> None:
        self.array = array
        self.slices = window.slices(AXES[name])

    def _inside(self, slices: tuple[slice, ...]) -> tuple[slice, ...]:
        pairs = zip(slices, self.slices, strict=True)
        return tuple(slice(part.start - own.start, part.stop - own.start) for part, own in pairs)

    def __setitem__(self, slices: tuple[slice, ...], values: Array) -> None:
        self.array[self._inside(slices)] = values


class Band:
    """Some rows and integrations, and what blocks of them read and write of arrays on disk.

    Parameters
    ----------
    window : Window
        All columns of them.
    complete : bool
        Whether the blocks cover it.
    memory : Rooms
        Memory that bands hand on to each other.
    """

    def __init__(self, window: Window, complete: bool, memory: Rooms) -> None:
        self.window = window
        self._complete = complete
        self._memory = memory
        self._lock = threading.Lock()
        self._read: list[DiskArray] = []
        self._rooms: dict[str, tuple[_Held, DiskArray]] = {}

    def source(self, arrays: Mapping[str, Array], seen: Window) -> dict[str, Array]:
        """Return arrays of the exposure with, of those on disk, what blocks see of them in memory."""
        return {name: cast(Array, self._held(name, array, seen)) for name, array in arrays.items()}

    def _held(self, name: str, array: Any, seen: Window) -> Any:
        if not isinstance(array, DiskArray):
            return array
        self._read.append(array.held(seen.slices(AXES[name]), self._memory.take))
        return self._read[-1]

    def room(self, name: str, target: DiskArray) -> Any:
        """Return where blocks put what belongs into an array on disk."""
        with self._lock:
            if name not in self._rooms:
                slices = self.window.slices(AXES[name])
                rows = self._memory.take([part.stop - part.start for part in slices], target.dtype)
                if not self._complete:
                    rows[...] = target[slices]
                self._rooms[name] = _Held(name, rows, self.window), target
            return self._rooms[name][0]

    def done(self) -> None:
        """Give the memory of what was read back: all blocks are done."""
        while self._read:
            memory = self._read.pop().let_go()
            if memory is not None:
                self._memory.give(memory)

    def write(self) -> None:
        """Write what blocks have put into its rooms, which then are no more."""
        while self._rooms:
            _, (held, target) = self._rooms.popitem()
            target[held.slices] = held.array
            self._memory.give(held.array)


def banded(chain: Chain, windows: Sequence[Window], ahead: int) -> Iterator[tuple[Band | None, Chain, list[Window]]]:
    """Part blocks that cut columns into bands; others are left together, without one.

    Once it is asked for the next band, what blocks have put into the rooms of one is written.

    Parameters
    ----------
    chain : Chain
        The steps that run on them.
    windows : sequence of Window
        The blocks.
    ahead : int
        Bytes of a band up to which the one before is written, and the next one read, while blocks of one are worked on.

    Yields
    ------
    Band or None, Chain, list of Window
        The band, the steps with what they see of it in memory, and its blocks.
    """
    parted = [*_bands(windows, chain.whole, Rooms())]

    def ready(band: Band | None) -> Chain:
        if band is None:
            return chain
        seen = chain.seen(band.window)
        return replace(chain.held(seen), source=band.source(chain.source, seen))

    sizes = [_SAMPLE * math.prod(chain.seen(band.window).shape) for band, _ in parted if band is not None]
    if len(sizes) < 2 or max(sizes) > ahead:
        for band, blocks in parted:
            yield band, ready(band), blocks
            _done(band)
            _write(band)
        return
    with ThreadPoolExecutor(2) as beside:
        following, before = beside.submit(ready, parted[0][0]), beside.submit(_write, None)
        for (band, blocks), (after, _) in zip(parted, [*parted[1:], (None, [])], strict=True):
            found = following.result()
            following = beside.submit(ready, after)
            yield band, found, blocks
            _done(band)
            before.result()
            before = beside.submit(_write, band)
        before.result()


def _done(band: Band | None) -> None:
    if band is not None:
        band.done()


def _write(band: Band | None) -> None:
    if band is not None:
        band.write()


def _bands(windows: Sequence[Window], whole: Window, memory: Rooms) -> Iterator[tuple[Band | None, list[Window]]]:
    if all(window.column == whole.column for window in windows):
        yield None, list(windows)
        return
    for _, alike in groupby(windows, key=lambda window: (window.integration, window.row)):
        blocks = list(alike)
        complete = sum(block.shape[-1] for block in blocks) == whole.shape[-1]
        yield Band(replace(blocks[0], column=whole.column), complete, memory), blocks
