"""Readout modes of all instruments: an exposure of each with references, calibrated by both engines and compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from calservice.model import modes
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.products.compare import FileComparison, compare_places
from calservice.recipes import recipe_for
from calservice.simulate.context import write_context
from calservice.steps.stage1.saturation import irs2_science_rows
from tests.parity.irs2 import write_reference
from tests.parity.synthetic import Case, ramp_model, raw_ramps, write_references

__all__ = ["MODES", "Found", "Mode", "Prepared", "calibrated", "prepared", "write_mask"]

_NEAR_INFRARED, _MID_INFRARED = (2048, 2048), (1024, 1032)
_KINDS = ("mask", "saturation", "superbias", "linearity", "gain", "readnoise")
_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "exposures"


@dataclass(frozen=True)
class Mode:
    """How an exposure is read out; or one that exists, in the data that come beside the project."""

    name: str
    case: Case
    readpatt: str = "RAPID"
    subarray: str = "FULL"
    axes: tuple[int, int] = (1, 2)
    """FASTAXIS and SLOWAXIS."""
    noutputs: int = 4
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords, by datamodel path below ``meta``."""
    exposure: str = ""
    words: tuple[str, ...] = ()
    """Parameters."""
    quick: bool = False
    """Whether it is compared in every run of the tests."""
    repeated: int = 1
    """How often the same integrations follow each other."""

    @property
    def irs2(self) -> bool:
        return self.readpatt.startswith("NRSIRS2")

    @property
    def pipeline(self) -> str:
        return modes.GUIDER if self.case.exp_type in modes.GUIDER_EXP_TYPES else modes.DETECTOR1


def _near(name: str, *of: Any, shape: tuple[int, int, int, int], **more: Any) -> Mode:
    case = {key: more.pop(key) for key in ("nframes", "groupgap", "start", "zeroframe") if key in more}
    return Mode(name, Case(*of, shape=shape, **case), **more)


