"""Run by test_strun in a process from whose imports the official package is hidden."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

sys.modules["jwst"] = None  # type: ignore[assignment]

import pytest  # noqa: E402
import stpipe  # noqa: E402
from stdatamodels.jwst import datamodels  # noqa: E402

import calservice.pipelines  # noqa: E402
import calservice.steps  # noqa: E402
from calservice.engines import strun  # noqa: E402
from calservice.engines.strun_base import ExposureStep  # noqa: E402
from calservice.model.errors import EngineError  # noqa: E402
from calservice.steps.registry import NATIVE  # noqa: E402

KINDS = {"gain_scale": datamodels.ImageModel, "guider_cds": datamodels.GuiderRawModel}


def main(request: Path) -> None:
    given = json.loads(request.read_text())
    assert ("calservice.steps.LinearityStep", "linearity", False) in strun.get_steps()
    assert not any(is_pipeline for _, _, is_pipeline in strun.get_steps())
    for name in ("AssignWcsStep", "NoSuchStep"):
        with pytest.raises(ImportError, match=r"pip install 'calservice\[jwst\]'"):
            getattr(calservice.steps, name)
    with pytest.raises(ImportError, match=r"pip install 'calservice\[jwst\]'"):
        _ = calservice.pipelines.Detector1Pipeline
    for alias, path in given["inputs"].items():
        cls = strun.step_class(alias)
        assert "jwst" not in {base.__module__.partition(".")[0] for base in cls.mro()}
        told = given["told"][alias]
        cls.call(path, save_results=True, output_dir=f"{given['folder']}/{alias}", **told)
        with KINDS.get(alias, datamodels.RampModel)(path) as model:
            result = cls.call(model, **told)
            assert getattr(model.meta.cal_step, NATIVE[alias].cal_step) is None
        first = result[0] if isinstance(result, tuple) else result
        expected = "SKIPPED" if alias == "picture_frame" else "COMPLETE"  # which NIRSpec alone has
        assert getattr(first.meta.cal_step, NATIVE[alias].cal_step) == expected
        assert first.meta.calibration_software_version.startswith("calservice ")
        assert getattr(first.cal_logs, alias)
        assert bool(first.meta.ref_file.crds.context_used) or not NATIVE[alias].references
    with datamodels.RampModel(given["inputs"]["jump"]) as model:
        model.meta.subarray.num_superstripe = 4
        with pytest.raises(EngineError, match="jump: superstripe exposures needs the official jwst package"):
            calservice.steps.JumpStep.call(model)
    with pytest.raises(TypeError, match="is not compatible"):
        calservice.steps.DQInitStep.call(datamodels.open(given["inputs"]["dq_init"]))
    for wrong in ("x_asn.json", 3):
        with pytest.raises(TypeError, match="associations need the official package"):
            calservice.steps.LinearityStep().run(wrong)
    step = calservice.steps.LinearityStep()
    assert step.make_output_path("jw1_a.b_rate.fits") == "jw1_a.b_linearitystep.fits"
    assert step.make_output_path("jw1-uncal.fits", idx=1, ext=".asdf") == "jw1_1-linearitystep.asdf"
    assert step.make_output_path("jw1_fitopt.fits", suffix="rate") == "jw1_fitopt_rate.fits"
    in_a_pipeline(given["inputs"]["linearity"])
    prepared(step, given["inputs"]["linearity"])
    print("all was as expected")


def in_a_pipeline(path: str) -> None:
    """A step in a pipeline works on the model itself, and the log is that of the pipeline."""
    opened = []

    class Short(stpipe.Pipeline, ExposureStep):  # type: ignore[misc]
        class_alias = "short"
        step_defs: ClassVar = {"linearity": calservice.steps.LinearityStep}

        def process(self, source: str) -> object:
            opened.append(self.prepare_output(source))
            return self.linearity.run(opened[0])

    result = Short.call(path)
    assert result is opened[0]
    assert result.meta.cal_step.linearity == "COMPLETE"
    assert "linearity" not in result.cal_logs.instance
    assert any("Step linearity running" in line for line in result.cal_logs.short)


def prepared(step: Any, path: str) -> None:
    """Inputs are opened, converted and copied as the official base does."""
    assert step.prepare_output(path, open_models=False) is path
    with pytest.raises(TypeError, match="Copy is not possible"):
        step.prepare_output(path, make_copy=True, open_models=False)
    with datamodels.RampModel(path) as model:
        assert step.prepare_output(model, make_copy=False) is model
        assert step.prepare_output(model).data is not model.data
        other = step.prepare_output(model, make_copy=False, open_as_type=datamodels.QuadModel)
        assert type(other) is datamodels.QuadModel
        assert other.data is model.data


main(Path(sys.argv[1]))
