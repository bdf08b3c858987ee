"""`calservice.Client`: jobs from Python, run to their end, cancelled, and going wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from astropy.io import fits
from blake3 import blake3

from calservice import Client
from calservice.model.errors import InputError, ParameterError, Problems, SchedulerError
from calservice.model.outcome import Outcome
from calservice.service.background import JobRun
from calservice.simulate import Simulation
from tests.cluster.processes import gone, held_children, leftovers, until


def ids(exposures: list[Path]) -> list[str]:
    """Return the stages that make the rates of exposures."""
    return [f"calwebb_detector1:{path.name.removesuffix('_uncal.fits')}" for path in exposures]


def test_a_job_from_plan_to_products(program: Simulation, exposures: list[Path], native_only: dict[str, Any]) -> None:
    seen: list[tuple[JobRun, Outcome]] = []
    with Client(output=Path("products"), inputs=str(program.data), workers=1) as client:
        planned = client.plan(9901, **native_only)
        assert (planned.count("todo"), planned.problems) == (2, ())
        assert "2 to do" in repr(planned)

        job = client.submit("9901", **native_only, progress=lambda *news: seen.append(news))

        assert client.running == (job,)
        assert job.exit_status is None
        assert job.status.keys() == set(ids(exposures))
        ended = list(job.as_completed())
        assert {o.stage: o.status for o in ended} == dict.fromkeys(ids(exposures), "COMPLETE") == job.status
        assert seen == [(job, outcome) for outcome in ended]
        assert (job.wait(0), job.done, job.exit_status, job.failed, client.running) == (True, True, 0, (), ())

        again = client.submit(client.plan(*exposures, **native_only))

        assert again.wait(5)
        assert (again.outcomes, set(again.status.values()), again.exit_status) == ((), {"KEPT"}, 0)
    _check_products(job, exposures)
    assert [p.url for p in again.products] == [p.url for p in job.products]


def _check_products(job: JobRun, exposures: list[Path]) -> None:
    rates = job.products.of("rate")
    assert [p.name for p in rates] == [path.name.replace("uncal", "rate") for path in exposures]
    assert {p.suffix for p in job.products} == {"rate", "rateints"}
    for product in rates:
        content = product.path.read_bytes()
        assert (product.size, product.blake3) == (len(content), blake3(content).hexdigest())
        assert Path(product.url) == product.path
        header = product.header()
        assert (header["FILTER"], header["BUNIT"], product.level) == ("F444W", "DN/s", 1)
        with product.open() as model:
            assert model.data.shape == product.shape == (320, 320)
        assert set(product.manifest.engines.values()) == {"native"}
        assert product.manifest.origins["steps.jump.rejection_threshold"] == "parameters"
    assert "calservice.run" in job.log(ids(exposures)[0])
    assert job.log(exposures[1].name.removesuffix("_uncal.fits")) == job.log(job.plan.stages[ids(exposures)[1]])
    with pytest.raises(ParameterError, match="more than one stage"):
        job.log("calwebb_detector1")
    assert "rate.fits" in repr(job.products[:1])


def test_jobs_run_beside_each_other_and_closing_waits(exposures: list[Path], native_only: dict[str, Any]) -> None:
    with Client(workers=1, **{"engine": "native"}) as client:
        jobs = [client.submit(path, output=path.stem, **native_only) for path in exposures]
        assert len(client.running) == 2
    assert [(job.done, job.exit_status) for job in jobs] == [(True, 0)] * 2
    assert all(Path(path.stem, path.name.replace("uncal", "rate")).exists() for path in exposures)


def test_cancelling_kills_what_runs(exposures: list[Path], native_only: dict[str, Any], tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    client = Client(output="products", workers=1, scratch=scratch)
    job = client.submit(*exposures, **native_only)
    [child] = until(lambda: held_children(os.getpid()), "a stage to hold")
    with pytest.raises(InputError, match=r"no log in .*: it is (running|waiting)"):
        job.log(ids(exposures)[0])
    assert not job.wait(0.01)

    job.cancel()

    assert gone([child], 2)
    assert (set(job.status.values()), job.exit_status, job.wait()) == ({"STOPPED"}, 130, True)
    assert list(job.products) == []
    assert leftovers(Path("products"), scratch) == []
    job.cancel()  # nothing more happens

    # a callback that cancels does not wait for itself; what is finished stands
    more = [Path(shutil.copy(exposures[0], f"more{number}_uncal.fits")) for number in range(4)]
    held: list[psutil.Process] = []

    def stop(job: JobRun, _outcome: Outcome) -> None:
        held.extend(held or until(lambda: held_children(os.getpid()), "another stage to hold"))
        job.cancel()

    job = client.submit(*exposures, *more, **native_only, progress=stop)
    assert job.wait(60)
    assert (set(job.status.values()), job.exit_status) == ({"COMPLETE", "STOPPED"}, 130)
    assert len(job.products.of("rate")) == list(job.status.values()).count("COMPLETE")
    assert gone(held, 2)


def test_leaving_by_an_exception_cancels(exposures: list[Path], native_only: dict[str, Any]) -> None:
    jobs: list[JobRun] = []

    def work() -> None:
        with Client(output="products") as client:
            jobs.append(client.submit(*exposures, **native_only))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (jobs[0].done, jobs[0].exit_status) == (True, 130)


def test_a_job_that_cannot_run_says_all_at_once(exposures: list[Path], native_only: dict[str, Any]) -> None:
    client = Client(output="products")
    wrong = {**native_only, "parameters": {"steps": {"jumpp": {"skip": True}}}, "level": 2}
    with pytest.raises(Problems) as caught:
        client.submit("gone_uncal.fits", exposures[0], **wrong)
    said = str(caught.value)
    assert "gone_uncal.fits: no such file" in said
    assert "parameters: --steps.jumpp.skip" in said
    assert "Did you mean 'steps.jump.skip'?" in said
    assert "calwebb_image2 is not native yet" in said
    with pytest.raises(Problems) as caught:
        client.submit("gone_uncal.fits", **native_only)
    assert "keep_going=True" not in str(caught.value), "nothing could run"
    assert not Path("products").exists()

    with pytest.raises(Problems, match="nothing was run; keep_going=True runs the rest"):
        client.submit("gone_uncal.fits", exposures[0], **native_only)
    job = client.submit("gone_uncal.fits", exposures[0], keep_going=True, **native_only)
    assert job.wait(60)
    assert (job.exit_status, list(job.status.values()), len(job.problems)) == (1, ["COMPLETE"], 1)


def test_a_bad_exposure_fails_alone(exposures: list[Path], native_only: dict[str, Any]) -> None:
    bad, good = (Path(shutil.copy(path, ".")) for path in exposures)
    with fits.open(bad, mode="update") as hdus:
        hdus[0].header["SUBSTRT1"] = 1500  # a corner that no reference of this subarray covers

    def careless(job: JobRun, outcome: Outcome) -> None:
        raise ValueError("a callback of the user's")

    with Client(output="products", workers=1) as client:
        job = client.submit(bad, good, progress=careless, **native_only)
    assert list(job.status.values()) == ["FAILED", "COMPLETE"]
    [failed] = job.failed
    assert "give a reference that covers the subarray" in failed.message
    assert "give a reference that covers the subarray" in job.log(failed)
    assert job.exit_status == 1
    shown = job._repr_html_()
    assert "give a reference that covers the subarray" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scheduler": "somewhere"}, "not the address of a Dask scheduler"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers there"),
        ({"scheduler": 8786}, "the address of a Dask scheduler or a distributed.Client is expected"),
        ({"engine": "fast"}, "engine='fast': not one of 'auto', 'native', 'jwst'"),
        ({"workers": 0}, "workers=0: a number of 1 or more"),
    ],
)
def test_a_client_that_cannot_work_is_not_made(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((SchedulerError, ParameterError), match=said):
        Client(**arguments)


def test_what_a_plan_cannot_be_told(exposures: list[Path]) -> None:
    client = Client()
    for arguments, said in (
        ({"parameters": {"jump": {"skip": True}}}, "'jump' is neither 'steps' nor the alias of a pipeline"),
        ({"parameters": {"calwebb_spec4": {}}}, "Did you mean 'calwebb_spec3'"),
        ({"parameters": {"steps": {"jump": 5}}}, "steps.jump: names with values are expected, not 5"),
        ({"level": 4}, "level=4: not one of 1, 2, 3"),
        ({"start": "late"}, "start='late': not one of"),
        ({"param_files": "gone.asdf"}, "gone.asdf: no such parameter file"),
    ):
        with pytest.raises(ParameterError, match=said):
            client.plan(exposures[0], **arguments)
    with pytest.raises(ParameterError, match="name one program at a time"):
        client.plan(1, 2)
    with pytest.raises(TypeError, match="unexpected arguments: engines"):
        client.plan(exposures[0], engines="jwst")
    with pytest.raises(ParameterError, match="a plan is submitted by itself"):
        client.submit(client.plan(exposures[0], level=1), level=2)


def test_parameters_are_those_of_the_command_line(exposures: list[Path]) -> None:
    Path("mine.yaml").write_text(
        "steps:\n- name: jump\n  parameters: {rejection_threshold: 7, flag_4_neighbors: false}\n"
    )
    told = {
        "steps": {"jump": {"rejection_threshold": np.float32(5)}, "dark_current": {"override_dark": Path("N/A")}},
        "calwebb_detector1": {"save_calibrated_ramp": True},
        "calwebb_image2": {"steps": {"resample": {"skip": True}}},
    }
    plan = Client().plan(exposures[0], parameters=told, param_files=Path("mine.yaml"), level=2, filter="f444w")
    assert not plan.problems
    one, two = plan
    assert one.parameters["steps"]["jump"] == {"rejection_threshold": 5, "flag_4_neighbors": False}
    assert one.parameters["steps"]["dark_current"] == {"override_dark": "N/A"}
    assert one.parameters["save_calibrated_ramp"] is True
    assert one.origins["steps.jump.rejection_threshold"] == "parameters"
    assert one.origins["steps.jump.flag_4_neighbors"] == "parameter file mine.yaml"
    assert two.parameters["steps"] == {"resample": {"skip": True}}
    assert not Client().plan(exposures[0].parent, instrument=["miri", "nirspec"]).stages


def test_a_program_that_does_not_wait_says_so(exposures: list[Path], native_only: dict[str, Any]) -> None:
    code = f"from calservice import Client; job = Client().submit(*{list(map(str, exposures))}, **{native_only})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "the program did not wait for its job; submit it again to go on: <JobRun" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, calservice; calservice.__version__; assert 'Client' in dir(calservice); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "numpy", "dask", "distributed", "rich"} & set(ended.stdout.split())
