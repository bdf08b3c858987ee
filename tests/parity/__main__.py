"""Compare both engines and write what is found into ``docs/parity.md``: ``python -m tests.parity [name ...]``.

Names choose readout modes by any part of their names; ``parameters`` stands for all values of the steps' parameters,
``modes`` for all modes. Without names both are compared.

Every readout mode is calibrated by both engines, in processes of their own; the products, and what each step made of
the exposure, are compared as ``calservice compare`` does. Full frames take some minutes each. Tables are written where
all of their lines were compared.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from calservice.products.compare import FileComparison
from calservice.steps.registry import NATIVE
from tests.parity.counts import count
from tests.parity.modes import MODES, Found, Mode, calibrated
from tests.parity.parameters import VARIATIONS, Variation
from tests.parity.variations import Compared, compared

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
_HEAD = (
    "| mode | integrations x groups x rows x columns | products | values compared | flags that differ "
    "| values beyond tolerance | of the rest, unequal | keywords that differ |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
_PARAMETERS_HEAD = (
    "| step | parameter | default | other values | exposures | values compared | unequal |\n"
    "|---|---|---|---|---|---|---|\n"
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
    millions = [sum(each.values for each in one.values()) / 1e6 for one in counts.values()]
    totals = [f"{n:,.1f}" if n > 1 else f"{n:.2g}" for n in millions]
    lines.append(f"| compared, millions | {' | '.join(totals)} |\n")
    return "".join(lines)


def main(names: Sequence[str]) -> int:
    """Compare modes and parameters, print what is found and write the tables; return 0 where nothing differs."""
    everything = [name for name in ("modes", "parameters") if not names or name in names]
    different = 0
    if "modes" in everything or not everything:
        words = [] if "modes" in everything else [name.lower() for name in names]
        different += compare_modes([m for n, m in MODES.items() if not words or any(w in n.lower() for w in words)])
    if "parameters" in everything:
        different += compare_parameters()
    return int(different > 0)


def compare_modes(wanted: Sequence[Mode]) -> int:
    """Compare modes; return how many products differ."""
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
        different += told([*found.products, *(result for results in found.steps.values() for result in results)])
    print(matrix(all_found))
    if len(wanted) == len(MODES):
        write("modes", _HEAD + "".join(rows))
        write("steps", matrix(all_found))
    return different


def compare_parameters() -> int:
    """Compare values of parameters; return how many products differ."""
    rows, different = [], 0
    for one in VARIATIONS:
        found = [] if one.official else list(compared(one))
        rows.append(parameter_row(one, found))
        print(rows[-1], end="", flush=True)
        different += told([file for each in found for file in each.files])
    write("parameters", _PARAMETERS_HEAD + "".join(rows))
    return different


def parameter_row(one: Variation, found: Sequence[Compared]) -> str:
    """Return the line of a parameter, or of some of its values."""
    with_these = ", ".join(f"{name}={_shown(value)}" for name, value in one.given.items())
    counts = count(file for each in found for file in each.files)
    cells = (
        one.step,
        one.parameter + (f"<br>with {with_these}" if with_these else ""),
        _shown(NATIVE[one.step].params.model_fields[one.parameter].default),
        ", ".join(map(_shown, one.values)) + (" (no effect)" if one.inert else ""),
        "; ".join(one.scenes),
        "official step" if one.official else f"{counts.values:,}",
        "" if one.official else counts.cell,
    )
    return f"| {' | '.join(cells)} |\n"


def _shown(value: object) -> str:
    if isinstance(value, str) and value.startswith("@"):
        return "a file"
    return f"`{value}`"


def told(products: Iterable[FileComparison]) -> int:
    """Tell of products that differ; return how many."""
    different = [product for product in products if product.status != "same"]
    for product in different:
        print(f"  {product}", file=sys.stderr)
    return len(different)


def write(name: str, table: str) -> None:
    """Put a table in its place in the page."""
    begin, end = f"<!-- {name}: written by python -m tests.parity -->", f"<!-- end of {name} -->"
    before, found, rest = _PAGE.read_text().partition(begin)
    assert found, f"{_PAGE} has no place for {name}"
    _PAGE.write_text(f"{before}{begin}\n\n{table}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
