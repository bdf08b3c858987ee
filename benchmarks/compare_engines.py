"""Wall time of calwebb_detector1 by either engine, on the same simulated NIRCam exposure.

Both run as `calservice submit` runs them, in a process of their own with files in and files out: seconds of the stage
(imports excluded) are those of the manifest, seconds of the command (imports, planning and the rest included) are
measured from outside. Runs of the two engines alternate; one of each on a small exposure comes first and is not
counted. Products are compared, too: the largest difference of rates beside their error. Usage::

    python benchmarks/compare_engines.py [--groups 10] [--subarray FULL] [--repeat 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from calservice.simulate import Simulation, simulate

ENGINES = ("jwst", "auto")


def run(made: Simulation, engine: str, output: Path, threads: int) -> tuple[float, float, int]:
    """Run stage 1 and return the seconds of the stage, those of the command, and peak memory."""
    [uncal] = made.data.glob("*_uncal.fits")
    command = [Path(sys.executable).with_name("calservice"), "submit", uncal, "--level", "1", "--engine", engine]
    env = {**os.environ, "CRDS_PATH": str(made.crds), "CRDS_CONTEXT": made.context}
    begun = time.monotonic()
    subprocess.run(
        [*map(str, command), "--output", str(output), "--threads", str(threads), "--force"],
        env=env, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    whole = time.monotonic() - begun
    [path] = output.glob("*.manifest.json")
    manifest = json.loads(path.read_text())
    return manifest["seconds"], whole, manifest["peak_memory"]


def compared(folder: Path) -> str:
    """Return how far the rates of both engines lie apart."""
    from astropy.io import fits

    found: dict[str, dict[str, Any]] = {}
    for engine in ENGINES:
        [path] = (folder / engine).glob("*_rate.fits")
        with fits.open(path) as hdus:
            found[engine] = {name: np.array(hdus[name].data) for name in ("SCI", "ERR", "DQ")}
    one, other = (found[engine] for engine in ENGINES)
    off = np.nanmax(np.abs(one["SCI"] - other["SCI"]) / one["ERR"])
    return (
        f"largest difference of rates {off:.2g} of their error; {np.sum(one['DQ'] != other['DQ'])} pixels of other DQ"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10)
    parser.add_argument("--subarray", default="FULL")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    results: dict[str, list[tuple[float, float, int]]] = {engine: [] for engine in ENGINES}
    with tempfile.TemporaryDirectory(prefix="engines-") as place:
        folder = Path(place)
        small = simulate(folder / "small", modes=("nircam-image",), exposures=1, groups=4)
        made = simulate(
            folder / "made", modes=("nircam-image",), exposures=1, groups=options.groups, subarray=options.subarray
        )
        for engine in ENGINES:
            run(small, engine, folder / f"small-{engine}", options.threads)
        for _ in range(options.repeat):
            for engine in ENGINES:
                results[engine].append(run(made, engine, folder / engine, options.threads))
                stage, whole, peak = results[engine][-1]
                print(
                    f"{engine:>6}: stage {stage:6.1f} s, command {whole:6.1f} s, peak {peak / 2**20:.0f} MiB",
                    flush=True,
                )
        print(compared(folder))
    for index, what in enumerate(("imports excluded (stage)", "imports included (command)")):
        jwst, auto = (statistics.median(r[index] for r in results[engine]) for engine in ENGINES)
        print(f"{what}: jwst {jwst:.1f} s, auto {auto:.1f} s, ratio {jwst / auto:.2f}")


if __name__ == "__main__":
    main()
