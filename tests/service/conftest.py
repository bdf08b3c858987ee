"""A simulated program and its references, for jobs that run here and now, by native steps alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from calservice.simulate import Simulation, simulate

NATIVE_ONLY: dict[str, Any] = {
    "parameters": {"steps": {"jump": {"rejection_threshold": 4.5}}},
    "engine": "native",
    "level": 1,
}
"""What a job is told so that it runs in seconds: stage 1, natively."""


@pytest.fixture(scope="session")
def native_only() -> dict[str, Any]:
    return NATIVE_ONLY


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("program"), modes=("nircam-image",), exposures=2, groups=4, stars=10)


@pytest.fixture
def program(simulated: Simulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    """Two exposures of a dithered field and their references, in an empty current folder."""
    for name in [n for n in os.environ if n.startswith("CRDS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CRDS_PATH", str(simulated.crds))
    monkeypatch.setenv("CRDS_CONTEXT", simulated.context)
    monkeypatch.chdir(tmp_path)
    return simulated


@pytest.fixture
def exposures(program: Simulation) -> list[Path]:
    """The raw exposures."""
    return sorted(program.data.glob("*_uncal.fits"))
