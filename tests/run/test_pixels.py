"""Exposures whose pixels stay in their file have the same ones as others, however these are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from calservice.run.held import Held
from calservice.steps.registry import NATIVE

SHAPE = (2, 3, 40, 50)


@pytest.mark.parametrize("name", ["SCI", "ZEROFRAME", "GROUPDQ"])
@pytest.mark.parametrize("way", ["plain", "packed", "double", "scaled"])
def test_pixels_are_those_of_the_model(way: str, name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    model = datamodels.RampModel(data=random.integers(0, 60000, SHAPE).astype(np.float32))
    model.groupdq = random.integers(0, 8, SHAPE).astype(np.uint8)
    model.pixeldq = random.integers(0, 8, SHAPE[2:]).astype(np.uint32)
    model.zeroframe = model.data[:, 0] + 1
    model.meta.exposure.zero_frame = True
    path = tmp_path / "a_ramp.fits"
    model.save(path)
    with fits.open(path) as hdus:
        numbers = hdus[name].data
        if way == "packed":
            packed = fits.CompImageHDU(numbers, name=name, compression_type="GZIP_2", quantize_level=0)
            hdus[hdus.index_of(name)] = packed
        elif way == "double":
            hdus[name].data = numbers.astype(np.float64 if numbers.dtype.kind == "f" else np.int64)
        elif way == "scaled":
            hdus[name].data = numbers.astype(np.float64)
            hdus[name].scale("int32", bscale=2, bzero=-1 if numbers.min() % 2 else 0)
        hdus.writeto(tmp_path / "b_ramp.fits")
    due = datamodels.RampModel(str(tmp_path / "b_ramp.fits"))
    held = Held(str(tmp_path / "b_ramp.fits"), datamodels.RampModel)
    found = held.source([NATIVE[alias] for alias in ("saturation", "linearity")])
    assert found.keys() == {"data", "groupdq", "pixeldq", "zeroframe"}
    for array, pixels in found.items():
        assert np.array_equal(np.asarray(pixels), getattr(due, array)), array
