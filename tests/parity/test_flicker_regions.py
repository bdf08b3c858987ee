"""Masks of regions that science uses, or never does, against the official ones: MIRI imaging and NIRISS SOSS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stdatamodels.jwst import datamodels

from calservice.engines.strun import step_class
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import InputError, ReferenceFileError
from calservice.steps.registry import NATIVE
from calservice.steps.stage1._flicker_regions import trace_arrays
from tests.parity import test_clean_flicker_noise as flicker
from tests.parity.regions import write_flat, write_traces
from tests.parity.synthetic import Array, write_references

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore:(divide|invalid value|overflow|All-NaN|Mean of|Covariance).*"),
]

both = flicker.both
MIRI = flicker.MIRI
SOSS = replace(flicker.NIRISS, exp_type="NIS_SOSS", shape=(2, 4, 96, 160))
MASKED = {"mask_science_regions": True, "save_mask": True}


def mask_of(folder: Path) -> Array:
    with datamodels.open(next((folder / "ours").glob("*_mask.fits"))) as model:
        return np.array(model.data) != 0


@pytest.fixture
def flats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have both find a flat field for the step that they run for its flags; return the folder to put it in."""
    from jwst.flatfield import FlatFieldStep

    def find(self: Any, model: Any, kind: str) -> str:
        place = tmp_path / f"crds_{kind}.fits"
        return str(place) if place.exists() else "N/A"

    ours = step_class("clean_flicker_noise")
    told = ours.get_reference_file

    def find_ours(self: Any, model: Any, kind: str) -> Any:
        return (find if getattr(self, f"override_{kind}", None) is None else told)(self, model, kind)

    monkeypatch.setattr(FlatFieldStep, "get_reference_file", find)
    monkeypatch.setattr(ours, "get_reference_file", find_ours)
    return tmp_path


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"single_mask": False, "background_method": "model"},
        {"n_sigma": 0.0},
        {"fit_histogram": True, "single_mask": False},
    ],
)
def test_what_miri_does_not_use(both: Callable[..., Any], flats: Path, parameters: dict[str, Any]) -> None:
    arrays = flicker.noisy_ramps(MIRI)
    arrays["pixeldq"][:, :4] = PIXEL_FLAGS["NON_SCIENCE"]
    arrays["pixeldq"][80:84, 20:40] = PIXEL_FLAGS["DO_NOT_USE"]
    both(MIRI, arrays, **MASKED, **parameters)  # without a flat field
    plain = mask_of(flats)
    assert not plain[..., :4].any()
    assert plain[..., 62:, 72:].any()
    write_flat(flats / "crds_flat.fits", MIRI.shape[2:])
    both(MIRI, arrays, **MASKED, **parameters)
    mask = mask_of(flats)
    for rows, columns in (((5, 8), (3, 30)), ((60, None), (70, None)), ((50, 55), (0, None)), ((40, 41), (40, 60))):
        assert not mask[..., slice(*rows), slice(*columns)].any()
    assert mask[..., 41, 40:60].any()


def test_another_flat_field_than_that_divided_by(both: Callable[..., Any], flats: Path) -> None:
    """A file that is told for the step is divided by; regions are those of the flat field that CRDS knows."""
    write_flat(flats / "crds_flat.fits", MIRI.shape[2:])
    told = flicker.flat_field(flats, MIRI, 0.0)
    made = both(MIRI, references={"flat": told}, apply_flat_field=True, **MASKED)[0]
    assert not mask_of(flats)[60:, 70:].any()
    undivided = both(MIRI, **MASKED)[0]
    assert not np.array_equal(made.data, undivided.data, equal_nan=True)


