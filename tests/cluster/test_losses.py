"""Losing workers, stages and the scheduler in mid-job, by kill -9; and Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from processes import Client, Cluster, family, finish, gone, held_children, is_warm, leftovers, until
from products import assert_same_folders, differences

Make = Callable[[], Cluster]


@pytest.fixture
def lost(new_cluster: Make) -> Iterator[Cluster]:
    """A cluster that is to lose something."""
    cluster = new_cluster()
    yield cluster
    cluster.stop()


def test_a_worker_killed_in_mid_stage_changes_nothing(
    lost: Cluster, client: Client, association: Path, undisturbed: Path, scratch: Path, tmp_path: Path
) -> None:
    lost.start("one", "two")
    job = client.start("submit", association, "--scheduler", lost.address, "--output", tmp_path)
    name, child = lost.held()
    below = family(lost.workers[name].pid)
    assert child in below

    lost.workers[name].kill()

    status, said = finish(job)
    assert status == 0, said
    assert lost.workers[name].wait(10) == -signal.SIGKILL
    assert gone(below)
    assert_same_folders(tmp_path, undisturbed)
    assert leftovers(tmp_path, scratch) == []


def test_a_worker_killed_below_a_nanny_comes_back(
    lost: Cluster, client: Client, exposure: Path, scratch: Path, undisturbed: Path, tmp_path: Path
) -> None:
    lost.start("only", nanny=True)
    job = client.start("submit", exposure, "--scheduler", lost.address, "--output", tmp_path, "--level", "1")
    lost.held()
    worker = lost.worker_pid("only")
    assert worker != lost.workers["only"].pid
    below = family(worker)

    below[0].kill()

    status, said = finish(job)
    assert status == 0, said
    assert gone(below)
    assert lost.workers["only"].poll() is None
    made = {p.name for p in tmp_path.glob("*.fits")}
    assert made == {exposure.name.replace("uncal", suffix) for suffix in ("rate", "rateints")}
    for name in made:
        assert not (text := differences(tmp_path / name, undisturbed / name)), text
    assert leftovers(tmp_path, scratch) == []


def test_a_stage_killed_for_its_memory_fails_alone(
    cluster: Cluster, client: Client, association: Path, scratch: Path, tmp_path: Path
) -> None:
    job = client.start("submit", association, "--scheduler", cluster.address, "--output", tmp_path, "--level", "2")
    _, child = cluster.held()

    child.kill()

    status, said = finish(job)
    assert status == 1
    assert "Traceback" not in said
    failed = [line for line in said.splitlines() if line.startswith("FAILED calwebb_detector1")]
    assert len(failed) == 1
    assert "killed (signal 9)" in failed[0]
    assert "most likely for lack of memory" in failed[0]
    assert "BLOCKED calwebb_image2" in said
    assert [w.poll() for w in cluster.workers.values()] == [None, None]
    assert len(list(tmp_path.glob("*_cal.fits"))) == 1
    assert leftovers(tmp_path, scratch) == []


def test_a_lost_scheduler_ends_the_job_and_the_next_one_goes_on(
    lost: Cluster, client: Client, exposure: Path, scratch: Path, tmp_path: Path
) -> None:
    lost.start("only")
    words = ("submit", exposure, "--output", tmp_path, "--level", "1")
    job = client.start(*words, "--scheduler", lost.address)
    lost.held()
    below = family(lost.workers["only"].pid)
    assert lost.scheduler is not None

    lost.scheduler.kill()

    status, said = finish(job, 60)
    assert status == 1
    assert "the scheduler went away in mid-job" in said
    assert "submit the same job again" in said
    assert "Traceback" not in said
    assert gone(below), "the worker and all below it end"
    lost.scheduler.wait(10)
    lost.start("only")
    status, said = client(*words, "--scheduler", lost.address)
    assert status == 0, said
    assert (tmp_path / exposure.name.replace("uncal", "rate")).exists()
    assert leftovers(tmp_path, scratch) == []


def test_ctrl_c_stops_what_runs_on_the_cluster(
    cluster: Cluster, client: Client, exposure: Path, scratch: Path, tmp_path: Path
) -> None:
    words = ("submit", exposure, "--output", tmp_path, "--level", "1", "--scheduler", cluster.address)
    job = client.start(*words)
    _, child = cluster.held()

    job.send_signal(signal.SIGINT)

    status, said = finish(job, 20)
    assert (status, "interrupted" in said, "Traceback" in said) == (130, True, False)
    assert gone([child], 10)
    until(lambda: not leftovers(tmp_path, scratch), "the worker to clean up")
    assert not list(tmp_path.iterdir())
    assert [w.poll() for w in cluster.workers.values()] == [None, None]
    status, said = client(*words)
    assert status == 0, said


def test_ctrl_c_stops_what_runs_here(client: Client, association: Path, scratch: Path, tmp_path: Path) -> None:
    job = client.start("submit", association, "--output", tmp_path, "--workers", "1")
    until(lambda: held_children(job.pid), "a stage to hold")
    below = family(job.pid)
    assert any(map(is_warm, below))

    job.send_signal(signal.SIGINT)

    status, said = finish(job, 20)
    assert (status, "interrupted" in said, "Traceback" in said) == (130, True, False)
    assert gone(below, 10)
    assert leftovers(tmp_path, scratch) == []
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_workers_import_leaves_no_process(client: Client, association: Path, tmp_path: Path) -> None:
    job = client.start("submit", association, "--output", tmp_path, "--workers", "1")
    warm: psutil.Process = until(lambda: next(filter(is_warm, family(job.pid)), None), "the warm process")

    job.send_signal(signal.SIGINT)

    status, said = finish(job, 20)
    assert (status, "Traceback" in said) == (130, False)
    assert gone([warm], 2)
