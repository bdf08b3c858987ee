"""Readout modes of all instruments: an exposure of each with references, calibrated by both engines and compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from calservice.model import modes
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.stripes import Stripes
from calservice.model.superstripes import joined
from calservice.products.compare import FileComparison, compare_places
from calservice.recipes import OFF_BY_DEFAULT, Recipe, recipe_for
from calservice.simulate.context import Rule, write_context
from calservice.steps.stage1.saturation import irs2_science_rows
from tests.parity.irs2 import write_reference
from tests.parity.regions import write_flat, write_traces
from tests.parity.synthetic import Case, ramp_model, raw_ramps, save, times_of, write_references

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
    every: bool = False
    """Whether every step runs: those that are off by default, and those that have no reference or nothing to do."""

    @property
    def irs2(self) -> bool:
        return self.readpatt.startswith("NRSIRS2")

    @property
    def pipeline(self) -> str:
        return modes.GUIDER if self.case.exp_type in modes.GUIDER_EXP_TYPES else modes.DETECTOR1

    @property
    def recipe(self) -> Recipe:
        recipe = recipe_for(self.pipeline, self.case.instrument)
        assert recipe is not None
        return recipe


def _near(name: str, *of: Any, shape: tuple[int, int, int, int], **more: Any) -> Mode:
    known = ("nframes", "groupgap", "start", "zeroframe", "stripes")
    case = {key: more.pop(key) for key in known if key in more}
    if "stripes" in case:
        case["axes"] = more["axes"]
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
            start=(1, 1889), subarray="SUB160",
        ),
        _near(
            "NIRCam SUBGRISM64, time series", "NIRCAM", "NRCALONG", "NRC_TSGRISM", shape=(6, 5, 64, 2048), axes=(-1, 2),
            subarray="SUBGRISM64", more={"visit.tsovisit": True}, quick=True,
        ),
        _near(
            "NIRCam SUB160, every step", "NIRCAM", "NRCBLONG", "NRC_IMAGE", shape=(2, 8, 160, 160), axes=(1, -2),
            noutputs=1, start=(1, 1889), subarray="SUB160", quick=True, every=True, zeroframe=True,
        ),
        _near(
            "NIRCam DHS, stripes", "NIRCAM", "NRCA1", "NRC_TSGRISM", shape=(2, 5, 260, 2048), axes=(-1, 2),
            stripes=Stripes(4, 20, 64, 300, 0, 0, 0, 0, from_first=True), subarray="SUB260STRIPE4_DHS",
            more={"visit.tsovisit": True},
        ),
        _near("NIRISS full frame", "NIRISS", "NIS", "NIS_IMAGE", shape=(1, 4, 2048, 2048), axes=(-2, -1),
              readpatt="NISRAPID"),
        Mode("NIRISS SUB80 (Mirage)", Case("NIRISS", "NIS", "NIS_AMI", shape=(5, 6, 80, 80), start=(1045, 1)),
             quick=True, exposure="sim/niriss_ami_mirage_uncal/jw00793001001_01101_00001_nis_uncal.fits"),
        _near(
            "NIRISS SUBSTRIP256", "NIRISS", "NIS", "NIS_SOSS", shape=(3, 4, 256, 2048), axes=(-2, -1), noutputs=1,
            start=(1, 1793), subarray="SUBSTRIP256", readpatt="NISRAPID", more={"visit.tsovisit": True},
        ),
        _near(
            "NIRISS SUBSTRIP96, averaged", "NIRISS", "NIS", "NIS_SOSS", shape=(2, 4, 96, 2048), axes=(-2, -1),
            noutputs=1, start=(1, 1803), nframes=4, subarray="SUBSTRIP96", readpatt="NIS", quick=True,
            more={"visit.tsovisit": True, "instrument.pupil_position": 245.8},
            words=("--steps.clean_flicker_noise.skip=false", "--steps.clean_flicker_noise.mask_science_regions=true"),
        ),
        _near(
            "NIRISS SOSS, superstripes", "NIRISS", "NIS", "NIS_SOSS", shape=(6, 5, 256, 72), axes=(-2, -1),
            start=(1800, 1), stripes=Stripes(4, 9, 68, 0, 0, 0, 68, 3), subarray="SUB680STRIPE_SOSS",
            readpatt="NISRAPID", more={"visit.tsovisit": True},
        ),
        _near("NIRSpec full frame", "NIRSPEC", "NRS1", "NRS_MSASPEC", shape=(1, 4, 2048, 2048), axes=(2, 1),
              readpatt="NRSRAPID"),
        _near(
            "NIRSpec full frame, every step", "NIRSPEC", "NRS2", "NRS_MSASPEC", shape=(1, 4, 2048, 2048),
            axes=(-2, -1), readpatt="NRSRAPID", every=True,
        ),
        _near("NIRSpec IRS2", "NIRSPEC", "NRS1", "NRS_MSASPEC", shape=(1, 4, 3200, 2048), axes=(2, 1),
              readpatt="NRSIRS2RAPID", noutputs=5),
        _near("NIRSpec IRS2, averaged", "NIRSPEC", "NRS2", "NRS_IFU", shape=(1, 3, 3200, 2048), axes=(-2, -1),
              readpatt="NRSIRS2", nframes=5, noutputs=5),
        _near(
            "NIRSpec ALLSLITS, averaged", "NIRSPEC", "NRS1", "NRS_FIXEDSLIT", shape=(2, 4, 256, 2048), axes=(2, 1),
            noutputs=1, start=(1, 897), nframes=4, subarray="ALLSLITS", readpatt="NRS",
        ),
        _near(
            "NIRSpec SUB512", "NIRSPEC", "NRS2", "NRS_BRIGHTOBJ", shape=(3, 5, 32, 512), axes=(-2, -1), noutputs=1,
            start=(897, 1009), subarray="SUB512", readpatt="NRSRAPID", more={"visit.tsovisit": True}, quick=True,
        ),
        _near("MIRI full frame FAST", "MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 8, 1024, 1032), readpatt="FASTR1"),
        _near("MIRI MRS SLOW", "MIRI", "MIRIFULONG", "MIR_MRS", shape=(1, 6, 1024, 1032), readpatt="SLOWR1"),
        _near(
            "MIRI SLITLESSPRISM, time series", "MIRI", "MIRIMAGE", "MIR_LRS-SLITLESS", shape=(5, 9, 416, 72),
            start=(1, 529), subarray="SLITLESSPRISM", readpatt="FASTR1", more={"visit.tsovisit": True},
        ),
        _near(
            "MIRI MASK1550", "MIRI", "MIRIMAGE", "MIR_4QPM", shape=(2, 6, 224, 288), start=(1, 467),
            subarray="MASK1550", readpatt="FASTR1",
        ),
        _near(
            "MIRI SUB256", "MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(3, 9, 256, 256), start=(413, 51), subarray="SUB256",
            readpatt="FASTR1",
        ),
        _near(
            "MIRI SUB64, every step", "MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(3, 9, 64, 72), start=(1, 779),
            subarray="SUB64", readpatt="FASTR1", quick=True, every=True,
        ),
        _near("FGS full frame", "FGS", "GUIDER1", "FGS_IMAGE", shape=(1, 4, 2048, 2048), axes=(2, -1),
              readpatt="FGSRAPID"),
        _near(
            "FGS SUB128, averaged", "FGS", "GUIDER2", "FGS_IMAGE", shape=(2, 5, 128, 128), axes=(2, 1), noutputs=1,
            start=(961, 961), nframes=4, groupgap=2, subarray="SUB128CNTR", readpatt="FGS8370",
        ),
        _near("FGS guider ID-STACK", "FGS", "GUIDER1", "FGS_ID-STACK", shape=(2, 2, 2024, 2048), axes=(2, -1),
              start=(1, 13)),
        _near("FGS guider ACQ2", "FGS", "GUIDER1", "FGS_ACQ2", shape=(5, 2, 32, 32), axes=(2, -1), start=(901, 1001)),
        _near("FGS guider TRACK", "FGS", "GUIDER2", "FGS_TRACK", shape=(40, 2, 32, 32), axes=(2, 1),
              start=(901, 1001)),
        _near("FGS guider FINEGUIDE", "FGS", "GUIDER1", "FGS_FINEGUIDE", shape=(30, 8, 8, 8), axes=(2, -1),
              start=(1201, 801)),
        Mode("FGS guider ACQ1 (flight)", Case("FGS", "GUIDER2", "FGS_ACQ1", shape=(6, 2, 128, 128), start=(887, 1022)),
             quick=True, exposure="flight/headers_and_guider/fgs_acq1_guider2_6x2x128x128_uncal.fits"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What both engines made of an exposure."""

    products: tuple[FileComparison, ...]
    steps: Mapping[str, tuple[FileComparison, ...]]
    """What each step saved, by its alias."""
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
    paths = _references(mode, folder)
    recipe = mode.recipe
    words = [f"--steps.{alias}.override_{kind}={place}" for alias, kind, place in _overrides(recipe.steps, paths)]
    crds = {"CRDS_PATH": str(folder / "crds"), "CRDS_CONTEXT": _context(mode, paths, folder / "crds")}
    if mode.every:
        words += [f"--steps.{alias}.skip=false" for alias in recipe.steps if alias in OFF_BY_DEFAULT]
        words += ["--steps.persistence.persistence_time=30", "--steps.picture_frame.mask_science_regions=false"]
        words += ["--steps.clean_flicker_noise.mask_science_regions=true"] if mode.case.instrument == "MIRI" else []
    return Prepared(mode, exposure, (*words, *mode.words), {**os.environ, **crds})


