"""Runs the official package's own unit tests with our classes in the place of the official ones.

::

    python -m pytest -c tests/peer/pytest.ini -p tests.peer.plugin --pyargs jwst.linearity

Steps and pipelines that have a class of ours become that class, and suffixes are ours, in every module of the package.
``--peer-base=calservice`` also puts our base class, which serves where jwst is not installed, in the place of
``jwst.stpipe.Step``: for our steps, and for the small steps that the tests of step infrastructure define.
``--peer-engine=jwst`` leaves everything official, for the comparison.

At the end it says in how many tests something of ours was run: a class, a kernel that was not handed over to the
official step, our base, our naming. Tests that are expected to fail, with reasons, are those of `exceptions`.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.peer.exceptions import BASE, EXPECTED, NATIVE, OFFICIAL

COUNTED = {
    "class": "ran a step class of ours",
    "kernel": "ran a kernel of ours",
    "base": "made a step on our base",
    "suffix": "took suffixes off by our function",
}

_current: list[pytest.Item] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--peer-engine", choices=("native", "jwst"), default="native")
    parser.addoption("--peer-base", choices=("jwst", "calservice"), default="jwst")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        from tests.peer.context import write_peer_context

        cache = Path(tempfile.mkdtemp(prefix="calservice-peer-"))
        config.add_cleanup(lambda: shutil.rmtree(cache))
        os.environ.pop("CRDS_SERVER_URL", None)
        os.environ.update(CRDS_PATH=str(cache), CRDS_CONTEXT=write_peer_context(cache))
        commands = Path(sys.executable).parent  # tests call some of the package by name
        os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ.get('PATH', '')}"
    importlib.import_module("jwst.step")
    importlib.import_module("jwst.pipeline")
    if mode(config) == BASE:
        substitute_base()
    if mode(config) != OFFICIAL:
        substitute_classes()
        substitute_suffixes()


def mode(config: pytest.Config) -> str:
    """Return what is substituted."""
    if config.getoption("--peer-engine") == "jwst":
        return OFFICIAL
    return BASE if config.getoption("--peer-base") == "calservice" else NATIVE


def substitute_classes() -> None:
    """Put our steps and pipelines where the official ones are."""
    import jwst.pipeline

    from calservice.engines import strun
    from calservice.model.modes import PIPELINE_CLASSES
    from calservice.steps.registry import NATIVE as STEPS

    originals: dict[str, Any] = {name: getattr(jwst.pipeline, name) for name in PIPELINE_CLASSES}
    for step in STEPS.values():
        package, name = step.official.rsplit(".", 1)
        originals[name] = getattr(importlib.import_module(package), name)
    strun.official_class = lambda module, name: originals[name]
    for alias, name in ((alias, step.official.rpartition(".")[2]) for alias, step in STEPS.items()):
        replace(name, originals[name], strun.step_class(alias))
    for name in PIPELINE_CLASSES:
        replace(name, originals[name], strun.pipeline_class(name))
    strun._NativeStep.process = noting("class", strun._NativeStep.process)
    strun._NativeStep._run = noting("kernel", strun._NativeStep._run)


def substitute_base() -> None:
    """Put our base where the tests look for the official one.

    It has the same name, since outputs are named after it, and listens to what the small steps of the tests log.
    """
    import jwst.stpipe
    import stpipe

    from calservice.engines import strun
    from calservice.engines.strun_base import ExposureStep

    ExposureStep.__init__ = noting("base", ExposureStep.__init__)
    loggers = (*ExposureStep.get_stpipe_loggers(), "jwst")
    step = type("JwstStep", (ExposureStep,), {"get_stpipe_loggers": staticmethod(lambda: loggers)})
    strun._base = lambda: ExposureStep
    jwst.stpipe.Step, jwst.stpipe.Pipeline = step, type("JwstPipeline", (stpipe.Pipeline, step), {})


def substitute_suffixes() -> None:
    """Put our suffixes, and what takes them off, where the official ones are."""
    from jwst.lib import suffix

    from calservice.model import names

    names.remove_suffix = noting("suffix", names.remove_suffix)
    replace("remove_suffix", suffix.remove_suffix, names.remove_suffix)
    suffix.KNOW_SUFFIXES = sorted(names.KNOWN_SUFFIXES)


def replace(name: str, original: Any, ours: Any) -> None:
    """Replace what a name stands for, in every module of the official package that has it."""
    modules: list[ModuleType] = [m for key, m in sys.modules.items() if key.startswith("jwst.")]
    for module in modules:
        if vars(module).get(name) is original:
            setattr(module, name, ours)


def noting(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function note in the running test's report that it was called."""

    @wraps(function)
    def noted(*args: Any, **kwargs: Any) -> Any:
        for item in _current[-1:]:
            if (what, True) not in item.user_properties:
                item.user_properties.append((what, True))
        return function(*args, **kwargs)

    return noted


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _current.append(item)
    yield
    _current.remove(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for one in EXPECTED:
            if isinstance(item, pytest.Function) and one.holds(item.module.__name__, item.name, mode(config)):
                item.add_marker(pytest.mark.xfail(reason=one.reason, strict=True))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    stats = terminalreporter.stats
    reports = [r for kind in ("passed", "failed", "xfailed") for r in stats.get(kind, []) if r.when == "call"]
    for what, text in COUNTED.items():
        ran = sum((what, True) in map(tuple, r.user_properties) for r in reports)
        terminalreporter.write_line(f"tests that {text}: {ran} of {len(reports)}")
    terminalreporter.write_line(f"exceptions, {mode(config)}: {len(stats.get('xfailed', []))}")
