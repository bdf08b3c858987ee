"""Stage 1 by either engine on the same synthetic exposures: wall time, memory, and whether the products are the same.

Four exposures: NIRCam full frame, 1 integration of 10 groups; MIRI full frame, 2 of 50; NIRSpec IRS2, 1 of 10; a time
series of NIRCam SUBGRISM256, 200 of 5. Files in, files out, each exposure in a process of its own, as a worker runs
it, into an empty folder. Engines take turns. Told are medians of

- warm: the whole task in a worker that has run one before, so without imports, but for its start with all that a
  worker does;
- peak memory of that process, as the kernel counted it;
- command: ``calservice run`` from start to end, with imports and planning;

the first task of a worker, once, and how much more two exposures at the same time get done, each on one thread of its
own, than one: what the memory of the machine leaves of a second processor, which two threads cannot surpass by much.
Usage::

    python benchmarks/compare_engines.py [MODE ...] [--repeat 5] [--threads 1 2] [--official 5] [--commands 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from astropy.io import fits

from calservice.products.compare import compare_places
from tests.parity.modes import Mode, Prepared, prepared
from tests.parity.synthetic import Case

_NOISE = 8 * 2**0.5
"""Of the difference of two reads, in DN."""

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


@dataclass(frozen=True)
class Measured:
    """Seconds and GiB of one engine on a number of threads."""

    first: float
    turns: Sequence[float]
    command: float
    peak: float

    @property
    def warm(self) -> float:
        """Median of the turns."""
        return statistics.median(self.turns)

    def against(self, other: Measured) -> str:
        """Return how much less this takes than another does."""
        pairs = (("warm", "warm"), ("command", "command"), ("peak", "memory"))
        return ", ".join(f"{name} {getattr(other, kind) / getattr(self, kind):.1f}x" for kind, name in pairs)

    def beside(self, other: Measured) -> float:
        """Return how many times as long another takes in the same turn, the median of all."""
        return statistics.median(b / a for a, b in zip(self.turns, other.turns, strict=True))


class Worker:
    """A worker that runs an exposure as often as it is asked to."""

    def __init__(self, ready: Prepared, engine: str, out: Path, threads: int) -> None:
        self._out = out
        self._call = lambda: ready.run(engine, out, "--threads", str(threads))
        words = [ready.mode.pipeline, str(ready.exposure), *ready.words, f"--output_dir={out}"]
        told = json.dumps({"words": words, "engine": engine, "threads": threads})
        # threads of numeric libraries count, too
        environment = dict(ready.environment) | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        command = [sys.executable, __file__, "--worker", told]
        self._process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)
        self.runs: list[tuple[float, float]] = []
        self.commands: list[float] = []

    def run(self) -> None:
        """Run the exposure once more."""
        self.begin()
        self.runs.append(self.end())

    def begin(self) -> None:
        """Begin to run the exposure."""
        self._clear()
        stdin: Any = self._process.stdin
        print(file=stdin, flush=True)

    def end(self) -> tuple[float, float]:
        """Wait for the end, and return the seconds and bytes that it took."""
        stdout: Any = self._process.stdout
        seconds, size = json.loads(stdout.readline())
        return seconds, size

    def run_command(self) -> None:
        """Run the exposure by a command of its own."""
        self._clear()
        begun = time.monotonic()
        self._call()
        self.commands.append(time.monotonic() - begun)

    def _clear(self) -> None:
        """Remove the products of the run before: measured is how they are made, not how others are replaced."""
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        os.sync()

    def close(self) -> None:
        """End the worker."""
        self._process.communicate()

    def ended(self) -> Measured:
        """End the worker, and return what was measured."""
        self.close()
        turns, peaks = zip(*self.runs[1:], strict=True)
        return Measured(self.runs[0][0], turns, statistics.median(self.commands), statistics.median(peaks) / 2**30)


def work(words: Sequence[str], engine: Any, threads: int) -> None:
    """Be a worker that runs an exposure for each line of input, and prints the seconds and bytes that it took."""
    from calservice import single
    from calservice.service.jobs import launch

    plan = single.make_plan(words[0], words[1:], single.Options(engine=engine, threads=threads))
    assert plan is not None
    for _ in sys.stdin:
        begun = time.monotonic()
        [outcome] = launch(plan, workers=1, threads=threads)
        assert outcome.status == "COMPLETE", outcome.message
        print(json.dumps((time.monotonic() - begun, outcome.peak_memory)), flush=True)


def settle(readnoise: Path) -> None:
    """Have the read noise reference tell what there is in the ramps: else a tenth of the pixels have false jumps."""
    with fits.open(readnoise, mode="update") as file:
        noise = file["SCI"].data
        noise[noise > 0] = _NOISE * (1 + noise[noise > 0] / 100)


def measure(mode: Mode, folder: Path, options: Any) -> None:
    """Run a mode by both engines and print the figures."""
    ready = prepared(mode, folder)
    settle(folder / "readnoise.fits")
    os.sync()
    kinds = [("jwst", 1), *(("native", n) for n in options.threads)]
    workers = {kind: Worker(ready, kind[0], folder / kind[0], kind[1]) for kind in kinds}
    pair = [Worker(ready, "native", folder / f"pair{n}", 1) for n in range(2)]
    together = []
    # they take turns: a machine that others use, too, changes its speed within minutes
    for turn in range(options.repeat + 1):
        for (engine, _), worker in workers.items():
            if engine == "native" or turn <= options.official:
                worker.run()
                if 0 < turn <= options.commands:
                    worker.run_command()
        pair[0].run()
        for worker in pair:
            worker.begin()
        slower = max(worker.end()[0] for worker in pair)
        together.append(2 * pair[0].runs[-1][0] / slower)
    for worker in pair:
        worker.close()
    found = {kind: worker.ended() for kind, worker in workers.items()}
    official = found["jwst", 1]
    same = compare_places(str(folder / "native"), str(folder / "jwst")).same
    print(f"{mode.name}: products {'the same' if same else 'DIFFERENT'}")
    for (engine, threads), one in found.items():
        seconds = f"warm {one.warm:.2f} s, command {one.command:.1f} s, first {one.first:.1f} s"
        less = f"less: {one.against(official)}"
        if (engine, 1) in found and threads > 1:
            less += f"; {one.beside(found[engine, 1]):.2f} times as fast as one thread"
        print(f"  {engine}, {threads} threads: {seconds}, {one.peak:.2f} GiB; {less}", flush=True)
    more = statistics.median(together[1:])
    print(f"  native, two exposures at once on one thread each: {more:.2f} times as much as one", flush=True)


def main() -> None:
    """Run the wanted modes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", choices=(*MODES, []), default=[], help="[default: all]")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--official", type=int, default=5, help="times that the official engine runs")
    parser.add_argument("--commands", type=int, default=5, help="times that commands run, of those")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options: Any = parser.parse_args()
    if options.worker:
        work(**options.worker)
        return
    for name in options.modes or MODES:
        with tempfile.TemporaryDirectory(prefix="engines-") as place:
            measure(MODES[name], Path(place), options)


if __name__ == "__main__":
    main()