def calibrated(mode: Mode, folder: Path) -> Found:
    """Calibrate an exposure of a mode by both engines, and compare products and what each step made.

    The native engine runs twice: as it runs by default, steps fused, and with the result of every step saved.

    Raises
    ------
    FileNotFoundError
        Where the exposure is one that exists, and it is not there.
    """
    ready = prepared(mode, folder)
    recipe = mode.recipe
    every = [f"--steps.{alias}.save_results=true" for alias in recipe.steps]
    ready.run("jwst", folder / "jwst", *every)
    ready.run("auto", folder / "apart", *every)
    steps = ready.run("auto", folder / "auto")["steps"]
    ran = [step for step in steps if step["status"] == "COMPLETE"]
    for made in ("jwst", "apart"):
        _put_aside(folder / made, folder / f"{made} steps", recipe.steps)
    results = compare_places(str(folder / "apart steps"), str(folder / "jwst steps")).files
    return Found(
        compare_places(str(folder / "auto"), str(folder / "jwst")).files,
        {alias: tuple(result for result in results if _step_of(result.name, [alias])) for alias in recipe.steps},
        tuple(step["alias"] for step in ran if step["engine"] == "native"),
        tuple(step["alias"] for step in ran if step["engine"] == "jwst"),
    )


def _step_of(name: str, aliases: Iterable[str]) -> str | None:
    """Return the step whose result has that file name."""
    stem = Path(name).stem.removesuffix("ints")
    return next((alias for alias in aliases if stem.endswith(f"_{alias}")), None)


