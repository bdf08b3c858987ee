"""Time the native flicker noise cleaning and picture frame correction beside the official ones, on one thread.

Exposures are as they come to the steps, references and ramps in memory; files are not handled, apart from references of
the official draft rates. The native time includes cutting into blocks and the draft rates. Times are processor seconds,
the median of several. Usage::

    python benchmarks/bench_flicker_noise.py [--repeat 3] [--groups 10] [--case NAME ...]
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
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from calservice.model.step import Reference
from calservice.run import models
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.steps.registry import NATIVE
from tests.parity import synthetic

NIRCAM = synthetic.Case(shape=(1, 10, 2048, 2048))
NIRSPEC = synthetic.Case("NIRSPEC", "NRS1", "NRS_IFU", shape=(1, 10, 2048, 2048))
TIME_SERIES = synthetic.Case("NIRSPEC", "NRS1", "NRS_BRIGHTOBJ", shape=(4, 10, 32, 2048))
MIRI = synthetic.Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(1, 10, 1024, 1032))
FLICKER, FRAME = "clean_flicker_noise", "picture_frame"
CASES: dict[str, tuple[synthetic.Case, str, int, dict[str, Any]]] = {
    "median": (NIRCAM, FLICKER, 2, {}),
    "by-channel": (NIRCAM, FLICKER, 2, {"fit_by_channel": True}),
    "model": (NIRCAM, FLICKER, 2, {"background_method": "model"}),
    "columns": (NIRSPEC, FLICKER, 1, {}),
    "miri": (MIRI, FLICKER, 2, {}),
    "fft": (NIRSPEC, FLICKER, 1, {"fit_method": "fft"}),
    "fft-subarray": (TIME_SERIES, FLICKER, 1, {"fit_method": "fft"}),
    "picture-frame": (NIRSPEC, FRAME, 1, {"mask_science_regions": False}),
}


def ramps(case: synthetic.Case, slowaxis: int) -> dict[str, Any]:
    """Return ramps of a smooth background, a few bright pixels, lines of noise, and hits."""
    rng = np.random.default_rng(5)
    nints, ngroups, nrows, ncols = case.shape
    rate = np.linspace(1, 2, ncols, dtype=np.float32) + np.zeros((nrows, 1), np.float32)
    rate[rng.random(rate.shape) < 0.02] *= 40
    data = np.empty(case.shape, np.float32)
    flags = np.zeros(case.shape, np.uint8)
    for i in range(nints):
        level = np.full((nrows, ncols), 300, np.float32)
        for g in range(ngroups):
            level += rng.poisson(rate * 20) / np.float32(2)
            hits = rng.random(rate.shape) < 0.001
            level[hits] += 500
            flags[i, g, hits] = 4
            lines = (nrows, 1) if slowaxis == 2 else (1, ncols)
            data[i, g] = level + rng.normal(0, 5, rate.shape) + rng.normal(0, 3, lines)
    return {"data": data, "groupdq": flags, "pixeldq": np.zeros((nrows, ncols), np.uint32)}


def main() -> None:
    """Print a table of times, ratios and largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--native-only", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(f"{'case':16}{'exposure':22}{'official s':>12}{'native s':>12}{'ratio':>8}{'beyond parity':>15}")
    for name in options.case or CASES:
        full, alias, slowaxis, parameters = CASES[name]
        case = replace(full, shape=(full.shape[0], options.groups, *full.shape[2:]))
        with tempfile.TemporaryDirectory() as folder:
            measure(name, case, alias, slowaxis, parameters, Path(folder), options)


def measure(
    name: str, case: synthetic.Case, alias: str, slowaxis: int, parameters: Any, folder: Path, options: Any
) -> None:
    """Print a row of the table."""
    import importlib

    from jwst.ramp_fitting import RampFitStep
    from stdatamodels.jwst import datamodels

    size = case.shape[2:]
    paths = synthetic.write_references(folder, case, size=size, kinds=("gain", "readnoise"), realistic=True)
    RampFitStep.get_reference_file = lambda self, model, kind: str(paths[kind])
    arrays = ramps(case, slowaxis)
    model = synthetic.ramp_model(case, arrays)
    model.meta.subarray.name = "FULL" if size[0] == size[1] or case.instrument == "MIRI" else "SUB2048"
    model.meta.subarray.slowaxis, model.meta.subarray.fastaxis = slowaxis, 3 - slowaxis
    frame = datamodels.PictureFrameModel(data=np.random.default_rng(1).normal(1, 0.1, size).astype(np.float32))
    frame.save(str(folder / "pictureframe.fits"))
    paths["pictureframe"] = folder / "pictureframe.fits"
    step = NATIVE[alias]
    loaded: dict[str, Reference] = {}
    for need in step.references:
        if need.reftype in paths:
            loaded[need.reftype] = models.load_reference(paths[need.reftype], need)
    bound = [BoundStep(step, step.params(**parameters), loaded)]
    info = models.exposure_info(model)
    made = run_fused(bound, arrays, info)
    ours, theirs = [], []
    for _ in range(options.repeat):
        start = time.process_time()
        made = run_fused(bound, arrays, info)
        ours.append(time.process_time() - start)
        if options.native_only:
            continue
        module, cls = step.official.rsplit(".", 1)
        official = getattr(importlib.import_module(module), cls)()
        for kind in official.reference_file_types:
            setattr(official, f"override_{kind}", str(paths.get(kind, "N/A")))
        for key, value in parameters.items():
            setattr(official, key, value)
        start = time.process_time()
        result = official.process(model)
        theirs.append(time.process_time() - start)
    mine = statistics.median(ours)
    shape = "x".join(map(str, case.shape))
    if options.native_only:
        print(f"{name:16}{shape:22}{'':12}{mine:12.3f}", flush=True)
        return
    other = statistics.median(theirs)
    beyond = ~np.isclose(made["data"], result.data, rtol=1e-5, atol=1e-7, equal_nan=True)
    print(f"{name:16}{shape:22}{other:12.3f}{mine:12.3f}{other / mine:8.1f}{np.count_nonzero(beyond):15}", flush=True)


if __name__ == "__main__":
    main()
