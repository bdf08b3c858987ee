"""Real, ground-test and independently simulated exposures, beside the official pipeline called on the same file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import official_call
import pytest
from processes import Client, Cluster
from products import differences

from calservice.run.isolate import Isolate

Shared = Callable[[str], Path]
Official = Callable[..., None]
RTOL, ATOL = 1e-5, 1e-7


@pytest.fixture(scope="session")
def official(empty_client: Client) -> Iterator[Official]:
    """Call an official pipeline on a file, in a process of its own and in the empty context."""
    patch = pytest.MonkeyPatch()
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        patch.setenv(name, empty_client.env[name])
    patch.setenv("PYTHONPATH", str(Path(__file__).parent))
    patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    warm = Isolate(("jwst.pipeline", "official_call"))
    patch.undo()

    def call(name: str, primary: Path, folder: Path, **steps: dict[str, Any]) -> None:
        folder.mkdir()
        end = warm.run(official_call.run, name, str(primary), str(folder), steps)
        assert end.code == 0, end.cause

    yield call
    warm.close()


def words_of(steps: dict[str, dict[str, Any]]) -> list[str]:
    return [f"--steps.{step}.{name}={value}" for step, values in steps.items() for name, value in values.items()]


def check_same(made: Path, expected: Path, *names: str) -> None:
    assert {p.name for p in expected.glob("*.fits")} == set(names)
    for name in names:
        assert not (text := differences(made / name, expected / name, RTOL, ATOL)), text


def test_guider_acquisition(
    cluster: Cluster, empty_client: Client, shared: Shared, official: Official, tmp_path: Path
) -> None:
    uncal = shared("exposures/flight/headers_and_guider/fgs_acq1_guider2_6x2x128x128_uncal.fits")

    status, said = empty_client("submit", uncal, "--scheduler", cluster.address, "--output", tmp_path / "made")

    assert status == 0, said
    official("GuiderPipeline", uncal, tmp_path / "official")
    check_same(tmp_path / "made", tmp_path / "official", "fgs_acq1_guider2_6x2x128x128_cal.fits")


def test_simulated_niriss_ramps(
    cluster: Cluster, empty_client: Client, shared: Shared, official: Official, tmp_path: Path
) -> None:
    uncal = shared("exposures/sim/niriss_ami_mirage_uncal/jw00793001001_01101_00001_nis_uncal.fits")
    gain, noise = official_call.flat_references(uncal, tmp_path, gain=1.62, noise=9.7)
    both = {"override_gain": str(gain), "override_readnoise": str(noise)}
    steps = {"jump": both, "ramp_fit": both}
    words = ["--level", "1", "--output", tmp_path / "made", *words_of(steps)]

    status, said = empty_client("submit", uncal, "--scheduler", cluster.address, *words)

    assert status == 0, said
    official("Detector1Pipeline", uncal, tmp_path / "official", **steps)
    base = "jw00793001001_01101_00001_nis"
    check_same(tmp_path / "made", tmp_path / "official", f"{base}_rate.fits", f"{base}_rateints.fits")


def test_what_stage_1_cannot_do_without_is_named(empty_client: Client, shared: Shared, tmp_path: Path) -> None:
    uncal = shared("exposures/sim/niriss_ami_mirage_uncal/jw00793001001_01101_00001_nis_uncal.fits")

    status, said = empty_client("submit", uncal, "--output", tmp_path, "--level", "1")

    assert status == 1
    assert "jump: it cannot do without a reference that is not applicable (N/A) in this context" in said
    assert re.search(r"(gain|readnoise)\. Name a file with --steps\.jump\.override_\1=FILE", said)
    assert not list(tmp_path.glob("*.fits"))


def test_miri_slitless_spectra_with_flight_references(
    cluster: Cluster, empty_client: Client, shared: Shared, official: Official, tmp_path: Path
) -> None:
    name = "ERS_NGTS10_2022_new_drift_041_rateints.fits"
    (tmp_path / "data").mkdir()
    rate = shutil.copy(shared(f"exposures/sim/miri_lrs_slitless_mirisim_eureka/{name}"), tmp_path / "data")
    references = {
        ("assign_wcs", "distortion"): "distortion_0028.asdf",
        ("assign_wcs", "specwcs"): "specwcs_0006.fits",
        ("photom", "photom"): "photom_0071.fits",
    }
    steps: dict[str, dict[str, Any]] = {}
    for (step, kind), file in references.items():
        steps.setdefault(step, {})[f"override_{kind}"] = str(shared(f"references/miri/jwst_miri_{file}"))
    words = ["--output", tmp_path / "made", *words_of(steps)]

    status, said = empty_client("submit", rate, "--scheduler", cluster.address, *words)

    assert status == 0, said
    official("Spec2Pipeline", Path(rate), tmp_path / "official", **steps)
    products = [name.replace("rateints", suffix) for suffix in ("calints", "x1dints")]
    check_same(tmp_path / "made", tmp_path / "official", *products)


def test_time_series_of_a_ground_test(
    cluster: Cluster, empty_client: Client, shared: Shared, official: Official, tmp_path: Path
) -> None:
    exposure = shared("exposures/ground/jw00623026001_03106_00005_mirimage_a3001_crfints.fits")
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(exposure, data)
    asn = official_call.association(data / "jw00623-o026_tso3_00001_asn.json", "tso3", exposure.name)

    status, said = empty_client("submit", asn, "--scheduler", cluster.address, "--output", tmp_path / "made")

    assert status == 0, said
    official("Tso3Pipeline", asn, tmp_path / "official")
    names = [f"{official_call.PRODUCT}_x1dints.fits", exposure.name.replace("a3001", "a3001_o026")]
    check_same(tmp_path / "made", tmp_path / "official", *sorted(names))
    assert (tmp_path / "made" / f"{official_call.PRODUCT}_whtlt.ecsv").exists()


@pytest.mark.parametrize("name", ["jw01075001001_03105_00009_nrca2_uncal", "jw01075001001_03105_00009_nrca4_uncal"])
def test_an_exposure_that_is_only_a_header_is_refused(
    empty_client: Client, shared: Shared, tmp_path: Path, name: str
) -> None:
    status, said = empty_client(
        "submit", shared(f"exposures/flight/headers_and_guider/{name}.fits"), "--output", tmp_path
    )

    assert status == 1
    assert f"{name}.fits: holds only headers, no pixels" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_interferometry_says_what_it_lacks(empty_client: Client, shared: Shared, tmp_path: Path) -> None:
    exposure = shared("exposures/flight/niriss_ami_1093/jw01093012001_03102_00001_nis_cal.fits")

    status, said = empty_client("run", "ami_analyze", exposure, f"--output_dir={tmp_path}")

    assert status == 1
    assert "FAILED ami_analyze" in said
    assert "No THROUGHPUT reference file found" in said
