"""The same words given to ``strun`` and to ``calservice run``: same exit status, file names, HDUs, keywords, pixels."""

from __future__ import annotations

import getpass
import gzip
import json
import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import asdf
import pytest
from astropy.io import fits

from calservice.products.compare import compare_places
from calservice.products.manifest import Manifest
from calservice.report_compare import comparison_as_json
from calservice.simulate import simulate
from calservice.simulate.context import Rule, write_context

pytestmark = [pytest.mark.official, pytest.mark.xdist_group("like strun")]

HERE = Path(__file__).parent
OURS = (".manifest.json", ".log", "said.txt", ".pyc")
"""How the names of files end that are no products."""

HOOKS = """
def double(model):
    model.data = model.data * 2
    return model

def note(model):
    model.meta.target.proposer_name = "noted"

def both(results):
    first, second = results
    first.meta.target.catalog_name = "seen"
    return first, second

def opened(path):
    from stdatamodels.jwst.datamodels import RampModel
    model = RampModel(path)
    model.meta.observation.program_number = "12345"
    return model

def nothing_there(*args):
    from jwst.assign_wcs.util import NoDataOnDetectorError
    raise NoDataOnDetectorError("nothing is there")
"""

LINES = {
    # pipelines
    "a folder": ("calwebb_detector1 raw_uncal.fits --output_dir=calibrated", 0, 2),
    "a name": ("jwst.pipeline.Detector1Pipeline raw_uncal.fits --output_file=mine --save_calibrated_ramp true", 0, 3),
    "steps with names and folders": (
        "calwebb_detector1 raw_uncal.fits --output_dir=calibrated --steps.linearity.output_file=lin.fits"
        " --steps.linearity.output_dir=lins --steps.jump.save_results=true --steps.jump.output_dir=calibrated/jumps"
        " --steps.superbias.save_results=true --steps.superbias.suffix=bias --steps.ramp_fit.save_opt=yes",
        0,
        6,
    ),
    "skipped steps": (
        "calwebb_detector1 raw_uncal.fits --steps.linearity.skip=True --steps.ramp_fit.skip=true --suffix=mine",
        0,
        1,
    ),
    "an override": ("calwebb_detector1 raw_uncal.fits --steps.linearity.override_linearity='my_lin.fits'", 0, 2),
    "a parameter file, and more": ("mine.asdf raw_uncal.fits --steps.jump.rejection_threshold=6", 0, 2),
    "without CRDS": ("calwebb_detector1 raw_uncal.fits --disable-crds-steppars --output_dir=plain", 0, 2),
    "hooks": (
        "calwebb_detector1 raw_uncal.fits --pre_hooks='hooks.opened,' --post_hooks='hooks.note,'"
        " --steps.superbias.pre_hooks='hooks.note, echo {0}'"
        " --steps.linearity.post_hooks='hooks.double,' --steps.ramp_fit.post_hooks='hooks.both,'"
        " --steps.dark_current.save_results=1",
        0,
        4,
    ),
    "dark": ("calwebb_dark raw_uncal.fits", 0, 1),
    "image2 of an association": ("calwebb_image2 image2_asn.json --save_bsub=true", 0, 2),
    "image3 with the id of its association": ("calwebb_image3 image3_asn.json --steps.resample.pixfrac=0.9", 0, 4),
    # single steps
    "a native step": ("jwst.dq_init.DQInitStep raw_uncal.fits", 0, 1),
    "a native step with a name, a suffix and a format": (
        "dq_init raw_uncal.fits --output_file=mine.fits --suffix=flagged --output_ext=asdf",
        0,
        1,
    ),
    "an official step with a name": ("refpix raw_uncal.fits --output_file=mine", 0, 1),
    "a step in a folder of inputs": ("saturation raw_uncal.fits --input_dir=folder --skip=true", 0, 1),
    "two results and optional ones": ("ramp_fit mine_jump.fits --save_opt=true", 0, 3),
    "an unknown suffix": ("superbias strange.name-v2.fits", 0, 1),
    # failures
    "no science data in a native stage": ("calwebb_detector1 raw_uncal.fits --pre_hooks='hooks.nothing_there,'", 64, 0),
    "no science data in an official step": ("assign_wcs raw_rate.fits --pre_hooks='hooks.nothing_there,'", 64, 0),
    "no such file": ("linearity none.fits", 1, 0),
    "no such step": ("lineartiy raw_uncal.fits", 1, 0),
    "no such parameter": ("linearity raw_uncal.fits --treshold=3", 1, 0),
    "a wrong value": ("calwebb_detector1 raw_uncal.fits --steps.jump.rejection_threshold=many", 1, 0),
    "no ramp": ("linearity raw_rate.fits", 1, 0),
}


