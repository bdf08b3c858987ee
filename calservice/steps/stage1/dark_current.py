"""Subtract the dark current, group by group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field

from calservice.model.block import Array, Block, Reach
from calservice.model.errors import ReferenceFileError
from calservice.model.info import ExposureInfo
from calservice.model.step import OptionalProduct, Params, Reference, ReferenceNeed, References, Step
from calservice.steps.stage1._stored import subtract_images

__all__ = ["STEP", "DarkCurrentParams"]


class DarkCurrentParams(Params):
    """Parameters of ``dark_current``."""

    dark_output: str | None = Field(
        None, description="Dark model or averaged dark subtracted", json_schema_extra={"check": "output_file"}
    )
    average_dark_current: float | None = Field(
        None, description="The average dark current for this detector in units of e-/sec."
    )


@dataclass(frozen=True)
class _Sampling:
    """How the groups of the exposure are made from those of the dark reference."""

    groups: int
    """Groups that the reference has."""
    extra: int
    """Groups to extrapolate beyond them."""
    average: bool
    """Whether groups are averaged from the reference's, or taken one by one."""


def _readout(dark: Reference) -> tuple[int, int]:
    """Return the frames averaged into a group of the reference, and those skipped between groups."""
    nframes = dark.meta.get("meta.exposure.nframes")
    gap = dark.meta.get("meta.exposure.groupgap")
    if nframes is None or gap is None:
        raise ReferenceFileError(
            f"{dark.name}: the header of the dark reference has no NFRAMES or no GROUPGAP, without which its groups "
            "cannot be matched to the exposure's; use a complete file"
        )
    return int(nframes), int(gap)


def _sampling(dark: Reference, info: ExposureInfo) -> _Sampling:
    groups = int(dark["data"].shape[-3])
    nframes, gap = _readout(dark)
    needed = info.ngroups * info.nframes + (info.ngroups - 1) * info.groupgap
    missing = needed - (groups * nframes + (groups - 1) * gap)
    extra = math.ceil((missing + gap) / (nframes + gap)) if missing > 0 else 0
    if extra and groups < 2:
        raise ReferenceFileError(
            f"{dark.name}: the dark reference has one group, from which the dark current cannot be extrapolated to the "
            f"{info.ngroups} groups of the exposure; use a dark with more groups"
        )
    return _Sampling(groups, extra, (nframes, gap) != (info.nframes, info.groupgap))


@dataclass(frozen=True)
class _Dark:
    """One integration of a dark, of which only those groups are read from the file that are used."""

    images: Array
    place: tuple[int, ...]
    """Which integration, where the reference has several."""
    sampling: _Sampling
    name: str
    """Of the file."""

    def __getitem__(self, k: int) -> Array:
        return np.array(self.images[(*self.place, k)], np.float32)

    def frame(self, k: int) -> Array:
        """Return group ``k``, extrapolated where needed, NaN as 0.

        As in the official step, an extrapolated dark is float64 throughout.
        """
        groups = self.sampling.groups
        if k < groups:
            frame = self[k].astype(np.float64 if self.sampling.extra else np.float32, copy=False)
        else:
            last = self[groups - 1]
            frame = (k - groups + 1) * (last - self[groups - 2]).astype(np.float64) + last
        frame[np.isnan(frame)] = 0
        return frame

    def mean(self, start: int, count: int) -> Array:
        """Return the mean of ``count`` groups as float32; NaN if there are none of them."""
        stop = min(start + count, self.sampling.groups + self.sampling.extra)
        if start >= stop and count == 1:
            raise ReferenceFileError(
                f"{self.name}: the dark reference has {stop} groups, too few for group {start + 1} that the exposure's "
                "GROUPGAP asks for; use a dark with NFRAMES=1, GROUPGAP=0"
            )
        if start >= stop:
            return np.full(self.images.shape[-2:], np.nan, np.float32)
        total = self.frame(start)
        for k in range(start + 1, stop):
            total += self.frame(k)
        mean: Array = (total / total.dtype.type(stop - start)).astype(np.float32)
        return mean

    @property
    def as_stored(self) -> bool:
        """Whether what the reference holds is what is to be subtracted where it is not NaN."""
        return not (self.sampling.average or self.sampling.extra)

    def subtract(self, data: Array, integrations: tuple[int, int], groups: tuple[int, int]) -> None:
        """Subtract the groups in a range, where the dark is `as_stored`, from those of some integrations, in place."""
        subtract_images(data, integrations, self.images, self.place, groups)

    def planes(self, groups: tuple[int, int], info: ExposureInfo) -> Sequence[Array]:
        """Return what to subtract from each of the exposure's groups in a range."""
        if not self.sampling.average:
            return [self.frame(g) for g in range(*groups)]
        stride = info.nframes + info.groupgap
        return [self.mean(g * stride, info.nframes) for g in range(*groups)]


