"""Where exposures are cut, what a stage will need of memory, and how large its products will be. Pure arithmetic.

The figures are projections for planning: peak resident memory was measured for official and mixed stages
(``benchmarks/memory.py``) and fitted by a constant and a multiple of the ramp's size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from calservice.model.block import Reach
from calservice.model.plan import Stage
from calservice.model.step import Step

__all__ = ["describe_cut", "project"]

MIB = 2**20
_IMPORTS = 550 * MIB
_FLOAT = 4


def describe_cut(stage: Stage, steps: Mapping[str, Step]) -> str:
    """Say where an exposure is cut inside its task, and why.

    Parameters
    ----------
    stage : Stage
        With its engines chosen.
    steps : mapping of str to Step
        Native steps by alias.
    """
    if not stage.engines or stage.exposure is None or stage.level > 1:
        return "whole: combines or projects exposures" if stage.level == 3 else "whole"
    parts: list[str] = []
    group: list[str] = []
    reach = Reach()
    for alias, engine in (*stage.engines.items(), ("", "end")):
        if engine == "native":
            step = steps[alias]
            group.append(alias)
            reach = reach.then(step.reach(step.params(), stage.exposure.info))
            continue
        if group:
            parts.append(f"{'+'.join(group)} in blocks of rows ({_axes(reach)})")
            group, reach = [], Reach()
        if engine == "jwst":
            parts.append(f"{alias} whole (official)")
    return "; ".join(parts)


def _axes(reach: Reach) -> str:
    whole = " and ".join(f"{a}s" for a in ("integration", "group", "row", "column") if a in reach.whole)
    halo = ", ".join(f"{n} {a}{'s' if n > 1 else ''} of halo" for a, n in sorted(reach.halo.items()) if n)
    return "; ".join(p for p in (f"all {whole}" if whole else "", halo) if p) or "each pixel by itself"


def project(stage: Stage, sources: Sequence[Stage]) -> tuple[int, int]:
    """Return the projected peak memory and output size of a stage, in bytes.

    Parameters
    ----------
    stage : Stage
        With its exposure's header.
    sources : sequence of Stage
        The stages that make its inputs.
    """
    shape = stage.exposure.shape if stage.exposure else ()
    if len(shape) < 2:
        return 0, 0
    pixels = shape[-1] * shape[-2]
    if stage.level <= 1:
        ramp = math.prod(shape) * _FLOAT
        integrations = shape[0] if len(shape) == 4 else 1
        images = 1 + (integrations if integrations > 1 else 0)
        official = "jwst" in stage.engines.values()
        return _IMPORTS + (13 if official else 4) * ramp, images * 5 * pixels * _FLOAT
    if stage.level == 2:
        integrations = math.prod(shape[:-2]) if len(shape) == 3 else 1
        return _IMPORTS + 40 * pixels * _FLOAT * integrations, 15 * pixels * _FLOAT * integrations
    members = sum(i.role == "science" for i in stage.inputs)
    mosaic = _mosaic_pixels(stage, sources) or 2 * pixels
    outputs = 7 * mosaic * _FLOAT + members * 8 * pixels * _FLOAT
    return _IMPORTS + 20 * mosaic * _FLOAT + members * 12 * pixels * _FLOAT, outputs


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
