"""`Request`: what the user asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from calservice.model.plan import Stage
from calservice.plan.engines import EngineName
from calservice.plan.expand import Start
from calservice.plan.parameters import Layer

__all__ = ["Filters", "Request"]


@dataclass(frozen=True)
class Filters:
    """Which exposures of a batch to take; empty means all. Matching ignores case."""

    observations: frozenset[str] = frozenset()
    instruments: frozenset[str] = frozenset()
    exp_types: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()

    def takes(self, stage: Stage) -> bool:
        """Whether a stage at the end of the graph is wanted."""
        if stage.exposure is None:
            return not (self.observations or self.instruments or self.exp_types or self.filters)
        word = stage.exposure.keywords.get
        optics = {str(word(k, "")).upper() for k in ("FILTER", "PUPIL", "GRATING")}
        observation = str(word("OBSERVTN", "")).lstrip("0")
        return (
            (not self.observations or observation in {o.lstrip("0") for o in self.observations})
            and (not self.instruments or stage.exposure.instrument in self.instruments)
            and (not self.exp_types or stage.exposure.exp_type in self.exp_types)
            and (not self.filters or bool(optics & self.filters))
        )


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes
    ----------
    targets : tuple of str
        Associations, exposures, folders.
    output : str
        Path or URL where products go.
    inputs : str or None
        Folder of the members, where it is not the associations' own.
    engine, start : str
        Engine; which files count as inputs.
    top : int
        Highest stage.
    layers : tuple of Layer
        Parameter files, then the command line.
    context : str or None
        CRDS context; None takes the default.
    pattern : str or None
        Pattern of names in folders (a program).
    filters : Filters
        Which exposures to take.
    force : bool
        Make everything again, done or not.
    crds_parameters : bool
        Whether ``pars-*`` references of CRDS set parameters. The environment's ``STPIPE_DISABLE_CRDS_STEPPARS``
        forbids it, too.
    """

    targets: tuple[str, ...]
    output: str = "."
    inputs: str | None = None
    engine: EngineName = "auto"
    start: Start = "auto"
    top: int = 3
    layers: tuple[Layer, ...] = ()
    context: str | None = None
    pattern: str | None = None
    filters: Filters = field(default_factory=Filters)
    force: bool = False
    crds_parameters: bool = True
