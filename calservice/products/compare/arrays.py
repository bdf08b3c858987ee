"""Arrays and columns, value by value, a few planes at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from calservice.model.dqflags import PIXEL_FLAGS
from calservice.products.compare.results import ArrayDifference, ColumnDifference, Settings

__all__ = ["ColumnTally", "Tally", "compare_arrays", "is_quality", "slabs"]

_SLAB = 8 * 1024 * 1024
_NAMES = {value: name for name, value in PIXEL_FLAGS.items()}
Array = npt.NDArray[Any]


def is_quality(name: str) -> bool:
    """Whether an extension or column of this name holds data quality flags (DQ, PIXELDQ, GROUPDQ, …)."""
    return name.upper().partition(",")[0].endswith("DQ")


def slabs(shape: Sequence[int], itemsize: int, limit: int = _SLAB) -> Iterator[tuple[slice, ...]]:
    """Cut an array into pieces of ``limit`` bytes at most, in the order in which it is stored."""
    if 0 in shape:
        return
    axis = len(shape) - 1
    while axis > 0 and math.prod(shape[axis:]) * itemsize <= limit:
        axis -= 1
    step = max(1, limit // (math.prod(shape[axis + 1 :]) * itemsize))
    for lead in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            rest = (slice(start, min(start + step, shape[axis])), *(slice(0, n) for n in shape[axis + 1 :]))
            yield (*(slice(i, i + 1) for i in lead), *rest)


def compare_arrays(
    shape: Sequence[int],
    itemsize: int,
    read: Callable[[tuple[slice, ...]], tuple[Array, Array]],
    settings: Settings,
    *,
    quality: bool = False,
) -> ArrayDifference:
    """Compare two arrays of one shape.

    Parameters
    ----------
    shape : sequence of int
        Their shape.
    itemsize : int
        Bytes per value of the larger one.
    read : callable
        Gives the same piece of both.
    settings : Settings
        The tolerances.
    quality : bool
        Whether they hold flags, which must be equal bit for bit and are counted by name.
    """
    tally = Tally(settings, exact=quality, quality=quality)
    for piece in slabs(shape, itemsize):
        tally.add(*read(piece), tuple(part.start for part in piece))
    return tally.result()


class Tally:
    """Differences of two arrays, collected piece by piece.

    Parameters
    ----------
    settings : Settings
        The tolerances.
    exact : bool
        Whether numbers must be equal; whole numbers always must.
    quality : bool
        Whether to count flags by name.
    """

    def __init__(self, settings: Settings, *, exact: bool = False, quality: bool = False) -> None:
        self.settings, self.exact, self.quality = settings, exact, quality
        self.found = ArrayDifference(pixels=0)
        self._bits: dict[int, int] = {}

    def add(self, a: Array, b: Array, origin: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Compare one piece, which lies at ``origin`` of the whole; return where it differs."""
        unequal = np.asarray(a != b)
        self.found = replace(self.found, pixels=self.found.pixels + unequal.size)
        if not unequal.any():
            return unequal
        with np.errstate(all="ignore"):
            here_a, here_b = np.asarray(a[unequal]), np.asarray(b[unequal])
            numeric = here_a.dtype.kind in "iufcb" and here_b.dtype.kind in "iufcb"
            bad = self._judge(here_a, here_b) if numeric else np.ones(here_a.shape, np.bool_)
            differs = np.zeros(unequal.shape, np.bool_)
            differs[unequal] = bad
            if bad.any():
                self._measure(here_a[bad], here_b[bad], differs, origin, numeric)
        return differs

    def _judge(self, a: Array, b: Array) -> npt.NDArray[np.bool_]:
        """Say which of some unequal values differ beyond tolerance, and count those that do not."""
        if a.dtype.kind not in "fc" and b.dtype.kind not in "fc":
            return np.ones(a.shape, np.bool_)
        fine_a, fine_b = np.isfinite(a), np.isfinite(b)
        both, neither = fine_a & fine_b, ~(fine_a | fine_b)
        beyond = both
        if not self.exact:  # in the arithmetic of the arrays' own type, as the official comparator does it
            beyond = both & (np.abs(b - a) > self.settings.atol + self.settings.rtol * np.abs(b))
        self.found = replace(
            self.found,
            tolerated=self.found.tolerated + int(np.count_nonzero(both & ~beyond)),
            only_a_finite=self.found.only_a_finite + int(np.count_nonzero(fine_a & ~fine_b)),
            only_b_finite=self.found.only_b_finite + int(np.count_nonzero(fine_b & ~fine_a)),
            kinds=self.found.kinds + int(np.count_nonzero(neither & ~(np.isnan(a) & np.isnan(b)))),
        )
        return np.asarray(beyond | (fine_a ^ fine_b), np.bool_)

    def _measure(
        self, a: Array, b: Array, differs: npt.NDArray[np.bool_], origin: Sequence[int], numeric: bool
    ) -> None:
        """Note how far some differing values are apart, and where they are."""
        found = self.found
        places = np.flatnonzero(differs)
        far = np.zeros(a.shape)
        if numeric:
            wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
            distance, size = np.abs(a.astype(wide) - b.astype(wide)), np.abs(b.astype(wide))
            finite = np.isfinite(distance)
            far = np.where(finite, distance, -1.0)
            if finite.any():
                found = replace(found, largest_absolute=max(found.largest_absolute or 0.0, float(far.max())))
            if (finite & (size > 0)).any():
                ratio = float(np.max(distance[finite & (size > 0)] / size[finite & (size > 0)]))
                found = replace(found, largest_relative=max(found.largest_relative or 0.0, ratio))
            if self.quality:
                self._count_flags(a, b)
        worst = int(np.argmax(far))
        record = self.found.largest_absolute
        if found.worst is None or (numeric and far[worst] > (-1.0 if record is None else record)):
            place = np.unravel_index(int(places[worst]), differs.shape)
            index = tuple(int(i) + o for i, o in zip(place, origin, strict=True))
            found = replace(found, worst=index, values=(_plain(a[worst]), _plain(b[worst])))
        box = _join(found.box, _box(differs, origin))
        self.found = replace(found, differing=found.differing + len(places), box=box)

    def _count_flags(self, a: Array, b: Array) -> None:
        if a.dtype.kind not in "iub" or b.dtype.kind not in "iub":
            return
        width = 8 * max(a.dtype.itemsize, b.dtype.itemsize)
        changed = (a.astype(np.int64) ^ b.astype(np.int64)).view(np.uint64) & np.uint64((1 << width) - 1)
        anywhere = int(np.bitwise_or.reduce(changed))
        for bit in range(width):
            if anywhere >> bit & 1:
                number = int(np.count_nonzero(changed >> np.uint64(bit) & np.uint64(1)))
                self._bits[bit] = self._bits.get(bit, 0) + number

    def result(self) -> ArrayDifference:
        """Return all that was found."""
        flags = tuple((_NAMES.get(1 << bit, f"bit {bit}"), count) for bit, count in sorted(self._bits.items()))
        return replace(self.found, flags=flags)


