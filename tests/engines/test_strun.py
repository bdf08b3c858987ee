"""Our steps as stpipe classes: every call of a notebook gives what it gives with the official class."""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import calservice.pipelines
import calservice.steps
from calservice.describe import find
from calservice.engines import official, strun
from calservice.model.errors import ParameterError, ReferenceFileError
from calservice.simulate import simulate
from calservice.steps.registry import NATIVE
from tests.engines.same import metadata, same_files, same_model
from tests.parity.synthetic import FULL, Case, flagged_ramps, ramp_model, raw_ramps, write_references

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("strun")]

ALIASES = tuple(NATIVE)
OF_MIRI = ("emicorr", "firstframe", "lastframe", "reset", "rscd")
MIRI = Case("MIRI", "MIRIMAGE", "MIR_IMAGE", seed=5)
SIZE = (40, 44)
SMALL: dict[str, Any] = {"exposures": 1, "integrations": 2, "groups": 4, "stars": 20}
HIDDEN = Path(__file__).with_name("without_jwst.py")


def theirs(alias: str) -> Any:
    """Return the official class."""
    module, name = NATIVE[alias].official.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def ours(alias: str) -> Any:
    """Return our class, as a notebook gets it."""
    return getattr(calservice.steps, theirs(alias).__name__)


def both(alias: str) -> tuple[Any, Any]:
    return ours(alias), theirs(alias)


@pytest.fixture(scope="module", autouse=True)
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Simulate an exposure; its references are those that CRDS gives meanwhile."""
    from crds.core import utils

    made = simulate(tmp_path_factory.mktemp("program"), modes=["nircam-image"], **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRDS_PATH", str(made.crds))
        patch.setenv("CRDS_CONTEXT", made.context)
        patch.delenv("CRDS_SERVER_URL", raising=False)
        utils.clear_function_caches()
        gc.freeze()  # stpipe collects garbage before every step, through all that is imported
        yield made.folder
        gc.unfreeze()
    utils.clear_function_caches()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return parameters of steps that are off by default, or whose references CRDS does not give here."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("references")
    paths = write_references(folder, MIRI, size=SIZE, kinds=["reset", "rscd", "ipc", "gain", "readnoise", "emicorr"])
    fits.setval(paths["gain"], "GAINFACT", value=1.5)
    found: dict[str, dict[str, Any]] = {alias: {} for alias in ALIASES}
    for alias in ("emicorr", "ipc", "reset", "rscd", "gain_scale", "guider_cds"):
        found[alias] = {f"override_{need.reftype}": str(paths[need.reftype]) for need in NATIVE[alias].references}
    found["emicorr"]["skip"] = False
    found["persistence"] = {"skip": False, "persistence_time": 30}
    return found | {"firstframe": {"skip": False}, "charge_migration": {"skip": False}}


@pytest.fixture(scope="module")
def inputs(program: Path, told: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return for each step an exposure that has come through the official steps before it."""
    from astropy.io import fits

    folder = tmp_path_factory.mktemp("inputs")
    (path,) = (program / "data").glob("*_nrcblong_uncal.fits")
    base = path.name.removesuffix("_uncal.fits")
    found = {"group_scale": folder / path.name, "dq_init": path}
    shutil.copy(path, found["group_scale"])
    fits.setval(found["group_scale"], "FRMDIVSR", value=4)
    model: Any = str(path)
    for alias, following in itertools.pairwise(a for a in ALIASES[1:] if a not in (*OF_MIRI, "guider_cds")):
        model = theirs(alias).call(model, **told[alias])
        model = model[0] if isinstance(model, tuple) else model
        found[following] = folder / f"{base}_{alias}.fits"
        model.save(str(found[following]))
    return found | _other_inputs(folder)


def _other_inputs(folder: Path) -> dict[str, Path]:
    """Write a flagged ramp of MIRI, and a guide star."""
    case = replace(MIRI, shape=(2, 6, *SIZE))
    model = exposure(case, raw_ramps(case) | {"groupdq": flagged_ramps(case)["groupdq"]})
    model.save(str(folder / "synthetic_saturation.fits"))
    guide_star(SIZE).save(str(folder / "guider_uncal.fits"))
    return dict.fromkeys(OF_MIRI, folder / "synthetic_saturation.fits") | {"guider_cds": folder / "guider_uncal.fits"}


