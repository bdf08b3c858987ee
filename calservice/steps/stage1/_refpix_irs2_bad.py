"""Bad interleaved reference pixels of NIRSpec IRS2 frames: finding them, and what they are replaced by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.steps.stage1._refpix_irs2_layout import FRAME, NORMAL, OUTPUTS, REFERENCE, SAMPLES, reference_samples

__all__ = ["MARKS", "PAIRS", "REPLACED_FROM", "Sources", "find_bad", "known_bad", "scatter_of", "sources"]

MARKS = np.uint32(PIXEL_FLAGS["BAD_REF_PIXEL"] | PIXEL_FLAGS["DO_NOT_USE"])
"""What PIXELDQ gets in all of a bad row."""
_PERIOD = NORMAL + REFERENCE
_PAIR = 2
REPLACED_FROM = _PERIOD
"""How many rows away those are that replace a row, at most."""

PAIRS = np.flatnonzero(reference_samples())[::_PAIR] + SAMPLES * np.arange(OUTPUTS)[:, None]
"""First row of each pair of reference pixels, by output."""


@dataclass(frozen=True)
class Sources:
    """From which rows of the file the values of each row are taken.

    Attributes
    ----------
    first, second : ndarray
        (rows,) int64. A row is the mean of these two, which are the row itself where it is good. First -1: it is zero.
    """

    first: Array
    second: Array


def find_bad(known: Array, scatter: Mapping[int, Array], limit: float) -> Array:
    """Return which rows of the file hold bad reference pixels.

    Parameters
    ----------
    known : ndarray
        (row,) bool: rows that are flagged already are bad and not looked at.
    scatter : mapping of int to ndarray
        What `scatter_of` tells of each pair of reference pixels, (integration, 3) float32, by its first row.
    limit : float
        A pair of reference pixels is bad if the difference of its two reads, their mean or their scatter lies more
        than so many standard deviations above the mean of its output, in any integration.

    Returns
    -------
    ndarray
        (row,) bool.
    """
    from astropy.stats import sigma_clipped_stats

    bad = known.copy()
    for output in range(OUTPUTS):
        pairs = PAIRS[output]
        pairs = pairs[~(known[pairs] | known[pairs + 1])]
        if not pairs.size:
            continue
        for tests in np.moveaxis(np.array([scatter[pair] for pair in pairs]), 0, 2):
            for values in tests:
                centre, _, spread = sigma_clipped_stats(values, sigma=limit)
                high = pairs[(values - centre) > limit * spread]
                bad[high] = bad[high + 1] = True
    return bad


def known_bad(pixeldq: Array) -> Array:
    """Return which rows of flags are those of a bad reference pixel: (row,) bool."""
    found: Array = ((pixeldq & PIXEL_FLAGS["BAD_REF_PIXEL"]) != 0).any(axis=1)
    return found


def scatter_of(pair: Array) -> Array:
    """Return mean difference, mean and standard deviation of the reads of a pair of reference pixels.

    Parameters
    ----------
    pair : ndarray
        (integration, group, 2, column) float32.

    Returns
    -------
    ndarray
        (integration, 3) float32.
    """
    return np.array([(np.mean(np.abs(p[:, 1] - p[:, 0])), np.mean(p), np.std(p)) for p in pair], np.float32)


def sources(bad: Array, table: Array | None, backwards: bool) -> Sources:
    """Return where the values of all rows come from.

    Parameters
    ----------
    bad : ndarray
        (row,) bool: rows of bad reference pixels.
    table : ndarray, optional
        Columns ``output``, ``odd_even`` and ``mask``: further bad pairs, as the reference names them, in the order
        of the detector.
    backwards : bool
        Whether the rows of the file run against the order of the detector.

    Notes
    -----
    A bad row becomes the mean of the rows of the same kind before and after it in its output, or the one of them that
    is good, or its neighbour of the other kind, or zero. Pairs that the reference names are bad for those that follow
    in the table, not for those before.
    """
    made = Sources(np.arange(FRAME[0]), np.arange(FRAME[0]))
    for row in np.flatnonzero(bad):
        made.first[row], made.second[row] = _replacement(int(row), bad)
    if table is None:
        return made
    turn = slice(None, None, -1 if backwards else 1)
    flagged = bad[turn].copy()
    for output, odd_even, mask in zip(table["output"], table["odd_even"], table["mask"], strict=True):
        parity = int(odd_even) - 1 if int(output) % 2 else 2 - int(odd_even)
        visits = np.flatnonzero((int(mask) >> np.arange(32)) & 1)
        first = int(output) * SAMPLES + NORMAL // 2 + _PAIR * parity + _PERIOD * visits
        named = (first[:, None] + np.arange(_PAIR)).ravel()
        fresh = named[~flagged[named]]
        flagged[fresh] = True
        for column in fresh:
            found = _replacement(int(column), flagged)
            row = FRAME[0] - 1 - column if backwards else column
            made.first[row], made.second[row] = (
                FRAME[0] - 1 - other if backwards and other >= 0 else other for other in found
            )
    return made


def _replacement(row: int, bad: Array) -> tuple[int, int]:
    """Return the two rows whose mean replaces a bad one."""
    low = row // SAMPLES * SAMPLES
    inside = range(low, low + SAMPLES)
    near = [other for other in (row - _PERIOD, row + _PERIOD) if other in inside and not bad[other]]
    if near:
        return near[0], near[-1]
    kinds = reference_samples()
    for other in (row - _PAIR, row + _PAIR):
        if other in inside and kinds[other - low] and not bad[other]:
            return other, other
    return -1, -1
