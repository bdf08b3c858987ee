"""Compile the native kernels ahead of use: ``python -m calservice.kernels``.

Numba keeps machine code beside the source (or in the user's cache folder). Without it the first exposure on a machine
waits for the compiler, for a minute or so, and so does every task that starts before the first one ends. This runs
stage 1 of two small simulated exposures, one at a time, which compiles what imaging exposures need.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from calservice.engines import official
from calservice.model.outcome import Job
from calservice.plan.build import make_plan
from calservice.plan.request import Request
from calservice.run.task import run_task
from calservice.simulate import simulate

__all__ = ["compile_ahead"]


def compile_ahead() -> bool:
    """Run stage 1 of a small simulated program; return whether all of it was made.

    Without the official package, whose steps come in between, there is nothing to run.
    """
    if not official.available():
        return True
    with tempfile.TemporaryDirectory(prefix="calservice-kernels-") as place:
        program = simulate(Path(place, "program"), exposures=1, groups=4, stars=5)
        os.environ["CRDS_PATH"] = str(program.crds)
        os.environ.pop("CRDS_SERVER_URL", None)
        out = str(Path(place, "products"))
        plan = make_plan(Request((str(program.data),), output=out, top=1, context=program.context))
        job = Job("kernels", out, plan.context, plan.cache)
        return not plan.problems and all(o.good for task in plan.tasks for o in run_task(task, job))


if __name__ == "__main__":
    sys.exit(0 if compile_ahead() else 1)