def guide_star(size: tuple[int, int]) -> Any:
    from stdatamodels.jwst import datamodels

    case = Case("FGS", "GUIDER1", "FGS_ID-STACK", shape=(2, 6, *size))
    model = datamodels.GuiderRawModel(data=raw_ramps(case)["data"])
    model.update(ramp_model(case, raw_ramps(case)))
    return model


def opened(path: Path) -> Any:
    """Open an exposure as the step takes it."""
    from stdatamodels.jwst import datamodels

    kinds = {"_ramp_fit.fits": datamodels.ImageModel, "guider_uncal.fits": datamodels.GuiderRawModel}
    return next((k for ending, k in kinds.items() if path.name.endswith(ending)), datamodels.RampModel)(str(path))


@pytest.fixture(scope="module")
def expected(inputs: dict[str, Path], told: dict[str, dict[str, Any]]) -> Callable[[str], Any]:
    """Return what the official class makes of the input of each step."""
    return cache(lambda alias: theirs(alias).call(str(inputs[alias]), **told[alias]))


def of_a_model(cls: Any, path: Path, told: dict[str, Any]) -> Any:
    """Call with a model, which stays as it is."""
    model, before = opened(path), opened(path)
    result = cls.call(model, **told)
    assert result is not model
    same_model(model, before)
    return result


def by_instance(cls: Any, path: Path, told: dict[str, Any]) -> Any:
    step = cls(name="mine", **told)
    step.save_results = False
    return step.run(opened(path))


CALLS: dict[str, Callable[[Any, Path, dict[str, Any]], Any]] = {
    "model": of_a_model,
    "instance": by_instance,
}


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("call", CALLS)
def test_results(
    alias: str, call: str, inputs: dict[str, Path], told: dict[str, dict[str, Any]], expected: Callable[[str], Any]
) -> None:
    same_model(CALLS[call](ours(alias), inputs[alias], told[alias]), expected(alias))


