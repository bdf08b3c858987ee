"""What notebooks show is whole HTML, shows what there is, and lets nothing in."""

from __future__ import annotations

import base64
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calservice.client import ShownPlan
from calservice.model.errors import InputError
from calservice.model.outcome import Outcome, StepOutcome
from calservice.model.plan import Plan, ReferenceUse, Stage, Task
from calservice.products.manifest import InputRecord, Manifest, Product, ReferenceRecord, StepRecord, manifest_name
from calservice.products.store import Store
from calservice.report_html import job_html, plan_html, product_html
from calservice.service.files import ProductFile, ProductList, products_of
from calservice.service.preview import preview_png

EVIL = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>&"""
VOID = {"img", "br"}


class Page(HTMLParser):
    """Reads a page, demands that all that opens is closed in order, and keeps what is there."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.rows = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.rows += tag == "tr"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(text: str) -> Page:
    """Return a page that is whole and harmless: no scripts, nothing loaded from elsewhere."""
    page = Page(text)
    allowed = {"style", "div", "p", "span", "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary"}
    assert page.tags <= allowed | {"i", "img"}
    assert {name for name, _ in page.attributes} <= {"class", "style", "src", "alt"}
    assert all(value.startswith("data:image/png;base64,") for name, value in page.attributes if name == "src")
    assert not any(word in value for _, value in page.attributes for word in ("alert", "url(", "http"))
    return page


def evil_plan(number: int = 1, state: str = "todo") -> Plan:
    uses = (ReferenceUse(EVIL, EVIL, EVIL, 10),)
    stages = {
        f"{EVIL}{n}": Stage(
            f"{EVIL}{n}",
            EVIL,
            1,
            f"{EVIL}{n}",
            (),
            references=uses,
            state=state,
            reason=EVIL,
            variant=EVIL,  # type: ignore[arg-type]
        )
        for n in range(number)
    }
    tasks = tuple(Task(name, (stage,)) for name, stage in stages.items())
    return Plan(stages, tasks, (InputError(EVIL),), (EVIL,), f"/{EVIL}", EVIL, EVIL)


def evil_product(store: Store) -> ProductFile:
    manifest = Manifest(
        key=EVIL, recipe_key=EVIL, stage=EVIL, pipeline=EVIL, product=EVIL, started=EVIL, host=EVIL, context=EVIL,
        inputs=(InputRecord(name=EVIL, role=EVIL, blake3=EVIL),),
        references=(ReferenceRecord(reftype=EVIL, name=EVIL),),
        parameters={"steps": {"jump": {"x": EVIL}}}, origins={"steps.jump.x": EVIL, EVIL: EVIL}, engines={EVIL: EVIL},
        versions={"jwst": EVIL}, steps=(StepRecord(alias=EVIL, engine=EVIL, status=EVIL, seconds=1.5),),
        caveats=(EVIL,),
    )  # fmt: skip
    return ProductFile(Product(name=f"{EVIL}.fits", size=3, blake3=EVIL), manifest, store, 1)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    plan = evil_plan()
    states = dict.fromkeys(plan.stages, "FAILED")
    [name] = plan.stages
    outcome = Outcome(name, "FAILED", f"{EVIL}\nmore", steps=(StepOutcome(EVIL, EVIL, "SKIPPED"),), seconds=2.5)
    product = evil_product(Store(tmp_path))
    keywords = dict.fromkeys(("INSTRUME", "FILTER", "EXP_TYPE", "TARGNAME", "DATE-OBS", "BUNIT", "DATAMODL"), EVIL)
    for text in (
        plan_html(plan),
        job_html(plan, states, [outcome], problems=plan.problems, seconds=3, ended=True, fault=EVIL),
        product_html(product, keywords, (1, 2), picture=b"x", fault=EVIL),
        product._repr_html_(),
        ProductList([product])._repr_html_(),
    ):
        page = checked(text)
        assert page.text.count(EVIL) >= 3


