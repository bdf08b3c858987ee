"""Run by test_strun in a process from whose imports the official package is hidden."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.modules["jwst"] = None  # type: ignore[assignment]

import pytest  # noqa: E402
from stdatamodels.jwst import datamodels  # noqa: E402

import calservice.pipelines  # noqa: E402
import calservice.steps  # noqa: E402
from calservice.engines import strun  # noqa: E402
from calservice.model.errors import EngineError  # noqa: E402
from calservice.steps.registry import NATIVE  # noqa: E402


def main(request: Path) -> None:
    given = json.loads(request.read_text())
    assert ("calservice.steps.LinearityStep", "linearity", False) in strun.get_steps()
    assert not any(is_pipeline for _, _, is_pipeline in strun.get_steps())
    for name in ("JumpStep", "NoSuchStep"):
        with pytest.raises(ImportError, match=r"pip install 'calservice\[jwst\]'"):
            getattr(calservice.steps, name)
    with pytest.raises(ImportError, match=r"pip install 'calservice\[jwst\]'"):
        _ = calservice.pipelines.Detector1Pipeline
    for alias, path in given["inputs"].items():
        cls = strun.step_class(alias)
        assert "jwst" not in {base.__module__.partition(".")[0] for base in cls.mro()}
        cls.call(path, save_results=True, output_dir=f"{given['folder']}/{alias}")
        with datamodels.RampModel(path) as model:
            result = cls.call(model)
            assert getattr(model.meta.cal_step, NATIVE[alias].cal_step) is None
        first = result[0] if isinstance(result, tuple) else result
        assert getattr(first.meta.cal_step, NATIVE[alias].cal_step) == "COMPLETE"
        assert first.meta.calibration_software_version.startswith("calservice ")
        assert getattr(first.cal_logs, alias)
        assert first.meta.ref_file.crds.context_used
    with pytest.raises(EngineError, match="ramp_fit: save_opt needs the official jwst package"):
        calservice.steps.RampFitStep.call(given["inputs"]["ramp_fit"], save_opt=True)
    with pytest.raises(TypeError, match="is not compatible"):
        calservice.steps.DQInitStep.call(datamodels.open(given["inputs"]["dq_init"]))
    for wrong in ("x_asn.json", 3):
        with pytest.raises(TypeError, match="associations need the official package"):
            calservice.steps.LinearityStep().run(wrong)
    step = calservice.steps.LinearityStep()
    assert step.remove_suffix("jw1_a.b_rate") == ("jw1_a.b", "_")
    assert step.remove_suffix("jw1_a.b") == ("jw1_a.b", "_")
    print("all was as expected")


main(Path(sys.argv[1]))
