"""`Window` and `Block`: a piece of an exposure, and where on the detector it lies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

__all__ = ["ACCOUNTS", "AXES", "OPTIONAL", "Array", "Axis", "Block", "Reach", "SomeGroups", "Window"]

Array = NDArray[Any]
Axis = Literal["integration", "group", "row", "column", "segment"]
"""Axes of arrays. Windows do not cut segments, of which pixels have as many as their ramps fall into."""

AXES: Mapping[str, tuple[Axis, ...]] = {
    "data": ("integration", "group", "row", "column"),
    "groupdq": ("integration", "group", "row", "column"),
    "pixeldq": ("row", "column"),
    "zeroframe": ("integration", "row", "column"),
    "average_dark_current": ("row", "column"),
    # what ramp fitting makes: one image of the exposure ...
    "slope": ("row", "column"),
    "dq": ("row", "column"),
    "err": ("row", "column"),
    "var_poisson": ("row", "column"),
    "var_rnoise": ("row", "column"),
    # ... and one an integration
    "int_slope": ("integration", "row", "column"),
    "int_dq": ("integration", "row", "column"),
    "int_err": ("integration", "row", "column"),
    "int_var_poisson": ("integration", "row", "column"),
    "int_var_rnoise": ("integration", "row", "column"),
    # what jump detection counts
    "primary_crs": ("row", "column"),
    "usable_groups": ("integration", "group"),
    "extended_events": ("integration", "group"),
    # what its search for large events hands on: where saturated cores of snowballs grew, flags before snowballs, and
    # what differences of groups typically are and their noise, of each group or one for all
    "snowball_cores": ("integration", "row", "column"),
    "jump_groupdq": ("integration", "group", "row", "column"),
    "typical_difference": ("group", "row", "column"),
    "difference_noise": ("group", "row", "column"),
    # rates of ramps before they are corrected for noise, for finding the background
    "draft_slope": ("row", "column"),
    "int_draft_slope": ("integration", "row", "column"),
    # where flags of these say that science makes no use of pixels
    "draft_unused": ("row", "column"),
    "int_draft_unused": ("integration", "row", "column"),
    # and the median of integrations
    "draft_median": ("group", "row", "column"),
    # of IRS2 frames the mean of an integration, and which rows hold bad reference pixels
    "irs2_mean": ("integration", "row", "column"),
    "irs2_bad": ("row",),
    # whether such noise was fitted
    "noise_fitted": ("integration",),
    # what steps make for optional products
    "opt_slope": ("integration", "segment", "row", "column"),
    "opt_sigslope": ("integration", "segment", "row", "column"),
    "opt_var_poisson": ("integration", "segment", "row", "column"),
    "opt_var_rnoise": ("integration", "segment", "row", "column"),
    "opt_yint": ("integration", "segment", "row", "column"),
    "opt_sigyint": ("integration", "segment", "row", "column"),
    "opt_weights": ("integration", "segment", "row", "column"),
    "opt_crmag": ("integration", "segment", "row", "column"),
    "opt_pedestal": ("integration", "row", "column"),
    "opt_chisq": ("row", "column"),
    "opt_emi_waves": ("segment",),
    "opt_persistence": ("row", "column"),
    "opt_mask": ("row", "column"),
    "opt_int_mask": ("integration", "row", "column"),
    "opt_background": ("integration", "group", "row", "column"),
    "opt_noise": ("integration", "group", "row", "column"),
}
"""The axes of every array that a block step may read or make, by name."""

ACCOUNTS = frozenset(
    (
        "primary_crs",
        "usable_groups",
        "extended_events",
        "snowball_cores",
        "jump_groupdq",
        "typical_difference",
        "difference_noise",
        "draft_slope",
        "int_draft_slope",
        "draft_unused",
        "int_draft_unused",
        "draft_median",
        "noise_fitted",
        "irs2_mean",
        "irs2_bad",
    )
)
"""Arrays that steps make for parts of their own and for what they say of the exposure in its metadata, else nothing."""

OPTIONAL = frozenset(name for name in AXES if name.startswith("opt_"))
"""Arrays that steps make for products beside their result, and for nothing else."""


@dataclass(frozen=True)
class Window:
    """The half-open ranges of an exposure that a block covers.

    Ranges count from 0 within the *exposure's own* arrays (a subarray exposure starts at 0), so a
    window is independent of where the subarray lies on the detector.
    """

    integration: tuple[int, int]
    group: tuple[int, int]
    row: tuple[int, int]
    column: tuple[int, int]

    @classmethod
    def whole(cls, shape: tuple[int, int, int, int]) -> Window:
        """Return the window of all of an exposure of shape (nints, ngroups, nrows, ncols)."""
        return cls((0, shape[0]), (0, shape[1]), (0, shape[2]), (0, shape[3]))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Lengths (integrations, groups, rows, columns)."""
        ranges = (self.integration, self.group, self.row, self.column)
        a, b, c, d = (stop - start for start, stop in ranges)
        return a, b, c, d

    def slices(self, axes: tuple[Axis, ...]) -> tuple[slice, ...]:
        """Return the slices that cut this window out of an array with the given axes."""
        return tuple(slice(None) if axis == "segment" else slice(*getattr(self, axis)) for axis in axes)

    def grown(self, halo: Mapping[Axis, int], limit: Window) -> Window:
        """Return the window with ``halo`` more on both sides of each axis, kept within ``limit``."""

        def grow(axis: Axis) -> tuple[int, int]:
            (start, stop), (low, high) = getattr(self, axis), getattr(limit, axis)
            extra = halo.get(axis, 0)
            return max(low, start - extra), min(high, stop + extra)

        return Window(grow("integration"), grow("group"), grow("row"), grow("column"))

    def within(self, outer: Window) -> Window:
        """Return this window in the coordinates of ``outer``, which contains it."""

        def shift(axis: Axis) -> tuple[int, int]:
            (start, stop), (origin, _) = getattr(self, axis), getattr(outer, axis)
            return start - origin, stop - origin

        return Window(shift("integration"), shift("group"), shift("row"), shift("column"))


