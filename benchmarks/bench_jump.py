"""Time the native jump step beside the official one, on one thread, and compare their flags.

A NIRCam full frame of one integration of ten groups, and MIRI's of two integrations of fifty, as they come to the
step: dark-subtracted, most pixels faint, a few hit. References and ramps are in memory, files are not handled. The
native time includes cutting into blocks. Times are processor seconds, the median of several. Usage::

    python benchmarks/bench_jump.py [--repeat 3] [--scale 1] [--large-events] [--exposure MIRI]

``--scale 4`` takes a quarter of the rows and columns; ``--large-events`` looks for snowballs and showers as well.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from calservice.run.blocks import run_fused
from tests.parity import synthetic

CASES = {
    "NIRCam": (synthetic.Case(shape=(1, 10, 2048, 2048)), {"expand_large_events": True}),
    "MIRI": (
        synthetic.Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 50, 1024, 1032)),
        {"find_showers": True},
    ),
}


def ramps(case: synthetic.Case, noise: Any) -> dict[str, Any]:
    """Return ramps in DN above the bias, a thousandth of the pixels hit every 10 s, saturated groups flagged.

    ``noise`` is the standard deviation of one read, in DN.
    """
    rng = np.random.default_rng(case.seed)
    shape = case.shape
    rate = np.exp(rng.normal(3, 1, shape[2:])).astype(np.float32)
    rate[rng.random(rate.shape) < 0.002] = 15000
    data = np.empty(shape, np.float32)
    chance = 0.0003 if case.instrument == "MIRI" else 0.001
    for i in range(shape[0]):
        level = np.zeros(shape[2:], np.float32)
        for g in range(shape[1]):
            level += rng.poisson(rate * 2) / 2
            hits = rng.random(rate.shape) < chance
            level += hits * rng.uniform(50, 10000, rate.shape)
            data[i, g] = level + rng.normal(0, 1, rate.shape) * noise
    flags = ((data > 60000) * 2).astype(np.uint8)
    pixels = np.zeros(shape[2:], np.uint32)
    edge = np.ones(shape[2:], bool)
    edge[4:-4, 4:-4] = False
    pixels[edge] |= np.uint32(1 | 1 << 31)
    flags[:, :, edge] |= 1
    return {"data": data, "groupdq": flags, "pixeldq": pixels}


def official(case: synthetic.Case, arrays: Mapping[str, Any], paths: Any, parameters: Any) -> tuple[float, Any]:
    """Return the time that the official step takes in memory, and the model that it makes."""
    from jwst.jump import jump_step
    from stcal.jump.jump import detect_jumps_data

    taken = []

    def timed(job: Any) -> Any:
        start = time.process_time()
        found = detect_jumps_data(job)
        taken.append(time.process_time() - start)
        return found

    jump_step.detect_jumps_data = timed
    model = synthetic.run_official("jump", synthetic.ramp_model(case, arrays), paths, parameters)
    return taken[0], model


def main() -> None:
    """Print a table of times, ratios and differing flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--large-events", action="store_true")
    parser.add_argument("--exposure", choices=CASES, action="append")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"{'exposure':24}{'official s':>12}{'native s':>12}{'ratio':>8}{'differing':>12}{'of':>12}")
    for name in options.exposure or CASES:
        full, events = CASES[name]
        nints, ngroups, nrows, ncols = full.shape
        size = (nrows // options.scale, ncols // options.scale)
        case = replace(full, shape=(nints, ngroups, *size))
        parameters = events if options.large_events else {}
        with tempfile.TemporaryDirectory() as folder:
            kinds = ("gain", "readnoise")
            paths = synthetic.write_references(Path(folder), case, size=size, kinds=kinds, realistic=True)
            bound = [synthetic.bind("jump", case, paths, parameters)]
            noise = bound[0].references["readnoise"]["data"] / np.sqrt(2)
            arrays = ramps(case, np.where(np.isnan(noise), 10, noise))
            made = run_fused(bound, arrays, case.info)
            ours, theirs = [], []
            for _ in range(options.repeat):
                start = time.process_time()
                made = run_fused(bound, arrays, case.info)
                ours.append(time.process_time() - start)
                seconds, model = official(case, arrays, paths, parameters)
                theirs.append(seconds)
            differing = int(np.count_nonzero(made["groupdq"] != model.groupdq))
        mine, other = statistics.median(ours), statistics.median(theirs)
        label = f"{name} {'x'.join(map(str, case.shape))}"
        print(f"{label:24}{other:12.3f}{mine:12.3f}{other / mine:8.1f}{differing:12}{model.groupdq.size:12}")


if __name__ == "__main__":
    main()
