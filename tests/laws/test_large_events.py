"""Large events are looked for integration by integration, and part of it in rows: it makes no difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calservice.model.step import Reference
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.steps.registry import NATIVE
from tests.parity.hits import large_events
from tests.parity.synthetic import Case

NIRCAM = Case(shape=(4, 7, 90, 110))
MIRI = replace(NIRCAM, instrument="MIRI", detector="MIRIMAGE", exp_type="MIR_IMAGE")
SNOWBALLS = {"expand_large_events": True}
SHOWERS = {"find_showers": True}
CLIPPED = {"minimum_sigclip_groups": 4, "extend_snr_threshold": 1.0}


@pytest.mark.parametrize(
    ("case", "options"),
    [
        (NIRCAM, SNOWBALLS),
        (NIRCAM, {**SNOWBALLS, "mask_snowball_core_next_int": False}),
        (MIRI, SHOWERS),
        (MIRI, {**SHOWERS, **CLIPPED}),
        (MIRI, {**SNOWBALLS, **SHOWERS}),
    ],
)
def test_cuts_and_files_change_nothing(case: Case, options: Mapping[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    image = case.shape[2:]
    references = {
        "gain": Reference({"data": rng.uniform(1, 2, image).astype(np.float32)}, {}),
        "readnoise": Reference({"data": rng.uniform(5, 20, image).astype(np.float32)}, {}),
    }
    source = large_events(case, 4)
    for array in source.values():
        array.flags.writeable = False

    def run(options: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        told: dict[str, Any] = {}
        step = NATIVE["jump"]
        bound = BoundStep(step, step.params(**options), references)
        made = run_fused([bound], source, case.info, metadata=told, **how)
        assert set(made) == {"groupdq", "pixeldq"}
        return {name: np.asarray(array) for name, array in made.items()} | told

    whole = run(options)
    without = run({**options, "expand_large_events": False, "find_showers": False})
    assert np.count_nonzero(whole["groupdq"] != without["groupdq"]) > 500
    assert whole["meta.exposure.extended_emission_events"] > 0
    for threads, kept in ((1, 0), (3, 0), (3, 2**30)):
        cut = run(options, threads=threads, block_bytes=20000, kept_bytes=kept, scratch=tmp_path)
        assert cut.keys() == whole.keys()
        for name, expected in whole.items():
            np.testing.assert_array_equal(cut[name], expected, err_msg=name)
    assert list(tmp_path.iterdir()) == []
