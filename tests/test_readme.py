"""The examples of the README, run as they stand, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("readme")]


def _examples() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_examples(tmp_path: Path) -> None:
    environment = dict(os.environ)
    commands = _examples()
    assert sum(c.startswith("calservice ") for c in commands) >= 8
    for command in commands:
        words = shlex.split(command)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environment[name] = value
        elif words[0] == "unset":
            for name in words[1:]:
                environment.pop(name, None)
        else:
            assert words[0] == "calservice"
            call = [sys.executable, "-m", "calservice.cli", *words[1:]]
            done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert list((tmp_path / "products").glob("*-o001_*_i2d.fits"))
    assert list((tmp_path / "products").glob("*mirimage_cal.fits"))
    assert list((tmp_path / "single").glob("*_rate.fits"))


def test_links_of_the_documents_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
