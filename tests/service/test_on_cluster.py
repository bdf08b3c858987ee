"""`calservice.Client` on a scheduler and workers of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from calservice import Client
from calservice.model.errors import SchedulerError
from calservice.simulate import Simulation
from tests.cluster.processes import Cluster, environment, gone, leftovers, until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def cluster(simulated: Simulation, scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), environment(simulated.crds, simulated.context, scratch))
    yield made.start("one", "two")
    made.stop()


def test_jobs_on_a_cluster(
    cluster: Cluster, exposures: list[Path], native_only: dict[str, Any], tmp_path: Path
) -> None:
    with Client(cluster.address, output=tmp_path / "products") as client:
        assert f"on {cluster.address}" in repr(client)
        job = client.submit(exposures[0], **native_only)
        other = client.submit(exposures[0], output=tmp_path / "other", **native_only)
    assert [(list(j.status.values()), j.exit_status) for j in (job, other)] == [(["COMPLETE"], 0)] * 2
    assert [p.path.parent.name for j in (job, other) for p in j.products.of("rate")] == ["products", "other"]
    with pytest.raises(SchedulerError, match="the connection to the Dask scheduler is closed"):
        client.submit(*exposures, **native_only)

    with distributed.Client(cluster.address, set_as_default=False) as dask:
        with Client(dask, output=tmp_path / "products") as client:
            job = client.submit(*exposures, **native_only)
            assert job.wait(60)
            assert list(job.status.values()) == ["KEPT", "COMPLETE"]
        assert dask.status == "running", "it is its owner's to close"


def test_cancelling_on_a_cluster(
    cluster: Cluster, exposures: list[Path], native_only: dict[str, Any], tmp_path: Path, scratch: Path
) -> None:
    with Client(cluster.address, output=tmp_path / "products") as client:
        job = client.submit(exposures[0], **native_only)
        _, child = cluster.held()
        same = client.submit(exposures[0], **native_only)
        until(lambda: "running" in same.status.values(), "the other job to wait for the stage")

        job.cancel()

        assert (list(job.status.values()), job.exit_status) == (["STOPPED"], 130)
        assert not gone([child], 1), "another job waits for it"
        child.resume()
        assert same.wait(60)
        assert list(same.status.values()) == ["COMPLETE"]

        job = client.submit(exposures[1], **native_only)
        _, child = cluster.held()
        job.cancel()
        assert gone([child], 10)
        until(lambda: not leftovers(tmp_path, scratch), "the worker to clean up")
        assert [w.poll() for w in cluster.workers.values()] == [None, None]
        assert client.submit(exposures[1], **native_only).wait(60)
    assert len(list((tmp_path / "products").glob("*_rate.fits"))) == 2


def test_a_scheduler_that_goes_away(
    simulated: Simulation, exposures: list[Path], native_only: dict[str, Any], tmp_path: Path, scratch: Path
) -> None:
    cluster = Cluster(tmp_path / "cluster", environment(simulated.crds, simulated.context, scratch)).start("only")
    try:
        client = Client(cluster.address, output=tmp_path / "products")
        job = client.submit(exposures[0], **native_only)
        cluster.held()
        assert cluster.scheduler is not None

        cluster.scheduler.kill()

        with pytest.raises(SchedulerError, match="the scheduler went away in mid-job"):
            job.wait(60)
        with pytest.raises(SchedulerError, match="the scheduler went away in mid-job"):
            list(job.as_completed())
        assert (job.exit_status, list(job.status.values())) == (1, ["STOPPED"])
        assert "the scheduler went away" in job._repr_html_()
        with pytest.raises(SchedulerError, match="the connection to the Dask scheduler is closed"):
            client.submit(exposures[0], **native_only)
        client.close()
    finally:
        cluster.stop()
