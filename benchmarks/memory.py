"""Resident memory of a Dask worker over many exposures: neither it nor its warm process may grow.

Simulated exposures go through calwebb_detector1 and calwebb_image2, one after the other, on one worker process. After
each, the resident memory of the worker and of the warm process that its stages are forked from is printed, with
the peak of every stage as the kernel counted it. The exit status is 1 where either grew. A Dask worker gains a MiB or
two in its first minutes whatever it runs, as the records that it keeps of itself fill up; that much is allowed. Usage::

    python benchmarks/memory.py [--exposures 20] [--engine auto|jwst] [--groups 8] [--subarray SUB320]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from calservice.model.outcome import Job, Outcome
from calservice.model.plan import Task
from calservice.plan.build import make_plan
from calservice.plan.request import Request
from calservice.run.cluster import local_cluster, run_on_cluster
from calservice.simulate import simulate

MIB = 2**20
ALLOWED = 4 * MIB
"""Growth from the second quarter of the exposures to the last that counts as noise."""


def resident() -> tuple[int, int]:
    """Return the resident bytes of this process, a worker, and of its warm process."""
    import psutil

    me = psutil.Process()
    warm = [p for p in me.children() if "calservice.run.warm" in p.cmdline()]
    return me.memory_info().rss, sum(p.memory_info().rss for p in warm)


def measure(folder: Path, options: argparse.Namespace) -> list[tuple[int, int]]:
    """Run the exposures and return both sizes after each."""
    made = simulate(
        folder, modes=("nircam-image",), exposures=options.exposures, groups=options.groups, subarray=options.subarray
    )
    os.environ |= {"CRDS_PATH": str(made.crds), "CRDS_CONTEXT": made.context}
    targets = tuple(str(p) for p in sorted(made.data.glob("*_uncal.fits")))
    plan = make_plan(Request(targets, output=str(folder / "products"), engine=options.engine, top=2))
    assert not plan.problems, plan.problems
    sizes: list[tuple[int, int]] = []
    with local_cluster(1, dashboard=False) as client:

        def watch(task: Task, event: str, outcomes: tuple[Outcome, ...]) -> None:
            if event != "ended":
                return
            assert all(o.good for o in outcomes), outcomes
            [found] = client.run(resident).values()
            sizes.append(found)
            show(len(sizes), found, outcomes)

        run_on_cluster(plan, Job("memory", plan.output, plan.context, plan.cache), client, watch=watch)
    return sizes


def show(number: int, sizes: tuple[int, int], outcomes: tuple[Outcome, ...]) -> None:
    """Print a row."""
    peaks = ", ".join(f"{o.stage.partition(':')[0]} {o.peak_memory / MIB:.0f}" for o in outcomes)
    print(f"{number:>8} {sizes[0] / MIB:>10.1f} {sizes[1] / MIB:>10.1f}   {peaks}", flush=True)


def growth(sizes: list[int]) -> float:
    """Return by how much the last quarter lies above the second."""
    quarter = max(1, len(sizes) // 4)
    return statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter])


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exposures", type=int, default=20, help="[default: 20]")
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--subarray", default=None, help="FULL for full frame [default: a small one]")
    parser.add_argument("--engine", choices=("auto", "jwst"), default="auto")
    options: Any = parser.parse_args()
    print(f"{'exposure':>8} {'worker':>10} {'warm':>10}   peaks of stages (all MiB)")
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        sizes = measure(Path(folder), options)
    worker, warm = growth([s[0] for s in sizes]), growth([s[1] for s in sizes])
    print(f"growth from the second quarter to the last: worker {worker / MIB:+.2f} MiB, warm {warm / MIB:+.2f} MiB")
    return int(max(worker, warm) > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