class ColumnTally:
    """Differences of two columns, collected some rows at a time.

    Parameters
    ----------
    name : str
        Name of the column.
    settings : Settings
        The tolerances.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings, self.quality = name, settings, is_quality(name)
        self._tally = Tally(settings, exact=self.quality, quality=self.quality)
        self._rows, self._first, self._start = 0, -1, 0

    def add(self, a: Any, b: Any) -> None:
        """Compare the next rows."""
        bad: npt.NDArray[np.bool_]
        if a.dtype.kind == "O":
            bad = np.array([not self._alike(x, y) for x, y in zip(a, b, strict=True)], np.bool_)
        elif a.shape != b.shape:
            bad = np.ones(len(a), np.bool_)
        else:
            self._tally.exact = self.quality or a.dtype.kind != "f" or b.dtype.kind != "f"
            differs = self._tally.add(a, b, (self._start, *(0,) * (a.ndim - 1)))
            bad = np.any(differs, axis=tuple(range(1, a.ndim)))
        if bad.any():
            self._first = self._start + int(np.argmax(bad)) if self._first < 0 else self._first
            self._rows += int(np.count_nonzero(bad))
        self._start += len(a)

    def _alike(self, a: Any, b: Any) -> bool:
        """Whether two cells of a column of arrays of varying length are the same."""
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return False
        if self.quality or a.dtype.kind not in "iufcb" or b.dtype.kind not in "iufcb":
            return bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc"))
        return bool(np.allclose(a, b, rtol=self.settings.rtol, atol=self.settings.atol, equal_nan=True))

    @property
    def tolerated(self) -> int:
        """How many values are unequal, but within tolerance."""
        return self._tally.found.tolerated

    def result(self, attributes: tuple[tuple[str, Any, Any], ...] = ()) -> ColumnDifference | None:
        """Return all that was found, with attributes that differ; None where the columns are the same."""
        if not self._rows and not attributes:
            return None
        found = self._tally.result()
        first = self._first if self._rows else None
        return ColumnDifference(self.name, self._rows, first, found if found.differing else None, attributes)


def _box(differs: npt.NDArray[np.bool_], origin: Sequence[int]) -> tuple[tuple[int, int], ...]:
    box = []
    for axis, offset in enumerate(origin):
        along = np.flatnonzero(differs.any(axis=tuple(i for i in range(differs.ndim) if i != axis)))
        box.append((int(along[0]) + offset, int(along[-1]) + offset))
    return tuple(box)


def _join(one: tuple[tuple[int, int], ...] | None, other: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    if one is None:
        return other
    return tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, bool | int | float | str) else str(value)
