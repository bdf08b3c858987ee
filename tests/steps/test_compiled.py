"""The cache of machine code: what is kept of a kernel must not outlive the source of what it calls."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

PART = (
    "from calservice.steps.compiled import compiled\n\n\n@compiled\ndef part(x: int) -> int:\n    return x + {more}\n"
)
MIDDLE = """
from calservice.steps.compiled import inlined
from part import part


@inlined
def middle(x):
    return part(x)
"""
KERNEL = """
from calservice.steps.compiled import compiled
from middle import middle


@compiled
def kernel(x):
    return middle(x)


print(kernel(1), sum(kernel.stats.cache_hits.values()))
"""


def _told(folder: Path) -> list[str]:
    paths = os.pathsep.join((str(folder), *filter(None, sys.path)))
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(folder / "cache")}
    run = subprocess.run([sys.executable, "-c", "import kernel"], env=environment, capture_output=True, check=True)
    return run.stdout.decode().split()


def test_kernels_follow_their_parts(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(PART.format(more=10))
    (tmp_path / "middle.py").write_text(MIDDLE)
    (tmp_path / "kernel.py").write_text(KERNEL)
    assert _told(tmp_path) == ["11", "0"]
    assert _told(tmp_path) == ["11", "1"]
    (tmp_path / "part.py").write_text(PART.format(more=200))
    assert _told(tmp_path) == ["201", "0"]
    assert _told(tmp_path) == ["201", "1"]


def test_caches_of_types_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(PART.format(more=10))
    (tmp_path / "middle.py").write_text(MIDDLE)
    (tmp_path / "kernel.py").write_text(KERNEL)
    assert _told(tmp_path) == ["11", "0"]
    for index in (tmp_path / "cache").rglob("kernel.kernel-*.nbi"):
        # as of a type of a module that another version has not
        content = index.read_bytes()
        version = pickle.loads(content)
        index.write_bytes(pickle.dumps(version) + b"cgone\nGone\n.")
    assert _told(tmp_path) == ["11", "0"]
