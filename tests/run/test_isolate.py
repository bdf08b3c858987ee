"""The isolate: every call in a forked process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from calservice.model.errors import EngineError, TransientError
from calservice.run import isolate
from calservice.run.isolate import Isolate

HERE = str(Path(__file__).parent)


def until(found: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until a function returns something true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.01)
    raise AssertionError("waited in vain")


@pytest.fixture(scope="module")
def calls() -> Any:
    """Functions that children can import too."""
    sys.path.insert(0, HERE)
    import isolated_calls

    yield isolated_calls
    sys.path.remove(HERE)


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", HERE)
    yield
    patch.undo()


@pytest.fixture
def warm(calls: Any) -> Iterator[Isolate]:
    """A warm process that has imported the functions."""
    one = Isolate(("isolated_calls",))
    yield one
    one.close()
    assert not one.alive


def test_the_result_comes_back(warm: Isolate, calls: Any) -> None:
    end = warm.run(calls.power, 3, 4)

    assert (end.result, end.code, end.signal, end.fault) == (81, 0, 0, "")


def test_every_call_has_a_process_of_its_own(warm: Isolate, calls: Any) -> None:
    pids = {warm.run(calls.pid).result for _ in range(3)}

    assert len(pids) == 3
    assert not pids & {os.getpid(), warm.pid}
    assert not any(map(psutil.pid_exists, pids))


def test_what_a_call_raises_is_told(warm: Isolate, calls: Any) -> None:
    end = warm.run(calls.refuse, "no such pixel")

    assert (end.result, end.code, end.cause) == (None, 1, "ValueError: no such pixel")


def test_an_exit_is_told_as_well(warm: Isolate, calls: Any) -> None:
    assert warm.run(sys.exit, 7).cause == "SystemExit: 7"


def test_a_result_that_cannot_be_handed_back_is_a_failure(warm: Isolate, calls: Any) -> None:
    end = warm.run(calls.unpicklable)

    assert (end.result, end.code) == (None, 1)
    assert "without a result" in end.cause


def test_globals_do_not_leak_into_the_next_call(warm: Isolate, calls: Any) -> None:
    assert [warm.run(calls.count).result for _ in range(3)] == [1, 1, 1]


def test_children_inherit_what_the_warm_process_did_before(warm: Isolate, calls: Any) -> None:
    assert [warm.run(calls.count, before=before).result for before in (calls.count, None, calls.count)] == [2, 2, 3]
    assert warm.run(calls.power, 3, 4, before=calls.refuse).result == 81


def test_a_killed_child_is_an_outcome(warm: Isolate, calls: Any) -> None:
    end = warm.run(calls.kill_itself, signal.SIGKILL)

    assert (end.result, end.signal) == (None, signal.SIGKILL)
    assert "most likely for lack of memory" in end.cause
    assert "SIGSEGV" in warm.run(calls.kill_itself, signal.SIGSEGV).cause
    assert "a file became shorter" in warm.run(calls.kill_itself, signal.SIGBUS).cause
    assert warm.run(calls.power, 2, 2).result == 4


def test_memory_is_measured(warm: Isolate, calls: Any) -> None:
    little = warm.run(calls.fill, 1).peak_memory
    much = warm.run(calls.fill, 200).peak_memory

    assert 195 * 2**20 < much - little < 230 * 2**20


def test_calls_run_at_the_same_time(warm: Isolate, calls: Any, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("one", "two", "three")]

    with ThreadPoolExecutor(3) as pool:
        met = list(pool.map(lambda n: warm.run(calls.meet, n, names).result, names))

    assert met == names


def test_a_child_can_start_processes_and_they_end_with_it(warm: Isolate, calls: Any, tmp_path: Path) -> None:
    stop = threading.Event()
    note = tmp_path / "pid"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(warm.run, calls.start_and_wait, str(note), stopped=stop.is_set)
        grandchild = psutil.Process(int(until(lambda: note.exists() and note.read_text())))
        stop.set()
        with pytest.raises(TransientError, match="stopped"):
            call.result(10)
    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_a_lost_warm_process_takes_its_children_and_can_be_replaced(warm: Isolate, calls: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(warm.run, calls.note_and_wait, str(note))
        child = psutil.Process(int(until(lambda: note.exists() and note.read_text())))
        os.kill(warm.pid, signal.SIGKILL)
        with pytest.raises(TransientError, match="was lost"):
            call.result(10)
    assert not psutil.wait_procs([child], timeout=10)[1]
    assert not warm.alive
    with pytest.raises(TransientError):
        warm.run(calls.pid)


def test_the_shared_warm_process_is_started_again_when_it_died(monkeypatch: pytest.MonkeyPatch, calls: Any) -> None:
    monkeypatch.setattr(isolate, "_shared", {})
    monkeypatch.setattr(isolate, "_NATIVE", ("isolated_calls",))
    first = isolate.shared(official=False)
    assert isolate.shared(official=False) is first
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.alive)

    second = isolate.shared(official=False)

    assert second is not first
    assert second.run(calls.power, 2, 3).result == 8
    second.close()


def test_what_cannot_be_imported_is_named(calls: Any) -> None:
    broken = Isolate(("isolated_calls", "broken_package"))

    with pytest.raises(EngineError, match=r"broken_package cannot be imported: RuntimeError: built for another"):
        broken.run(calls.pid)

    assert not broken.alive


def test_children_end_with_a_worker_that_is_killed(calls: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys, isolated_calls; from calservice.run.isolate import Isolate\n"
        "warm = Isolate(('isolated_calls',)); print(warm.pid, flush=True)\n"
        "warm.run(isolated_calls.note_and_wait, sys.argv[1])"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(note)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        warm = psutil.Process(int(worker.stdout.readline()))
        child = psutil.Process(int(until(lambda: note.exists() and note.read_text())))
        worker.kill()
    assert child.pid != warm.pid
    assert not psutil.wait_procs([warm, child], timeout=10)[1]


def test_nothing_is_left_in_the_folder_of_a_call(warm: Isolate, calls: Any, tmp_path: Path) -> None:
    warm.run(calls.pid, folder=tmp_path)
    warm.run(calls.kill_itself, signal.SIGKILL, folder=tmp_path)

    assert list(tmp_path.iterdir()) == []
