"""The same job by two engines."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from rich.console import Console

from calservice.cli import main
from calservice.model.errors import EngineError, InputError, Problems
from calservice.plan.engines import EngineName
from calservice.service.comparison import compare_engines


class Fake:
    """A job of one product, which each engine makes in its own way."""

    def __init__(self, values: dict[str, float], statuses: dict[str, int] | None = None) -> None:
        self.values = values
        self.statuses = statuses or {}
        self.events: list[str] = []

    def begin(self, engine: EngineName, place: str) -> Callable[[], int]:
        self.events.append(f"begin {engine}")
        if engine not in self.values:
            raise Problems([EngineError(f"step x has no {engine} version"), InputError("y is not there")])

        def go() -> int:
            self.events.append(f"run {engine}")
            Path(place).mkdir(parents=True)
            data = np.full((2, 2), self.values[engine], np.float32)
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(Path(place, "x_rate.fits"))
            return self.statuses.get(engine, 0)

        return go


def compared(fake: Fake, output: Path, *engines: EngineName) -> tuple[int, str]:
    one, other = engines
    said = io.StringIO()
    status = compare_engines((one, other), f"{output}/", fake.begin, Console(file=said, width=200))
    return status, said.getvalue()


def test_both_are_ready_before_one_runs(tmp_path: Path) -> None:
    fake = Fake({"jwst": 1.0, "native": 1.0 + 1e-6})

    status, said = compared(fake, tmp_path, "jwst", "native")

    assert status == 0
    assert fake.events == ["begin jwst", "begin native", "run jwst", "run native"]
    assert f"A: {tmp_path}/jwst\nB: {tmp_path}/native" in said
    assert "same: 1 of 1 file the same" in said


def test_a_difference_and_a_failure_are_status_1(tmp_path: Path) -> None:
    status, said = compared(Fake({"native": 1.0, "auto": 1.1}), tmp_path / "different", "native", "auto")
    assert status == 1
    assert "4 of 4 pixels differ" in said
    status, said = compared(Fake({"jwst": 1.0, "auto": 1.0}, {"auto": 64}), tmp_path / "failed", "jwst", "auto")
    assert status == 1
    assert "engine auto did not make everything (exit status 64)" in said
    assert "same: 1 of 1" in said


def test_what_is_not_native_is_refused_before_anything_runs(tmp_path: Path) -> None:
    fake = Fake({"jwst": 1.0})
    with pytest.raises(Problems) as caught:
        compared(fake, tmp_path, "jwst", "native")
    assert fake.events == ["begin jwst", "begin native"]
    for words in ("step x has no native version", "y is not there", "--engine jwst,auto"):
        assert words in str(caught.value)


@pytest.mark.parametrize("command", ["submit", "batch"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compare"], "--compare needs two different engines"),
        (["--compare", "--engine", "jwst,jwst"], "--compare needs two different engines"),
        (["--compare", "--engine", "jwst,auto,native"], "--compare needs two different engines"),
        (["--engine", "jwst,native"], "one engine at a time, or two of them with --compare"),
        (["--engine", "jwst,fast", "--compare"], "'fast' is not one of 'auto', 'native', 'jwst'"),
    ],
)
def test_engines_and_compare_go_together(command: str, words: list[str], said: str) -> None:
    ended = CliRunner().invoke(main, [command, "x_asn.json", *words])
    assert ended.exit_code == 1
    assert said in ended.output


@pytest.mark.official
def test_official_and_native_steps_make_the_same(exposures: list[Path]) -> None:
    words = ["submit", str(exposures[0]), "--level", "1", "--compare", "--output", "products"]

    ended = CliRunner().invoke(main, [*words, "--engine", "jwst,auto"])

    assert ended.exit_code == 0, ended.output
    assert "same: 2 of 2 files the same" in ended.output
    made = {str(path.parent): path.name.rpartition("_")[2] for path in Path("products").rglob("*rate.fits")}
    assert made == {"products/jwst": "rate.fits", "products/auto": "rate.fits"}
    refused = CliRunner().invoke(main, [*words, "--level", "2", "--engine", "jwst,native"])
    assert refused.exit_code == 1
    assert "calwebb_image2 is not native yet" in refused.output
    assert "--engine jwst,auto compares what is native" in refused.output
