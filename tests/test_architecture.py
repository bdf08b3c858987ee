"""Imports point one way, and starting up is cheap."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import calservice

ROOT = Path(calservice.__file__).parent

# What each part of the package may import of the others. Itself, and `calservice` for its version, always.
MODEL = {"model"}
STEPS = MODEL | {"steps", "disk"}
PLAN = STEPS | {"fits_on_disk", "recipes", "engines", "references", "products", "plan"}
RUN = PLAN | {"run"}
ALLOWED: dict[str, set[str]] = {
    "model": set(),
    "steps": MODEL | {"disk"},
    "disk": MODEL,
    "fits_on_disk": MODEL | {"disk"},
    "references": MODEL | {"disk", "fits_on_disk"},
    "products": MODEL,
    "recipes": STEPS,
    "engines": STEPS | {"recipes", "references", "products"},
    "plan": PLAN,
    "run": RUN - {"plan"},  # a plan is a noun of the model; how it was made is no business of what runs it
    "simulate": MODEL | {"references", "products"},
    "report": MODEL | {"products"},
    "report_compare": MODEL | {"products"},
    "report_references": MODEL | {"products", "references", "needs", "report"},
    "needs": PLAN,
    "report_html": MODEL | {"products", "report"},
    "classes": RUN - {"plan"},
    "describe": PLAN,
    "single": RUN | {"describe", "report", "service"},
    "service": RUN | {"report", "report_compare", "report_html"},
    "client": RUN | {"report_html", "service"},
    "demo": RUN | {"report", "service", "simulate"},
    "kernels": RUN | {"simulate"},
    "cli": RUN
    | {"describe", "report", "report_compare", "single", "service", "demo", "simulate", "needs", "report_references"},
}

CLASSES = {"steps/__init__.py", "pipelines.py", "engines/strun.py", "engines/strun_base.py"}
"""What makes stpipe classes of steps. They run steps, so they sit above ``run``, wherever users expect to find them:
`calservice.steps.LinearityStep` is made when it is asked for, and nothing below asks for it."""

HEAVY = {"jwst", "astropy", "dask", "distributed", "numba", "numpy", "scipy", "stdatamodels", "stpipe", "crds", "gwcs",
         "asdf", "pydantic", "fsspec", "s3fs"}  # fmt: skip


def modules() -> Iterator[tuple[str, Path]]:
    """Yield every module of the package: the part it belongs to, and its file."""
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        if inside.as_posix() in CLASSES:
            yield "classes", path
        elif inside.parts != ("__init__.py",):
            yield inside.parts[0].removesuffix(".py"), path


def imported(path: Path) -> set[str]:
    """Return the full names that a module imports, wherever in it; those for type checkers do not count."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parts_of(names: set[str]) -> set[str]:
    """Return the parts of calservice that names belong to."""
    inner = {name.split(".")[1] for name in names if name.startswith("calservice.")}
    return inner - {"__version__"}


def test_every_part_has_its_place() -> None:
    assert {part for part, _ in modules()} == set(ALLOWED)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part: str) -> None:
    against = {
        f"{path.relative_to(ROOT)} imports {other}"
        for own, path in modules()
        if own == part
        for other in parts_of(imported(path)) - ALLOWED[part] - {part}
    }
    assert not against


def test_the_order_has_no_circle() -> None:
    """Read as a graph, what may be imported leads nowhere back."""
    left = {part: others - {part} for part, others in ALLOWED.items()}
    while left:
        free = {part for part, others in left.items() if not others & left.keys()}
        assert free, left
        left = {part: others for part, others in left.items() if part not in free}


@pytest.mark.parametrize(
    ("library", "owner"), [("dask", "run/cluster.py"), ("distributed", "run/cluster.py"), ("jwst", "engines/")]
)
def test_libraries_with_one_owner(library: str, owner: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for _, path in modules()
        if library in {name.split(".")[0] for name in imported(path)}
    }
    assert users <= {user for user in users if user.startswith(owner)}
    if library != "jwst":  # official steps are imported by the path that their catalog holds
        assert users == {owner}


@pytest.mark.parametrize(
    "command",
    [
        ["-c", "import calservice.cli"],
        ["-m", "calservice.cli", "--help"],
        ["-m", "calservice.cli", "submit", "--help"],
        ["-m", "calservice.cli", "run", "calwebb_detector1", "-h"],
        ["-m", "calservice.cli", "completion", "bash"],
        ["-c", "from calservice.cli import main; main(prog_name='calservice')"],  # completes the words below
    ],
)
def test_starting_up_is_cheap(command: list[str]) -> None:
    if "-h" in command:
        pytest.importorskip("jwst", reason="without the official package, its parameters are those of native steps")
    environment = dict(os.environ)
    if "prog_name" in command[-1]:
        environment |= {"_CALSERVICE_COMPLETE": "bash_complete", "COMP_WORDS": "calservice run calwebb_de"}
        environment["COMP_CWORD"] = "2"
    whole = [sys.executable, "-X", "importtime", *command]
    ended = subprocess.run(whole, env=environment, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in ended.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not loaded & HEAVY


def test_importing_steps_makes_no_classes() -> None:
    code = "import sys, calservice.steps, calservice.pipelines; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in ended.stdout.split()} & HEAVY


@pytest.mark.parametrize("part", ["references", "references.cache", "references.select", "references.pinned"])
def test_the_parts_of_references_import_lazily(part: str) -> None:
    code = f"import sys, calservice.{part}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in ended.stdout.split()} & {"crds", "stpipe", "asdf", "astropy", "numpy"}
