"""Time the likelihood fit, the optional product of ramp fitting, emicorr and persistence beside the official steps.

On one thread, without file handling: ramps and references are in memory. The native time includes cutting into blocks.
NIRCam has one integration of ten groups, of as many of its 2048 rows as asked for; MIRI two of ten, of its full frame
and of a subarray. Times are processor seconds, the median of several. Usage::

    python benchmarks/bench_fits.py [--repeat 3] [--rows 2048] [--only likely] [--only persistence]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from calservice.model.step import Reference
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE
from calservice.steps.stage1._emicorr_case import emi_arrays
from tests.parity import synthetic

Pair = tuple[Callable[[], Any], Callable[[], Any]]
WAVE = np.sin(np.arange(256) * np.pi / 128) + np.sin(np.arange(256) * np.pi / 64 + 1) / 3
CLOCKS = {"FULL_FAST": (271, 277504), "SUB64": (28, 8512)}


def seconds(action: Callable[[], Any], repeat: int) -> float:
    """Return the median time of an action, after one run that is not counted."""
    taken = []
    for _ in range(repeat + 1):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def ramps(case: synthetic.Case) -> dict[str, Any]:
    """Return faint ramps with Poisson noise and read noise, a hundredth of them hit, bright ones saturated."""
    rng = np.random.default_rng(case.seed)
    shape = case.shape
    rate = np.exp(rng.normal(3, 1, shape[2:]))
    rate[rng.random(rate.shape) < 0.002] = 15000
    data, flags = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    for i in range(shape[0]):
        level = np.zeros(shape[2:])
        for g in range(shape[1]):
            hits = rng.random(rate.shape) < 0.001
            level += rng.poisson(rate * 2) / 2 + hits * rng.uniform(50, 10000, rate.shape)
            data[i, g] = level + rng.normal(0, 8, rate.shape)
            flags[i, g][hits] |= 4
    flags[data > 60000] |= 2
    return {"data": data, "groupdq": flags, "pixeldq": np.zeros(shape[2:], np.uint32)}


def fits(rows: int, folder: Path, **parameters: Any) -> Pair:
    """Return calls of the native and the official fit."""
    from stcal.ramp_fitting.ramp_fit import ramp_fit
    from stdatamodels.jwst import datamodels

    case = synthetic.Case(shape=(1, 10, rows, 2048))
    arrays = ramps(case)
    if parameters.get("algorithm") == "LIKELY":
        arrays["groupdq"] &= ~np.uint8(4)  # it looks for jumps by itself
    size = case.shape[2:]
    paths = synthetic.write_references(folder, case, size=size, kinds=("gain", "readnoise"), realistic=True)
    bound = [synthetic.bind("ramp_fit", case, paths, parameters)]
    gain, noise = (bound[0].references[kind]["data"] for kind in ("gain", "readnoise"))

    def theirs() -> Any:
        model = synthetic.ramp_model(case, arrays)
        algorithm, flags = bound[0].params.algorithm, datamodels.dqflags.pixel
        return ramp_fit(model, True, noise.copy(), gain.copy(), algorithm, "optimal", "1", flags, True)

    return lambda: run_fused(bound, arrays, case.info), theirs


def interference(subarray: str, shape: tuple[int, int, int, int], algorithm: str) -> Pair:
    """Return calls of the native and the official correction of one frequency."""
    from jwst.emicorr.emicorr import apply_emicorr
    from stdatamodels.jwst.datamodels import EmiModel

    case = synthetic.Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=shape, readpatt="FASTR1", subarray=subarray)
    name, frequency = ("Hz10", 10.039216) if subarray == "FULL" else ("Hz390", 390.625)
    tree: dict[str, Any] = {
        "frequencies": {name: {"frequency": frequency, "phase_amplitudes": WAVE}},
        "subarray_cases": {
            kind: {"rowclocks": row, "frameclocks": frame, "freqs": {"FAST": [name]}}
            for kind, (row, frame) in CLOCKS.items()
        },
    }
    arrays = ramps(case)
    model = synthetic.ramp_model(case, arrays)
    model.meta.subarray.name, model.meta.exposure.readpatt, model.meta.exposure.nsamples = subarray, "FASTR1", 1
    reference = EmiModel()
    reference.frequencies, reference.subarray_cases = tree["frequencies"], tree["subarray_cases"]
    step = NATIVE["emicorr"]
    loaded = {"emicorr": Reference(emi_arrays(tree), {})}
    bound = [BoundStep(step, step.params(algorithm=algorithm), loaded)]
    info = exposure_info(model)
    return lambda: run_fused(bound, arrays, info), lambda: apply_emicorr(model.copy(), reference, algorithm=algorithm)


def windows(rows: int) -> Pair:
    """Return calls of the native and the official flagging of persistence."""
    from jwst.persistence.persistence import DataSet

    case = synthetic.Case(shape=(1, 10, rows, 2048))
    arrays = ramps(case)
    model = synthetic.ramp_model(case, arrays)
    model.meta.exposure.start_time, model.meta.exposure.integration_time = 60000.0, 100.0
    step = NATIVE["persistence"]
    bound = [BoundStep(step, step.params(persistence_time=1000, dn_threshold=30000.0), {})]

    def theirs() -> Any:
        return DataSet(model, None, 1000, 30000.0, np.zeros(case.shape[2:]), False).do_all()

    return lambda: run_fused(bound, arrays, case.info), theirs


def main() -> None:
    """Print a table of times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    full, small = (2, 10, 1024, 1032), (2, 10, 64, 72)
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Callable[[], Pair]] = {
            "optional": lambda: fits(options.rows, Path(folder), save_opt=True),
            "likely": lambda: fits(options.rows, Path(folder), save_opt=True, algorithm="LIKELY"),
            "joint": lambda: interference("FULL", full, "joint"),
            "joint, SUB64": lambda: interference("SUB64", small, "joint"),
            "sequential": lambda: interference("FULL", full, "sequential"),
            "sequential, SUB64": lambda: interference("SUB64", small, "sequential"),
            "persistence": lambda: windows(options.rows),
        }
        print(f"{'what':20}{'official s':>12}{'native s':>12}{'ratio':>8}")
        for name, pair in made.items():
            if options.only and name not in options.only:
                continue
            native, official = pair()
            ours, theirs = seconds(native, options.repeat), seconds(official, options.repeat)
            print(f"{name:20}{theirs:12.3f}{ours:12.3f}{theirs / ours:8.1f}", flush=True)


if __name__ == "__main__":
    main()
