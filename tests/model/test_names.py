"""File names: what products are called, and that the official package calls them the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calservice.model.names import (
    KNOWN_SUFFIXES,
    PRODUCT_SUFFIXES,
    base_and_suffix,
    output_name,
    remove_suffix,
)

# The table of suffixes in the user manual, row by row.
MANUAL = re.findall(
    r"\w+",
    "uncal ramp rate rateints fitopt bsub bsubints cal calints crf crfints i2d s2d s3d x1d x1dints c1d cat segm phot "
    "whtlt psfstack psfalign psfsub ami amiavg aminorm",
)
NOT_REPLACED = {"fitopt", "segm", "amiavg"}
"""Suffixes of the manual that the official package appends to: it does not know them."""

B = "jw00017001001_01101_00001_nrca1"
T = "jw00017-o001_t001_nircam_clear-f200w"
S = "jw00017-o001_s000000123_nirspec_f170lp-g235m"

# What is named after what: name, suffix, components in the order in which the official package gives them, name made.
NAMES: tuple[tuple[str, str | None, dict[str, object], str], ...] = (
    # the examples of the manual
    (f"{B}_uncal.fits", "dq_init", {}, f"{B}_dq_init.fits"),
    ("intermediate", "dark_current", {}, "intermediate_dark_current.fits"),
    ("stage1_processed", "trapsfilled", {}, "stage1_processed_trapsfilled.fits"),
    ("stage1_processed", "rateints", {}, "stage1_processed_rateints.fits"),
    # stage 1: two results of a step, results beside it, suffixes that are not known, another extension
    (f"/data/{B}_ramp.fits", "ramp_fit", {"idx": 0}, f"{B}_0_ramp_fit.fits"),
    (f"{B}_uncal.fits", "rampfitstep", {"idx": 1}, f"{B}_1_rampfitstep.fits"),
    (f"{B}_ramp.fits", "fitopt", {"idx": None}, f"{B}_fitopt.fits"),
    (f"{B}_fitopt.fits", "rate", {}, f"{B}_fitopt_rate.fits"),
    (f"{B}_trapsfilled.fits", "persistence", {}, f"{B}_trapsfilled_persistence.fits"),
    (f"{B}_gain_scale.fits", "gain_scaleints", {}, f"{B}_gain_scaleints.fits"),
    (f"{B}_gain_scaleints.fits", "rateints", {}, f"{B}_gain_scaleints_rateints.fits"),
    ("averaged_dark.fits", None, {}, "averaged_dark.fits"),
    ("averaged", None, {}, "averaged.fits"),
    (f"{B}_uncal.fits", "linearity", {"ext": "asdf"}, f"{B}_linearity.asdf"),
    # stages 2 and 3: association ids, indices, slits, tables
    (f"{B}_cal.fits", "crf", {"asn_id": "a3001"}, f"{B}_a3001_crf.fits"),
    (f"{B}_a3001_crf.fits", "crf", {"asn_id": None}, f"{B}_a3001_crf.fits"),
    (f"{B}_calints.fits", "crfints", {"asn_id": "c1001"}, f"{B}_c1001_crfints.fits"),
    (f"{B}_calints.fits", "psfalign", {"idx": None, "acid": "c1001"}, f"{B}_c1001_psfalign.fits"),
    (f"{B}_cal.fits", "masterbg2d", {"idx": 2, "asn_id": "a3001"}, f"{B}_2_a3001_masterbg2d.fits"),
    (f"{B}_cal.fits", "s200a1_2_profile", {}, f"{B}_s200a1_2_profile.fits"),
    (f"{B}_calints.fits", "psf-ami-oi", {"asn_id": "c1001"}, f"{B}_c1001_psf-ami-oi.fits"),
    (f"{B}_ami-oi.fits", "aminorm-oi", {}, f"{B}_aminorm-oi.fits"),
    (f"{B}_psf-ami-oi.fits", "aminorm-oi", {}, f"{B}_psf-aminorm-oi.fits"),
    (f"{B}_amimulti-oi.fits", "aminorm-oi", {}, f"{B}_amimulti-oi_aminorm-oi.fits"),
    (T, "i2d", {}, f"{T}_i2d.fits"),
    (f"{T}_i2d.fits", "cat", {"ext": ".ecsv"}, f"{T}_cat.ecsv"),
    (f"{T}_i2d.fits", "segm", {}, f"{T}_segm.fits"),
    (f"{S}_s2d.fits", "x1d", {}, f"{S}_x1d.fits"),
    ("jw00017-o001_t001_miri", "s3d", {"band": "ch1-short"}, "jw00017-o001_t001_miri_ch1-short_s3d.fits"),
    # separators, case, dots, folders
    (f"{B}-uncal.fits", "rate", {}, f"{B}-rate.fits"),
    (f"{B}-uncal.fits", "rate", {"idx": 0}, f"{B}_0-rate.fits"),
    (f"{B}_UNCAL.fits", "rate", {}, f"{B}_UNCAL_rate.fits"),
    (f"{B}_cal_rate.fits", "x1d", {}, f"{B}_cal_x1d.fits"),
    ("night1.b_uncal.fits", "rate", {}, "night1.b_rate.fits"),
    ("night1.b_uncal", "rate", {}, "night1_rate.fits"),
    (f"{B}_uncal.fits.gz", "rate", {}, f"{B}_uncal.fits_rate.fits"),
    (f"s3://bucket/jw_a/{B}_uncal.fits", "rate", {}, f"{B}_rate.fits"),
    ("_cal.fits", "rate", {}, "_cal_rate.fits"),
)


def ours(name: str, suffix: str | None, components: dict[str, Any]) -> str:
    ext = {"ext": components["ext"]} if "ext" in components else {}
    return output_name(name, suffix, *(v for k, v in components.items() if k != "ext"), **ext)


@cache
def theirs() -> Callable[..., str]:
    """Return the naming of the official package."""
    from jwst.stpipe import Step

    make_path = Step().make_output_path

    def name_of(name: str, suffix: str | None, components: dict[str, Any]) -> str:
        return str(make_path(basepath=name, suffix=False if suffix is None else suffix, **components))

    return name_of


@pytest.mark.parametrize(("name", "suffix", "components", "made"), NAMES)
def test_names_of_outputs(name: str, suffix: str | None, components: dict[str, object], made: str) -> None:
    assert ours(name, suffix, components) == made


@pytest.mark.official
@pytest.mark.parametrize(("name", "suffix", "components", "made"), NAMES)
def test_official_names_of_outputs(name: str, suffix: str | None, components: dict[str, object], made: str) -> None:
    assert theirs()(name, suffix, components) == made


def test_the_table_of_the_manual() -> None:
    assert list(PRODUCT_SUFFIXES) == MANUAL
    assert set(MANUAL) - KNOWN_SUFFIXES == NOT_REPLACED
    for suffix in MANUAL:
        assert base_and_suffix(f"{B}_{suffix}.fits") == (B, suffix)
        after = f"{B}_{suffix}" if suffix in NOT_REPLACED else B
        assert output_name(f"{B}_{suffix}.fits", "i2d") == f"{after}_i2d.fits"


@pytest.mark.parametrize("separator", ["_", "-"])
def test_every_known_suffix_is_replaced(separator: str) -> None:
    for suffix in KNOWN_SUFFIXES:
        assert remove_suffix(f"{B}{separator}{suffix}") == (B, separator)
        assert remove_suffix(f"{B}{separator}{suffix.upper()}") == (f"{B}{separator}{suffix.upper()}", "_")
        assert base_and_suffix(f"{B}_{suffix.upper()}.FITS") == (B, suffix.upper())


def test_recognising_is_not_naming() -> None:
    """Files of steps that the package does not know as suffixes are recognised, in any case; others are not."""
    for suffix in ("trapsfilled", "gain_scaleints", "amimulti-oi", "barshadow", "FITOPT"):
        assert base_and_suffix(f"a/{B}_{suffix}.fits.gz") == (B, suffix)
        assert remove_suffix(f"{B}_{suffix}") == (f"{B}_{suffix}", "_")
    assert base_and_suffix(f"{B}_mine.fits") == (f"{B}_mine", None)
    assert base_and_suffix("uncal.fits") == ("uncal", None)


@pytest.mark.official
def test_the_official_list() -> None:
    from jwst.lib.suffix import KNOW_SUFFIXES

    assert set(KNOW_SUFFIXES) == KNOWN_SUFFIXES


PIECES = st.one_of(
    st.sampled_from(sorted(KNOWN_SUFFIXES | set(MANUAL) | {"trapsfilled", "gain_scaleints", "psf-ami-oi"})),
    st.sampled_from(["", "jw1", "UNCAL", "Rate", "v1.2", "o001", "c1001", "nrs1", "calx", "xcal", "{a}", "$HOME", "~"]),
    st.text("abc-_. {}/%é", max_size=4),
)
STEMS = st.builds(
    lambda first, rest: first + "".join(separator + piece for separator, piece in rest),
    PIECES,
    st.lists(st.tuples(st.sampled_from(["_", "-", "_", "-", "", ".", "__"]), PIECES), max_size=3),
)
EXTENSIONS = st.sampled_from(["", ".fits", ".fits.gz", ".FITS", ".asdf", ".ecsv", ".json", "."])
COMPONENTS = st.dictionaries(
    st.sampled_from(["idx", "asn_id", "acid", "slit", "order"]),
    st.none() | st.integers(-3, 300) | st.sampled_from(["a3001", "c1001", "s200a1", "", "order-1"]),
)


@pytest.mark.official
@given(STEMS)
@example("_cal")
@example("-_cal")
@example("x_ami-oi")
@example("x_residual_fringe")
def test_suffixes_come_off_as_officially(name: str) -> None:
    from jwst.lib.suffix import remove_suffix as official

    assert remove_suffix(name) == official(name)


@pytest.mark.official
@given(
    STEMS,
    EXTENSIONS,
    st.none() | PIECES,
    COMPONENTS,
    st.none() | st.sampled_from([".fits", "fits", "asdf", ".ecsv", "..x", ""]),
)
def test_names_are_the_official_ones(
    stem: str, ending: str, suffix: str | None, components: dict[str, object], ext: str | None
) -> None:
    given_ext = {} if ext is None else {"ext": ext}
    name = stem + ending
    assert ours(name, suffix, components | given_ext) == theirs()(name, suffix, components | given_ext)


@pytest.mark.official
@given(
    st.text("abcdefgh_-", max_size=12),
    st.integers(-(10**10), 10**10),
    st.sampled_from("sbv"),
    st.sampled_from(["s200a1", "s200a1-s200a2", "s1600a1"]),
    st.sampled_from(["x1d", "s2d", "cal", "crf", "c1d"]),
)
def test_names_of_sources(prefix: str, number: int, kind: str, slits: str, suffix: str) -> None:
    """Products with a place for a source, filled in by the code of stage 3, are named like all others."""
    from jwst.associations.lib.rules_level3_base import format_product

    template = f"jw1-{prefix}_{{source_id}}_nirspec_{{slit_name}}"
    product = format_product(template, source_id=f"{kind}{abs(number):09d}", slit_name=slits)
    made = output_name(product, suffix)
    assert made == f"jw1-{prefix}_{kind}{abs(number):09d}_nirspec_{slits}_{suffix}.fits"
    assert made == theirs()(product, suffix, {})
