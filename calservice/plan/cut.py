"""Where exposures are cut, what a stage will need of memory, and how large its products will be. Pure arithmetic.

The figures are projections for planning: those of stages with official steps were measured (``benchmarks/memory.py``)
and fitted by a constant and a multiple of the ramp's size, those of native ones follow from what is kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from calservice.model.block import Reach, Window
from calservice.model.info import ExposureInfo
from calservice.model.passes import (
    BLOCK_BYTES,
    IMAGES,
    KEPT_BYTES,
    at_once,
    cut_windows,
    passes,
    reach_of,
    sample_bytes,
    takes_images,
)
from calservice.model.plan import Stage
from calservice.model.step import Step
from calservice.model.superstripes import facts_at

__all__ = ["describe_cut", "project"]

MIB = 2**20
_IMPORTS = 550 * MIB
_NATIVE_IMPORTS = 650 * MIB
"""With what the C library keeps of finished blocks, and tables of references; their images stay in files."""
_FLOAT = 4
_RATES = 5
"""Arrays of the images that ramp fitting makes."""
_AT_ONCE = 2
"""Pieces of whole images that are reckoned with at the same time; each thread has one."""


def describe_cut(stage: Stage, steps: Mapping[str, Step]) -> str:
    """Say where an exposure is cut inside its task, and why.

    Parameters
    ----------
    stage : Stage
        With its engines and parameters chosen.
    steps : mapping of str to Step
        Native steps by alias.
    """
    if not stage.engines or stage.exposure is None or stage.level > 1 or 0 in _lengths(stage.exposure.info):
        return "whole: combines or projects exposures" if stage.level == 3 else "whole"
    said: list[str] = []
    count = stage.exposure.info.num_superstripe
    for alias, group, info in _runs(stage, steps):
        if not group:
            said.append(f"{alias} whole (official)")
            continue
        of = f", of each of {count} superstripes" if info.stripes is not None and count else ""
        said += [f"{passed}{of}" for passed in _passes(group, info)]
    return "; ".join([*said, *_kept(stage, steps)])


class _Run(NamedTuple):
    """Consecutive native steps with their parameters, and the exposure as they get it; or the alias of an official."""

    alias: str
    group: list[tuple[Step, Any]]
    info: ExposureInfo


def _runs(stage: Stage, steps: Mapping[str, Step]) -> list[_Run]:
    """Return consecutive native steps together, and each official one by its alias."""
    assert stage.exposure is not None
    runs: list[_Run] = []
    for alias, engine in stage.engines.items():
        info = facts_at(stage.exposure.info, alias, stage.engines)
        if engine == "jwst":
            runs.append(_Run(alias, [], info))
        elif engine == "native":
            if not runs or not runs[-1].group or runs[-1].info != info:
                runs.append(_Run("", [], info))
            runs[-1].group.extend(_parts(stage, steps[alias], info))
    return runs


def _parts(stage: Stage, step: Step, info: ExposureInfo) -> list[tuple[Step, Any]]:
    """Return the parts of a step with its parameters."""
    values = stage.parameters if stage.pipeline == step.alias else stage.parameters.get("steps", {}).get(step.alias, {})
    params = step.params.model_validate({k: v for k, v in values.items() if k in step.params.model_fields})
    return [(part, params) for part in step.parts(params, info)]


def _passes(group: Sequence[tuple[Step, Any]], info: ExposureInfo) -> list[str]:
    """Describe the passes of consecutive native steps."""
    said = []
    for reach, part in _reaches(group, info):
        names = "+".join(dict.fromkeys(step.alias for step, _ in part))
        said.append(f"{names} in {_blocks(reach, info)} ({_axes(reach)})")
    return said


def _reaches(
    group: Sequence[tuple[Step, Any]], info: ExposureInfo
) -> Iterator[tuple[Reach, Sequence[tuple[Step, Any]]]]:
    """Yield the passes of consecutive native steps, and how far the steps of each look together."""
    if not group:
        return
    reaches = [step.reach(params, info) for step, params in group]
    waits = [step.waits(params, info) for step, params in group]
    for start, stop, asked in passes(reaches, waits):
        if stop > start:
            yield reach_of(reaches[start:stop], reaches[stop] if asked else None), group[start:stop]


def _lengths(info: ExposureInfo) -> tuple[int, int, int, int]:
    return (info.nints, info.ngroups, info.nrows, info.ncols)


def _blocks(reach: Reach, info: ExposureInfo) -> str:
    shape = _lengths(info)
    windows = cut_windows(shape, reach, BLOCK_BYTES)
    if len(windows) == 1:
        return "one piece"
    return f"{len(windows)} blocks of {_size(windows[0], shape)}"


def _size(window: Window, shape: tuple[int, ...]) -> str:
    axes = ("integration", "group", "row", "column")
    cut = [(axis, n) for axis, n, whole in zip(axes, window.shape, shape, strict=True) if n < whole]
    return " and ".join(f"{n} {axis}{'s' if n > 1 else ''}" for axis, n in cut) or "all of it"


def _axes(reach: Reach) -> str:
    if takes_images(reach):
        return "whole images" + (" of all integrations" if "integration" in reach.whole else "")
    whole = " and ".join(f"{a}s" for a in ("integration", "group", "row", "column") if a in reach.whole)
    halo = ", ".join(f"{n} {a}{'s' if n > 1 else ''} of halo" for a, n in sorted(reach.halo.items()) if n)
    return "; ".join(p for p in (f"all {whole}" if whole else "", halo) if p) or "each pixel by itself"


def _goes_over_again(stage: Stage, steps: Mapping[str, Step]) -> bool:
    """Whether more than one pass is made over the ramps."""
    runs = _runs(stage, steps)
    return len(runs) > 1 or any(len(_passes(run.group, run.info)) > 1 for run in runs)


def _kept(stage: Stage, steps: Mapping[str, Step]) -> list[str]:
    """Say what does not stay in memory between passes."""
    ramp = math.prod(stage.exposure.shape) if stage.exposure else 0
    official = "jwst" in stage.engines.values()
    if official or ramp * _FLOAT <= KEPT_BYTES or not _goes_over_again(stage, steps):
        return []
    said = f"ramps of {ramp * _FLOAT / 1e9:.1f} GB do not stay in memory: they are computed again for every pass"
    return [f"{said}, flags are kept on disk" if ramp > KEPT_BYTES else said]


def project(stage: Stage, sources: Sequence[Stage], steps: Mapping[str, Step]) -> tuple[int, int]:
    """Return the projected peak memory and output size of a stage, in bytes.

    Parameters
    ----------
    stage : Stage
        With its exposure's header, engines and references.
    sources : sequence of Stage
        The stages that make its inputs.
    steps : mapping of str to Step
        Native steps by alias.
    """
    shape = stage.exposure.shape if stage.exposure else ()
    if stage.exposure is None or len(shape) < 2 or 0 in shape:
        return 0, 0
    if stage.level <= 1:
        return _ramps(stage, steps, shape)
    pixels = shape[-1] * shape[-2]
    if stage.level == 2:
        integrations = math.prod(shape[:-2]) if len(shape) == 3 else 1
        return _IMPORTS + 40 * pixels * _FLOAT * integrations, 15 * pixels * _FLOAT * integrations
    members = sum(i.role == "science" for i in stage.inputs)
    mosaic = _mosaic_pixels(stage, sources) or 2 * pixels
    outputs = 7 * mosaic * _FLOAT + members * 8 * pixels * _FLOAT
    return _IMPORTS + 20 * mosaic * _FLOAT + members * 12 * pixels * _FLOAT, outputs


def _ramps(stage: Stage, steps: Mapping[str, Step], shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the figures of a stage that fits ramps."""
    stripes = _stripes(stage)
    if stripes:
        assert stage.exposure is not None
        shape = _lengths(facts_at(stage.exposure.info, "ramp_fit", stage.engines))
    ramp, pixels = math.prod(shape), shape[-1] * shape[-2]
    integrations = shape[0] if len(shape) == 4 else 1
    outputs = (1 + integrations) * _RATES * pixels * _FLOAT
    assert stage.exposure is not None
    if "jwst" in stage.engines.values() or 0 in _lengths(stage.exposure.info):
        return _IMPORTS + 13 * ramp * _FLOAT + stripes, outputs
    again = _goes_over_again(stage, steps)
    kept = sum(size for size in (ramp * _FLOAT, ramp) if again and size <= KEPT_BYTES)
    cube = integrations * pixels * _FLOAT
    images = _RATES * (pixels * _FLOAT + (cube if cube <= KEPT_BYTES // IMAGES else 0))
    blocks = max(4 * BLOCK_BYTES, _pieces(stage, steps))
    return _NATIVE_IMPORTS + kept + images + blocks + _band(stage, steps) + stripes, outputs


def _stripes(stage: Stage) -> int:
    """Return the memory that superstripes take: as they are read, made, and put together; 0 where there are none."""
    assert stage.exposure is not None
    seen = stage.exposure.info
    whole = facts_at(seen, "ramp_fit", stage.engines)
    if whole == seen:
        return 0
    return (_FLOAT + 1) * (3 * math.prod(_lengths(seen)) + math.prod(_lengths(whole)))


def _pieces(stage: Stage, steps: Mapping[str, Step]) -> int:
    """Return the memory that ramps take where steps look at whole images."""
    most = 0
    for _, group, info in _runs(stage, steps):
        again = math.prod(_lengths(info)) * _FLOAT > KEPT_BYTES
        for reach, part in _reaches(group, info):
            if not takes_images(reach):
                continue
            windows = cut_windows(_lengths(info), reach, BLOCK_BYTES)
            read = {name for step, _ in part for name in step.reads}
            sample = sample_bytes(read) + sample_bytes({name for step, _ in part for name in step.writes})
            sample += sample_bytes(("data", "groupdq")) if again and "data" in read else 0  # while it is computed again
            count = min(_AT_ONCE, len(windows), at_once(windows[0], read))
            most = max(most, count * sample * math.prod(windows[0].shape))
    return most


def _band(stage: Stage, steps: Mapping[str, Step]) -> int:
    """Return the memory that rows of arrays on disk take where blocks cut columns."""
    most = 0
    for _, group, info in _runs(stage, steps):
        for reach, _ in _reaches(group, info):
            window = cut_windows(_lengths(info), reach, BLOCK_BYTES)[0]
            if window.shape[-1] < info.ncols:
                rows = window.shape[2] + 2 * reach.halo.get("row", 0)
                ramps = window.shape[0] * (2 * info.ngroups + _RATES * _FLOAT) + _FLOAT * info.ngroups  # and the dark
                most = max(most, rows * info.ncols * ramps)
    return 2 * most


def _mosaic_pixels(stage: Stage, sources: Sequence[Stage]) -> int:
    """Number of pixels that the members' footprints span on the sky, at the first member's scale."""
    exposures = [s.exposure for s in (*sources, stage) if s.exposure is not None]
    corners = [c for e in exposures for c in _corners(str(e.keywords.get("S_REGION", "")))]
    if not corners:
        return 0
    scale = abs(float(exposures[0].keywords.get("CDELT1") or 0.0)) or None
    if scale is None:
        return 0
    decs = [dec for _, dec in corners]
    ras = [ra for ra, _ in corners]
    if max(ras) - min(ras) > 180:
        ras = [ra + 360 if ra < 180 else ra for ra in ras]
    width = (max(ras) - min(ras)) * math.cos(math.radians(sum(decs) / len(decs))) / scale
    return int(width * (max(decs) - min(decs)) / scale)


def _corners(region: str) -> list[tuple[float, float]]:
    words = region.split()
    if len(words) < 3 or words[0].upper() != "POLYGON":
        return []
    try:
        numbers = [float(w) for w in words if w.upper() not in ("POLYGON", "ICRS")]
    except ValueError:
        return []
    return list(zip(numbers[::2], numbers[1::2], strict=False))
