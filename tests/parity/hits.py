"""Ramps with hits of cosmic rays, small and large."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.synthetic import Case, flagged_ramps, raw_ramps


def hit_ramps(case: Case, kept: float = 0.2) -> dict[str, Any]:
    """Return ramps with hits of all sizes, NaNs, and flags, of which a share is kept."""
    rng = np.random.default_rng(case.seed + 2000)
    arrays = raw_ramps(case)
    arrays["data"] -= 9000
    arrays["data"][rng.random(case.shape) < 0.002] = np.nan
    arrays |= {name: array for name, array in flagged_ramps(case).items() if name.endswith("dq")}
    arrays["groupdq"][rng.random(case.shape) > kept] = 0
    return arrays


def large_events(case: Case, seed: int) -> dict[str, Any]:
    """Return ramps with hits, snowballs with and without saturated cores, and faint extended emission."""
    rng = np.random.default_rng(seed)
    nints, ngroups, nrows, ncols = case.shape
    data = rng.uniform(2, 50, (nrows, ncols)) * np.arange(1, ngroups + 1)[:, None, None]
    data = data + rng.normal(0, 8, case.shape)
    data += np.cumsum((rng.random(case.shape) < 0.004) * rng.uniform(50, 2000, case.shape), axis=1)
    flags = rng.choice(np.array([0] * 300 + [1, 4], np.uint8), case.shape)
    rows, columns = np.mgrid[:nrows, :ncols]
    for i in range(nints):
        for kind in rng.permutation(["snowball"] * 6 + ["shower"] * 4):
            g, turn = int(rng.integers(1, ngroups)), rng.uniform(0, np.pi)
            y, x = rows - rng.uniform(0, nrows), columns - rng.uniform(0, ncols)
            along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            distance, size = np.hypot(along, across * rng.uniform(1, 1.6)), rng.uniform(2, 14)
            if kind == "shower":
                data[i, g:] += np.where(distance < size, rng.uniform(10, 30), 0)
                continue
            data[i, g:] += np.where(distance < size, 3000 * np.exp(-distance / size), 0)
            flags[i, min(g + int(rng.integers(0, 2)), ngroups) :][:, distance < size * rng.uniform(0, 0.6)] |= 2
    pixels = rng.choice(np.array([0] * 200 + [1, 1 << 31], np.uint32), (nrows, ncols))
    pixels[:, :4] = 1 << 31
    flags[:, :, :, :4] |= 1
    return {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": pixels}
