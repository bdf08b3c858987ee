"""Calibration steps.

``calservice.steps.<alias>`` modules under ``stage1`` hold the native ones as values, one file each, and
`calservice.steps.registry` lists them. For notebooks and ``strun``, every step is here as a class too, under its
official name: ``LinearityStep.call("x_uncal.fits")``. Native steps are made from those values; the others are the
classes of the official package. Classes are made when they are asked for, so that importing this stays quick.
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not name.endswith("Step"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from calservice.engines import strun

    alias = strun.native_names().get(name)
    return strun.official_class("jwst.step", name) if alias is None else strun.step_class(alias)


def __dir__() -> list[str]:
    from calservice.engines import official, strun

    names = {*globals(), *strun.native_names()}
    if official.available():
        names |= {e.class_name for e in official.catalog().entries.values() if e.class_name.endswith("Step")}
    return sorted(names)
