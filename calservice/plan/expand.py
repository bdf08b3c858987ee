"""Expansion: from associations and exposures to one graph of stages, each exposure once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from calservice.model import modes
from calservice.model.association import AsnProduct, Association, Member
from calservice.model.errors import CalserviceError, InputError, ParameterError
from calservice.model.exposure import Exposure, FileStat
from calservice.model.names import STAGE_OF_SUFFIX, base_and_suffix, exposure_name
from calservice.model.plan import Input, Stage

__all__ = ["Expansion", "Folder", "Start", "expand"]

Start = Literal["auto", "uncal", "ramp", "rate", "cal"]
_SECONDARY_ROLES = frozenset(("sourcecat", "segmap", "direct_image"))


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


@dataclass
class Expansion:
    """The graph found, with everything found wrong on the way."""

    stages: dict[str, Stage] = field(default_factory=dict)
    problems: list[CalserviceError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    memberships: int = 0


def expand(
    associations: Sequence[Association],
    exposures: Sequence[FileStat],
    folders: Mapping[str, Folder],
    header: Callable[[FileStat], Exposure],
    *,
    level2: Sequence[Association] = (),
    start: Start = "auto",
    top: int = 3,
) -> Expansion:
    """Expand what was submitted into one graph of stages.

    Parameters
    ----------
    associations : sequence of Association
        Those to be made, levels 2 and 3 mixed.
    exposures : sequence of FileStat
        Single exposures to be calibrated through stage 2.
    folders : mapping of str to Folder
        Listing of every folder that holds inputs, by path or URL.
    header : callable
        Gives the header of a file; raises InputError where it is unreadable.
    level2 : sequence of Association
        Level-2 associations found beside the inputs, used (backgrounds, imprints, product names) for the exposures
        that the submitted ones need.
    start : str
        Which files count as inputs: ``auto`` takes the most advanced, others force an earlier stage.
    top : int
        Highest stage to plan.

    Returns
    -------
    Expansion
        Stages by id, each after those it depends on; problems; notes.
    """
    return _Expander(folders, header, level2, start, top).run(associations, exposures)


class _Expander:
    def __init__(
        self,
        folders: Mapping[str, Folder],
        header: Callable[[FileStat], Exposure],
        level2: Sequence[Association],
        start: Start,
        top: int,
    ) -> None:
        self.folders = folders
        self.header = header
        self.start = start
        self.top = top
        self.out = Expansion()
        self.level2: dict[str, tuple[Association, AsnProduct]] = {}
        self.implied = level2
        self.headers: dict[str, Exposure | None] = {}

    def run(self, associations: Sequence[Association], exposures: Sequence[FileStat]) -> Expansion:
        low = [a for a in associations if self._level(a) <= 2]
        high = [a for a in associations if self._level(a) == 3]
        self._index((*low, *self.implied))
        for asn in low:
            for product in asn.products:
                self.out.memberships += len(product.members)
                self._stage2(asn.product_name(product), asn.folder, (asn, product))
        for asn in high:
            for product in asn.products:
                self.out.memberships += len(product.members)
                if self.top >= 3:
                    self._stage3(asn, product)
                else:
                    for member in product.members:
                        self._member(member, asn.folder)
        for file in exposures:
            self._single(file)
        return self.out

    # -- associations

    def _level(self, asn: Association) -> int:
        if asn.level is not None:
            return asn.level
        suffixes = {base_and_suffix(m.expname)[1] for p in asn.products for m in p.role("science")}
        return 2 if suffixes & {"rate", "rateints", "uncal", "ramp"} else 3

    def _index(self, associations: Iterable[Association]) -> None:
        for asn in associations:
            for product in asn.products:
                name = asn.product_name(product)
                held = self.level2.setdefault(name, (asn, product))
                if held[0] is not asn and _members(held[1]) != _members(product):
                    self.out.notes.append(
                        f"{asn.filename} and {held[0].filename} both make {name} from other members; "
                        f"{held[0].filename} is used"
                    )

    def _stage3(self, asn: Association, product: AsnProduct) -> None:
        name = asn.product_name(product)
        inputs = tuple(self._member(member, asn.folder) for member in _unique(product))
        pipeline = asn.pipeline or self._pipeline_of_members(asn, inputs)
        if pipeline is None:
            return
        stage_id = f"{pipeline}:{name}"
        held = self.out.stages.get(stage_id)
        if held is not None:
            if [(i.name, i.role) for i in held.inputs] == [(i.name, i.role) for i in inputs]:
                return
            self.out.problems.append(
                ParameterError(
                    f"{asn.where}: product {name} is made by {held.asn_filename} too, from other members. "
                    "Submit them one by one, each with its own --output."
                )
            )
            stage_id = f"{stage_id}@{asn.filename}"
        members = [_record(m, i.name) for m, i in zip(_unique(product), inputs, strict=True)]
        self._add(
            Stage(
                id=stage_id,
                pipeline=pipeline,
                level=3,
                product=name,
                inputs=inputs,
                association=asn.record(product, members),
                asn_filename=asn.filename,
                exposure=self._first_header(inputs),
            )
        )

    def _pipeline_of_members(self, asn: Association, inputs: tuple[Input, ...]) -> str | None:
        first = self._first_header(inputs)
        if first is not None:
            pipeline = self._mode(first, 3)
            if pipeline is None:
                self.out.problems.append(
                    InputError(f"{asn.where}: no stage 3 pipeline combines exposures of type {first.exp_type}")
                )
            return pipeline
        self.out.notes.append(
            f"{asn.filename}: its asn_type is {asn.asn_type!r} and no member is there to tell its EXP_TYPE; "
            "planned as images"
        )
        return modes.IMAGE3

    # -- members and exposures

    def _member(self, member: Member, folder: str) -> Input:
        return self._want(member.expname, member.role, folder)

    def _want(self, name: str, role: str, folder: str) -> Input:
        """Return the input called ``name``: a file that is there, or the stage that makes it."""
        base, suffix = base_and_suffix(name)
        leaf = name.rsplit("/", 1)[-1]
        made_here = suffix in ("cal", "calints", "rate", "rateints") or (
            role in _SECONDARY_ROLES and suffix in ("cat", "segm", "i2d")
        )
        file = self._find(name, folder)
        if file is not None and (not made_here or self._is_input(name, suffix, folder)):
            return Input(leaf, role, file)
        if suffix in ("cal", "calints"):
            source = self._stage2(_leaf(base), folder, self.level2.get(_leaf(base)), suffix)
            return Input(leaf, role, source=source) if source else Input(leaf, role, file)
        if suffix in ("rate", "rateints"):
            source = self._stage1(_leaf(base), folder)
            return Input(leaf, role, source=source) if source else Input(leaf, role, file)
        parsed = exposure_name(name)
        if parsed is not None and role not in _SECONDARY_ROLES:
            self.out.problems.append(
                InputError(
                    f"{_join(folder, name)} is not there, and no pipeline makes files with this suffix. "
                    f"Put the file there, or name {parsed.base}_cal.fits in the association."
                )
            )
            self._stage2(parsed.base, folder, self.level2.get(parsed.base))
        else:
            self._report_missing(name, folder)
        return Input(leaf, role)

    def _find(self, name: str, folder: str) -> FileStat | None:
        listing = self.folders.get(folder)
        if listing is None:
            return None
        return listing.files.get(name) or listing.files.get(f"{name}.gz")

    def _is_input(self, name: str, suffix: str | None, folder: str) -> bool:
        """Whether an existing file is to be taken as it is, not to be made from what precedes it."""
        reached = STAGE_OF_SUFFIX.get(suffix or "", 9)
        wanted = {"auto": 9, "uncal": 0, "ramp": 1, "rate": 2, "cal": 3}[self.start]
        base = base_and_suffix(name)[0]
        earlier = [s for s, n in STAGE_OF_SUFFIX.items() if n < reached and self._find(f"{base}_{s}.fits", folder)]
        if not earlier:
            return True
        return reached <= wanted and name not in self.folders[folder].made

    def _stage2(
        self,
        name: str,
        folder: str,
        found: tuple[Association, AsnProduct] | None,
        suffix: str = "cal",
    ) -> str | None:
        """Plan the stage that makes the level-2 product ``name``; return its id."""
        for pipeline in (modes.IMAGE2, modes.SPEC2, modes.GUIDER):
            if f"{pipeline}:{name}" in self.out.stages:
                return f"{pipeline}:{name}"
        association, filename = None, ""
        if found is not None:
            asn, product = found
            inputs = tuple(self._want_level2(m, asn.folder) for m in _unique(product))
            association, filename = (
                asn.record(product, [_record(m, i.name) for m, i in zip(_unique(product), inputs, strict=True)]),
                asn.filename,
            )
            if not product.role("science"):
                self.out.problems.append(InputError(f"{asn.where}: product {name} has no science member"))
                return None
        else:
            science = "rateints" if suffix == "calints" else "rate"
            inputs = (self._want(f"{name}_{science}.fits", "science", folder),)
        first = self._first_header(inputs)
        pipeline_name = (found[0].pipeline if found else None) or (self._mode(first, 2) if first else None)
        if first is not None and first.exp_type in modes.GUIDER_EXP_TYPES:
            return self._stage1(name, folder)
        if pipeline_name is None:
            if first is not None:
                return None
            pipeline_name = modes.IMAGE2
        stage = Stage(
            id=f"{pipeline_name}:{name}",
            pipeline=pipeline_name,
            level=2,
            product=name,
            inputs=inputs,
            association=association,
            asn_filename=filename,
            exposure=first,
        )
        return self._add(stage)

    def _want_level2(self, member: Member, folder: str) -> Input:
        """A member of a level-2 association; catalogs of stage 3 come from a direct-image product."""
        if member.role in _SECONDARY_ROLES and self._find(member.expname, folder) is None:
            product = base_and_suffix(member.expname)[0]
            source = f"{modes.IMAGE3}:{_leaf(product)}"
            if source in self.out.stages:
                return Input(_leaf(member.expname), member.role, source=source)
        return self._member(member, folder)

    def _stage1(self, base: str, folder: str) -> str | None:
        """Plan the stage that makes the rate (or guider cal, or dark) of an exposure; return its id."""
        for pipeline in (modes.DETECTOR1, modes.DARK, modes.GUIDER):
            if f"{pipeline}:{base}" in self.out.stages:
                return f"{pipeline}:{base}"
        order = ("ramp", "uncal") if self.start in ("auto", "ramp") else ("uncal", "ramp")
        made = self.folders[folder].made if folder in self.folders else frozenset()
        names = [n for n in (f"{base}_{s}.fits" for s in order) if self._find(n, folder)]
        names = [n for n in names if n not in made] or names or [f"{base}_uncal.fits"]
        source = Input(names[0], "science", self._find(names[0], folder))
        first = self._first_header((source,))
        if source.missing:
            self._report_missing(names[0], folder)
        elif first is None:
            return None
        pipeline_name = self._mode(first, 1) if first else modes.DETECTOR1
        if pipeline_name is None:
            return None
        return self._add(
            Stage(
                id=f"{pipeline_name}:{base}",
                pipeline=pipeline_name,
                level=1,
                product=base,
                inputs=(source,),
                exposure=first,
            )
        )

    def _single(self, file: FileStat) -> None:
        exposure = self._header(file)
        if exposure is None:
            return
        try:
            mode = exposure.mode
        except CalserviceError as fault:
            self.out.problems.append(fault)
            return
        folder = next((u for u, f in self.folders.items() if file.name in f.files and file in f.files.values()), "")
        base, suffix = base_and_suffix(file.name)
        reached = STAGE_OF_SUFFIX.get(suffix or "uncal", 0)
        if reached >= 3:
            self.out.notes.append(f"{file.name} is calibrated already; stage 3 needs an association")
            return
        if reached < 2:
            self._stage1(base, folder)
        if mode.stage2 and self.top >= 2:
            wanted = "calints" if exposure.is_tso or suffix == "rateints" else "cal"
            self._stage2(base, folder, self.level2.get(base), wanted)

    # -- headers

    def _header(self, file: FileStat) -> Exposure | None:
        if file.url not in self.headers:
            try:
                self.headers[file.url] = self.header(file)
            except CalserviceError as fault:
                self.headers[file.url] = None
                self.out.problems.append(fault)
        return self.headers[file.url]

    def _first_header(self, inputs: Sequence[Input]) -> Exposure | None:
        science = [i for i in inputs if i.role == "science"] or list(inputs)
        for one in science:
            if one.file is not None and one.name.lower().endswith((".fits", ".fits.gz")):
                found = self._header(one.file)
                if found is not None:
                    return found
            elif one.source is not None and self.out.stages[one.source].exposure is not None:
                return self.out.stages[one.source].exposure
        return None

    def _mode(self, exposure: Exposure, level: int) -> str | None:
        try:
            return exposure.mode.pipeline(level)
        except CalserviceError as fault:
            self.out.problems.append(fault)
            return None

    def _report_missing(self, name: str, folder: str) -> None:
        self.out.problems.append(
            InputError(f"{_join(folder, name)} is not there, nor anything that it could be made from")
        )

    def _add(self, stage: Stage) -> str:
        self.out.stages[stage.id] = stage
        return stage.id


def _unique(product: AsnProduct) -> tuple[Member, ...]:
    return tuple({(m.expname, m.role): m for m in product.members}.values())


def _members(product: AsnProduct) -> set[tuple[str, str]]:
    return {(m.expname, m.role) for m in product.members}


def _record(member: Member, name: str) -> dict[str, object]:
    return {**member.model_dump(), "expname": name}


def _leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
