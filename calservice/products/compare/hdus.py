"""FITS files: extensions by name, headers card by card, images and tables value by value.

The verdict is that of `astropy.io.fits.FITSDiff` with the settings of the official regression tests, but for what
that comparator cannot see or says wrongly: see `docs/parity.md`.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.diff import diff_values

from calservice.model.errors import InputError
from calservice.products.compare.arrays import ColumnTally, compare_arrays, is_quality
from calservice.products.compare.results import (
    FileComparison,
    HduComparison,
    KeywordDifference,
    Settings,
    Status,
    TableDifference,
)
from calservice.products.compare.wcs import compare_trees_of_fits

__all__ = ["compare_fits", "unpacked"]

_ROWS = 8 * 1024 * 1024
_LAYOUT = re.compile(r"BITPIX|NAXIS\d*|TFIELDS")  # whose values are compared as shape, type, rows and columns
_COLUMN = re.compile(r"(TTYPE|TFORM|TUNIT|TNULL|TSCAL|TZERO|TDISP|TDIM|TBCOL|TCTYP|TCUNI|TCRPX|TCRVL|TCDLT|TRPOS)(\d+)")
_WIDTHS = {"TFORM", "TDIM", "TBCOL"}
_COMMENTARY = {"", "COMMENT", "HISTORY"}
_ABSENT = "(absent)"
Pair = tuple[Any, Any]


def unpacked(path: Path, folder: Path, where: str) -> Path:
    """Return the path of a file that is not compressed: itself, or what it holds, in a folder.

    Raises
    ------
    InputError
        Where the compressed file is cut short or damaged.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    target = folder / "unpacked.fits"
    try:
        with gzip.open(path) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink, 1024 * 1024)
    except (OSError, EOFError) as fault:
        raise InputError(f"{where}: not a readable gzip file: {fault}") from None
    return target


def compare_fits(name: str, paths: tuple[Path, Path], places: tuple[str, str], settings: Settings) -> FileComparison:
    """Compare two FITS files.

    Parameters
    ----------
    name : str
        What to call them.
    paths : tuple of Path
        The files, not compressed.
    places : tuple of str
        What to call each in messages.
    settings : Settings
        Tolerances and what to leave out.

    Raises
    ------
    InputError
        Where one is no FITS file or cut short.
    """
    with ExitStack() as stack:
        files = [_opened(path, place, stack) for path, place in zip(paths, places, strict=True)]
        a, b = (_named(hdus, path, where, stack) for hdus, path, where in zip(files, paths, places, strict=True))
        common = [key for key in a if key in b]
        hdus = tuple(_compare_hdu(k, (a[k], b[k]), settings) for k in common if not k.startswith("ASDF,"))
        only = [tuple(key for key in mine if key not in other) for mine, other in ((a, b), (b, a))]
        reordered = common != [key for key in b if key in a]
        wcs = compare_trees_of_fits(files[0], files[1], settings) if "ASDF,1" in common else ()
    same = not (only[0] or only[1] or reordered) and all(h.same for h in hdus) and all(w.same for w in wcs)
    status: Status = "same" if same else "different"
    return FileComparison(name, status, "FITS", "", only[0], only[1], reordered, hdus, wcs)


def _opened(path: Path, where: str, stack: ExitStack) -> Any:
    with open(path, "rb") as file:
        start = file.read(10)
    if not start.startswith(b"SIMPLE  ="):
        raise InputError(f"{where}: not a FITS file{': it is empty' if not start else ''}")
    try:  # pieces of scaled images, such as unsigned ones, can be read but not mapped
        return stack.enter_context(fits.open(path, mode="readonly", memmap=False, lazy_load_hdus=True))
    except (OSError, ValueError, TypeError, KeyError) as fault:
        raise InputError(f"{where}: not a readable FITS file: {_first_line(fault)}") from None


def _named(hdus: Any, path: Path, where: str, stack: ExitStack) -> dict[str, Any]:
    """Return the extensions by EXTNAME,EXTVER (a third part counts those that share both), all of them whole."""
    size, seen = path.stat().st_size, Counter[str]()
    found: dict[str, Any] = {}
    index = end = 0
    while True:
        try:
            hdu = hdus[index]
        except IndexError:
            _check_end(path, end, where)
            return found
        except (OSError, ValueError, TypeError, KeyError, fits.VerifyError) as fault:
            raise InputError(f"{where}: not a readable FITS file: {_first_line(fault)}") from None
        place = hdu.fileinfo()
        end = place["datLoc"] + place["datSpan"]
        if end > size:
            raise InputError(f"{where}: truncated: {size} bytes, but extension {hdu.name or index} goes on")
        if _is_table(hdu) and place["datSpan"] > _ROWS:
            hdu = stack.enter_context(fits.open(path, mode="readonly", memmap=True))[index]
        key = f"{hdu.name or f'HDU{index}'},{hdu.ver}"
        seen[key] += 1
        found[key if seen[key] == 1 else f"{key},{seen[key]}"] = hdu
        index += 1


