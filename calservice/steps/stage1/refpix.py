"""Subtract what the reference pixels tell of the drifts of detector and electronics, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach, Window
from calservice.model.dqflags import DO_NOT_USE, REFERENCE_PIXEL
from calservice.model.step import ExposureInfo, Params, ReferenceNeed, References, Step, Tally
from calservice.steps.stage1._refpix_drifts import BORDER, FULL, Edges, clipped_mean, frame_signals, turned, usable

__all__ = ["STEP", "RefPixParams"]

_MIRI_SHAPE = (1024, 1032)
_EDGELESS = ("SUB512", "SUB512S", "SUB32")
"""NIRSpec subarrays that reach no border; their first and last columns serve as reference pixels."""


class RefPixParams(Params):
    """Parameters of ``refpix``."""

    odd_even_columns: bool = Field(True, description="Compute reference signal separately for even/odd columns")
    use_side_ref_pixels: bool = Field(True, description="Use side reference pixels for reference signal for each row")
    side_smoothing_length: int = Field(11, description="Median window smoothing height for side reference signal")
    side_gain: float = Field(
        1.0, description="Multiplicative factor for side reference signal before subtracting from rows"
    )
    odd_even_rows: bool = Field(True, description="Compute reference signal separately for even- and odd-numbered rows")
    ovr_corr_mitigation_ftr: float = Field(
        3.0, description="Factor to avoid overcorrection of bad reference pixels for IRS2"
    )
    preserve_irs2_refpix: bool = Field(False, description="Preserve reference pixels in output")
    irs2_mean_subtraction: bool = Field(False, description="Apply a mean offset subtraction before IRS2 correction")
    refpix_algorithm: Literal["median", "sirs"] = Field("median", description="NIR full-frame side pixel algorithm")
    sigreject: float = Field(4.0, description="Number of sigmas to reject as outliers")
    gaussmooth: float = Field(1.0, description="Width of Gaussian smoothing kernel to use as a low-pass filter")
    halfwidth: int = Field(30, description="Half-width of convolution kernel to build")
    siglimit: float = Field(3.0, description="Sigma clipping limit for outlier rejection")


# -- the tally: reference pixels of all blocks, and what they tell


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

    params: RefPixParams
    info: ExposureInfo
    pieces: tuple[_Piece, ...] = field(default=())


def _single_output(info: ExposureInfo) -> bool:
    return (info.nrows < FULL or info.ncols < FULL) and info.noutputs != 4


def _chunk(block: Block, references: References, params: RefPixParams, info: ExposureInfo) -> _Found:
    """Take the reference pixels out of a block."""
    flags = block["pixeldq"]
    window = block.window
    rows = np.arange(*window.row) + info.ystart - 1
    columns = np.arange(*window.column) + info.xstart - 1
    height, width = _MIRI_SHAPE if info.instrument == "MIRI" else (FULL, FULL)
    if info.instrument != "MIRI" and _single_output(info):
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
    values = np.array(block["data"][:, :, y, x], np.float32)
    zero = np.array(block["zeroframe"][:, y, x], np.float32) if "zeroframe" in block else None
    return _Found(params, info, (_Piece(window, rows[y], columns[x], flags[y, x], values, zero),))


def _ahead(params: RefPixParams, info: ExposureInfo) -> Sequence[Window]:
    """Return where reference pixels are: the borders of the detector, or anywhere where flags alone tell."""
    whole = Window.whole((info.nints, info.ngroups, info.nrows, info.ncols))
    if info.instrument != "MIRI" and _single_output(info):
        return (whole,)
    height, width = _MIRI_SHAPE if info.instrument == "MIRI" else (FULL, FULL)
    rows = _within(info.ystart - 1, info.nrows, ((0, BORDER), (BORDER, height - BORDER), (height - BORDER, height)))
    columns = _within(info.xstart - 1, info.ncols, ((0, BORDER), (width - BORDER, width)))
    ends = (rows[0], rows[2]) if info.instrument != "MIRI" else ()
    sides = [replace(whole, row=y, column=x) for y in rows if y not in ends for x in columns]
    found = [w for w in (*(replace(whole, row=y) for y in ends), *sides) if 0 not in w.shape]
    return found or [replace(whole, row=(0, 1))]


def _within(start: int, length: int, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of the detector as ranges of an exposure that begins at ``start``."""

    def inside(place: int) -> int:
        return min(max(place - start, 0), length)

    return [(inside(first), inside(stop)) for first, stop in ranges]


def _combine(parts: Sequence[_Found]) -> _Found:
    pieces = tuple(piece for part in parts for piece in part.pieces)
    return _Found(parts[0].params, parts[0].info, pieces)


def _finalize(found: _Found) -> Mapping[str, Array]:
    if found.info.instrument == "MIRI":
        return {"refpix_signals": _miri_signals(found)}
    if _single_output(found.info):
        return _single_signals(found)
    return _full_signals(found)