def _darks(dark: Reference, sampling: _Sampling) -> list[_Dark]:
    """Return the integrations of a dark reference."""
    images = dark["data"]
    places = [(k,) for k in range(images.shape[0])] if images.ndim == 4 else [()]
    return [_Dark(images, place, sampling, dark.name) for place in places]


def _integration(number: int, available: int, info: ExposureInfo) -> int:
    """Return which dark serves an integration, counted from 0 within the file.

    The first integrations of an exposure have their own; later ones, and all those of a file that
    starts later in its exposure, take the last.
    """
    return number if number < available and info.integration_start == 1 else available - 1


def subtract(block: Block, references: References, params: DarkCurrentParams, info: ExposureInfo) -> dict[str, Array]:
    """Subtract the dark current from the groups of a block.

    Parameters
    ----------
    block : Block
        ``data`` (integration, group, row, column) float32 in DN and ``pixeldq`` (row, column) uint32.
    references : mapping
        ``dark`` with ``data`` (group, row, column) float32 in DN, or with a leading integration axis
        (MIRI); ``dq`` (row, column) uint32, or with leading axes (integration, 1); and, as prepared,
        ``average_dark_current`` (row, column) float32 in electrons/s, or ``replacement`` for one that
        the exposure carries.
    params : DarkCurrentParams
        Parameters.
    info : ExposureInfo
        Numbers of groups and frames, and ``integration_start``.

    Returns
    -------
    dict
        ``data``, ``pixeldq`` and, where one applies, ``average_dark_current`` (row, column) float32 in
        electrons/s.

    Notes
    -----
    Source: ``dark_current`` in the JWST pipeline documentation. Means are summed frame by frame in
    float32, as NumPy does along the first axis.
    """
    dark = references["dark"]
    flags = np.asarray(dark["dq"], np.uint32)
    if dark["data"].ndim == 4 and flags.ndim == 4:
        flags = np.bitwise_or.reduce(flags[:, 0], axis=0)
    sampling = _sampling(dark, info)
    darks = _darks(dark, sampling)
    groups, first = block.window.group, block.window.integration[0]
    # The official step averages as many of the reference's integrations as the exposure has; the
    # others stay zero, which matters only to a file that starts later in its exposure.
    averaged = min(len(darks), info.nints) if sampling.average else len(darks)
    data = block["data"]
    serving = [_integration(first + i, len(darks), info) for i in range(len(data))]
    for k, alike in itertools.groupby(range(len(data)), key=serving.__getitem__):
        some = list(alike)
        start, stop = some[0], some[-1] + 1
        if k < averaged and darks[k].as_stored:
            darks[k].subtract(data, (start, stop), groups)
        elif k < averaged:
            for g, plane in enumerate(darks[k].planes(groups, info)):
                np.subtract(data[start:stop, g], plane, out=data[start:stop, g], casting="same_kind")
    made: dict[str, Array] = {"data": data, "pixeldq": block["pixeldq"] | flags}
    if "average_dark_current" in dark:
        made["average_dark_current"] = np.array(dark["average_dark_current"], np.float32)
    elif "average_dark_current" in block and "replacement" in dark:
        made["average_dark_current"] = np.array(dark["replacement"], np.float32)
    return made