def test_flat_fields_are_cut(both: Callable[..., Any], flats: Path) -> None:
    write_flat(flats / "crds_flat.fits", (1024, 1032), np.tri(1024, 1032, k=-150, dtype=np.uint32))
    model = datamodels.open(flats / "crds_flat.fits")
    write_references(flats, MIRI, size=(1024, 1032), kinds=("gain", "readnoise"), realistic=True)
    where = {"name": "SUB128", "xstart": 201, "ystart": 301, "xsize": MIRI.shape[3], "ysize": MIRI.shape[2]}
    both(MIRI, where=where, **MASKED, n_sigma=0.0)
    cut = (model.dq[300 : 300 + MIRI.shape[2], 200 : 200 + MIRI.shape[3]] & PIXEL_FLAGS["DO_NOT_USE"]) != 0
    assert cut.any()
    assert not cut.all()
    assert not mask_of(flats)[cut].any()


def turned(angle: float | None) -> Callable[[Any], None]:
    """Return what notes the position of the pupil wheel in an exposure."""

    def change(model: Any) -> None:
        model.meta.instrument.pupil_position = angle

    return change


@pytest.mark.parametrize(
    ("name", "angle", "parameters"),
    [
        ("SUBSTRIP96", 245.76, {}),
        ("SUBSTRIP96", 245.9, {"single_mask": False}),
        ("SUBSTRIP256", 245.55, {"background_method": "model"}),
        ("FULL", 245.8, {"n_sigma": 0.0}),
    ],
)
def test_traces_of_soss(
    both: Callable[..., Any], tmp_path: Path, name: str, angle: float, parameters: dict[str, Any]
) -> None:
    references = {"pastasoss": write_traces(tmp_path / "pastasoss.asdf")}
    both(SOSS, where={"name": name}, references=references, change=turned(angle), save_mask=True)
    before = mask_of(tmp_path)
    both(SOSS, where={"name": name}, references=references, change=turned(angle), **MASKED, **parameters)
    after = mask_of(tmp_path)
    middle = 30 + 10 * (name != "SUBSTRIP96")
    assert before[middle, :40].any()
    assert not after[..., middle, :40].any()
    assert after.any()


def test_masks_of_whole_strips(tmp_path: Path) -> None:
    """Every column of a strip that is as long as the detector, whose traces leave it, at any position of the wheel."""
    from jwst.clean_flicker_noise.clean_flicker_noise import mask_soss_traces

    from calservice.references.load import load_reference
    from calservice.steps.stage1._flicker_regions import traced

    place = write_traces(tmp_path / "pastasoss.asdf")
    need = next(need for need in NATIVE["clean_flicker_noise"].references if need.tree is trace_arrays)
    reference = load_reference(place, need)
    for name, rows, angle in (("SUBSTRIP256", 256, 245.62), ("SUBSTRIP96", 96, 246.0), ("FULL", 2048, 245.76)):
        model = datamodels.ImageModel((rows, 2048))
        model.meta.instrument.pupil_position, model.meta.subarray.name = angle, name
        with datamodels.PastasossModel(place) as refmodel:
            theirs = mask_soss_traces(model, np.ones((rows, 2048), bool), refmodel)
        info = replace(SOSS.info, nrows=rows, ncols=2048, subarray=name, pupil_position=angle)
        np.testing.assert_array_equal(~traced(reference, info), theirs)


@pytest.mark.parametrize(("angle", "file"), [(None, True), (240.0, True), (245.76, False)])
def test_traces_that_are_not_known(tmp_path: Path, angle: float | None, file: bool) -> None:
    """The official step fails inside; a header or a reference that does not do is told of."""
    from calservice.references.load import load_reference

    step = NATIVE["clean_flicker_noise"]
    params = step.params(mask_science_regions=True)
    needs = [need for need in step.references if need.tree is trace_arrays and file]
    references = {need.name: load_reference(write_traces(tmp_path / "pastasoss.asdf"), need) for need in needs}
    with pytest.raises(InputError if file else ReferenceFileError, match="PWCPOS" if file else "override_pastasoss"):
        step.prepare(references, params, replace(SOSS.info, pupil_position=angle))


def test_what_takes_a_wcs_is_the_official_steps() -> None:
    step = NATIVE["clean_flicker_noise"]
    params = step.params(mask_science_regions=True)
    assert "mask_science_regions" in str(step.supports(params, flicker.NIRSPEC.info))
    for info in (MIRI.info, SOSS.info, flicker.NIRCAM.info):
        assert step.supports(params, info) is None
