"""Expansion: one graph, every exposure once, whatever stage the files are at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calservice.model.association import Association
from calservice.model.errors import InputError
from calservice.model.exposure import Exposure, FileStat
from calservice.model.names import base_and_suffix
from calservice.plan.build import make_plan
from calservice.plan.expand import Expansion, Folder, expand
from calservice.plan.request import Request

PROGRAM = Path(__file__).parents[3] / "shared" / "data" / "associations" / "flight"
HERE = "/raw"
CURE = "Put it there, or name its folder (--input)."
A, B, C = (f"jw01345001001_02101_0000{n}_nrca1" for n in (1, 2, 3))


def asn(
    kind: str | None, name: str, *members: str | tuple[str, str], filename: str = "", folder: str = HERE
) -> Association:
    pairs = [(m, "science") if isinstance(m, str) else m for m in members]
    content = {
        "asn_type": kind,
        "products": [{"name": name, "members": [{"expname": n, "exptype": role} for n, role in pairs]}],
    }
    return Association.parse(json.dumps(content), filename or f"{name}_{kind}_asn.json", folder)


def folder(names: Iterable[str], made: Iterable[str] = (), url: str = HERE) -> dict[str, Folder]:
    files = {name: FileStat(f"{url}/{name}", 100, "1") for name in names}
    return {url: Folder(url, files, frozenset(made))}


def headers(types: Mapping[str, str], **keywords: Any) -> Any:
    """Return a reader of headers: EXP_TYPE by base name, NRC_IMAGE where nothing is said."""

    def header(file: FileStat) -> Exposure:
        base = base_and_suffix(file.name)[0]
        if types.get(base) == "broken":
            raise InputError(f"{file.url}: truncated")
        return Exposure(file, {"EXP_TYPE": types.get(base, "NRC_IMAGE"), "INSTRUME": "NIRCAM", **keywords})

    return header


def run(
    associations: Iterable[Association] = (),
    files: Iterable[str] = (),
    singles: Iterable[str] = (),
    types: Mapping[str, str] | None = None,
    made: Iterable[str] = (),
    keywords: Mapping[str, Any] | None = None,
    **options: Any,
) -> Expansion:
    folders = folder(files, made)
    exposures = [folders[HERE].files[name] for name in singles]
    return expand(list(associations), exposures, folders, headers(types or {}, **(keywords or {})), **options)


def drawn(found: Expansion) -> dict[str, list[str]]:
    """Return the graph: for each stage, its inputs as ``name`` (a file), ``name<stage``, or ``name?`` (missing)."""
    return {
        stage.id: [f"{i.name}<{i.source}" if i.source else i.name if i.file else f"{i.name}?" for i in stage.inputs]
        for stage in found.stages.values()
    }


def check_order(found: Expansion) -> None:
    """Every stage has a name of its own and comes after its sources."""
    seen: set[str] = set()
    for name, stage in found.stages.items():
        assert name == stage.id
        assert set(stage.sources) <= seen, name
        seen.add(name)
    labels = [stage.label for stage in found.stages.values() if stage.state == "todo"]
    assert len(labels) == len(set(labels))


def test_exposures_shared_by_associations_are_calibrated_once() -> None:
    found = run(
        [
            asn("image3", "left", f"{A}_cal.fits", f"{B}_cal.fits"),
            asn("image3", "right", f"{B}_cal.fits", f"{C}_cal.fits"),
        ],
        [f"{base}_uncal.fits" for base in (A, B, C)],
    )
    check_order(found)
    assert not found.problems
    assert found.memberships == 4
    expected: dict[str, list[str]] = {}
    for base in (A, B, C):
        expected[f"calwebb_detector1:{base}"] = [f"{base}_uncal.fits"]
        expected[f"calwebb_image2:{base}"] = [f"{base}_rate.fits<calwebb_detector1:{base}"]
    expected["calwebb_image3:left"] = [f"{b}_cal.fits<calwebb_image2:{b}" for b in (A, B)]
    expected["calwebb_image3:right"] = [f"{b}_cal.fits<calwebb_image2:{b}" for b in (B, C)]
    assert drawn(found) == expected


def test_background_imprint_and_selfcal_members_are_dependencies() -> None:
    others = (f"{B}_rate.fits", "background"), (f"{C}_rate.fits", "imprint"), (f"{B}_rate.fits", "selfcal")
    found = run(
        [asn("spec2", A, f"{A}_rate.fits", *others)],
        [f"{base}_uncal.fits" for base in (A, B, C)],
        types=dict.fromkeys((A, B, C), "NRS_IFU"),
    )
    check_order(found)
    assert not found.problems
    stage = found.stages[f"calwebb_spec2:{A}"]
    assert [(i.source, i.role) for i in stage.inputs] == [
        (f"calwebb_detector1:{A}", "science"),
        (f"calwebb_detector1:{B}", "background"),
        (f"calwebb_detector1:{C}", "imprint"),
        (f"calwebb_detector1:{B}", "selfcal"),
    ]
    assert len(found.stages) == 4  # the others are not science here: their own spectra are not asked for
    assert stage.association is not None
    assert [m["exptype"] for m in stage.association["products"][0]["members"]] == [i.role for i in stage.inputs]


def test_a_level_2_association_beside_a_level_3_one_is_used() -> None:
    beside = asn("spec2", A, f"{A}_rate.fits", (f"{B}_rate.fits", "background"), filename="beside_asn.json")
    files, types = [f"{A}_uncal.fits", f"{B}_uncal.fits"], dict.fromkeys((A, B), "MIR_MRS")
    found = run([asn("spec3", "cube", f"{A}_cal.fits")], files, types=types, level2=[beside])
    check_order(found)
    stage = found.stages[f"calwebb_spec2:{A}"]
    assert stage.asn_filename == "beside_asn.json"
    assert stage.sources == (f"calwebb_detector1:{A}", f"calwebb_detector1:{B}")
    assert (
        run([asn("spec3", "cube", f"{A}_cal.fits")], files, types=types).stages[f"calwebb_spec2:{A}"].association
        is None
    )


RAMPS = ("uncal", "ramp", "rate", "rateints", "cal", "calints", "crf")


@pytest.mark.parametrize(
    ("have", "member", "start", "made_by"),
    [
        ("uncal", "cal", "auto", "detector1 image2"),
        ("ramp", "cal", "auto", "detector1 image2"),
        ("rate", "cal", "auto", "image2"),
        ("rateints", "calints", "auto", "image2"),
        ("cal", "cal", "auto", ""),
        ("calints", "calints", "auto", ""),
        ("crf", "crf", "auto", ""),
        ("uncal ramp rate cal", "cal", "auto", ""),
        ("uncal ramp rate", "cal", "auto", "image2"),
        ("uncal ramp rate cal", "cal", "rate", "image2"),
        ("uncal ramp rate cal", "cal", "ramp", "detector1 image2"),
        ("uncal ramp rate cal", "cal", "uncal", "detector1 image2"),
        ("cal", "cal", "uncal", ""),  # nothing earlier is there
    ],
)
def test_any_stage_is_a_start(have: str, member: str, start: Any, made_by: str) -> None:
    found = run([asn("image3", "m", f"{A}_{member}.fits")], [f"{A}_{s}.fits" for s in have.split()], start=start)
    check_order(found)
    assert not found.problems
    *below, top = found.stages.values()
    assert " ".join(s.pipeline.removeprefix("calwebb_") for s in below) == made_by
    assert top.pipeline == "calwebb_image3"
    first = (below or [top])[0].inputs[0]
    wanted = start if start != "auto" else have.rsplit(maxsplit=1)[-1]
    assert first.name == f"{A}_{wanted if made_by else member}.fits"
    assert first.file is not None


def test_a_named_exposure_is_where_it_starts() -> None:
    files = [f"{A}_{s}.fits" for s in ("uncal", "ramp", "rate", "cal")]
    for named, expected in {
        "uncal": {
            f"calwebb_detector1:{A}": [f"{A}_uncal.fits"],
            f"calwebb_image2:{A}": [f"{A}_rate.fits<calwebb_detector1:{A}"],
        },
        "ramp": {
            f"calwebb_detector1:{A}": [f"{A}_ramp.fits"],
            f"calwebb_image2:{A}": [f"{A}_rate.fits<calwebb_detector1:{A}"],
        },
        "rate": {f"calwebb_image2:{A}": [f"{A}_rate.fits"]},
    }.items():
        assert drawn(run(files=files, singles=[f"{A}_{named}.fits"])) == expected
    found = run(files=files, singles=[f"{A}_cal.fits"])
    assert not found.stages
    assert "calibrated already" in found.notes[0]


def test_what_calservice_made_is_no_input_as_long_as_its_source_is_there() -> None:
    made = [f"{A}_rate.fits", f"{A}_cal.fits"]
    mosaic = asn("image3", "m", f"{A}_cal.fits")
    found = run([mosaic], [f"{A}_uncal.fits", *made], made=made)
    assert [s.pipeline for s in found.stages.values()] == ["calwebb_detector1", "calwebb_image2", "calwebb_image3"]
    assert found.stages[f"calwebb_detector1:{A}"].inputs[0].name == f"{A}_uncal.fits"
    without = run([mosaic], made, made=made)  # the rate is the earliest that is left
    assert [s.pipeline for s in without.stages.values()] == ["calwebb_image2", "calwebb_image3"]
    last = run([mosaic], made[1:], made=made)
    assert [s.pipeline for s in last.stages.values()] == ["calwebb_image3"]


@pytest.mark.parametrize(
    ("kind", "pipeline"),
    [("FGS_ACQ1", "calwebb_guider"), ("FGS_ID-IMAGE", "calwebb_guider"), ("NRC_DARK", "calwebb_dark")],
)
def test_guider_and_dark_exposures_end_with_stage_1(kind: str, pipeline: str) -> None:
    found = run(files=[f"{A}_uncal.fits"], singles=[f"{A}_uncal.fits"], types={A: kind})
    assert drawn(found) == {f"{pipeline}:{A}": [f"{A}_uncal.fits"]}
    assert not found.problems


def test_guider_products_are_made_by_the_guider_pipeline() -> None:
    found = run([asn("image3", "m", f"{A}_cal.fits")], [f"{A}_uncal.fits"], types={A: "FGS_TRACK"})
    check_order(found)
    assert drawn(found)["calwebb_image3:m"] == [f"{A}_cal.fits<calwebb_guider:{A}"]


def test_time_series_are_calibrated_integration_by_integration() -> None:
    series, types = asn("tso3", "curve", f"{A}_calints.fits"), {A: "NIS_SOSS"}
    found = run([series], [f"{A}_uncal.fits"], types=types, keywords={"TSOVISIT": True, "NINTS": 9})
    check_order(found)
    assert drawn(found) == {
        f"calwebb_detector1:{A}": [f"{A}_uncal.fits"],
        f"calwebb_spec2:{A}_calints": [f"{A}_rateints.fits<calwebb_detector1:{A}"],
        "calwebb_tso3:curve": [f"{A}_calints.fits<calwebb_spec2:{A}_calints"],
    }


@pytest.mark.parametrize(
    ("kind", "tso", "nints", "suffix"),
    [
        ("NIS_SOSS", True, 9, "rateints"),
        ("NRC_TSGRISM", False, 9, "rateints"),  # always a time series
        ("NIS_SOSS", True, 1, "rate"),  # one integration: stage 1 writes no rateints
        ("NIS_SOSS", False, 9, "rate"),
    ],
)
def test_single_time_series_exposures(kind: str, tso: bool, nints: int, suffix: str) -> None:
    keywords = {"TSOVISIT": tso, "NINTS": nints}
    found = run(files=[f"{A}_uncal.fits"], singles=[f"{A}_uncal.fits"], types={A: kind}, keywords=keywords)
    assert [i.name for i in list(found.stages.values())[-1].inputs] == [f"{A}_{suffix}.fits"]


def test_an_exposure_wanted_both_ways_is_calibrated_both_ways() -> None:
    pair = [asn("image2", A, f"{A}_{s}.fits", filename=f"{s}_asn.json") for s in ("rate", "rateints")]
    coron = asn("coron3", "c", f"{A}_calints.fits", (f"{A}_cal.fits", "background"))
    for order in (pair, pair[::-1]):
        found = run([coron], [f"{A}_uncal.fits"], level2=order, types={A: "NRC_CORON"})
        check_order(found)
        assert not found.notes
        assert drawn(found) == {
            f"calwebb_detector1:{A}": [f"{A}_uncal.fits"],
            f"calwebb_image2:{A}": [f"{A}_rate.fits<calwebb_detector1:{A}"],
            f"calwebb_image2:{A}_calints": [f"{A}_rateints.fits<calwebb_detector1:{A}"],
            "calwebb_coron3:c": [f"{A}_calints.fits<calwebb_image2:{A}_calints", f"{A}_cal.fits<calwebb_image2:{A}"],
        }


def test_catalogs_of_a_direct_image_are_made_before_the_spectra() -> None:
    direct = "jw01345-o001_t001_nircam_f200w"
    extra = [
        (f"{direct}_{name}", role)
        for name, role in (("cat.ecsv", "sourcecat"), ("segm.fits", "segmap"), ("i2d.fits", "direct_image"))
    ]
    spectra = asn("spec2", B, f"{B}_rate.fits", *extra)
    image = asn("image3", direct, f"{A}_cal.fits")
    files, types = [f"{A}_uncal.fits", f"{B}_uncal.fits"], {B: "NRC_WFSS"}
    for order in ([image, spectra], [spectra, image]):
        found = run(order, files, types=types)
        check_order(found)
        assert not found.problems
        assert found.stages[f"calwebb_spec2:{B}"].sources == (f"calwebb_detector1:{B}", f"calwebb_image3:{direct}")
    alone = run([spectra], files, types=types)
    assert [str(p) for p in alone.problems] == [
        f"{HERE}/{name} is not there, nor anything that it could be made from. {CURE}" for name, _ in extra
    ]


@pytest.mark.parametrize(
    ("top", "pipelines"), [(1, "detector1"), (2, "detector1 image2"), (3, "detector1 image2 image3")]
)
def test_the_highest_stage(top: int, pipelines: str) -> None:
    for request in ({"associations": [asn("image3", "m", f"{A}_cal.fits")]}, {"singles": [f"{A}_uncal.fits"]}):
        found = run(files=[f"{A}_uncal.fits"], top=top, **request)
        names = [s.pipeline.removeprefix("calwebb_") for s in found.stages.values()]
        assert " ".join(names) == pipelines if "associations" in request else names == pipelines.split()[:2]


def test_a_file_named_after_no_convention_is_where_it_starts() -> None:
    found = run(files=["my_ramp.fits"], singles=["my_ramp.fits"])
    assert drawn(found) == {
        "calwebb_detector1:my": ["my_ramp.fits"],
        "calwebb_image2:my": ["my_rate.fits<calwebb_detector1:my"],
    }
    found = run(files=["mine.fits"], singles=["mine.fits"])
    assert drawn(found) == {
        "calwebb_detector1:mine": ["mine.fits"],
        "calwebb_image2:mine": ["mine_rate.fits<calwebb_detector1:mine"],
    }


def test_the_metafile_of_a_mos_exposure_comes_with_it() -> None:
    both = asn("spec2", A, f"{A}_rate.fits", (f"{B}_rate.fits", "background"))
    files, types = [f"{A}_rate.fits", f"{B}_rate.fits", "x_msa.fits"], dict.fromkeys((A, B), "NRS_MSASPEC")
    found = run([both], files, types=types, keywords={"MSAMETFL": "x_msa.fits"})
    (stage,) = found.stages.values()
    assert [(i.name, i.role) for i in stage.inputs if i.role not in ("science", "background")] == [
        ("x_msa.fits", "metafile")
    ]
    assert stage.association is not None
    members = stage.association["products"][0]["members"]
    assert [m["expname"] for m in members] == [f"{A}_rate.fits", f"{B}_rate.fits"]
    assert not found.problems

    lost = run([both], files[:2], types=types, keywords={"MSAMETFL": "x_msa.fits"})
    assert [str(p) for p in lost.problems] == [
        f"/raw/x_msa.fits is not there; {A}_rate.fits names it as its MSA metadata file"
    ]
    assert next(iter(lost.stages.values())).inputs[-1].missing


def test_conflicting_product_names_are_reported() -> None:
    files = [f"{A}_cal.fits", f"{B}_cal.fits"]
    one, two = (asn("image3", "m", f, filename=f"{n}_asn.json") for n, f in enumerate(files))
    found = run([one, two], files)
    states = {s.asn_filename: s.state for s in found.stages.values()}
    assert states == {"0_asn.json": "todo", "1_asn.json": "blocked"}  # both would overwrite each other
    (problem,) = found.problems
    assert "product m is made by 0_asn.json too" in str(problem)
    assert "--output" in str(problem)
    assert not run([one, one.model_copy(update={"filename": "copy_asn.json"})], files).problems
    low = [
        asn("spec2", A, f"{A}_rate.fits", (f"{b}_rate.fits", "background"), filename=f"{b}_asn.json") for b in (B, C)
    ]
    noted = run(low, [f"{b}_rate.fits" for b in (A, B, C)], types=dict.fromkeys((A, B, C), "MIR_MRS"))
    assert any(f"both make {A} from other members; {B}_asn.json is used" in note for note in noted.notes)


def test_files_of_one_name_in_two_folders() -> None:
    first, second = folder([f"{A}_uncal.fits"], url="/one"), folder([f"{A}_uncal.fits"], url="/two")
    asns = [asn("image3", n, f"{A}_cal.fits", folder=f) for n, f in (("m", "/one"), ("n", "/two"))]
    found = expand(asns, [], first | second, headers({}))
    assert not found.problems
    assert any("/one" in note and "/two" in note for note in found.notes)
    longer = {"/two": Folder("/two", {f"{A}_uncal.fits": FileStat(f"/two/{A}_uncal.fits", 101, "1")})}
    (problem,) = expand(asns, [], first | longer, headers({})).problems
    assert "have the same name and differ" in str(problem)


def test_missing_members_are_named_with_their_folder_and_without_secrets() -> None:
    where = "s3://key:secret@bucket/raw"
    found = expand(
        [asn("image3", "m", f"{A}_cal.fits", "psf_i2d.fits", folder=where)], [], folder([], url=where), headers({})
    )
    assert sorted(str(p) for p in found.problems) == [
        f"s3://bucket/raw/{A}_uncal.fits is not there, nor anything that it could be made from. {CURE}",
        f"s3://bucket/raw/psf_i2d.fits is not there, nor anything that it could be made from. {CURE}",
    ]
    assert drawn(found)["calwebb_image3:m"] == [f"{A}_cal.fits<calwebb_image2:{A}", "psf_i2d.fits?"]
    crf = run([asn("image3", "m", f"{A}_crf.fits")], [f"{A}_uncal.fits"])
    assert f"name {A}_cal.fits in the association" in str(crf.problems[0])


def test_members_in_a_subfolder_and_compressed_ones() -> None:
    found = run([asn("image3", "m", f"sub/{A}_cal.fits", f"{B}_cal.fits")], [f"sub/{A}_uncal.fits", f"{B}_cal.fits.gz"])
    assert not found.problems
    assert drawn(found)["calwebb_image3:m"] == [f"{A}_cal.fits<calwebb_image2:{A}", f"{B}_cal.fits"]
    assert found.stages[f"calwebb_detector1:{A}"].inputs[0].file == FileStat(f"{HERE}/sub/{A}_uncal.fits", 100, "1")


def test_one_broken_exposure_is_reported_once_and_leaves_the_others() -> None:
    mosaics = [asn("image3", n, f"{A}_cal.fits", f"{B}_cal.fits") for n in ("m", "n")]
    found = run(mosaics, [f"{A}_uncal.fits", f"{B}_uncal.fits"], types={A: "broken"})
    assert [str(p) for p in found.problems] == [f"{HERE}/{A}_uncal.fits: truncated"]
    assert f"calwebb_image2:{B}" in found.stages
    unknown = run(mosaics, [f"{A}_uncal.fits", f"{B}_uncal.fits"], types={A: "NRC_HOLIDAY"})
    assert len({str(p) for p in unknown.problems}) == 1
    assert "NRC_HOLIDAY" in str(unknown.problems[0])


def test_a_product_that_needs_itself() -> None:
    found = run(
        [asn("image2", A, f"{A}_cal.fits"), asn("image2", B, f"{C}_cal.fits"), asn("image2", C, f"{B}_cal.fits")]
    )
    check_order(found)
    text = "\n".join(map(str, found.problems))
    assert f"product {A} needs itself as a member" in text
    assert f"product {B} needs itself as a member" in text


BASES = [f"jw01345001001_02101_{n:05}_nrca1" for n in range(6)]


@given(st.data())
def test_any_set_of_associations_makes_one_ordered_graph(data: st.DataObject) -> None:
    suffixes = st.sampled_from(["rate", "rateints", "cal", "calints", "crf", "uncal"])
    member = st.builds(
        lambda b, s, r: (f"{b}_{s}.fits", r),
        st.sampled_from(BASES),
        suffixes,
        st.sampled_from(["science", "science", "background", "imprint", "psf"]),
    )
    kinds = st.sampled_from(["image2", "spec2", "tso-spec2", "image3", "spec3", "tso3", "coron3", None])
    drafts = data.draw(
        st.lists(
            st.tuples(kinds, st.sampled_from([*BASES, "m", "n"]), st.lists(member, min_size=1, max_size=4)), max_size=6
        )
    )
    asns = [asn(kind, name, *members, filename=f"{n}_asn.json") for n, (kind, name, members) in enumerate(drafts)]
    files = data.draw(st.sets(st.builds(lambda b, s: f"{b}_{s}.fits", st.sampled_from(BASES), st.sampled_from(RAMPS))))
    made = data.draw(st.sets(st.sampled_from(sorted(files)))) if files else set()
    singles = data.draw(st.sets(st.sampled_from(sorted(files)))) if files else set()
    kind_of = st.sampled_from(["NRC_IMAGE", "MIR_MRS", "NIS_SOSS", "NRC_DARK", "FGS_TRACK", "broken", "NONE"])
    types = data.draw(st.dictionaries(st.sampled_from(BASES), kind_of))
    start, top = (
        data.draw(st.sampled_from(["auto", "uncal", "ramp", "rate", "cal"])),
        data.draw(st.sampled_from([1, 2, 3])),
    )

    found = run(asns, files, sorted(singles), types=types, made=made, start=start, top=top)

    check_order(found)
    stages = list(found.stages.values())
    ones = [s.product for s in stages if s.level == 1]
    assert len(ones) == len(set(ones))
    assert all(s.level <= top for s in stages)
    for stage in stages:
        for one in stage.inputs:
            assert one.file is None or one.source is None
            if one.source:
                assert found.stages[one.source].level <= stage.level
            if one.missing:
                assert found.problems


needs_program = pytest.mark.skipif(not PROGRAM.is_dir(), reason="the associations of ../shared/data are not there")


@needs_program
def test_a_whole_program_expands_into_one_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calservice.simulate import empty_context

    targets, exposures, files, memberships = [], set(), set(), 0
    for path in sorted((PROGRAM / "nircam_ceers_1345").rglob("*.json")):
        names = re.findall(r'"expname": *"([^"]+)"', path.read_text())
        targets.append(str(path))
        exposures |= {re.findall(r"jw01345\d{6}_\d{5}_\d{5}_[a-z0-9]+", name)[0] for name in names}
        files |= {name.rsplit("/", 1)[-1] for name in names}
        memberships += len(names)
    assert (len(targets), len(exposures), memberships) == (69, 690, 2130)
    monkeypatch.setenv("CRDS_CONTEXT", empty_context(tmp_path / "crds"))
    monkeypatch.setenv("CRDS_PATH", str(tmp_path / "crds"))
    monkeypatch.delenv("CRDS_SERVER_URL", raising=False)

    plan = make_plan(Request(tuple(targets), output=str(tmp_path / "out")))

    for level, pipeline in ((1, "calwebb_detector1"), (2, "calwebb_image2")):
        products = [s.product for s in plan if s.level == level]
        assert len(products) == 690
        assert set(products) == exposures
        assert {s.pipeline for s in plan if s.level == level} == {pipeline}
    assert sum(s.level == 3 for s in plan) == sum(len(s.inputs) > 0 for s in plan if s.level == 3) == 69
    # nothing is on disk: what is named is missing, and so is what it could have been made from; listed, not fatal
    assert set(plan.missing) == files | {f"{base}_uncal.fits" for base in exposures}
    assert all(any(base in str(p) for p in plan.problems) for base in sorted(exposures)[:20])
    assert plan.count("blocked") == len(plan.stages)
    assert not plan.tasks
    assert not (tmp_path / "out").exists()
