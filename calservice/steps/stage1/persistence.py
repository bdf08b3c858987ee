"""Flag groups in which charge that was trapped by an earlier signal may still be released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.dqflags import DO_NOT_USE, PERSISTENCE
from calservice.model.info import ExposureInfo
from calservice.model.step import OptionalProduct, Params, ReferenceNeed, References, Step
from calservice.steps.arrays import owned

__all__ = ["STEP", "PersistenceParams"]

_WINDOW = [("detector", "U16"), ("row", "i8"), ("column", "i8"), ("end", "f8"), ("length", "f8")]
_UNIX_EPOCH = 40587.0
"""MJD of the epoch that times of windows count from."""

_DAY = 86400.0


class PersistenceParams(Params):
    """Parameters of ``persistence``."""

    save_persistence: str | None = Field(None, description="Name of ASDF output file to save the persistence array")
    persistence_time: int | None = Field(None, description="Time, in seconds, to use for persistence window")
    dn_threshold: float | None = Field(None, description="A threshold above which to flag persistence.")
    persistence_array_file: str | None = Field(
        None, description="A path to an ASDF file containing a 2-D array of persistence times per pixel"
    )
    persistence_dnu: bool = Field(False, description="If True the set the DO_NOT_USE flag with PERSISTENCE")
    skip: bool = Field(True, description="By default, skip the step.")


def window_arrays(tree: Mapping[str, Any]) -> dict[str, Array]:
    """Return the table of windows of the tree of a file that this step saved.

    Parameters
    ----------
    tree : mapping
        By detector: ``rows``, ``cols`` and ``vals``, the pixels and the ends of their windows in seconds since 1970,
        and ``pers_time``, the length of the windows in seconds.

    Returns
    -------
    dict
        ``windows``, one row a pixel.
    """
    parts = [np.zeros(0, _WINDOW)]
    for detector, found in tree.items():
        if not (isinstance(found, Mapping) and "vals" in found):
            continue
        part = np.zeros(len(found["vals"]), _WINDOW)
        part["detector"], part["length"] = detector, found["pers_time"]
        part["row"], part["column"], part["end"] = found["rows"], found["cols"], found["vals"]
        parts.append(part)
    return {"windows": np.concatenate(parts)}


def _windows(block: Block, references: References, params: PersistenceParams, info: ExposureInfo) -> Array:
    """Return until when the pixels of a block are affected by earlier exposures, in seconds since 1970; else 0."""
    (top, bottom), (left, right) = block.window.row, block.window.column
    ends: Array = np.zeros((bottom - top, right - left))
    if "persistence_array_file" not in references:
        return ends
    table = references["persistence_array_file"]["windows"]
    table = table[(table["detector"] == info.detector) & (table["length"] == params.persistence_time)]
    rows, columns = table["row"] - top, table["column"] - left
    inside = (rows >= 0) & (rows < ends.shape[0]) & (columns >= 0) & (columns < ends.shape[1])
    ends[rows[inside], columns[inside]] = table["end"][inside]
    return ends


def _times(info: ExposureInfo) -> Array:
    """Return when each group ends, in seconds since 1970: (integration, group)."""
    times = np.zeros((info.nints, info.ngroups))
    start = (info.start_time - _UNIX_EPOCH) * _DAY
    for i in range(info.nints):
        known = i < len(info.integration_starts)
        now = (info.integration_starts[i] - _UNIX_EPOCH) * _DAY if known else start + i * info.integration_time
        for g in range(info.ngroups):
            now += info.group_time
            times[i, g] = now
    return times


def flag(block: Block, references: References, params: PersistenceParams, info: ExposureInfo) -> dict[str, Array]:
    """Flag the groups of a block that lie in the window after a saturated or bright one.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN, ``groupdq`` of the same shape uint8.
    references : mapping
        ``persistence_array_file``, if there is one, with ``windows`` of earlier exposures.
    params : PersistenceParams
        ``persistence_time`` in seconds, ``dn_threshold`` in DN.
    info : ExposureInfo
        Detector and times: days (MJD) of the start of exposure and integrations, seconds of integration and group.

    Returns
    -------
    dict
        ``groupdq``, and with ``save_persistence`` the ends of the windows after the exposure,
        ``opt_persistence`` (row, column) float64, seconds since 1970.

    Notes
    -----
    Source: ``persistence`` in the JWST pipeline documentation.
    """
    from calservice.steps.stage1 import _persistence_kernels as kernels

    flags, ends = owned(block["groupdq"], np.uint8), _windows(block, references, params, info)
    if params.persistence_time is None:  # no window opens
        return {"groupdq": flags}
    kernels.flag_windows(
        block["data"],
        flags,
        ends,
        _times(info),
        float(params.persistence_time),
        np.float32(np.inf if params.dn_threshold is None else params.dn_threshold),
        np.uint8(PERSISTENCE | (DO_NOT_USE if params.persistence_dnu else 0)),
    )
    return {"groupdq": flags} | ({} if params.save_persistence is None else {"opt_persistence": ends})


def _kept(
    made: Mapping[str, Array], references: References, params: PersistenceParams, info: ExposureInfo
) -> Mapping[str, Any]:
    ends = made["opt_persistence"]
    rows, columns = np.nonzero(ends)
    found = {"rows": rows, "cols": columns, "vals": ends[rows, columns], "pers_time": params.persistence_time}
    return {info.detector: found}


def _supports(params: PersistenceParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "superstripe exposures"
    if params.persistence_time is None or params.persistence_time <= 0:
        return "no persistence_time"
    return None


STEP = Step(
    alias="persistence",
    summary="Flag persistence of earlier signals",
    params=PersistenceParams,
    kernel=flag,
    reads=("data", "groupdq"),
    writes=("groupdq", "opt_persistence"),
    reach=lambda params, info: Reach(frozenset(("integration", "group"))),
    parameter_references=(
        ReferenceNeed("persistence_array_file", ("windows",), optional=True, subarray=False, tree=window_arrays),
    ),
    supports=_supports,
    products=(
        OptionalProduct(
            wanted=lambda params, info: params.save_persistence is not None,
            arrays=_kept,
            named_by="save_persistence",
            ext=".asdf",
        ),
    ),
    cal_step="persistence",
    official="jwst.persistence.PersistenceStep",
)
"""The step."""