def _prepare(references: References, params: DarkCurrentParams, info: ExposureInfo) -> References:
    """Settle the average dark current: the parameter, else the reference's number, as an image.

    The reference's image, if it has one that is not zero, only replaces one that the exposure already
    carries, which raw exposures never do: as in the official step it is then not applied.
    """
    dark = references["dark"]
    arrays = {name: dark[name] for name in ("data", "dq")}
    image = dark.arrays.get("average_dark_current")
    number = params.average_dark_current
    if number is None and (image is None or np.sum(image) == 0.0):
        number = dark.meta.get("meta.exposure.average_dark_current") or 0.0
    shape = (info.nrows, info.ncols)
    if number is None and image is not None and image.shape == shape:
        arrays["replacement"] = image
    if number is not None:
        arrays["average_dark_current"] = np.zeros(shape, np.float32) + np.float32(number)
    return {**references, "dark": replace(dark, arrays=arrays)}


def _not_applicable(references: References, params: DarkCurrentParams, info: ExposureInfo) -> str | None:
    nframes, gap = _readout(references["dark"])
    if nframes > info.nframes or gap > info.groupgap:
        return (
            f"the dark reference has NFRAMES={nframes}, GROUPGAP={gap}, more than the exposure's "
            f"NFRAMES={info.nframes}, GROUPGAP={info.groupgap}"
        )
    return None


def _skipped_arrays(references: References, params: DarkCurrentParams, info: ExposureInfo) -> dict[str, Array]:
    """Return the average dark current, which ramp fitting takes into account even if nothing is subtracted."""
    dark = _prepare(references, params, info)["dark"]
    return {name: dark[name] for name in ("average_dark_current",) if name in dark}


def _supports(params: DarkCurrentParams, info: ExposureInfo) -> str | None:
    if info.num_superstripe:
        return "superstripe exposures"
    return None


def _subtracted(
    made: Mapping[str, Array], references: References, params: DarkCurrentParams, info: ExposureInfo
) -> dict[str, Array]:
    """Return the dark that is subtracted: that of the reference, with groups averaged or extrapolated as needed."""
    dark = references["dark"]
    sampling = _sampling(dark, info)
    darks, shape = _darks(dark, sampling), dark["data"].shape
    made_groups = info.ngroups if sampling.average else sampling.groups + sampling.extra
    data = np.zeros((len(darks), made_groups, *shape[-2:]), np.float32)
    for k in range(min(len(darks), info.nints) if sampling.average else len(darks)):
        for g, plane in enumerate(darks[k].planes((0, made_groups), info)):
            data[k, g] = plane
    return {"data": data if len(shape) == 4 else data[0], "dq": np.asarray(dark["dq"])}


def _readout_of_subtracted(references: References, params: DarkCurrentParams, info: ExposureInfo) -> dict[str, Any]:
    dark = references["dark"]
    sampling = _sampling(dark, info)
    nframes, gap = _readout(dark)
    if sampling.average:
        nframes, gap, groups = info.nframes, info.groupgap, info.ngroups
    else:
        groups = int(dark.meta.get("meta.exposure.ngroups") or sampling.groups) + sampling.extra
    return {"meta.exposure.nframes": nframes, "meta.exposure.ngroups": groups, "meta.exposure.groupgap": gap}


STEP = Step(
    alias="dark_current",
    summary="Subtract the dark current",
    params=DarkCurrentParams,
    kernel=subtract,
    reads=("data", "pixeldq", "average_dark_current"),
    writes=("data", "pixeldq", "average_dark_current"),
    spends=("data",),
    references=(ReferenceNeed("dark", ("data", "dq", "average_dark_current"), subarray=False),),
    reach=lambda params, info: Reach(),
    not_applicable=_not_applicable,
    skipped_arrays=_skipped_arrays,
    supports=_supports,
    prepare=_prepare,
    products=(
        OptionalProduct(
            model=lambda info: "DarkMIRIModel" if info.instrument == "MIRI" else "DarkModel",
            wanted=lambda params, info: params.dark_output is not None,
            arrays=_subtracted,
            named_by="dark_output",
            like="dark",
            metadata=_readout_of_subtracted,
        ),
    ),
    cal_step="dark_sub",
    official="jwst.dark_current.DarkCurrentStep",
)
"""The step."""
