"""Selection: which context, and which files it names; agreement with crds itself."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from calservice.model.errors import Problems, ReferenceFileError, TransientError
from calservice.model.exposure import FileStat
from calservice.products.headers import read_exposure
from calservice.references.select import Crds, header_from_fits

CONTEXT = "jwst_0001.pmap"
DATA = Path(__file__).parents[2].parent / "shared" / "data"
REAL = "jwst_0676.pmap"
ORACLE = """
import json, sys
import crds
answers = []
for header, kinds in json.load(sys.stdin):
    answers.append(crds.getrecommendations(header, reftypes=kinds, context=sys.argv[1], fast="fast" in sys.argv))
print("ANSWERS" + json.dumps(answers, default=lambda odd: None))
"""


BESTREFS = """
import gc, sys
gc.collect = lambda *_: 0  # the command calls it for every file, half of its time
from crds.bestrefs import BestrefsScript
sys.argv[0] = "bestrefs"
sys.exit(BestrefsScript(sys.argv)())
"""


def exposure(detector: str = "NRCA1", date: str = "2023-05-05", **more: Any) -> dict[str, Any]:
    return {
        "meta.instrument.name": "NIRCAM",
        "meta.instrument.detector": detector,
        "meta.observation.date": date,
        "meta.observation.time": "10:00:00.123",
    } | more


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("CRDS")}


def test_importing_is_light() -> None:
    code = "import sys, calservice.references.select, calservice.references.pinned; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"crds", "stpipe", "asdf", "astropy", "stdatamodels", "jwst"} & set(loaded)


def test_select(offline: Crds) -> None:
    before = environment()
    found = offline.select(exposure(), ["dark", "GAIN", "fringe", "made-up", "pars-detector1pipeline"])
    assert found == {
        "dark": "jwst_nircam_dark_0000.fits",
        "GAIN": "jwst_nircam_gain_0000.fits",
        "fringe": "N/A",
        "made-up": "N/A",
        "pars-detector1pipeline": "N/A",
    }
    assert environment() == before
    assert offline.select(exposure("NRCB1"), ["flat"]) == {"flat": "N/A"}  # the rules say so
    assert offline.select(exposure(), []) == {}
    assert pickle.loads(pickle.dumps(offline)).select(exposure(), ["dark"]) == {"dark": found["dark"]}


@pytest.mark.parametrize(
    ("date", "epoch"),
    [("2022-01-01", "00"), ("2024-06-01", "00"), ("2024-06-02", "01"), ("2031-01-01", "01")],
)
def test_the_memo_keeps_dates_apart(offline: Crds, date: str, epoch: str) -> None:
    for _ in range(2):
        found = offline.select(exposure(date=date), ["dark"])
        assert found == {"dark": f"jwst_nircam_dark_00{epoch}.fits"}
    edge = exposure(date="2024-06-01") | {"meta.observation.time": "12:00:00"}
    assert offline.select(edge, ["dark"]) == {"dark": "jwst_nircam_dark_0001.fits"}


def test_all_types_without_a_match_are_reported(offline: Crds) -> None:
    with pytest.raises(Problems) as caught:
        offline.select(exposure("NRCALONG"), ["dark", "gain", "fringe"])
    dark, gain = map(str, caught.value.problems)
    for part in ("dark", "NIRCAM", CONTEXT, "NRCALONG"):
        assert part in dark
    assert "gain" in gain
    with pytest.raises(Problems, match="2001-01-01"):
        offline.select(exposure(date="2001-01-01"), ["dark"])
    with pytest.raises(Problems, match="1999-01-01"):  # the reason is not that of the one before
        offline.select(exposure(date="1999-01-01"), ["dark"])


def test_unusable_headers(offline: Crds) -> None:
    with pytest.raises(ReferenceFileError, match="no instrument"):
        offline.select({"meta.exposure.type": "NRC_IMAGE"}, ["dark"])
    with pytest.raises(ReferenceFileError, match=f"{CONTEXT} has no rules for the instrument 'miri'"):
        offline.select({"meta.instrument.name": "MIRI"}, ["dark"])
    with pytest.raises(Problems, match="no dark reference"):
        offline.select(exposure() | {"meta.observation.date": None}, ["dark"])
    with pytest.raises(Problems, match="no dark reference"):
        offline.select(exposure(date="yesterday"), ["dark"])


def test_files_marked_bad(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crds = Crds.resolve(cache=tmp_path / "cache", server=serve().url)
    with pytest.raises(Problems, match=r"flat_0666.* scientifically invalid"):
        crds.select(exposure(), ["flat"])
    monkeypatch.setenv("CRDS_ALLOW_BAD_REFERENCES", "1")
    assert crds.select(exposure(), ["flat"]) == {"flat": "jwst_nircam_flat_0666.fits"}


def test_parkeys(offline: Crds) -> None:
    assert offline.parkeys("NIRCAM", ["dark", "unknown"]) >= {
        "meta.instrument.name",
        "meta.instrument.detector",
        "meta.observation.date",
    }


def test_resolve_order(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReferenceFileError, match="CRDS_PATH"):
        Crds.resolve()
    cache = store.lay(tmp_path / "cache", catalog=True)
    assert Crds.resolve(cache=cache) == Crds(cache, CONTEXT, None)
    monkeypatch.setenv("CRDS_PATH", str(cache))
    monkeypatch.setenv("CRDS_CONTEXT", CONTEXT)
    monkeypatch.setenv("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")
    assert Crds.resolve() == Crds(cache, CONTEXT, None)
    monkeypatch.setenv("CRDS_CONTEXT", "jwst_0002.pmap")
    assert Crds.resolve(context="latest").context == CONTEXT
    with pytest.raises(ReferenceFileError) as caught:
        Crds.resolve()
    for part in ("jwst_0002.pmap", str(cache), "CRDS_SERVER_URL"):
        assert part in str(caught.value)
    (cache / "mappings" / "jwst" / "jwst_nircam_gain_0001.rmap").unlink()
    with pytest.raises(ReferenceFileError, match=r"not complete .* jwst_nircam_gain_0001\.rmap"):
        Crds.resolve(context=CONTEXT)


def test_resolve_offline_without_a_default(offline: Crds, tmp_path: Path) -> None:
    with pytest.raises(ReferenceFileError, match="CRDS_CONTEXT"):
        Crds.resolve(cache=offline.cache)
    with pytest.raises(ReferenceFileError, match="does not exist"):
        Crds.resolve(cache=tmp_path / "nowhere", context=CONTEXT)
    with pytest.raises(ReferenceFileError, match="not the name"):
        Crds.resolve(cache=offline.cache, context="../x.pmap")


def test_broken_mappings(store: Any, tmp_path: Path) -> None:
    cache = store.lay(tmp_path / "cache")
    path = cache / "mappings" / "jwst" / "jwst_nircam_gain_0001.rmap"
    path.write_text(path.read_text().replace("NRCB1", "NRCB2"))
    crds = Crds.resolve(cache=cache, context=CONTEXT)
    with pytest.raises(ReferenceFileError, match=r"sha1sum mismatch in 'jwst_nircam_gain_0001\.rmap'"):
        crds.select(exposure(), ["gain"])
    (cache / "mappings" / "jwst" / CONTEXT).write_text("import os")
    with pytest.raises(ReferenceFileError, match="cannot be used"):
        Crds.resolve(cache=cache, context=CONTEXT)


def test_resolve_brings_the_mappings(store: Any, serve: Any, tmp_path: Path) -> None:
    server = serve()
    cache = tmp_path / "cache"
    crds = Crds.resolve(cache=cache, server=server.url + "/")
    assert crds == Crds(cache, CONTEXT, server.url)
    assert {p.name for p in (cache / "mappings" / "jwst").iterdir()} == {n for n in store.names if n.endswith("map")}
    asked = server.stats()
    assert Crds.resolve(cache=cache, server=server.url, context=CONTEXT) == crds
    assert server.stats() == asked  # complete: the server is not asked
    server.stop()
    assert Crds.resolve(cache=cache).context == CONTEXT  # as the server said last time
    with pytest.raises(TransientError, match="does not answer"):
        Crds.resolve(cache=tmp_path / "other", server=server.url)


def test_resolve_with_a_server_in_trouble(serve: Any, tmp_path: Path) -> None:
    server = serve(corrupt=["jwst_nircam_gain_0001.rmap"])
    with pytest.raises(Problems, match="corrupt"):
        Crds.resolve(cache=tmp_path, server=server.url)
    assert not (tmp_path / "mappings" / "jwst" / CONTEXT).exists()
    with pytest.raises(ReferenceFileError, match=r"jwst_0009\.pmap is not in the cache .* refuses"):
        Crds.resolve(cache=tmp_path, server=server.url, context="jwst_0009.pmap")
    with pytest.raises(ReferenceFileError, match="not the address"):
        Crds.resolve(cache=tmp_path, server="file:///etc")


def test_plain_crds_works_offline_with_a_cache_made_here(serve: Any, tmp_path: Path) -> None:
    crds = Crds.resolve(cache=tmp_path / "cache", server=serve().url)
    assert oracle(crds.cache, [(exposure(), ["dark"])], CONTEXT) == [{"dark": "jwst_nircam_dark_0000.fits"}]


def test_header_from_fits() -> None:
    primary = fits.Header({"INSTRUME": "NIRCAM", "TSOVISIT": True, "NOT_JWST": 1, "SRCTYPE": "no"})
    science = fits.Header({"EXTNAME": "SCI", "SRCTYPE": "POINT", "DETECTOR": "ignored here"})
    together = {"meta.instrument.name": "NIRCAM", "meta.visit.tsovisit": True, "meta.target.source_type": "POINT"}
    assert header_from_fits([primary, science]) == together
    assert header_from_fits({"INSTRUME": "MIRI"}) == {"meta.instrument.name": "MIRI"}
    hdus = fits.HDUList([fits.PrimaryHDU(header=primary), fits.ImageHDU(header=science)])
    assert header_from_fits(hdus).items() >= together.items()


def test_fits_keywords_are_understood(offline: Crds) -> None:
    keywords = {"INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "DATE-OBS": "2023-01-01", "TIME-OBS": "00:00:00"}
    assert offline.select(keywords, ["dark"]) == {"dark": "jwst_nircam_dark_0100.fits"}


def oracle(
    cache: Path, cases: list[tuple[dict[str, Any], list[str]]], context: str, *options: str
) -> list[dict[str, str]]:
    """Return what crds itself recommends, in a process of its own and offline."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CRDS")}
    clean |= {"CRDS_PATH": str(cache), "CRDS_MODE": "local", "CRDS_READONLY_CACHE": "1"}
    command = [sys.executable, "-c", ORACLE, context, *options]
    done = subprocess.run(command, input=json.dumps(cases), env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.split("ANSWERS")[1])


