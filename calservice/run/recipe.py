"""Running a recipe step by step: native steps fused over blocks, official ones in between, products at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from calservice.disk import DiskArray
from calservice.engines import execute, official
from calservice.model import modes
from calservice.model.block import OPTIONAL, Array
from calservice.model.errors import InputError, NoScienceData
from calservice.model.info import ExposureInfo
from calservice.model.names import output_name
from calservice.model.outcome import StepOutcome
from calservice.model.plan import ReferenceUse, Stage
from calservice.model.step import Params, ReferenceNeed, Step
from calservice.model.superstripes import JOINING, facts_at, of_stripe
from calservice.recipes import recipe_for
from calservice.run import logs, models
from calservice.run.blocks import info_after, run_fused
from calservice.run.chain import BoundStep
from calservice.run.held import Held
from calservice.run.hooks import run_hooks
from calservice.run.optional import optional_products, recorded_references, save_tree, without_optional
from calservice.run.ready import keep_blocks, load_extensions
from calservice.run.records import recorded
from calservice.run.results import put_metadata, put_results
from calservice.run.saving import Saver, is_large
from calservice.run.superstripes import join, run_stripes
from calservice.steps.registry import NATIVE
from calservice.steps.stage1.ramp_fit import RATE_ARRAYS

__all__ = ["run"]

log = logging.getLogger("calservice.recipe")


def run(stage: Stage, primary: Path, out: Path, threads: int, saver: Saver) -> tuple[StepOutcome, ...]:
    """Run a stage that has native steps on an exposure file.

    Parameters
    ----------
    stage : Stage
        With its engines, parameters and references settled.
    primary : Path
        The exposure: a raw or partly calibrated ramp.
    out : Path
        Folder for the products.
    threads : int
        Threads for the native kernels.
    saver : Saver
        Saves the products.

    Returns
    -------
    tuple of StepOutcome
        Every step of the recipe in order, with its status and seconds.

    Raises
    ------
    CalserviceError
        `NoScienceData` where nothing can be fitted, `ReferenceFileError` where a reference does not fit,
        else whatever a step failed with.
    """
    keep_blocks()
    load_extensions()
    with recorded() as records:
        try:
            return _Runner(stage, primary, out, threads, records, saver).run()
        except Exception as fault:
            raise execute.translate(fault) from fault


class _Runner:
    def __init__(self, stage: Stage, primary: Path, out: Path, threads: int, records: list[str], saver: Saver) -> None:
        assert stage.exposure is not None
        self.stage = stage
        self.primary = primary
        self.out = out
        self.threads = threads
        self.records = records
        self.saver = saver
        self.planned = stage.exposure.info
        self.uses = {(use.reftype, use.step): use for use in stage.references}
        self.statuses: list[StepOutcome] = []
        self.held = self._opened()
        self._check()
        self._pipeline: Any = None

    def run(self) -> tuple[StepOutcome, ...]:
        steps = self._all_steps()
        for native, group in groupby(steps, key=lambda alias: self.stage.engines.get(alias) != "jwst"):
            aliases = tuple(group)
            for batch in self._batches(aliases) if native else [(alias,) for alias in aliases]:
                if batch[0] == "ramp_fit" and self.stage.parameters.get("save_calibrated_ramp"):
                    self.held.fill()
                    self._finish(self.held.model)
                    self._write(self.held.model, "ramp", self.stage.parameters)
                logs.place.enter("+".join(alias for alias in batch if alias in self.stage.engines))
                self.saver.wait()  # steps may change what is being written
                if native:
                    self._run_native(batch)
                else:
                    self._run_official(batch[0])
        logs.place.enter("")
        self._close()
        self.saver.wait()
        return tuple(sorted(self.statuses, key=lambda status: steps.index(status.alias)))

    @property
    def info(self) -> ExposureInfo:
        """The facts of the exposure, with those that earlier steps settled."""
        told = models.exposure_info(self.held.model)  # whose pixels may not be there
        return replace(told, nints=self.planned.nints, ngroups=self.planned.ngroups)

    def _all_steps(self) -> tuple[str, ...]:
        """Return the steps in order, those that are off as well."""
        recipe = recipe_for(self.stage.pipeline, self.info.instrument)
        again = self.primary.name.endswith("_ramp.fits")  # what earlier steps did stands in its header
        return tuple(self.stage.engines) if recipe is None or again else recipe.steps

    def _opened(self) -> Held:
        """Open the exposure; hooks before a pipeline get its path, and may return it open."""
        given: Any = str(self.primary)
        if self.stage.pipeline in modes.PIPELINES:
            given = self._hooked("pre_hooks", self.stage.parameters, given, self.stage.pipeline)
        alone = NATIVE.get(self.stage.pipeline)
        if alone is not None and models.takes_rates(alone):
            from stdatamodels.jwst import datamodels

            opened = datamodels.open(given)
            return Held(opened, type(opened))
        kind = models.ramp_class(self.planned.exp_type, self.planned.num_superstripe)
        try:
            return Held(given, kind)
        except (LookupError, TypeError, ValueError, AttributeError) as fault:
            told = " ".join(f"{type(fault).__name__}: {fault}".split())
            raise InputError(f"{self.primary.name}: it cannot be read ({told}). Fetch the file again") from fault

    def _check(self) -> None:
        """Demand that a raw exposure has what its header promises."""
        if self.stage.pipeline in (modes.DETECTOR1, modes.DARK) and "saturation" in self.stage.engines:
            models.check_exposure(self.held.model, self.held.zeroframe, self.planned)

    def _hooked(self, when: str, values: Mapping[str, Any], given: Any, name: str) -> Any:
        if not values.get(when):
            return given
        self.saver.wait()
        owner = _official_name(self.stage.pipeline)
        full = owner if name == self.stage.pipeline else f"{owner}.{name}"
        return run_hooks(values[when], given, full, self.stage.pipeline, self.out)

    def _hook(self, when: str, alias: str) -> None:
        """Run the hooks of a native step on what it gets or has made; of one that takes rates, on each product."""
        values = self._parameters(alias)
        if not values.get(when):
            return
        held = self.held
        held.in_memory()
        if held.integrations is not None and models.takes_rates(NATIVE[alias]):
            held.model = self._hooked(when, values, held.model, alias)
            held.integrations = self._hooked(when, values, held.integrations, alias)
            return
        got = self._hooked(when, values, held.model if held.integrations is None else tuple(held), alias)
        held.model, held.integrations = got if isinstance(got, tuple) else (got, held.integrations)

    # -- native steps

    def _run_native(self, aliases: tuple[str, ...]) -> None:
        """Run native steps over blocks as one; those among them that are off are only noted."""
        begun = time.monotonic()
        self._hook("pre_hooks", aliases[0])
        bound: list[BoundStep] = []
        told = self.info
        info = of_stripe(told, 0) if told.num_superstripe else told
        metadata: dict[str, Any] = {}
        recorded_before = recorded_references(self.held.model) if self._makes_products(aliases[0]) else {}
        for alias in aliases:
            ready = self._bind(NATIVE[alias], info) if alias in self.stage.engines else None
            if ready is not None:
                bound.append(ready)
                info = info_after(ready, info)
        if bound:
            fitted = any(b.step.alias == "ramp_fit" for b in bound)
            options: dict[str, Any] = {"threads": self.threads, "metadata": metadata, "scratch": self.out.parent}
            if told.num_superstripe:
                made = run_stripes(bound, self.held.model, told, self._located, **options)
            else:
                source = self.held.source([b.step for b in bound])
                places = self._reserved(bound, aliases, info) if fitted else {}
                outputs = {*RATE_ARRAYS, *OPTIONAL} if fitted else None
                made = run_fused(bound, source, told, outputs=outputs, places=places, **options)
            put_metadata(metadata, *self.held)
            if self._makes_products(aliases[0]):
                self._save_products(bound[0], made, recorded_before)
            self.held.put(without_optional(made), fitted=fitted)
            if told.num_superstripe and bound[-1].step.alias == JOINING:
                self.held.model = join(self.held.model, told)
                self._joined()
            names = "+".join(b.step.alias for b in bound)
            log.info("native %s: %.2f s on %d threads", names, time.monotonic() - begun, self.threads)
        seconds = round(time.monotonic() - begun, 3) if len(bound) == 1 else None
        for one in bound:
            self._set_status(one.step.alias, models.status_told(one.step, metadata), "native", seconds)
        for alias in self._off(aliases):
            self.statuses.append(StepOutcome(alias, "off", "SKIPPED", None))
            models.set_off(alias, *self.held)
        self._after(aliases[-1])
        for model in self.held:  # as every step does, for whoever looks at it in between
            models.stamp_version(model)

    def _joined(self) -> None:
        """Take note that superstripes are put together."""
        self.planned = facts_at(self.planned, "ramp_fit", (JOINING,))

    def _off(self, aliases: Sequence[str]) -> list[str]:
        return [alias for alias in aliases if alias not in self.stage.engines]

    def _reserved(self, bound: Sequence[BoundStep], aliases: Sequence[str], info: ExposureInfo) -> dict[str, DiskArray]:
        """Make the models of what is going to be fitted, and room in their products, where images are large.

        Blocks then put their images where they belong, while others are computed. So that headers have the length that
        they will have, what is likely to become of the steps is in the models already.
        """
        shape = info.nints, info.nrows, info.ncols
        if self.stage.pipeline != modes.DETECTOR1 or self._makes_products(aliases[0]) or not is_large(shape):
            return {}
        self.held.expect(shape)
        for one in bound:
            models.set_status(one.step.alias, "COMPLETE", *self.held)
        for alias in self._off(aliases):
            models.set_off(alias, *self.held)
        self._finish(*self.held)
        paths = [self._place(self.held.model, suffix, self.stage.parameters) for suffix in ("rate", "rateints")]
        return self.held.reserve(self.saver, *paths)

    def _after(self, alias: str) -> None:
        """Do what follows a native step: hooks, and saving its result."""
        self._hook("post_hooks", alias)
        if self._saves(alias):
            self._save_step(NATIVE[alias])

    def _batches(self, aliases: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Part consecutive native steps where the arrays must be seen in between: they are fused otherwise."""
        current: list[str] = []
        for alias in aliases:
            ramp = alias == "ramp_fit" and self.stage.parameters.get("save_calibrated_ramp")
            products = self._makes_products(alias)
            if current and (ramp or products or self._parameters(alias).get("pre_hooks")):
                yield tuple(current)
                current = []
            current.append(alias)
            joins = alias == JOINING and self.planned.num_superstripe
            if self._saves(alias) or products or joins or self._parameters(alias).get("post_hooks"):
                yield tuple(current)
                current = []
        if current:
            yield tuple(current)

    def _makes_products(self, alias: str) -> bool:
        """Whether a native step makes products beside its result; it then runs by itself."""
        step = NATIVE.get(alias)
        if step is None or alias not in self.stage.engines or not step.products:
            return False
        return any(product.wanted(self._params(step), self.info) for product in step.products)

    def _save_products(self, bound: BoundStep, made: Mapping[str, Array], recorded_before: Mapping[str, Any]) -> None:
        """Save a step's optional products; they tell of the references that were used before the step."""
        values = self._parameters(bound.step.alias)
        needs = bound.step.references
        places = {need.name: self._located(bound.step.alias, need) for need in needs}
        of_others = [(need, self._use(bound.step.alias, need)) for need in needs if need.of and not need.unrecorded]
        others = {need.reftype: _recorded_as(use) for need, use in of_others if use is not None}
        told = bound, made, self.held.model, self.info, places, others, recorded_before
        for product, model, name in optional_products(*told):
            if isinstance(model, dict):
                save_tree(model, self.out / str(name), product.ext)
                continue
            named = {**values, "output_ext": product.ext} if product.ext else values
            if name is None:
                self._write(model, product.suffix, named)
            else:
                self._save(model, self._place_as(name, product.suffix, named))

    def _params(self, step: Step) -> Params:
        values = {k: v for k, v in self._parameters(step.alias).items() if k in step.params.model_fields}
        return step.params.model_validate(values)

    def _bind(self, step: Step, info: ExposureInfo) -> BoundStep | None:
        """Load a step's references; None where it does not apply to this exposure."""
        params = self._params(step)
        if step.deprecated:
            log.warning("%s: %s", step.alias, step.deprecated)
        bound = models.bind(step, params, self.held.model, info, partial(self._locate, step.alias))
        if isinstance(bound, BoundStep):
            put_metadata(bound.metadata(info), self.held.model, self.held.integrations)
            return bound
        log.warning("%s: %s; the step is skipped", step.alias, bound.reason)
        put_results(self.held.model, bound.arrays, self.held.integrations)
        self._set_status(step.alias, step.otherwise, "native", None)
        return None

    def _locate(self, alias: str, need: ReferenceNeed) -> str | Path | None:
        use = self._use(alias, need)
        if use is not None and not need.of:
            self._record_reference(use)
        return self._located(alias, need)

    def _use(self, alias: str, need: ReferenceNeed) -> ReferenceUse | None:
        return (None if need.of else self.uses.get((need.reftype, alias))) or self.uses.get((need.reftype, ""))

    def _located(self, alias: str, need: ReferenceNeed) -> str | Path | None:
        use = self._use(alias, need)
        return None if use is None or use.name == "N/A" else use.path

    def _parameters(self, alias: str) -> Mapping[str, Any]:
        if alias == self.stage.pipeline:
            return {k: v for k, v in self.stage.parameters.items() if k != "steps"}
        found: Mapping[str, Any] = self.stage.parameters.get("steps", {}).get(alias, {})
        return found

    # -- official steps

    def _run_official(self, alias: str) -> None:
        begun = time.monotonic()
        self.held.in_memory()
        step = getattr(self.pipeline, alias)
        if alias == "gain_scale" and self.held.integrations is not None:
            step.suffix = "gain_scale"
            self.held.model = step.run(self.held.model)
            step.suffix = "gain_scaleints"
            self.held.integrations = step.run(self.held.integrations)
        elif alias == "ramp_fit":
            self.held.model, self.held.integrations = step.run(self.held.model)
        else:
            self.held.model = step.run(self.held.model)
        if self.held.model is None:
            raise NoScienceData(f"{alias} made nothing: no pixel of this exposure can be fitted")
        if alias == JOINING:
            self._joined()
        status = getattr(self.held.model.meta.cal_step, models.cal_step_name(alias), None) or "COMPLETE"
        self.statuses.append(StepOutcome(alias, "jwst", str(status), round(time.monotonic() - begun, 3)))

    @property
    def pipeline(self) -> Any:
        """The official pipeline object whose steps are run one by one."""
        if self._pipeline is None:
            path = official.catalog()[self.stage.pipeline].path
            self._pipeline = execute.pipeline_instance(path, self.primary, self.stage.parameters, self.out)
            self._pipeline._log_records = self.records
            self._pipeline.output_file = self.stage.parameters.get("output_file")
            for alias in ("dark_current", "ramp_fit"):  # which save optional products by themselves
                step = getattr(self._pipeline, alias, None)
                if step is not None and step.output_dir is None:
                    step.output_dir = str(self.out)
        return self._pipeline

    # -- metadata and products

    def _record_reference(self, use: ReferenceUse) -> None:
        from calservice.references import pinned

        models.record_reference(self.held.model, use.reftype, _recorded_as(use))
        context = pinned.installed()
        models.record_context(self.held.model, None if context is None else context.context)

    def _set_status(self, alias: str, status: str, engine: str, seconds: float | None) -> None:
        self.statuses.append(StepOutcome(alias, engine, status, seconds))
        models.set_status(alias, status, self.held.model, self.held.integrations)

    def _saves(self, alias: str) -> bool:
        """Whether a native step of a pipeline is told to save its result; one that is off does not."""
        values = self._parameters(alias)
        if alias == self.stage.pipeline or alias not in self.stage.engines:
            return False
        return bool(values.get("save_results") or values.get("output_file"))

    def _save_step(self, step: Step) -> None:
        values = self._parameters(step.alias)
        alone = step.alias == self.stage.pipeline
        self.held.fill()
        results = (self.held.model, self.held.integrations) if step.alias == "ramp_fit" else (self.held.model,)
        self._finish(self.held.model, self.held.integrations)
        if models.takes_rates(step) and not alone:  # its pipeline tells it the suffixes
            for model, suffix in ((self.held.model, step.alias), (self.held.integrations, f"{step.alias}ints")):
                if model is not None:
                    self._write(model, suffix, values)
            return
        default = _official_name(step.alias).lower() if alone else step.alias
        for number, model in enumerate(results):
            index = (number,) if len(results) > 1 else ()
            if model is not None:
                self._write(model, values.get("suffix") or default, values, *index)

    def _close(self) -> None:
        """Save the products."""
        self.held.fill()
        parameters = self.stage.parameters
        if self.stage.pipeline not in modes.PIPELINES:
            self._save_step(NATIVE[self.stage.pipeline])
            return
        if parameters.get("post_hooks"):
            self.held.in_memory()
        if self.held.integrations is not None:
            self._finish(self.held.integrations)
            self._write(self.held.integrations, "rateints", parameters)
        self.held.model = self._hooked("post_hooks", parameters, self.held.model, self.stage.pipeline)
        self._finish(self.held.model)
        fitted = self.held.integrations is not None
        suffix = "rate" if fitted else "ramp"
        if self.stage.pipeline == modes.GUIDER:
            suffix = "cal"
        if self.stage.pipeline == modes.DARK:  # the others overrule what they are told
            suffix = parameters.get("suffix") or "darkpipeline"
        self._write(self.held.model, suffix, parameters)

    def _finish(self, *results: Any) -> None:
        """Note in models what every product carries: version and log."""
        for model in results:
            if model is None:
                continue
            models.stamp_version(model)
            if not model.hasattr("cal_logs"):
                model.cal_logs = {}
            setattr(model.cal_logs, self.stage.pipeline, list(self.records))

    def _write(self, model: Any, suffix: str, values: Mapping[str, Any], *components: object) -> None:
        """Save a model as stpipe names it, for a step or pipeline with the given parameters."""
        self._save(model, self._place(model, suffix, values, *components))

    def _place(self, model: Any, suffix: str, values: Mapping[str, Any], *components: object) -> Path:
        """Return where `_write` saves a model."""
        named, search = values.get("output_file"), values.get("search_output_file", True)
        if values.get("output_use_model") or (named is None and not search):
            named, components = model.meta.filename, ()
        named = named or self.stage.parameters.get("output_file") or self.primary.name
        return self._place_as(named, suffix, values, *components)

    def _place_as(self, named: str, suffix: str, values: Mapping[str, Any], *components: object) -> Path:
        """Return where a model is saved whose name is made of a given one; without a suffix, that is kept."""
        folder = Path(values.get("output_dir") or self.out)
        folder.mkdir(parents=True, exist_ok=True)
        ext = values.get("output_ext") or ".fits"
        name = output_name(named, suffix, *components, ext=ext) if suffix else Path(named).stem + ext
        return folder / name

    def _save(self, model: Any, path: Path) -> None:
        self.held.save(model, path, self.saver)
        log.info("saved %s", path.name)


def _recorded_as(use: ReferenceUse) -> str:
    """Return how products record a reference."""
    plain = use.name == "N/A" or use.name.startswith("/")
    return use.name if plain else f"crds://{use.name}"


def _official_name(alias: str) -> str:
    """Return the class name of a pipeline with a recipe, or of a native step."""
    if alias in NATIVE:
        return NATIVE[alias].official.rpartition(".")[2]
    return next(name for name, pipeline in modes.PIPELINE_CLASSES.items() if pipeline == alias)
