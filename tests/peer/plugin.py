"""Runs the official package's own unit tests with our step classes in the place of the official ones.

::

    python -m pytest -c tests/peer/pytest.ini -p tests.peer.plugin --pyargs jwst.linearity

With ``--peer-engine=jwst`` the official classes stay, for the comparison. At the end it says in how many tests a class
was run, and in how many of those our kernels were not handed over to the official step.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_current: list[pytest.Item] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peer-engine", choices=("native", "jwst"), default="native")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        from tests.peer.context import write_peer_context

        cache = Path(tempfile.mkdtemp(prefix="calservice-peer-"))
        config.add_cleanup(lambda: shutil.rmtree(cache))
        os.environ.pop("CRDS_SERVER_URL", None)
        os.environ.update(CRDS_PATH=str(cache), CRDS_CONTEXT=write_peer_context(cache))
    if config.getoption("--peer-engine") == "native":
        substitute()


def substitute() -> None:
    """Put our classes where the official ones are, in every module that has them."""
    from calservice.engines import strun
    from calservice.steps.registry import NATIVE

    originals: dict[str, Any] = {}
    importlib.import_module("jwst.step")
    importlib.import_module("jwst.pipeline")
    for alias, step in NATIVE.items():
        package, name = step.official.rsplit(".", 1)
        originals[name] = original = getattr(importlib.import_module(package), name)
        ours = strun.step_class(alias)
        for module in [m for key, m in sys.modules.items() if key.startswith("jwst.")]:
            if vars(module).get(name) is original:
                setattr(module, name, ours)
    strun.official_class = lambda module, name: originals[name]
    note(strun._NativeStep, "process", "class")
    note(strun._NativeStep, "_run", "kernel")


def note(cls: Any, method: str, what: str) -> None:
    """Have a method note in the running test's report that it was called."""
    original = getattr(cls, method)

    def noted(self: Any, *args: Any) -> Any:
        for item in _current[-1:]:
            item.user_properties.append((what, self.native.alias))
        return original(self, *args)

    setattr(cls, method, noted)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _current.append(item)
    yield
    _current.remove(item)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []) if r.when == "call"]
    for what in ("class", "kernel"):
        ran = sum(any(name == what for name, _ in r.user_properties) for r in reports)
        terminalreporter.write_line(f"tests that ran a {what} of ours: {ran} of {len(reports)}")