def comparable(found: dict[str, Any], kinds: list[str]) -> dict[str, str]:
    """Return errors and answers of either side in one form."""
    form = {}
    for kind in kinds:
        name = found.get(kind, "N/A")
        none = not isinstance(name, str) or (name.startswith("NOT FOUND") and "n/a" not in name)
        form[kind] = (
            "none" if none and not kind.startswith("pars-") else "N/A" if none or "n/a" in name.lower() else name
        )
    return form


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Crds:
    """Return the real context, laid out as a cache."""
    mappings = DATA / "crds" / "mappings" / "jwst"
    if not (mappings / REAL).exists():
        pytest.skip(f"{REAL} is not in {mappings}")
    cache = tmp_path_factory.mktemp("cache")
    (cache / "mappings").mkdir()
    (cache / "mappings" / "jwst").symlink_to(mappings)
    config = cache / "config" / "jwst"
    config.mkdir(parents=True)
    info = {"observatory": "jwst", "latest_context": REAL, "bad_files_list": [], "force_remote_mode": False}
    (config / "server_config").write_text(repr(info | {"last_synced": "2026-01-01 00:00:00"}))
    (config / "ref_cache_subdir_mode").write_text("instrument")
    return Crds.resolve(cache=cache)


def kinds_of(crds: Crds, instrument: str) -> list[str]:
    from crds.core import rmap

    pmap = rmap.load_mapping(crds.context, path=str(crds.cache / "mappings" / "jwst"))
    return sorted(pmap.get_imap(instrument).selections.keys())


