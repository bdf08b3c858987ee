"""Stage 1 by either engine on the same synthetic exposures: wall time, memory, and whether the products are the same.

Four exposures: NIRCam full frame, 1 integration of 10 groups; MIRI full frame, 2 of 50; NIRSpec IRS2, 1 of 10; a time
series of NIRCam SUBGRISM256, 200 of 5. Both engines run as `calservice run` runs them, in a process of their own with
files in and files out, in turns: seconds of the stage (imports excluded) and its peak memory are those of the manifest,
seconds of the command (imports, planning and the rest included) are measured from outside. Medians. Usage::

    python benchmarks/compare_engines.py [nircam miri irs2 tso] [--repeat 5] [--threads 1 2] [--official 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calservice.products.compare import compare_places
from tests.parity.modes import Mode, Prepared, prepared
from tests.parity.synthetic import Case

MODES = {
    "nircam": Mode("NIRCam full frame, 1 x 10", Case(shape=(1, 10, 2048, 2048)), axes=(-1, 2)),
    "miri": Mode(
        "MIRI full frame, 2 x 50",
        Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 50, 1024, 1032)),
        readpatt="FASTR1",
        repeated=2,
    ),
    "irs2": Mode(
        "NIRSpec IRS2, 1 x 10",
        Case("NIRSPEC", "NRS1", "NRS_MSASPEC", shape=(1, 10, 3200, 2048)),
        readpatt="NRSIRS2RAPID",
        axes=(2, 1),
    ),
    "tso": Mode(
        "NIRCam SUBGRISM256, 200 x 5",
        Case("NIRCAM", "NRCALONG", "NRC_TSGRISM", shape=(200, 5, 256, 2048)),
        subarray="SUBGRISM256",
        axes=(-1, 2),
        more={"visit.tsovisit": True},
        repeated=50,
    ),
}


def timed(ready: Prepared, engine: str, out: Path, threads: int) -> tuple[float, float, float]:
    """Return the seconds of the stage, those of the command, and peak memory in GiB."""
    begun = time.monotonic()
    manifest = ready.run(engine, out, "--threads", str(threads))
    return manifest["seconds"], time.monotonic() - begun, manifest["peak_memory"] / 2**30


def measure(mode: Mode, folder: Path, options: Any) -> None:
    """Run a mode by both engines and print the figures."""
    ready = prepared(mode, folder)
    ways = [("jwst", 1), *(("native", threads) for threads in options.threads)]
    results: dict[tuple[str, int], list[tuple[float, float, float]]] = {way: [] for way in ways}
    for turn in range(options.repeat):
        for way in ways:
            if way[0] != "jwst" or turn < options.official:
                results[way].append(timed(ready, way[0], folder / way[0], way[1]))
                stage, command, peak = results[way][-1]
                print(f"  {way}: stage {stage:.1f} s, command {command:.1f} s, peak {peak:.2f} GiB", flush=True)
    same = compare_places(str(folder / "native"), str(folder / "jwst")).same
    medians = {
        way: [statistics.median(values) for values in zip(*found, strict=True)] for way, found in results.items()
    }
    official = medians["jwst", 1]
    print(f"{mode.name}: products {'the same' if same else 'DIFFERENT'}")
    for way, (stage, command, peak) in medians.items():
        ratios = " ".join(f"{b / a:.1f}x" for a, b in zip((stage, command, peak), official, strict=True))
        print(
            f"  {way[0]}, {way[1]} threads: {stage:.1f} s, {command:.1f} s, {peak:.2f} GiB; official / this: {ratios}"
        )


def main() -> None:
    """Run the wanted modes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", choices=(*MODES, []), default=[], help="[default: all]")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--official", type=int, default=5, help="times that the official engine runs, at most")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options: Any = parser.parse_args()
    for name in options.modes or MODES:
        with tempfile.TemporaryDirectory(prefix="engines-") as place:
            measure(MODES[name], Path(place), options)


if __name__ == "__main__":
    main()
