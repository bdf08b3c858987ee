"""A simulated program: reproducible, selectable offline, and calibrated back to what was put in."""

import hashlib
import json
import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from calservice.simulate import MODES, Simulation, empty_context, simulate
from calservice.simulate.context import reference_types


def small(folder: Path, seed: int = 1) -> Simulation:
    """Two exposures of each mode, all effects on."""
    return simulate(folder, exposures=2, groups=5, stars=30, seed=seed)


pytestmark = pytest.mark.xdist_group("simulate")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """One small program, written once."""
    return small(tmp_path_factory.mktemp("program"))


def ramps(simulation: Simulation) -> dict[str, bytes]:
    """Raw pixels of every exposure, by file name."""
    paths = sorted(simulation.data.glob("*_uncal.fits"))
    return {path.name: fits.getdata(path, "SCI").tobytes() for path in paths}


def crds_environment(simulation: Simulation) -> dict[str, str]:
    """An environment whose only references are the simulated ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CRDS_")}
    mine = {"CRDS_PATH": str(simulation.crds), "CRDS_CONTEXT": simulation.context}
    return {**kept, **mine, "CRDS_MODE": "local", "CRDS_SERVER_URL": "http://none.invalid"}


RECOMMEND = """
import json, sys
import crds
from stdatamodels.jwst import datamodels

context, types, *paths = sys.argv[1:]
found = {}
for path in paths:
    with datamodels.open(path) as model:
        parameters = model.get_crds_parameters()
    found[path] = crds.getrecommendations(
        parameters, reftypes=types.split(","), context=context, observatory="jwst"
    )
print("RESULT" + json.dumps(found))
"""


def recommendations(
    simulation: Simulation, context: str, types: list[str], paths: list[Path]
) -> dict[str, dict[str, str]]:
    """What crds selects for each exposure, asked in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", RECOMMEND, context, ",".join(types), *map(str, paths)],
        env=crds_environment(simulation),
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in run.stdout.splitlines() if line.startswith("RESULT"))
    result: dict[str, dict[str, str]] = json.loads(line.removeprefix("RESULT"))
    return result