def crds_bestrefs(cache: Path, folder: Path, files: list[Path]) -> tuple[dict[Path, dict[str, str]], set[Path]]:
    """Return what the command ``crds bestrefs`` says of files that it reads itself: for each file, type to name.

    Types without a match are "none" (parameters: "N/A"). The set holds the files that it fails on.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CRDS")}
    clean |= {"CRDS_PATH": str(cache), "CRDS_MODE": "local", "CRDS_READONLY_CACHE": "1", "CRDS_OBSERVATORY": "jwst"}
    clean |= {"CRDS_SERVER_URL": "https://crds-serverless-mode.stsci.edu"}
    options = ["--new-context", REAL, "--sync-mappings", "0", "--all-types", "--print-new-references"]
    options += ["--undefined-differences-matter", "--files"]  # else it takes "no match" as "not applicable"
    places = {str(folder / str(number)): file for number, file in enumerate(files)}
    for place, file in places.items():  # each in its own: the command names files by their header
        Path(place).mkdir()
        (Path(place) / file.name).symlink_to(file)
    names = [f"{place}/{file.name}" for place, file in places.items()]
    command = [sys.executable, "-c", BESTREFS, *options, *names]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found: dict[Path, dict[str, str]] = {file: {} for file in files}
    for place, kind, name in re.findall(r"^(/\S+)/\S+ \w+ (\S+) none (\S+)$", said, re.MULTILINE):
        found[places[place]][kind] = "N/A" if name == "n/a" else name
    for kind, place in re.findall(r"type='(\S+)' data='(\S+)/\S+' ::  New: (?:Bestref FAILED|No match)", said):
        found[places[place]][kind.lower()] = "N/A" if kind.startswith("PARS-") else "none"
    return found, {places[place] for place in re.findall(r"Failed processing '(\S+)/\S+'", said)}


def test_agreement_with_crds_bestrefs_for_every_real_header(real: Crds, tmp_path: Path) -> None:
    """Every FITS file there is, exposures and references alike, with all types of the context; crds reads the files."""
    files = sorted(DATA.rglob("*.fits"))
    for packed in sorted(DATA.rglob("*.fits.gz")):
        files.append(tmp_path / packed.stem)
        files[-1].write_bytes(gzip.decompress(packed.read_bytes()))
    headers: dict[Path, dict[str, Any]] = {}
    for path in files:
        with fits.open(path) as hdus:
            headers[path] = header_from_fits(hdus)
    assert len(files) > 90
    assert all("meta.instrument.name" in header for header in headers.values())
    expected, failed = crds_bestrefs(real.cache, tmp_path, files)
    kinds = {name: kinds_of(real, name) for name in {h["meta.instrument.name"] for h in headers.values()}}
    for _ in range(2):  # computed, then remembered
        for path, header in headers.items():
            names = kinds[header["meta.instrument.name"]]
            found = real.look_up(header, names)
            if path in failed:  # on answers that are not one file
                assert any("do not settle on one file" in str(answer) for answer in found.values()), path
                continue
            assert expected[path].keys() == set(names), path
            assert comparable(dict(found), names) == expected[path], path
    assert len(failed) < 10
    for path in (p for p in files if p.is_relative_to(DATA / "exposures") and headers[p].get("meta.exposure.type")):
        planned = header_from_fits(read_exposure(FileStat(str(path), path.stat().st_size, "")).keywords)
        names = kinds[headers[path]["meta.instrument.name"]]
        found, same = real.look_up(planned, names), real.look_up(headers[path], names)
        assert comparable(dict(found), names) == comparable(dict(same), names), path


def test_agreement_with_crds_for_made_up_exposures(real: Crds) -> None:
    """Values drawn from those in the rules, and dates around the use-after dates."""
    from crds.core import rmap

    draw = random.Random(7)
    pmap = rmap.load_mapping(real.context, path=str(real.cache / "mappings" / "jwst"))
    cases: list[tuple[dict[str, Any], list[str]]] = []
    for instrument in ("fgs", "miri", "nircam", "niriss", "nirspec"):
        imap = pmap.get_imap(instrument)
        names = sorted(imap.selections.keys())
        values: dict[str, set[str]] = {}
        for rules in imap.selections.normal_values():
            for key, found in rules.selector.get_value_map().items():
                values.setdefault(key.lower(), set()).update(str(v) for v in found if "|" not in str(v))
        for _ in range(30):
            header: dict[str, Any] = {key: draw.choice(sorted(v)) for key, v in sorted(values.items()) if v}
            date = draw.choice(("2013-08-01", "2014-01-01", "2016-02-03", "2021-11-30", "2022-06-30", "2030-01-01"))
            time = draw.choice(("00:00:00", "00:00:01.5", "23:59:59", "12:00:00.000"))
            header |= {"meta.observation.date": date, "meta.observation.time": time}
            cases.append((header | {"meta.instrument.name": instrument.upper()}, names))
    for (header, names), answer in zip(cases, oracle(real.cache, cases, REAL, "fast"), strict=True):
        assert comparable(dict(real.look_up(header, names)), names) == comparable(answer, names)


def test_header_from_fits_agrees_with_the_datamodels(real: Crds) -> None:
    from stdatamodels.jwst.datamodels import read_metadata

    compared = 0
    for path in sorted((DATA / "exposures" / "flight").rglob("*_cal.fits")):
        with fits.open(path) as hdus:
            header = header_from_fits(hdus)
        names = kinds_of(real, header["meta.instrument.name"])
        full = read_metadata(str(path), flatten=True)
        assert dict(map(repr_of, real.look_up(header, names).items())) == dict(
            map(repr_of, real.look_up(full, names).items())
        )
        assert all(full[key] == header[key] for key in real.parkeys(header["meta.instrument.name"], names) & {*header})
        compared += 1
    if not compared:
        pytest.skip(f"no exposures in {DATA}")


def repr_of(item: tuple[str, Any]) -> tuple[str, str]:
    return item[0], str(item[1])


def test_agreement_survives_a_copy_of_the_cache(real: Crds, tmp_path: Path) -> None:
    """A context is the content of its files: another folder gives the same answers."""
    shutil.copytree(real.cache / "mappings" / "jwst", tmp_path / "mappings" / "jwst")
    other = Crds.resolve(cache=tmp_path, context=REAL)
    header = {
        "meta.instrument.name": "MIRI",
        "meta.instrument.detector": "MIRIMAGE",
        "meta.exposure.type": "MIR_IMAGE",
        "meta.exposure.readpatt": "FASTR1",
        "meta.subarray.name": "FULL",
        "meta.instrument.filter": "F770W",
        "meta.observation.date": "2022-08-01",
        "meta.observation.time": "00:00:00",
    }
    names = ["gain", "mask", "linearity", "distortion"]
    assert other.select(header, names) == real.select(header, names)


def test_the_keyword_table_is_that_of_the_data_models() -> None:
    import asdf
    from stdatamodels import schema

    from calservice.references.keywords import _keyword_table

    expected: dict[str, list[tuple[str, str]]] = {}

    def visit(node: Any, path: list[Any], *_: Any) -> None:
        if "fits_keyword" in node:
            place = (str(node.get("fits_hdu", "PRIMARY")), ".".join(map(str, path)))
            expected.setdefault(str(node["fits_keyword"]).upper(), []).append(place)

    core = "http://stsci.edu/schemas/jwst_datamodel/core.schema"
    tree = asdf.schema.load_schema(core, resolve_references=True)
    schema.walk_schema(schema.merge_property_trees(tree), visit)
    assert len(expected) > 400
    assert {keyword: list(places) for keyword, places in _keyword_table().items()} == expected