def _check_end(path: Path, end: int, where: str) -> None:
    """Look at what follows the last extension: the begun header of another one is passed over in silence."""
    with open(path, "rb") as file:
        file.seek(end)
        if file.read(2880).strip(b"\0 "):
            raise InputError(f"{where}: truncated: what follows byte {end} is no whole extension")


def _compare_hdu(name: str, pair: Pair, settings: Settings) -> HduComparison:
    a, b = pair
    kinds = tuple("image" if h.is_image else "table" if _is_table(h) else "other" for h in pair)
    headers = a.header.copy(), b.header.copy()
    layout: list[tuple[str, Any, Any]] = []
    array = table = None
    if kinds[0] != kinds[1] or headers[0].get("XTENSION") != headers[1].get("XTENSION"):
        layout.append(("kind", headers[0].get("XTENSION", "PRIMARY"), headers[1].get("XTENSION", "PRIMARY")))
    elif kinds == ("image", "image"):
        looks = [("shape", tuple(a.shape), tuple(b.shape)), ("type", _number(headers[0]), _number(headers[1]))]
        layout += [look for look in looks if look[1] != look[2]]
        if a.shape == b.shape and a.shape:
            array = _compare_images(name, pair, tuple(a.shape), settings)
    elif kinds == ("table", "table"):
        table = _compare_tables(pair, headers, settings)
    else:
        contents = [np.frombuffer(bytes(h.data) if h.data is not None else b"", np.uint8) for h in pair]
        if len(contents[0]) == len(contents[1]):
            array = compare_arrays(contents[0].shape, 1, lambda at: (contents[0][at], contents[1][at]), settings)
        else:
            layout.append(("size", len(contents[0]), len(contents[1])))
    keywords = _compare_headers(headers, settings, is_table=kinds[0] == "table")
    return HduComparison(name, keywords, tuple(layout), array, table, settings.max_pixels)


def _is_table(hdu: Any) -> bool:
    return isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU)


def _number(header: Any) -> str:
    """Return the type of an image's numbers as stored, unsigned ones by their convention."""
    bitpix = int(header["BITPIX"])
    if bitpix < 0:
        return f"float{-bitpix}"
    unsigned = bitpix == 8 or (header.get("BZERO") == 1 << (bitpix - 1) and header.get("BSCALE", 1) == 1)
    return f"{'uint' if unsigned else 'int'}{bitpix}"


