"""What the header of an exposure tells of its faults, before a pixel is read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from calservice.model.errors import InputError
from calservice.model.exposure import Exposure
from calservice.model.modes import DARK, DETECTOR1, GUIDER
from calservice.model.plan import Stage
from calservice.model.superstripes import facts_at
from calservice.plan.engines import native_steps
from calservice.products.store import shown

__all__ = ["unsound"]

_AXES = ("integrations", "groups", "rows", "columns")
_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dq_init": ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2"),
        "saturation": ("NGROUPS", "NFRAMES"),
        "refpix": ("DETECTOR", "FASTAXIS", "SLOWAXIS"),
        "reset": ("NINTS",),
        "rscd": ("SUBARRAY",),
        "dark_current": ("NFRAMES", "GROUPGAP"),
        "jump": ("TGROUP",),
        "ramp_fit": ("NFRAMES", "GROUPGAP", "TFRAME", "TGROUP"),
    }
)
"""Keywords that steps cannot do without, by alias."""
_POSITIVE = ("NGROUPS", "NFRAMES", "TGROUP")
_INSTRUMENTS = ("NIRCAM", "NIRISS", "NIRSPEC", "MIRI", "FGS")
_ROWS_OF_IRS2 = 3200


def unsound(stage: Stage) -> list[InputError]:
    """Find what is wrong with the exposure that a stage begins with, as far as its header tells.

    Parameters
    ----------
    stage : Stage
        With its engines settled.

    Returns
    -------
    list of InputError
        Each names the file, what is wrong and what to do.
    """
    seen = stage.exposure
    if seen is None or stage.level > 2 or stage.inputs[0].file != seen.file:
        return []
    if seen.header_only:
        told = ["holds only headers, no pixels: SCI is missing, empty or one pixel"]
    elif not _takes_ramps(stage.pipeline):
        told = []
    else:
        told = [*_of_shape(seen.shape)] or [*_of_header(stage, seen)] or [*_of_steps(stage, seen)]
    return [InputError(f"{shown(seen.file.url)}: {fault}") for fault in told]


def _takes_ramps(pipeline: str) -> bool:
    """Whether a pipeline, or a step by itself, takes ramps and nothing else."""
    step = native_steps().get(pipeline)
    alone = step is not None and not step.rates_too and "slope" not in step.reads
    return alone or pipeline in (DETECTOR1, DARK, GUIDER)


def _of_shape(shape: tuple[int, ...]) -> Iterator[str]:
    told = " x ".join(map(str, shape))
    if len(shape) != len(_AXES):
        yield (
            f"SCI has {len(shape)} dimensions ({told}), where a ramp has four: {', '.join(_AXES)}. "
            "Give an uncalibrated exposure"
        )
    elif 0 in shape:
        empty = " and no ".join(axis for axis, length in zip(_AXES, shape, strict=True) if not length)
        yield f"SCI has no {empty} ({told}). Fetch the file again, or leave it out"


def _of_header(stage: Stage, seen: Exposure) -> Iterator[str]:
    word, info = seen.keywords.get, seen.info
    if info.instrument not in _INSTRUMENTS:
        yield f"its header names no instrument that there is: INSTRUME={info.instrument!r}. Correct it"
    if info.num_superstripe:
        return
    near = info.instrument != "MIRI"
    running = [alias for alias in stage.engines if near or alias != "refpix"]
    needed = dict.fromkeys(keyword for alias in running for keyword in _NEEDED.get(alias, ()))
    absent = [keyword for keyword in needed if word(keyword) in (None, "")]
    if absent:
        yield f"its header has no {', no '.join(absent)}. Fetch the file again, or add what is missing"
    for keyword in _POSITIVE:
        if keyword in needed and word(keyword) == 0:
            yield f"its header says {keyword}=0. Fetch the file again, or correct it"
    groups = word("NGROUPS")
    if "NGROUPS" in needed and groups and int(groups) < info.ngroups:
        yield (
            f"its header tells of {groups} groups (NGROUPS), where SCI has {info.ngroups}. "
            "Fetch the file again, or correct it"
        )
    if "reset" in running and not absent:
        yield from _of_integrations(seen)
    if "refpix" in running and not absent:
        yield from _of_size(seen)


def _of_steps(stage: Stage, seen: Exposure) -> Iterator[str]:
    """Tell what keeps steps from working, whichever engine runs them."""
    faults = (
        step.fault(facts_at(seen.info, alias, stage.engines))
        for alias, step in native_steps().items()
        if alias in stage.engines
    )
    yield from (fault for fault in faults if fault is not None)


def _of_integrations(seen: Exposure) -> Iterator[str]:
    """Tell where there are fewer integrations than the header says; a segment may have fewer than its exposure."""
    info = seen.info
    last = info.exposure_nints if info.integration_end is None else info.integration_end
    told = 0 if last is None else last - info.integration_start + 1
    if told > info.nints:
        yield (
            f"its header tells of {told} integrations (NINTS, INTSTART, INTEND), where SCI has {info.nints}. "
            "Fetch the file again, or correct it"
        )


def _of_size(seen: Exposure) -> Iterator[str]:
    """Tell where an image is of another size than its header says; rows of IRS2 are more."""
    for keyword, length in (("SUBSIZE1", seen.shape[-1]), ("SUBSIZE2", seen.shape[-2])):
        told = seen.keywords.get(keyword)
        irs2 = keyword == "SUBSIZE2" and length == _ROWS_OF_IRS2
        if told not in (None, "") and int(told) != length and not irs2:
            axis = "columns" if keyword == "SUBSIZE1" else "rows"
            yield (
                f"its header tells of {told} {axis} ({keyword}), where SCI has {length}. "
                "Fetch the file again, or correct it"
            )
