"""References for those official tests that take them from CRDS: full frames of plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from calservice.simulate.context import Rule, write_context
from calservice.steps.stage1._refpix_irs2_layout import LENGTH

USEAFTER = "2000-01-01T00:00:00"
WANTED = (
    ("miri", ("mask", "saturation", "linearity", "dark", "gain", "readnoise", "emicorr", "reset", "rscd", "flat")),
    ("nircam", ("mask", "saturation", "superbias", "gain", "readnoise", "flat", "distortion", "sirskernel")),
    ("nirspec", ("mask", "saturation", "gain", "readnoise", "refpix")),
    ("niriss", ("mask", "flat")),
    ("fgs", ("mask", "gain", "readnoise")),
)
NAMED = MappingProxyType({("nircam", "flat"): "jwst_nircam_flat_0296.fits"})
"""File names that a test expects."""
DETECTORS = MappingProxyType({("nircam", "flat"): "NRCA1|NRCBLONG"})
"""References that hold for some detectors only."""
SUBARRAYS = MappingProxyType({("miri", "reset"): "SUB128"})
"""References that hold for one subarray only; others have none."""
TREES = ("distortion", "emicorr", "sirskernel")
"""References in ASDF."""
TABLES = ("rscd", "refpix")
"""References that do not lie anywhere on a detector, like trees."""
PARAMETERS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("darkpipeline", "jwst.pipeline.calwebb_dark.DarkPipeline", {"suffix": "dark"}),
    (
        "whitelightstep",
        "jwst.white_light.white_light_step.WhiteLightStep",
        {"min_wavelength": 5.0, "max_wavelength": 12.0},
    ),
)
"""Parameter references of MIRI, as the tests expect them: class in the name of the type, class, parameters."""


def write_peer_context(cache: Path) -> str:
    """Write the references and a context that selects them by instrument; return the context's name."""
    rules = []
    for instrument, kinds in WANTED:
        folder = cache / "references" / "jwst" / instrument
        folder.mkdir(parents=True)
        for kind in kinds:
            model = make_model(kind, instrument)
            extension = "asdf" if kind in TREES else "fits"
            name = NAMED.get((instrument, kind), f"jwst_{instrument}_{kind}_0001.{extension}")
            model.save(str(folder / name))
            detector = DETECTORS.get((instrument, kind))
            keys, values = ("META.INSTRUMENT.NAME",), (instrument.upper(),)
            if detector is not None:
                keys, values = ("META.INSTRUMENT.DETECTOR",), (detector,)
            subarray = SUBARRAYS.get((instrument, kind))
            if subarray is not None:
                keys, values = ("META.SUBARRAY.NAME",), (subarray,)
                rules.append(Rule(instrument, kind, keys, ("N/A",), USEAFTER, "N/A"))
            rules.append(Rule(instrument, kind, keys, values, USEAFTER, name))
    for kind, class_name, parameters in PARAMETERS:
        name = f"jwst_miri_pars-{kind}_0001.asdf"
        write_parameters(cache / "references" / "jwst" / "miri" / name, kind, class_name, parameters)
        rules.append(Rule("miri", f"pars-{kind}", ("META.INSTRUMENT.NAME",), ("MIRI",), USEAFTER, name))
    return write_context(cache, rules)


def make_model(kind: str, instrument: str) -> Any:
    """Return a reference with values that do something, but little."""
    from stdatamodels.jwst import datamodels as dm

    shape = (1024, 1032) if instrument == "miri" else (2048, 2048)
    values = np.full(shape, 1, np.float32)
    makers = {
        "mask": lambda: dm.MaskModel(dq=np.zeros(shape, np.uint32)),
        "saturation": lambda: dm.SaturationModel(data=values * 60000),
        "superbias": lambda: dm.SuperBiasModel(data=values * 10000),
        "linearity": lambda: dm.LinearityModel(coeffs=np.stack([values * 0, values]), dq=np.zeros(shape, np.uint32)),
        "dark": lambda: dm.DarkMIRIModel(data=np.zeros((1, 5, *shape), np.float32)),
        "gain": lambda: dm.GainModel(data=values * 2),
        "readnoise": lambda: dm.ReadnoiseModel(data=values * 10),
        "flat": lambda: dm.FlatModel(data=values),
        "emicorr": emicorr,
        "distortion": distortion,
        "reset": reset,
        "rscd": rscd,
        "refpix": irs2,
        "sirskernel": sirs,
    }
    model = makers[kind]()
    meta = model.meta
    meta.description, meta.author, meta.pedigree, meta.useafter = "plain", "test", "DUMMY", USEAFTER
    meta.reftype, meta.instrument.name = kind, instrument.upper()
    if kind not in (*TREES, *TABLES):
        where = meta.subarray
        where.xstart, where.ystart, where.xsize, where.ysize = 1, 1, shape[1], shape[0]
    if kind == "dark":
        meta.exposure.nframes, meta.exposure.groupgap = 1, 0
    if kind == "gain" and instrument == "nirspec":
        meta.exposure.gain_factor = 2.0
    return model


