"""Exposures on which parameters of steps make a difference, small wherever the step allows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import irs2, test_clean_flicker_noise, test_emicorr, test_persistence, test_picture_frame, test_refpix
from tests.parity.hits import hit_ramps, large_events
from tests.parity.regions import write_flat
from tests.parity.synthetic import FULL, Case, flagged_ramps, ramp_model, raw_ramps, save, write_references
from tests.parity.test_refpix_sirs import write_kernels

__all__ = ["SCENES", "Scene"]

Made = tuple[Any, dict[str, Path]]
"""An exposure, and files: references by type, others by a name."""
MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)


@dataclass(frozen=True)
class Scene:
    """An exposure with references and other files."""

    make: Callable[[Path], Made]
    quick: bool = True
    """Whether it is so small that it serves in every run of the tests."""


def _ramps(case: Case, *kinds: str, **options: Any) -> Scene:
    """Return raw ramps."""

    def make(folder: Path) -> Made:
        from astropy.io import fits

        paths = write_references(folder, case, kinds=kinds, **options)
        paths["flags"] = folder / "flags.fits"
        fits.writeto(paths["flags"], np.arange(FULL[0] * FULL[1], dtype=np.int32).reshape(FULL))
        model = ramp_model(case, raw_ramps(case))
        return model, paths

    return Scene(make)


def _flagged(case: Case) -> Scene:
    """Return ramps as they come to ramp fitting."""

    def make(folder: Path) -> Made:
        return ramp_model(case, flagged_ramps(case)), write_references(folder, case, kinds=("gain", "readnoise"))

    return Scene(make)


def _hits(case: Case, large: bool = False) -> Scene:
    """Return ramps with jumps; with snowballs and showers if told so."""

    def make(folder: Path) -> Made:
        size = case.shape[2:]
        paths = write_references(folder, case, size=size, kinds=("gain", "readnoise"), realistic=large)
        return ramp_model(case, large_events(case, 1) if large else hit_ramps(case)), paths

    return Scene(make)


def _flickering(case: Case, subarray: str = "SUB256", axes: tuple[int, int] = (1, 2)) -> Scene:
    """Return ramps with noise that lines have in common."""

    def make(folder: Path) -> Made:
        from stdatamodels.jwst.datamodels import ImageModel

        size = case.shape[2:]
        paths = write_references(folder, case, size=size, kinds=("gain", "readnoise"), realistic=True)
        if case.instrument == "MIRI":
            paths["flat"] = folder / "flat.fits"
            write_flat(paths["flat"], size)
        else:
            paths["flat"] = Path(test_clean_flicker_noise.flat_field(folder, case, 0.0))
        paths["mask"] = folder / "mask.fits"
        ImageModel(data=(np.random.default_rng(6).random(size) < 0.7).astype(np.float32)).save(str(paths["mask"]))
        model = ramp_model(case, test_clean_flicker_noise.noisy_ramps(case, abs(axes[1])))
        model.meta.subarray.name = subarray
        model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = axes
        return model, paths

    return Scene(make)


def _framed(folder: Path) -> Made:
    """Return ramps with a picture frame."""
    from stdatamodels.jwst.datamodels import PictureFrameModel

    case = test_picture_frame.CASE
    size = case.shape[2:]
    y, x = np.mgrid[: size[0], : size[1]]
    frame = (np.hypot(y - 120, x - 140) / 40).astype(np.float32)
    paths = write_references(folder, case, size=size, kinds=("gain", "readnoise"), realistic=True)
    paths["pictureframe"] = save(PictureFrameModel(data=frame), case, folder / "pictureframe.fits", placed=False)
    model = ramp_model(case, test_picture_frame.framed_ramps(case, frame))
    model.meta.subarray.name = "FULL"
    return model, paths


def _drifting(frame: test_refpix.Frame) -> Scene:
    """Return ramps with drifts that reference pixels tell."""

    def make(folder: Path) -> Made:
        return test_refpix.ramp(frame), {"sirskernel": write_kernels(folder / "sirskernel.asdf")}

    return Scene(make)


def _irs2(folder: Path) -> Made:
    return irs2.exposure("NRS2", (1, 2)), {"refpix": irs2.write_reference(folder / "refpix.fits")}


def _interfered(folder: Path) -> Made:
    """Return ramps with interference."""
    model = test_emicorr.exposure((3, 12, 40, 72))
    paths = write_references(folder, MIRI, kinds=("emicorr",))
    return model, paths | {"waves": paths["emicorr"]}


def _persisting(folder: Path) -> Made:
    """Return ramps that saturate, and what an earlier exposure left."""
    from jwst.persistence import PersistenceStep

    case = test_persistence.CASES[0]
    earlier = PersistenceStep(skip=False, persistence_time=4000, save_persistence=str(folder / "earlier.asdf"))
    earlier.process(test_persistence.exposure(replace(case, seed=9), start=60000.24))
    return test_persistence.exposure(case), {"earlier": folder / "earlier.asdf"}


SCENES: Mapping[str, Scene] = {
    "NIRCam": _ramps(Case(zeroframe=True), "mask", "dark", "saturation", "superbias"),
    "NIRCam, averaged": _ramps(
        Case(nframes=4, groupgap=1, zeroframe=True, shape=(2, 5, *FULL)), "saturation", "superbias", "dark",
        dark_readout=(1, 0, 40),
    ),
    "MIRI": _ramps(MIRI, "mask", "dark", "saturation", dark_ints=2),
    "NIRCam, flagged": _flagged(Case(zeroframe=True, shape=(2, 8, *FULL))),
    "MIRI, flagged": _flagged(replace(MIRI, shape=(2, 9, *FULL))),
    "NIRCam, hits": _hits(Case(shape=(2, 9, *FULL))),
    "NIRCam, 4 groups": _hits(Case(shape=(2, 4, *FULL), nframes=4)),
    "NIRCam, 3 groups": _hits(Case(shape=(2, 3, *FULL))),
    "NIRCam, 12 integrations": _hits(Case(shape=(12, 4, *FULL))),
    "NIRCam, snowballs": _hits(Case(shape=(3, 6, 90, 110), seed=1), large=True),
    "MIRI, showers": _hits(replace(MIRI, shape=(2, 9, 90, 110)), large=True),
    "NIRCam, flicker": _flickering(test_clean_flicker_noise.NIRCAM),
    "NIRISS, flicker": _flickering(test_clean_flicker_noise.NIRISS),
    "MIRI, flicker": _flickering(test_clean_flicker_noise.MIRI),
    "NIRSpec SUB512, flicker": _flickering(test_clean_flicker_noise.NIRSPEC, "SUB512", (2, 1)),
    "NIRCam channels": _flickering(Case(shape=(1, 3, 40, 2048)), "FULL"),
    "NIRSpec, picture frame": Scene(_framed),
    "MIRI SUB64, interference": Scene(_interfered),
    "NIRCam, saturating": Scene(_persisting),
    "NIRCam full frame": _drifting(replace(test_refpix.FULL, shape=(1, 2, 2048, 2048))),
    "NIRCam SUB64STRIPE": _drifting(test_refpix.STRIPE),
    "MIRI full frame": _drifting(replace(test_refpix.MIRI, shape=(1, 2, 1024, 1032))),
    "NIRSpec IRS2": Scene(_irs2, quick=False),
}  # fmt: skip
