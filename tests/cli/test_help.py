"""Help, suggestions and completion; and that none of it loads what it does not need."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from calservice import describe
from calservice.cli import main
from calservice.model.errors import ParameterError

official = pytest.mark.official


@official
def test_every_alias_and_class_is_found() -> None:
    from jwst.stpipe.integration import get_steps

    for path, alias, _ in get_steps():
        leaf = path.rpartition(".")[2]
        for name in (alias, path, leaf, f"jwst::{alias}", f"calservice.steps.{leaf}"):
            assert describe.find(name) == alias


@official
@pytest.mark.parametrize(
    "name", ["jwst.pipeline.Detector1Pipeline", "jwst.pipeline.Image3Pipeline", "jwst.step.JumpStep"]
)
def test_every_parameter_is_explained(name: str) -> None:
    """Name, type, default and meaning of all that the class itself declares."""
    from calservice.engines.execute import load

    cls = load(name)
    spec = cls.load_spec_file(preserve_comments=True)
    page = describe.describe(name)
    sections = {"": spec, **{f"steps.{step}.": spec["steps"][step] for step in spec.get("steps", {})}}
    count = 0
    for prefix, section in sections.items():
        for key in set(section.scalars) - {"name", "class", "config_file", "logcfg"}:
            count += 1
            (line,) = [row for row in page.splitlines() if row.startswith(f"  --{prefix}{key}  ")]
            assert "[default: " in line
            meaning = (section.inline_comments[key] or "").strip("# ").split()
            assert not meaning or meaning[0] in page[page.index(line) + len(line) :].splitlines()[1]
    assert count > 20


def test_native_steps_have_one_list() -> None:
    from calservice.steps.registry import NATIVE

    assert describe.native_aliases() == NATIVE.keys()


@official
@pytest.mark.parametrize(
    ("name", "meant"),
    [("lineartiy", "linearity"), ("calwebb_detector", "calwebb_detector1"), ("LinearStep", "LinearityStep")],
)
def test_pipelines_and_steps_that_are_meant(name: str, meant: str) -> None:
    with pytest.raises(ParameterError, match=rf"Did you mean .*\b{meant}\b"):
        describe.find(name)


@official
@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("submti x", "submit"),
        ("compare a b --rtl 3", "--rtol"),
        ("run calwebb_detector1 x.fits --steps.jmp.skip=true", "--steps.jump.skip"),
        ("run jump x.fits --rejection_treshold 3", "--rejection_threshold"),
        ("submit x.fits --outptu here", "--output"),
    ],
)
def test_words_that_are_meant(line: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(shlex.split(line), prog_name="calservice")
    assert ended.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Did you mean" in said
    assert meant in said


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        inner = _commands(command, (*path, name)) if isinstance(command, click.Group) else []
        found += inner or [((*path, name), command)]
    return found


COMMANDS = _commands(main)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=["-".join(path) for path, _ in COMMANDS])
def test_pages(path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([*path, "--help"], prog_name="calservice")
    assert not ended.value.code
    page = capsys.readouterr().out
    for title in ("Name:", "Synopsis:", "Options:", "Exit status:", "Examples:"):
        assert f"{title}\n" in page
    examples = [line.strip() for line in page.partition("Examples:\n")[2].splitlines() if "calservice " in line]
    assert examples
    known = {option for parameter in command.params for option in parameter.opts}
    for example in examples:
        words = shlex.split(
            example[example.index("calservice ") :].partition("   ")[0].rstrip(')"').partition(" > ")[0]
        )
        assert tuple(words[1 : 1 + len(path)]) == path, example
        options = {
            word.partition("=")[0] for word in words if word.startswith("--") and not word.startswith("--steps.")
        }
        assert options <= known | {"--output_dir"}, example


def complete(line: str) -> set[str]:
    """Return what a shell is told at the end of a line."""
    words = line.split(" ")
    environment = {**os.environ, "_CALSERVICE_COMPLETE": "bash_complete", "COMP_WORDS": line}
    code = "from calservice.cli import main; main(prog_name='calservice')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stdout.split())


@official
def test_completion() -> None:
    assert complete("calservice ru") == {"plain,run"}
    assert {"plain,calwebb_detector1", "plain,calwebb_dark"} <= complete("calservice run calwebb_d")
    assert complete("calservice run calwebb_detector1 --steps.jum") == {"plain,--steps.jump."}
    assert "plain,--steps.jump.rejection_threshold=" in complete("calservice run calwebb_detector1 --steps.jump.re")
    assert complete("calservice run calwebb_detector1 --expl") == {"plain,--explain"}
    assert complete("calservice run jump x.fi") == {"file,x.fi"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["completion", shell], prog_name="calservice")
    script = capsys.readouterr().out
    assert f"_CALSERVICE_COMPLETE={shell}_complete" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=True).returncode == 0


@pytest.fixture(scope="module")
def exposure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated exposure, with its CRDS cache beside it."""
    from calservice.simulate import simulate

    program = simulate(tmp_path_factory.mktemp("program"), modes=("nircam-image",), exposures=1, groups=3, stars=3)
    (path,) = program.data.glob("*_uncal.fits")
    return path


@official
@pytest.mark.parametrize(
    "line",
    [
        "steps",
        "plan {}",
        "run calwebb_detector1 {} --explain",
        "run dq_init {} --engine native --output_dir=made",
        "run saturation {} --output_dir=made",
    ],
)
def test_jwst_is_imported_by_the_official_engine_only(line: str, exposure: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CRDS_")}
    environment["CRDS_PATH"] = str(exposure.parents[1] / "crds")
    command = [sys.executable, "-X", "importtime", "-m", "calservice.cli", *shlex.split(line.format(exposure))]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = {row.rpartition("|")[2].strip() for row in ended.stderr.splitlines() if "|" in row}
    assert "calservice.engines.official" in loaded
    assert not {name for name in loaded if name.partition(".")[0] == "jwst"}