def emicorr() -> Any:
    """Return one frequency of interference, in the full frame and one subarray."""
    from stdatamodels.jwst.datamodels import EmiModel

    model = EmiModel()
    model.frequencies = {"Hz390": {"frequency": 390.625, "phase_amplitudes": np.full(20, 0.1)}}
    model.subarray_cases = {
        "MASK1550": {"frameclocks": 23968, "rowclocks": 82, "freqs": {"FAST": ["Hz390"]}},
        "FULL_FAST": {"frameclocks": 277504, "rowclocks": 271, "freqs": {"FAST": ["Hz390"]}},
    }
    return model


def irs2() -> Any:
    """Return factors of IRS2 frames that take nothing of the reference pixels but their mean."""
    from stdatamodels.jwst.datamodels import IRS2Model

    names = [f"{kind}_{n}" for kind in ("alpha", "beta") for n in range(4)]
    model = IRS2Model(irs2_table=np.zeros(2 * LENGTH, [(name, "f4") for name in names]))
    model.dq_table = np.zeros(0, [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")])
    return model


def sirs() -> Any:
    """Return kernels of one detector."""
    from stdatamodels.jwst.datamodels import SIRSKernelModel

    model = SIRSKernelModel()
    model.nrca1 = {name: np.tile(0.5 / (1 + np.arange(1025) / 20), (4, 1)) for name in ("gamma", "zeta")}
    return model


def reset() -> Any:
    """Return the subarray of MIRI that the tests take, of two integrations."""
    from stdatamodels.jwst.datamodels import ResetModel

    model = ResetModel(data=np.ones((2, 15, 128, 136), np.float32))
    model.meta.exposure.nints, model.meta.exposure.ngroups = 2, 15
    return model


def rscd() -> Any:
    """Return groups to flag in one subarray of MIRI."""
    from stdatamodels.jwst.datamodels import RSCDModel

    model = RSCDModel()
    columns = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    model.rscd_group_skip_table = np.array([("SUB128", "FASTR1", 1, 4)], columns)
    return model


def distortion() -> Any:
    """Return pixels of 0.031 arcseconds around the middle of a detector."""
    from astropy import units
    from astropy.modeling.models import Scale, Shift
    from stdatamodels.jwst.datamodels import DistortionModel

    model = DistortionModel(
        model=(Shift(-1024) & Shift(-1024)) | (Scale(0.031) & Scale(0.031)) | (Shift(-453.4) & Shift(-373.8)),
        input_units=units.pix,
        output_units=units.arcsec,
    )
    model.meta.exposure.type = "NRC_IMAGE"
    where = model.meta.instrument
    where.detector, where.channel, where.module, where.p_pupil = "NRCA1", "SHORT", "A", "CLEAR|"
    return model


def write_parameters(path: Path, kind: str, class_name: str, parameters: Mapping[str, Any]) -> None:
    """Write a parameter reference."""
    import asdf

    tree = {
        "class": class_name,
        "name": kind.removesuffix("step"),
        "parameters": dict(parameters),
        "meta": {
            "author": "test",
            "date": USEAFTER,
            "description": "plain",
            "instrument": {"name": "MIRI"},
            "origin": "test",
            "pedigree": "DUMMY",
            "reftype": f"pars-{kind}",
            "telescope": "JWST",
            "useafter": USEAFTER,
        },
    }
    asdf.AsdfFile(tree).write_to(path)
