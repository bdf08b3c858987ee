"""Running a recipe step by step: native steps fused over blocks, official ones in between, products at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from calservice.engines import execute, official
from calservice.model import modes
from calservice.model.errors import NoScienceData
from calservice.model.names import base_and_suffix
from calservice.model.outcome import StepOutcome
from calservice.model.plan import Stage
from calservice.model.step import ReferenceNeed, Step
from calservice.recipes import recipe_for
from calservice.run import models
from calservice.run.blocks import BoundStep, run_fused
from calservice.run.records import recorded
from calservice.steps.registry import NATIVE

__all__ = ["run"]

log = logging.getLogger("calservice.recipe")


def run(stage: Stage, primary: Path, out: Path, threads: int = 1) -> tuple[StepOutcome, ...]:
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
    with recorded() as records:
        runner = _Runner(stage, primary, out, threads, records)
        try:
            return runner.run()
        except Exception as fault:
            raise execute.translate(fault) from fault


class _Runner:
    def __init__(self, stage: Stage, primary: Path, out: Path, threads: int, records: list[str]) -> None:
        assert stage.exposure is not None
        self.stage = stage
        self.primary = primary
        self.out = out
        self.threads = threads
        self.records = records
        self.info = stage.exposure.info
        self.base = base_and_suffix(stage.parameters.get("output_file") or primary.name)[0]
        self.paths = {use.reftype: use for use in stage.references}
        self.statuses: list[StepOutcome] = []
        self.result: Any = models.ramp_class(self.info.exp_type, self.info.num_superstripe)(str(primary))
        self.integrations: Any = None
        self._pipeline: Any = None

    def run(self) -> tuple[StepOutcome, ...]:
        self._mark_skipped()
        for native, group in groupby(self.stage.engines, key=lambda a: self.stage.engines[a] == "native"):
            aliases = tuple(group)
            for batch in self._batches(aliases) if native else [(alias,) for alias in aliases]:
                if batch[0] == "ramp_fit" and self.stage.parameters.get("save_calibrated_ramp"):
                    self._write(self.result, "ramp")
                if native:
                    self._run_native(batch)
                else:
                    self._run_official(batch[0])
        self._save()
        order = {alias: n for n, alias in enumerate(self._all_steps())}
        return tuple(sorted(self.statuses, key=lambda s: order.get(s.alias, len(order))))

    def _all_steps(self) -> tuple[str, ...]:
        recipe = recipe_for(self.stage.pipeline, self.info.instrument)
        return recipe.steps if recipe else tuple(self.stage.engines)

    def _mark_skipped(self) -> None:
        for alias in self._all_steps():
            if alias not in self.stage.engines and not self.primary.name.endswith("_ramp.fits"):
                self._set_status(alias, "SKIPPED", "off", None)

    # -- native steps

    def _run_native(self, aliases: tuple[str, ...]) -> None:
        begun = time.monotonic()
        bound: list[BoundStep] = []
        for alias in aliases:
            ready = self._bind(NATIVE[alias])
            if ready is not None:
                bound.append(ready)
        if bound:
            reads = {name for b in bound for name in b.step.reads}
            source = models.source_arrays(self.result, reads, bound[0].step.alias == "dq_init")
            made = run_fused(bound, source, self.info, threads=self.threads)
            self.result, integrations = models.put_results(self.result, made)
            self.integrations = self.integrations if integrations is None else integrations
        seconds = round(time.monotonic() - begun, 3)
        for one in bound:
            share = seconds if len(bound) == 1 else None
            self._set_status(one.step.alias, "COMPLETE", "native", share)
        names = "+".join(b.step.alias for b in bound)
        if bound:
            log.info("native %s: %.2f s on %d threads", names, seconds, self.threads)
        if self._saves(aliases[-1]):
            self._save_step(NATIVE[aliases[-1]])

    def _batches(self, aliases: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Part consecutive native steps where the arrays must be seen in between: they are fused otherwise."""
        current: list[str] = []
        for alias in aliases:
            if alias == "ramp_fit" and current and self.stage.parameters.get("save_calibrated_ramp"):
                yield tuple(current)
                current = []
            current.append(alias)
            if self._saves(alias):
                yield tuple(current)
                current = []
        if current:
            yield tuple(current)

    def _bind(self, step: Step) -> BoundStep | None:
        """Load a step's references; None where it does not apply to this exposure."""
        values = {k: v for k, v in self._parameters(step.alias).items() if k in step.params.model_fields}
        params = step.params.model_validate(values)
        bound = models.bind(step, params, self.result, self.info, self._locate)
        if isinstance(bound, BoundStep):
            return bound
        log.warning("%s: %s; the step is skipped", step.alias, bound.reason)
        models.put_results(self.result, bound.arrays)
        self._set_status(step.alias, "SKIPPED", "native", None)
        return None

    def _locate(self, need: ReferenceNeed) -> str | Path | None:
        use = self.paths.get(need.reftype)
        self._record_reference(need.reftype)
        return None if use is None or use.name == "N/A" else use.path

    def _parameters(self, alias: str) -> Mapping[str, Any]:
        if alias == self.stage.pipeline:
            return {k: v for k, v in self.stage.parameters.items() if k != "steps"}
        found: Mapping[str, Any] = self.stage.parameters.get("steps", {}).get(alias, {})
        return found

    # -- official steps

    def _run_official(self, alias: str) -> None:
        begun = time.monotonic()
        step = getattr(self.pipeline, alias)
        if alias == "gain_scale" and self.integrations is not None:
            step.suffix = "gain_scale"
            self.result = step.run(self.result)
            step.suffix = "gain_scaleints"
            self.integrations = step.run(self.integrations)
        elif alias == "ramp_fit":
            self.result, self.integrations = step.run(self.result)
        else:
            self.result = step.run(self.result)
        if self.result is None:
            raise NoScienceData(f"{alias} made nothing: no pixel of this exposure can be fitted")
        status = getattr(self.result.meta.cal_step, models.cal_step_name(alias), None) or "COMPLETE"
        self.statuses.append(StepOutcome(alias, "jwst", str(status), round(time.monotonic() - begun, 3)))

    @property
    def pipeline(self) -> Any:
        """The official pipeline object whose steps are run one by one."""
        if self._pipeline is None:
            path = official.catalog()[self.stage.pipeline].path
            self._pipeline = execute.pipeline_instance(path, self.primary, self.stage.parameters, self.out)
            self._pipeline._log_records = self.records
            self._pipeline.output_file = self.stage.parameters.get("output_file")
        return self._pipeline

    # -- metadata and products

    def _record_reference(self, reftype: str) -> None:
        use = self.paths.get(reftype)
        if use is None:
            return
        from calservice.references import pinned

        plain = use.name == "N/A" or use.name.startswith("/")
        models.record_reference(self.result, reftype, use.name if plain else f"crds://{use.name}")
        context = pinned.installed()
        models.record_context(self.result, None if context is None else context.context)

    def _set_status(self, alias: str, status: str, engine: str, seconds: float | None) -> None:
        self.statuses.append(StepOutcome(alias, engine, status, seconds))
        models.set_status(alias, status, self.result, self.integrations)

    def _saves(self, alias: str) -> bool:
        """Whether a native step of a pipeline is told to save its result."""
        values = self._parameters(alias)
        if alias == self.stage.pipeline:
            return False
        return bool(values.get("save_results") or values.get("output_file"))

    def _save_step(self, step: Step) -> None:
        values = self._parameters(step.alias)
        base = base_and_suffix(values.get("output_file") or self.base)[0]
        folder = self.out / values["output_dir"] if values.get("output_dir") else self.out
        folder.mkdir(parents=True, exist_ok=True)
        results = [m for m in (self.result, self.integrations) if m is not None]
        for number, model in enumerate(results):
            index = f"_{number}" if len(results) > 1 else ""
            model.save(str(folder / f"{base}{index}_{step.suffix}.fits"))

    def _save(self) -> None:
        if self.stage.pipeline not in modes.PIPELINES:
            self._finish(self.result, self.integrations)
            self._save_step(NATIVE[self.stage.pipeline])
            return
        self._finish(self.result, self.integrations)
        if self.integrations is not None:
            self._write(self.integrations, "rateints")
        if self.stage.pipeline == modes.DARK:
            self._write(self.result, "dark")
        else:
            self._write(self.result, "rate" if self.integrations is not None else "ramp")

    def _finish(self, *results: Any) -> None:
        for model in results:
            if model is None:
                continue
            models.stamp_version(model)
            if not model.hasattr("cal_logs"):
                model.cal_logs = {}
            setattr(model.cal_logs, self.stage.pipeline, list(self.records))

    def _write(self, model: Any, suffix: str) -> None:
        path = self.out / f"{self.base}_{self.stage.parameters.get('suffix') or suffix}.fits"
        model.save(str(path))
        log.info("saved %s", path.name)
