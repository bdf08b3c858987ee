"""Time the native stage-1 steps beside the official ones, on one thread.

A NIRCam full frame of one integration of ten groups by default. Both are timed without file handling:
references and ramps are in memory, and the official steps work in place, as within their pipeline. The
native steps start from 16-bit integers, make new arrays, and include cutting into blocks. Times are processor
seconds, so that a busy machine disturbs them little. Usage::

    python benchmarks/bench_stage1_kernels.py [--size 2048] [--groups 10] [--repeat 3]
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
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from calservice.run.blocks import run_fused
from tests.parity import synthetic

STEPS = ("dq_init", "saturation", "superbias", "linearity", "dark_current", "ramp_fit")


def clock() -> float:
    """Return processor seconds of all threads of this process, which others on the machine do not disturb."""
    return time.process_time()


def seconds(action: Callable[[], Any], repeat: int) -> float:
    """Return the median time of an action, after one run that is not counted."""
    action()
    taken = []
    for _ in range(repeat):
        start = clock()
        action()
        taken.append(clock() - start)
    return statistics.median(taken)


def official_action(alias: str, paths: dict[str, Path], model: Any) -> Callable[[], Any]:
    """Return a call of what an official step computes, with its references already in memory."""
    from jwst.dq_init.dq_initialization import do_dqinit
    from jwst.linearity import linearity
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
    if alias == "linearity":
        coefficients = opened("linearity")
        return lambda: linearity.do_correction(model, coefficients)
    if alias == "dark_current":
        dark = opened("dark")
        return lambda: dark_sub.do_correction(model, dark, None)
    noise, gain = opened("readnoise").data, opened("gain").data
    flags = datamodels.dqflags.pixel
    return lambda: ramp_fit(model, False, noise, gain, "OLS_C", "optimal", "1", flags, suppress_one_group=True)


def official_seconds(alias: str, model: Any, paths: dict[str, Path], repeat: int) -> float:
    """Return the median time of what an official step computes on a copy of the input."""
    taken = []
    for _ in range(repeat + 1):
        action = official_action(alias, paths, model.copy())
        start = clock()
        action()
        taken.append(clock() - start)
    return statistics.median(taken[1:])


def main() -> None:
    """Print a table of times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    size = (options.size, options.size)
    case = synthetic.Case(shape=(1, options.groups, *size))
    with tempfile.TemporaryDirectory() as folder:
        paths = synthetic.write_references(
            Path(folder), case, size=size, dark_readout=(1, 0, options.groups), realistic=True
        )
        source = synthetic.raw_ramps(case, realistic=True)
        source["data"] = source["data"].astype(">u2")
        model = synthetic.ramp_model(case, {"data": source["data"].astype(np.float32)})
        state: dict[str, Any] = dict(source)
        totals = [0.0, 0.0, 0.0]
        print(f"{'step':14}{'official s':>12}{'native s':>12}{'ratio':>8}")
        bound = [synthetic.bind(alias, case, paths, {}) for alias in STEPS]

        def run(steps: Any, arrays: dict[str, Any]) -> dict[str, Any]:
            return run_fused(steps, arrays, case.info)

        for n, alias in enumerate(STEPS):
            theirs = official_seconds(alias, model, paths, options.repeat)
            model = synthetic.run_official(alias, model, paths, {})
            step, given = [bound[n]], dict(state)
            ours = seconds(lambda step=step, given=given: run(step, given), options.repeat)
            state |= run(step, state)
            print(f"{alias:14}{theirs:12.3f}{ours:12.3f}{theirs / ours:8.1f}")
            totals[0] += theirs
            totals[1] += theirs if alias != "ramp_fit" else 0.0
        for label, steps, theirs in (
            ("up to dark", bound[:-1], totals[1]),
            ("all", bound, totals[0]),
        ):
            ours = seconds(lambda steps=steps: run(steps, dict(source)), options.repeat)
            print(f"fused {label:12}{theirs:8.3f}{ours:12.3f}{theirs / ours:8.1f}")
        rates = ("slope", "dq", "err", "var_poisson", "var_rnoise")
        ours = seconds(
            lambda: run_fused(bound, source, case.info, outputs=[*rates, *(f"int_{r}" for r in rates)]),
            options.repeat,
        )
        print(f"{'fused, rates only':18}{totals[0]:8.3f}{ours:12.3f}{totals[0] / ours:8.1f}")


if __name__ == "__main__":
    main()