@dataclass
class Forks:
    """The process that runs the programs."""

    process: subprocess.Popen[str] = field(repr=False)
    inputs: Path

    def run(self, program: str, words: list[str], result: Path) -> tuple[int, dict[str, Path]]:
        """Run a program on a copy of the inputs; return its status, and the files that it wrote.

        The folder that it runs in is the same for all programs, since its name gets into products.
        """
        folder = result.parent / "work"
        shutil.copytree(self.inputs, folder)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        asked = {"program": program, "words": words, "folder": str(folder)}
        self._pipe(self.process.stdin).write(json.dumps(asked) + "\n")
        self._pipe(self.process.stdin).flush()
        status: int = json.loads(self._pipe(self.process.stdout).readline())["status"]
        written = [p for p in folder.rglob("*") if p.is_file() and before.get(p) != p.stat().st_mtime_ns]
        folder.rename(result)
        names = [path.relative_to(folder) for path in written if not path.name.endswith(OURS)]
        return status, {name.as_posix(): result / name for name in sorted(names)}

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Prepare inputs and start the process; its CRDS context sets parameters, too."""
    folder = tmp_path_factory.mktemp("program")
    program = simulate(folder, modes=("nircam-image",), exposures=2, groups=4, integrations=2, stars=20)
    context = _with_parameters(program.crds)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CRDS_", "STPIPE_"))}
    environment |= {"CRDS_PATH": str(program.crds), "CRDS_CONTEXT": context}
    with subprocess.Popen(
        [sys.executable, str(HERE / "forks.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        yield Forks(process, _inputs(program.data, program.crds, folder, process))


def _with_parameters(cache: Path) -> str:
    """Write a context that selects the references of the cache, and parameters for a step and a pipeline."""
    folder = cache / "references" / "jwst" / "nircam"
    trees = {
        "pars-jumpstep": ("jwst.jump.JumpStep", {"rejection_threshold": 5.0, "min_jump_to_flag_neighbors": 8.0}, {}),
        "pars-detector1pipeline": (
            "jwst.pipeline.Detector1Pipeline",
            {},
            {"jump": {"rejection_threshold": 4.5}, "ramp_fit": {"suppress_one_group": False}},
        ),
    }
    for kind, (path, parameters, steps) in trees.items():
        tree = {"class": path, "name": path.rpartition(".")[2], "parameters": parameters}
        if steps:
            tree["steps"] = [{"class": "", "name": name, "parameters": given} for name, given in steps.items()]
        asdf.AsdfFile(tree).write_to(folder / f"jwst_nircam_{kind}_0001.asdf")
    rules = [
        Rule(
            "nircam", path.name.split("_")[2], ("META.INSTRUMENT.NAME",), ("NIRCAM",), "2000-01-01T00:00:00", path.name
        )
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]
    return write_context(cache, rules)


def _inputs(data: Path, cache: Path, folder: Path, process: subprocess.Popen[str]) -> Path:
    """Lay out a folder with an exposure at several stages, associations, a parameter file, a reference and hooks."""
    place = folder / "inputs"
    (place / "folder").mkdir(parents=True)
    raws = sorted(data.glob("*_uncal.fits"))
    for name in ("raw_uncal.fits", "strange.name-v2.fits", "folder/raw_uncal.fits"):
        shutil.copy(raws[0], place / name)
    lines = [f"calwebb_detector1 {raw} --steps.jump.output_file=mine" for raw in map(str, raws)]
    made = Forks(process, place)
    for number, line in enumerate(lines):
        status, files = made.run("strun", shlex.split(line), folder / f"rate-{number}")
        assert status == 0
        rate = next(path for name, path in files.items() if name.endswith("_rate.fits"))
        shutil.copy(rate, place)
        if number == 0:
            shutil.copy(rate, place / "raw_rate.fits")
            shutil.copy(files["mine_jump.fits"], place)
        status, files = made.run("strun", ["calwebb_image2", str(rate)], folder / f"cal-{number}")
        shutil.copy(next(path for name, path in files.items() if name.endswith("_cal.fits")), place)
    for level in (2, 3):
        shutil.copy(min(data.glob(f"*_image{level}_*asn.json")), place / f"image{level}_asn.json")
    (linearity,) = (cache / "references" / "jwst" / "nircam").glob("jwst_nircam_linearity_*.fits")
    with fits.open(linearity) as hdus:
        hdus["COEFFS"].data[2] *= 1.5
        hdus.writeto(place / "my_lin.fits")
    jump = {"class": "jwst.jump.JumpStep", "name": "jump", "parameters": {"min_jump_to_flag_neighbors": 9.0}}
    own = {"save_calibrated_ramp": False, "output_file": "told.fits"}
    tree = {"class": "jwst.pipeline.Detector1Pipeline", "name": "mine", "parameters": own, "steps": [jump]}
    asdf.AsdfFile(tree).write_to(place / "mine.asdf")
    (place / "hooks.py").write_text(HOOKS)
    return place


@pytest.mark.parametrize(("line", "status", "number"), LINES.values(), ids=LINES.keys())
def test_the_same_words(forks: Forks, tmp_path: Path, line: str, status: int, number: int) -> None:
    words = shlex.split(line)
    ended, theirs = forks.run("strun", words, tmp_path / "strun")
    ours_ended, ours = forks.run("calservice", ["run", *words], tmp_path / "calservice")
    said = (tmp_path / "calservice" / "said.txt").read_text()
    assert ended == status or (ended, status) == (2, 1)  # 2: of argparse; the manual knows 1 for any error
    assert ours_ended == status, said
    assert sorted(ours) == sorted(theirs)
    products = {name for name in theirs if name.endswith((".fits", ".asdf", ".ecsv"))}
    assert len(products) >= number
    for name in sorted(theirs):
        found = compare_places(str(ours[name]), str(theirs[name]))
        assert found.same, json.dumps(comparison_as_json(found), indent=1)
    if status == 1:
        assert "Traceback" not in said


def test_parameters_are_saved_as_strun_saves_them(forks: Forks, tmp_path: Path) -> None:
    """From every origin: command line, file, CRDS (pipeline over step), default; and each program reads the other's."""
    from stpipe.config_parser import load_config_file

    words = shlex.split(
        "mine.asdf raw_uncal.fits --steps.jump.rejection_threshold=6 --steps.linearity.skip=true"
        " --steps.ramp_fit.save_opt=true --steps.superbias.pre_hooks='hooks.note, hooks.double'"
        " --steps.clean_flicker_noise.background_box_size=16,16 --save-parameters=saved.asdf"
    )
    saved = {}
    for program, first in (("strun", []), ("calservice", ["run"])):
        status, files = forks.run(program, [*first, *words], tmp_path / program)
        assert status == 0
        with asdf.open(files["saved.asdf"]) as file:
            saved[program] = {key: file[key] for key in ("class", "parameters", "steps", "meta")}
    ours, theirs = saved["calservice"], saved["strun"]
    assert ours["class"].rpartition(".")[2] == theirs["class"].rpartition(".")[2]
    assert ours["meta"].keys() == theirs["meta"].keys()
    of_the_run = {"output_file", "save_results", "input_dir"}  # strun saves what it made of them for itself
    assert {k for k, v in ours["parameters"].items() if theirs["parameters"][k] != v} == of_the_run
    assert ours["parameters"].keys() == theirs["parameters"].keys()
    assert _steps(ours) == _steps(theirs)
    told = _steps(ours)["jump"]
    assert (told["rejection_threshold"], told["min_jump_to_flag_neighbors"]) == (6.0, 9.0)
    assert _steps(ours)["ramp_fit"]["suppress_one_group"] is False

    read = load_config_file(str(tmp_path / "calservice" / "saved.asdf"))
    assert read["steps"]["jump"]["rejection_threshold"] == 6.0
    line = [str(tmp_path / "strun" / "saved.asdf"), "raw_uncal.fits", "--save-parameters=again.asdf"]
    _, files = forks.run("calservice", ["run", *line], tmp_path / "again")
    with asdf.open(files["again.asdf"]) as file:
        assert _steps(file) == _steps(theirs)


