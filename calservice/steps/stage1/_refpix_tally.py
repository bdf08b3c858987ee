"""The reference pixels of all blocks of an exposure, and what they tell: the tally of ``refpix``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np

from calservice.model.block import Array, Block, Window
from calservice.model.dqflags import DO_NOT_USE
from calservice.model.info import ExposureInfo
from calservice.model.step import Each, References
from calservice.model.stripes import FULL
from calservice.steps.stage1._refpix_drifts import (
    ABSENT,
    BORDER,
    Edges,
    Side,
    clipped_mean,
    frame_signals,
    sides_without,
    turned,
    usable,
)
from calservice.steps.stage1._refpix_irs2_tally import Pairs, bad_rows, look_at_pairs, pairs_together

__all__ = ["MIRI_SHAPE", "is_irs2", "places", "signals_of", "single_output", "take_reference_pixels", "together"]

MIRI_SHAPE = (1024, 1032)
"""Rows and columns of a MIRI detector."""
_OUTPUTS = 4
"""Of a near-infrared detector."""
_TOGETHER = 8
"""Frames that are turned to signals together."""
_EDGELESS = ("SUB512", "SUB512S", "SUB32")
"""NIRSpec subarrays that reach no border; their first and last columns serve as reference pixels."""


@dataclass(frozen=True)
class _Piece:
    """Reference pixels in one block: values by integration and group, and their places on the detector, from 0."""

    window: Window
    rows: Array
    columns: Array
    flags: Array
    values: Array
    zero: Array | None


@dataclass(frozen=True)
class _Found:
    """The reference pixels of some blocks, and what is needed to make something of them."""

    params: Any
    info: ExposureInfo
    pieces: tuple[_Piece, ...] = field(default=())
    kernels: Array | None = None
    """What side pixels are convolved with, if they are."""


def is_irs2(info: ExposureInfo) -> bool:
    """Whether frames are those of NIRSpec's IRS2 readout, with interleaved reference pixels."""
    return info.instrument != "MIRI" and max(info.nrows, info.ncols) > FULL


def single_output(info: ExposureInfo) -> bool:
    """Whether a subarray is read through one output of a near-infrared detector."""
    return (info.nrows < FULL or info.ncols < FULL) and info.noutputs != 4


def take_reference_pixels(block: Block, references: References, params: Any, info: ExposureInfo) -> _Found | Pairs:
    """Take the reference pixels out of a block; of those of IRS2 frames, what they tell of each other."""
    if is_irs2(info):
        return _Found(params, info) if params.irs2_mean_subtraction else look_at_pairs(block, references, params, info)
    flags = block["pixeldq"]
    window = block.window
    rows = np.arange(*window.row) + info.ystart - 1
    columns = np.arange(*window.column) + info.xstart - 1
    height, width = MIRI_SHAPE if info.instrument == "MIRI" else (FULL, FULL)
    if info.stripes is not None:
        wanted = usable(flags)
    elif info.instrument != "MIRI" and single_output(info):
        wanted = usable(flags)
        if info.subarray in _EDGELESS:
            first, last = info.xstart - 1, info.xstart - 1 + info.ncols
            edge = (columns < first + BORDER) | (columns >= last - BORDER)
            wanted = wanted | (edge[None, :] & ((flags & DO_NOT_USE) == 0))
    else:
        side = (columns < BORDER) | (columns >= width - BORDER)
        ends = (rows < BORDER) | (rows >= height - BORDER)
        wanted = side[None, :] | (ends[:, None] & (info.instrument != "MIRI"))
    y, x = np.nonzero(wanted)
    values = np.ascontiguousarray(block["data"][:, :, y, x], np.float32)
    zero = np.ascontiguousarray(block["zeroframe"][:, y, x], np.float32) if "zeroframe" in block else None
    kernels = references["sirskernel"]["kernels"] if "sirskernel" in references else None
    return _Found(params, info, (_Piece(window, rows[y], columns[x], flags[y, x], values, zero),), kernels)


