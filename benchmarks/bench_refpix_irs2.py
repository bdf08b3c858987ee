"""Time the native reference pixel correction of IRS2 frames beside the official one, on one thread, and compare them.

One integration of ten groups of 3200 x 2048 by default. References and ramps are in memory, files are not handled; the
native time includes the copy that blocks are. ``--transforms`` also times one Fourier transform of a frame's time
series by NumPy, SciPy and here: the official step does eighteen of them for each group; eleven are needed, and four
that make use of what reference pixels have in common. Times are processor seconds, the median of several. Usage::

    python benchmarks/bench_refpix_irs2.py [--groups 10] [--repeat 3] [--transforms]
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
import scipy.fft

from calservice.references.load import load_reference
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE
from tests.parity import irs2

STEP = NATIVE["refpix"]


def median_of(action: Callable[[], Any], repeat: int, prepare: Callable[[], Any] = lambda: None) -> tuple[float, Any]:
    """Return the median time of an action, and what it made."""
    taken = []
    for _ in range(repeat):
        prepare()
        start = time.process_time()
        made = action()
        taken.append(time.process_time() - start)
    return statistics.median(taken), made


def corrections(groups: int, repeat: int) -> None:
    """Print the times of both engines."""
    from jwst.refpix import RefPixStep

    with tempfile.TemporaryDirectory() as folder:
        path = irs2.write_reference(Path(folder) / "refpix.fits")
        model = irs2.exposure("NRS1", (1, groups))
        arrays = {name: np.array(getattr(model, name)) for name in ("data", "pixeldq", "groupdq")}
        bound = BoundStep(STEP, STEP.params(), {"refpix": load_reference(path, STEP.references[0])})
        info = exposure_info(model)
        run_fused([bound], arrays, info)
        ours, made = median_of(lambda: run_fused([bound], arrays, info), repeat)
        official = RefPixStep(override_refpix=str(path))

        def restore() -> None:
            for name, array in arrays.items():
                setattr(model, name, array.copy())

        theirs, result = median_of(lambda: official.process(model), max(1, repeat // 2), restore)
    same = np.mean(made["data"] == result.data)
    print(f"1x{groups}: official {theirs:.2f} s, native {ours:.2f} s, ratio {theirs / ours:.1f}; {same:.6%} equal")


def transforms(repeat: int) -> None:
    """Print the times of single transforms."""
    from calservice.steps.stage1._refpix_irs2_fft_kernels import spectrum
    from calservice.steps.stage1._refpix_irs2_inverse_kernels import real_inverse
    from calservice.steps.stage1._refpix_irs2_layout import LENGTH
    from calservice.steps.stage1._refpix_irs2_signals import Buffers

    series = np.random.default_rng(1).normal(0, 5, LENGTH).astype(np.float32)
    transformed = np.fft.fft(series)
    buffers = Buffers()
    work, out = buffers.work, buffers.inverse.reshape(-1)
    actions = {
        "forward, numpy": lambda: np.fft.fft(series),
        "forward, scipy (float64, real)": lambda: scipy.fft.rfft(series.astype(np.float64)),
        "forward, native": lambda: spectrum(series, work, buffers.own),
        "inverse, numpy": lambda: np.fft.ifft(transformed),
        "inverse, scipy": lambda: scipy.fft.ifft(transformed),
        "inverse, native": lambda: real_inverse(buffers.own, LENGTH, work.values, out),
    }
    for name, action in actions.items():
        action()
        print(f"{name:32}{1000 * median_of(action, repeat + 2)[0]:8.1f} ms")


def main() -> None:
    """Print times, ratio and share of equal pixels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--transforms", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.transforms:
        transforms(options.repeat)
    corrections(options.groups, options.repeat)


if __name__ == "__main__":
    main()
