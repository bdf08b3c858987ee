"""Superstripe exposures: steps on each stripe as on an exposure of its own, and putting the stripes together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calservice.model.block import Array
from calservice.model.dqflags import REFERENCE_PIXEL
from calservice.model.errors import InputError
from calservice.model.info import ExposureInfo
from calservice.model.step import ReferenceNeed
from calservice.model.stripes import STRIPE_ATTRIBUTES
from calservice.model.superstripes import JOINING, joined, of_stripe, places
from calservice.run import models
from calservice.run.blocks import run_fused
from calservice.run.chain import DTYPES, BoundStep

__all__ = ["join", "run_stripes"]

_CUBES = ("data", "groupdq", "zeroframe")
"""Arrays that have integrations; flags of pixels have stripes instead."""
_UNREAD = {"data": np.nan, "zeroframe": np.nan, "groupdq": 0, "pixeldq": REFERENCE_PIXEL}
"""What is where no stripe was read."""


def run_stripes(
    first: Sequence[BoundStep],
    model: Any,
    info: ExposureInfo,
    locate: Callable[[str, ReferenceNeed], Any],
    *,
    threads: int,
    metadata: MutableMapping[str, Any],
    scratch: Path | None = None,
) -> dict[str, Array]:
    """Run native steps on each stripe of a superstripe exposure.

    Parameters
    ----------
    first : sequence of BoundStep
        The steps, with references cut to the first stripe.
    model : SuperstripeRampModel
        The exposure; it is not changed.
    info : ExposureInfo
        Facts of the file.
    locate : callable
        Gives for the alias of a step and a need where the reference is, as for `models.bind`.
    threads : int
        Blocks that are worked on at the same time.
    metadata : mutable mapping
        Takes what tallies say of the exposure.
    scratch : Path, optional
        Folder for arrays that are too large.

    Returns
    -------
    dict of str to ndarray
        What steps made, as the exposure has it: ``data`` and ``groupdq`` (integration, group, row, column), of which
        each integration is a stripe, ``zeroframe`` (integration, row, column) and ``pixeldq`` (stripe, row, column).

    Raises
    ------
    InputError
        Where flags do not have the shape of the data.

    Notes
    -----
    As in the official package, ``refpix`` takes the reference pixels of all stripes to be where the flags of the first
    stripe say so.
    """
    stripes = [first, *(_bound(first, model, of_stripe(info, k), locate) for k in range(1, info.num_superstripe))]
    source, made = _arrays(model, info), []
    options: dict[str, Any] = {"threads": threads, "metadata": metadata, "scratch": scratch, "kept_bytes": sys.maxsize}
    for k, bound in enumerate(stripes):
        before = [one for one in bound if one.step.alias != JOINING]
        made.append(run_fused(before, _stripe(source, k, info), of_stripe(info, k), **options) if before else {})
    flags = made[0].get("pixeldq", source["pixeldq"][0])
    for k, bound in enumerate(stripes):
        last = [one for one in bound if one.step.alias == JOINING]
        if last:
            arrays = _stripe(source, k, info) | made[k] | {"pixeldq": flags}
            made[k] |= run_fused(last, arrays, of_stripe(info, k), **options)
    return dict(_spread(made, info))


def _bound(
    first: Sequence[BoundStep], model: Any, info: ExposureInfo, locate: Callable[[str, ReferenceNeed], Any]
) -> list[BoundStep]:
    """Return the steps with references cut to another stripe."""
    found = [models.bind(one.step, one.params, model, info, partial(locate, one.step.alias)) for one in first]
    return [one for one in found if isinstance(one, BoundStep)]  # what keeps a step from one stripe keeps it from all


def _arrays(model: Any, info: ExposureInfo) -> dict[str, Array]:
    """Return the arrays of a superstripe exposure."""
    found: dict[str, Array] = {"data": model.data, "groupdq": model.groupdq, "pixeldq": model.pixeldq}
    if model.meta.exposure.zero_frame:
        found["zeroframe"] = model.zeroframe
    image = (info.nrows, info.ncols)
    due = {"groupdq": (info.nints, info.ngroups, *image), "pixeldq": (info.num_superstripe, *image)}
    for name, shape in due.items():
        told = found[name].shape
        if told != shape:
            raise InputError(
                f"{model.meta.filename}: {name} has the shape {told}, where that of {info.num_superstripe} "
                f"superstripes (SSTR_NST) is {shape}. Correct it"
            )
    return found


def _stripe(arrays: Mapping[str, Array], which: int, info: ExposureInfo) -> dict[str, Array]:
    """Return views of the arrays of one stripe."""
    return {
        name: array[which :: info.num_superstripe] if name in _CUBES else array[which] for name, array in arrays.items()
    }


def _spread(made: Sequence[Mapping[str, Array]], info: ExposureInfo) -> Iterator[tuple[str, Array]]:
    """Yield arrays of stripes as the superstripe exposure has them."""
    for name, first in made[0].items():
        arrays = [part[name] for part in made]
        if name not in _CUBES:
            yield name, np.stack(arrays)
            continue
        whole = np.empty((info.nints, *first.shape[1:]), first.dtype)
        for k, array in enumerate(arrays):
            whole[k :: info.num_superstripe] = array
        yield name, whole


def join(model: Any, info: ExposureInfo) -> Any:
    """Put the stripes of a superstripe exposure together.

    Parameters
    ----------
    model : SuperstripeRampModel
        The exposure, after the reference pixel correction.
    info : ExposureInfo
        Facts of the file.

    Returns
    -------
    RampModel
        With one integration for each set of stripes, and a group for each repeat of a stripe in a group. Where no
        stripe was read, ``data`` and ``zeroframe`` are NaN, and ``pixeldq`` says REFERENCE_PIXEL. Times of integrations
        are those of sets; those of stripes are in ``int_times_stripe``.

    Raises
    ------
    InputError
        Where there are times of another number of integrations than there are.

    Notes
    -----
    Source: what ``refpix`` of the official package leaves of numbered pixels.
    """
    from stdatamodels.jwst import datamodels

    whole = joined(info)
    result = datamodels.RampModel(**_put_together(_arrays(model, info), info, whole))
    result.update(model)
    exposure, where = result.meta.exposure, result.meta.subarray
    exposure.nints, exposure.ngroups = whole.exposure_nints, whole.ngroups
    exposure.integration_start, exposure.integration_end = whole.integration_start, whole.integration_end
    where.xstart, where.ystart = whole.xstart, whole.ystart
    if abs(info.slowaxis) == 2:
        where.ysize = whole.nrows
    else:
        where.xsize = whole.ncols
    if whole.ngroups != info.ngroups:
        each = iter(whole.read_times)
        exposure.read_times = [[next(each) for _ in range(count)] for count in whole.read_counts]
    for name in STRIPE_ATTRIBUTES:
        setattr(where, name, None)
    _put_times(model, result, info, whole)
    return result


def _put_together(arrays: Mapping[str, Array], info: ExposureInfo, whole: ExposureInfo) -> dict[str, Array]:
    """Return the arrays of what stripes are put into."""
    repeats = whole.ngroups // info.ngroups
    lengths = {
        "data": (whole.nints, whole.ngroups),
        "groupdq": (whole.nints, whole.ngroups),
        "zeroframe": (whole.nints,),
    }
    made = {
        name: np.full((*lengths.get(name, ()), whole.nrows, whole.ncols), _UNREAD[name], DTYPES[name])
        for name in arrays
    }
    for place in places(info):
        for name, array in _stripe(arrays, place.stripe, info).items():
            target = made[name][:, place.repeat :: repeats] if name in ("data", "groupdq") else made[name]
            if abs(info.slowaxis) == 2:
                target[..., place.target, :] = array[..., place.source, :]
            else:
                target[..., place.target] = array[..., place.source]
    return made


def _put_times(model: Any, result: Any, info: ExposureInfo, whole: ExposureInfo) -> None:
    """Give a ramp the times of its integrations, and those of the stripes of each."""
    if not model.hasattr("int_times"):
        return
    given, count = np.asarray(model.int_times), info.num_superstripe
    if not len(given):
        result.int_times = given
        return
    if len(given) != info.nints:
        raise InputError(
            f"{model.meta.filename}: INT_TIMES has times of {len(given)} integrations, where there are {info.nints}. "
            "Fetch the file again"
        )
    numbers = whole.integration_start + np.arange(info.nints) // count
    stripes = np.zeros(info.nints, result.get_default("int_times_stripe").dtype)
    times = np.zeros(whole.nints, given.dtype)
    for name in (given.dtype.names or ())[1:]:
        stripes[name] = given[name]
    stripes["integration_number"], stripes["stripe_number"] = numbers, 1 + np.arange(info.nints) % count
    times["integration_number"] = numbers[::count]
    for scale in ("MJD_UTC", "BJD_TDB"):
        start, end = given[f"int_start_{scale}"][::count], given[f"int_end_{scale}"][count - 1 :: count]
        times[f"int_start_{scale}"], times[f"int_end_{scale}"] = start, end
        times[f"int_mid_{scale}"] = (start + end) / 2
    result.int_times, result.int_times_stripe = times, stripes
