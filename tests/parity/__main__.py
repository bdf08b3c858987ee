"""Compare all readout modes and write what is found into ``docs/parity.md``: ``python -m tests.parity [name ...]``.

Every mode is calibrated by both engines, in processes of their own; products are compared as ``calservice compare``
does. Full frames take a minute or two each.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from calservice.products.compare import FileComparison
from tests.parity.modes import MODES, Found, Mode, calibrated

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "parity.md"
_BEGIN, _END = "<!-- modes: written by python -m tests.parity -->", "<!-- end of modes -->"
_HEAD = (
    "| mode | integrations x groups x rows x columns | products | values compared | flags that differ "
    "| values beyond tolerance | of the rest, unequal | keywords that differ |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def row(mode: Mode, found: Found) -> str:
    """Return the line of a mode."""
    images = [hdu for product in found.products for hdu in product.hdus if hdu.array is not None]
    flags = [hdu.array for hdu in images if hdu.name.startswith("DQ")]
    values = [hdu.array for hdu in images if not hdu.name.startswith("DQ")]
    keywords = sum(len(hdu.keywords) for product in found.products for hdu in product.hdus)
    official = f" ({', '.join(found.official)} by the official step)" if found.official else ""
    cells = (
        mode.name + official,
        " x ".join(map(str, mode.case.shape)),
        ", ".join(sorted(_suffix(product) for product in found.products)),
        f"{sum(a.pixels for a in (*flags, *values) if a):,}",
        f"{sum(a.differing for a in flags if a):,}",
        f"{sum(a.differing for a in values if a):,}",
        f"{sum(a.tolerated for a in values if a):,}",
        f"{keywords:,}" if all(p.status != "not comparable" for p in found.products) else "not comparable",
    )
    return f"| {' | '.join(cells)} |\n"


def _suffix(product: FileComparison) -> str:
    return Path(product.name).stem.rpartition("_")[2]


def main(names: Iterable[str]) -> int:
    """Compare modes, print and write the table; return 0 where all products are the same."""
    wanted = [mode for name, mode in MODES.items() if not names or any(word.lower() in name.lower() for word in names)]
    rows, different = [], 0
    for mode in wanted:
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            try:
                found = calibrated(mode, Path(folder))
            except FileNotFoundError as fault:
                print(f"{mode.name}: left out, {fault} is not there", file=sys.stderr)
                continue
        rows.append(row(mode, found))
        print(rows[-1], end="", flush=True)
        for product in found.products:
            if product.status != "same":
                different += 1
                print(f"  {product}", file=sys.stderr)
    if not names:
        before, _, rest = _PAGE.read_text().partition(_BEGIN)
        _PAGE.write_text(f"{before}{_BEGIN}\n\n{_HEAD}{''.join(rows)}\n{_END}{rest.partition(_END)[2]}")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