def test_pixels_follow_from_the_seed(program: Simulation, tmp_path: Path) -> None:
    again = small(tmp_path / "again")
    assert ramps(again) == ramps(program)
    assert again.context == program.context
    for mine, theirs in zip(again.truth, program.truth, strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
    other = small(tmp_path / "other", seed=2)
    assert ramps(other).keys() == ramps(program).keys()
    assert not set(ramps(other).values()) & set(ramps(program).values())


def test_every_reference_is_selected_and_checked(program: Simulation) -> None:
    server = (program.crds / "config" / "jwst" / "server_config").read_text()
    catalog = literal_eval(server)["download_metadata"]
    types = list(reference_types()["miri"])
    paths = sorted(program.data.glob("*_uncal.fits"))
    found = recommendations(program, program.context, types, paths)
    assert len(found) == 4
    used = set()
    for path, selection in found.items():
        instrument = fits.getval(path, "INSTRUME").lower()
        (mode,) = (mode for mode in MODES.values() if mode.instrument.lower() == instrument)
        assert selection.keys() == set(types)
        for kind, name in selection.items():
            if kind not in mode.references:
                assert name.upper().endswith("N/A"), (kind, name)
                continue
            assert name.startswith(f"jwst_{instrument}_{kind}_")
            stored = program.crds / "references" / "jwst" / instrument / name
            digest = hashlib.sha1(stored.read_bytes()).hexdigest()
            assert catalog[name] == {"size": str(stored.stat().st_size), "sha1sum": digest}
            used.add(name)
    assert used == {path.name for path in (program.crds / "references").rglob("jwst_*.*")}
    for mapping in (program.crds / "mappings" / "jwst").iterdir():
        assert catalog[mapping.name]["sha1sum"] == hashlib.sha1(mapping.read_bytes()).hexdigest()


def test_nothing_applies_in_the_empty_context(program: Simulation) -> None:
    context = empty_context(program.crds)
    assert context == "jwst_0001.pmap"
    types = reference_types()
    assert set(types) == {"fgs", "miri", "nircam", "niriss", "nirspec"}
    paths = sorted(program.data.glob("*_00001_*_uncal.fits"))
    found = recommendations(program, context, list(types["nircam"]), paths)
    values = {name.upper() for selection in found.values() for name in selection.values()}
    assert values == {"NOT FOUND N/A"}


def test_headers_and_associations_agree(program: Simulation) -> None:
    assert [path.name.split("_")[2] for path in program.associations] == 2 * ["image3"] + 4 * ["image2"]
    members = set()
    for path in program.associations[:2]:
        content = json.loads(path.read_text())
        assert (content["asn_type"], content["asn_rule"]) == ("image3", "Asn_Lv3Image")
        members |= {member["expname"] for member in content["products"][0]["members"]}
    paths = sorted(program.data.glob("*_uncal.fits"))
    assert members == {path.name.replace("_uncal", "_cal") for path in paths}
    for path in paths:
        header = fits.getheader(path)
        visit, activity, number, detector, _ = path.stem.split("_")
        assert visit == f"jw{header['PROGRAM']}{header['OBSERVTN']}{header['VISIT']}"
        assert activity == header["VISITGRP"] + header["SEQ_ID"] + header["ACT_ID"]
        assert int(number) == int(header["EXPOSURE"])
        assert detector == header["DETECTOR"].lower()
        with fits.open(path) as hdus:
            shape = hdus["SCI"].shape
            assert hdus["SCI"].data.dtype == np.uint16
            assert len(hdus["INT_TIMES"].data) == header["NINTS"]
            assert len(hdus["GROUP"].data) == header["NINTS"] * header["NGROUPS"]
        keys = ("NINTS", "NGROUPS", "SUBSIZE2", "SUBSIZE1")
        assert shape == tuple(header[key] for key in keys)


@pytest.mark.parametrize("name", MODES)
def test_references_undo_the_ramps(tmp_path: Path, name: str) -> None:
    """Without chance, the references turn the raw groups back into the sky that was put in."""
    mode = MODES[name]
    simulation = simulate(tmp_path, modes=(name,), exposures=1, groups=3, stars=12, effects=False)
    folder = simulation.crds / "references" / "jwst" / mode.instrument.lower()

    def reference(kind: str, extension: str = "SCI") -> np.ndarray:
        return np.asarray(fits.getdata(folder / f"jwst_{mode.instrument.lower()}_{kind}_0001.fits", extension))

    (path,) = simulation.data.glob("*_uncal.fits")
    header = fits.getheader(path)
    level = fits.getdata(path, "SCI")[0, :2].astype(np.float64)
    if "superbias" in mode.references:
        level -= reference("superbias")
    level = np.polynomial.polynomial.polyval(level, reference("linearity", "COEFFS"), tensor=False)
    dark = reference("dark")
    dark = dark.reshape(-1, *dark.shape[-2:])
    frames = header["NFRAMES"]
    level -= [dark[group * frames : (group + 1) * frames].mean(axis=0) for group in range(2)]
    factor = fits.getdata(folder / f"jwst_{mode.instrument.lower()}_photom_0001.fits", 1)["photmjsr"][0]
    sky = (level[1] - level[0]) / header["TGROUP"] / reference("flat") * factor

    stars = np.sum((sky - mode.photometry.background) * reference("area")) * mode.optics.pixel_steradian * 1e6
    truth = Table.read(simulation.truth[0], format="ascii.ecsv")
    assert stars == pytest.approx(np.sum(truth["flux"]), rel=0.002)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="modes must be"):
        simulate(tmp_path, modes=("nirspec-nothing",))
    with pytest.raises(ValueError, match="no subarray 'SUB7'"):
        simulate(tmp_path, subarray="SUB7")
    with pytest.raises(ValueError, match="exposures must be at least 1"):
        simulate(tmp_path, exposures=0)
    with pytest.raises(ValueError, match="five digits"):
        simulate(tmp_path, program="1")


@pytest.fixture(scope="module")
def calibrated(program: Simulation) -> Simulation:
    """The program after stages 1, 2 and 3 of the official pipeline."""
    script = Path(__file__).with_name("official_run.py")
    names = [path.name for path in program.associations[: len(program.truth)]]
    run = subprocess.run(
        [sys.executable, str(script), str(program.data), *names],
        env=crds_environment(program),
        cwd=program.data,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return program


@pytest.mark.official
@pytest.mark.parametrize("place", [0, 1], ids=["nircam", "miri"])
def test_official_pipeline_recovers_the_stars(calibrated: Simulation, place: int) -> None:
    association = calibrated.associations[place]
    product = json.loads(association.read_text())["products"][0]["name"]
    catalog = Table.read(calibrated.data / f"{product}_cat.ecsv", format="ascii.ecsv")
    truth = Table.read(calibrated.truth[place], format="ascii.ecsv")
    mode = MODES[truth.meta["mode"]]

    mosaic = fits.getheader(calibrated.data / f"{product}_i2d.fits")
    steps = ("S_TWKREG", "S_SKYMAT", "S_OUTLIR", "S_RESAMP", "S_PHOTOM", "S_JUMP", "S_LINEAR")
    assert {step: mosaic[step] for step in steps} == dict.fromkeys(steps, "COMPLETE")

    stars = SkyCoord(truth["ra"], truth["dec"])
    nearest, distance, _ = stars.match_to_catalog_sky(SkyCoord(catalog["sky_centroid"]))
    pixels = distance.arcsec / np.sqrt(mode.optics.pixel_arcsec2)
    assert np.sum(pixels < 1) >= 0.9 * len(truth)
    bright = (pixels < 1) & (truth["flux"] > np.median(truth["flux"]))
    bright &= truth["id"] > 2  # the first two saturate
    ratio = np.asarray(catalog["aper_total_flux"][nearest] / truth["flux"])[bright]
    assert abs(np.median(ratio) - 1) < 0.02
    assert np.median(pixels[bright]) < 0.1
