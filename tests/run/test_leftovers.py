"""What killed processes leave behind is swept, and what living ones hold is not."""

from __future__ import annotations

import fcntl
import platform
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from calservice.model.outcome import Job
from calservice.model.plan import Task
from calservice.products.store import Store
from calservice.run.task import run_task, scratch


def scratch_folder(parent: Path, name: str) -> Path:
    folder = parent / f"calservice-task-{platform.node()}-{name}"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "half.fits").write_bytes(b"half")
    return folder


def test_a_task_sweeps_the_scratch_of_dead_workers_only(tmp_path: Path) -> None:
    dead, alive = (scratch_folder(tmp_path, name) for name in ("dead", "alive"))
    elsewhere = tmp_path / "calservice-task-another-host-x"
    elsewhere.mkdir()
    with open(alive / "lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert run_task(Task("nothing", ()), Job("job", str(tmp_path), scratch=str(tmp_path))) == ()

        assert not dead.exists()
        assert (alive / "half.fits").exists()
        assert elsewhere.exists()
        assert {p.name for p in tmp_path.iterdir()} == {alive.name, elsewhere.name}


def test_a_store_sweeps_the_files_of_dead_writers_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(b"whole", "x_cal.fits")
    dead, alive = tmp_path / ".x_cal.fits.part-1a2b3c4d", tmp_path / ".y_cal.fits.part-5e6f7a8b"
    for path in (dead, alive):
        path.write_bytes(b"half")
    with open(alive, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        store.sweep()

        assert {p.name for p in tmp_path.iterdir()} == {alive.name, "x_cal.fits"}
    store.sweep()
    assert {p.name for p in tmp_path.iterdir()} == {"x_cal.fits"}


def test_tasks_that_begin_together_spare_each_other(tmp_path: Path) -> None:
    def begin(_: int) -> list[bool]:
        found = []
        for _ in range(100):
            with scratch(str(tmp_path)) as folder:
                (folder / "0").mkdir()
                found.append(folder.exists())
        return found

    with ThreadPoolExecutor(4) as pool:
        assert all(chain.from_iterable(pool.map(begin, range(4))))
    assert not list(tmp_path.iterdir())
