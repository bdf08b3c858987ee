"""Steps in a row on one window of an exposure: what they read of it, and how far they look."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from calservice.disk import DiskArray, cut_image
from calservice.model.block import AXES, Array, Axis, Block, Reach, SomeGroups, Window
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, References, Step

__all__ = ["DTYPES", "BoundStep", "Chain", "Recomputed", "with_parts"]

DTYPES: Mapping[str, type[np.generic]] = {name: np.float32 for name in AXES if not name.endswith("dq")} | {
    "groupdq": np.uint8,
    "jump_groupdq": np.uint8,
    "snowball_cores": np.uint8,
    "pixeldq": np.uint32,
    "dq": np.uint32,
    "int_dq": np.uint32,
    "irs2_mean": np.float64,
    "irs2_bad": np.bool_,
    "draft_unused": np.bool_,
    "int_draft_unused": np.bool_,
}
"""What kernels compute with, by array."""

_WORTH = 1.1
"""By how much smaller a block has to become for the rest of it to be copied: as much as a step or two take."""

_RAW = "u>i2"
"""How raw exposures keep their numbers, see `DiskArray.kept_as`."""

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
    known : mapping of str to ndarray
        What its tally found, once that is complete.
    """

    step: Step
    params: Params
    references: References
    known: Mapping[str, Array] = field(default_factory=dict)

    def reach(self, info: ExposureInfo) -> Reach:
        """Return what the kernel must see, of which the references may decide."""
        if self.step.exact_reach is not None:
            return self.step.exact_reach(self.references, self.params, info)
        return self.step.reach(self.params, info)

    def metadata(self, info: ExposureInfo) -> Mapping[str, Any]:
        """Return the metadata that the step sets whatever the pixels are like, by datamodel path."""
        return self.step.metadata(self.references, self.params, info)

    def asks(self, info: ExposureInfo) -> bool:
        """Whether the kernel needs what the tally finds in the whole exposure."""
        return self.step.tally is not None and self.step.tally.required(self.params, info)

    def waits(self, info: ExposureInfo) -> bool:
        """Whether the kernel has to wait for what all blocks before it tell."""
        return self.step.waits(self.params, info)

    def tally_reads(self, info: ExposureInfo) -> tuple[str, ...]:
        """Return the arrays that the tally reads."""
        assert self.step.tally is not None
        reads = self.step.tally.reads
        return (reads(self.params, info) if callable(reads) else reads) or self.step.reads

    def tallied(self, block: Block, window: Window, references: References, info: ExposureInfo) -> Any:
        """Return the part of the tally that a window of a block gives."""
        assert self.step.tally is not None
        part = Block({name: block[name] for name in self.tally_reads(info) if name in block}, block.window)
        return self.step.tally.chunk(part.cut(window), references, self.params, info)


def with_parts(bound: BoundStep, info: ExposureInfo) -> list[BoundStep]:
    """Return a step with its references prepared, and what goes on with what it makes."""
    references = bound.step.prepare(bound.references, bound.params, info)
    return [BoundStep(step, bound.params, references) for step in bound.step.parts(bound.params, info)]