def _steps(tree: Any) -> dict[str, Any]:
    """Return the parameters of each step, but for the folder of inputs, which strun sets by itself."""
    return {s["name"]: {k: v for k, v in s["parameters"].items() if k != "input_dir"} for s in tree["steps"]}


def test_explain_tells_every_value_and_its_origin(forks: Forks, tmp_path: Path) -> None:
    words = ["run", "mine.asdf", "raw_uncal.fits", "--steps.ramp_fit.algorithm=LIKELY", "--explain"]
    status, files = forks.run("calservice", words, tmp_path / "said")
    assert (status, files) == (0, {})
    rows = dict(re.findall(r"^ {2}(\S+) = (.*)$", (tmp_path / "said" / "said.txt").read_text(), re.MULTILINE))
    assert rows["steps.ramp_fit.algorithm"] == "LIKELY  (command line)"
    assert rows["steps.jump.min_jump_to_flag_neighbors"] == "9.0  (parameter file mine.asdf)"
    assert rows["steps.jump.rejection_threshold"] == (
        "4.5  (CRDS pars-detector1pipeline jwst_nircam_pars-detector1pipeline_0001.asdf)"
    )
    assert rows["steps.jump.expand_factor"] == "2.0  (default)"
    assert rows["output_file"] == "told.fits  (parameter file mine.asdf)"
    forks.run("calservice", [*words, "--disable-crds-steppars"], tmp_path / "plain")
    assert "steps.jump.rejection_threshold = 4.0  (default)" in (tmp_path / "plain" / "said.txt").read_text()
    forks.run("calservice", ["run", "jump", "--explain", "--maximum_cores", "half"], tmp_path / "alone")
    assert "maximum_cores = half  (command line)" in (tmp_path / "alone" / "said.txt").read_text()


