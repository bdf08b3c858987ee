"""IRS2 exposures with drifts and bad reference pixels, and a reference for their correction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calservice.model.dqflags import PIXEL_FLAGS
from calservice.steps.stage1._refpix_irs2_layout import LENGTH, layout

AXES = {"NRS1": (2, 1), "NRS2": (-2, -1)}
NAMED = ((1, 1, 0b101), (1, 2, 1 << 31), (2, 2, 0b110), (3, 1, 0), (4, 2, 1 | 1 << 10), (4, 1, 1 << 10))
"""Output, parity and mask of bad pairs in the reference."""


def exposure(detector: str, shape: tuple[int, int], ncols: int = 2048, seed: int = 3) -> Any:
    """Return integrations and groups with drifts, bad reference pixels of each kind, and pixels without a value."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(seed)
    whole = (*shape, 3200, ncols)
    drift = rng.normal(0, 30, (*shape, 1, 1)) + rng.normal(0, 4, (*shape, 1, ncols))
    data = rng.normal(0, 6, whole) + drift + rng.uniform(0, 300, whole[2:])
    reference = np.flatnonzero(_reference_rows(detector))
    for n, row in enumerate(rng.choice(reference, 12, replace=False)):
        near = data[n % shape[0], :, row]
        near += (rng.normal(0, 200, ncols), 300, rng.normal(0, 30, ncols) * (np.arange(ncols) > ncols // 2))[n % 3]
    data[:, :, rng.integers(0, 3200, 60), rng.integers(0, ncols, 60)] = 0
    flags = np.where(rng.random(whole[2:]) < 0.01, PIXEL_FLAGS["HOT"], 0).astype(np.uint32)
    flags[rng.random(flags.shape) < 0.01] |= PIXEL_FLAGS["DO_NOT_USE"]
    run = reference[200:218]  # visits all of whose pixels are bad, and one row of science pixels
    for row in (*run, *(run + 20), reference[50] - 1):
        flags[row, 5] |= PIXEL_FLAGS["BAD_REF_PIXEL"]
    model = datamodels.RampModel(data=data.astype(np.float32), pixeldq=flags)
    model.groupdq = rng.integers(0, 8, whole).astype(np.uint8)
    meta = model.meta
    meta.instrument.name, meta.instrument.detector = "NIRSPEC", detector
    meta.subarray.name, meta.subarray.xstart, meta.subarray.ystart = "FULL", 1, 1
    meta.subarray.xsize, meta.subarray.ysize = 2048, 2048
    meta.subarray.fastaxis, meta.subarray.slowaxis = AXES[detector]
    meta.exposure.type, meta.exposure.readpatt, meta.exposure.noutputs = "NRS_IFU", "NRSIRS2RAPID", 5
    meta.exposure.nints, meta.exposure.ngroups = shape
    meta.exposure.nrs_normal, meta.exposure.nrs_reference, meta.exposure.zero_frame = 16, 4, False
    meta.exposure.nframes, meta.exposure.groupgap = 1, 0
    meta.observation.date, meta.observation.time = "2024-01-01", "00:00:00"
    return model


def _reference_rows(detector: str) -> Any:
    where = layout(detector)
    rows = np.zeros(3200, np.bool_)
    rows[where.rows[:, where.reference]] = True
    return rows


def write_reference(path: Path, *, table: Any = NAMED, length: int = 2 * LENGTH) -> Path:
    """Write a ``refpix`` reference with factors that differ at every frequency."""
    from stdatamodels.jwst import datamodels

    rng = np.random.default_rng(1)
    names = [f"{kind}_{n}" for kind in ("alpha", "beta") for n in range(4)]
    factors = np.zeros(length, [(name, "f4") for name in names])
    for name in names:
        factors[name] = rng.normal(0.3 if name.startswith("alpha") else 0.6, 0.2, length)
    model = datamodels.IRS2Model(irs2_table=factors)
    columns = [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")]
    model.dq_table = np.array(list(table), columns)
    model.meta.description, model.meta.author, model.meta.reftype = "synthetic", "test", "refpix"
    model.meta.pedigree, model.meta.useafter = "DUMMY", "2020-01-01T00:00:00"
    model.meta.instrument.name, model.meta.instrument.detector = "NIRSPEC", "NRS1"
    model.save(str(path))
    return path
