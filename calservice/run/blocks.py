"""Run consecutive block steps over an exposure, a cache-sized block at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calservice.model.block import ACCOUNTS, AXES, Array, Axis, Block, Reach, Window
from calservice.model.errors import NoScienceData
from calservice.model.step import ExposureInfo, Params, Reference, References, Step, Tally

__all__ = ["BLOCK_BYTES", "BoundStep", "cut_windows", "run_fused", "with_parts"]

BLOCK_BYTES = 4 * 1024**2
"""Default size of a block: about what the last-level cache holds for each core."""

_DTYPES: Mapping[str, type[np.generic]] = {name: np.float32 for name in AXES if not name.endswith("dq")} | {
    "groupdq": np.uint8,
    "pixeldq": np.uint32,
    "dq": np.uint32,
    "int_dq": np.uint32,
}
"""What kernels compute with, by array."""

_STARTED_AS_ZERO = ("groupdq", "pixeldq")
"""Arrays that raw exposures may lack, and that then are zero."""


@dataclass(frozen=True)
class BoundStep:
    """A step with all that it needs to run on one exposure.

    Attributes
    ----------
    step : Step
        A native block step.
    params : Params
        Its parameters.
    references : mapping of str to Reference
        Its references by type, loaded and cut to the exposure. Optional ones may be missing.
    """

    step: Step
    params: Params
    references: References

    def reach(self, info: ExposureInfo) -> Reach:
        """Return what the kernel must see, of which the references may decide."""
        if self.step.exact_reach is not None:
            return self.step.exact_reach(self.references, self.params, info)
        return self.step.reach(self.params, info)

    def metadata(self, info: ExposureInfo) -> Mapping[str, Any]:
        """Return the metadata that the step sets whatever the pixels are like, by datamodel path."""
        return self.step.metadata(self.references, self.params, info)


def cut_windows(shape: tuple[int, int, int, int], reach: Reach, block_bytes: int = BLOCK_BYTES) -> list[Window]:
    """Cut an exposure into blocks of full columns, and of as few integrations as rows allow.

    Parameters
    ----------
    shape : tuple of int
        Integrations, groups, rows and columns.
    reach : Reach
        What the steps need whole.
    block_bytes : int
        Size of a block's data and group flags that should not be passed, halo apart.

    Returns
    -------
    list of Window
        They cover the exposure without overlap.
    """
    nints, ngroups, nrows, ncols = shape
    per_row = ngroups * ncols * 5
    ints, rows, columns = nints, nrows, ncols
    least = min(nrows, max(1, 8 * reach.halo.get("row", 0)))
    if "row" not in reach.whole:
        rows = max(least, block_bytes // (per_row * nints))
    if "integration" not in reach.whole and rows * per_row * nints > block_bytes:
        ints = max(1, block_bytes // (per_row * min(rows, nrows)))
    if "row" in reach.whole and "column" not in reach.whole:
        least = max(64, 8 * reach.halo.get("column", 0))
        columns = max(least, block_bytes // (ints * ngroups * nrows * 5))
    return [
        Window((i, min(i + ints, nints)), (0, ngroups), (y, min(y + rows, nrows)), (x, right))
        for i in range(0, nints, ints)
        for y in range(0, nrows, rows)
        for x in range(0, ncols, columns)
        for right in (min(x + columns, ncols),)
    ]


def run_fused(
    steps: Sequence[BoundStep],
    source: Mapping[str, Array],
    info: ExposureInfo,
    *,
    threads: int = 1,
    block_bytes: int = BLOCK_BYTES,
    cuts: Iterable[Window] | None = None,
    outputs: Collection[str] | None = None,
    metadata: MutableMapping[str, Any] | None = None,
) -> dict[str, Array]:
    """Run steps one after the other on each block of an exposure while it is in the cache.

    Parameters
    ----------
    steps : sequence of BoundStep
        Steps in order, none of them skipped.
    source : mapping of str to ndarray
        The exposure's arrays by name (see `AXES`), of any numeric type and byte order; memory maps are
        read block by block. Never written to. ``groupdq`` and ``pixeldq`` may be missing.
    info : ExposureInfo
        Facts of the exposure.
    threads : int
        Blocks that are worked on at the same time.
    block_bytes : int
        Size of blocks.
    cuts : iterable of Window, optional
        Windows to use instead; they must cover the exposure, and the axes that a step needs whole.
    outputs : collection of str, optional
        Names of arrays to return of those that the steps write. Default: all.
    metadata : mutable mapping, optional
        Takes what tallies say of the exposure, by datamodel path.

    Returns
    -------
    dict
        New arrays, as the last step that writes them leaves them.

    Raises
    ------
    NoScienceData
        If a step makes nothing of this exposure, such as a fit where all ramps are saturated.
    ValueError
        If a window cuts an axis that a step needs whole.
    """
    whole = _whole(source)
    given = None if cuts is None else list(cuts)
    prepared = [part for b in steps for part in with_parts(b, info)]
    arrays: dict[str, Array] = {name: a for name, a in source.items() if name in AXES}
    written: dict[str, Array] = {}
    stages = list(_stages(prepared, info))
    for n, stage in enumerate(stages):
        wanted = _wanted(stage, stages[n + 1 :], outputs)
        runner = _Stage(stage, arrays, info, whole, wanted)
        windows = given or cut_windows(whole.shape, runner.reach, block_bytes)
        made, tallies = runner.run(windows, threads)
        arrays |= made
        written |= made
        extra = _finish(stage, tallies, info, {} if metadata is None else metadata)
        if extra and n + 1 < len(stages):
            stages[n + 1] = replace(stages[n + 1], extra=extra)
    if metadata is not None:
        for bound in prepared:
            metadata.update(bound.step.account(written, bound.params, info))
    return {n: a for n, a in written.items() if n not in ACCOUNTS and (outputs is None or n in outputs)}


def with_parts(bound: BoundStep, info: ExposureInfo) -> Iterable[BoundStep]:
    """Return a step with its references prepared, and what goes on with what it makes."""
    references = bound.step.prepare(bound.references, bound.params, info)
    step: Step | None = bound.step
    while step is not None:
        yield BoundStep(step, bound.params, references)
        step = step.then(bound.params, info)


def _whole(source: Mapping[str, Array]) -> Window:
    """Return the window of all of an exposure: that of its ramps, else of the fitted images that there are."""
    lengths: dict[Axis, int] = {}
    for name in ("data", *source):
        if name in AXES and name in source:
            for axis, length in zip(AXES[name], source[name].shape, strict=True):
                lengths.setdefault(axis, length)
    return Window.whole((lengths.get("integration", 1), lengths.get("group", 1), lengths["row"], lengths["column"]))


@dataclass(frozen=True)
class _StagePlan:
    """Steps that run on a block without waiting for other blocks."""

    steps: tuple[BoundStep, ...]
    following: BoundStep | None
    """The step after these, if its tally has to be complete before it runs."""
    extra: Mapping[str, Array]
    """Results of tallies for the first step."""


def _required(bound: BoundStep, info: ExposureInfo) -> bool:
    tally = bound.step.tally
    return tally is not None and tally.required(bound.params, info)


def _takes_images(bound: BoundStep, info: ExposureInfo) -> bool:
    return {"row", "column"} <= bound.reach(info).whole


def _tally_reads(bound: BoundStep, info: ExposureInfo) -> tuple[str, ...]:
    """Return the arrays that the tally of a step reads."""
    assert bound.step.tally is not None
    reads = bound.step.tally.reads
    return (reads(bound.params, info) if callable(reads) else reads) or bound.step.reads


def _stages(steps: Sequence[BoundStep], info: ExposureInfo) -> Iterable[_StagePlan]:
    """Part the steps before each one that has to wait for all blocks: for a tally, or since it looks at whole images.

    Those that follow one that looks at whole images are parted from it, so that they can be cut.
    """
    current: list[BoundStep] = []
    for bound in steps:
        waits = _required(bound, info)
        if waits or (current and _takes_images(current[-1], info) != _takes_images(bound, info)):
            yield _StagePlan(tuple(current), bound if waits else None, {})
            current = []
        current.append(bound)
    yield _StagePlan(tuple(current), None, {})


def _wanted(stage: _StagePlan, later: Sequence[_StagePlan], outputs: Collection[str] | None) -> set[str]:
    """Return which arrays of a stage are asked for, or read by a later one."""
    made = {name for bound in stage.steps for name in bound.step.writes}
    needed = {name for plan in later for bound in plan.steps for name in bound.step.reads}
    return made if outputs is None else made & (needed | set(outputs) | ACCOUNTS)


def _finish(
    stage: _StagePlan, tallies: Mapping[int, Any], info: ExposureInfo, metadata: MutableMapping[str, Any]
) -> Mapping[str, Array]:
    """Complete the tallies of a stage, note what they say; return what the next stage's first step waits for."""
    extra: Mapping[str, Array] = {}
    bounds = [*stage.steps, *((stage.following,) if stage.following else ())]
    for n, parts in tallies.items():
        bound = bounds[n]
        tally = bound.step.tally
        if tally is None:
            continue
        result = tally.finalize(parts)
        reason = tally.verdict(result, bound.params, info)
        if reason is not None:
            raise NoScienceData(f"{bound.step.alias}: {reason}")
        metadata.update(tally.metadata(result, bound.params, info))
        if bound is stage.following:
            extra = result
    return extra


