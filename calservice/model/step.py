"""`Step`: one correction as a frozen value, and `Params`, its parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from calservice.model.block import Array, Block, Reach, Window
from calservice.model.info import ExposureInfo
from calservice.model.stripes import unknown_stripes

__all__ = [
    "Each",
    "Engine",
    "Kernel",
    "OptionalProduct",
    "Params",
    "Reference",
    "ReferenceNeed",
    "References",
    "Step",
    "Takes",
    "Tally",
]

Engine = Literal["native", "jwst"]
Takes = Literal["block", "exposure", "association"]
Each = Callable[[Callable[[Any], Any], Sequence[Any]], Sequence[Any]]
"""What does something to each of some items, several at the same time."""


class Params(BaseModel):
    """Parameters of a step. The universal ones, which every step and pipeline has, are here.

    Names, types and defaults are the official ones, so that parameter files and command lines carry
    over. Values given as text are converted; unknown names are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    skip: bool = Field(False, description="Skip this step")
    save_results: bool = Field(False, description="Save the results of this step")
    output_file: str | None = Field(None, description="Name to derive output names from")
    output_dir: str | None = Field(None, description="Folder for the outputs of this step")
    output_ext: str = Field(".fits", description="Extension of output files")
    output_use_model: bool = Field(False, description="Take output names from the model")
    output_use_index: bool = Field(True, description="Number the outputs where there are several")
    suffix: str | None = Field(None, description="Suffix of output names")
    search_output_file: bool = Field(True, description="Use the output_file of the pipeline")
    input_dir: str | None = Field(None, description="Folder of the inputs")
    pre_hooks: list[Any] = Field(default_factory=list, description="Callables run before the step")
    post_hooks: list[Any] = Field(default_factory=list, description="Callables run after the step")


@dataclass(frozen=True)
class Reference:
    """The arrays of one reference file, cut to a block or whole.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Arrays by the names that the stdatamodels schema of the reference gives them (``data``, ``dq``,
        ``coeffs``, ...). Those with trailing (row, column) axes cover the block's
        rows and columns; others are whole. Images may be on disk still: kernels take ``np.asarray`` of what they use.
    meta : mapping of str to object
        Flat metadata (``meta.exposure.nframes`` ...) of the reference.
    name : str
        Path or other name of the file, for messages.
    """

    arrays: Mapping[str, Array]
    meta: Mapping[str, Any]
    name: str = ""

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays


References = Mapping[str, Reference]
Kernel = Callable[[Block, References, Any, ExposureInfo], Mapping[str, Any]]
"""Makes of arrays new ones, or `SomeGroups` of them."""


def _required(params: Any, info: ExposureInfo) -> bool:
    return True


@dataclass(frozen=True)
class ReferenceNeed:
    """A reference type that a step uses.

    Attributes
    ----------
    reftype : str
        CRDS type, e.g. ``"linearity"``.
    arrays : tuple of str
        The arrays of it that the kernel reads.
    optional : bool
        Whether the step still runs when the context says ``N/A``; otherwise it is then skipped.
    subarray : bool
        Whether a full-frame reference may be cut to a subarray exposure.
    stripes : bool
        Whether it is cut to stripes, where exposures have several; else the lines from their start on are taken.
    axes : int
        Dimensions from which on the arrays cover rows and columns of the detector. A reference whose
        first array has fewer (a table, a small convolution kernel), or of which no array is needed, is
        never cut.
    needed : callable
        ``needed(params, info)`` tells whether this exposure needs it at all; else it is not asked for,
        and the step does without it.
    tree : callable, optional
        For references that are trees (ASDF): ``tree(tree)`` gives their arrays, as new ones.
    averaged : str
        Word in the exposure types for which the mean of a reference serves that does not cover the
        exposure.
    of : str
        Alias of another step that this one runs for itself, whose reference it is. It is selected for that step,
        without overrides, and not recorded.
    unrecorded : bool
        Whether products of what the other step made do not record it either (`OptionalProduct.records_others`).
    called : str
        Name by which the kernel finds it, if that is not its type: of one type, a step may use its own and another's.
    """

    reftype: str
    arrays: tuple[str, ...] = ()
    optional: bool = False
    subarray: bool = True
    stripes: bool = True
    axes: int = 2
    needed: Callable[[Any, ExposureInfo], bool] = _required
    averaged: str = ""
    of: str = ""
    tree: Callable[[Mapping[str, Any]], dict[str, Array]] | None = None
    unrecorded: bool = False
    called: str = ""

    @property
    def name(self) -> str:
        """Name by which the kernel finds it."""
        return self.called or self.reftype


