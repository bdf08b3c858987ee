"""Flicker noise that is fitted in frequency space, against the official step."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity import test_clean_flicker_noise as flicker
from tests.parity.synthetic import Case

pytestmark = flicker.pytestmark

both = flicker.both
NIRSPEC = flicker.NIRSPEC


@pytest.mark.parametrize(
    ("case", "where"),
    [
        (NIRSPEC, {"name": "SUB512"}),
        (replace(NIRSPEC, detector="NRS2", exp_type="NRS_FIXEDSLIT", shape=(1, 3, 256, 64)), {"name": "ALLSLITS"}),
        (replace(NIRSPEC, shape=(1, 3, 16, 512)), {"name": "SUB512S"}),
    ],
)
def test_frequencies_of_subarrays(both: Callable[..., Any], case: Case, where: dict[str, Any]) -> None:
    where = {"slowaxis": 1, "fastaxis": 2, **where}
    for parameters in ({}, {"background_method": None, "single_mask": False}):
        made, given = both(case, where=where, fit_method="fft", save_noise=True, **parameters)
        assert made.meta.cal_step.clean_flicker_noise == "COMPLETE"
        assert np.nanstd(made.data - given.data) > 0.3


def test_frequencies_that_cannot_be_fitted(both: Callable[..., Any], tmp_path: Path) -> None:
    """One image without background left makes the step fail for the whole exposure."""
    from stdatamodels.jwst.datamodels import ImageModel

    mask = np.zeros(NIRSPEC.shape[2:], np.float32)
    mask[4, 4:7] = 1
    ImageModel(data=mask).save(str(tmp_path / "mask.fits"))
    arrays = flicker.noisy_ramps(NIRSPEC, 1)
    arrays["groupdq"][:] = 0
    arrays["data"][:, :, 4, 4:7] = 0
    arrays["data"][1, 2:, 4, 5] += 100  # an outlier, whose neighbours are the only other background
    options = {"fit_method": "fft", "background_method": None, "user_mask": str(tmp_path / "mask.fits")}
    options |= {"save_background": True}
    made, given = both(NIRSPEC, arrays, {"slowaxis": 1}, **options)
    assert made.meta.cal_step.clean_flicker_noise == "FAILED"
    assert not list((tmp_path / "ours").iterdir())
    np.testing.assert_array_equal(made.data, given.data)


_BOTH_FITS = """
import sys
import numpy as np
from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_full_frame
from calservice.steps.stage1._flicker_fourier import clean_full_frame

given = np.load(sys.argv[1])
masks = {kind: given[kind] for kind in ("NRS1", "NRS2")}
ours = [clean_full_frame(given["image"], mask, kind) for kind, mask in masks.items()]
exact = clean_full_frame(given["image"], masks["NRS1"], "NRS1", last_digits=True)
theirs = [fft_clean_full_frame(given["image"].copy(), mask.copy(), kind) for kind, mask in masks.items()]
np.savez(sys.argv[2], ours=ours, exact=exact, theirs=theirs)
"""


def test_frequencies_of_full_frames(tmp_path: Path) -> None:
    """Images of both detectors, with regions of which nothing is background, and lines with little of it.

    Last digits of the official fit, in single precision, depend on the processor, by OpenBLAS: both run with one kind.
    Where the noise is saved, which is what little a group loses, they are the same.
    """
    rng = np.random.default_rng(9)
    slow = np.cumsum(rng.normal(0, 0.02, (1024, 1024)), axis=0)
    image = (rng.normal(0, 2, slow.shape) + slow - slow.mean(axis=0)).astype(np.float32)
    good = rng.random(slow.shape) < 0.9
    good[450:560] = False
    good[150:200, 200:750] = False
    good[:, 850:853] = rng.random((1024, 3)) < 0.008
    image[rng.random(slow.shape) < 0.01] += 50
    np.savez(tmp_path / "given.npz", image=image, NRS1=good, NRS2=rng.random(slow.shape) < 0.9)
    words = [sys.executable, "-c", _BOTH_FITS, str(tmp_path / "given.npz"), str(tmp_path / "made.npz")]
    subprocess.run(words, env={"OPENBLAS_CORETYPE": "Haswell", **os.environ}, check=True)
    made = np.load(tmp_path / "made.npz")
    np.testing.assert_array_equal(made["exact"], made["theirs"][0])
    assert not np.array_equal(made["ours"][0], made["theirs"][0])
    for ours, theirs in zip(made["ours"], made["theirs"], strict=True):
        assert np.std(ours - image) > 0.1
        group = rng.uniform(50, 500, slow.shape).astype(np.float32)  # the one before, to which a difference is added
        np.testing.assert_allclose(group + ours, group + theirs, rtol=1e-5, atol=1e-7)
        # Of the difference itself little may be left, which shows that the official fit is in single precision.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        assert np.mean(~np.isclose(ours, theirs, rtol=1e-5, atol=1e-7)) < 0.005
