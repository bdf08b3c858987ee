"""References for those official tests that take them from CRDS: full frames of plain numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calservice.simulate.context import Rule, write_context

USEAFTER = "2000-01-01T00:00:00"
WANTED = (
    ("miri", ("mask", "linearity")),
    ("nircam", ("mask", "saturation", "superbias", "gain", "readnoise")),
    ("nirspec", ("mask", "saturation")),
    ("niriss", ("mask",)),
    ("fgs", ("mask",)),
)


def make_model(kind: str, shape: tuple[int, int]) -> Any:
    """Return a reference with a value that does something, but little."""
    from stdatamodels.jwst import datamodels as dm

    values = np.full(shape, 1, np.float32)
    makers = {
        "mask": lambda: dm.MaskModel(dq=np.zeros(shape, np.uint32)),
        "saturation": lambda: dm.SaturationModel(data=values * 60000),
        "superbias": lambda: dm.SuperBiasModel(data=values * 10000),
        "linearity": lambda: dm.LinearityModel(coeffs=np.stack([values * 0, values]), dq=np.zeros(shape, np.uint32)),
        "gain": lambda: dm.GainModel(data=values * 2),
        "readnoise": lambda: dm.ReadnoiseModel(data=values * 10),
    }
    return makers[kind]()


def write_peer_context(cache: Path) -> str:
    """Write the references and a context that selects them by instrument; return the context's name."""
    rules = []
    for instrument, kinds in WANTED:
        shape = (1024, 1032) if instrument == "miri" else (2048, 2048)
        folder = cache / "references" / "jwst" / instrument
        folder.mkdir(parents=True)
        for kind in kinds:
            model = make_model(kind, shape)
            meta = model.meta
            meta.description, meta.author, meta.pedigree, meta.useafter = "plain", "test", "DUMMY", USEAFTER
            meta.reftype, meta.instrument.name = kind, instrument.upper()
            where = meta.subarray
            where.xstart, where.ystart, where.xsize, where.ysize = 1, 1, shape[1], shape[0]
            name = f"jwst_{instrument}_{kind}_0001.fits"
            model.save(str(folder / name))
            rules.append(Rule(instrument, kind, ("META.INSTRUMENT.NAME",), (instrument.upper(),), USEAFTER, name))
    return write_context(cache, rules)
