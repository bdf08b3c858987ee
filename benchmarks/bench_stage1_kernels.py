"""Time the native stage-1 steps beside the official ones, on one thread: each by itself, and all that NIRCam needs.

A full frame of one integration of ten groups by default. Both are timed without file handling:
references and ramps are in memory, and the official steps work in place, as within their pipeline. The
native steps start from 16-bit integers, make new arrays, and include cutting into blocks. Times are processor
seconds, so that a busy machine disturbs them little; both take turns, and the medians of several rounds are told. Of
``jump`` the search is timed. Of all steps together it is also told how much sooner several threads are done than one,
by the clock. Usage::

    python benchmarks/bench_stage1_kernels.py [--size 2048] [--groups 10] [--integrations 1] [--repeat 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.bench_jump import official as official_jump
from benchmarks.compare_engines import settle
from calservice.run.blocks import run_fused
from calservice.run.ready import keep_blocks
from tests.parity import synthetic

STEPS = ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump", "ramp_fit")

AXES = (-1, 2)
"""How the detector lies in the file."""

RATES = [f"{prefix}{r}" for prefix in ("", "int_") for r in ("slope", "dq", "err", "var_poisson", "var_rnoise")]
"""What products are made of."""


def clock() -> float:
    """Return processor seconds of all threads of this process, which others on the machine do not disturb."""
    return time.process_time()


def seconds(action: Callable[[], Any]) -> float:
    """Return the time of an action."""
    start = clock()
    action()
    return clock() - start


def official_action(alias: str, paths: dict[str, Path], model: Any) -> Callable[[], Any]:
    """Return a call of what an official step computes, with its references already in memory."""
    from jwst.dq_init.dq_initialization import do_dqinit
    from jwst.linearity import linearity
    from jwst.refpix.reference_pixels import correct_model
    from jwst.saturation.saturation import flag_saturation
    from jwst.superbias import bias_sub
    from stcal.dark_current import dark_sub
    from stcal.ramp_fitting.ramp_fit import ramp_fit
    from stdatamodels.jwst import datamodels

    def opened(kind: str) -> Any:
        reference = datamodels.open(str(paths[kind]))
        for name in ("data", "dq", "coeffs"):
            if reference.hasattr(name):
                setattr(reference, name, np.array(getattr(reference, name)))
        return reference

    if alias == "dq_init":
        mask = opened("mask")
        return lambda: do_dqinit(model, mask)
    if alias == "saturation":
        limits, bias = opened("saturation"), opened("superbias")
        return lambda: flag_saturation(model, limits, 1, True, bias_model=bias)
    if alias == "superbias":
        bias = opened("superbias")
        return lambda: bias_sub.do_correction(model, bias)
    if alias == "refpix":
        medians = dict.fromkeys(("sirs_kernel_model", "sigreject", "gaussmooth", "halfwidth"))
        return lambda: correct_model(model, True, True, 11, 1.0, True, {"refpix_algorithm": "median"} | medians, 3.0)
    if alias == "linearity":
        coefficients = opened("linearity")
        return lambda: linearity.do_correction(model, coefficients)
    if alias == "dark_current":
        dark = opened("dark")
        return lambda: dark_sub.do_correction(model, dark, None)
    noise, gain = opened("readnoise").data, opened("gain").data
    flags = datamodels.dqflags.pixel
    return lambda: ramp_fit(model, False, noise, gain, "OLS_C", "optimal", "1", flags, suppress_one_group=True)


def official_seconds(alias: str, case: synthetic.Case, model: Any, paths: dict[str, Path]) -> float:
    """Return the time of what an official step computes on a copy of the input."""
    if alias == "jump":
        return float(official_jump(case, {n: getattr(model, n) for n in ("data", "groupdq", "pixeldq")}, paths, {})[0])
    return seconds(official_action(alias, paths, model.copy()))


def sooner(case: synthetic.Case, paths: dict[str, Path], threads: int, repeat: int) -> float:
    """Return how many times as long all steps take on one thread as on several, by the clock: the median of several."""
    source = synthetic.raw_ramps(case, realistic=True)
    source["data"] = source["data"].astype(">u2")
    info = replace(case.info, fastaxis=AXES[0], slowaxis=AXES[1])
    bound = [synthetic.bind(alias, case, paths, {}) for alias in STEPS]

    def elapsed(count: int) -> float:
        begun = time.monotonic()
        run_fused(bound, source, info, outputs=RATES, threads=count)
        return time.monotonic() - begun

    return statistics.median(elapsed(1) / elapsed(threads) for _ in range(repeat))


def taken(case: synthetic.Case, paths: dict[str, Path]) -> dict[str, tuple[float, float]]:
    """Return the times of each step, and of all of them, by the official package and natively, which take turns."""
    source = synthetic.raw_ramps(case, realistic=True)
    source["data"] = source["data"].astype(">u2")
    model = synthetic.ramp_model(case, {"data": source["data"].astype(np.float32)})
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = AXES
    info = replace(case.info, fastaxis=AXES[0], slowaxis=AXES[1])
    state: dict[str, Any] = dict(source)
    bound = [synthetic.bind(alias, case, paths, {}) for alias in STEPS]
    made: dict[str, tuple[float, float]] = {}
    for step, alias in zip(bound, STEPS, strict=True):
        theirs = official_seconds(alias, case, model, paths)
        model = synthetic.run_official(alias, model, paths, {})
        made[alias] = theirs, seconds(lambda step=step, given=dict(state): run_fused([step], given, info))
        state |= run_fused([step], state, info)
    total = sum(theirs for theirs, _ in made.values())
    made["fused"] = total, seconds(lambda: run_fused(bound, dict(source), info))
    made["rates only"] = total, seconds(lambda: run_fused(bound, source, info, outputs=RATES))
    return made


def main() -> None:
    """Print a table of times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--integrations", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    keep_blocks()  # as workers do
    size = (options.size, options.size)
    case = synthetic.Case(shape=(options.integrations, options.groups, *size))
    with tempfile.TemporaryDirectory() as folder:
        paths = synthetic.write_references(
            Path(folder), case, size=size, dark_readout=(1, 0, options.groups), realistic=True
        )
        settle(paths["readnoise"])
        rounds = [taken(case, paths) for _ in range(options.repeat + 1)][1:]  # in the first one much is compiled
        more = sooner(case, paths, options.threads, 4 * options.repeat)
    print(f"{'step':14}{'official s':>12}{'native s':>12}{'ratio':>8}")
    for name in rounds[0]:
        theirs, ours = (statistics.median(one[name][k] for one in rounds) for k in range(2))
        ratio = statistics.median(one[name][0] / one[name][1] for one in rounds)
        print(f"{name:14}{theirs:12.3f}{ours:12.3f}{ratio:8.1f}")
    print(f"rates only, {options.threads} threads: {more:.2f} times as fast as one by the clock")


if __name__ == "__main__":
    main()
