"""What comparisons of products come to, in numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from calservice.products.compare import FileComparison
from calservice.products.compare.results import ArrayDifference

__all__ = ["Counts", "count"]


@dataclass(frozen=True)
class Counts:
    """How many values of some products were compared, and how many are not equal."""

    values: int
    flags: int
    """Data quality that differs."""
    beyond: int
    """Values that differ beyond tolerance."""
    keywords: int
    others: int
    """Products that differ in another way, or are made by one engine only."""
    within: int
    """Values that are unequal, but within tolerance."""

    @property
    def cell(self) -> str:
        """All of it in short: how many are unequal within tolerance, or what differs."""
        if not self.values:
            return "**nothing compared**"
        found = ((self.flags, "flags"), (self.beyond, "values"), (self.keywords, "keywords"), (self.others, "products"))
        differing = ", ".join(f"{n:,} {what}" for n, what in found if n)
        return f"**{differing} differ**" if differing else f"{self.within:,}"


def count(products: Iterable[FileComparison]) -> Counts:
    """Count what differs in products."""
    products = list(products)
    images = [(hdu.name, hdu.array) for product in products for hdu in product.hdus if hdu.array is not None]
    flags = [array for name, array in images if _is_quality(name)]
    values = [array for name, array in images if not _is_quality(name)]
    keywords = sum(len(hdu.keywords) for product in products for hdu in product.hdus)
    found = (_differing(flags), _differing(values), keywords)
    others = 0 if any(found) else sum(product.status != "same" for product in products)
    return Counts(
        values=sum(array.pixels for _, array in images),
        flags=found[0],
        beyond=found[1],
        keywords=keywords,
        others=others,
        within=sum(array.tolerated for array in values),
    )


def _is_quality(name: str) -> bool:
    return name.partition(",")[0].endswith("DQ")


def _differing(arrays: Iterable[ArrayDifference]) -> int:
    return sum(array.differing for array in arrays)
