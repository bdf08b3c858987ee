"""What the tests need of the official package, called in processes of their own; and small inputs for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PRODUCT = "jw00623-o026_t001_miri_p750l-slitlessprism"


def run(name: str, primary: str, folder: str, steps: dict[str, Any]) -> None:
    """Call an official pipeline as its users do."""
    import jwst.pipeline

    os.chdir(Path(primary).parent)
    getattr(jwst.pipeline, name).call(primary, output_dir=folder, save_results=True, steps=steps)


def association(path: Path, kind: str, member: str) -> Path:
    """Write an association of one member."""
    product = {"name": PRODUCT, "members": [{"expname": member, "exptype": "science"}]}
    record = {"asn_type": kind, "asn_rule": "Asn_Lv3TSO", "program": "00623", "asn_id": "o026", "asn_pool": "none"}
    path.write_text(json.dumps(record | {"target": "t001", "products": [product]}))
    return path


def flat_references(uncal: Path, folder: Path, *, gain: float, noise: float) -> tuple[Path, Path]:
    """Write gain and read noise references of one value that cover an exposure."""
    import numpy as np
    from astropy.io import fits
    from stdatamodels.jwst import datamodels

    header = fits.getheader(uncal)
    paths = []
    for kind, value in (("gain", gain), ("readnoise", noise)):
        model_type = datamodels.GainModel if kind == "gain" else datamodels.ReadnoiseModel
        shape = (header["SUBSIZE2"], header["SUBSIZE1"])
        with model_type(np.full(shape, value, dtype=np.float32)) as model:
            for name in ("xstart", "ystart", "xsize", "ysize"):
                keyword = f"SUBSTRT{1 + (name[0] == 'y')}" if "start" in name else f"SUBSIZE{1 + (name[0] == 'y')}"
                setattr(model.meta.subarray, name, header[keyword])
            model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = header["FASTAXIS"], header["SLOWAXIS"]
            model.meta.subarray.name = header["SUBARRAY"]
            model.meta.instrument.name, model.meta.instrument.detector = header["INSTRUME"], header["DETECTOR"]
            model.meta.reftype, model.meta.author = kind, "made for a test"
            model.meta.description, model.meta.pedigree = "of one value", "DUMMY"
            model.meta.useafter = "2000-01-01T00:00:00"
            paths.append(folder / f"{kind}.fits")
            model.save(paths[-1])
    return paths[0], paths[1]
