"""The table of pipelines against exposure types, compared with the official documentation."""

from __future__ import annotations

import pytest

from calservice.model.errors import InputError
from calservice.model.modes import ALWAYS_TSO, MODES, mode_of

# "Pipelines vs. Exposure Type" of the JWST pipeline's documentation: stages 1, 2 and 3, the types they serve;
# "+" after a type: with TSOVISIT true, "-": with TSOVISIT false, nothing: whatever it is.
OFFICIAL = """
dark      -      -      FGS_DARK MIR_DARKIMG MIR_DARKMRS NRC_DARK NIS_DARK NRS_DARK
guider    -      -      FGS_ID-STACK FGS_ID-IMAGE FGS_ACQ1 FGS_ACQ2 FGS_TRACK FGS_FINEGUIDE
detector1 -      -      FGS_SKYFLAT FGS_INTFLAT MIR_FLATIMAGE MIR_FLATIMAGE-EXT MIR_FLATMRS MIR_FLATMRS-EXT
detector1 -      -      NRC_FLAT NRC_LED NRC_GRISM NIS_LAMP NIS_EXTCAL
detector1 image2 -      FGS_FOCUS MIR_TACQ MIR_CORONCAL NRC_TACQ NRC_TACONFIRM NRC_FOCUS
detector1 image2 -      NIS_TACQ NIS_TACONFIRM NIS_FOCUS NRS_IMAGE NRS_WATA NRS_MSATA NRS_TACONFIRM
detector1 image2 -      NRS_CONFIRM NRS_FOCUS NRS_MIMF
detector1 image2 image3 FGS_IMAGE MIR_IMAGE- NRC_IMAGE NIS_IMAGE
detector1 image2 coron3 MIR_LYOT MIR_4QPM NRC_CORON
detector1 image2 ami3   NIS_AMI
detector1 image2 tso3   MIR_IMAGE+ NRC_TSIMAGE+
detector1 spec2  -      MIR_LRS-SLITLESS- NRS_AUTOWAVE NRS_AUTOFLAT NRS_LAMP
detector1 spec2  spec3  MIR_LRS-FIXEDSLIT- MIR_MRS NRC_WFSS NIS_WFSS NIS_SOSS- NRS_FIXEDSLIT NRS_IFU NRS_MSASPEC
detector1 spec2  tso3   MIR_LRS-FIXEDSLIT+ MIR_LRS-SLITLESS+ NRC_TSGRISM+ NIS_SOSS+ NRS_BRIGHTOBJ+
"""

# Types that the package's schema and association rules know but the table leaves out, served like their kin.
LIKE = {
    "MIR_DARKALL": "MIR_DARKIMG",
    "MIR_TACONFIRM": "MIR_TACQ",
    "MIR_WFSS": "NIS_WFSS",
    "NRS_TACQ": "NRS_TACONFIRM",
    "NRS_TASLIT": "NRS_TACONFIRM",
}

NOT_SERVED = {
    "NRC_WFSC": "wavefront sensing exposures carry NRC_IMAGE; no rule or pipeline of the package takes this type",
    "NRS_VERIFY": "no flight exposure has it, and the table names no pipeline for it",
    "N/A": "a placeholder of reference files",
    "ANY": "a placeholder of reference files",
}


def official() -> dict[tuple[str, bool], tuple[str | None, ...]]:
    """Return the table: (type, TSOVISIT) to the aliases of the three stages."""
    table = {}
    for line in OFFICIAL.split("\n")[1:-1]:
        *stages, names = line.split(None, 3)
        aliases = tuple(None if s == "-" else f"calwebb_{s}" for s in stages)
        for name in names.split():
            for tso in (True, False) if name[-1] not in "+-" else (name[-1] == "+",):
                assert table.setdefault((name.rstrip("+-"), tso), aliases) == aliases
    return table


@pytest.mark.parametrize(("kind", "tso"), official())
def test_the_official_table(kind: str, tso: bool) -> None:
    mode = mode_of(kind, tso)
    assert (mode.stage1, mode.stage2, mode.stage3) == official()[kind, tso]


def test_nothing_is_served_that_the_table_or_its_kin_do_not_name() -> None:
    named = {kind for kind, _ in official()}
    assert len(named) == 62
    assert {kind for kind, _ in MODES} == named | set(LIKE)
    for kind, kin in LIKE.items():
        assert mode_of(kind, False) == mode_of(kin, False)


def test_types_that_are_always_time_series() -> None:
    assert {"NRC_TSIMAGE", "NRC_TSGRISM", "NRS_BRIGHTOBJ"} == ALWAYS_TSO
    for kind in ALWAYS_TSO:
        assert mode_of(kind, False) == mode_of(kind, True)


def test_every_type_of_the_installed_schema_is_accounted_for() -> None:
    from stdatamodels.jwst.datamodels import JwstDataModel

    schema = JwstDataModel().schema
    for name in ("meta", "exposure", "type"):
        parts = [p for p in (schema, *schema.get("allOf", ())) if name in p.get("properties", {})]
        schema = parts[0]["properties"][name]
    types = set(schema["enum"])
    assert len(types) > 60
    assert types - {kind for kind, _ in MODES} == set(NOT_SERVED)


@pytest.mark.parametrize(
    ("wrong", "hint"), [("NRC_IMAG", "Did you mean NRC_IMAGE?"), ("xyz", "Known types: "), ("", "")]
)
def test_an_unknown_type_names_the_file_and_the_nearest_type(wrong: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        mode_of(wrong, False, where="x_uncal.fits")
    assert str(caught.value).startswith(f"x_uncal.fits: EXP_TYPE {wrong!r}")
    assert hint in str(caught.value)
    assert mode_of("nrc_image", False) == mode_of("NRC_IMAGE", False)
