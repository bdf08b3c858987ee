"""Compare both engines and write what is found into ``docs/parity.md``: ``python -m tests.parity [name ...]``.

Every readout mode is calibrated by both engines, in processes of their own; the products, and what each step made of
the exposure, are compared as ``calservice compare`` does. Full frames take some minutes each. With names, only the
modes whose names have one of these in them are compared, and nothing is written.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from calservice.products.compare import FileComparison
from calservice.steps.registry import NATIVE
from tests.parity.counts import count
from tests.parity.modes import MODES, Found, Mode, calibrated

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
_HEAD = (
    "| mode | integrations x groups x rows x columns | products | values compared | flags that differ "
    "| values beyond tolerance | of the rest, unequal | keywords that differ |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def row(mode: Mode, found: Found) -> str:
    """Return the line of a mode."""
    counts = count(found.products)
    official = f" ({', '.join(found.official)} by the official step)" if found.official else ""
    cells = (
        mode.name + official,
        " x ".join(map(str, mode.case.shape)),
        ", ".join(sorted(_suffix(product) for product in found.products)),
        *(f"{n:,}" for n in (counts.values, counts.flags, counts.beyond, counts.within)),
        "not comparable" if counts.others else f"{counts.keywords:,}",
    )
    return f"| {' | '.join(cells)} |\n"


def _suffix(product: FileComparison) -> str:
    return Path(product.name).stem.rpartition("_")[2]


def matrix(found: Mapping[str, Found]) -> str:
    """Return the tables of steps, one for each instrument: a line for each step, a column for each mode."""
    instruments = dict.fromkeys(MODES[name].case.instrument for name in found)
    return "\n".join(_matrix({k: v for k, v in found.items() if MODES[k].case.instrument == i}) for i in instruments)


def _matrix(found: Mapping[str, Found]) -> str:
    instrument = next(iter(found)).partition(" ")[0]
    lines = [f"| {instrument} | {' | '.join(name.partition(' ')[2] for name in found)} |\n"]
    lines.append("|---" * (len(found) + 1) + "|\n")
    counts = {name: {alias: count(one.steps[alias]) for alias in one.native} for name, one in found.items()}
    for alias in (alias for alias in NATIVE if any(alias in one for one in counts.values())):
        cells = [one[alias].cell if alias in one else "" for one in counts.values()]
        lines.append(f"| {alias} | {' | '.join(cells)} |\n")
    totals = [f"{sum(c.values for c in one.values()) / 1e6:,.1f}" for one in counts.values()]
    lines.append(f"| compared, millions | {' | '.join(totals)} |\n")
    return "".join(lines)


def main(names: Iterable[str]) -> int:
    """Compare modes, print what is found and write the tables; return 0 where nothing differs."""
    wanted = [mode for name, mode in MODES.items() if not names or any(word.lower() in name.lower() for word in names)]
    rows, all_found, different = [], {}, 0
    for mode in wanted:
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            try:
                found = calibrated(mode, Path(folder))
            except FileNotFoundError as fault:
                print(f"{mode.name}: left out, {fault} is not there", file=sys.stderr)
                continue
        all_found[mode.name] = found
        rows.append(row(mode, found))
        print(rows[-1], end="", flush=True)
        for product in (*found.products, *(result for results in found.steps.values() for result in results)):
            if product.status != "same":
                different += 1
                print(f"  {product}", file=sys.stderr)
        if not names:
            write("modes", _HEAD + "".join(rows))
            write("steps", matrix(all_found))
    print(matrix(all_found))
    return int(different > 0)


def write(name: str, table: str) -> None:
    """Put a table in its place in the page."""
    begin, end = f"<!-- {name}: written by python -m tests.parity -->", f"<!-- end of {name} -->"
    before, found, rest = _PAGE.read_text().partition(begin)
    assert found, f"{_PAGE} has no place for {name}"
    _PAGE.write_text(f"{before}{begin}\n\n{table}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
