"""Comparing what our classes return and write with what the official ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

ARRAYS = ("data", "dq", "err", "var_poisson", "var_rnoise", "pixeldq", "groupdq", "zeroframe", "average_dark_current")
IGNORED = ["DATE", "CAL_VER", "CAL_VCS", "CRDS_VER", "CRDS_CTX"]


def same_model(ours: Any, theirs: Any) -> None:
    """Demand the same kind of result, the same metadata, flags bit for bit and values within the comparator."""
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple)
        for mine, other in zip(ours, theirs, strict=True):
            same_model(mine, other)
        return
    assert type(ours) is type(theirs)
    if theirs is None:
        return
    for name in ARRAYS:
        assert ours.hasattr(name) == theirs.hasattr(name), name
        if theirs.hasattr(name):
            same_array(getattr(ours, name), getattr(theirs, name), name)
    assert metadata(ours) == metadata(theirs)


def same_array(ours: Any, theirs: Any, name: str) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("="), name
    if name.endswith("dq"):
        assert np.array_equal(ours, theirs), name
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7, equal_nan=True, err_msg=name)


def metadata(model: Any) -> dict[str, Any]:
    """Return the keywords of a model: references (R_*), steps (S_*) and all others but those the comparator ignores."""
    flat = {k: v for k, v in model.to_flat_dict().items() if k.startswith("meta.") and k != "meta.date"}
    return {k: v for k, v in flat.items() if not k.startswith(("meta.calibration_software", "meta.ref_file.crds"))}


def same_files(ours: Path, theirs: Path) -> list[str]:
    """Demand the same file names in two folders, and files that the official comparator finds equal."""
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    for name in names:
        if name.endswith(".fits"):
            options = {"rtol": 1e-5, "atol": 1e-7, "ignore_keywords": IGNORED, "ignore_hdus": ["ASDF"]}
            difference = fits.FITSDiff(theirs / name, ours / name, **options)
            assert difference.identical, difference.report()
    return names
