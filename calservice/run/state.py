"""`Exposure`: what all passes over an exposure share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from calservice.disk import DiskArray, scratch_array
from calservice.model.block import AXES, Array, Axis, Window
from calservice.model.errors import NoScienceData
from calservice.model.info import ExposureInfo
from calservice.model.passes import IMAGES
from calservice.run.chain import DTYPES, BoundStep
from calservice.run.rooms import fresh

__all__ = ["Exposure"]


@dataclass
class Exposure:
    """What all passes over an exposure share."""

    info: ExposureInfo
    whole: Window
    arrays: dict[str, Array]
    """Those of the exposure, and those made, as the last step that made them left them."""
    told: MutableMapping[str, Any]
    threads: int
    block_bytes: int
    kept_bytes: int
    scratch: Path | None
    made: set[str]
    """Names of those made."""
    places: Mapping[str, DiskArray] = field(default_factory=dict)
    """Where results are to be put."""

    def map(self, work: Callable[[Any], Any], items: Sequence[Any], most: int | None = None) -> list[Any]:
        """Work on windows, or other things, some of them at the same time, but no more than ``most``."""
        threads = self.threads if most is None else min(self.threads, most)
        if threads > 1 and len(items) > 1:
            with ThreadPoolExecutor(threads) as pool:
                return list(pool.map(work, items))
        return [work(item) for item in items]

    def size(self, name: str) -> int:
        """Return the bytes of an array of all of the exposure."""
        lengths = [getattr(self.whole, axis)[1] for axis in AXES[name]]
        return int(np.prod(lengths) * np.dtype(DTYPES[name]).itemsize)

    def forget(self, names: Collection[str]) -> None:
        """Let go of arrays that are not needed any more."""
        for name in names:
            self.arrays.pop(name, None)
            self.made.discard(name)

    def shape(self, name: str, like: Array, whole: Collection[Axis]) -> tuple[int, ...]:
        """Return the shape of an array: along axes that steps see whole that of a block, since they may drop rows."""
        sizes = zip(AXES[name], like.shape, strict=True)
        return tuple(n if axis in whole else getattr(self.whole, axis)[1] for axis, n in sizes)

    def room(self, name: str, like: Array, whole: Collection[Axis]) -> Array:
        """Return where an array is to be put, or zeros: on disk where it is too large for memory; images never are."""
        shape = self.shape(name, like, whole)
        place = cast(Array | None, self.places.get(name))
        if (
            place is not None
            and place is not self.arrays.get(name)
            and place.shape == shape
            and place.dtype == like.dtype
        ):
            return place
        kept = self.kept_bytes if "group" in AXES[name] else self.kept_bytes // IMAGES
        if self.size(name) > kept and {"integration", "row"} <= set(AXES[name]):
            return cast(Array, scratch_array(shape, like.dtype, self.scratch))
        return fresh(shape, like.dtype)

    def settled(self, bound: BoundStep, parts: Sequence[Any]) -> BoundStep:
        """Complete a tally and note what it says.

        Raises
        ------
        NoScienceData
            Where it says that there is nothing to be made of the exposure.
        """
        tally = bound.step.tally
        assert tally is not None
        result = tally.finalize(tally.combine(parts), self.map)
        reason = tally.verdict(result, bound.params, self.info)
        if reason is not None:
            raise NoScienceData(f"{bound.step.alias}: {reason}")
        self.told.update(tally.metadata(result, bound.params, self.info))
        return replace(bound, known=result)
