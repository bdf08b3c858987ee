"""Which engine runs each step, and what each stage may be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from calservice.engines import official
from calservice.model.errors import CalserviceError, EngineError, ParameterError
from calservice.model.info import ExposureInfo
from calservice.model.plan import Stage
from calservice.model.step import Params, Step
from calservice.model.superstripes import facts_at
from calservice.plan.parameters import OfficialSchema, Schema, Schemas, Settings, schema_of
from calservice.recipes import OFF_BY_DEFAULT, recipe_for

__all__ = ["Choice", "EngineName", "choose", "native_steps", "overridden", "reference_types", "schemas_for"]

EngineName = Literal["auto", "native", "jwst"]
_RAMP_DIMENSIONS = 4
_DRAFTING = ("clean_flicker_noise", "picture_frame")
"""Official steps that run others for themselves in stage 1."""
_SHUTTERED = ("NRS_IFU", "NRS_MSASPEC")
"""Exposure types that may be affected by open shutters."""
_SPECTRAL_SERIES = ("NIS_SOSS", "NRS_BRIGHTOBJ", "NRC_TSGRISM")
"""Time series of spectra, which are extracted to see how bright each integration is."""


@dataclass(frozen=True)
class Choice:
    """The engine of every step of a stage, in order; faults found on the way."""

    engines: Mapping[str, str]
    problems: tuple[CalserviceError, ...] = ()
    notes: tuple[str, ...] = ()


@cache
def native_steps() -> Mapping[str, Step]:
    """Return the native steps by alias."""
    from calservice.steps.registry import NATIVE

    return NATIVE


def schemas_for(pipeline: str, instrument: str) -> Schemas:
    """Return what a pipeline (or single step) and its steps accept.

    The official declarations are taken where the jwst package is installed, since they are complete; else those of
    the native steps.
    """
    if official.available():
        catalog = official.catalog()
        if pipeline not in catalog:
            raise ParameterError(f"{pipeline}: no such pipeline or step")
        entry = catalog[pipeline]
        steps: dict[str, Schema] = {n: OfficialSchema(catalog[a].parameters) for n, a in entry.steps.items()}
        return Schemas(pipeline, OfficialSchema(entry.parameters), steps)
    recipe = recipe_for(pipeline, instrument)
    native = native_steps()
    if recipe is None:
        if pipeline in native:
            return Schemas(pipeline, schema_of(native[pipeline]))
        raise EngineError(
            f"{pipeline}: not native yet, and the official engine is not installed: pip install 'calservice[jwst]'"
        )
    own = OfficialSchema({"save_calibrated_ramp": official.Parameter("save_calibrated_ramp", "boolean(default=False)")})
    off = {"skip": official.Parameter("skip", "boolean(default=False)")}
    return Schemas(
        pipeline, own, {s: schema_of(native[s]) if s in native else OfficialSchema(off) for s in recipe.steps}
    )


def choose(stage: Stage, settings: Settings, engine: EngineName) -> Choice:
    """Choose the engine of every step of a stage.

    ``auto`` takes the native step where there is one that serves the case, else the official one; ``native``
    refuses what is not native; ``jwst`` is official throughout.
    """
    instrument = stage.exposure.instrument if stage.exposure else ""
    recipe = recipe_for(stage.pipeline, instrument)
    if recipe is not None and stage.inputs[0].name.endswith("_ramp.fits"):
        steps: tuple[str, ...] = ("ramp_fit", "gain_scale")
    elif recipe is not None:
        steps = recipe.steps
    else:
        steps = (stage.pipeline,) if stage.pipeline in native_steps() else ()
    running = tuple(s for s in steps if _runs(s, settings, s in OFF_BY_DEFAULT))
    if engine == "jwst" or not steps:
        return _official_throughout(stage, engine, running, settings)
    engines, problems, notes = {}, [], []
    for alias in running:
        reason = _not_native(alias, stage, settings, running)
        if reason is None:
            engines[alias] = "native"
        elif engine == "native":
            problems.append(
                EngineError(
                    f"{stage.id}: step {alias} has no native version ({reason}). "
                    f"Use --engine auto, or skip it: --steps.{alias}.skip=true"
                )
            )
        elif not official.available():
            problems.append(
                EngineError(
                    f"{stage.id}: step {alias} needs the official engine ({reason}): pip install 'calservice[jwst]'"
                )
            )
        else:
            engines[alias] = "jwst"
            if alias in native_steps():
                notes.append(f"{stage.id}: {alias} runs officially: {reason}")
    return Choice(engines, tuple(problems), tuple(notes))


def _official_throughout(stage: Stage, engine: EngineName, running: tuple[str, ...], settings: Settings) -> Choice:
    if engine == "native":
        return Choice({}, (EngineError(f"{stage.id}: {stage.pipeline} is not native yet. Use --engine auto or jwst."),))
    if not official.available():
        return Choice(
            {},
            (EngineError(f"{stage.id}: {stage.pipeline} needs the official engine: pip install 'calservice[jwst]'"),),
        )
    catalog = official.catalog()
    on = tuple(n for n, alias in catalog[stage.pipeline].steps.items() if _runs(n, settings, catalog[alias].off))
    return Choice(dict.fromkeys(running or on or (stage.pipeline,), "jwst"))


def _runs(name: str, settings: Settings, off: bool) -> bool:
    """Whether a step of a pipeline runs: as told, else by its default."""
    told = settings.step(name).get("skip")
    return not (off if told is None else told)


def _not_native(alias: str, stage: Stage, settings: Settings, running: Sequence[str]) -> str | None:
    """Return why a step cannot run natively here, None where it can."""
    step = native_steps().get(alias)
    if step is None:
        return "not written yet"
    info = stage.exposure.info if stage.exposure else None
    if info is None:
        return None
    if step.rates_too and stage.exposure is not None and 0 < len(stage.exposure.shape) < _RAMP_DIMENSIONS:
        return "rates"
    return supports(step, _told(alias, stage, settings), facts_at(info, alias, running))


def _told(name: str, stage: Stage, settings: Settings) -> Mapping[str, object]:
    """Return what a step of a stage is told, or the stage where it is that step alone."""
    return settings.values if name == stage.pipeline else settings.step(name)


def supports(step: Step, values: Mapping[str, object], info: ExposureInfo) -> str | None:
    """Return why a native step cannot serve a case, None where it can."""
    own = {k for k in values if not k.startswith("override_") and k != "steps"}
    if not own <= set(step.params.model_fields):
        return f"parameter {sorted(own - set(step.params.model_fields))[0]} is the official step's only"
    return step.refuses(_params(step, values), info)


def _params(step: Step, values: Mapping[str, object]) -> Params:
    """Return the parameters of a native step from what it is told."""
    return step.params.model_validate({k: v for k, v in values.items() if k in step.params.model_fields})


def reference_types(stage: Stage, engines: Mapping[str, str], settings: Settings) -> tuple[str, ...]:
    """Return the reference types that a stage uses."""
    found: dict[str, None] = {}
    whole = recipe_for(stage.pipeline, stage.exposure.instrument if stage.exposure else "") is None
    if whole and official.available() and "native" not in engines.values():
        declared = official.catalog().references(stage.pipeline, settings.skipped)
        return tuple(dict.fromkeys((*declared, *_types_beside(stage.pipeline, stage, settings))))
    for alias, engine in engines.items():
        if engine == "native":
            found |= dict.fromkeys(need.reftype for need in native_steps()[alias].references)
        else:
            found |= dict.fromkeys((*official.catalog().references(alias), *_types_beside(alias, stage, settings)))
    return tuple(found)


def _types_beside(alias: str, stage: Stage, settings: Settings) -> tuple[str, ...]:
    """Return the reference types that an official step does not declare, as they are of steps that it runs for itself.

    Those that correct ramps for noise look for the background in draft rates, and in places that a WCS tells of.
    """
    if alias not in _DRAFTING or stage.exposure is None:
        return ()
    values = _told(alias, stage, settings)
    kind, series = stage.exposure.exp_type, stage.exposure.is_tso
    regions = bool(values.get("mask_science_regions", alias == "picture_frame"))
    median = str(values.get("background_method")) == "median_image"
    run = ["ramp_fit"]
    if (regions and kind.startswith("NRS")) or (median and kind != "NIS_SOSS"):
        run.append("assign_wcs")
    if (regions or median) and kind in _SHUTTERED:
        run.append("msa_flagging")
    if (regions or median) and kind == "MIR_IMAGE":
        run.append("flat_field")
    if median and kind in _SPECTRAL_SERIES:
        run += ["bkg_subtract", "extract_2d", "extract_1d", "white_light"]
    elif median and series:
        run.append("tso_photometry")
    catalog = official.catalog()
    return tuple(kind for step in run if step in catalog for kind in catalog.references(step))


def overridden(stage: Stage, engines: Mapping[str, str], settings: Settings) -> frozenset[str]:
    """Return the reference types that every step which uses them is told a file for."""
    told: dict[str, list[bool]] = {}
    for name, engine in engines.items():
        values = _told(name, stage, settings)
        for reftype, own in _types_of(name, engine, stage, settings):
            told.setdefault(reftype, []).append(own and bool(values.get(f"override_{reftype}")))
    return frozenset(reftype for reftype, given in told.items() if all(given))


def _types_of(name: str, engine: str, stage: Stage, settings: Settings) -> list[tuple[str, bool]]:
    """Return the reference types that a step of a stage uses, and whether files may be told for them."""
    if engine != "native":
        catalog = official.catalog()
        declared = catalog.references(catalog[stage.pipeline].steps.get(name, name))
        beside = _types_beside(name, stage, settings)
        return [*((reftype, True) for reftype in declared), *((reftype, False) for reftype in beside)]
    step, exposure = native_steps()[name], stage.exposure
    params = _params(step, _told(name, stage, settings))
    needs = [n for n in step.references if not n.of or exposure is None or n.needed(params, exposure.info)]
    return [(need.reftype, not need.of) for need in needs]
