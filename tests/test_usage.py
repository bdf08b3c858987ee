"""The table of promises in docs/usage.md: each row names tests, and those exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def _rows() -> list[tuple[str, list[str]]]:
    found = []
    for line in (ROOT / "docs" / "usage.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[2] != "Test":
            found.append((cells[0], re.findall(r"`(tests/[^`]+)`", cells[2])))
    return found


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_promise_has_a_test() -> None:
    rows = _rows()
    assert len(rows) > 30
    for promise, tests in rows:
        assert tests, promise
        for test in tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).is_file(), test
            assert not name or name in _functions(ROOT / path), test
            assert name or any(f.startswith("test_") for f in _functions(ROOT / path)), test
