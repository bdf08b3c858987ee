"""Which files count as inputs, and which are to be made from what precedes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from calservice.model.exposure import FileStat
from calservice.model.names import STAGE_OF_SUFFIX, base_and_suffix

__all__ = ["Folder", "Inputs", "Start"]

Start = Literal["auto", "uncal", "ramp", "rate", "cal"]
_LAST = {"auto": 9, "uncal": 0, "ramp": 1, "rate": 2, "cal": 3}


@dataclass(frozen=True)
class Folder:
    """The files beside an association or exposure, by name relative to the folder.

    Attributes
    ----------
    files : mapping of str to FileStat
        What is there.
    made : frozenset of str
        Names that calservice itself made from something else; they are products, never inputs, as long as
        what they were made from is there.
    """

    url: str
    files: Mapping[str, FileStat]
    made: frozenset[str] = frozenset()

    @cached_property
    def by_leaf(self) -> Mapping[str, FileStat]:
        """The files by name without sub-folder; those of the folder itself come first."""
        found: dict[str, FileStat] = {}
        for name in sorted(self.files, key=lambda n: n.count("/")):
            found.setdefault(name.rpartition("/")[2], self.files[name])
        return found


@dataclass
class Inputs:
    """The files at hand, and how far along those may be that are taken as they are.

    Attributes
    ----------
    folders : mapping of str to Folder
        By path or URL.
    start : str
        ``auto`` takes the most advanced file of an exposure, others none further along than they say.
    given : dict
        Exposures named one by one, by base name: nothing further along than the named file is taken instead of it,
        unless ``start`` says so.
    """

    folders: Mapping[str, Folder]
    start: Start = "auto"
    given: dict[str, FileStat] = field(default_factory=dict)

    def find(self, name: str, folder: str) -> FileStat | None:
        """Return the file called ``name``, compressed or not, in the sub-folder it names or beside; None if absent."""
        listing = self.folders.get(folder)
        if listing is None:
            return None
        leaf = name.rpartition("/")[2]
        places = ((listing.files, name), (listing.by_leaf, leaf))
        return next((f for held, n in places for ending in ("", ".gz") if (f := held.get(f"{n}{ending}"))), None)

    def folder_of(self, file: FileStat) -> str:
        """Return the folder that lists a file."""
        return next((u for u, f in self.folders.items() if f.files.get(file.name) == file), "")

    def twins(self, base: str, one: str, other: str) -> Iterator[tuple[FileStat, FileStat]]:
        """Yield the files of an exposure that are in both of two folders."""
        for suffix in STAGE_OF_SUFFIX:
            name = f"{base}_{suffix}.fits"
            here, there = self.find(name, one), self.find(name, other)
            if here is not None and there is not None:
                yield here, there

    def is_input(self, name: str, folder: str) -> bool:
        """Whether an existing file is to be taken as it is, not to be made from what precedes it."""
        base, suffix = base_and_suffix(name)
        reached = STAGE_OF_SUFFIX.get(suffix or "", 9)
        earlier = [s for s, n in STAGE_OF_SUFFIX.items() if n < reached and self.find(f"{base}_{s}.fits", folder)]
        if not earlier:
            return True
        return reached <= self._last(base) and name not in self.folders[folder].made

    def start_of(self, base: str, folder: str) -> str:
        """Return the name of the file that stage 1 of an exposure begins with, whether it is there or not."""
        given = self.given.get(base.rsplit("/", 1)[-1])
        if given is not None and base_and_suffix(given.name)[1] is None:
            return given.name  # named by the user, after no convention
        order = ("ramp", "uncal") if self._last(base) >= 1 and self.start not in ("rate", "cal") else ("uncal", "ramp")
        made = self.folders[folder].made if folder in self.folders else frozenset()
        names = [n for n in (f"{base}_{s}.fits" for s in order) if self.find(n, folder)]
        return next(iter([n for n in names if n not in made] or names), f"{base}_uncal.fits")

    def _last(self, base: str) -> int:
        """How far along a file of an exposure may be."""
        leaf = base.rsplit("/", 1)[-1]
        if self.start == "auto" and leaf in self.given:
            return STAGE_OF_SUFFIX.get(base_and_suffix(self.given[leaf].name)[1] or "", 9)
        return _LAST[self.start]
