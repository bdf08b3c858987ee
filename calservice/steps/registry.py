"""`NATIVE`: every native step, by alias. The one list of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from calservice.model.step import Step
from calservice.steps.stage1 import (
    charge_migration,
    clean_flicker_noise,
    dark_current,
    dq_init,
    emicorr,
    firstframe,
    gain_scale,
    group_scale,
    guider_cds,
    ipc,
    jump,
    lastframe,
    linearity,
    persistence,
    picture_frame,
    ramp_fit,
    refpix,
    reset,
    rscd,
    saturation,
    superbias,
)

__all__ = ["NATIVE"]

_STEPS: tuple[Step, ...] = (
    group_scale.STEP,
    dq_init.STEP,
    emicorr.STEP,
    saturation.STEP,
    ipc.STEP,
    superbias.STEP,
    refpix.STEP,
    firstframe.STEP,
    lastframe.STEP,
    reset.STEP,
    linearity.STEP,
    rscd.STEP,
    dark_current.STEP,
    charge_migration.STEP,
    jump.STEP,
    picture_frame.STEP,
    clean_flicker_noise.STEP,
    persistence.STEP,
    ramp_fit.STEP,
    gain_scale.STEP,
    guider_cds.STEP,
)

NATIVE: Mapping[str, Step] = MappingProxyType({step.alias: step for step in _STEPS})
"""Native steps by alias. Importing this loads neither jwst nor numba; kernels load numba at first use."""
