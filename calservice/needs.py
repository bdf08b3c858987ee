"""Which references a job needs, told without running anything, and without bringing any that is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from calservice.engines import official
from calservice.model.errors import CalserviceError, ReferenceFileError
from calservice.model.exposure import Exposure
from calservice.model.plan import Input, Stage
from calservice.plan import engines
from calservice.plan.build import Request
from calservice.plan.expand import Expansion, Folder, expand
from calservice.plan.files import named_files
from calservice.plan.parameter_files import read_parameters
from calservice.plan.parameters import Layer, Settings, resolve
from calservice.products.headers import read_exposure
from calservice.products.survey import Survey, survey
from calservice.references.select import NOT_APPLICABLE, Crds, header_from_fits

__all__ = ["Have", "Need", "Needs", "needs"]

Have = Callable[[Collection[str]], Mapping[str, Path]]
"""Gives those of some reference files that may be read: those in the cache, or all of them, brought there."""


@dataclass(frozen=True)
class Need:
    """The references of one stage: file name, or N/A, by CRDS type."""

    stage: str
    pipeline: str
    exposure: str
    references: Mapping[str, str]


@dataclass
class Needs:
    """The references of a job.

    Attributes
    ----------
    stages : list of Need
        What each stage needs, in the order in which they would run.
    problems : list of CalserviceError
        Inputs that cannot be read, types without a match, and whatever else is wrong.
    notes : list of str
        What the user should know but need not mend.
    """

    stages: list[Need] = field(default_factory=list)
    problems: list[CalserviceError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> frozenset[str]:
        """The files, each once."""
        return frozenset(n for need in self.stages for n in need.references.values() if n != NOT_APPLICABLE)


def needs(request: Request, crds: Crds, have: Have, pipeline: str | None = None) -> Needs:
    """Find the references that the stages of a job need, done or not.

    Parameters
    ----------
    request : Request
        The job. Its ``context`` has no meaning here.
    crds : Crds
        Where references are selected.
    have : callable
        Gives parameter references to read, since they may switch steps on and off. For those that it does not
        give the defaults are taken.
    pipeline : str, optional
        Only this pipeline or step. One that would not run by itself is taken as run on every exposure.

    Returns
    -------
    Needs
        Faults are collected there, not raised.
    """
    found = survey(request.targets, inputs=request.inputs, pattern=request.pattern)
    folders = {url: Folder(url, files, found.made.get(url, frozenset())) for url, files in found.files.items()}
    header = cache(read_exposure)
    expansion = expand(
        found.associations,
        found.exposures,
        folders,
        header,
        level2=found.level2,
        start=request.start,
        top=request.top,
    )
    finder = _Finder(request, crds, have)
    finder.out.problems = [*found.problems, *expansion.problems]
    finder.out.notes = list(expansion.notes)
    stages = list(expansion.stages.values())
    if pipeline is not None:
        stages = [s for s in stages if s.pipeline == pipeline]
        if not stages:
            stages = [_by_itself(pipeline, exposure) for exposure in _exposures(found, expansion, header)]
            finder.out.notes = []  # they say what would not run
    for stage in stages:
        finder.look(stage)
    out = finder.out
    out.problems = list({str(p): p for p in out.problems}.values())
    out.notes = list(dict.fromkeys(out.notes))
    return out


def _exposures(found: Survey, expansion: Expansion, header: Callable[..., Exposure]) -> Iterator[Exposure]:
    """Yield each exposure once: those that stages start from, and those that are calibrated already."""
    seen = set()
    for stage in expansion.stages.values():
        if stage.exposure is not None and stage.exposure.file.url not in seen:
            seen.add(stage.exposure.file.url)
            yield stage.exposure
    for file in found.exposures:
        if file.url not in seen:
            try:
                yield header(file)
            except CalserviceError:
                continue  # expansion reported it


def _by_itself(pipeline: str, exposure: Exposure) -> Stage:
    only = (Input(exposure.file.name, "science", exposure.file),)
    return Stage(f"{pipeline}:{exposure.base}", pipeline, 0, exposure.base, only, exposure=exposure)


class _Finder:
    def __init__(self, request: Request, crds: Crds, have: Have) -> None:
        self.request = request
        self.crds = crds
        self.have = have
        self.out = Needs()
        self.headers: dict[str, Mapping[str, object]] = {}

    def look(self, stage: Stage) -> None:
        """Add what a stage needs."""
        if stage.exposure is None:
            self.out.notes.append(f"{stage.id}: none of its members is there to select references for")
            return
        try:
            parameters, settings, named = self._settings(stage)
        except CalserviceError as fault:
            self.out.problems.append(fault)
            return
        choice = engines.choose(stage, settings, self.request.engine)
        self.out.problems += choice.problems
        types = set(engines.reference_types(stage, choice.engines, settings)) - named
        chosen = {**parameters, **self._select(stage.exposure, types)}
        self.out.stages.append(
            Need(stage.id, stage.pipeline, stage.exposure.file.name, {kind: chosen[kind] for kind in sorted(chosen)})
        )

    def _settings(self, stage: Stage) -> tuple[dict[str, str], Settings, frozenset[str]]:
        """Return a stage's parameter references, its parameters, and the types that these override."""
        assert stage.exposure is not None
        schemas = engines.schemas_for(stage.pipeline, stage.exposure.instrument)
        parameters, layers = self._parameters(stage.pipeline, stage.exposure)
        settings, problems, _ = resolve(schemas, [*layers, *self.request.layers])
        named, faults = named_files(settings, schemas)
        self.out.problems += [*problems, *faults]
        return parameters, settings, frozenset(named)

    def _parameters(self, pipeline: str, exposure: Exposure) -> tuple[dict[str, str], list[Layer]]:
        """Return the parameter references of a pipeline and its steps, and what those at hand say."""
        if not official.available() or pipeline not in official.catalog():
            return {}, []
        types = official.catalog().pars(pipeline)
        found = self._select(exposure, set(types.values()))
        paths = self.have(frozenset(found.values()) - {NOT_APPLICABLE})
        layers = []
        for step, kind in sorted(types.items(), key=lambda item: item[0] == ""):
            if (name := found.get(kind, NOT_APPLICABLE)) in paths:
                values = read_parameters(str(paths[name])).values
                layers.append(Layer(f"CRDS {kind} {name}", values, None if step else pipeline, step or None))
        return found, layers

    def _select(self, exposure: Exposure, types: Collection[str]) -> dict[str, str]:
        url = exposure.file.url
        if url not in self.headers:
            self.headers[url] = header_from_fits(exposure.keywords)
        try:
            found = self.crds.look_up(self.headers[url], sorted(types))
        except ReferenceFileError as fault:
            self.out.problems.append(ReferenceFileError(f"{exposure.file.name}: {fault}"))
            return {}
        wrong = (fault for fault in found.values() if isinstance(fault, ReferenceFileError))
        self.out.problems += [ReferenceFileError(f"{exposure.file.name}: {fault}") for fault in wrong]
        return {kind: name for kind, name in found.items() if isinstance(name, str)}