LAYOUT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) "
    r"\[exposure=raw(?: step=(?P<step>[\w+]+))?\] [\w.]+: .*"
)
CONFIGURATION = "[*]\nhandler = file:pipeline.log, append:more.log\nlevel = WARNING\n"


def test_logs_go_where_strun_sends_them(forks: Forks, tmp_path: Path) -> None:
    def run(name: str, *words: str) -> tuple[str, Path]:
        status, _ = forks.run("calservice", ["run", "refpix", "raw_uncal.fits", *words], tmp_path / name)
        said = (tmp_path / name / "said.txt").read_text()
        assert status == 0, said
        return said, tmp_path / name

    said, folder = run("plain")
    records = [LAYOUT.fullmatch(line) for line in said.splitlines() if "Z INFO [" in line]
    assert all(records)
    assert {record["step"] for record in records if record} == {None, "refpix"}
    assert [*folder.glob("*.log")] == [folder / "raw_refpix.log"]  # beside the product
    lines = (folder / "raw_refpix.log").read_text().splitlines()
    assert all(LAYOUT.fullmatch(line) for line in lines if not line.startswith("  "))  # records of several lines
    assert " DEBUG [" in run("verbose", "--verbose", "--log-file=mine.log")[0]
    assert " DEBUG [" in (tmp_path / "verbose" / "mine.log").read_text()
    assert " INFO [" not in run("quiet", "--log-level", "error")[0]
    assert " INFO [" not in run("nothing", "--log-stream=null")[0]

    (forks.inputs / "told.cfg").write_text(CONFIGURATION.replace("WARNING", "INFO"))
    said, folder = run("told", "--logcfg=told.cfg")
    assert " INFO [" not in said
    assert (folder / "pipeline.log").read_text() == (folder / "more.log").read_text() != ""
    try:
        (forks.inputs / "stpipe-log.cfg").write_text(CONFIGURATION)
        said, folder = run("found")
        assert " INFO [" not in said + (folder / "pipeline.log").read_text()
        assert " INFO [" in run("ignored", "--log-level=INFO")[0]
    finally:
        (forks.inputs / "stpipe-log.cfg").unlink()


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--log-level=loud", "loud: no such log level"),
        ("--log-stream=printer", "printer: no place for log records"),
        ("--logcfg=none.cfg", "none.cfg: no such file"),
        ("--logcfg=hooks.py", "hooks.py: cannot be read as a log configuration"),
        ("--log-file=none/x.log", "the log cannot be written: No such file or directory"),
    ],
)
def test_wrong_log_options(forks: Forks, tmp_path: Path, option: str, reason: str) -> None:
    status, files = forks.run("calservice", ["run", "dq_init", "raw_uncal.fits", option], tmp_path / "run")
    assert (status, files) == (1, {})
    assert reason in (tmp_path / "run" / "said.txt").read_text()