def _put_aside(folder: Path, place: Path, aliases: Sequence[str]) -> None:
    """Move the results of steps out of the way of products."""
    place.mkdir()
    for path in folder.glob("*.fits"):
        if _step_of(path.name, aliases):
            path.rename(place / path.name)


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
    model = datamodels.GuiderRawModel() if mode.pipeline == modes.GUIDER else datamodels.Level1bModel()
    for name, array in arrays.items():
        setattr(model, name, np.concatenate([array.astype(np.uint16)] * mode.repeated))
    model.update(ramp_model(mode.case, {}))
    model.meta.exposure.readpatt, model.meta.subarray.name = mode.readpatt, mode.subarray
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = mode.axes
    model.meta.exposure.noutputs = mode.noutputs
    model.meta.exposure.start_time = mode.case.info.start_time
    model.meta.exposure.integration_time = mode.case.info.integration_time
    for place, value in mode.more.items():
        parent, name = place.split(".")
        setattr(getattr(model.meta, parent), name, value)
    model.meta.exposure.nsamples = 1
    if mode.case.info.num_superstripe:
        model.meta.exposure.nints = nints
        model.int_times = times_of(nints)
    if mode.every:
        model.meta.exposure.frame_divisor = 2 * mode.case.nframes
    path = folder / "exposure_uncal.fits"
    model.save(str(path))
    return path


