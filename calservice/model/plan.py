"""`Plan`: what will run, settled before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from calservice.model.errors import CalserviceError
from calservice.model.exposure import Exposure, FileStat

__all__ = ["FORCED", "Input", "Plan", "ReferenceUse", "Stage", "State", "Task", "stage_name"]

State = Literal["todo", "done", "blocked"]
FORCED = "forced"
"""Reason of a stage that is made although its products stand."""


@dataclass(frozen=True)
class Input:
    """A file that a stage reads.

    Attributes
    ----------
    name : str
        File name under which the pipeline finds it.
    role : str
        Its exptype in the association (``science``, ``background`` ...).
    file : FileStat or None
        The file, where it exists already.
    source : str or None
        Id of the stage that makes it. Both None: the file is missing.
    key : str
        Key of that stage, settled when the plan is resolved.
    """

    name: str
    role: str = "science"
    file: FileStat | None = None
    source: str | None = None
    key: str = ""

    @property
    def missing(self) -> bool:
        """Whether the file neither exists nor is made."""
        return self.file is None and self.source is None


@dataclass(frozen=True)
class ReferenceUse:
    """A reference file that a stage uses: CRDS type, name, SHA-1 and size (name ``N/A``: not applicable).

    ``step`` is the step of a pipeline for which it alone was named; it is empty where all steps may use it.
    """

    reftype: str
    name: str
    sha1: str = ""
    size: int = 0
    path: str = ""
    step: str = ""


@dataclass(frozen=True)
class Stage:
    """One pipeline applied to one product.

    Attributes
    ----------
    id : str
        Unique in the plan: pipeline and product.
    pipeline : str
        Alias, e.g. ``calwebb_detector1``.
    level : int
        1, 2 or 3; 0 for a single step.
    product : str
        Base name of what it makes.
    variant : str
        ``calints`` where stage 2 calibrates each integration: an exposure may be wanted both ways.
    inputs : tuple of Input
        Files read, science first.
    association : mapping or None
        The association handed to the pipeline (one product), or None for a single exposure.
    asn_filename : str
        Name of the association file.
    engines : mapping of str to str
        Engine of every step that will run, in order.
    parameters : mapping
        Parameters that differ from the defaults: the pipeline's own, and ``steps`` by step.
    origins : mapping of str to str
        Where each of them came from, by dotted name.
    references : tuple of ReferenceUse
        References selected for it.
    recipe_key, key : str
        Digest of all but the inputs; digest of everything.
    state : str
        ``todo``, ``done`` (its products exist and are up to date) or ``blocked``.
    reason : str
        Why it is to be done or blocked.
    cut : str
        Where its exposure is cut, and why.
    memory, output_bytes : int
        Projected peak memory and output size in bytes.
    exposure : Exposure or None
        Header of the first science input that exists.
    """

    id: str
    pipeline: str
    level: int
    product: str
    inputs: tuple[Input, ...]
    association: Mapping[str, Any] | None = None
    asn_filename: str = ""
    engines: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    references: tuple[ReferenceUse, ...] = ()
    recipe_key: str = ""
    key: str = ""
    state: State = "todo"
    reason: str = ""
    cut: str = ""
    memory: int = 0
    output_bytes: int = 0
    exposure: Exposure | None = None
    variant: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the stages that make its inputs."""
        return tuple(dict.fromkeys(i.source for i in self.inputs if i.source))

    @property
    def label(self) -> str:
        """Base of the names of its manifest and log, which lie beside its products."""
        product = self.product.replace("_{source_id}", "").replace("{source_id}", "")
        return "_".join(part for part in (product, self.variant, self.pipeline) if part)

    def but(self, **changes: Any) -> Stage:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)


def stage_name(pipeline: str, product: str, variant: str = "") -> str:
    """Return the id of a stage."""
    return f"{pipeline}:{product}_{variant}" if variant else f"{pipeline}:{product}"


@dataclass(frozen=True)
class Task:
    """Stages that run one after the other on one worker."""

    id: str
    stages: tuple[Stage, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the stages, outside this task, that it waits for."""
        inside = {stage.id for stage in self.stages}
        return tuple(dict.fromkeys(s for stage in self.stages for s in stage.sources if s not in inside))


@dataclass(frozen=True)
class Plan:
    """The whole job.

    Attributes
    ----------
    stages : mapping of str to Stage
        By id, each after the stages it depends on.
    tasks : tuple of Task
        The stages that are to be done, grouped for execution.
    problems : tuple of CalserviceError
        Everything found wrong.
    notes : tuple of str
        What the user should know but need not mend.
    output : str
        Path or URL where products go.
    context, cache : str
        CRDS context and cache folder.
    """

    stages: Mapping[str, Stage]
    tasks: tuple[Task, ...] = ()
    problems: tuple[CalserviceError, ...] = ()
    notes: tuple[str, ...] = ()
    output: str = "."
    context: str = ""
    cache: str = ""

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages.values())

    def count(self, state: State) -> int:
        """Return how many stages are in a state."""
        return sum(stage.state == state for stage in self)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the inputs that exist nowhere and are made by no stage, each once."""
        return tuple(dict.fromkeys(i.name for s in self for i in s.inputs if i.missing))
