"""Expansion: from associations and exposures to one graph of stages, each exposure once. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from calservice.model import modes
from calservice.model.association import AsnProduct, Association, Member
from calservice.model.errors import CalserviceError, InputError, MissingInput, ParameterError
from calservice.model.exposure import Exposure, FileStat
from calservice.model.names import STAGE_OF_SUFFIX, base_and_suffix, exposure_name, shown
from calservice.model.plan import Input, Stage, stage_name
from calservice.plan.inputs import Folder, Inputs, Start

__all__ = ["Expansion", "Folder", "Start", "expand"]

_SECONDARY_ROLES = frozenset(("sourcecat", "segmap", "direct_image"))
_Found = tuple[Association, AsnProduct]


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
        self.files = Inputs(folders, start)
        self.header = header
        self.top = top
        self.out = Expansion()
        self.level2: dict[tuple[str, bool], _Found] = {}
        self.implied = level2
        self.headers: dict[str, Exposure | None] = {}
        self.open: set[str] = set()
        self.homes: dict[str, dict[str, None]] = {}

    def run(self, associations: Sequence[Association], exposures: Sequence[FileStat]) -> Expansion:
        low = [a for a in associations if self._level(a) <= 2]
        high = [a for a in associations if self._level(a) == 3]
        self.files.given |= {base_and_suffix(f.name)[0]: f for f in exposures}
        self._index((*low, *self.implied))
        # images first: spectra of the same field may need their catalogs
        for asn in (a for a in high if a.pipeline == modes.IMAGE3):
            self._stage3_of(asn)
        for asn in low:
            for product in asn.products:
                self.out.memberships += len(product.members)
                if self.top >= 2:
                    self._stage2(asn.product_name(product), asn.folder, (asn, product), _by_integration(product))
                else:
                    self._exposures_of(asn, product)
        for asn in (a for a in high if a.pipeline != modes.IMAGE3):
            self._stage3_of(asn)
        for file in exposures:
            self._single(file)
        return self.out

    def _stage3_of(self, asn: Association) -> None:
        for product in asn.products:
            self.out.memberships += len(product.members)
            if self.top == 3:
                self._stage3(asn, product)
            elif self.top == 2:
                for member in product.members:
                    self._want(member.expname, member.role, asn.folder)
            else:
                self._exposures_of(asn, product)

    # -- associations

    def _exposures_of(self, asn: Association, product: AsnProduct) -> None:
        """Plan stage 1 only, of every exposure that a product names."""
        for member in product.members:
            parsed = exposure_name(member.expname)
            self._stage1(parsed.base if parsed else _leaf(base_and_suffix(member.expname)[0]), asn.folder)

    def _level(self, asn: Association) -> int:
        if asn.level is not None:
            return asn.level
        suffixes = {base_and_suffix(m.expname)[1] for p in asn.products for m in p.role("science")}
        return 2 if suffixes & {"rate", "rateints", "uncal", "ramp"} else 3

    def _index(self, associations: Iterable[Association]) -> None:
        for asn in associations:
            for product in asn.products:
                name = asn.product_name(product)
                held = self.level2.setdefault((name, _by_integration(product)), (asn, product))
                if held[0] is not asn and held[1].pairs.keys() != product.pairs.keys():
                    self.out.notes.append(
                        f"{asn.filename} and {held[0].filename} both make {name} from other members; "
                        f"{held[0].filename} is used"
                    )

    def _stage3(self, asn: Association, product: AsnProduct) -> None:
        name = asn.product_name(product)
        inputs = tuple(self._want(member.expname, member.role, asn.folder) for member in product.pairs.values())
        pipeline = asn.pipeline or self._pipeline_of_members(asn, inputs)
        if pipeline is None:
            return
        stage_id, clash = stage_name(pipeline, name), ""
        held = self.out.stages.get(stage_id)
        if held is not None:
            if [(i.name, i.role) for i in held.inputs] == [(i.name, i.role) for i in inputs]:
                return
            stage_id = f"{stage_id}@{asn.filename}"
            clash = f"product {name} is made by {held.asn_filename} too, from other members"
            cure = "Submit them one by one, each with its own --output."
            self.out.problems.append(ParameterError(f"{asn.where}: {clash}. {cure}"))
        members = [_record(m, i.name) for m, i in zip(product.pairs.values(), inputs, strict=True)]
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
                state="blocked" if clash else "todo",
                reason=clash,
            )
        )

    def _pipeline_of_members(self, asn: Association, inputs: tuple[Input, ...]) -> str | None:
        first = self._first_header(inputs)
        if first is not None:
            pipeline = self._mode(first, 3)
            if pipeline is None:
                fault = f"{asn.where}: no stage 3 pipeline combines exposures of type {first.exp_type}"
                self.out.problems.append(InputError(fault))
            return pipeline
        what = f"its asn_type is {asn.asn_type!r} and no member is there to tell its EXP_TYPE"
        self.out.notes.append(f"{asn.filename}: {what}; planned as images")
        return modes.IMAGE3

    # -- members and exposures

    def _want(self, name: str, role: str, folder: str) -> Input:
        """Return the input called ``name``: a file that is there, or the stage that makes it."""
        base, suffix = base_and_suffix(name)
        leaf = name.rsplit("/", 1)[-1]
        file = self.files.find(name, folder)
        made_here = suffix in ("cal", "calints", "rate", "rateints")
        if file is not None and (not made_here or self.files.is_input(name, folder)):
            return Input(leaf, role, file)
        source = None
        if suffix in ("cal", "calints"):
            each = suffix == "calints"
            source = self._stage2(_leaf(base), folder, self.level2.get((_leaf(base), each)), each)
        elif suffix in ("rate", "rateints"):
            source = self._stage1(_leaf(base), folder)
        if made_here:
            return Input(leaf, role, source=source) if source else Input(leaf, role, file)
        parsed = exposure_name(name)
        if parsed is not None and role not in _SECONDARY_ROLES:
            self.out.problems.append(
                MissingInput(
                    f"{_join(folder, name)} is not there, and no pipeline makes files with this suffix. "
                    f"Put the file there, or name {parsed.base}_cal.fits in the association."
                )
            )
            self._stage2(parsed.base, folder, self.level2.get((parsed.base, False)), False)
        else:
            self._report_missing(name, folder)
        return Input(leaf, role)

    def _stage2(self, name: str, folder: str, found: _Found | None, each: bool) -> str | None:
        """Plan the stage that makes a level-2 product (``each``: of every integration); return its id."""
        variant = "calints" if each else ""
        self._note_folder(name, folder)
        for pipeline in (modes.IMAGE2, modes.SPEC2):
            if (held := stage_name(pipeline, name, variant)) in self.out.stages:
                return held
        if (mark := stage_name("", name, variant)) in self.open:
            where = found[0].where if found else _join(folder, name)
            self.out.problems.append(InputError(f"{where}: product {name} needs itself as a member"))
            return None
        self.open.add(mark)
        try:
            return self._new_stage2(name, folder, found, variant)
        finally:
            self.open.remove(mark)

    def _new_stage2(self, name: str, folder: str, found: _Found | None, variant: str) -> str | None:
        association, filename = None, ""
        if found is not None:
            asn, product = found
            if not product.role("science"):
                self.out.problems.append(InputError(f"{asn.where}: product {name} has no science member"))
                return None
            members = tuple(product.pairs.values())
            inputs = tuple(self._want_level2(m, asn.folder) for m in members)
            association = asn.record(product, [_record(m, i.name) for m, i in zip(members, inputs, strict=True)])
            filename = asn.filename
        else:
            inputs = (self._want(f"{name}_{'rateints' if variant else 'rate'}.fits", "science", folder),)
        first = self._first_header(inputs)
        pipeline = (found[0].pipeline if found else None) or (self._mode(first, 2) if first else None)
        if first is not None and first.exp_type in modes.GUIDER_EXP_TYPES:
            return self._stage1(name, folder)
        if pipeline is None:
            if first is not None:
                return None
            pipeline = modes.IMAGE2
        return self._add(
            Stage(
                id=stage_name(pipeline, name, variant),
                pipeline=pipeline,
                level=2,
                product=name,
                variant=variant,
                inputs=(*inputs, *self._metafile(first, folder)),
                association=association,
                asn_filename=filename,
                exposure=first,
            )
        )

    def _metafile(self, exposure: Exposure | None, folder: str) -> tuple[Input, ...]:
        """Return the MSA metadata file that a NIRSpec MOS exposure names; it lies beside the exposure."""
        name = "" if exposure is None else str(exposure.keywords.get("MSAMETFL") or "")
        if exposure is None or name.upper() in ("", "N/A") or "/" in name:
            return ()
        file = self.files.find(name, folder)
        if file is None:
            where = _join(folder, name)
            self.out.problems.append(
                MissingInput(f"{where} is not there; {exposure.file.name} names it as its MSA metadata file")
            )
        return (Input(name, "metafile", file),)

    def _want_level2(self, member: Member, folder: str) -> Input:
        """A member of a level-2 association; catalogs of stage 3 come from a direct-image product."""
        if member.role in _SECONDARY_ROLES and self.files.find(member.expname, folder) is None:
            product = base_and_suffix(member.expname)[0]
            source = stage_name(modes.IMAGE3, _leaf(product))
            if source in self.out.stages:
                return Input(_leaf(member.expname), member.role, source=source)
        return self._want(member.expname, member.role, folder)

    def _stage1(self, base: str, folder: str) -> str | None:
        """Plan the stage that makes the rate (or guider cal, or dark) of an exposure; return its id."""
        self._note_folder(base, folder)
        for pipeline in (modes.DETECTOR1, modes.DARK, modes.GUIDER):
            if (held := stage_name(pipeline, base)) in self.out.stages:
                return held
        name = self.files.start_of(base, folder)
        source = Input(name, "science", self.files.find(name, folder))
        first = self._first_header((source,))
        if source.missing:
            self._report_missing(name, folder)
        elif first is None:
            return None
        pipeline_name = self._mode(first, 1) if first else modes.DETECTOR1
        if pipeline_name is None:
            return None
        return self._add(
            Stage(
                id=stage_name(pipeline_name, base),
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
        folder = self.files.folder_of(file)
        base, suffix = base_and_suffix(file.name)
        reached = STAGE_OF_SUFFIX.get(suffix or "uncal", 0)
        if reached >= 3:
            self.out.notes.append(f"{file.name} is calibrated already; stage 3 needs an association")
        elif mode.stage2 and self.top >= 2:
            each = exposure.by_integration or suffix == "rateints"
            self._stage2(base, folder, self.level2.get((base, each)), each)
        elif reached < 2:
            self._stage1(base, folder)
        else:
            self.out.notes.append(f"{file.name}: nothing is left to do for {exposure.exp_type} up to stage {self.top}")

    def _note_folder(self, base: str, folder: str) -> None:
        """Report files of one exposure's name in two folders; only one can be the exposure."""
        first = self.homes.setdefault(base, {folder: None})
        if folder in first:
            return
        first[folder] = None
        for here, there in self.files.twins(base, next(iter(first)), folder):
            both = f"{shown(here.url)} and {shown(there.url)} have the same name"
            if here.size != there.size:
                fault = f"{both} and differ. Submit them one by one, each with its own --output."
                self.out.problems.append(InputError(fault))
            else:
                self.out.notes.append(f"{both} and length; the first is used")

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
        fault = f"{_join(folder, name)} is not there, nor anything that it could be made from"
        self.out.problems.append(MissingInput(f"{fault}. Put it there, or name its folder (--input)."))

    def _add(self, stage: Stage) -> str:
        self.out.stages[stage.id] = stage
        return stage.id


def _record(member: Member, name: str) -> dict[str, object]:
    return {**member.model_dump(), "expname": name}


def _leaf(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _join(folder: str, name: str) -> str:
    return shown(f"{folder.rstrip('/')}/{name}" if folder else name)


def _by_integration(product: AsnProduct) -> bool:
    """Whether a level-2 product is calibrated integration by integration, as its science members tell."""
    science = product.role("science")
    return bool(science) and base_and_suffix(science[0].expname)[1] in ("rateints", "calints")
