"""Run consecutive block steps over an exposure, a cache-sized block at a time."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from calservice.disk import DiskArray
from calservice.model.block import ACCOUNTS, AXES, Array, Axis, Window
from calservice.model.info import ExposureInfo
from calservice.model.passes import BLOCK_BYTES, KEPT_BYTES, at_once, cut_windows, passes, reach_of, takes_images
from calservice.run.ahead import looked_ahead, sampled
from calservice.run.bands import Band, banded
from calservice.run.chain import BoundStep, Chain, Recomputed, with_parts
from calservice.run.state import Exposure

__all__ = ["info_after", "run_fused"]

_BANDS = 4
"""Of what may be kept in memory, the part that a band may take for others to be read and written meanwhile."""


def run_fused(
    steps: Sequence[BoundStep],
    source: Mapping[str, Array],
    info: ExposureInfo,
    *,
    threads: int = 1,
    block_bytes: int = BLOCK_BYTES,
    kept_bytes: int = KEPT_BYTES,
    cuts: Iterable[Window] | None = None,
    outputs: Collection[str] | None = None,
    metadata: MutableMapping[str, Any] | None = None,
    scratch: Path | None = None,
    places: Mapping[str, DiskArray] | None = None,
) -> dict[str, Array]:
    """Run steps one after the other on each block of an exposure while it is in the cache.

    Parameters
    ----------
    steps : sequence of BoundStep
        Steps in order, none of them skipped.
    source : mapping of str to ndarray
        The exposure's arrays by name (see `AXES`), of any numeric type and byte order; memory maps, and what gives
        copies of its windows, are read block by block. Never written to. ``groupdq`` and ``pixeldq`` may be missing.
    info : ExposureInfo
        Facts of the exposure.
    threads : int
        Blocks that are worked on at the same time.
    block_bytes : int
        Size of blocks.
    kept_bytes : int
        Size beyond which an array is not kept in memory between two passes: ramps are then computed again, and flags
        kept in a file.
    cuts : iterable of Window, optional
        Windows to use instead; they must cover the exposure, and the axes that a step needs whole.
    outputs : collection of str, optional
        Names of arrays to return of those that the steps write. Default: all.
    metadata : mutable mapping, optional
        Takes what tallies say of the exposure, by datamodel path.
    scratch : Path, optional
        Folder for such files; by default that of the system.
    places : mapping of str to DiskArray, optional
        Where blocks are to put results, by name; another array is returned where one does not fit, or is in use.

    Returns
    -------
    dict
        New arrays, as the last step that writes them leaves them; those beyond ``kept_bytes`` are `DiskArray`.

    Raises
    ------
    NoScienceData
        If a step makes nothing of this exposure, such as a fit where all ramps are saturated.
    ValueError
        If a window cuts an axis that a step needs whole.
    OSError
        If there is no space left for an array on disk.
    """
    arrays: dict[str, Array] = {name: a for name, a in source.items() if name in AXES}
    told = {} if metadata is None else metadata
    made: set[str] = set()
    given = None if cuts is None else list(cuts)
    for part, rows in _by_size(steps, info):
        room = block_bytes, kept_bytes, scratch
        exposure = Exposure(info, _whole(arrays), arrays, told, threads, *room, made, places or {})
        _run_part(part, exposure, given, outputs if rows is None else None)
        if rows is not None:
            left = _without_rows(arrays, rows)
            arrays |= left
            made |= left.keys()
            info, given = replace(info, nrows=int(rows.sum())), None
    wanted = made if outputs is None else made.intersection(outputs)
    return {name: array for name, array in arrays.items() if name in wanted}


def info_after(bound: BoundStep, info: ExposureInfo) -> ExposureInfo:
    """Return the facts of an exposure after a step, of which it may drop rows."""
    rows = bound.step.kept_rows(bound.params, info)
    return info if rows is None else replace(info, nrows=int(rows.sum()))


def _by_size(steps: Sequence[BoundStep], info: ExposureInfo) -> Iterable[tuple[list[BoundStep], Array | None]]:
    """Part the steps after each that drops rows of the exposure, and tell which rows it keeps; None at the end."""
    part: list[BoundStep] = []
    for bound in steps:
        part.append(bound)
        rows = bound.step.kept_rows(bound.params, info)
        if rows is not None:
            yield part, rows
            part, info = [], info_after(bound, info)
    yield part, None


def _without_rows(arrays: Mapping[str, Array], rows: Array) -> dict[str, Array]:
    """Return those arrays that still have all rows, with only some of them."""
    places = {name: AXES[name].index("row") for name in arrays if "row" in AXES[name]}
    return {
        name: np.compress(rows, arrays[name], axis=axis)
        for name, axis in places.items()
        if arrays[name].shape[axis] == rows.size
    }


def _run_part(
    steps: Sequence[BoundStep], exposure: Exposure, cuts: Sequence[Window] | None, outputs: Collection[str] | None
) -> None:
    """Run steps of which only the last may drop rows; what they make is put among the arrays of the exposure."""
    info = exposure.info
    prepared = [part for bound in steps for part in with_parts(bound, info)]
    parted = _passes(prepared, info) if steps else []
    for n, one in enumerate(parted):
        ready = looked_ahead(one.steps, exposure)
        known = sampled(ready, one.following, exposure)
        if known is not None:
            following = parted[n + 1]
            parted[n + 1] = replace(following, steps=(*ready, known, *following.steps[1:]))
            continue
        later = [bound for another in parted[n + 1 :] for bound in another.steps]
        known = _Runner(replace(one, steps=ready), exposure, later, outputs).run(cuts)
        if known is not None:
            parted[n + 1] = replace(parted[n + 1], steps=(known, *parted[n + 1].steps[1:]))
    for bound in prepared:
        exposure.told.update(bound.step.account(exposure.arrays, bound.params, info))
    exposure.forget(ACCOUNTS)


def _whole(source: Mapping[str, Array]) -> Window:
    """Return the window of all of an exposure: that of its ramps, else of the fitted images that there are."""
    lengths: dict[Axis, int] = {}
    for name in ("data", *source):
        if name in AXES and name in source:
            for axis, length in zip(AXES[name], source[name].shape, strict=True):
                lengths.setdefault(axis, length)
    return Window.whole((lengths.get("integration", 1), lengths.get("group", 1), lengths["row"], lengths["column"]))


# -- passes


@dataclass(frozen=True)
class _Pass:
    """Steps that run on a block without waiting for other blocks."""

    steps: tuple[BoundStep, ...]
    following: BoundStep | None
    """The step after these, if its tally has to be complete before it runs."""


def _passes(steps: Sequence[BoundStep], info: ExposureInfo) -> list[_Pass]:
    reaches, waits = [bound.reach(info) for bound in steps], [bound.waits(info) for bound in steps]
    return [
        _Pass(tuple(steps[start:stop]), steps[stop] if asked else None) for start, stop, asked in passes(reaches, waits)
    ]


class _Runner:
    """One pass over the blocks of an exposure."""

    def __init__(
        self, one: _Pass, exposure: Exposure, later: Sequence[BoundStep], outputs: Collection[str] | None
    ) -> None:
        self.steps = one.steps
        self.following = one.following
        self.exposure = exposure
        self.chain = Chain(one.steps, dict(exposure.arrays), exposure.info, exposure.whole)
        self.lock = threading.Lock()
        self.band: Band | None = None
        self.targets: dict[str, Array] = {}
        made = {name for bound in one.steps for name in bound.step.writes}
        needed = {name for bound in later for name in bound.step.reads}
        self.wanted = made if outputs is None else made & (needed | set(outputs) | ACCOUNTS)
        self.again = self._again(set(outputs or made))
        self.wanted -= self.again

    def _again(self, outputs: set[str]) -> set[str]:
        """Return what is rather made again than kept: ramps that are too large."""
        if self.exposure.made or "data" in outputs or "data" not in self.wanted:
            return set()
        images = takes_images(self.chain.making(["data"]).reach)
        return set() if images or self.exposure.size("data") <= self.exposure.kept_bytes else {"data"}

    def run(self, cuts: Sequence[Window] | None) -> BoundStep | None:
        """Work through all windows; return the step that waited for them, if there is one, ready."""
        exposure = self.exposure
        reach = reach_of([self.chain.reach], None if self.following is None else self.following.reach(exposure.info))
        windows = cuts or cut_windows(exposure.whole.shape, reach, exposure.block_bytes, exposure.kept_bytes)
        for window in windows:
            self._check(window)
        parts: list[dict[int, Any]] = []
        chain = self.chain
        ahead = exposure.kept_bytes // _BANDS if exposure.threads > 1 else 0
        for band, ready, alike in banded(chain, windows, ahead):
            self.band, self.chain = band, ready
            parts += exposure.map(self._block, alike, self._at_once(alike))
        self.chain = chain
        for n, bound in enumerate(self.steps):
            if parts and n in parts[0]:
                exposure.settled(bound, [part[n] for part in parts])
        exposure.arrays.update(self.targets)
        exposure.made |= set(self.targets) | self.again
        for name in self.again:
            exposure.arrays[name] = cast(Array, Recomputed(self.chain, name))
        if self.following is None:
            return None
        return exposure.settled(self.following, [part[len(self.steps)] for part in parts])

    def _at_once(self, windows: Sequence[Window]) -> int | None:
        """Return how many blocks may be worked on at the same time, None for as many as there are threads."""
        if not windows or not takes_images(self.chain.reach):
            return None
        reads = {name for bound in self.steps for name in bound.step.reads}
        return at_once(self.chain.seen(windows[0]), reads, self.exposure.kept_bytes)

    def _check(self, window: Window) -> None:
        for axis in self.chain.reach.whole:
            if getattr(window, axis) != getattr(self.exposure.whole, axis):
                raise ValueError(f"the {axis} axis must be whole, but a window cuts it: {window}")

    def _block(self, window: Window) -> dict[int, Any]:
        """Run all steps on one window; return the parts of tallies."""
        info, following = self.exposure.info, self.following
        more = () if following is None else following.tally_reads(info)
        block, made, parts = self.chain.run(window, more, tally=True)
        if following is not None:
            references = self.chain.references(following, block.window)
            parts[len(self.steps)] = following.tallied(block, window, references, info)
        for name in made & self.wanted:
            axes = AXES[name]
            inner = block[name][window.within(block.window).slices(axes)]
            if "segment" in axes:
                self._write_segments(name, inner, window)
            else:
                self._room(name, inner)[window.slices(axes)] = inner
        return parts

    def _write_segments(self, name: str, inner: Array, window: Window) -> None:
        """Put an array with an axis of segments into that of the exposure, which becomes as long as its blocks need."""
        at = AXES[name].index("segment")
        with self.lock:
            held = self.targets.get(name)
            if held is None or held.shape[at] < inner.shape[at]:
                whole = self.exposure.whole
                lengths = [inner.shape[at] if a == "segment" else getattr(whole, a)[1] for a in AXES[name]]
                longer = np.zeros(lengths, inner.dtype)
                if held is not None:
                    longer[(slice(None),) * at + (slice(held.shape[at]),)] = held
                self.targets[name] = held = longer
            held[window.slices(AXES[name])][(slice(None),) * at + (slice(inner.shape[at]),)] = inner

    def _room(self, name: str, like: Array) -> Any:
        """Return where blocks put an array: where it is to go, or what is held of that in memory."""
        target: Any = self._target(name, like)
        if self.band is None or not isinstance(target, DiskArray):
            return target
        return self.band.room(name, target)

    def _target(self, name: str, like: Array) -> Array:
        """Return where an array goes: in place of what an earlier pass left, where no other block looks at that."""
        with self.lock:
            if name not in self.targets:
                whole = self.chain.reach.whole
                found = self._in_place(name, like.dtype, self.exposure.shape(name, like, whole))
                self.targets[name] = self.exposure.room(name, like, whole) if found is None else found
            return self.targets[name]

    def _in_place(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array | None:
        """Return an array of the exposure as room for what is made of it; its first rows, where that has fewer."""
        kept = self.exposure.arrays.get(name)
        alone = len(AXES[name]) == len(AXES["data"]) and not any(self.chain.reach.halo.values())
        if name not in self.exposure.made or not alone or kept is None or kept.dtype != dtype:
            return None
        if kept.shape == shape and isinstance(kept, np.ndarray | DiskArray):
            return kept
        fewer = kept.shape == (*shape[:-2], max(kept.shape[-2], shape[-2]), shape[-1])
        return kept[..., : shape[-2], :] if fewer and isinstance(kept, np.ndarray) else None