def _nothing_ahead(params: Any, info: ExposureInfo) -> Sequence[Window] | None:
    return None


def _no_verdict(result: Mapping[str, Array], params: Any, info: ExposureInfo) -> str | None:
    return None


def _tells_nothing(result: Mapping[str, Array], params: Any, info: ExposureInfo) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Tally:
    """A small reduction over the blocks of an exposure that a step needs before its kernel runs.

    Attributes
    ----------
    name : str
        Name under which the kernel finds the result in its block.
    chunk : callable
        Block to partial result.
    combine : callable
        Sequence of partial results to one of the same kind. Associative.
    finalize : callable
        ``finalize(combined, each)``: combined result to the arrays that the kernel sees. ``each(work, items)`` gives
        the list of what the work makes of each, several at the same time.
    reads : tuple of str, or callable
        Arrays that ``chunk`` reads, or ``reads(params, info)`` that gives them. Empty means all that the step
        reads.
    required : callable
        ``required(params, info)`` tells whether the kernel needs the result. If not, the blocks need
        not wait for each other and the result serves ``verdict`` only.
    verdict : callable
        ``verdict(result, params, info)`` gives the reason why the step makes nothing of this exposure,
        or None. ``result`` is what ``finalize`` made.
    metadata : callable
        ``metadata(result, params, info)`` gives metadata of the exposure, by datamodel path.
    ahead : callable
        ``ahead(params, info)`` gives windows that decide the result (others may be left out), where what comes before
        is cheap enough to be computed for them twice: they are looked at before the pass over all blocks, which
        then need not wait. None: the blocks wait, and what was made of them by then is kept.
    enough : callable, optional
        ``enough(combined, discarded)`` tells whether further windows can change nothing any more, given the groups that
        steps before discard; asked while looking ahead.
    """

    name: str
    chunk: Callable[[Block, References, Any, ExposureInfo], Any]
    combine: Callable[[Sequence[Any]], Any]
    finalize: Callable[[Any, Each], Mapping[str, Array]]
    reads: tuple[str, ...] | Callable[[Any, ExposureInfo], tuple[str, ...]] = ()
    required: Callable[[Any, ExposureInfo], bool] = _required
    verdict: Callable[[Mapping[str, Array], Any, ExposureInfo], str | None] = _no_verdict
    metadata: Callable[[Mapping[str, Array], Any, ExposureInfo], Mapping[str, Any]] = _tells_nothing
    ahead: Callable[[Any, ExposureInfo], Sequence[Window] | None] = _nothing_ahead
    enough: Callable[[Any, Collection[int]], bool] | None = None


@dataclass(frozen=True, kw_only=True)
class OptionalProduct:
    """A product that a step makes beside its result where its parameters ask for it.

    Attributes
    ----------
    model : callable, optional
        ``model(info)`` gives the name of its class in ``stdatamodels.jwst.datamodels``. Without it, the product is
        an ASDF tree, whose entries replace those in the file of that name, if there is one.
    wanted : callable
        ``wanted(params, info)`` tells whether it is asked for.
    arrays : callable
        ``arrays(made, references, params, info)`` gives its arrays by attribute, from what the kernel made of the
        whole exposure and the references as prepared; or the entries of a tree, mappings that get the ``filename``
        of the exposure. Where there are none the product is not made.
    named_by : str
        The parameter that names the file. If that is empty, the file is named after the exposure; if there is no
        such parameter, as the result of the step.
    after_exposure : bool
        Whether the file is named after the exposure, whatever its result is called.
    suffix : str
        Suffix of the name; without one the name is taken as it is told.
    ext : str
        Extension of the name, if it is not that of the step's outputs.
    like : str
        Reference type whose metadata it carries, ``"exposure"``, or nothing.
    metadata : callable
        ``metadata(references, params, info)`` gives metadata that differ from these, by datamodel path.
    records_others : callable
        ``records_others(params, info)`` tells whether it is made of what the step ran another one for, and so records
        the references of that (`ReferenceNeed.of`).
    """

    model: Callable[[ExposureInfo], str] | None = None
    wanted: Callable[[Any, ExposureInfo], bool]
    arrays: Callable[[Mapping[str, Array], References, Any, ExposureInfo], Mapping[str, Any]]
    named_by: str = ""
    after_exposure: bool = False
    suffix: str = ""
    ext: str = ""
    like: str = "exposure"
    metadata: Callable[[References, Any, ExposureInfo], Mapping[str, Any]] = lambda references, params, info: {}
    records_others: Callable[[Any, ExposureInfo], bool] = lambda params, info: False