class _Stage:
    """One pass over the blocks."""

    def __init__(
        self,
        plan: _StagePlan,
        source: Mapping[str, Array],
        info: ExposureInfo,
        whole: Window,
        wanted: Collection[str],
    ) -> None:
        self.plan = plan
        self.source = source
        self.info = info
        self.whole = whole
        self.wanted = wanted
        self.made: dict[str, Array] = {}
        self.lock = threading.Lock()
        self.reach = Reach()
        for bound in plan.steps:
            self.reach = self.reach.then(bound.reach(info))
        self.reads = self._reads()

    def _reads(self) -> list[str]:
        """Return the arrays to cut out of the source: those read before a step of the stage makes them."""
        names = {name for bound in self.plan.steps for name in bound.step.reads}
        following = self.plan.following
        if following is not None and following.step.tally is not None:
            names |= set(_tally_reads(following, self.info))
        present = {*self.source, *_STARTED_AS_ZERO}
        return [name for name in AXES if name in names & present]

    def run(self, windows: Sequence[Window], threads: int) -> tuple[dict[str, Array], dict[int, Any]]:
        """Work through the windows; return the arrays made and the combined tallies by step."""
        for window in windows:
            self._check(window)
        if threads > 1 and len(windows) > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(self._block, windows))
        else:
            parts = [self._block(window) for window in windows]
        bounds = [*self.plan.steps, *((self.plan.following,) if self.plan.following else ())]
        combined: dict[int, Any] = {}
        for n, bound in enumerate(bounds):
            if bound.step.tally is not None and parts and n in parts[0]:
                combined[n] = bound.step.tally.combine([part[n] for part in parts])
        return self.made, combined

    def _check(self, window: Window) -> None:
        for axis in self.reach.whole:
            if getattr(window, axis) != getattr(self.whole, axis):
                raise ValueError(f"the {axis} axis must be whole, but a window cuts it: {window}")

    def _block(self, window: Window) -> dict[int, Any]:
        """Run all steps on one window; return the tallies' parts."""
        grown = window.grown(self.reach.halo, self.whole)
        block = Block({name: self._cut(name, grown) for name in self.reads}, grown)
        parts: dict[int, Any] = {}
        made: set[str] = set()
        for n, bound in enumerate(self.plan.steps):
            step = bound.step
            if step.kernel is None:
                raise ValueError(f"{step.alias} has no native kernel")
            references = _cut_references(bound.references, grown, self.whole)
            if step.tally is not None and not _required(bound, self.info):
                parts[n] = self._tally(step.tally, block, window, bound, references)
            seen = block.updated(self.plan.extra) if n == 0 else block
            new = step.kernel(seen, references, bound.params, self.info)
            made |= set(new)
            block = block.updated(new)
        following = self.plan.following
        if following is not None and following.step.tally is not None:
            references = _cut_references(following.references, grown, self.whole)
            parts[len(self.plan.steps)] = self._tally(following.step.tally, block, window, following, references)
        self._write(block, window, made & set(self.wanted))
        return parts

    def _tally(self, tally: Tally, block: Block, window: Window, bound: BoundStep, references: References) -> Any:
        names = _tally_reads(bound, self.info)
        part = Block({name: block[name] for name in names if name in block}, block.window)
        return tally.chunk(part.cut(window), references, bound.params, self.info)

    def _cut(self, name: str, window: Window) -> Array:
        """Copy a window of a source array in the type that kernels compute with."""
        if name not in self.source:
            lengths = [b - a for a, b in (getattr(window, axis) for axis in AXES[name])]
            return np.zeros(lengths, _DTYPES[name])
        part = self.source[name][window.slices(AXES[name])]
        return np.array(part, dtype=_DTYPES[name], order="C")

    def _write(self, block: Block, window: Window, names: Iterable[str]) -> None:
        """Put a block's results, without its halo, into the arrays of the whole exposure."""
        for name in names:
            axes = AXES[name]
            inner = block[name][window.within(block.window).slices(axes)]
            if "segment" in axes:
                self._write_segments(name, inner, window)
            else:
                self._target(name, inner)[window.slices(axes)] = inner

    def _write_segments(self, name: str, inner: Array, window: Window) -> None:
        """Put an array with an axis of segments into that of the exposure, which becomes as long as its blocks need."""
        at = AXES[name].index("segment")
        with self.lock:
            held = self.made.get(name)
            if held is None or held.shape[at] < inner.shape[at]:
                lengths = [inner.shape[at] if a == "segment" else getattr(self.whole, a)[1] for a in AXES[name]]
                longer = np.zeros(lengths, inner.dtype)
                if held is not None:
                    longer[(slice(None),) * at + (slice(held.shape[at]),)] = held
                self.made[name] = held = longer
            held[window.slices(AXES[name])][(slice(None),) * at + (slice(inner.shape[at]),)] = inner

    def _target(self, name: str, like: Array) -> Array:
        with self.lock:
            if name not in self.made:
                lengths = [getattr(self.whole, axis)[1] for axis in AXES[name]]
                # Zeroed on purpose: NumPy asks for huge pages for such arrays, and not for empty ones,
                # and the first touch of small pages can take longer than all of the computing.
                self.made[name] = np.zeros(lengths, like.dtype)
            return self.made[name]


def _cut_references(references: References, window: Window, whole: Window) -> References:
    """Cut the arrays that cover the exposure's rows and columns; others stay whole. Views."""
    if window.row == whole.row and window.column == whole.column:
        return references
    image = (whole.row[1], whole.column[1])
    at: Callable[[Array], Array] = lambda a: a[..., slice(*window.row), slice(*window.column)]  # noqa: E731
    return {
        kind: Reference(
            {n: at(a) if a.shape[-2:] == image else a for n, a in reference.arrays.items()},
            reference.meta,
        )
        for kind, reference in references.items()
    }
