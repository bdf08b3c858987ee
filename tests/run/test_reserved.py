"""Images that are large go into the products while blocks are computed: the products are the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from calservice import single
from calservice.run import recipe, saving
from tests.parity.modes import MODES, prepared

NAME = "NIRISS SUBSTRIP96, averaged"
HOOK = "--post_hooks=tests.run.test_reserved.doubled"


def doubled(model: Any) -> Any:
    """Be a hook, which looks at the pixels."""
    model.data = 2 * model.data
    return model


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("words", [(), ("--steps.jump.save_results=true", HOOK), ("--steps.ramp_fit.save_opt=true",)])
def test_products_are_the_same(
    words: Sequence[str], threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are put there at once, the headers must be as long as expected."""
    ready = prepared(MODES[NAME], tmp_path)
    for name in ("CRDS_PATH", "CRDS_CONTEXT"):
        monkeypatch.setenv(name, ready.environment[name])
    monkeypatch.setattr(datamodels.JwstDataModel, "on_save", lambda self, path=None: None)
    options = single.Options(engine="native", threads=threads)
    plan = single.make_plan(ready.mode.pipeline, [str(ready.exposure), *ready.words, *words], options)
    assert plan is not None
    ((stage,),) = (task.stages for task in plan.tasks)
    served: list[bool] = []
    serves = saving._Reserved.serves

    def told(reserved: Any, parts: Any) -> bool:
        served.append(serves(reserved, parts))
        return served[-1]

    monkeypatch.setattr(saving._Reserved, "serves", told)
    made = []
    for size in (saving._RESERVED, 1000):
        monkeypatch.setattr(saving, "_RESERVED", size)
        monkeypatch.setattr(saving, "_PIECE", min(size, saving._PIECE))
        out = tmp_path / f"{size}"
        out.mkdir()
        recipe.run(stage, ready.exposure, out, threads, saving.Saver(threads))
        made.append({path.name: pixels(path) for path in out.iterdir()})
    assert made[0] == made[1]
    assert {name.rpartition("_")[2] for name in made[0]} >= {"rate.fits", "rateints.fits"}
    assert served == ([] if "save_opt" in str(words) else [True, True])


def pixels(path: Path) -> bytes:
    """Return a product but for its date and its last extension, which has the log."""
    with fits.open(path) as hdus:
        end = hdus["ASDF"].fileinfo()["hdrLoc"]
    return re.sub(rb"DATE    = '[^']*'", b"", path.read_bytes()[:end])
