"""Log records of workers on the user's terminal, when asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from processes import Client, Cluster

RECORD = re.compile(
    r"\S+Z (?P<level>[A-Z]+) \[job=\w+(?: association=(?P<association>\S+))? exposure=(?P<exposure>\S+)"
    r"(?: step=(?P<step>\S+))?\] (?P<name>[\w.]+): .+"
)


@pytest.mark.parametrize("place", ["cluster", "here"])
def test_records_are_shown_while_stages_run(
    cluster: Cluster, client: Client, exposure: Path, tmp_path: Path, place: str
) -> None:
    where = ("--scheduler", cluster.address) if place == "cluster" else ("--workers", "1")
    status, said = client("submit", exposure, "--output", tmp_path, *where, "--log-level", "info")
    assert status == 0, said
    shown = [found for line in said.splitlines() if (found := RECORD.fullmatch(line))]
    base = exposure.name.removesuffix("_uncal.fits")
    assert {found["exposure"] for found in shown} == {base}
    steps = {found["step"] for found in shown}
    assert {"resample", None} <= steps
    assert {"refpix", "jump"} <= {alias for step in steps if step for alias in step.split("+")}  # fused steps together
    assert {"calservice.run", "calservice.recipe", "stpipe.step"} <= {found["name"] for found in shown}
    for pipeline in ("calwebb_detector1", "calwebb_image2"):  # all of them, in order, as they stand beside the products
        log = (tmp_path / f"{base}_{pipeline}.log").read_text()
        assert log in "\n".join(line for line in said.splitlines() if not line.lstrip().startswith("complete")) + "\n"