MODES: Mapping[str, Mode] = {
    mode.name: mode
    for mode in (
        _near("NIRCam full frame", "NIRCAM", "NRCA1", "NRC_IMAGE", shape=(1, 5, 2048, 2048), axes=(-1, 2),
              zeroframe=True),
        _near(
            "NIRCam full frame, averaged", "NIRCAM", "NRCB2", "NRC_IMAGE", shape=(1, 5, 2048, 2048), axes=(1, -2),
            nframes=4, groupgap=1, readpatt="SHALLOW4", zeroframe=True,
        ),
        _near(
            "NIRCam SUB160", "NIRCAM", "NRCBLONG", "NRC_IMAGE", shape=(3, 6, 160, 160), axes=(1, -2), noutputs=1,
            start=(1, 1889), subarray="SUB160", quick=True,
        ),
        _near(
            "NIRCam SUBGRISM64, time series", "NIRCAM", "NRCALONG", "NRC_TSGRISM", shape=(6, 5, 64, 2048), axes=(-1, 2),
            subarray="SUBGRISM64", more={"visit.tsovisit": True}, quick=True,
        ),
        _near("NIRISS full frame", "NIRISS", "NIS", "NIS_IMAGE", shape=(1, 4, 2048, 2048), axes=(-2, -1),
              readpatt="NISRAPID"),
        Mode("NIRISS SUB80 (Mirage)", Case("NIRISS", "NIS", "NIS_AMI", shape=(5, 6, 80, 80), start=(1045, 1)),
             quick=True, exposure="sim/niriss_ami_mirage_uncal/jw00793001001_01101_00001_nis_uncal.fits"),
        _near(
            "NIRISS SUBSTRIP256", "NIRISS", "NIS", "NIS_SOSS", shape=(3, 4, 256, 2048), axes=(-2, -1), noutputs=1,
            start=(1, 1793), subarray="SUBSTRIP256", readpatt="NISRAPID", more={"visit.tsovisit": True},
        ),
        _near("NIRSpec full frame", "NIRSPEC", "NRS1", "NRS_MSASPEC", shape=(1, 4, 2048, 2048), axes=(2, 1),
              readpatt="NRSRAPID"),
        _near("NIRSpec IRS2", "NIRSPEC", "NRS1", "NRS_MSASPEC", shape=(1, 4, 3200, 2048), axes=(2, 1),
              readpatt="NRSIRS2RAPID", noutputs=5),
        _near(
            "NIRSpec SUB512", "NIRSPEC", "NRS2", "NRS_BRIGHTOBJ", shape=(3, 5, 32, 512), axes=(-2, -1), noutputs=1,
            start=(897, 1009), subarray="SUB512", readpatt="NRSRAPID", more={"visit.tsovisit": True}, quick=True,
        ),
        _near("MIRI full frame FAST", "MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 8, 1024, 1032), readpatt="FASTR1"),
        _near(
            "MIRI SUB256", "MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(3, 9, 256, 256), start=(413, 51), subarray="SUB256",
            readpatt="FASTR1", quick=True,
        ),
        _near("FGS full frame", "FGS", "GUIDER1", "FGS_IMAGE", shape=(1, 4, 2048, 2048), axes=(2, -1),
              readpatt="FGSRAPID"),
        Mode("FGS guider ACQ1 (flight)", Case("FGS", "GUIDER2", "FGS_ACQ1", shape=(6, 2, 128, 128), start=(887, 1022)),
             quick=True, exposure="flight/headers_and_guider/fgs_acq1_guider2_6x2x128x128_uncal.fits"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What both engines made of an exposure."""

    products: tuple[FileComparison, ...]
    native: tuple[str, ...]
    """Steps that ran natively."""
    official: tuple[str, ...]
    """Steps that the official package ran for the native engine's products."""


@dataclass(frozen=True)
class Prepared:
    """An exposure with all that its calibration needs."""

    mode: Mode
    exposure: Path
    words: tuple[str, ...]
    environment: Mapping[str, str]

    def run(self, engine: str, out: Path, *more: str) -> dict[str, Any]:
        """Calibrate it by an engine, in a process of its own; return the manifest.

        Raises
        ------
        AssertionError
            Where it fails, with what it says.
        """
        command = [sys.executable, "-m", "calservice.cli", "run", self.mode.pipeline, str(self.exposure), *self.words]
        command += [f"--output_dir={out}", "--engine", engine, "--log-level", "WARNING", *more]
        done = subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.mode.name}, {engine}: {done.stdout}{done.stderr}"
        [path] = out.glob("*.manifest.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def prepared(mode: Mode, folder: Path) -> Prepared:
    """Write an exposure of a mode, and its references.

    Raises
    ------
    FileNotFoundError
        Where it is one that exists, and it is not there.
    """
    exposure = _exposure(mode, folder)
    words = [f"--steps.{alias}.override_{kind}={place}" for alias, kind, place in _overrides(mode, folder)]
    crds = {"CRDS_PATH": str(folder / "crds"), "CRDS_CONTEXT": write_context(folder / "crds", [])}
    return Prepared(mode, exposure, (*words, *mode.words), {**os.environ, **crds})


def calibrated(mode: Mode, folder: Path) -> Found:
    """Calibrate an exposure of a mode by both engines and compare the products; raises what `prepared` does."""
    ready = prepared(mode, folder)
    ready.run("jwst", folder / "jwst")
    steps = ready.run("auto", folder / "auto")["steps"]
    ran = [step for step in steps if step["status"] == "COMPLETE"]
    return Found(
        compare_places(str(folder / "auto"), str(folder / "jwst")).files,
        tuple(step["alias"] for step in ran if step["engine"] == "native"),
        tuple(step["alias"] for step in ran if step["engine"] == "jwst"),
    )


def _exposure(mode: Mode, folder: Path) -> Path:
    if mode.exposure:
        path = _SHARED / mode.exposure
        if not path.exists():
            raise FileNotFoundError(path)
        return path
    from stdatamodels.jwst import datamodels

    nints, *rest = mode.case.shape
    arrays = raw_ramps(replace(mode.case, shape=(nints // mode.repeated, *rest)), realistic=True)
    if mode.irs2:  # what lies between the pixels is not lit
        unlit = ~irs2_science_rows(mode.case.shape[2], mode.case.detector)
        dark = np.random.default_rng(9).normal(9000, 8, arrays["data"][:, :, unlit].shape)
        arrays["data"][:, :, unlit] = np.round(dark)
    model = datamodels.Level1bModel()
    for name, array in arrays.items():
        setattr(model, name, np.concatenate([array.astype(np.uint16)] * mode.repeated))
    model.update(ramp_model(mode.case, {}))
    model.meta.exposure.readpatt, model.meta.subarray.name = mode.readpatt, mode.subarray
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = mode.axes
    model.meta.exposure.noutputs = mode.noutputs
    for place, value in mode.more.items():
        parent, name = place.split(".")
        setattr(getattr(model.meta, parent), name, value)
    path = folder / "exposure_uncal.fits"
    model.save(str(path))
    return path


def _overrides(mode: Mode, folder: Path) -> Sequence[tuple[str, str, str]]:
    """Write references; return step, type and file for all that the pipeline could ask for."""
    from calservice.engines.official import catalog

    case = mode.case
    full = _MID_INFRARED if case.instrument == "MIRI" else _NEAR_INFRARED
    paths = write_references(folder, case, size=full, kinds=_KINDS, realistic=True, irs2=mode.irs2)
    paths |= _write_dark(mode, folder)
    if mode.irs2:
        paths["refpix"] = write_reference(folder / "refpix.fits")
    if case.instrument == "MIRI":
        del paths["superbias"]
    if not mode.irs2:
        write_mask(paths["mask"], case, full)
    recipe = recipe_for(mode.pipeline, case.instrument)
    assert recipe is not None
    found = []
    for alias in recipe.steps:
        for kind in catalog()[alias].references:
            found.append((alias, kind, str(paths[kind]) if kind in paths else "N/A"))
    return found


def _write_dark(mode: Mode, folder: Path) -> dict[str, Path]:
    """Write a dark of the exposure's own pixels: darks are not cut from full frames."""
    from astropy.io import fits

    case = mode.case
    paths = write_references(
        folder,
        case,
        size=_NEAR_INFRARED if mode.irs2 else case.shape[2:],
        kinds=["dark"],
        realistic=True,
        dark_readout=(case.nframes, case.groupgap, case.shape[1] + 2),
        dark_ints=2 if case.instrument == "MIRI" else 0,
    )
    for keyword, value in zip(("SUBSTRT1", "SUBSTRT2"), case.start, strict=True):
        fits.setval(paths["dark"], keyword, value=value)
    return paths


def write_mask(path: Path, case: Case, size: tuple[int, int]) -> None:
    """Write a mask with the borders of reference pixels that a detector has."""
    from stdatamodels.jwst import datamodels

    with datamodels.MaskModel(str(path)) as model:
        flags = np.zeros(size, np.uint32)
        flags[np.random.default_rng(3).random(size) < 0.002] = PIXEL_FLAGS["DO_NOT_USE"]
        border = np.uint32(PIXEL_FLAGS["REFERENCE_PIXEL"])
        flags[:, :4] |= border
        flags[:, -4:] |= border
        if case.instrument != "MIRI":
            flags[:4] |= border
            flags[-4:] |= border
        model.dq = flags
        names = [(flag.bit_length() - 1, flag, name, "") for name, flag in PIXEL_FLAGS.items() if flag]
        kinds = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
        model.dq_def = np.array(names, dtype=kinds)
        model.save(str(path))
