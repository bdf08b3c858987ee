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

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import AXES, Array, Window
from calservice.run.chain import Chain

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

    def __getitem__(self, slices: tuple[slice, ...]) -> Array:
        return self.array[self._inside(slices)]

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
    """

    def __init__(self, window: Window, complete: bool) -> None:
        self.window = window
        self._complete = complete
        self._lock = threading.Lock()
        self._rooms: dict[str, tuple[_Held, DiskArray]] = {}

    def source(self, arrays: Mapping[str, Array], seen: Window) -> dict[str, Array]:
        """Return arrays of the exposure with, of those on disk, what blocks see of them in memory."""
        return {name: cast(Array, self._read(name, array, seen)) for name, array in arrays.items()}

    def _read(self, name: str, array: Any, seen: Window) -> Any:
        return _Held(name, array[seen.slices(AXES[name])], seen) if isinstance(array, DiskArray) else array

    def room(self, name: str, target: DiskArray) -> Any:
        """Return where blocks put what belongs into an array on disk."""
        with self._lock:
            if name not in self._rooms:
                slices = self.window.slices(AXES[name])
                lengths = [part.stop - part.start for part in slices]
                rows = np.zeros(lengths, target.dtype) if self._complete else target[slices]
                self._rooms[name] = _Held(name, rows, self.window), target
            return self._rooms[name][0]

    def write(self) -> None:
        """Write what blocks have put into its rooms, which then are no more."""
        for held, target in self._rooms.values():
            target[held.slices] = held.array
        self._rooms.clear()


def banded(chain: Chain, windows: Sequence[Window], ahead: int) -> Iterator[tuple[Band | None, Chain, list[Window]]]:
    """Part blocks that cut columns into bands; others are left together, without one.

    Parameters
    ----------
    chain : Chain
        The steps that run on them.
    windows : sequence of Window
        The blocks.
    ahead : int
        Bytes of a band up to which the next one is read while blocks of one are worked on.

    Yields
    ------
    Band or None, Chain, list of Window
        The band, the steps with what they see of it in memory, and its blocks.
    """
    parted = [*_bands(windows, chain.whole)]

    def ready(band: Band | None) -> Chain:
        if band is None:
            return chain
        seen = chain.seen(band.window)
        return replace(chain.held(seen), source=band.source(chain.source, seen))

    sizes = [_SAMPLE * math.prod(chain.seen(band.window).shape) for band, _ in parted if band is not None]
    if len(sizes) < 2 or max(sizes) > ahead:
        for band, blocks in parted:
            yield band, ready(band), blocks
        return
    with ThreadPoolExecutor(1) as reading:
        following = reading.submit(ready, parted[0][0])
        for (band, blocks), (after, _) in zip(parted, [*parted[1:], (None, [])], strict=True):
            found = following.result()
            following = reading.submit(ready, after)
            yield band, found, blocks


def _bands(windows: Sequence[Window], whole: Window) -> Iterator[tuple[Band | None, list[Window]]]:
    if all(window.column == whole.column for window in windows):
        yield None, list(windows)
        return
    for _, alike in groupby(windows, key=lambda window: (window.integration, window.row)):
        blocks = list(alike)
        complete = sum(block.shape[-1] for block in blocks) == whole.shape[-1]
        yield Band(replace(blocks[0], column=whole.column), complete), blocks