def _everything(params: Any, info: ExposureInfo) -> Reach:
    return Reach.everything()


def _no_fault(info: ExposureInfo) -> str | None:
    return None


def _never(references: References, params: Any, info: ExposureInfo) -> str | None:
    return None


def _supported(params: Any, info: ExposureInfo) -> str | None:
    return None


def _nothing(references: References, params: Any, info: ExposureInfo) -> Mapping[str, Any]:
    return {}


def _all_rows(params: Any, info: ExposureInfo) -> Array | None:
    return None


def _no_groups(params: Any, info: ExposureInfo) -> Collection[int]:
    return ()


def _nothing_more(params: Any, info: ExposureInfo) -> Sequence[Step]:
    return ()


def _as_they_are(references: References, params: Any, info: ExposureInfo) -> References:
    return references


@dataclass(frozen=True, kw_only=True)
class Step:
    """One calibration step.

    Attributes
    ----------
    alias : str
        The official alias (``"dq_init"``), also the name used in ``--steps.<alias>.<parameter>``.
    summary : str
        One line for people.
    params : type of Params
        The parameters, with the official names and defaults.
    engine : str
        ``"native"``, or ``"jwst"`` for a step of the official package taken as it is.
    takes : str
        What the step takes: ``"block"`` (array step, can be cut), ``"exposure"`` or ``"association"``.
    kernel : callable, optional
        For block steps: ``kernel(block, references, params, info)`` returns the arrays in ``writes``, new but
        for those that it ``spends``; of one in which it changes a few groups, it may return `SomeGroups`.
    reads, writes : tuple of str
        Arrays that the kernel reads and makes.
    references : tuple of ReferenceNeed
        Reference types used.
    reach : callable
        ``reach(params, info)`` gives the `Reach`; the default is the whole exposure.
    exact_reach : callable, optional
        ``exact_reach(references, params, info)`` gives the `Reach` where references decide on it, which
        ``reach``, for the planner, can only estimate. Sees whole references.
    remarks : tuple of str
        Those of ``writes`` in which it only leaves flags that no step looks at to make ramps, nor any tally: where only
        these are made, it need not run for its flags.
    spends : tuple of str
        Arrays that the kernel overwrites with what it returns: it gets them as its own, contiguous. It pays where the
        kernel changes most numbers by simple loops, which take as long as their way to memory and back.
    strided : bool
        Whether the kernel takes views of larger arrays, in which rows do not follow each other in memory; others get
        copies of such. It pays where the kernel makes new arrays anyhow, without compiled loops over those it gets.
    tally : Tally, optional
        Reduction over all blocks that comes before the kernel.
    not_applicable : callable
        ``not_applicable(references, params, info)`` gives the reason why the step is to be skipped for this
        exposure, or None. Sees whole references.
    otherwise : str
        What ``meta.cal_step`` says where ``not_applicable`` gave a reason.
    skipped_arrays : callable, optional
        ``skipped_arrays(references, params, info)`` gives the arrays that the step sets even where
        ``not_applicable`` gave a reason.
    supports : callable
        ``supports(params, info)`` gives the reason why this native step cannot serve the case, so that
        the official step has to, or None. Pure, no references: the planner asks it.
    fault : callable
        ``fault(info)`` tells what in a header keeps both this step and the official one from working, and the cure,
        or None. It follows the name of the file; the planner asks, and the runner where the step is not skipped.
    metadata : callable
        ``metadata(references, params, info)`` gives the metadata, by datamodel path, that the step sets
        where it is not skipped. What pixels decide on is in the ``metadata`` of the tally.
    then : callable
        ``then(params, info)`` gives the steps, if any, that go on with what the kernel made: parts of this step that
        need another reach. They get the same parameters and references.
    account : callable
        ``account(made, params, info)`` gives metadata, by datamodel path, from what the kernel made of the whole
        exposure, `ACCOUNTS` included. That of ``meta.cal_step`` stands instead of COMPLETE.
    prepare : callable
        ``prepare(references, params, info)`` gives the references as the kernel is to see them; called
        once an exposure with whole references, for what must not depend on how blocks are cut.
    discards : callable
        ``discards(params, info)`` gives the groups that the step makes unusable in all pixels of all integrations.
    kept_rows : callable
        ``kept_rows(params, info)`` gives which rows the exposure has left after the step, (row,) bool, or None for
        all. Such a step sees whole rows; what the kernel makes lacks the others, and the runner drops them elsewhere.
    parameter_references : tuple of ReferenceNeed
        Files that a parameter names, not CRDS; ``reftype`` is the name of the parameter.
    products : tuple of OptionalProduct
        What it saves beside its result where parameters ask for it.
    cal_step : str
        Attribute of ``meta.cal_step`` that records COMPLETE or SKIPPED.
    official : str
        Dotted path of the official class.
    rates_too : bool
        Whether the official step takes rates as well as ramps, of which this one takes ramps only.
    deprecated : str
        Why the step should not be used any more.
    """

    alias: str
    summary: str
    params: type[Params]
    engine: Engine = "native"
    takes: Takes = "block"
    kernel: Kernel | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    references: tuple[ReferenceNeed, ...] = ()
    reach: Callable[[Any, ExposureInfo], Reach] = _everything
    exact_reach: Callable[[References, Any, ExposureInfo], Reach] | None = None
    remarks: tuple[str, ...] = ()
    spends: tuple[str, ...] = ()
    strided: bool = False
    tally: Tally | None = None
    not_applicable: Callable[[References, Any, ExposureInfo], str | None] = _never
    otherwise: str = "SKIPPED"
    skipped_arrays: Callable[[References, Any, ExposureInfo], Mapping[str, Array]] | None = None
    supports: Callable[[Any, ExposureInfo], str | None] = _supported
    fault: Callable[[ExposureInfo], str | None] = _no_fault
    metadata: Callable[[References, Any, ExposureInfo], Mapping[str, Any]] = _nothing
    then: Callable[[Any, ExposureInfo], Sequence[Step]] = _nothing_more
    account: Callable[[Mapping[str, Array], Any, ExposureInfo], Mapping[str, Any]] = _tells_nothing
    prepare: Callable[[References, Any, ExposureInfo], References] = _as_they_are
    discards: Callable[[Any, ExposureInfo], Collection[int]] = _no_groups
    kept_rows: Callable[[Any, ExposureInfo], Array | None] = _all_rows
    parameter_references: tuple[ReferenceNeed, ...] = ()
    products: tuple[OptionalProduct, ...] = ()
    cal_step: str = ""
    official: str = ""
    rates_too: bool = False
    deprecated: str = ""

    def parts(self, params: Any, info: ExposureInfo) -> tuple[Step, ...]:
        """Return this step, and those that go on with what it makes."""
        return (self, *self.then(params, info))

    def refuses(self, params: Any, info: ExposureInfo) -> str | None:
        """Return why this native step cannot serve a case, as ``supports`` does, or for stripes that are not known."""
        return (unknown_stripes(info) if self.references else None) or self.supports(params, info)

    def waits(self, params: Any, info: ExposureInfo) -> bool:
        """Whether the kernel has to wait for what all blocks before it tell."""
        tally = self.tally
        return tally is not None and tally.required(params, info) and tally.ahead(params, info) is None

    @property
    def drops_rows(self) -> bool:
        """Whether the step drops rows of some exposures, of all arrays that these have."""
        return self.kept_rows is not _all_rows

    @property
    def reference_types(self) -> tuple[str, ...]:
        """The reference types that are its own, of which users may name files."""
        return tuple(dict.fromkeys(need.reftype for need in self.references if not need.of))
