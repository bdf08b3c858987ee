"""Superstripe exposures: what a stripe of one is like, and what they are together.

Each integration of such a file is one stripe of a frame that is larger: the integration number ``i``, from 0, is the
stripe ``i % count``. Steps up to ``refpix`` work on each stripe by itself, as on an exposure of its own; ``refpix``
puts them together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from calservice.model.info import ExposureInfo
from calservice.model.stripes import FULL, unknown_stripes

__all__ = ["JOINING", "Place", "facts_at", "joined", "of_stripe", "places", "unknown_superstripes"]

JOINING = "refpix"
"""The step that puts stripes together."""
_BEFORE = ("group_scale", "dq_init", "saturation", "ipc", "superbias", JOINING)
_WHOLE_FRAMES = "STRIPE_SOSS"
"""What is in the names of subarrays whose stripes are put into frames of the whole length of the detector."""
_CLOCK = 1e-5
"""Seconds in which an output reads a pixel."""
_END_OF_ROW = 12
"""Such times at the end of each row."""
_BEGINNING = {1: (2, 0), 4: (1, 1)}
"""Rows and pixels that take time before a frame begins, by outputs."""
_NARROW = 8
"""Lines that are not longer take another time."""


class Place(NamedTuple):
    """Lines of a stripe, and where they belong; ranges of them are in the order of the images.

    Attributes
    ----------
    stripe : int
        Number of the stripe, from 0.
    repeat : int
        How often the stripe was read before in the same image, each of which makes a group of its own.
    source, target : slice
        Lines in the image of the stripe, and in the image that stripes are put into.
    """

    stripe: int
    repeat: int
    source: slice
    target: slice


def facts_at(info: ExposureInfo, alias: str, running: Collection[str]) -> ExposureInfo:
    """Return the facts of an exposure as a native step gets it.

    Parameters
    ----------
    info : ExposureInfo
        Facts of the file.
    alias : str
        The step.
    running : collection of str
        Aliases of all steps that run.

    Returns
    -------
    ExposureInfo
        Of a superstripe exposure the facts of its first stripe, or of what its stripes were put into; those of the
        file where the step gets it as it is.
    """
    if not info.num_superstripe or unknown_superstripes(info) is not None:
        return info
    if alias in _BEFORE:
        return of_stripe(info, 0)
    return joined(info) if JOINING in running else info


def unknown_superstripes(info: ExposureInfo) -> str | None:
    """Return why the stripes of a superstripe exposure cannot be told apart or put together here; None if they can."""
    stripes, count = info.stripes, info.num_superstripe
    if stripes is None:
        return "superstripe exposures"
    reason = unknown_stripes(info)
    if reason is not None:
        return reason
    repeats = _repeats(info)
    if info.nints % count or info.exposure_nints is None:
        return "superstripes that are not complete"
    if (stripes.interleave if stripes.repeat else repeats > 1) or (repeats > 1 and not stripes.reads2):
        return "superstripes of several places each"
    width = info.ncols if _upright(info) else info.nrows
    if repeats > 1 and (info.noutputs not in _BEGINNING or width <= _NARROW):
        return "superstripes of unknown read times"
    inside = all(start >= 0 and stop <= FULL for k in range(count) for start, stop in _ranges(info, k))
    return None if inside else "superstripes that do not fit the detector"


def _upright(info: ExposureInfo) -> bool:
    """Whether lines of stripes are rows, rather than columns."""
    return abs(info.slowaxis) == 2


def _length(info: ExposureInfo) -> int:
    return info.nrows if _upright(info) else info.ncols


def _repeats(info: ExposureInfo) -> int:
    """Return how many stripes an image of a file holds."""
    assert info.stripes is not None
    return sum(not run.reference for run in info.stripes.runs(_length(info)))


def _ranges(info: ExposureInfo, which: int) -> list[tuple[int, int]]:
    """Return the lines of the detector, in the order of its image, that a stripe holds."""
    assert info.stripes is not None
    start = info.ystart if _upright(info) else info.xstart
    return replace(info.stripes, which=which).placed(_length(info), info.slowaxis, start)


def of_stripe(info: ExposureInfo, which: int) -> ExposureInfo:
    """Return the facts of an exposure that is one of the stripes of a superstripe exposure."""
    assert info.stripes is not None
    nints = info.nints // info.num_superstripe
    return replace(info, nints=nints, num_superstripe=0, stripes=replace(info.stripes, which=which))


def places(info: ExposureInfo) -> list[Place]:
    """Return where lines of stripes belong, without those of reference pixels, in the order of putting them there.

    Notes
    -----
    Source: what ``refpix`` of the official package makes of numbered lines. Where stripes overlap, the later is kept.
    """
    first, _ = _frame(info)
    return [
        Place(k, repeat, source, slice(start - first, stop - first))
        for k in range(info.num_superstripe)
        for repeat, (source, (start, stop)) in enumerate(_science(info, k))
    ]


def _science(info: ExposureInfo, which: int) -> Iterator[tuple[slice, tuple[int, int]]]:
    """Yield the lines of an image that are no reference pixels, in the order of reading, and those of the detector."""
    assert info.stripes is not None
    ranges, begin = _ranges(info, which), 0
    for run, lines in zip(info.stripes.runs(_length(info)), ranges[::-1] if info.slowaxis < 0 else ranges, strict=True):
        end = begin + len(run)
        source = slice(begin, end) if info.slowaxis > 0 else slice(_length(info) - end, _length(info) - begin)
        if not run.reference:
            yield source, lines
        begin = end


def _frame(info: ExposureInfo) -> tuple[int, int]:
    """Return the first line of the detector, from 0, of what stripes are put into, and the one after the last."""
    if _WHOLE_FRAMES in info.subarray:
        return 0, FULL
    science = [lines for k in range(info.num_superstripe) for _, lines in _science(info, k)]
    return min(start for start, _ in science), max(stop for _, stop in science)


def joined(info: ExposureInfo) -> ExposureInfo:
    """Return the facts of the exposure that the stripes of a superstripe exposure are put into.

    Notes
    -----
    Source: the metadata that ``refpix`` of the official package leaves. An integration is a set of stripes, a repeat a
    group of its own.
    """
    count, repeats = info.num_superstripe, _repeats(info)
    start, stop = _frame(info)
    end = info.exposure_nints if info.integration_end is None else info.integration_end
    made = replace(
        info,
        nints=info.nints // count,
        ngroups=info.ngroups * repeats,
        num_superstripe=0,
        stripes=None,
        integration_start=-(-info.integration_start // count),
        integration_end=None if end is None else -(-end // count),
        exposure_nints=None if info.exposure_nints is None else -(-info.exposure_nints // count),
        integration_starts=info.integration_starts[::count],
    )
    if _upright(info):
        made = replace(made, ystart=start + 1, nrows=stop - start)
    else:
        made = replace(made, xstart=start + 1, ncols=stop - start, xsize=stop - start)
    if repeats == 1:
        return made
    return replace(made, read_times=_read_times(info, repeats), read_counts=(info.nframes,) * made.ngroups)


def _read_times(info: ExposureInfo, repeats: int) -> tuple[float, ...]:
    """Return when reads of stripes that are repeated end, in seconds, those that are averaged together.

    Notes
    -----
    Source: "NIRCam Detector Readout" and "NIRISS Detector Subarrays" in the JWST User Documentation, for what reading a
    row takes, and what a frame begins with; and the official package's ``read_times`` of exposures of many shapes.
    """
    assert info.stripes is not None
    width = info.ncols if _upright(info) else info.nrows
    row = width / info.noutputs + _END_OF_ROW
    rows, clocks = _BEGINNING[info.noutputs]
    lines = _length(info) // repeats
    frame = (row * (_length(info) + rows) + clocks) * _CLOCK
    times: list[float] = []
    now = 0.0  # summed up as the official package does, so that even the last digits are the same
    for _ in range(info.ngroups):
        for n in range(repeats):
            now += (row * (lines + (0 if n else rows)) + (0 if n else clocks)) * _CLOCK
            times += [now + number * frame for number in range(info.nframes)]
        now += frame * (info.nframes + info.groupgap - 1)
    return tuple(times)