def _compare_images(name: str, pair: Pair, shape: tuple[int, ...], settings: Settings) -> Any:
    a, b = pair[0].section, pair[1].section
    itemsize = max(abs(int(h.header["BITPIX"])) // 8 for h in pair)
    return compare_arrays(shape, itemsize, lambda at: (a[at], b[at]), settings, quality=is_quality(name))


# -- headers


def _compare_headers(headers: Pair, settings: Settings, *, is_table: bool) -> tuple[KeywordDifference, ...]:
    """Compare values and comments of all cards; those of columns are left to the comparison of tables."""
    cards = [_cards(header, settings, is_table=is_table) for header in headers]
    a, b = cards
    # The official comparator counts all cards, so that one of IGNORED on one side only makes a difference
    counted = sum(map(len, a.values())) != sum(map(len, b.values()))
    found: list[KeywordDifference] = []
    for name in sorted(a.keys() | b.keys()):
        mine, theirs = a.get(name, []), b.get(name, [])
        if name in _COMMENTARY:
            found += _compare_commentary(name, mine, theirs)
        elif len(mine) != len(theirs) and (counted or not settings.ignores(name)):
            found += _lopsided(name, mine, theirs)
        elif not settings.ignores(name) and name != "NAXIS1":
            found += _compare_cards(name, mine, theirs, settings)
    return tuple(found)


def _compare_cards(name: str, a: list[Pair], b: list[Pair], settings: Settings) -> Iterator[KeywordDifference]:
    for (value, comment), (value_b, comment_b) in zip(a, b, strict=True):
        if diff_values(value, value_b, rtol=settings.rtol, atol=settings.atol) and not _LAYOUT.fullmatch(name):
            yield KeywordDifference(name, "value", _plain(value), _plain(value_b))
        elif diff_values(comment, comment_b):
            yield KeywordDifference(name, "comment", comment, comment_b)


def _compare_commentary(name: str, a: list[Pair], b: list[Pair]) -> Iterator[KeywordDifference]:
    """Compare lines of text: which are on one side only, or that they come in another order."""
    lines, lines_b = ([str(value) for value, _ in side] for side in (a, b))
    name = name or "(no keyword)"
    if sorted(lines) == sorted(lines_b):
        if lines != lines_b:
            yield KeywordDifference(name, "order of lines")
        return
    for line in (Counter(lines) - Counter(lines_b)).elements():
        yield KeywordDifference(name, "only in A", line, None)
    for line in (Counter(lines_b) - Counter(lines)).elements():
        yield KeywordDifference(name, "only in B", None, line)


def _lopsided(name: str, a: list[Pair], b: list[Pair]) -> list[KeywordDifference]:
    longer, what = (a, "only in A") if len(a) > len(b) else (b, "only in B")
    extra = longer[min(len(a), len(b)) :]
    values = [_plain(value) for value, _ in extra]
    return [KeywordDifference(name, what, *((v, None) if longer is a else (None, v))) for v in values]


def _cards(header: Any, settings: Settings, *, is_table: bool) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for card in header.cards:
        name = card.keyword
        if settings.omits(name) or not str(card).strip() or (is_table and _COLUMN.fullmatch(name)):
            continue
        value = card.value.rstrip() if isinstance(card.value, str) else card.value
        found.setdefault(name, []).append((value, card.comment))
    return found


# -- tables


def _compare_tables(pair: Pair, headers: Pair, settings: Settings) -> TableDifference:
    columns = [{c.name.lower(): c.name for c in hdu.columns if not settings.omits(c.name)} for hdu in pair]
    a, b = columns
    rows = int(headers[0]["NAXIS2"]), int(headers[1]["NAXIS2"])
    common = [key for key in a if key in b]
    only = [tuple(name for key, name in mine.items() if key not in other) for mine, other in ((a, b), (b, a))]
    described = [_attributes(header) for header in headers]
    attributes = {
        key: _compare_attributes(described[0].get(key, {}), described[1].get(key, {}), settings.ignores(key))
        for key in common
    }
    tallies = {key: ColumnTally(a[key], settings) for key in common}
    if rows[0] == rows[1]:
        formats = [
            {key: hdu.columns[side[key]].format for key in common} for hdu, side in zip(pair, columns, strict=True)
        ]
        compared = [k for k in common if not settings.ignores(k) and formats[0][k] == formats[1][k]]
        for piece, piece_b in _pieces(pair):
            for key in compared:
                tallies[key].add(piece[a[key]], piece_b[b[key]])
    found = [tallies[key].result(attributes[key]) for key in common]
    different = tuple(column for column in found if column is not None)
    reordered = common != [key for key in b if key in a]
    tolerated = sum(tally.tolerated for tally in tallies.values())
    return TableDifference(rows, only[0], only[1], reordered, different, tolerated)


def _pieces(pair: Pair) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of both tables, some megabytes at a time."""
    a, b = pair[0].data, pair[1].data
    step = max(1, _ROWS // max(1, a.dtype.itemsize))
    if len(a) <= step:  # cutting costs more than comparing, with hundreds of columns
        yield a, b
        return
    for start in range(0, len(a), step):
        yield a[start : start + step], b[start : start + step]


def _attributes(header: Any) -> dict[str, dict[str, Any]]:
    """Return what a header says of each column, by the column's name in lower case: {keyword's root: card}."""
    numbered: dict[str, dict[str, Any]] = {}
    for card in header.cards:
        matched = _COLUMN.fullmatch(card.keyword)
        if matched:
            value = card.value.rstrip() if isinstance(card.value, str) else card.value
            numbered.setdefault(matched[2], {})[matched[1]] = (value, card.comment)
    return {str(of["TTYPE"][0]).lower(): of for of in numbered.values() if "TTYPE" in of}


def _compare_attributes(a: dict[str, Any], b: dict[str, Any], ignored: bool) -> tuple[tuple[str, Any, Any], ...]:
    found = []
    for root in sorted(a.keys() | b.keys()):
        if ignored and root in _WIDTHS:
            continue
        mine, theirs = a.get(root, (_ABSENT, "")), b.get(root, (_ABSENT, ""))
        if mine[0] != theirs[0]:
            found.append((root, _plain(mine[0]), _plain(theirs[0])))
        elif mine[1] != theirs[1] and root != "TFORM":
            found.append((f"comment of {root}", mine[1], theirs[1]))
    return tuple(found)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _first_line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