@dataclass(frozen=True)
class Chain:
    """Steps that follow each other on a window without waiting for others.

    Attributes
    ----------
    steps : sequence of BoundStep
        In order; what their tallies had to find is known.
    source : mapping of str to ndarray
        Arrays of the exposure, of any numeric type and byte order, or what gives copies of their windows.
    info : ExposureInfo
        Facts of the exposure.
    whole : Window
        All of it.
    """

    steps: Sequence[BoundStep]
    source: Mapping[str, Array]
    info: ExposureInfo
    whole: Window

    @cached_property
    def reach(self) -> Reach:
        """What the steps must see together."""
        reach = Reach()
        for bound in self.steps:
            reach = reach.then(bound.reach(self.info))
        return reach

    def making(self, names: Collection[str]) -> Chain:
        """Return only those of the steps that some arrays of ramps depend on."""
        needed, kept = set(names), []
        for bound in reversed(self.steps):
            if needed & (set(bound.step.writes) - set(bound.step.remarks)):
                kept.append(bound)
                needed |= set(bound.step.reads)
        return replace(self, steps=kept[::-1])

    def run(
        self, window: Window, more: Collection[str] = (), tally: bool = False
    ) -> tuple[Block, set[str], dict[int, Any]]:
        """Run the steps on a window.

        Parameters
        ----------
        window : Window
            What is wanted; what the steps must see around it is added.
        more : collection of str
            Arrays to read even if no step does.
        tally : bool
            Take the parts of tallies for which no step waits.

        Returns
        -------
        block : Block
            Arrays as the steps leave them, on a window that contains the wanted one.
        made : set of str
            Names of those that steps made.
        parts : dict
            Parts of tallies by the number of their step.
        """
        grown = self.seen(window)
        names = {name for bound in self.steps for name in bound.step.reads} | set(more)
        present = {*self.source, *_STARTED_AS_ZERO}
        block = Block({name: self._cut(name, grown) for name in AXES if name in names & present}, grown)
        own = _owned(block.arrays) | {name for name in block.arrays if isinstance(self.source.get(name), DiskArray)}
        made: set[str] = set()
        parts: dict[int, Any] = {}
        for n, bound in enumerate(self.steps):
            if bound.step.kernel is None:
                raise ValueError(f"{bound.step.alias} has no native kernel")
            block = self._shrunk(block, window, n)
            copies = _copies(block, bound.step, own)
            block, own = block.updated(copies), own | copies.keys()
            references = self.references(bound, block.window)
            if tally and bound.step.tally is not None and not bound.asks(self.info):
                parts[n] = bound.tallied(block, window, references, self.info)
            new = bound.step.kernel(block.updated(bound.known), references, bound.params, self.info)
            made |= set(new)
            block, own = block.updated(new, own), _own_after(block, new, own)
        return block, made, parts

    @cached_property
    def _halos(self) -> list[Mapping[Axis, int]]:
        """How far each step and those after it look together."""
        reach, made = Reach(), []
        for bound in reversed(self.steps):
            reach = bound.reach(self.info).then(reach)
            made.append(reach.halo)
        return made[::-1]

    def _shrunk(self, block: Block, window: Window, n: int) -> Block:
        """Return a view of a block without what only steps before number ``n`` see, where that is worth a copy.

        It costs none where all that follow work on views.
        """
        inner = window.grown(self._halos[n], block.window)
        worth = 1.0 if all(bound.step.strided for bound in self.steps[n:]) else _WORTH
        if worth * math.prod(inner.shape) >= math.prod(block.window.shape):
            return block
        return block.cut(replace(inner, **{axis: getattr(block.window, axis) for axis in self.reach.whole}))

    def references(self, bound: BoundStep, window: Window) -> References:
        """Return the references of a step with the arrays cut that cover rows and columns; others are whole. Views."""
        if window.row == self.whole.row and window.column == self.whole.column:
            return bound.references
        image = (self.whole.row[1], self.whole.column[1])
        place = slice(*window.row), slice(*window.column)
        return {
            kind: replace(
                reference,
                arrays={n: cut_image(a, *place) if a.shape[-2:] == image else a for n, a in reference.arrays.items()},
            )
            for kind, reference in bound.references.items()
        }

    def held(self, window: Window) -> Chain:
        """Return it with the rows of a window of references that are on disk in memory; it serves that window alone."""
        rows = slice(*window.row)
        return self._with_references(lambda array: array.held((..., rows, slice(None))))

    def beside(self, windows: Sequence[Window]) -> Chain:
        """Return it for windows that differ in columns only; where these are few, those of all are read at once."""
        columns = [self.seen(window).column for window in windows]

        def beside(array: Any) -> Array:
            return cast(Array, array.beside(columns) if isinstance(array, DiskArray) else array)

        source = {name: beside(array) for name, array in self.source.items()}
        return replace(self._with_references(lambda array: array.beside(columns)), source=source)

    def _with_references(self, change: Callable[[DiskArray], DiskArray]) -> Chain:
        """Return it with something done to images of references that are on disk."""
        image = (self.whole.row[1], self.whole.column[1])

        def changed(array: Any) -> Array:
            there = isinstance(array, DiskArray) and array.shape[-2:] == image
            return cast(Array, change(array) if there else array)

        steps = [
            replace(
                bound,
                references={
                    kind: replace(reference, arrays={n: changed(a) for n, a in reference.arrays.items()})
                    for kind, reference in bound.references.items()
                },
            )
            for bound in self.steps
        ]
        return replace(self, steps=steps)

    def seen(self, window: Window) -> Window:
        """Return what the steps must see for a window."""
        wide = replace(window, **{axis: getattr(self.whole, axis) for axis in self.reach.whole})
        return wide.grown(self.reach.halo, self.whole)

    def _cut(self, name: str, window: Window) -> Array:
        """Return a window of a source array in the type that kernels compute with; kernels do not write into it."""
        if name not in self.source:
            lengths = [b - a for a, b in (getattr(window, axis) for axis in AXES[name])]
            # written now, a page costs one fault; read first and then written, two, and all processors hear of it
            zeros = np.empty(lengths, DTYPES[name])
            zeros.fill(0)
            return zeros
        source: Any = self.source[name]
        if isinstance(source, DiskArray):
            return _read(source, window.slices(AXES[name]), DTYPES[name])
        part = source[window.slices(AXES[name])]
        return np.array(part, dtype=DTYPES[name], order="C", copy=None if part.flags.writeable else True)


