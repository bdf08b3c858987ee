"""Pipelines for notebooks and ``strun``, under their official names.

``Detector1Pipeline.call("x_uncal.fits")`` runs the official pipeline with our steps in the place of the official ones.
Pipelines without a native step are the official classes. They need the official package.
"""

from __future__ import annotations

from typing import Any

from calservice.model.modes import PIPELINE_CLASSES

__all__ = list(PIPELINE_CLASSES)


def __getattr__(name: str) -> Any:
    if name not in PIPELINE_CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from calservice.engines import strun

    return strun.pipeline_class(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PIPELINE_CLASSES})
