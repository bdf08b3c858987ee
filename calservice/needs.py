"""Which references a job needs, told without running anything, and without bringing any that is not wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calservice.model.errors import CalserviceError
from calservice.model.exposure import Exposure
from calservice.model.plan import Plan
from calservice.plan.build import make_plan, plan_each
from calservice.plan.request import Request
from calservice.products.headers import read_exposure
from calservice.products.survey import survey
from calservice.references.records import ReferenceFile
from calservice.references.select import NOT_APPLICABLE, Crds

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

    def bring(crds: Crds, names: Collection[str]) -> Mapping[str, ReferenceFile]:
        parameters = {name for name in names if "_pars-" in name}
        return {name: ReferenceFile(name, path, "", 0) for name, path in have(parameters).items()}

    plan = make_plan(request, crds=crds, bring=bring)
    if pipeline is None or any(stage.pipeline == pipeline for stage in plan):
        return _told(plan, pipeline)
    alone = _told(plan_each(pipeline, _exposures(request, plan), request, crds=crds, bring=bring), pipeline)
    alone.problems = [*plan.problems, *alone.problems]
    return alone


def _told(plan: Plan, pipeline: str | None) -> Needs:
    """Return what the stages of a plan need; of references that users name, there is nothing to bring."""
    out = Needs(problems=list(plan.problems), notes=list(plan.notes))
    for stage in plan:
        if pipeline is not None and stage.pipeline != pipeline:
            continue
        if stage.exposure is None:
            out.notes.append(f"{stage.id}: none of its members is there to select references for")
            continue
        chosen = {use.reftype: use.name for use in stage.references if "/" not in use.name or use.name == "N/A"}
        out.stages.append(Need(stage.id, stage.pipeline, stage.exposure.file.name, chosen))
    return out


def _exposures(request: Request, plan: Plan) -> Iterator[Exposure]:
    """Yield each exposure once: those that stages start from, and those that are calibrated already."""
    seen = set()
    for stage in plan:
        if stage.exposure is not None and stage.exposure.file.url not in seen:
            seen.add(stage.exposure.file.url)
            yield stage.exposure
    for file in survey(request.targets, inputs=request.inputs, pattern=request.pattern).exposures:
        if file.url not in seen:
            try:
                yield read_exposure(file)
            except CalserviceError:
                continue  # the plan says so
