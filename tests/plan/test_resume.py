"""What is finished stands, and what changed is noticed, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from calservice.model.exposure import FileStat
from calservice.model.plan import Input, ReferenceUse, Stage
from calservice.plan.resume import keyed, recipe_key, standing
from calservice.products.manifest import InputRecord, Manifest, Product, ReferenceRecord

VERSIONS = {"calservice": "1.0", "jwst": "3.0.0"}
FILE = FileStat("/raw/x_uncal.fits", 100, "t1")
CONTENT = {"/raw/x_uncal.fits": "abc", "/out/x_rate.fits": "def"}
LISTING = {"x_rate.fits": FileStat("/out/x_rate.fits", 50, "p1")}


def settled(stage: Stage, versions: dict[str, str] = VERSIONS) -> Stage:
    stage = stage.but(recipe_key=recipe_key(stage, versions))
    return stage.but(key=keyed(stage))


STAGE = settled(
    Stage(
        id="calwebb_detector1:x",
        pipeline="calwebb_detector1",
        level=1,
        product="x",
        inputs=(Input("x_uncal.fits", "science", FILE),),
        engines={"jump": "jwst"},
        parameters={"steps": {"jump": {"skip": False, "rejection_threshold": 4.0}}},
        references=(ReferenceUse("dark", "dark_0001.fits", "sha-1", 9), ReferenceUse("gain", "N/A")),
    )
)


def manifest_of(stage: Stage, **changes: Any) -> Manifest:
    made = Manifest(
        key=stage.key,
        recipe_key=stage.recipe_key,
        stage=stage.id,
        pipeline=stage.pipeline,
        product=stage.product,
        inputs=tuple(
            InputRecord(name=i.name, role=i.role, size=i.file.size, stamp=i.file.stamp, blake3="abc")
            if i.file
            else InputRecord(name=i.name, role=i.role, key=i.key)
            for i in stage.inputs
        ),
        references=tuple(ReferenceRecord(reftype=r.reftype, name=r.name, sha1=r.sha1) for r in stage.references),
        parameters=dict(stage.parameters),
        engines=dict(stage.engines),
        versions=VERSIONS,
        products=(Product(name="x_rate.fits", size=50, blake3="def", stamp="p1"),),
    )
    loaded = Manifest.load(made.model_copy(update=changes).dump())  # as it comes back from the disk
    assert loaded is not None
    return loaded


def asked(content: dict[str, str] = CONTENT) -> tuple[Callable[[FileStat], str], list[str]]:
    """Return a reader of content, and the list of what it was asked for."""
    calls: list[str] = []

    def read(file: FileStat) -> str:
        calls.append(file.url)
        return content[file.url]

    return read, calls


def stand(
    stage: Stage = STAGE,
    content: dict[str, str] = CONTENT,
    listing: dict[str, FileStat] = LISTING,
    versions: dict[str, str] = VERSIONS,
    manifest: Manifest | None = None,
) -> tuple[bool, str, list[str]]:
    read, calls = asked(content)
    return (*standing(stage, manifest or manifest_of(STAGE), listing, read, versions), calls)


def with_input(**changes: Any) -> Stage:
    return settled(STAGE.but(inputs=(Input("x_uncal.fits", "science", replace(FILE, **changes)),)))


def test_unchanged_stands_and_no_file_is_read() -> None:
    assert stand() == (True, "up to date", [])


def test_nothing_made_yet() -> None:
    assert standing(STAGE, None, LISTING, asked()[0], VERSIONS) == (False, "not made yet")
    assert Manifest.load(b'{"half": "writ') is None
    assert Manifest.load(b'{"products": []}') is None


def test_a_touched_or_moved_input_of_the_same_content_stands() -> None:
    assert stand(with_input(stamp="t2")) == (True, "up to date", ["/raw/x_uncal.fits"])
    moved = with_input(url="/elsewhere/x_uncal.fits")
    assert stand(moved)[:2] == (True, "up to date")


def test_changed_inputs() -> None:
    changed = CONTENT | {"/raw/x_uncal.fits": "xyz"}
    assert stand(with_input(stamp="t2"), changed)[:2] == (False, "input x_uncal.fits changed")
    assert stand(with_input(size=101)) == (False, "input x_uncal.fits changed", [])
    one = STAGE.inputs[0]
    assert not stand(settled(STAGE.but(inputs=(one, Input("y.fits", "background", FILE)))))[0]
    assert not stand(settled(STAGE.but(inputs=(replace(one, role="background"),))))[0]


def test_an_input_made_by_another_stage_is_known_by_that_stage_s_key() -> None:
    second = settled(STAGE.but(inputs=(Input("x_rate.fits", "science", None, "calwebb_detector1:x", "key-1"),)))
    manifest = manifest_of(second)
    assert stand(second, manifest=manifest)[:2] == (True, "up to date")
    other = second.but(inputs=(replace(second.inputs[0], key="key-2"),))
    assert stand(other, manifest=manifest)[:2] == (False, "input x_rate.fits changed")
    assert keyed(other) != keyed(second)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parameters": {"steps": {"jump": {"skip": False, "rejection_threshold": 5.0}}}}, "parameters changed"),
        ({"parameters": {}}, "parameters changed"),
        ({"engines": {"jump": "native"}}, "another engine"),
        (
            {"references": (ReferenceUse("dark", "dark_0001.fits", "sha-2"), ReferenceUse("gain", "N/A"))},
            "reference dark changed",
        ),
        (
            {"references": (ReferenceUse("dark", "dark_0002.fits", "sha-1"), ReferenceUse("gain", "N/A"))},
            "reference dark changed",
        ),
        ({"references": (ReferenceUse("dark", "dark_0001.fits", "sha-1"),)}, "reference gain changed"),
        ({"association": {"products": []}}, "association changed"),
    ],
)
def test_what_changed_is_said(change: dict[str, Any], reason: str) -> None:
    assert stand(settled(STAGE.but(**change))) == (False, reason, [])


def test_a_new_version_of_a_package_that_calibrates() -> None:
    now = VERSIONS | {"jwst": "3.1.0"}
    assert stand(settled(STAGE, now), versions=now)[:2] == (False, "jwst is now 3.1.0, was 3.0.0")
    more = VERSIONS | {"stcal": "2.0"}
    assert stand(settled(STAGE, more), versions=more)[:2] == (False, "stcal is now 2.0, was absent")


def test_products_gone_or_changed() -> None:
    assert stand(listing={})[:2] == (False, "x_rate.fits is gone")
    longer = {"x_rate.fits": FileStat("/out/x_rate.fits", 51, "p1")}
    assert stand(listing=longer) == (False, "x_rate.fits was changed", [])
    touched = {"x_rate.fits": FileStat("/out/x_rate.fits", 50, "p2")}
    assert stand(listing=touched) == (True, "up to date", ["/out/x_rate.fits"])
    edited = CONTENT | {"/out/x_rate.fits": "edited in place"}
    assert stand(content=edited, listing=touched)[:2] == (False, "x_rate.fits was changed")


def test_keys_tell_everything_apart_and_do_not_depend_on_order() -> None:
    assert settled(STAGE).key == STAGE.key
    again = STAGE.but(parameters={"steps": {"jump": {"rejection_threshold": 4.0, "skip": False}}})
    assert settled(again).key == STAGE.key
    assert with_input(stamp="t2").recipe_key == STAGE.recipe_key
    assert with_input(stamp="t2").key != STAGE.key
    assert settled(STAGE.but(pipeline="calwebb_dark")).recipe_key != STAGE.recipe_key
