"""`NATIVE`: every native step, by alias. The one list of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from calservice.model.step import Step
from calservice.steps.stage1 import (
    dark_current,
    dq_init,
    linearity,
    ramp_fit,
    saturation,
    superbias,
)

__all__ = ["NATIVE"]

_STEPS: tuple[Step, ...] = (
    dq_init.STEP,
    saturation.STEP,
    superbias.STEP,
    linearity.STEP,
    dark_current.STEP,
    ramp_fit.STEP,
)

NATIVE: Mapping[str, Step] = MappingProxyType({step.alias: step for step in _STEPS})
"""Native steps by alias. Importing this loads neither jwst nor numba; kernels load numba at first use."""
