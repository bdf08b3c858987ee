"""Undo inter-pixel capacitance: charge seen by neighbours, put back by a convolution."""

from __future__ import annotations

import numpy as np

from calservice.model.block import Array, Axis, Block, Reach
from calservice.model.errors import InputError
from calservice.model.info import ExposureInfo
from calservice.model.step import Params, ReferenceNeed, References, Step
from calservice.steps.arrays import owned
from calservice.steps.stage1.saturation import irs2_science_rows, unsupported_irs2

__all__ = ["STEP", "IpcParams"]

_IRS2_ROWS = 2048
_USUAL_HALO = 1


class IpcParams(Params):
    """Parameters of ``ipc``: only the universal ones."""


def _is_irs2(info: ExposureInfo) -> bool:
    return max(info.nrows, info.ncols) > _IRS2_ROWS


def _science(info: ExposureInfo, nrows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows and columns without the reference pixels at the borders of the detector."""
    x, y = info.xstart - 1, info.ystart - 1
    if info.instrument == "MIRI":
        return (0, nrows), (max(0, 4 - x), info.ncols - max(0, x + info.ncols - 1028))
    rows = max(0, 4 - y), nrows - max(0, y + nrows - 2044)
    return rows, (max(0, 4 - x), info.ncols - max(0, x + info.ncols - 2044))


def convolve(block: Block, references: References, params: IpcParams, info: ExposureInfo) -> dict[str, Array]:
    """Convolve the science pixels of every group of a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN.
    references : mapping
        ``ipc`` with ``data``: one kernel (row, column), or one for every pixel (row, column, row of the
        detector, column of the detector), float32.
    params : IpcParams
        Parameters.
    info : ExposureInfo
        Where on the detector the exposure lies.

    Returns
    -------
    dict
        ``data``.

    Notes
    -----
    Source: ``ipc`` in the JWST pipeline documentation. Reference pixels stay as they are and, like what
    lies outside of the image, count as 0. Of NIRSpec's IRS2 images the interleaved reference pixels are
    taken out before. Lines of stripes are taken for those that follow their start, as the official step does.
    Terms are added in float32, row by row of the kernel and the central one last.
    """
    data, window = block["data"], block.window
    weights = references["ipc"]["data"]
    if not _is_irs2(info):
        rows, columns = _science(info, info.nrows)
        return {"data": _convolved(data, weights, _inside(rows, window.row), _inside(columns, window.column))}
    interleaved = irs2_science_rows(info.nrows, info.detector)
    normal = np.ascontiguousarray(data[:, :, interleaved])
    rows, columns = _science(info, normal.shape[2])
    if weights.ndim == 4:
        weights = weights[..., slice(*window.column)]
    made = data.copy()
    made[:, :, interleaved] = _convolved(normal, weights, rows, _inside(columns, window.column))
    return {"data": made}


def _inside(science: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
    """Return the part of a window, counted from its start, that has science pixels."""
    start = max(science[0], window[0]) - window[0]
    return start, max(start, min(science[1], window[1]) - window[0])


def _convolved(data: Array, weights: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    from calservice.steps.stage1 import _ipc_kernels as kernels

    convolved = kernels.convolve if weights.ndim == 2 else kernels.convolve_each
    return convolved(data, owned(weights, np.float32), rows, columns)


def _reach(params: IpcParams, info: ExposureInfo) -> Reach:
    return _within(info, _USUAL_HALO, _USUAL_HALO)


def _exact_reach(references: References, params: IpcParams, info: ExposureInfo) -> Reach:
    nrows, ncols = references["ipc"]["data"].shape[:2]
    return _within(info, nrows // 2, ncols // 2)


def _within(info: ExposureInfo, rows: int, columns: int) -> Reach:
    """Return the reach of a kernel with so many neighbours; rows of IRS2 images are not in order."""
    whole: tuple[Axis, ...] = ("row",) if _is_irs2(info) else ()
    halo: dict[Axis, int] = {"row": rows, "column": columns}
    return Reach(frozenset(whole), {axis: n for axis, n in halo.items() if axis not in whole})


def _supports(params: IpcParams, info: ExposureInfo) -> str | None:
    return "superstripe exposures" if info.num_superstripe else unsupported_irs2(info)


def _prepare(references: References, params: IpcParams, info: ExposureInfo) -> References:
    """Refuse stripes that begin at the last lines: where the others lie cannot be told from these, as officially."""
    if info.stripes is not None and any(stop < start for start, stop in _science(info, info.nrows)):
        raise InputError(
            f"ipc: stripes that begin at pixel ({info.xstart}, {info.ystart}) cannot be corrected, since the lines "
            "after the first are not on the detector. Skip the step: --steps.ipc.skip=true"
        )
    return references


STEP = Step(
    alias="ipc",
    summary="Correct for inter-pixel capacitance",
    params=IpcParams,
    kernel=convolve,
    reads=("data",),
    writes=("data",),
    references=(ReferenceNeed("ipc", ("data",), stripes=False, axes=4),),
    reach=_reach,
    exact_reach=_exact_reach,
    supports=_supports,
    prepare=_prepare,
    cal_step="ipc",
    official="jwst.ipc.IPCStep",
)
"""The step."""