def _owned(arrays: Mapping[str, Array]) -> set[str]:
    """Return which of the arrays that were taken or made for a block are its own: of what is in memory it has views."""
    return {name for name, array in arrays.items() if array.flags.owndata and array.flags.writeable}


def _copies(block: Block, step: Step, own: set[str]) -> dict[str, Array]:
    """Return copies of the arrays that a step cannot take as they are: views, or what it is to overwrite."""
    made: dict[str, Array] = {}
    for name in block.arrays.keys() & set(step.reads):
        cut = not (step.strided or block[name].flags.c_contiguous)
        if cut or (name in step.spends and name not in own):
            made[name] = block[name].copy()
    return made


def _own_after(block: Block, new: Mapping[str, Array | SomeGroups], own: set[str]) -> set[str]:
    """Return which arrays are a block's own once a kernel has made new ones of it."""
    made, some = {}, set()
    for name, array in new.items():
        if isinstance(array, SomeGroups):
            some.add(name)  # put into its own, or into a copy
        elif array is not block.arrays.get(name):
            made[name] = array
    return (own | some) - made.keys() | _owned(made)


def _read(source: DiskArray, window: tuple[slice, ...], dtype: type[np.generic]) -> Array:
    """Return a window of an array on disk in some type, raw numbers of the detectors in one pass over them."""
    if source.kept_as == _RAW and dtype is np.float32:
        from calservice.steps.stage1._stored_kernels import read_unsigned, turn_unsigned

        made = np.empty([part.stop - part.start for part in window], np.float32)
        images = made.reshape(math.prod(made.shape[:-2]), *made.shape[-2:])
        kept, places = source.in_memory(window), source.places(window)
        if kept is not None:
            turn_unsigned(kept.view(np.uint16).reshape(images.shape), images)
            return made
        if places is not None and read_unsigned(*places[:3], np.empty(places.shape, np.uint16), images):
            return made
    return source[window].astype(dtype, copy=False)  # which tells what is wrong with the file, if something is


class Recomputed:
    """An array of ramps too large to be kept: each window is computed again when it is asked for.

    Parameters
    ----------
    chain : Chain
        What makes it.
    name : str
        Its name.
    """

    def __init__(self, chain: Chain, name: str) -> None:
        self.chain = chain.making([name])
        self.name = name
        self.shape = tuple(getattr(chain.whole, axis)[1] for axis in AXES[name])
        self.dtype = np.dtype(DTYPES[name])

    def __getitem__(self, slices: tuple[slice, ...]) -> Array:
        window = Window(*((part.start, part.stop) for part in slices))
        block, _, _ = self.chain.run(window)
        return block.cut(window)[self.name]
