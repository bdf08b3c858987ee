"""How an exposure is cut: which steps go over it together, in which blocks, and what is kept in between. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from calservice.model.block import AXES, Reach, Window

__all__ = [
    "BLOCK_BYTES",
    "IMAGES",
    "KEPT_BYTES",
    "at_once",
    "cut_windows",
    "passes",
    "reach_of",
    "region_windows",
    "sample_bytes",
    "takes_images",
]

BLOCK_BYTES = 16 * 1024**2
"""Default size of a block: about what the last-level cache holds for each core."""

KEPT_BYTES = 1024**3
"""Default size in bytes beyond which an array is not kept in memory from one pass over an exposure to the next."""

_AMPLE = 12
"""Blocks of so many times more rows than halos have are half as large, such that more is in faster caches."""

_FEW = 4
"""Blocks, where there are several, are as many or a multiple."""

IMAGES = 2
"""By how much less may be kept of each array of images, one an integration: fitting makes several."""


def takes_images(reach: Reach) -> bool:
    """Whether a step looks at whole images."""
    return {"row", "column"} <= reach.whole


def passes(reaches: Sequence[Reach], waits: Sequence[bool]) -> Iterator[tuple[int, int, bool]]:
    """Part steps into passes over the exposure.

    A pass ends before each step that has to wait for all blocks: for a tally, or since it looks at whole images.
    Those that follow one that looks at whole images are parted from it, so that they can be cut; if the first of them
    waits for a tally, that is taken in a pass without steps.

    Parameters
    ----------
    reaches : sequence of Reach
        What each step must see.
    waits : sequence of bool
        Whether each step waits for what all blocks tell together.

    Yields
    ------
    start, stop, asked : int, int, bool
        Half-open range of the steps of a pass, and whether the next pass waits for what its blocks tell.
    """
    start = 0
    for n, (reach, wait) in enumerate(zip(reaches, waits, strict=True)):
        parted = n > start and takes_images(reaches[n - 1]) != takes_images(reach)
        apart = wait and parted and not takes_images(reach)
        if wait or parted:
            yield start, n, wait and not apart
            start = n
        if apart:
            yield n, n, True
    yield start, len(reaches), False


def reach_of(reaches: Sequence[Reach], following: Reach | None) -> Reach:
    """Return what the steps of a pass must see, and with them the tally of the following step, if that waits for it.

    That sees what its kernel is to see, but parts of images.
    """
    made = Reach()
    for reach in reaches:
        made = made.then(reach)
    return made if following is None else made.then(Reach(following.whole - {"row", "column"}))


def sample_bytes(names: Collection[str]) -> int:
    """Return the bytes that a pixel of a group takes in some arrays."""
    ramps = [name for name in names if AXES[name] == AXES["data"]]
    return sum(1 if name.endswith("dq") else 4 for name in ramps)


def at_once(window: Window, reads: Collection[str], kept_bytes: int = KEPT_BYTES) -> int:
    """Return how many blocks may be worked on at the same time: of ramps in whole images, few have room in memory.

    Parameters
    ----------
    window : Window
        What the steps see for the block.
    reads : collection of str
        Arrays that they read.
    kept_bytes : int
        Size that what is read for all of them should not pass.
    """
    return max(1, kept_bytes // max(1, sample_bytes(reads) * math.prod(window.shape)))


def _even(length: int, most: int, least: int) -> int:
    """Return a length of pieces that are about as long as each other, and as many for each of two or four threads."""
    count = -(-length // most)
    count = count if count == 1 else -(-count // _FEW) * _FEW
    return max(least, -(-length // count))


def cut_windows(
    shape: tuple[int, int, int, int], reach: Reach, block_bytes: int, kept_bytes: int = KEPT_BYTES
) -> list[Window]:
    """Cut an exposure into blocks of all columns if that is possible, and of as few integrations as rows allow.

    Groups are cut only where steps see whole images but not all groups, and ramps are kept from pass to pass.

    Parameters
    ----------
    shape : tuple of int
        Integrations, groups, rows and columns.
    reach : Reach
        What the steps need whole.
    block_bytes : int
        Size of a block's data and group flags that should not be passed, halo apart.
    kept_bytes : int
        Size beyond which ramps are computed again for each block, with all their groups.

    Returns
    -------
    list of Window
        They cover the exposure without overlap.
    """
    nints, ngroups, nrows, ncols = shape
    pixel = ngroups * 5
    ints, groups, rows, columns = nints, ngroups, nrows, ncols
    if "row" not in reach.whole:
        halo = reach.halo.get("row", 0)
        fewest = min(nrows, max(1, 8 * halo))
        most = block_bytes // (pixel * ncols * nints)
        most = most // 2 if most // 2 >= max(1, _AMPLE * halo) else most
        rows = _even(nrows, max(fewest, most), fewest)
    if "integration" not in reach.whole and rows * pixel * ncols * nints > block_bytes:
        ints = max(1, block_bytes // (pixel * ncols * min(rows, nrows)))
    if "column" not in reach.whole and min(rows, nrows) * pixel * ncols * ints > block_bytes:
        columns = max(64, 8 * reach.halo.get("column", 0), block_bytes // (pixel * min(rows, nrows) * ints))
    if takes_images(reach) and "group" not in reach.whole and 4 * math.prod(shape) <= kept_bytes:
        groups = min(ngroups, max(1, block_bytes // (5 * nrows * ncols * ints)))
    return [
        Window((i, min(i + ints, nints)), (g, min(g + groups, ngroups)), (y, min(y + rows, nrows)), (x, right))
        for i in range(0, nints, ints)
        for g in range(0, ngroups, groups)
        for y in range(0, nrows, rows)
        for x in range(0, ncols, columns)
        for right in (min(x + columns, ncols),)
    ]


def region_windows(region: Window, reach: Reach, block_bytes: int) -> list[Window]:
    """Cut a part of an exposure into blocks, as `cut_windows` does all of it."""

    def moved(window: Window) -> Window:
        pairs = ((getattr(window, a), getattr(region, a)[0]) for a in ("integration", "group", "row", "column"))
        return Window(*((start + origin, stop + origin) for (start, stop), origin in pairs))

    return [moved(window) for window in cut_windows(region.shape, reach, block_bytes)]