def test_a_step_s_own_folder(forks: Forks, tmp_path: Path) -> None:
    """The manual's examples; in this one pipeline the official package forgets the folder of this very step."""
    line = "calwebb_detector1 raw_uncal.fits --output_dir=calibrated --steps.dark_current.output_file='dark_sub.fits'"
    words = shlex.split(f"{line} --steps.dark_current.output_dir=dark_calibrated --steps.jump.output_file=intermediate")
    _, theirs = forks.run("strun", words, tmp_path / "strun")
    status, ours = forks.run("calservice", ["run", *words], tmp_path / "calservice")
    assert status == 0
    own = "dark_calibrated/dark_sub_dark_current.fits"
    assert "calibrated/intermediate_jump.fits" in ours
    assert {*ours} - {own} == {*theirs} - {"calibrated/dark_sub_dark_current.fits"}
    assert compare_places(str(ours[own]), str(theirs["calibrated/dark_sub_dark_current.fits"])).same
    manifest = Manifest.load(next((tmp_path / "calservice" / "calibrated").glob("*.manifest.json")).read_bytes())
    assert manifest is not None
    assert {Path(product.name).name for product in manifest.products} == {path.name for path in ours.values()}


def test_running_again_overwrites(forks: Forks, tmp_path: Path) -> None:
    stale = forks.inputs / "again_dqinitstep.fits"
    stale.write_bytes(b"not what it should be")
    try:
        words = ["run", "dq_init", "raw_uncal.fits", "--output_file=again"]
        _, files = forks.run("calservice", words, tmp_path / "run")
        assert fits.getval(files[stale.name], "S_DQINIT") == "COMPLETE"
    finally:
        stale.unlink()


def test_logs_in_products_are_those_of_the_official_package(forks: Forks, tmp_path: Path) -> None:
    """Every record, in its layout, and nothing of this machine."""
    from stdatamodels.jwst import datamodels

    words = ["refpix", "raw_uncal.fits", "--output_file=x"]
    logs = {}
    for program, first in (("strun", []), ("calservice", ["run", "--engine=jwst"])):
        _, files = forks.run(program, [*first, *words], tmp_path / program)
        with datamodels.open(str(files["x_refpixstep.fits"])) as model:
            logs[program] = [line.partition(" - ")[2] for line in model.cal_logs.refpix if " - jwst." in line]
    assert logs["calservice"] == logs["strun"]
    assert logs["strun"]

    words = ["calwebb_detector1", "raw_uncal.fits", "--output_file=x", "--steps.jump.save_results=true"]
    _, files = forks.run("calservice", ["run", *words], tmp_path / "pipeline")
    with datamodels.open(str(files["x_rate.fits"])) as model, datamodels.open(str(files["x_jump.fits"])) as early:
        whole, part = list(model.cal_logs.calwebb_detector1), list(early.cal_logs.calwebb_detector1)
    assert whole[: len(part)] == part
    assert len(whole) > len(part) > 0
    assert any("calservice.recipe" in line for line in part)
    assert not any(str(tmp_path) in line for line in whole)


@pytest.mark.parametrize(
    "message",
    [
        "reading /data/in/x_uncal.fits and out/y.fits",
        "host 192.168.3.4 answered",
        "at 12:00:03 version 3.0.0 of jwst",
        "fe80::1 and ::1",
        f"{getpass.getuser()}: hello",
        f"on {socket.gethostname()}",
    ],
)
def test_what_logs_in_products_leave_out(message: str) -> None:
    from jwst.stpipe._cal_logs import _LOG_FORMATTER

    from calservice.run.records import formatter

    record = logging.LogRecord("jwst.jump", logging.INFO, __file__, 1, message, (), None)
    assert formatter().format(record) == _LOG_FORMATTER.format(record)


def test_compressed_exposures_are_named_as_if_they_were_not(forks: Forks, tmp_path: Path) -> None:
    packed = forks.inputs / "packed_uncal.fits.gz"
    packed.write_bytes(gzip.compress((forks.inputs / "raw_uncal.fits").read_bytes(), 1))
    try:
        _, made = forks.run("calservice", ["run", "dq_init", packed.name], tmp_path / "packed")
        _, plain = forks.run("calservice", ["run", "dq_init", "raw_uncal.fits"], tmp_path / "plain")
        found = compare_places(str(made["packed_dqinitstep.fits"]), str(plain["raw_dqinitstep.fits"]))
        assert {k.name for file in found.files for hdu in file.hdus for k in hdu.keywords} == {"FILENAME"}
    finally:
        packed.unlink()
