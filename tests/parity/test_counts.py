"""What tables say: counts of each kind of difference, in its own place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from calservice.products.compare import compare_places
from tests.parity.counts import Counts, count


def write(folder: Path, keyword: int = 1, flag: int = 0, near: float = 0, far: float = 0) -> str:
    folder.mkdir()
    data, flags = np.ones((4, 5), np.float32), np.zeros((4, 5), np.uint8)
    data[0, 0] += near
    data[1, 1:3] += far
    flags[2, :3] = flag
    primary = fits.PrimaryHDU(header=fits.Header({"NINTS": keyword, "EXPTIME": float(keyword)}))
    images = [fits.ImageHDU(data, name="SCI"), fits.ImageHDU(flags, name="GROUPDQ")]
    fits.HDUList([primary, *images]).writeto(folder / "x_jump.fits")
    return str(folder)


def test_counts(tmp_path: Path) -> None:
    one = write(tmp_path / "one")
    for number, (change, expected) in enumerate(
        [
            ({}, Counts(40, flags=0, beyond=0, keywords=0, others=0, within=0)),
            ({"near": 5e-6}, Counts(40, flags=0, beyond=0, keywords=0, others=0, within=1)),
            ({"far": 1}, Counts(40, flags=0, beyond=2, keywords=0, others=0, within=0)),
            ({"flag": 4}, Counts(40, flags=3, beyond=0, keywords=0, others=0, within=0)),
            ({"keyword": 3}, Counts(40, flags=0, beyond=0, keywords=2, others=0, within=0)),
        ]
    ):
        found = count(compare_places(write(tmp_path / str(number), **change), one).files)
        assert found == expected
        assert found.cell.startswith("**") == bool(change and "near" not in change)
    (tmp_path / "0" / "more.fits").write_bytes((tmp_path / "0" / "x_jump.fits").read_bytes())
    assert count(compare_places(str(tmp_path / "0"), one).files).cell == "**1 products differ**"
    assert count([]).cell == "**nothing compared**"
