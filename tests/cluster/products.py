"""Comparing products, whole folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io.fits import FITSDiff
from astropy.table import Table

VOLATILE = ["DATE", "CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX"]


def names(folder: Path) -> set[str]:
    """Return the names of the products in a folder: all but logs and manifests."""
    return {p.name for p in folder.iterdir() if not p.name.endswith((".log", ".manifest.json"))}


def stamps(folder: Path) -> dict[str, int]:
    """Return when each file of a folder was last written."""
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def differences(one: Path, other: Path, rtol: float = 0.0, atol: float = 0.0) -> str:
    """Return what differs between two FITS files, dates apart; nothing where they agree."""
    found = FITSDiff(
        one, other, rtol=rtol, atol=atol, ignore_keywords=VOLATILE, ignore_fields=["DATE"], ignore_hdus=["ASDF"]
    )
    return "" if found.identical else found.report()


def same_tables(one: Path, other: Path) -> bool:
    """Whether two catalogs hold the same numbers."""
    first, second = Table.read(one), Table.read(other)
    if first.colnames != second.colnames or len(first) != len(second):
        return False
    return all(_same(first[n], second[n]) for n in first.colnames)


def _same(first: Table.Column, second: Table.Column) -> bool:
    if hasattr(first, "ra"):
        return bool((first.ra == second.ra).all() and (first.dec == second.dec).all())
    left, right = np.asarray(first), np.asarray(second)
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind in "fc"))


def assert_same_folders(made: Path, expected: Path) -> None:
    """Demand the same products with the same content, dates apart."""
    assert names(made) == names(expected)
    for name in sorted(names(expected)):
        if name.endswith(".fits"):
            assert not (text := differences(made / name, expected / name)), text
        else:
            assert name.endswith(".ecsv")
            assert same_tables(made / name, expected / name), name