def _borders(found: _Found, what: str, height: int, width: int) -> Edges:
    """Put flags, values or zero frames of all pieces on the borders of the detector.

    What is not there - a subarray does not reach every border - is zero and may not be used.
    """
    info = found.info
    lead = {"flags": (), "values": (info.nints, info.ngroups), "zero": (info.nints, 1)}[what]
    kind, start = (np.uint32, DO_NOT_USE | REFERENCE_PIXEL) if what == "flags" else (np.float32, 0)
    made = Edges(*(np.full((*lead, *s), start, kind) for s in ((BORDER, width),) * 2 + ((height, BORDER),) * 2))
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
            target = edge if what == "flags" else edge[ints, groups]
            target[..., rows[inside], columns[inside]] = given[..., inside]
    return made


def _frame(edges: Edges, *place: int) -> Edges:
    return Edges(edges.bottom[place], edges.top[place], edges.left[place], edges.right[place])


def _full_signals(found: _Found) -> dict[str, Array]:
    """Signals of detectors that are read through four outputs.

    The official step computes the first frame in single precision and, once side pixels were subtracted, all further
    ones in double precision; so does this.
    """
    params, info = found.params, found.info
    flags = turned(_borders(found, "flags", FULL, FULL), info.fastaxis, info.slowaxis)
    side = (params.side_smoothing_length, params.side_gain) if params.use_side_ref_pixels else None
    made: dict[str, Array] = {}
    fresh = True
    for what, prefix in (("values", ""), ("zero", "zero_")):
        if what == "zero" and not any(piece.zero is not None for piece in found.pieces):
            continue
        borders = _borders(found, what, FULL, FULL)
        nints, ngroups = borders.left.shape[:2]
        columns, rows = np.zeros((2, nints, ngroups, FULL))
        single = np.zeros((nints, ngroups), np.bool_)
        for i in range(nints):
            for g in range(ngroups):
                single[i, g] = side is None or fresh
                edges = turned(_frame(borders, i, g), info.fastaxis, info.slowaxis)
                edges = edges if single[i, g] else edges.astype(np.float64)
                columns[i, g], rows[i, g] = frame_signals(
                    edges, flags, odd_even=params.odd_even_columns, limit=params.siglimit, side=side
                )
                fresh = False
        made |= _placed(info, prefix, columns, rows, single)
    return made


def _single_signals(found: _Found) -> dict[str, Array]:
    """Signals of subarrays that are read through one output: one for even and one for odd columns."""
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
        parts = [slice(0, None, 2), slice(1, None, 2)] if params.odd_even_columns else [slice(None)]
        for n, part in enumerate(parts):
            mine = columns[order] % len(parts) == n
            for i in range(nints):
                for g in range(ngroups):
                    signals[i, g, part] = clipped_mean(values[i, g, mine], params.siglimit) or 0.0
        single = np.ones((nints, ngroups), np.bool_)
        made |= _placed(info, prefix, signals, np.zeros_like(signals), single)
    return made


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
    """Turn signals of columns and rows of the detector to the exposure's axes, and cut them to it."""
    columns = columns[..., ::-1] if info.fastaxis < 0 else columns
    rows = rows[..., ::-1] if info.slowaxis < 0 else rows
    x = slice(info.xstart - 1, info.xstart - 1 + info.ncols)
    y = slice(info.ystart - 1, info.ystart - 1 + info.nrows)
    first, second = (x, y) if abs(info.fastaxis) == 1 else (y, x)
    found = {"first": columns[..., first], "second": rows[..., second], "single": single}
    return {f"refpix_{prefix}{name}": np.ascontiguousarray(array) for name, array in found.items()}


def _miri_signals(found: _Found) -> Array:
    """Signals of the four outputs of MIRI by integration, group, parity of the row and output.

    Once an output has no usable reference pixel, nothing is subtracted any more.
    """
    params, info = found.params, found.info
    flags, values = _borders(found, "flags", *_MIRI_SHAPE), _borders(found, "values", *_MIRI_SHAPE)
    sides = (values.left, flags.left), (values.right, flags.right)
    made = np.zeros((info.nints, info.ngroups, 2, BORDER))
    parts = [slice(0, None, 2), slice(1, None, 2)] if params.odd_even_rows else [slice(None)]
    for i in range(info.nints):
        for g in range(1, info.ngroups):
            for output in range(BORDER):
                for n, part in enumerate(parts):
                    means = []
                    for edge, marks in sides:
                        drift = edge[i, g, part, output] - edge[i, 0, part, output]
                        means.append(clipped_mean(drift[(marks[part, output] & DO_NOT_USE) == 0], params.siglimit))
                    if means[0] is None or means[1] is None:
                        made[i, g] = 0
                        return made
                    made[i, g, n if len(parts) == 2 else slice(None), output] = 0.5 * (means[0] + means[1])
    return made


