"""Building a plan: survey, expand, resolve parameters, engines and references, find what is done, group into tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from calservice.engines import official
from calservice.model.errors import CalserviceError, InputError, Problems, ReferenceFileError
from calservice.model.exposure import Exposure, FileStat
from calservice.model.plan import FORCED, Input, Plan, ReferenceUse, Stage, Task
from calservice.plan import cut, engines, resume
from calservice.plan.expand import Expansion, Folder, expand
from calservice.plan.files import named_files, settle_folders
from calservice.plan.parameters import Layer, Settings, resolve, unused
from calservice.plan.request import Filters, Request
from calservice.plan.soundness import unsound
from calservice.products.headers import read_exposure
from calservice.products.manifest import Manifest, manifest_name
from calservice.products.store import Store, parent_of
from calservice.products.survey import survey
from calservice.references.cache import fetch
from calservice.references.records import ReferenceFile
from calservice.references.select import Crds, header_from_fits

__all__ = ["Bring", "make_plan", "make_single_plan", "plan_each"]

_DISABLE = "STPIPE_DISABLE_CRDS_STEPPARS"
_TRUE = ("true", "t", "yes", "y")


Bring = Callable[[Crds, Collection[str]], Mapping[str, ReferenceFile]]
"""Gives reference files by name; those that it does not give are planned with, but not read."""


def make_plan(request: Request, *, crds: Crds | None = None, bring: Bring = fetch) -> Plan:
    """Build the plan of a job. Faults are collected in the plan, not raised.

    Parameters
    ----------
    request : Request
        What the user asked for.
    crds : Crds, optional
        Where references are selected; by default as the request and the environment say.
    bring : callable
        How reference files are had; by default they are fetched to the cache.

    Returns
    -------
    Plan
    """
    found = survey(request.targets, inputs=request.inputs, pattern=request.pattern)
    folders = {url: Folder(url, files, found.made.get(url, frozenset())) for url, files in found.files.items()}
    expansion = expand(
        found.associations,
        found.exposures,
        folders,
        cache(read_exposure),
        level2=found.level2,
        start=request.start,
        top=request.top,
    )
    expansion.problems = [*found.problems, *expansion.problems]
    expansion.stages = _filtered(expansion.stages, request.filters)
    return _settle(_Resolver(request, expansion, crds=crds, bring=bring))


def make_single_plan(name: str, target: str, request: Request) -> Plan:
    """Build the plan of one pipeline or step on one file or association (``calservice run``).

    Raises
    ------
    Problems
        Where the pipeline or step is unknown or the input cannot be used.
    """
    found = survey((target,), inputs=request.inputs)
    if found.problems:
        raise Problems(found.problems)
    expansion = Expansion()
    for asn in found.associations:
        for product in asn.products:
            base = asn.product_name(product)
            inputs = tuple(
                Input(m.expname.rpartition("/")[2], m.role, found.files.get(asn.folder, {}).get(m.expname))
                for m in dict.fromkeys(product.members)
            )
            expansion.problems += [
                InputError(f"{asn.folder}/{i.name} is not there; all members lie beside the association")
                for i in inputs
                if i.missing
            ]
            record = asn.record(product, [m.model_dump() for m in dict.fromkeys(product.members)])
            first = next((i.file for i in inputs if i.file and i.role == "science"), None)
            stage = Stage(f"{name}:{base}", name, 0, base, inputs, record, asn.filename)
            expansion.stages[stage.id] = stage.but(exposure=read_exposure(first) if first else None)
    for file in found.exposures:
        _alone(name, read_exposure(file), expansion)
    return _settle(_Resolver(request, expansion, single=True))


def plan_each(
    name: str, exposures: Iterable[Exposure], request: Request, *, crds: Crds | None = None, bring: Bring = fetch
) -> Plan:
    """Build the plan of one pipeline or step on each of some exposures; see `make_plan`."""
    expansion = Expansion()
    for exposure in exposures:
        _alone(name, exposure, expansion)
    return _settle(_Resolver(request, expansion, single=True, crds=crds, bring=bring))


def _alone(name: str, exposure: Exposure, expansion: Expansion) -> None:
    inputs = (Input(exposure.file.name, "science", exposure.file),)
    stage = Stage(f"{name}:{exposure.base}", name, 0, exposure.base, inputs, exposure=exposure)
    expansion.stages[stage.id] = stage


def _settle(resolver: _Resolver) -> Plan:
    expansion, request = resolver.expansion, resolver.request
    stages: dict[str, Stage] = {}
    for stage in expansion.stages.values():
        stages[stage.id] = resolver.resolve(stage, stages)
    resolver.report_unused()
    crds = resolver.crds
    return Plan(
        stages=stages,
        tasks=group(stages),
        problems=tuple({str(p): p for p in (*expansion.problems, *resolver.problems)}.values()),
        notes=tuple(dict.fromkeys((*expansion.notes, *resolver.notes))),
        output=request.output,
        context=crds.context if crds else "",
        cache=str(crds.cache) if crds else "",
    )


def _filtered(stages: dict[str, Stage], filters: Filters) -> dict[str, Stage]:
    """Keep the wanted ends of the graph and what they need."""
    needed_by = {source for stage in stages.values() for source in stage.sources}
    keep: set[str] = set()
    todo = [s for s in stages.values() if s.id not in needed_by and filters.takes(s)]
    while todo:
        stage = todo.pop()
        if stage.id not in keep:
            keep.add(stage.id)
            todo += [stages[s] for s in stage.sources]
    return {name: stage for name, stage in stages.items() if name in keep}


class _Resolver:
    def __init__(
        self,
        request: Request,
        expansion: Expansion,
        *,
        single: bool = False,
        crds: Crds | None = None,
        bring: Bring = fetch,
    ) -> None:
        self.bring = bring
        self.request = request
        self.single = single
        self.expansion = expansion
        self.problems: list[CalserviceError] = []
        self.notes: list[str] = []
        self.used: set[tuple[int, str]] = set()
        self.known: set[str] = set()
        self.store = Store(request.output)
        self.listing = self._listing()
        self.versions = resume.shaping_versions()
        self.crds = crds or (self._crds() if expansion.stages else None)
        self.selected: dict[tuple[str, tuple[str, ...]], tuple[ReferenceUse, ...]] = {}

    def _listing(self) -> dict[str, FileStat]:
        try:
            return self.store.listing()
        except InputError:
            return {}

    def _crds(self) -> Crds | None:
        try:
            return Crds.resolve(context=self.request.context)
        except CalserviceError as fault:
            self.problems.append(fault)
            return None

    def resolve(self, stage: Stage, before: Mapping[str, Stage]) -> Stage:
        inputs = tuple(replace(i, key=before[i.source].key) if i.source else i for i in stage.inputs)
        stage = stage.but(inputs=inputs)
        faults = len(self.problems)
        settings, named = self._settings(stage)
        choice = engines.choose(stage, settings, self.request.engine)
        self.problems += choice.problems
        self.notes += choice.notes
        stage = stage.but(engines=choice.engines, parameters=settings.values, origins=settings.origins)
        self.problems += unsound(stage)
        stage = stage.but(references=self._references(stage, settings, named))
        sources = [before[s] for s in stage.sources]
        native = engines.native_steps()
        memory, output_bytes = cut.project(stage, sources, native)
        stage = stage.but(cut=cut.describe_cut(stage, native), memory=memory, output_bytes=output_bytes)
        stage = stage.but(recipe_key=resume.recipe_key(stage, self.versions))
        stage = stage.but(key=resume.keyed(stage))
        return self._with_state(stage, sources, bool(len(self.problems) - faults))

    def _with_state(self, stage: Stage, sources: Sequence[Stage], faulty: bool) -> Stage:
        missing = [i.name for i in stage.inputs if i.missing]
        if stage.state == "blocked":
            return stage
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return stage.but(state="blocked", reason=f"{missing[0]}{more} missing")
        blocked = next((s for s in sources if s.state == "blocked"), None)
        if blocked is not None:
            return stage.but(state="blocked", reason=blocked.reason)
        if faulty or (stage.exposure is None and stage.level > 0):
            return stage.but(state="blocked", reason="see the problems")
        if self.request.force:
            return stage.but(reason=FORCED)
        name = manifest_name(stage.label)
        manifest = Manifest.load(self.store.read(name)) if name in self.listing else None
        done, reason = resume.standing(stage, manifest, self.listing, _content, self.versions)
        if done and manifest is not None:
            return stage.but(state="done", reason=reason, key=manifest.key)
        return stage.but(reason=reason)

    # -- parameters

    def _settings(self, stage: Stage) -> tuple[Settings, dict[str, ReferenceUse]]:
        """Return the parameters of a stage, and the files that they name."""
        instrument = stage.exposure.instrument if stage.exposure else ""
        try:
            schemas = engines.schemas_for(stage.pipeline, instrument)
        except CalserviceError as fault:
            self.problems.append(fault)
            return Settings({}, {}), {}
        layers = [*self._crds_layers(stage), *self.request.layers]
        offset = len(layers) - len(self.request.layers)
        settings, problems, used = resolve(schemas, layers)
        self.problems += problems
        self.used |= {(index - offset, name) for index, name in used if index >= offset}
        self.known |= set(schemas.dotted())
        named, faults = named_files(settings, schemas)
        self.problems += faults
        self.problems += settle_folders(settings, self.request.output, self.single)
        return settings, named

    def _crds_layers(self, stage: Stage) -> list[Layer]:
        """Parameters that CRDS ``pars-*`` references set: those of the steps, then the pipeline's."""
        found = self._parameter_references(stage)
        types = official.catalog().pars(stage.pipeline) if found else {}
        return [
            _parameter_layer(found[reftype], stage.pipeline, name)
            for name, reftype in sorted(types.items(), key=lambda item: item[0] == "")
            if reftype in found and found[reftype].path
        ]

    def _parameter_references(self, stage: Stage) -> dict[str, ReferenceUse]:
        """Return the ``pars-*`` references that apply to a stage."""
        if self.crds is None or stage.exposure is None or not official.available():
            return {}
        if not self.request.crds_parameters or os.environ.get(_DISABLE, "").lower() in _TRUE:
            return {}
        catalog = official.catalog()
        types = tuple(catalog.pars(stage.pipeline).values()) if stage.pipeline in catalog else ()
        return {kind: use for kind, use in self._select(stage, types).items() if use.name != "N/A"}

    def report_unused(self) -> None:
        """Report what was set on the command line or in files for no stage of the plan."""
        if self.expansion.stages:
            self.problems += unused(self.request.layers, self.used, self.known)

    # -- references

    def _references(
        self, stage: Stage, settings: Settings, named: Mapping[str, ReferenceUse]
    ) -> tuple[ReferenceUse, ...]:
        if self.crds is None or stage.exposure is None or not stage.engines:
            return ()
        settled = engines.overridden(stage, stage.engines, settings)
        types = tuple(sorted(set(engines.reference_types(stage, stage.engines, settings)) - settled))
        found = {**self._parameter_references(stage), **self._select(stage, types), **named}
        return tuple(sorted(found.values(), key=lambda use: use.reftype))

    def _select(self, stage: Stage, types: tuple[str, ...]) -> dict[str, ReferenceUse]:
        assert self.crds is not None
        assert stage.exposure is not None
        key = (stage.exposure.file.url, types)
        if key not in self.selected:
            self.selected[key] = self._selected(stage.exposure, types)
        return {use.reftype: use for use in self.selected[key]}

    def _selected(self, exposure: Exposure, types: tuple[str, ...]) -> tuple[ReferenceUse, ...]:
        assert self.crds is not None
        try:
            chosen = self.crds.select(header_from_fits(exposure.keywords), types)
            files = self.bring(self.crds, {name for name in chosen.values() if name != "N/A"})
        except Problems as fault:
            self.problems += [ReferenceFileError(f"{exposure.file.name}: {p}") for p in fault.problems]
            return ()
        except CalserviceError as fault:
            self.problems.append(fault)
            return ()
        return tuple(
            ReferenceUse(t, n, files[n].sha1, files[n].size, str(files[n].path)) if n in files else ReferenceUse(t, n)
            for t, n in chosen.items()
        )


