"""Parameters: which value wins, what is refused, and that nothing set is silently lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asdf
import pytest

from calservice.model.errors import ParameterError
from calservice.model.modes import PIPELINES
from calservice.plan.engines import native_steps, schemas_for
from calservice.plan.parameter_files import layer_from_file, read_parameters
from calservice.plan.parameters import Layer, Schemas, layer_of, parse_assignment, resolve, schema_of, unused

official = pytest.mark.official
DETECTOR1 = "calwebb_detector1"
MANUAL = """
steps:
- class: jwst.linearity.linearity_step.LinearityStep
  parameters:
    skip: true
"""


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    pytest.importorskip("jwst")
    return schemas_for(DETECTOR1, "NIRCAM")


def word(text: str) -> Layer:
    return layer_of(*parse_assignment(text), PIPELINES)


def asdf_file(path: Path, tree: dict[str, Any]) -> Path:
    asdf.AsdfFile(tree).write_to(path)
    return path


def step(name: str, **parameters: Any) -> dict[str, Any]:
    return {"class": f"jwst.{name}.{name.title()}Step", "name": name, "parameters": parameters}


@official
def test_default_then_crds_then_file_then_command_line(schemas: Schemas, tmp_path: Path) -> None:
    crds = Layer("CRDS pars-jumpstep x.asdf", {"rejection_threshold": 5.0, "min_jump_area": 6.0}, step="jump")
    pipe = Layer("CRDS pars-detector1pipeline y.asdf", {"steps": {"jump": {"min_jump_area": 7.0}}}, pipeline=DETECTOR1)
    tree = {
        "class": "jwst.pipeline.calwebb_detector1.Detector1Pipeline",
        "name": "x",
        "parameters": {},
        "steps": [step("jump", min_jump_area=8.0, maximum_cores="none", time_masked_after_shower=20.0)],
    }
    file = layer_from_file(str(asdf_file(tmp_path / "mine.asdf", tree)))
    line = word("--steps.jump.time_masked_after_shower=30")

    settings, problems, used = resolve(schemas, [crds, pipe, file, line])

    assert not problems
    jump = settings.step("jump")
    assert jump["rejection_threshold"] == 5.0
    assert jump["min_jump_area"] == 8.0
    assert jump["time_masked_after_shower"] == 30.0
    assert "expand_factor" not in jump  # the default; it is not repeated
    assert settings.origins["steps.jump.rejection_threshold"] == crds.origin
    assert settings.origins["steps.jump.min_jump_area"] == f"parameter file {tmp_path / 'mine.asdf'}"
    assert settings.origins["steps.jump.time_masked_after_shower"] == "command line"
    assert {index for index, _ in used} == {0, 1, 2, 3}
    only_crds, _, _ = resolve(schemas, [crds, pipe])
    assert only_crds.step("jump")["min_jump_area"] == 7.0
    assert resolve(schemas, [])[0].values == {}


@official
def test_the_manual_s_yaml_holds_for_every_pipeline_with_the_step(schemas: Schemas, tmp_path: Path) -> None:
    path = tmp_path / "skip.yaml"
    path.write_text(MANUAL)
    layer = layer_from_file(str(path))
    assert layer.pipeline is None
    settings, problems, used = resolve(schemas, [layer])
    assert not problems
    assert settings.values == {"steps": {"linearity": {"skip": True}}}
    assert settings.skipped == {"linearity"}
    assert used == {(0, "steps.linearity.skip")}
    image2 = schemas_for("calwebb_image2", "NIRCAM")
    assert resolve(image2, [layer]) == (type(settings)({}, {}), [], set())


@official
@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("--steps.jump.skip=True", ("steps", "jump", "skip"), True),
        ("--steps.jump.skip=false", ("steps", "jump", "skip"), False),
        ("--steps.jump.rejection_threshold=5", ("steps", "jump", "rejection_threshold"), 5.0),
        ("--steps.jump.max_jump_to_flag_neighbors='1e3'", ("steps", "jump", "max_jump_to_flag_neighbors"), 1000.0),
        ("--steps.ramp_fit.algorithm=LIKELY", ("steps", "ramp_fit", "algorithm"), "LIKELY"),
        ("--save_calibrated_ramp=true", ("save_calibrated_ramp",), True),
        (
            "--steps.dark_current.override_dark='my_dark.fits'",
            ("steps", "dark_current", "override_dark"),
            "my_dark.fits",
        ),
        (f"--{DETECTOR1}.steps.jump.skip=1", ("steps", "jump", "skip"), True),
        ("--steps.refpix.gaussmooth=none", ("steps", "refpix", "gaussmooth"), None),
    ],
)
def test_values_are_converted(schemas: Schemas, text: str, path: tuple[str, ...], value: Any) -> None:
    settings, problems, _ = resolve(schemas, [word(text)])
    assert not problems
    found: Any = settings.values
    for key in path:
        found = found[key]
    assert found == value
    assert type(found) is type(value)
    assert settings.origins == {".".join(path): "command line"}


@official
@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("--steps.jump.rejection_threshold=much", "jump: rejection_threshold='much': "),
        ("--steps.jump.skip=perhaps", "skip='perhaps': "),
        ("--steps.ramp_fit.algorithm=GUESS", "algorithm='GUESS': "),
        (
            "--steps.jump.rejection_treshold=4",
            "has no parameter 'rejection_treshold'. Did you mean 'rejection_threshold'?",
        ),
        (f"--{DETECTOR1}.steps.jumpp.skip=true", "calwebb_detector1 has no step 'jumpp'. Did you mean 'jump'?"),
        (f"--{DETECTOR1}.save_calibrated_rampp=1", "Did you mean 'save_calibrated_ramp'?"),
    ],
)
def test_what_does_not_fit_is_a_problem(schemas: Schemas, text: str, cause: str) -> None:
    settings, problems, used = resolve(schemas, [word(text)])
    (problem,) = problems
    assert str(problem).startswith("command line: ")
    assert cause in str(problem)
    assert not settings.origins
    assert used  # reported once, not once more as unused


@official
def test_what_no_pipeline_of_the_job_has_is_reported(schemas: Schemas, tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text("steps:\n- name: jump\n  parameters: {skip: true}\n- name: jmp\n  parameters: {skip: true}\n")
    layers = [
        word("--steps.jumpp.skip=true"),
        word("--save_rampp=true"),
        layer_from_file(str(path)),
        word("--calwebb_spec3.steps.extract_1d.skip=true"),
        word("--steps.jump.skip=true"),
    ]
    _, problems, used = resolve(schemas, layers)
    assert not problems
    reported = [str(p) for p in unused(layers, used, set(schemas.dotted()))]
    assert reported[0] == (
        "command line: --steps.jumpp.skip: any pipeline of this job has no such step or parameter. "
        "Did you mean 'steps.jump.skip'?"
    )
    assert reported[1].startswith("command line: --save_rampp: ")
    assert reported[2].startswith(f"parameter file {path}: --steps.jmp.skip: ")  # though the file's other entry is used
    assert reported[3].startswith("command line: --steps.extract_1d.skip: calwebb_spec3 has no such")
    assert len(reported) == 4


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("--calwebb_spec33.steps.extract_1d.skip=true", "Did you mean 'calwebb_spec3'?"),
        ("--steps.jump=true", "write --name=value or --steps.<step>.<name>=value"),
        ("--steps.jump.a.b=true", "write --name=value or --steps.<step>.<name>=value"),
        ("--steps.jump.skip", "'--steps.jump.skip' is not a parameter"),
        ("--=3", "is not a parameter"),
        ("--steps..skip=3", "is not a parameter"),
    ],
)
def test_assignments_that_are_none(text: str, cause: str) -> None:
    with pytest.raises(ParameterError) as caught:
        word(text)
    assert cause in str(caught.value)


@official
def test_a_step_s_own_file_holds_where_the_step_runs_and_where_it_runs_alone(tmp_path: Path, schemas: Schemas) -> None:
    tree = {"class": "jwst.jump.jump_step.JumpStep", "name": "jump", "parameters": {"rejection_threshold": 3.5}}
    layer = layer_from_file(str(asdf_file(tmp_path / "jump.asdf", tree)))
    assert resolve(schemas, [layer])[0].values == {"steps": {"jump": {"rejection_threshold": 3.5}}}
    alone, problems, used = resolve(schemas_for("jump", "NIRCAM"), [layer])
    assert alone.values == {"rejection_threshold": 3.5}
    assert not problems
    assert not unused([layer], used, set())


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("- a\n- b\n", "neither 'parameters' nor 'steps'"),
        ("just words", "neither 'parameters' nor 'steps'"),
        ("steps: [a", "not readable as YAML"),
        ("steps: {jump: {skip: true}}", "'steps' is not a list"),
        ("steps:\n- jump\n", "each entry under 'steps'"),
        ("steps:\n- parameters: {skip: true}\n", "without 'name'"),
        ("steps:\n- class: no.such.Thing\n  parameters: {skip: true}\n", "unknown 'class' 'no.such.Thing'"),
        ("steps:\n- name: jump\n  parameters: [skip]\n", "parameters of jump: names and values are expected"),
        ("parameters: 3\n", "parameters: names and values are expected"),
    ],
)
def test_parameter_files_that_are_none(tmp_path: Path, content: str, cause: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ParameterError) as caught:
        layer_from_file(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert cause in str(caught.value)
    for name in ("gone.yaml", "bad.asdf"):
        (tmp_path / "bad.asdf").write_bytes(b"not asdf")
        with pytest.raises(ParameterError, match=name):
            read_parameters(str(tmp_path / name))


def test_native_steps_check_by_themselves() -> None:
    schema = schema_of(native_steps()["saturation"])
    schemas = Schemas("saturation", schema)
    settings, problems, _ = resolve(schemas, [word("--n_pix_grow_sat=2"), word("--override_saturation=sat.fits")])
    assert not problems
    assert settings.values == {"n_pix_grow_sat": 2, "override_saturation": "sat.fits"}
    _, problems, _ = resolve(schemas, [Layer("command line", {"n_pix_grow_sat": "few", "grow": 1}, "saturation")])
    assert len(problems) == 2
    assert "n_pix_grow_sat='few'" in str(problems[0])
    assert "saturation has no parameter 'grow'" in str(problems[1])