def test_a_plan_shows_what_is_printed(tmp_path: Path) -> None:
    stages = {f"a:{n}": Stage(f"a:{n}", "calwebb_dark", 1, f"p{n}", (), memory=2_000_000, output_bytes=1000,
                              cut="in rows", state="todo" if n else "done") for n in range(3)}  # fmt: skip
    problems = tuple(InputError(f"fault {n}") for n in range(20))
    plan = ShownPlan(stages, output=str(tmp_path), problems=problems)
    page = checked(plan._repr_html_())
    for words in ("3 stages, 2 to do, 1 done", "2.0 MB", "3.0 kB", str(tmp_path), "cut (2): calwebb_dark: in rows"):
        assert words in page.text
    assert "fault 3" in page.text
    assert "and 8 more" in page.text
    assert "3 stages" in repr(plan)
    checked(ShownPlan({})._repr_html_())


def test_a_job_of_thousands_stays_small() -> None:
    plan = evil_plan(3000)
    states = {name: "FAILED" if name.endswith("99") else "COMPLETE" for name in plan.stages}
    text = job_html(plan, states, [], seconds=3, ended=False)
    page = checked(text)
    assert page.rows == 201
    assert "and 2800 stages more" in page.text
    assert "30 FAILED" in page.text
    assert page.text.count("FAILED") == 31, "what failed comes first"
    assert len(text) < 300_000


def test_a_remote_product(tmp_path: Path) -> None:
    store = Store("memory://bucket/products")
    path = tmp_path / "jw01345001001_02101_00001_nrca1_cal.fits"
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "JWST", "EXP_TYPE": "NRC_IMAGE", "DATAMODL": "ImageModel", "FILTER": "F200W"})
    fits.HDUList([primary, fits.ImageHDU(np.ones((8, 9), np.float32), name="SCI")]).writeto(path)
    catalog = "jw01345001001_02101_00001_nrca1_cat.ecsv"
    store.publish(path, path.name)
    store.write(b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: flux, unit: Jy, datatype: float64}\nflux\n1.5\n", catalog)
    stage = Stage("calwebb_image2:x", "calwebb_image2", 2, "x", ())
    assert products_of(stage, store) == []
    records = tuple(
        Product(name=n, size=path.stat().st_size, blake3="1f") for n in (path.name, catalog, "gone_asn.json")
    )
    manifest = Manifest(key="k", recipe_key="r", stage=stage.id, pipeline=stage.pipeline, product="x", products=records)
    store.write(manifest.dump(), manifest_name(stage.label))

    image, table, gone = products_of(stage, store)

    assert image.url == f"memory://bucket/products/{path.name}"
    assert (image.header()["FILTER"], image.shape, image.at_hand) == ("F200W", (8, 9), False)
    assert "<img" not in image._repr_html_(), "nothing is fetched to be shown"
    with image.open() as model:
        assert model.data.shape == (8, 9)
        assert type(model).__name__ == "ImageModel"
    assert image.at_hand
    fetched = image.path
    assert fetched.read_bytes() == path.read_bytes()
    page = checked(image._repr_html_())
    assert {"img", "details"} & page.tags == {"img"}, "it was made of nothing"
    assert "8 x 9" in page.text
    assert table.open()["flux"].to_value("mJy") == 1500
    assert (table.header(), table.suffix) == ({}, "cat")
    with pytest.raises(InputError, match=r"gone_asn.json cannot be fetched"):
        gone.open()
    del image, model
    assert not fetched.exists()


def test_previews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.zeros((2, 4, 700, 30), np.float32)
    ramp[1, 2, :, :15] = 1
    ramp[1, 2, :200] = np.nan
    for name, data in (("ramp", ramp), ("line", np.ones(9, np.float32)), ("dot", np.ones((1, 1), np.float32))):
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI")]).writeto(tmp_path / f"{name}.fits")
    (tmp_path / "torn.fits").write_bytes((tmp_path / "ramp.fits").read_bytes()[:9000])
    assert [preview_png(tmp_path / f"{n}.fits") for n in ("line", "dot", "torn", "gone")] == [None] * 4
    png = preview_png(tmp_path / "ramp.fits")
    assert png is not None
    assert len(base64.b64encode(png)) < 20_000
    from matplotlib import image

    (tmp_path / "ramp.png").write_bytes(png)
    pixels = image.imread(tmp_path / "ramp.png")
    assert pixels.shape == (350, 15, 4)
    assert (pixels[-100:, :, 3] == 0).all(), "what has no value is transparent, and the first row is at the bottom"
    assert (pixels[:250, :7, 0] > pixels[:250, 8:, 0]).all()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert preview_png(tmp_path / "ramp.fits") is None