def group(stages: Mapping[str, Stage]) -> tuple[Task, ...]:
    """Group the stages to be done into tasks: stages 1 and 2 of an exposure go together.

    A stage 2 joins the task of its stage 1 where that is all it waits for and it is the first to need it.
    """
    tasks: dict[str, list[Stage]] = {}
    home: dict[str, str] = {}
    for stage in stages.values():
        if stage.state != "todo":
            continue
        waiting = [s for s in stage.sources if stages[s].state == "todo"]
        host = waiting[0] if len(waiting) == 1 and stage.level == 2 and stages[waiting[0]].level == 1 else None
        if host is not None and home[host] == host and len(tasks[host]) == 1:
            tasks[host].append(stage)
            home[stage.id] = host
        else:
            tasks[stage.id] = [stage]
            home[stage.id] = stage.id
    return tuple(Task(members[-1].id if len(members) > 1 else name, tuple(members)) for name, members in tasks.items())


def _parameter_layer(use: ReferenceUse, pipeline: str, step: str) -> Layer:
    from calservice.plan.parameter_files import read_parameters

    read = read_parameters(use.path)
    origin = f"CRDS {use.reftype} {use.name}"
    return Layer(origin, read.values, None if step else pipeline, step or None)


def _content(file: FileStat) -> str:
    """Return the checksum of a file; asked only when its stamp changed but its length did not."""
    return Store(parent_of(file.url)).checksum(file.name)
