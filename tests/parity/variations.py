"""Running a variation of a parameter by our step and the official one, and comparing all that they make."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from astropy.io import fits

from calservice.engines.strun import official_class, step_class
from calservice.products.compare import FileComparison, Settings, compare_places
from calservice.run.models import exposure_info
from calservice.steps.registry import NATIVE
from tests.parity.parameters import Variation
from tests.parity.scenes import SCENES, Made

__all__ = ["Compared", "compared", "reason"]

_DRAFTS = ("clean_flicker_noise", "picture_frame")
"""Steps that fit ramps for themselves, with references that are selected for ``ramp_fit``."""

_LEFT_OUT = ("jwst.assign_wcs", "AssignWcsStep")
"""What it does to draft rates changes no median of integrations; left out, it asks for no references."""

_RULES = Settings(ignore=("meta.useafter",))
"""A reference that ``emicorr`` makes is good from the moment on when it was made."""


@dataclass(frozen=True)
class Compared:
    """What both steps made with one value, on one scene."""

    scene: str
    value: Any
    files: tuple[FileComparison, ...]
    effect: bool
    """Whether the official step made something else than with the default; if that is not native, than nothing."""


def compared(one: Variation) -> Iterator[Compared]:
    """Run both steps with each value on each scene, and with the default as well where that is native."""
    for scene in one.scenes:
        if reason(one.step, scene, one.given):
            digest = _untouched(scene)
        else:
            files, digest = _both(one.step, scene, _frozen(one.given))
            yield Compared(scene, "default", files, True)
        for value in one.values:
            files, changed = _both(one.step, scene, _frozen({**one.given, one.parameter: value}))
            yield Compared(scene, value, files, changed != digest)


def reason(alias: str, scene: str, parameters: Mapping[str, Any]) -> str | None:
    """Return why the official step serves a scene with some parameters, if so."""
    step = NATIVE[alias]
    known = {name: value for name, value in parameters.items() if name in step.params.model_fields}
    return step.supports(step.params(**known), exposure_info(_made(scene)[0]))


@cache
def _made(scene: str) -> Made:
    folder = _room() / scene.replace(" ", "_")
    folder.mkdir()
    return SCENES[scene].make(folder)


@cache
def _room() -> Path:
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="parity-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _frozen(parameters: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in parameters.items())


@cache
def _both(alias: str, scene: str, told: tuple[tuple[str, Any], ...]) -> tuple[tuple[FileComparison, ...], str]:
    """Return the comparison of all files that both steps make, and a digest of those of the official one."""
    model, paths = _made(scene)
    parameters = {k: list(v) if isinstance(v, tuple) else v for k, v in told}
    with tempfile.TemporaryDirectory(dir=_room()) as folder, ExitStack() as patches:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        classes = step_class(alias), official_class(*NATIVE[alias].official.rsplit(".", 1))
        if alias in _DRAFTS:
            fits, flats = ("jwst.ramp_fitting", "RampFitStep"), ("jwst.flatfield", "FlatFieldStep")
            for cls in (step_class("ramp_fit"), official_class(*fits), official_class(*flats), classes[0]):
                patches.enter_context(patch.object(cls, "get_reference_file", _finding(paths, cls)))
            patches.enter_context(patch.object(official_class(*_LEFT_OUT), "process", lambda self, given: given))
        for cls, out in zip(classes, (ours, theirs), strict=True):
            out.mkdir()
            step = cls()
            if cls is classes[0]:
                step._hand_over = None  # the official step must not serve
            _run(step, model.copy(), paths, parameters, out)
        return compare_places(str(ours), str(theirs), _RULES).files, _digest(theirs)


def _finding(paths: Mapping[str, Path], cls: Any) -> Any:
    """Return what gives steps that are told no file the one of the scene."""
    told = cls.get_reference_file

    def found(self: Any, model: Any, kind: str) -> Any:
        return told(self, model, kind) if getattr(self, f"override_{kind}", None) else str(paths.get(kind, "N/A"))

    return found


@cache
def _untouched(scene: str) -> str:
    with tempfile.TemporaryDirectory(dir=_room()) as folder:
        _made(scene)[0].copy().save(str(Path(folder, "result0.fits")))
        return _digest(Path(folder))


def _run(step: Any, model: Any, paths: Mapping[str, Path], parameters: Mapping[str, Any], out: Path) -> None:
    """Run a step on a model and save all that it makes."""
    step.skip, step.output_dir = False, str(out)
    for kind in step.reference_file_types:
        setattr(step, f"override_{kind}", str(paths.get(kind, "N/A")))
    for name, value in parameters.items():
        setattr(step, name, _resolved(value, paths, out))
    made = step.process(model)
    for number, result in enumerate(made if isinstance(made, tuple) else (made,)):
        result.save(str(out / f"result{number}.fits"))


def _resolved(value: Any, paths: Mapping[str, Path], out: Path) -> Any:
    """Return a value, with the path of a file where it stands for one."""
    if not (isinstance(value, str) and value.startswith("@")):
        return value
    return str(out / value[5:]) if value.startswith("@out/") else str(paths[value[1:]])


def _digest(folder: Path) -> str:
    """Return a digest of arrays, and of the names of files."""
    found = hashlib.sha1(usedforsecurity=False)
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode())
        if path.suffix == ".fits":
            with fits.open(path) as file:
                for hdu in file[1:]:
                    if hdu.name != "ASDF" and hdu.data is not None:
                        found.update(np.ascontiguousarray(hdu.data).tobytes())
    return found.hexdigest()
