"""Associations: what is accepted, and what is refused with a reason that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calservice.model.association import Association
from calservice.model.errors import AssociationError
from calservice.model.modes import PIPELINES

DATA = Path(__file__).parents[3] / "shared" / "data" / "associations"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the associations of ../shared/data are not there")


def text(**changes: Any) -> str:
    """Return a level-3 association, with some keys changed; None leaves a key out."""
    content = {
        "asn_type": "image3",
        "asn_id": "o001",
        "products": [{"name": "mosaic", "members": [{"expname": "a_cal.fits", "exptype": "science"}]}],
    }
    return json.dumps({k: v for k, v in (content | changes).items() if v is not None})


def with_members(*names: Any) -> str:
    return text(products=[{"name": "mosaic", "members": [{"expname": n, "exptype": "science"} for n in names]}])


@needs_data
def test_every_association_at_hand_is_read_or_refused_for_its_paths() -> None:
    seen, kinds, refused = 0, set(), set()
    for path in sorted(DATA.rglob("*.json")):
        content = json.loads(path.read_text())
        if "products" not in content:
            assert path.parent.name == "schemas", path
            continue
        seen += 1
        names = [m["expname"] for p in content["products"] for m in p["members"]]
        paths = [n for n in names if n.startswith("/")] + [p["name"] for p in content["products"] if "/" in p["name"]]
        if paths:
            with pytest.raises(AssociationError) as caught:
                Association.parse(path.read_bytes(), path.name, str(path.parent))
            lines = str(caught.value).splitlines()
            assert len(lines) == len(paths)
            assert all(str(path) in line and ("absolute path" in line or "is a path" in line) for line in lines)
            assert all(any(name in line for line in lines) for name in paths)
            refused.add(path.name)
            continue
        asn = Association.parse(path.read_bytes(), path.name, str(path.parent))
        assert [len(p.members) for p in asn.products] == [len(p["members"]) for p in content["products"]]
        assert asn.level in (2, 3), path
        kinds.add(asn.asn_type)
    assert seen > 1300
    assert len(refused) == 6
    assert kinds >= {"image2", "spec2", "wfs-image2", "tso-spec2", "image3", "spec3", "tso3", "ami3", "coron3"}


@pytest.mark.parametrize(
    ("kind", "pipeline"),
    [
        *((k, "calwebb_image2") for k in ("image2", "tso-image2", "wfs-image2")),
        *((k, "calwebb_spec2") for k in ("spec2", "tso-spec2", "nrslamp-spec2")),
        *((k, f"calwebb_{k}") for k in ("image3", "spec3", "coron3", "ami3", "tso3", "wfs-image3")),
        ("IMAGE3", "calwebb_image3"),
    ],
)
def test_association_types(kind: str, pipeline: str) -> None:
    asn = Association.parse(text(asn_type=kind), "x_asn.json")
    assert asn.pipeline == pipeline
    assert asn.level == PIPELINES[pipeline] == (2 if pipeline.endswith("2") else 3)


@pytest.mark.parametrize(
    ("rule", "level"),
    [("DMS_Level3_Base", 3), ("DMSLevel2bBase", 2), ("Asn_Lv2Image", 2), ("Asn_Lv3TSO", 3), (None, None)],
)
def test_the_rule_tells_the_level_where_the_type_does_not(rule: str | None, level: int | None) -> None:
    asn = Association.parse(text(asn_type="None", asn_rule=rule), "x_asn.json")
    assert (asn.level, asn.pipeline) == (level, None)


def test_source_names_and_duplicates() -> None:
    members = [
        {"expname": "a_cal.fits", "exptype": "science", "exposerr": "null"},
        {"expname": "a_cal.fits", "exptype": "SCIENCE"},
        {"expname": "b_x1d.fits", "exptype": "Background"},
        {"expname": "sub/c_cal.fits", "exptype": "science"},
    ]
    name = "jw02565-o007_{source_id}_nirspec_clear-prism"
    asn = Association.parse(text(products=[{"name": name, "members": members}]), "x_asn.json", "here")
    (product,) = asn.products
    assert product.by_source
    assert asn.product_name(product) == name
    assert [m.expname for m in product.role("science")] == ["a_cal.fits", "sub/c_cal.fits"]
    assert [m.expname for m in product.role("science", "background")] == ["a_cal.fits", "b_x1d.fits", "sub/c_cal.fits"]
    assert product.members[0].model_extra == {"exposerr": "null"}  # further keys go into the products' tables


def test_product_names() -> None:
    def named(name: str, kind: str = "image3") -> str:
        members = [{"expname": "jw01_rate.fits", "exptype": "science"}]
        asn = Association.parse(text(asn_type=kind, products=[{"name": name, "members": members}]), "m_asn.json")
        return asn.product_name(asn.products[0])

    assert named("mosaic") == "mosaic"
    assert named("mosaic_i2d.fits") == "mosaic"
    assert named("field_cat") == "field_cat"  # not a file name: nothing is dropped
    assert named("") == "m"
    assert named("", "image2") == "jw01"


BROKEN: dict[str, tuple[str | bytes, list[str]]] = {
    "not json": ('{"products": [\n  {"name" "x"}]}', ["not JSON", "line 2, column 11"]),
    "cut short": (text()[:40], ["not JSON", "line 1, column"]),
    "empty": ("", ["not JSON", "line 1, column 1"]),
    "binary": (b"\x89\xff\xfe\x00SIMPLE", ["not JSON", "not even text"]),
    "list": ("[1, 2]", ["a JSON object with 'products' is expected"]),
    "number": ("3", ["a JSON object with 'products' is expected"]),
    "too deep": ("[" * 200_000, ["nested too deeply"]),
    "no products": (text(products=None), ["products: this key is missing"]),
    "empty products": (text(products=[]), ["products: at least one entry is needed"]),
    "products an object": (text(products={"name": "x"}), ["products: a list is expected"]),
    "no members": (text(products=[{"name": "x"}]), ["products.0.members: this key is missing"]),
    "empty members": (
        text(products=[{"name": "x", "members": []}]),
        ["products.0.members: at least one entry is needed"],
    ),
    "member a string": (
        text(products=[{"name": "x", "members": ["a.fits"]}]),
        ["products.0.members.0: an object with keys is expected"],
    ),
    "member without role": (
        text(products=[{"name": "x", "members": [{"expname": "a.fits"}]}]),
        ["products.0.members.0.exptype: this key is missing"],
    ),
    "member a number": (with_members(3), ["products.0.members.0.expname: a text is expected"]),
    "member null": (with_members(None), ["products.0.members.0.expname: a text is expected"]),
    "member empty": (with_members(""), ["products.0.members.0.expname: it is empty"]),
    "product name a path": (
        text(products=[{"name": "../x", "members": [{"expname": "a", "exptype": "science"}]}]),
        ["products.0.name: ", "'../x' is a path"],
    ),
    "parent": (with_members("../a_cal.fits"), ["'../a_cal.fits' leaves the association's folder"]),
    "parent within": (with_members("sub/../../a_cal.fits"), ["leaves the association's folder"]),
    "parent by backslash": (with_members("..\\a_cal.fits"), ["leaves the association's folder"]),
    "absolute": (with_members("/data/a_cal.fits"), ["'/data/a_cal.fits' is an absolute path"]),
    "drive": (with_members("C:\\a_cal.fits"), ["is an absolute path"]),
    "url": (with_members("s3://bucket/a_cal.fits"), ["'s3://bucket/a_cal.fits' is an absolute path"]),
    "nul": (with_members("a\0b_cal.fits"), ["is not a file name"]),
    "newline": (with_members("a\n_cal.fits"), ["is not a file name"]),
    "type a list": (text(asn_type=["image3"]), ["asn_type: a text is expected"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_associations_name_file_and_cause(case: str) -> None:
    content, expected = BROKEN[case]
    with pytest.raises(AssociationError) as caught:
        Association.parse(content, "bad_asn.json", "folder")
    message = str(caught.value)
    assert message.startswith("folder/bad_asn.json: ")
    for words in expected:
        assert words in message
    assert "pydantic" not in message


def test_all_faults_at_once() -> None:
    products = [
        {"name": "a/b", "members": [{"expname": "/x_cal.fits", "exptype": "science"}, {"exptype": "science"}]},
        {"name": "ok"},
    ]
    with pytest.raises(AssociationError) as caught:
        Association.parse(text(products=products), "bad_asn.json")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "products.0.name",
        "products.0.members.0.expname",
        "products.0.members.1.expname",
        "products.1.members",
    ]
    assert all(line.startswith("bad_asn.json: ") for line in lines)


def test_a_file_cannot_claim_another_name_or_folder() -> None:
    asn = Association.parse(text(filename="other.json", folder="/etc"), "x_asn.json", "s3://user:secret@bucket/raw")
    assert asn.filename == "x_asn.json"
    assert asn.where == "s3://bucket/raw/x_asn.json"
    assert "secret" not in asn.where
    record = asn.record(asn.products[0], [{"expname": "a_cal.fits", "exptype": "science"}])
    assert "secret" not in json.dumps(record)
    assert record["products"] == [{"name": "mosaic", "members": [{"expname": "a_cal.fits", "exptype": "science"}]}]
