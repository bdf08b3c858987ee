"""Comparing products under the comparator of the official regression tests, with a report that can be read.

- `compare_places`: two files or two folders, paths or URLs;
- ``results``: what it finds, as values;
- ``hdus``, ``trees``: files by format; ``arrays``, ``wcs``: what they hold.

Importing this is cheap; NumPy and Astropy are imported when files are compared.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from calservice.model.errors import CalserviceError, InputError, Problems
from calservice.products.compare.results import Comparison, FileComparison, Settings
from calservice.products.store import Store, parent_of, shown

__all__ = ["Comparison", "FileComparison", "Settings", "compare_places"]

_LEFT_OUT = (".manifest.json", ".log")
_Comparer = Callable[[str, tuple[Path, Path], tuple[str, str], Settings], FileComparison]


@dataclass(frozen=True)
class _Side:
    """One of the two places: its files by the name under which they are matched, and where they are."""

    place: str
    folder: bool
    store: Store
    names: frozenset[str]

    def bring(self, name: str, scratch: Path) -> Path:
        """Return the local path of a file, fetched where it is remote."""
        return self.store.path(name) if self.store.local else self.store.fetch(name, scratch)

    def where(self, name: str) -> str:
        """Return what to call a file in messages."""
        return shown(self.store.join(name))


def compare_places(a: str, b: str, settings: Settings | None = None, *, everything: bool = False) -> Comparison:
    """Compare two products, or two folders of products.

    Parameters
    ----------
    a, b : str
        Paths or URLs; ``b`` is what tolerances are relative to.
    settings : Settings, optional
        Tolerances and what to leave out; by default those of the official regression tests.
    everything : bool
        Whether to compare manifests and logs of folders too.

    Returns
    -------
    Comparison
        Every file, with the verdict.

    Raises
    ------
    InputError
        Where a place does not exist or cannot be read, or one is a file and the other a folder. In folders, a file
        that cannot be read is part of the result.
    """
    settings = settings or Settings()
    sides, faults = [], []
    for place in (a, b):
        try:
            sides.append(_side(place, everything))
        except CalserviceError as fault:
            faults.append(fault)
    if faults:
        raise Problems(faults)
    one, other = sides
    if one.folder != other.folder:
        folder, file = (one, other) if one.folder else (other, one)
        raise InputError(f"{shown(folder.place)} is a folder, {shown(file.place)} a file. Name two of a kind.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = tuple(_in_folders(one, other, settings) if one.folder else [_pair(one, other, settings)])
    return Comparison(shown(a), shown(b), settings, files)


def _side(place: str, everything: bool) -> _Side:
    store, name = Store(place), PurePosixPath(place.rstrip("/")).name
    parent = Store(parent_of(place))
    if store.local:
        path = Path(store.root)
        if path.is_file():
            return _Side(place, False, Store(path.parent), frozenset({path.name}))
        if not path.exists():
            raise InputError(f"{place}: no such file or folder")
    try:
        found = store.listing(deep=True)
    except InputError:  # what serves single files only cannot list
        if store.local:
            raise
        found = {}
    if not store.local and not found:
        if parent.stat(name) is None:
            raise InputError(f"{shown(place)}: no such file or folder")
        return _Side(place, False, parent, frozenset({name}))
    return _Side(place, True, store, frozenset(n for n in found if everything or not n.endswith(_LEFT_OUT)))


def _in_folders(a: _Side, b: _Side, settings: Settings) -> list[FileComparison]:
    if not a.names | b.names:
        raise InputError(f"{shown(a.place)}: no product in it, nor in {shown(b.place)}")
    files = []
    for name in sorted(a.names | b.names):
        if name not in a.names or name not in b.names:
            files.append(FileComparison(name, "only in A" if name in a.names else "only in B"))
            continue
        try:
            files.append(_compare(name, (a, b), (name, name), settings))
        except InputError as fault:
            files.append(FileComparison(name, "not comparable", reason=str(fault)))
    return files


def _pair(a: _Side, b: _Side, settings: Settings) -> FileComparison:
    (name,), (other,) = a.names, b.names
    return _compare(name if name == other else f"{name}, {other}", (a, b), (name, other), settings)


def _compare(label: str, sides: tuple[_Side, _Side], names: tuple[str, str], settings: Settings) -> FileComparison:
    from calservice.products.compare.hdus import unpacked

    with tempfile.TemporaryDirectory(prefix="calservice-compare-") as scratch:
        paths, places, formats = [], [], []
        for side, name, folder in zip(sides, names, ("a", "b"), strict=True):
            room, where = Path(scratch, folder), side.where(name)
            room.mkdir()
            try:
                path = unpacked(side.bring(name, room), room, where)
                with open(path, "rb") as file:
                    formats.append(_format(file.read(64), name))
            except OSError as fault:
                raise InputError(f"{where}: cannot be read: {fault.strerror or fault}") from None
            paths.append(path)
            places.append(where)
        if formats[0] != formats[1]:
            raise InputError(f"{places[0]} is {formats[0]}, {places[1]} {formats[1]}: not comparable")
        try:
            return _comparer(formats[0])(label, (paths[0], paths[1]), (places[0], places[1]), settings)
        except OSError as fault:
            raise InputError(f"{places[0]} or {places[1]}: cannot be read: {fault.strerror or fault}") from None
        except (ValueError, TypeError, KeyError, IndexError, EOFError) as fault:
            cause = (str(fault).splitlines() or [type(fault).__name__])[0]
            raise InputError(f"{places[0]} or {places[1]}: damaged: {cause}") from None


def _format(start: bytes, name: str) -> str:
    """Tell the format by what a file begins with; by its name where that says nothing."""
    for magic, found in ((b"SIMPLE  =", "FITS"), (b"#ASDF", "ASDF"), (b"# %ECSV", "ECSV")):
        if start.startswith(magic):
            return found
    ends = {".fits": "FITS", ".fits.gz": "FITS", ".asdf": "ASDF", ".ecsv": "ECSV", ".json": "JSON"}
    return next((found for end, found in ends.items() if name.lower().endswith(end)), "bytes")


def _comparer(form: str) -> _Comparer:
    from calservice.products.compare import hdus, trees

    comparers: dict[str, _Comparer] = {
        "FITS": hdus.compare_fits,
        "ASDF": trees.compare_asdf,
        "ECSV": trees.compare_ecsv,
        "JSON": trees.compare_json,
    }
    return comparers.get(form, trees.compare_bytes)