# -- the kernel


def correct(block: Block, references: References, params: RefPixParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the signals of the reference pixels from a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN and, optionally, ``zeroframe`` (integration, row,
        column) float32; and what the tally found: for near-infrared detectors ``refpix_first`` and ``refpix_second``
        (integration, group, column or row) float64 in DN and ``refpix_single`` (integration, group), for MIRI
        ``refpix_signals`` (integration, group, 2, 4) float64 in DN.
    references : mapping
        None are used.
    params : RefPixParams
        Parameters.
    info : ExposureInfo
        Instrument, place on the detector, axes, number of outputs.

    Returns
    -------
    dict
        ``data`` and, if given, ``zeroframe``.

    Notes
    -----
    Source: ``refpix`` in the JWST pipeline documentation. Near infrared, four outputs: clipped means of the upper
    and lower reference pixels of each output, for even and odd columns, then running medians of the side pixels. One
    output: clipped means of all reference pixels of even and of odd columns. MIRI: clipped means of left and right
    pixels of each output, for even and odd rows, of the differences to the first group.
    """
    from calservice.steps.stage1 import _refpix_kernels as kernels

    window, data = block.window, block["data"]
    made = {"data": np.zeros(data.shape, np.float32)}
    ints, groups = slice(*window.integration), slice(*window.group)
    if info.instrument == "MIRI":
        signals = np.ascontiguousarray(block["refpix_signals"][ints, groups])
        kernels.subtract_drifts_miri(data, signals, (window.row[0], window.column[0]), made["data"])
        return made
    swapped = abs(info.fastaxis) != 1
    first, second = (window.row, window.column) if swapped else (window.column, window.row)
    given = [(data, "", groups, "data")]
    if "zeroframe" in block:
        given.append((block["zeroframe"][:, None], "zero_", slice(0, 1), "zeroframe"))
    for values, prefix, part, name in given:
        out = np.zeros(values.shape, np.float32)
        kernels.subtract_drifts(
            np.ascontiguousarray(values),
            np.ascontiguousarray(block[f"refpix_{prefix}first"][ints, part, slice(*first)]),
            np.ascontiguousarray(block[f"refpix_{prefix}second"][ints, part, slice(*second)]),
            np.ascontiguousarray(block[f"refpix_{prefix}single"][ints, part]),
            swapped,
            out,
        )
        made[name] = out
    if "zeroframe" in block:
        made["zeroframe"] = np.where(block["zeroframe"] == 0, np.float32(0), made["zeroframe"][:, 0])
    return made


def _not_applicable(references: References, params: RefPixParams, info: ExposureInfo) -> str | None:
    if info.instrument == "MIRI":
        smaller = info.nrows < _MIRI_SHAPE[0] or info.ncols < _MIRI_SHAPE[1]
        return "MIRI subarrays are not corrected" if smaller else None
    inside = min(info.xstart, info.ystart) >= 1
    inside &= max(info.xstart + info.ncols, info.ystart + info.nrows) - 1 <= FULL
    return None if inside else "the subarray does not fit the detector"


def _supports(params: RefPixParams, info: ExposureInfo) -> str | None:
    if info.instrument == "MIRI":
        return None
    if max(info.nrows, info.ncols) > FULL:
        return "IRS2 readout"
    if info.num_superstripe or info.multistripe:
        return "stripes"
    if params.refpix_algorithm == "sirs" and "FULL" in info.subarray:
        return "the algorithm sirs"
    if abs(info.fastaxis) not in (1, 2) or abs(info.slowaxis) not in (1, 2):
        return "unknown axes of the detector"
    return None


def _reach(params: RefPixParams, info: ExposureInfo) -> Reach:
    return Reach(frozenset(("group",))) if info.instrument == "MIRI" else Reach()


def _by_the_official_step_only(params: Any, info: ExposureInfo) -> bool:
    return False


STEP = Step(
    alias="refpix",
    summary="Subtract the drifts that reference pixels tell",
    params=RefPixParams,
    kernel=correct,
    reads=("data", "pixeldq", "zeroframe"),
    writes=("data", "zeroframe"),
    references=(
        ReferenceNeed("refpix", optional=True, needed=_by_the_official_step_only),
        ReferenceNeed("sirskernel", optional=True, needed=_by_the_official_step_only),
    ),
    reach=_reach,
    tally=Tally(
        name="refpix",
        chunk=_chunk,
        combine=_combine,
        finalize=_finalize,
        reads=("data", "pixeldq", "zeroframe"),
        ahead=_ahead,
    ),
    not_applicable=_not_applicable,
    supports=_supports,
    cal_step="refpix",
    official="jwst.refpix.RefPixStep",
)
"""The step."""
