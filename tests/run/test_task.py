"""Tasks that come twice: what is published already is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from calservice.model.outcome import Job
from calservice.plan.build import make_plan
from calservice.plan.request import Request
from calservice.run.task import run_task
from calservice.simulate import simulate

pytestmark = pytest.mark.official


def test_a_task_that_comes_again_makes_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = simulate(tmp_path / "program", modes=("nircam-image",), exposures=1, groups=4, stars=10)
    monkeypatch.setenv("CRDS_PATH", str(program.crds))
    monkeypatch.setenv("CRDS_CONTEXT", program.context)
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)
    (raw,) = program.data.glob("*_uncal.fits")
    out = tmp_path / "products"
    plan = make_plan(Request((str(raw),), output=str(out)))
    assert not plan.problems
    (task,) = plan.tasks
    assert [s.level for s in task.stages] == [1, 2]
    job = Job("test", str(out), plan.context, plan.cache)

    first = run_task(task, job)
    assert [o.status for o in first] == ["COMPLETE", "COMPLETE"]
    stamps = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}

    assert [(o.status, o.products) for o in run_task(task, job)] == [("KEPT", o.products) for o in first]
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == stamps

    # a worker lost between the stages: stage 1 stands, stage 2 takes its rate from the store
    lost = [name for o in first[1:] for name in o.products]
    for name in lost:
        (out / name).unlink()
    assert [o.status for o in run_task(task, job)] == ["KEPT", "COMPLETE"]
    assert all((out / name).exists() for name in lost)

    # a product that was tampered with does not stand, whatever its length
    rate = out / next(n for n in first[0].products if n.endswith("_rate.fits"))
    content = bytearray(rate.read_bytes())
    content[-3000] ^= 1
    rate.write_bytes(content)
    assert [o.status for o in run_task(task, job)] == ["COMPLETE", "KEPT"]