@pytest.fixture(scope="module")
def official_files(
    inputs: dict[str, Path], told: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return for each step the folder of what the official class saves."""
    folders = {alias: tmp_path_factory.mktemp(alias) for alias in ALIASES}
    for alias, folder in folders.items():
        theirs(alias).call(str(inputs[alias]), save_results=True, output_dir=str(folder), **told[alias])
    return folders


@pytest.mark.parametrize("alias", ALIASES)
def test_saved_files(
    alias: str,
    inputs: dict[str, Path],
    told: dict[str, dict[str, Any]],
    official_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    ours(alias).call(inputs[alias], save_results=True, output_dir=str(tmp_path), **told[alias])
    assert same_files(tmp_path, official_files[alias])


def test_told_names(inputs: dict[str, Path], tmp_path: Path) -> None:
    for folder, cls in zip(("ours", "theirs"), both("linearity"), strict=True):
        where = str(tmp_path / folder)
        cls.call(str(inputs["linearity"]), output_file="given_rate.fits", suffix="told", output_dir=where)
    assert same_files(tmp_path / "ours", tmp_path / "theirs") == ["given_told.fits"]


CASES = {
    "saturation": {"n_pix_grow_sat": 0, "use_readpatt": False},
    "dark_current": {"average_dark_current": 0.25},
    "ramp_fit": {"firstgroup": 1, "lastgroup": 2, "suppress_one_group": False, "maximum_cores": "half"},
}


@pytest.mark.parametrize("alias", CASES)
def test_parameters(alias: str, inputs: dict[str, Path]) -> None:
    given = CASES[alias]
    one_core = {"maximum_cores": "1"} if "maximum_cores" in given else {}  # the official step starts processes
    official_result = theirs(alias).call(str(inputs[alias]), **(given | one_core))
    same_model(ours(alias).call(str(inputs[alias]), **given), official_result)
    step = ours(alias)()
    for name, value in given.items():
        setattr(step, name, value)
    same_model(step.run(str(inputs[alias])), official_result)


SUBARRAY = Case(shape=(1, 4, 17, 23), start=(9, 12), zeroframe=True)


OTHERWISE = (*OF_MIRI, "gain_scale", "guider_cds", "picture_frame", "clean_flicker_noise")
"""Steps that take something else than any ramp."""
UNABLE = ("jump", "ramp_fit")
"""Steps that fail without references."""


def exposure(case: Case, arrays: dict[str, Any]) -> Any:
    """Return a ramp with the keywords that steps ask for."""
    model = ramp_model(case, arrays)
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = -1, 2
    if case.instrument == "MIRI":
        model.meta.exposure.readpatt, model.meta.subarray.name = "FASTR1", "FULL"
        model.meta.exposure.nsamples = 1
    return model


@pytest.mark.parametrize(
    ("alias", "case"),
    [
        *((a, Case(zeroframe=True)) for a in ALIASES if a not in OTHERWISE),
        *((a, MIRI) for a in OF_MIRI),
        ("dark_current", MIRI),
        ("ramp_fit", MIRI),
        ("linearity", SUBARRAY),
    ],
)
def test_overrides(alias: str, case: Case, tmp_path: Path) -> None:
    from stdatamodels.jwst import datamodels

    arrays = flagged_ramps(case) if alias == "ramp_fit" else raw_ramps(case)
    kinds = [n.reftype for n in NATIVE[alias].references]
    paths = write_references(tmp_path, case, kinds=kinds, dark_ints=2 if case is MIRI else 0)
    told = {"skip": False} if alias == "emicorr" else {}
    as_paths = {f"override_{kind}": str(path) for kind, path in paths.items()} | told
    results = [cls.call(exposure(case, arrays), **as_paths) for cls in both(alias)]
    same_model(*results)
    recorded = metadata(results[0][0] if isinstance(results[0], tuple) else results[0])
    assert {recorded[f"meta.ref_file.{kind}.name"] for kind in paths} == {str(path) for path in paths.values()}
    results = []
    for cls in both(alias):
        as_models = {f"override_{kind}": datamodels.open(str(path)) for kind, path in paths.items()}
        results.append(cls.call(exposure(case, arrays), **as_models, **told))
    same_model(*results)


@pytest.mark.parametrize("alias", [a for a in ALIASES if a not in (*OTHERWISE, *UNABLE) and NATIVE[a].references])
def test_nothing_applies(alias: str, tmp_path: Path) -> None:
    case = Case()
    none = {f"override_{need.reftype}": "N/A" for need in NATIVE[alias].references}
    results = [cls.call(exposure(case, raw_ramps(case)), **none) for cls in both(alias)]
    same_model(*results)
    expected = "SKIPPED" if any(not need.optional for need in NATIVE[alias].references) else "COMPLETE"
    assert getattr(results[0].meta.cal_step, NATIVE[alias].cal_step) == expected


def test_ramps_cannot_be_fitted_without_a_gain(inputs: dict[str, Path]) -> None:
    with pytest.raises(ReferenceFileError, match=r"ramp_fit: it cannot do without .* gain"):
        ours("ramp_fit").call(str(inputs["ramp_fit"]), override_gain="N/A")


def test_a_dark_that_does_not_fit_still_tells_its_current(tmp_path: Path) -> None:
    case = Case()
    paths = write_references(tmp_path, case, kinds=["dark"], dark_readout=(4, 1, 12), dark_rate=0.5)
    call = {"override_dark": str(paths["dark"])}
    results = [cls.call(ramp_model(case, raw_ramps(case)), **call) for cls in both("dark_current")]
    same_model(*results)
    assert results[0].meta.cal_step.dark_sub == "SKIPPED"
    assert np.all(results[0].average_dark_current == np.float32(0.5))


def test_saturated_throughout(inputs: dict[str, Path]) -> None:
    model = opened(inputs["ramp_fit"])
    model.groupdq[:] = 2
    assert ours("ramp_fit").call(model) == theirs("ramp_fit").call(model) == (None, None)


def test_guide_stars(tmp_path: Path) -> None:
    (mask,) = write_references(tmp_path, Case("FGS"), kinds=["mask"]).values()
    model = guide_star(FULL)
    model.save(str(tmp_path / "guider_uncal.fits"))
    for source in (str(tmp_path / "guider_uncal.fits"), model):
        same_model(*(cls.call(source, override_mask=str(mask)) for cls in both("dq_init")))


def test_integral_fields(tmp_path: Path) -> None:
    case = Case("NIRSPEC", "NRS1", "NRS_IFU")
    paths = write_references(tmp_path, case, kinds=["gain", "readnoise"])
    call = {f"override_{kind}": str(path) for kind, path in paths.items()}
    results = [cls.call(ramp_model(case, flagged_ramps(case)), **call) for cls in both("ramp_fit")]
    same_model(*results)
    assert type(results[0][0]).__name__ == "IFUImageModel"


def test_flags_of_a_user(inputs: dict[str, Path], tmp_path: Path) -> None:
    from astropy.io import fits

    shape = opened(inputs["dq_init"]).data.shape[-2:]
    fits.writeto(tmp_path / "flags.fits", np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape))
    fits.writeto(tmp_path / "small.fits", np.zeros((3, 3), np.int32))
    good, bad = ({"user_supplied_dq": str(tmp_path / name)} for name in ("flags.fits", "small.fits"))
    same_model(*(cls.call(str(inputs["dq_init"]), **good) for cls in both("dq_init")))
    for cls in both("dq_init"):
        with pytest.raises((ValueError, ParameterError), match="shape"):
            cls.call(str(inputs["dq_init"]), **bad)


OFFICIAL_ONLY = {
    "clipping": ("jump", {"find_showers": True, "minimum_sigclip_groups": 2, "save_results": True}),
}


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("name", OFFICIAL_ONLY)
def test_what_only_the_official_step_does(name: str, tmp_path: Path) -> None:
    """It takes over with the parameters, overrides and names of ours, from a path and from a model."""
    alias, parameters = OFFICIAL_ONLY[name]
    case = Case()
    arrays = flagged_ramps(case) if alias == "ramp_fit" else raw_ramps(case)
    paths = write_references(tmp_path, case, kinds=[n.reftype for n in NATIVE[alias].references])
    parameters = parameters | {f"override_{kind}": str(path) for kind, path in paths.items()}
    ramp_model(case, arrays).save(str(tmp_path / "synthetic_uncal.fits"))
    for source in (str(tmp_path / "synthetic_uncal.fits"), ramp_model(case, arrays)):
        results = []
        for folder, cls in (("ours", ours(alias)), ("theirs", theirs(alias))):
            results.append(cls.call(source, output_dir=str(tmp_path / folder), **parameters))
        same_model(*results)
        same_files(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.parametrize("wrong", [{"no_such": 1}, {"skip": "perhaps"}, {"override_dark": 3}])
def test_wrong_parameters(wrong: dict[str, Any], inputs: dict[str, Path]) -> None:
    raised = []
    for cls in both("dark_current"):
        with pytest.raises(Exception, match=r".") as caught:
            cls.call(str(inputs["dark_current"]), **wrong)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_wrong_values_set_later(inputs: dict[str, Path]) -> None:
    step = ours("saturation")()
    step.n_pix_grow_sat = "many"
    with pytest.raises(ParameterError, match="saturation: n_pix_grow_sat='many'"):
        step.process(str(inputs["saturation"]))


@pytest.mark.parametrize("alias", ALIASES)
def test_declarations(alias: str) -> None:
    """Same names, types and defaults; where the official class gives a meaning, ours begins with it."""
    mine, other = ours(alias).load_spec_file(), theirs(alias).load_spec_file()
    meaning = [{k: (s.inline_comments.get(k) or "").lstrip("# ").strip() for k in s.scalars} for s in (mine, other)]
    plain = [{k: "".join(str(s[k]).split()).replace('"', "'") for k in s.scalars} for s in (mine, other)]
    assert plain[0] == plain[1]
    assert all(meaning[0][name].startswith(text) for name, text in meaning[1].items())
    assert ours(alias).reference_file_types == theirs(alias).reference_file_types
    assert ours(alias).class_alias == theirs(alias).class_alias
    assert ours(alias).get_config_reftype() == theirs(alias).get_config_reftype()
    assert ours(alias)().get_pars() == theirs(alias)().get_pars()


def test_classes_are_importable_once() -> None:
    from jwst.step import AssignWcsStep as OfficialStep

    from calservice.steps import AssignWcsStep, LinearityStep

    assert AssignWcsStep is OfficialStep
    assert pickle.loads(pickle.dumps(LinearityStep)) is LinearityStep
    assert {"LinearityStep", "AssignWcsStep", "Extract1dStep"} <= set(dir(calservice.steps))
    assert set(calservice.pipelines.__all__) <= set(dir(calservice.pipelines))
    for name in ("NoSuchStep", "nothing"):
        with pytest.raises(AttributeError):
            getattr(calservice.steps, name)
    with pytest.raises(AttributeError):
        _ = calservice.pipelines.NoSuchPipeline


def test_all_official_pipelines_are_here() -> None:
    import jwst.pipeline

    assert set(calservice.pipelines.__all__) == set(jwst.pipeline.__all__)
    for name in jwst.pipeline.__all__:
        mine, other = getattr(calservice.pipelines, name), getattr(jwst.pipeline, name)
        assert issubclass(mine, other)
        expected = {
            key: strun.step_class(c.class_alias) if c.class_alias in NATIVE else c for key, c in other.step_defs.items()
        }
        assert mine.step_defs == expected
        assert (mine is other) == (expected == other.step_defs)


def test_names_for_the_command_line() -> None:
    assert find("calservice.pipelines.Detector1Pipeline") == "calwebb_detector1"
    assert find("calservice.steps.LinearityStep") == "linearity"
    from stpipe import entry_points

    registered = {info.class_name: info for info in entry_points.get_steps()}
    aliases = [info.class_alias for info in registered.values() if info.class_alias]
    assert len(aliases) == len(set(aliases))
    for path, _, is_pipeline in strun.get_steps():
        assert registered[path].package_name == "calservice"
        assert registered[path].is_pipeline == is_pipeline
        module, name = path.rsplit(".", 1)
        assert getattr(importlib.import_module(module), name).__name__ == name


STEPS = {
    "jump": {"rejection_threshold": 5.0},
    "ramp_fit": {"suppress_one_group": False},
    "superbias": {"skip": True},
    "linearity": {"save_results": True},
}
OPTIONS = {"steps": STEPS, "save_calibrated_ramp": True, "save_results": True}


def in_a_process(*command: str, cwd: Path) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def official_products(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the official pipeline makes of the exposure with `OPTIONS`."""
    import jwst.pipeline

    folder = tmp_path_factory.mktemp("official")
    (path,) = (program / "data").glob("*_uncal.fits")
    jwst.pipeline.Detector1Pipeline.call(str(path), output_dir=str(folder), **OPTIONS)
    return folder


def test_detector1(program: Path, official_products: Path, tmp_path: Path) -> None:
    from calservice.pipelines import Detector1Pipeline

    (path,) = (program / "data").glob("*_uncal.fits")
    result = Detector1Pipeline.call(str(path), output_dir=str(tmp_path), **OPTIONS)
    assert type(result).__name__ == "ImageModel"
    assert result.meta.cal_step.superbias == "SKIPPED"
    assert result.meta.cal_step.ramp_fit == "COMPLETE"
    assert len(same_files(tmp_path, official_products)) == 4


def test_dark(program: Path) -> None:
    import jwst.pipeline

    (path,) = (program / "data").glob("*_uncal.fits")
    same_model(*(module.DarkPipeline().run(opened(path)) for module in (calservice.pipelines, jwst.pipeline)))


def test_plain_strun(program: Path, official_products: Path, tmp_path: Path) -> None:
    binary = Path(sys.executable).with_name("strun")
    (path,) = (program / "data").glob("*_uncal.fits")
    words = [f"--steps.{step}.{name}={value}" for step, given in STEPS.items() for name, value in given.items()]
    words += ["--save_calibrated_ramp=true", f"--output_dir={tmp_path}"]
    in_a_process(str(binary), "calservice.pipelines.Detector1Pipeline", str(path), *words, cwd=tmp_path)
    assert len(same_files(tmp_path, official_products)) == 4


def test_strun_of_a_step(inputs: dict[str, Path], tmp_path: Path) -> None:
    from stpipe import Step

    for folder, cls in (("ours", "calservice.steps.SaturationStep"), ("theirs", "jwst.step.SaturationStep")):
        Step.from_cmdline([cls, str(inputs["saturation"]), "--n_pix_grow_sat=2", f"--output_dir={tmp_path / folder}"])
    assert same_files(tmp_path / "ours", tmp_path / "theirs")


def test_parameter_files(program: Path, inputs: dict[str, Path], tmp_path: Path) -> None:
    """Files that name the official class configure ours, and the other way round."""
    import jwst.pipeline

    from calservice.pipelines import Detector1Pipeline

    jwst.pipeline.Detector1Pipeline(steps={"jump": {"rejection_threshold": 7.5}}).export_config(tmp_path / "d1.asdf")
    theirs("saturation")(n_pix_grow_sat=3).export_config(tmp_path / "saturation.asdf")
    step = ours("saturation").from_config_file(str(tmp_path / "saturation.asdf"))
    assert step.n_pix_grow_sat == 3
    expected = theirs("saturation").call(str(inputs["saturation"]), config_file=str(tmp_path / "saturation.asdf"))
    given = ours("saturation").call(str(inputs["saturation"]), config_file=str(tmp_path / "saturation.asdf"))
    same_model(given, expected)
    assert Detector1Pipeline.from_config_file(str(tmp_path / "d1.asdf")).jump.rejection_threshold == 7.5
    ours("saturation")(n_pix_grow_sat=2).export_config(tmp_path / "ours.asdf")
    assert type(ours("saturation").from_config_file(str(tmp_path / "ours.asdf"))) is ours("saturation")


def test_logs_in_products(inputs: dict[str, Path], tmp_path: Path) -> None:
    ours("linearity").call(str(inputs["linearity"]), output_file="x", output_dir=str(tmp_path))
    from stdatamodels.jwst import datamodels

    with datamodels.open(str(tmp_path / "x_linearitystep.fits")) as model:
        assert any("Using LINEARITY reference file" in line for line in model.cal_logs.linearity)


def test_logcfg(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The manual's keyword: where the log of a call goes, and from which level on."""
    (tmp_path / "told.cfg").write_text(f"[*]\nhandler = file:{tmp_path / 'pipeline.log'}\nlevel = INFO\n")
    ours("linearity").call(str(inputs["linearity"]), logcfg=str(tmp_path / "told.cfg"))
    said = (tmp_path / "pipeline.log").read_text()
    assert "calservice.steps - INFO - Using LINEARITY reference file" in said
    assert "stpipe.step - INFO - Step LinearityStep done" in said


def test_without_the_official_package(
    inputs: dict[str, Path], told: dict[str, dict[str, Any]], official_files: dict[str, Path], tmp_path: Path
) -> None:
    """Single steps work over stdatamodels alone: same arrays, metadata and names."""
    paths = {alias: str(path) for alias, path in inputs.items()}
    request = {"inputs": paths, "told": told, "folder": str(tmp_path)}
    (tmp_path / "request.json").write_text(json.dumps(request))
    said = in_a_process(sys.executable, str(HIDDEN), str(tmp_path / "request.json"), cwd=tmp_path)
    assert "all was as expected" in said
    for alias, folder in official_files.items():
        assert same_files(tmp_path / alias, folder)


def test_the_catalog_knows_the_same_classes() -> None:
    assert {e.class_name for e in official.catalog().entries.values() if e.class_name.endswith("Pipeline")} == set(
        calservice.pipelines.__all__
    )