@dataclass(frozen=True)
class SomeGroups:
    """New values of some groups of an array (integration, group, row, column); the others stay what they are.

    What a kernel returns that changes few groups, so that the others need not be copied.
    """

    groups: slice
    values: Array


@dataclass(frozen=True)
class Block:
    """Named arrays of one piece of an exposure.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Arrays by name, each with the axes that `AXES` gives for its name, cut to ``window``. A kernel
        must not write into them.
    window : Window
        Where the piece lies in the exposure.
    """

    arrays: Mapping[str, Array]
    window: Window

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def updated(self, arrays: Mapping[str, Array | SomeGroups], own: Collection[str] = ()) -> Block:
        """Return a block with some arrays replaced or added; this one stays as it is.

        Parameters
        ----------
        arrays : mapping of str to ndarray or SomeGroups
            What a kernel returned.
        own : collection of str
            Arrays of this block that nobody else has, and that are not needed any more: groups that a kernel changed
            are put into these. Others are copied.
        """
        made = dict(self.arrays)
        for name, given in arrays.items():
            if isinstance(given, SomeGroups):
                whole = self.arrays[name] if name in own else self.arrays[name].copy()
                whole[:, given.groups] = given.values
                made[name] = whole
            else:
                made[name] = given
        return Block(made, self.window)

    def cut(self, window: Window) -> Block:
        """Return the part of this block that lies in ``window`` (exposure coordinates); views."""
        inner = window.within(self.window)
        arrays = {name: a[inner.slices(AXES[name])] for name, a in self.arrays.items()}
        return Block(arrays, window)


@dataclass(frozen=True)
class Reach:
    """How far a kernel looks.

    Attributes
    ----------
    whole : frozenset of str
        Axes that the kernel must see whole.
    halo : mapping of str to int
        How many neighbours it needs on each side of the other axes.
    """

    whole: frozenset[Axis] = frozenset()
    halo: Mapping[Axis, int] = field(default_factory=dict)

    @classmethod
    def everything(cls) -> Reach:
        """Return the reach of a step that cannot be cut at all."""
        return cls(frozenset(("integration", "group", "row", "column")))

    def then(self, other: Reach) -> Reach:
        """Return the reach of this kernel followed by ``other``: unions and sums."""
        whole = self.whole | other.whole
        axes = (set(self.halo) | set(other.halo)) - whole
        halo: dict[Axis, int] = {a: self.halo.get(a, 0) + other.halo.get(a, 0) for a in axes}
        return Reach(whole, halo)