def places(params: Any, info: ExposureInfo) -> Sequence[Window] | None:
    """Return windows with all reference pixels: the borders of the detector, or anywhere where flags alone tell.

    None for IRS2 frames, which have them in between all others.
    """
    if is_irs2(info):
        return None
    whole = Window.whole((info.nints, info.ngroups, info.nrows, info.ncols))
    if info.stripes is not None or (info.instrument != "MIRI" and single_output(info)):
        return (whole,)
    height, width = MIRI_SHAPE if info.instrument == "MIRI" else (FULL, FULL)
    rows = _within(info.ystart - 1, info.nrows, ((0, BORDER), (BORDER, height - BORDER), (height - BORDER, height)))
    columns = _within(info.xstart - 1, info.ncols, ((0, BORDER), (width - BORDER, width)))
    ends, between = ((rows[0], rows[2]), rows[1]) if info.instrument != "MIRI" else ((), whole.row)
    sides = [replace(whole, row=between, column=x) for x in columns]
    found = [w for w in (*(replace(whole, row=y) for y in ends), *sides) if 0 not in w.shape]
    return found or [replace(whole, row=(0, 1))]


def _within(start: int, length: int, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of the detector as ranges of an exposure that begins at ``start``."""

    def inside(place: int) -> int:
        return min(max(place - start, 0), length)

    return [(inside(first), inside(stop)) for first, stop in ranges]


def together(parts: Sequence[Any]) -> _Found | list[Pairs]:
    """Put reference pixels of blocks together."""
    if isinstance(parts[0], Pairs):
        return pairs_together(parts)
    pieces = tuple(piece for part in parts for piece in part.pieces)
    return _Found(parts[0].params, parts[0].info, pieces, parts[0].kernels)


def signals_of(found: _Found | list[Pairs], each: Each) -> Mapping[str, Array]:
    """Return the signals that the reference pixels tell, for the kernel; of IRS2 frames, which of them are bad."""
    if isinstance(found, list):
        return bad_rows(found)
    if is_irs2(found.info):
        return {}
    if found.info.instrument == "MIRI":
        return {"refpix_signals": _miri_signals(found, each)}
    if found.info.stripes is not None or single_output(found.info):
        return _signals_by_flags(found)
    return _full_signals(found, each)


def _borders(found: _Found, what: str, height: int, width: int) -> Edges:
    """Put flags, values or zero frames of all pieces on the borders of the detector.

    What is not there - a subarray does not reach every border - is zero and may not be used.
    """
    from calservice.steps.stage1._refpix_frames_kernels import put_pixels

    info = found.info
    lead = {"flags": (), "values": (info.nints, info.ngroups), "zero": (info.nints, 1)}[what]
    kind = np.uint32 if what == "flags" else np.float32
    made = Edges(*(np.zeros((*lead, *s), kind) for s in ((BORDER, width),) * 2 + ((height, BORDER),) * 2))
    if what == "flags":
        made = made.map(lambda edge: edge + ABSENT)
    for piece in found.pieces:
        ints, groups = slice(*piece.window.integration), slice(*piece.window.group)
        given = getattr(piece, what)
        if what == "zero":
            given, groups = given[:, None], slice(0, 1)
        for edge, rows, columns in (
            (made.bottom, piece.rows, piece.columns),
            (made.top, piece.rows - (height - BORDER), piece.columns),
            (made.left, piece.rows, piece.columns),
            (made.right, piece.rows, piece.columns - (width - BORDER)),
        ):
            inside = (rows >= 0) & (rows < edge.shape[-2]) & (columns >= 0) & (columns < edge.shape[-1])
            if what == "flags":
                edge[rows[inside], columns[inside]] = given[inside]
            else:
                put_pixels(edge[ints, groups], rows[inside], columns[inside], given, np.flatnonzero(inside))
    return made


class _Frames:
    """What turns frames, of which there is as much as the borders of the detector, to signals.

    The algorithm ``sirs`` looks at pixels that a subarray does not have, too: they are 0 at first, and then what
    corrections have made of them, since the official step computes in one frame of the whole detector.
    """

    def __init__(self, found: _Found) -> None:
        self._params, self._info = found.params, found.info
        params, info = found.params, found.info
        flags = turned(_borders(found, "flags", FULL, FULL), info.fastaxis, info.slowaxis)
        self._good = flags.map(lambda edge: (edge & DO_NOT_USE) == 0)
        side = Side(params.side_smoothing_length, params.side_gain, found.kernels, params.sigreject)
        self._side = side if params.use_side_ref_pixels else None
        self._absent = flags.left == ABSENT, flags.right == ABSENT
        self._carried: tuple[Array, Array] | None = None
        self.in_turn = self._side is not None and found.kernels is not None and bool(np.any(self._absent))
        """Whether each has to wait for the one before."""

    def signals(self, borders: Edges, *, single: bool) -> tuple[Array, Array]:
        """Return the signals of the columns and of the rows of some frames, in single precision or in double."""
        dtype = np.float32 if single else np.float64
        edges = turned(borders, self._info.fastaxis, self._info.slowaxis)
        if self._carried is not None:
            left, right = map(np.where, self._absent, self._carried, (edges.left, edges.right))
            edges = replace(edges, left=left, right=right)
        params = self._params
        columns, rows = frame_signals(
            edges, self._good, dtype, odd_even=params.odd_even_columns, limit=params.siglimit, side=self._side
        )
        if self.in_turn:
            self._carried = sides_without(edges, dtype, columns, rows)
        return columns, rows


def _full_signals(found: _Found, each: Each) -> dict[str, Array]:
    """Signals of detectors that are read through four outputs.

    The official step computes the first frame in single precision and, once side pixels were subtracted, all further
    ones in double precision; so does this.
    """
    info, sides = found.info, found.params.use_side_ref_pixels
    frames = _Frames(found)
    outputs = () if found.kernels is None else found.kernels.shape[1:2]
    made: dict[str, Array] = {}
    for what, prefix in (("values", ""), ("zero", "zero_")):
        if what == "zero" and not any(piece.zero is not None for piece in found.pieces):
            continue
        borders = _borders(found, what, FULL, FULL)
        nints, ngroups = borders.left.shape[:2]
        single = np.full((nints, ngroups), not sides)
        single[0, 0] |= what == "values"
        most = 1 if frames.in_turn else _TOGETHER
        runs = [(i, part) for i in range(nints) for part in _parts(ngroups, most, alone=single[i, 0] and sides)]

        def signals(run: tuple[int, slice], borders: Edges = borders, single: Array = single) -> tuple[Array, Array]:
            return frames.signals(borders.map(itemgetter(run)), single=bool(single[run][0]))

        columns, rows = np.zeros((nints, ngroups, FULL)), np.zeros((nints, ngroups, *outputs, FULL))
        for run, (of_columns, of_rows) in zip(
            runs, [*map(signals, runs)] if frames.in_turn else each(signals, runs), strict=True
        ):
            columns[run] = of_columns
            if sides:
                rows[run] = of_rows
        made |= _placed(info, prefix, columns, rows, single)
    return made


def _parts(count: int, most: int, *, alone: bool) -> list[slice]:
    """Part numbers into runs of about as many, not more than ``most``, of which the first number may stay alone."""
    begun = 1 if alone else 0
    length = -(-(count - begun) // -(-(count - begun) // most)) if count > begun else 1
    runs = [slice(n, min(n + length, count)) for n in range(begun, count, length)]
    return [slice(0, 1), *runs] if alone else runs


def _signals_by_flags(found: _Found) -> dict[str, Array]:
    """Signals of frames whose reference pixels are wherever flags say so, one for even and one for odd columns.

    They are those of subarrays that are read through one output, or of stripes: of these each output has its own.
    """
    params, info = found.params, found.info
    made: dict[str, Array] = {}
    places = [_on_detector(pieces[0], info) for pieces in _by_place(found)]
    rows, columns = (np.concatenate([place[n] for place in places]) for n in (0, 1))
    order = np.lexsort((columns, rows))
    for what, prefix in (("values", ""), ("zero", "zero_")):
        if what == "zero" and not any(piece.zero is not None for piece in found.pieces):
            continue
        values = _listed(found, what)[:, :, order]
        nints, ngroups = values.shape[:2]
        signals = np.zeros((nints, ngroups, FULL))
        for part in _parts_of_columns(info, params.odd_even_columns):
            mine = np.isin(columns[order], part)
            for i in range(nints):
                for g in range(ngroups):
                    signals[i, g, part] = clipped_mean(values[i, g, mine], params.siglimit) or 0.0
        single = np.ones((nints, ngroups), np.bool_)
        made |= _placed(info, prefix, signals, np.zeros_like(signals), single)
    return made


def _parts_of_columns(info: ExposureInfo, odd_even: bool) -> list[Array]:
    """Return the columns of the detector, as it is oriented, that have reference pixels of their own.

    Outputs are told apart in stripes. The official step counts their columns from the start of the subarray on, be it
    that its first columns are read last.
    """
    columns = np.arange(FULL)
    parts = [columns]
    if info.stripes is not None:
        start, length = (info.xstart - 1, info.ncols) if abs(info.fastaxis) == 1 else (info.ystart - 1, info.nrows)
        shift = 0 if info.fastaxis > 0 else FULL - length - 2 * start
        outputs = (columns - shift) // (FULL // _OUTPUTS)
        parts = [np.flatnonzero(outputs == n) for n in range(_OUTPUTS)]
    kinds = 2 if odd_even else 1
    return [part[part % kinds == n] for part in parts for n in range(kinds)]


def _listed(found: _Found, what: str) -> Array:
    """Return values of reference pixels by integration and group, those of all blocks one after the other."""
    info = found.info
    ngroups = info.ngroups if what == "values" else 1
    lists = []
    for pieces in _by_place(found):
        part = np.zeros((info.nints, ngroups, pieces[0].rows.size), np.float32)
        for piece in pieces:
            ints = slice(*piece.window.integration)
            if what == "zero":
                assert piece.zero is not None
                part[ints, 0] = piece.zero
            else:
                part[ints, slice(*piece.window.group)] = piece.values
        lists.append(part)
    return np.concatenate(lists, axis=2)


def _by_place(found: _Found) -> list[list[_Piece]]:
    """Return the pieces of each part of the frame, of which blocks hold different integrations and groups."""
    made: dict[tuple[int, int], list[_Piece]] = {}
    for piece in found.pieces:
        made.setdefault((piece.window.row[0], piece.window.column[0]), []).append(piece)
    return list(made.values())


def _on_detector(piece: _Piece, info: ExposureInfo) -> tuple[Array, Array]:
    """Return rows and columns of pixels as the detector is oriented."""
    down, across = (info.slowaxis, info.fastaxis) if abs(info.fastaxis) == 1 else (info.fastaxis, info.slowaxis)
    rows = FULL - 1 - piece.rows if down < 0 else piece.rows
    columns = FULL - 1 - piece.columns if across < 0 else piece.columns
    return (rows, columns) if abs(info.fastaxis) == 1 else (columns, rows)


def _placed(info: ExposureInfo, prefix: str, columns: Array, rows: Array, single: Array) -> dict[str, Array]:
    """Turn signals of columns and rows of the detector to the exposure's axes, and cut them to it.

    Rows of several stripes, which have no signals, are taken from the first on: they need not be where it begins.
    """
    columns = columns[..., ::-1] if info.fastaxis < 0 else columns
    rows = rows[..., ::-1] if info.slowaxis < 0 else rows
    x = slice(info.xstart - 1, info.xstart - 1 + info.ncols)
    y = slice(info.ystart - 1, info.ystart - 1 + info.nrows)
    first, second = (x, y) if abs(info.fastaxis) == 1 else (y, x)
    if info.stripes is not None:
        second = slice(0, second.stop - second.start)
    found = {"first": columns[..., first], "second": rows[..., second], "single": single}
    return {f"refpix_{prefix}{name}": np.ascontiguousarray(array) for name, array in found.items()}


def _miri_signals(found: _Found, each: Each) -> Array:
    """Signals of the four outputs of MIRI by integration, group, parity of the row and output.

    Nothing is subtracted where an output lacks usable reference pixels on one side.
    """
    from calservice.steps.stage1._refpix_frames_kernels import side_drifts

    params, info = found.params, found.info
    flags, values = _borders(found, "flags", *MIRI_SHAPE), _borders(found, "values", *MIRI_SHAPE)
    good = flags.map(lambda edge: (edge & DO_NOT_USE) == 0)
    made = np.zeros((info.nints, info.ngroups, 2, BORDER))
    parts = 2 if params.odd_even_rows else 1
    if not all(side[part::parts].any(axis=0).all() for side in (good.left, good.right) for part in range(parts)):
        return made
    sides = (values.left, values.right), (good.left, good.right)
    runs = [(max(1, part.start), part.stop) for part in _parts(info.ngroups, _TOGETHER, alone=False)]
    each(lambda groups: side_drifts(*sides, parts, params.siglimit, groups, made), runs)
    return made