def _overrides(aliases: Iterable[str], paths: Mapping[str, Path]) -> Iterable[tuple[str, str, str]]:
    """Yield step, type and file for all that steps could ask for."""
    from calservice.engines.official import catalog

    for alias in aliases:
        for kind in catalog()[alias].references:
            yield alias, kind, str(paths[kind]) if kind in paths else "N/A"


def _context(mode: Mode, paths: Mapping[str, Path], cache: Path) -> str:
    """Write a context for what steps run for themselves, which overrides do not reach; return its name."""
    rules = []
    instrument = mode.case.instrument.lower()
    for kind in [kind for kind in ("gain", "readnoise", "flat") if kind in paths]:
        place = cache / "references" / "jwst" / instrument / f"jwst_{instrument}_{kind}_0001.fits"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(paths[kind])
        keys, values = ("META.INSTRUMENT.DETECTOR",), (mode.case.detector,)
        rules.append(Rule(instrument, kind, keys, values, "2020-01-01T00:00:00", place.name))
    return write_context(cache, rules)


def _references(mode: Mode, folder: Path) -> dict[str, Path]:
    """Write references; return them by type."""
    case = mode.case
    full = _MID_INFRARED if case.instrument == "MIRI" else _NEAR_INFRARED
    paths = write_references(folder, case, size=full, kinds=_KINDS, realistic=True, irs2=mode.irs2)
    paths |= _write_dark(mode, folder)
    if mode.irs2:
        paths["refpix"] = write_reference(folder / "refpix.fits")
    if case.instrument == "MIRI":
        del paths["superbias"]
        paths |= write_references(folder, case, size=case.shape[2:], kinds=("reset", "rscd", "emicorr"))
    if not mode.irs2:
        write_mask(paths["mask"], case, full)
    if case.exp_type == "NIS_SOSS":
        paths["pastasoss"] = Path(write_traces(folder / "pastasoss.asdf"))
    if mode.every:
        paths["ipc"] = _write_ipc(folder / "ipc.fits", case)
        if case.instrument == "MIRI":
            paths["flat"] = folder / "flat.fits"
            write_flat(paths["flat"], full)
        if case.instrument == "NIRSPEC":
            paths["pictureframe"] = _write_frame(folder / "pictureframe.fits", case, full)
        fits.setval(paths["gain"], "GAINFACT", value=1.3)
    return paths


def _write_ipc(path: Path, case: Case) -> Path:
    """Write what a pixel takes from its neighbours, and these from it."""
    from stdatamodels.jwst.datamodels import IPCModel

    kernel = np.array([[0.0001, -0.005, 0.0001], [-0.0051, 1.0197, -0.0049], [0.0001, -0.005, 0.0001]], np.float32)
    return save(IPCModel(data=kernel), case, path, placed=False)


def _write_frame(path: Path, case: Case, size: tuple[int, int]) -> Path:
    """Write a picture frame: bright towards the edges."""
    from stdatamodels.jwst.datamodels import PictureFrameModel

    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    return save(PictureFrameModel(data=rows[:, None] ** 4 + columns**4), case, path, placed=False)


def _write_dark(mode: Mode, folder: Path) -> dict[str, Path]:
    """Write a dark of the exposure's own pixels: darks are not cut from full frames."""
    case, size, groups = mode.case, mode.case.shape[2:], mode.case.shape[1]
    if case.info.num_superstripe:
        told = {"exposure_nints": case.shape[0], "noutputs": mode.noutputs, "subarray": mode.subarray}
        whole = joined(replace(case.info, **told))
        size, groups = (whole.nrows, whole.ncols), whole.ngroups
    paths = write_references(
        folder,
        case,
        size=_NEAR_INFRARED if mode.irs2 else size,
        kinds=["dark"],
        realistic=True,
        dark_readout=(case.nframes, case.groupgap, groups + 2),
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
