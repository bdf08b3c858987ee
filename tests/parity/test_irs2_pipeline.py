"""An IRS2 exposure through stage 1 by both engines: the same products, every default step native."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calservice.simulate.context import write_context
from calservice.steps.stage1.saturation import irs2_science_rows
from tests.parity.irs2 import AXES, write_reference
from tests.parity.synthetic import KINDS, Case, ramp_model, write_references
from tests.parity.test_small_pipelines import run

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("products")]

USERS = {
    "dq_init": ["mask"],
    "saturation": ["saturation", "superbias"],
    "superbias": ["superbias"],
    "refpix": ["refpix"],
    "linearity": ["linearity"],
    "dark_current": ["dark"],
    "jump": ["gain", "readnoise"],
    "ramp_fit": ["gain", "readnoise"],
    "gain_scale": ["gain"],
}


def test_detector1(tmp_path: Path) -> None:
    from stdatamodels.jwst.datamodels import Level1bModel

    case = Case("NIRSPEC", "NRS2", "NRS_IFU", shape=(1, 4, 3200, 2048))
    rng = np.random.default_rng(5)
    rate = np.exp(rng.normal(3, 1, case.shape[2:])).astype(np.float32)
    rate[rng.random(rate.shape) < 0.002] = 20000
    rate[~irs2_science_rows(3200, "NRS2")] = 0
    data = 9000 + 8 * rng.standard_normal(case.shape, np.float32)
    data += rate * np.arange(1, 5, dtype=np.float32)[:, None, None]
    data[:, 2:] += np.where((rng.random(rate.shape) < 0.002) & (rate > 0), np.float32(3000), 0)
    model = Level1bModel(data=np.clip(data, 0, 65535).astype(np.uint16))
    model.update(ramp_model(case, {"data": data[..., :1, :1]}))
    model.meta.subarray.name, model.meta.exposure.readpatt, model.meta.exposure.noutputs = "FULL", "NRSIRS2RAPID", 5
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = AXES["NRS2"]
    model.meta.exposure.frame_divisor = 1
    model.save(str(tmp_path / "irs2_uncal.fits"))
    kinds = [kind for kind in KINDS if kind not in ("ipc", "reset", "rscd")]
    paths = write_references(tmp_path, case, size=(2048, 2048), irs2=True, kinds=kinds, realistic=True)
    paths["refpix"] = write_reference(tmp_path / "refpix.fits")
    words = [f"--steps.{step}.override_{kind}={paths[kind]}" for step, kinds in USERS.items() for kind in kinds]
    words.append("--steps.ipc.skip=true")
    environment = {"CRDS_PATH": str(tmp_path / "crds"), "CRDS_CONTEXT": write_context(tmp_path / "crds", [])}
    found = run("calwebb_detector1", tmp_path / "irs2_uncal.fits", tmp_path / "out", words, environment)
    assert {step for step, status in found.items() if status == "COMPLETE"} == {*USERS} - {"gain_scale"}
    names = {path.name for path in (tmp_path / "out" / "auto").glob("*.fits")}
    assert names == {"irs2_rate.fits", "irs2_rateints.fits"}
