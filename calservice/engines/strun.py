"""Our steps as stpipe classes: what ``strun`` runs, and what notebooks import as ``calservice.steps.<Name>Step``.

A class is made from its `Step` value, which remains the one definition: name, alias, parameters, reference types and
what is computed all come from there. Around it stands the official ``jwst.stpipe.Step`` where it is installed,
so that opening, copies, hooks, parameter references, names, saving and records are the official ones; else our
own `calservice.engines.strun_base`.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calservice.engines.spec import own_parameters, spec_text
from calservice.model.errors import EngineError, NoScienceData, ParameterError
from calservice.model.info import ExposureInfo
from calservice.model.modes import PIPELINE_CLASSES
from calservice.model.step import OptionalProduct, Params, ReferenceNeed, Step
from calservice.model.superstripes import JOINING, facts_at
from calservice.steps.registry import NATIVE

__all__ = ["CURE", "get_steps", "native_names", "official_class", "pipeline_class", "step_class"]

CURE = "pip install 'calservice[jwst]'"
"""What brings the official package."""

_STEPS, _PIPELINES = "calservice.steps", "calservice.pipelines"

log = logging.getLogger("calservice.steps")


def has_official() -> bool:
    """Whether the official package can be imported."""
    return find_spec("jwst") is not None


def native_names() -> Mapping[str, str]:
    """Return the official class names of our steps, with their aliases."""
    return {step.official.rpartition(".")[2]: alias for alias, step in NATIVE.items()}


def get_steps() -> list[tuple[str, str | None, bool]]:
    """Tell stpipe of our classes: the ``stpipe.steps`` entry point.

    Returns
    -------
    list of tuple
        Path of the class, alias, and whether it is a pipeline. Aliases stay with the official package
        where it is installed, since stpipe refuses one that two packages claim.
    """
    official = has_official()
    steps: list[tuple[str, str | None, bool]] = [
        (f"{_STEPS}.{name}", None if official else alias, False) for name, alias in native_names().items()
    ]
    return steps + [(f"{_PIPELINES}.{name}", None, True) for name in PIPELINE_CLASSES if official]


@cache
def step_class(alias: str) -> Any:
    """Return the stpipe class of a native step.

    Parameters
    ----------
    alias : str
        Its alias, e.g. ``"linearity"``.

    Returns
    -------
    type
        A subclass of ``jwst.stpipe.Step``, or of ``stpipe.Step`` where jwst is not installed.
    """
    step = NATIVE[alias]
    name = step.official.rpartition(".")[2]
    body = {
        "__module__": _STEPS,
        "__qualname__": name,
        "__doc__": f"{step.summary}.\n\nNative: same parameters, results and names as ``{step.official}``.",
        "spec": spec_text(step.params, own_parameters(step.params)),
        "class_alias": step.alias,
        "reference_file_types": list(step.reference_types),
        "native": step,
    }
    return type(name, (_NativeStep, _base()), body)


@cache
def pipeline_class(name: str) -> Any:
    """Return an official pipeline class with our steps in the place of the official ones.

    Parameters
    ----------
    name : str
        Its class name, e.g. ``"Detector1Pipeline"``.

    Returns
    -------
    type
        A subclass of the official class; the official class itself where it has no step of ours.
    """
    official = official_class("jwst.pipeline", name)
    ours = {key: step_class(cls.class_alias) for key, cls in official.step_defs.items() if cls.class_alias in NATIVE}
    if not ours:
        return official
    body = {
        "__module__": _PIPELINES,
        "__qualname__": name,
        "__doc__": official.__doc__,
        "step_defs": {**official.step_defs, **ours},
    }
    return type(name, (_Ours, official), body)


def official_class(module: str, name: str) -> Any:
    """Return a class of the official package.

    Raises
    ------
    ImportError
        Where the package is not installed, with the cure.
    AttributeError
        Where it has no such class.
    """
    if not has_official():
        raise ImportError(f"{name} needs the official jwst package: {CURE}")
    return getattr(importlib.import_module(module), name)


def _base() -> Any:
    if has_official():
        return importlib.import_module("jwst.stpipe").Step
    from calservice.engines.strun_base import ExposureStep

    return ExposureStep


class _Ours:
    """What our steps and pipelines have in common."""

    @classmethod
    def get_stpipe_loggers(cls) -> tuple[str, ...]:
        """Return the names of the loggers that a run configures; ours is one of them."""
        return (*super().get_stpipe_loggers(), "calservice")  # type: ignore[misc]

    @classmethod
    def _parse_class_and_name(cls, config: Any, *args: Any, **kwargs: Any) -> Any:
        """Take parameter files that were made for the official class."""
        if str(config.get("class", "")).rpartition(".")[2] in (cls.__name__, cls.class_alias):  # type: ignore[attr-defined]
            del config["class"]
        return super()._parse_class_and_name(config, *args, **kwargs)  # type: ignore[misc]


class _NativeStep(_Ours):
    """``process`` and what it needs; `step_class` puts a base of stpipe beside it."""

    native: Step
    parent: Any
    get_reference_file: Any
    make_output_path: Any
    prepare_output: Any
    save_model: Any

    def process(self, step_input: Any) -> Any:
        """Run the step.

        Parameters
        ----------
        step_input : str, Path or datamodel
            The exposure. A model is copied first, unless the step is part of a pipeline.

        Returns
        -------
        datamodel, or tuple of datamodel
            What the official class returns.

        Raises
        ------
        EngineError
            Where this case needs the official package, and it is not installed.
        """
        from calservice.run import models

        if self.native.deprecated:
            warnings.warn(self.native.deprecated, DeprecationWarning, stacklevel=2)
            log.warning("%s", self.native.deprecated)
        ramps = not (models.takes_rates(self.native) or self.native.rates_too)
        opened = self.prepare_output(step_input, open_as_ramp=ramps, make_copy=False)
        params = self._params()
        if models.suits(self.native, opened):
            info = models.exposure_info(opened)
            reason = self.native.refuses(params, facts_at(info, self.native.alias, (self.native.alias,)))
        else:
            reason = f"a {type(opened).__name__}"
        if reason is not None:
            if isinstance(step_input, (str, Path)):
                opened.close()
            return self._hand_over(step_input, reason)
        if not isinstance(step_input, (str, Path)):
            opened = self.prepare_output(opened, open_as_ramp=ramps)
        return self._run(opened, params, info)

    def _run(self, model: Any, params: Params, told: ExposureInfo) -> Any:
        """Run it on a model of whose file facts are told; of superstripes, it gets one after the other."""
        from calservice.run import models
        from calservice.run.blocks import run_fused
        from calservice.run.chain import BoundStep
        from calservice.run.optional import optional_products, without_optional
        from calservice.run.results import put_metadata, put_results
        from calservice.run.superstripes import join, run_stripes

        step = self.native
        info = facts_at(told, step.alias, (step.alias,))
        places: dict[str, Any] = {}
        others: dict[str, str] = {}

        def locate(need: ReferenceNeed) -> Any:
            places[need.name] = self._locate(model, need, others)
            return places[need.name]

        bound = models.bind(step, params, model, info, locate)
        if not isinstance(bound, BoundStep):
            log.warning("%s: %s; the step is skipped", step.alias, bound.reason)
            put_results(model, bound.arrays)
            models.set_status(step.alias, step.otherwise, model)
            return model
        threads = _threads(getattr(params, "maximum_cores", "1"))
        metadata = dict(bound.metadata(info))
        try:
            options: dict[str, Any] = {"threads": threads, "metadata": metadata}
            if told.num_superstripe:
                made = run_stripes([bound], model, told, lambda alias, need: places[need.name], **options)
            else:
                source = models.source_arrays(model, [step])
                made = run_fused([bound], source, info, kept_bytes=sys.maxsize, **options)
        except NoScienceData as fault:
            log.warning("%s", fault)
            return None, None
        put_metadata(metadata, model)
        for product, extra, name in optional_products(bound, made, model, info, places, others):
            self._save_product(product, extra, name)
        result, integrations = put_results(model, without_optional(made))
        if told.num_superstripe and step.alias == JOINING:
            result = join(result, told)
        models.set_status(step.alias, models.status_told(step, metadata), result, integrations)
        return result if integrations is None else (result, integrations)

    def _save_product(self, product: OptionalProduct, model: Any, name: str | None) -> None:
        """Save an optional product: in the folder of this step, but for trees, which go where the parameter says."""
        from calservice.run.optional import save_tree

        if isinstance(model, dict):
            save_tree(model, Path(str(name)), product.ext)
        elif product.suffix and name is not None:
            self.save_model(model, product.suffix, output_file=name)
        else:
            model.save(self.make_output_path(basepath=name, suffix=product.suffix or False, ext=product.ext or None))

    def _params(self) -> Params:
        """Return the parameters as they are set on this instance now."""
        values = {name: getattr(self, name) for name in own_parameters(self.native.params)}
        try:
            return self.native.params(**{k: str(v) if isinstance(v, Path) else v for k, v in values.items()})
        except ValidationError as fault:
            wrong = fault.errors()[0]
            name = wrong["loc"][0]
            raise ParameterError(f"{self.native.alias}: {name}={wrong['input']!r}: {wrong['msg']}") from None

    def _locate(self, model: Any, need: ReferenceNeed, others: dict[str, str]) -> Any:
        if need.of:
            other: Any = step_class(need.of)() if need.of in NATIVE else type(self)()  # which is told no files
            place = other.get_reference_file(model, need.reftype)
            if not need.unrecorded:
                others.update(other._reference_files_used)
            return place
        place = self.get_reference_file(model, need.reftype)
        log.info("Using %s reference file %s", need.reftype.upper(), place)
        return place

    def _hand_over(self, step_input: Any, reason: str) -> Any:
        """Let the official step do it, with the state of this one: parameters, parent, names, references used."""
        if not has_official():
            raise EngineError(f"{self.native.alias}: {reason} needs the official jwst package: {CURE}")
        log.info("%s: the official step runs: %s", self.native.alias, reason)
        cls = official_class(*self.native.official.rsplit(".", 1))
        official = object.__new__(cls)
        official.__dict__ = self.__dict__
        return official.process(step_input)


def _threads(maximum_cores: str) -> int:
    """Return how many threads ``maximum_cores`` allows: a number, ``half``, ``quarter``, ``all`` or ``none``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = {"none": 1, "quarter": cores // 4, "half": cores // 2, "all": cores}
    word = maximum_cores.strip().lower()
    wanted = shares.get(word, int(word) if word.isdigit() else 1)
    return min(max(wanted, 1), cores)
