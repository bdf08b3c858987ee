"""What a comparison finds, as frozen values, and the verdict that follows from it.

A value that holds no difference says so (``same``); a value that holds some is as exact as can be: how many, how
far, where. Indices count from zero, slowest axis first, as in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

__all__ = [
    "IGNORED",
    "ArrayDifference",
    "ColumnDifference",
    "Comparison",
    "FileComparison",
    "HduComparison",
    "KeywordDifference",
    "NodeDifference",
    "Settings",
    "Status",
    "TableDifference",
    "WcsDifference",
]

IGNORED = ("DATE", "CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX")
"""Keywords and columns that the official regression tests leave out."""

Status = Literal["same", "different", "only in A", "only in B", "not comparable"]
Index = tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """Under which rules files are compared; the defaults are those of the official regression tests.

    Parameters
    ----------
    rtol, atol : float
        Two numbers a and b are the same where ``|a - b| <= atol + rtol * |b|``. Whole numbers and data quality must
        be equal.
    ignore : tuple of str
        Keywords, columns and metadata to leave out besides `IGNORED`; ``*`` and ``?`` stand for any characters.
    max_pixels : int
        How many pixels of each image may differ all the same: where rounding flips a threshold.
    """

    rtol: float = 1e-5
    atol: float = 1e-7
    ignore: tuple[str, ...] = ()
    max_pixels: int = 0

    def omits(self, name: str) -> bool:
        """Whether the user asked to leave a name out altogether."""
        return any(fnmatchcase(name.upper(), pattern.upper()) for pattern in self.ignore)

    def ignores(self, name: str) -> bool:
        """Whether the value of a keyword or column does not count."""
        return name.upper() in IGNORED or self.omits(name)


@dataclass(frozen=True)
class ArrayDifference:
    """How the values of two arrays of one shape differ.

    Parameters
    ----------
    pixels : int
        How many values there are.
    differing : int
        How many differ beyond tolerance; those that are finite on one side only are among them.
    tolerated : int
        How many are unequal, but within tolerance.
    only_a_finite, only_b_finite : int
        How many are finite on that side only.
    kinds : int
        How many are not finite on either side, but not the same (NaN and infinite), which the comparator of the
        official tests takes for equal.
    largest_absolute, largest_relative : float or None
        Largest \\|a - b\\| and \\|a - b\\| / \\|b\\| of the differing values that are finite on both sides.
    worst : tuple of int or None
        Where the largest absolute difference is.
    values : tuple or None
        Values of A and B there.
    box : tuple or None
        First and last index of differing values along each axis.
    flags : tuple of (str, int)
        For data quality: in how many pixels each flag differs, by its name.
    """

    pixels: int
    differing: int = 0
    tolerated: int = 0
    only_a_finite: int = 0
    only_b_finite: int = 0
    kinds: int = 0
    largest_absolute: float | None = None
    largest_relative: float | None = None
    worst: Index | None = None
    values: tuple[Any, Any] | None = None
    box: tuple[tuple[int, int], ...] | None = None
    flags: tuple[tuple[str, int], ...] = ()

    @property
    def same(self) -> bool:
        """Whether no value differs."""
        return not self.differing

    @property
    def fraction(self) -> float:
        """Which part of the values differs."""
        return self.differing / self.pixels if self.pixels else 0.0


@dataclass(frozen=True)
class KeywordDifference:
    """A keyword with other values (``what`` is "value") or comments, or on one side only ("only in A")."""

    name: str
    what: str
    a: Any = None
    b: Any = None


@dataclass(frozen=True)
class ColumnDifference:
    """A column that is not the same: rows that differ, the first of them, and attributes (name, A's, B's)."""

    name: str
    rows: int = 0
    first: int | None = None
    values: ArrayDifference | None = None
    attributes: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True)
class TableDifference:
    """How two tables differ; ``columns`` holds only the columns that are not the same."""

    rows: tuple[int, int]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    reordered: bool = False
    columns: tuple[ColumnDifference, ...] = ()
    tolerated: int = 0

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        alike = self.rows[0] == self.rows[1]
        return alike and not (self.only_a or self.only_b or self.reordered or self.columns)


@dataclass(frozen=True)
class HduComparison:
    """Two extensions of one name: headers, and images or tables.

    Parameters
    ----------
    name : str
        EXTNAME,EXTVER.
    keywords : tuple of KeywordDifference
        What differs in the headers.
    layout : tuple of (str, object, object)
        Shape, type of numbers or kind of extension, where these differ; values were not compared then, except
        where only the type of numbers differs.
    array : ArrayDifference or None
        How the images differ.
    table : TableDifference or None
        How the tables differ.
    allowed : int
        How many pixels may differ.
    """

    name: str
    keywords: tuple[KeywordDifference, ...] = ()
    layout: tuple[tuple[str, Any, Any], ...] = ()
    array: ArrayDifference | None = None
    table: TableDifference | None = None
    allowed: int = 0

    @property
    def same(self) -> bool:
        """Whether nothing differs but pixels whose number is allowed."""
        within = self.array is None or self.array.differing <= self.allowed
        return not (self.keywords or self.layout) and within and (self.table is None or self.table.same)

    @property
    def allowance(self) -> int:
        """How many differing pixels were let pass."""
        return self.array.differing if self.array and 0 < self.array.differing <= self.allowed else 0

    @property
    def tolerated(self) -> int:
        """How many values are unequal, but within tolerance."""
        return (self.array.tolerated if self.array else 0) + (self.table.tolerated if self.table else 0)


@dataclass(frozen=True)
class WcsDifference:
    """How far two WCSs lie apart over a grid of pixels.

    Parameters
    ----------
    path : str
        Where in the tree they are.
    points : int
        How many pixels were evaluated.
    sky : float or None
        Largest separation on the sky, in milliarcseconds; None without celestial coordinates.
    in_pixels : float or None
        The same in units of the pixels there.
    other : float or None
        Largest difference of the other coordinates (wavelength, order, time), in their units.
    at : tuple of float or None
        The pixel with the largest separation.
    undefined : int
        At how many pixels only one of them is defined.
    reason : str
        What else differs, such as frames or bounding boxes, or why they could not be evaluated.
    same : bool
        Whether they do the same, within tolerance.
    """

    path: str
    points: int = 0
    sky: float | None = None
    in_pixels: float | None = None
    other: float | None = None
    at: tuple[float, ...] | None = None
    undefined: int = 0
    reason: str = ""
    same: bool = True


@dataclass(frozen=True)
class NodeDifference:
    """A node of a tree (ASDF, JSON, metadata of a catalog) that differs, or is on one side only."""

    path: str
    what: str
    a: Any = None
    b: Any = None
    array: ArrayDifference | None = None


@dataclass(frozen=True)
class FileComparison:
    """Two files of one name; what is empty does not apply or does not differ.

    Parameters
    ----------
    name : str
        Name of the file, relative to the folder where folders are compared.
    status : str
        The verdict.
    format : str
        FITS, ASDF, ECSV, JSON or bytes.
    reason : str
        Why the files cannot be compared.
    only_a, only_b : tuple of str
        Extensions on one side only.
    reordered : bool
        Whether the extensions come in another order.
    hdus : tuple of HduComparison
        All extensions that both have.
    wcs : tuple of WcsDifference
        All WCSs that both have.
    nodes : tuple of NodeDifference
        Nodes of trees that differ.
    table : TableDifference or None
        The table of a catalog.
    """

    name: str
    status: Status
    format: str = ""
    reason: str = ""
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    reordered: bool = False
    hdus: tuple[HduComparison, ...] = ()
    wcs: tuple[WcsDifference, ...] = ()
    nodes: tuple[NodeDifference, ...] = ()
    table: TableDifference | None = None

    @property
    def allowance(self) -> tuple[tuple[str, int], ...]:
        """Extensions in which differing pixels were let pass, and how many."""
        return tuple((hdu.name, hdu.allowance) for hdu in self.hdus if hdu.allowance)

    @property
    def tolerated(self) -> int:
        """How many values are unequal, but within tolerance."""
        return sum(hdu.tolerated for hdu in self.hdus) + (self.table.tolerated if self.table else 0)


@dataclass(frozen=True)
class Comparison:
    """All files of two places, compared."""

    a: str
    b: str
    settings: Settings
    files: tuple[FileComparison, ...]

    @property
    def same(self) -> bool:
        """Whether every file is the same on both sides."""
        return all(file.status == "same" for file in self.files)

    def count(self, status: Status) -> int:
        """How many files have a status."""
        return sum(file.status == status for file in self.files)
