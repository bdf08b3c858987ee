"""What all blocks of IRS2 frames tell together: which of their interleaved reference pixels are bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calservice.model.block import Array, Block, Window
from calservice.model.info import ExposureInfo
from calservice.model.step import References
from calservice.steps.stage1._refpix_irs2_bad import PAIRS, find_bad, known_bad, scatter_of
from calservice.steps.stage1._refpix_irs2_layout import FRAME

__all__ = ["Pairs", "bad_rows", "look_at_pairs", "pairs_together"]


@dataclass(frozen=True)
class Pairs:
    """What a block shows of the pairs of reference pixels.

    Attributes
    ----------
    limit : float
        Of the step's parameters.
    window : Window
        Of the block.
    known : ndarray
        (row of the block,) bool: rows that are flagged as bad.
    scatter : mapping of int to ndarray
        Of pairs that are all there, by the first row: (integration, 3).
    reads : mapping of int to ndarray
        Of others, by row: (integration, group, column).
    """

    limit: float
    window: Window
    known: Array
    scatter: Mapping[int, Array] = field(default_factory=dict)
    reads: Mapping[int, Array] = field(default_factory=dict)


def look_at_pairs(block: Block, references: References, params: Any, info: ExposureInfo) -> Pairs:
    """Tell how the reads of the pairs of reference pixels scatter in a block with all groups."""
    data, (first, last) = block["data"], block.window.row
    scatter: dict[int, Array] = {}
    reads: dict[int, Array] = {}
    for pair in PAIRS.ravel().tolist():
        if first <= pair < last - 1 and block.window.column == (0, info.ncols):
            scatter[pair] = scatter_of(data[:, :, pair - first : pair - first + 2])
            continue
        for row in range(max(pair, first), min(pair + 2, last)):
            reads[row] = data[:, :, row - first].copy()
    return Pairs(params.ovr_corr_mitigation_ftr, block.window, known_bad(block["pixeldq"]), scatter, reads)


def pairs_together(parts: Sequence[Pairs]) -> list[Pairs]:
    """Put blocks together, in the order of their integrations and columns."""
    return sorted(parts, key=lambda part: (part.window.integration, part.window.row, part.window.column))


def bad_rows(parts: Sequence[Pairs]) -> Mapping[str, Array]:
    """Return ``irs2_bad_rows``, (row,) bool."""
    known = np.zeros(FRAME[0], np.bool_)
    scatter: dict[int, list[Array]] = {}
    reads: dict[tuple[int, int], list[Array]] = {}
    for part in parts:
        known[slice(*part.window.row)] |= part.known
        for pair, found in part.scatter.items():
            scatter.setdefault(pair, []).append(found)
        for row, read in part.reads.items():
            reads.setdefault((part.window.integration[0], row), []).append(read)
    for start, row in reads:
        if row in PAIRS:
            both = [np.concatenate(reads[start, one], axis=-1) for one in (row, row + 1)]
            scatter.setdefault(row, []).append(scatter_of(np.stack(both, axis=2)))
    joined = {pair: np.concatenate(found) for pair, found in scatter.items()}
    return {"irs2_bad_rows": find_bad(known, joined, parts[0].limit)}
