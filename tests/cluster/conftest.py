"""A simulated program, its products made without a cluster, and clusters of real processes."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from calservice.simulate import Simulation, empty_context, simulate

HERE = Path(__file__).parent
SHARED = HERE.parents[1].parent / "shared" / "data"
sys.path.insert(0, str(HERE))

from processes import Client, Cluster, environment  # noqa: E402


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.official)
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session", autouse=True)
def _official() -> None:
    """Every stage here has official steps."""
    assert importlib.util.find_spec("jwst") is not None


@pytest.fixture(scope="session", autouse=True)
def _ended_in_order() -> Iterator[None]:
    """Tear down, and with it end the processes, when the test run itself is terminated."""

    def leave(number: int, frame: FrameType | None) -> None:
        pytest.exit("terminated", 128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Two exposures of a dithered field, small."""
    folder = tmp_path_factory.mktemp("program")
    return simulate(folder, modes=("nircam-image",), exposures=2, groups=4, stars=20)


@pytest.fixture(scope="session")
def association(program: Simulation) -> Path:
    """The association that combines both."""
    return program.associations[0]


@pytest.fixture(scope="session")
def exposure(program: Simulation) -> Path:
    """The first of the raw exposures."""
    return min(program.data.glob("*_uncal.fits"))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clients and workers keep temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="session")
def client(program: Simulation, scratch: Path) -> Iterator[Client]:
    """The command line, with the program's references."""
    one = Client(environment(program.crds, program.context, scratch))
    yield one
    one.stop()


@pytest.fixture(scope="session")
def undisturbed(client: Client, association: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The products of the association, made on this machine without a cluster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, said = client("submit", association, "--output", folder)
    assert status == 0, said
    return folder


@pytest.fixture(scope="session")
def empty_client(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The command line, in a context in which no reference applies."""
    cache = tmp_path_factory.mktemp("empty")
    one = Client(environment(cache, empty_context(cache), scratch))
    yield one
    one.stop()


@pytest.fixture(scope="session")
def new_cluster(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Cluster]]:
    """Make clusters that are gone in the end, whatever happened to them."""
    made: list[Cluster] = []

    def make() -> Cluster:
        made.append(Cluster(tmp_path_factory.mktemp("cluster"), client.env))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def cluster(new_cluster: Callable[[], Cluster]) -> Cluster:
    """Two workers that no test kills."""
    return new_cluster().start("one", "two")


def shared_data(name: str) -> Path:
    """Return a file of the data that lie beside the checkout; skip where they are absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no {name} in ../shared/data")
    return path


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    return shared_data
