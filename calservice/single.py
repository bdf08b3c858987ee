"""``calservice run``: one pipeline or step on one exposure or association, told what to do as ``strun`` is."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from calservice import describe, report
from calservice.model.errors import ParameterError, Problems, TransientError
from calservice.model.outcome import Job, Outcome, exit_status
from calservice.model.plan import Plan, Stage
from calservice.plan.build import make_single_plan
from calservice.plan.engines import EngineName
from calservice.plan.explain import DEFAULT, effective
from calservice.plan.parameter_files import layer_from_file, read_parameters, write_parameters
from calservice.plan.parameters import Layer, layer_of
from calservice.plan.request import Request
from calservice.products.store import Store
from calservice.run.logs import LogOptions
from calservice.run.stage import Failure, run_stage

__all__ = ["Options", "explain", "make_plan", "run", "run_both"]


@dataclass(frozen=True)
class Options:
    """What a run is told besides its parameters.

    Attributes
    ----------
    engine : str
        ``auto``, ``native`` or ``jwst``.
    context : str or None
        CRDS context; None takes the default.
    param_files : tuple of str
        Parameter files, lowest precedence first.
    threads : int
        Threads of the kernels.
    save_parameters : str or None
        File that the effective parameters are written to, in ASDF.
    disable_crds_steppars : bool
        Take no parameters from CRDS.
    debug : bool
        Enter the Python debugger where a step fails.
    log : LogOptions
        Where the log goes.
    """

    engine: EngineName = "auto"
    context: str | None = None
    param_files: tuple[str, ...] = ()
    threads: int = 1
    save_parameters: str | None = None
    disable_crds_steppars: bool = False
    debug: bool = False
    log: LogOptions = field(default_factory=LogOptions)


def run(name: str, words: Sequence[str], options: Options, console: Console) -> int:
    """Run one pipeline or step and return the exit status of ``strun``: 0, 1, or 64 for no science data.

    Parameters
    ----------
    name : str
        Alias, class or parameter file.
    words : sequence of str
        What follows it on the command line: the input, and parameters as ``--name=value`` or ``--name value``.
    options : Options
        What else it is told.
    console : rich.console.Console
        Where results are told.

    Raises
    ------
    CalserviceError
        Where it cannot start; `Problems` with everything found wrong.
    """
    plan = make_plan(name, words, options)
    if plan is None:
        return 0
    if options.save_parameters:
        write_parameters(options.save_parameters, next(iter(plan)).pipeline, effective(next(iter(plan))))
    return _told(plan, options, console)


def run_both(
    name: str, words: Sequence[str], options: Options, engines: tuple[EngineName, EngineName], console: Console
) -> int:
    """Run one pipeline or step by two engines, in folders named after them, and compare the products.

    Parameters
    ----------
    name, words, options, console
        As for `run`; the engine of the options is not used.
    engines : tuple of str
        The engines, in the order in which they are run and compared.

    Returns
    -------
    int
        0 where both made their products and these are the same, else 1.

    Raises
    ------
    CalserviceError
        Where one of them cannot start.
    """
    from calservice.service.comparison import compare_engines

    asked = _Asked(name, words, options)
    output = asked.output

    def begin(engine: EngineName, place: str) -> Callable[[], int]:
        asked.output = place
        plan = _plan_of(asked, replace(options, engine=engine))
        return lambda: _told(plan, options, console)

    return compare_engines(engines, output, begin, console)


def _told(plan: Plan, options: Options, console: Console) -> int:
    outcomes = _run_here(plan, options)
    report.print_outcomes(plan, outcomes, console)
    return exit_status(outcomes)


def explain(name: str, words: Sequence[str], options: Options, console: Console) -> None:
    """Print every effective parameter with where it came from, and run nothing.

    Parameters are as for `run`. Without an input, CRDS cannot be asked for parameters.
    """
    asked = _Asked(name, words, options)
    if asked.target is None:
        console.print("without an input, CRDS sets no parameters", style="yellow")
    for stage in _plan_of(asked, options) if asked.target is not None else [_stage_without_input(asked)]:
        console.print(f"[bold]{escape(stage.id)}[/]", soft_wrap=True)
        rows = effective(stage)
        for row in rows:
            text = f"{row.dotted} = {describe.shown_value(row.value)}  ({row.origin})"
            console.print(f"  {escape(text)}", style=None if row.origin == DEFAULT else "bold", soft_wrap=True)
        console.print(f"{sum(row.origin != DEFAULT for row in rows)} of {len(rows)} parameters are set")


class _Asked:
    """A command line of ``run``, taken apart."""

    def __init__(self, name: str, words: Sequence[str], options: Options) -> None:
        self.layers: list[Layer] = []
        if name.endswith(describe.PARAMETER_FILES):
            self.layers.append(layer_from_file(name))
            name = read_parameters(name).class_name
        self.alias = describe.find(name)
        self.layers += [layer_from_file(path) for path in options.param_files]
        told, self.target = _parted(words, self.alias)
        files = [layer for path, value in told if path[-1] == "config_file" for layer in [self._step_file(path, value)]]
        self.layers += files
        for path, value in told:
            if path[-1] != "config_file":
                self.layers.append(replace(layer_of(path, value, ()), pipeline=self.alias))
        folder = self._last("input_dir")
        if folder and self.target and os.path.dirname(self.target) == "":
            self.target = os.path.join(folder, self.target)
        self.output = self._last("output_dir") or "."

    def _step_file(self, path: Sequence[str], value: str) -> Layer:
        """Return the parameters of one step that ``--steps.<step>.config_file`` names."""
        read = read_parameters(value)
        values = {"steps": {path[1]: read.values}} if len(path) == 3 else read.values
        return Layer(f"parameter file {value}", values, self.alias)

    def _last(self, name: str) -> str | None:
        found = [layer.values[name] for layer in self.layers if layer.step is None and layer.values.get(name)]
        return os.path.expandvars(os.path.expanduser(str(found[-1]))) if found else None


def _parted(words: Sequence[str], alias: str) -> tuple[list[tuple[list[str], str]], str | None]:
    """Return the parameters on a command line as paths and values, and the input among them."""
    known = describe.assignments(alias)
    told: list[tuple[list[str], str]] = []
    target: str | None = None
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            if target is not None:
                raise ParameterError(f"{word}: one input at a time; {target} is named already")
            target = word
            continue
        name, equals, value = word[2:].partition("=")
        if name not in known and name.rpartition(".")[2] != "config_file":
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            hint = f" Did you mean {' or '.join(f'--{n}' for n in near)}?" if near else ""
            raise ParameterError(f"--{name}: {alias} has no such parameter.{hint} -h lists them.")
        if not equals and (not rest or rest[0].startswith("--")):
            raise ParameterError(f"--{name}: a value is missing; write --{name}=VALUE")
        told.append((name.split("."), (value if equals else rest.pop(0)).strip("'\"")))
    return told, target


def make_plan(name: str, words: Sequence[str], options: Options) -> Plan | None:
    """Return the plan of one pipeline or step; None where there was nothing to do but to save parameters.

    Parameters
    ----------
    name, words, options
        As for `run`.

    Raises
    ------
    CalserviceError
        Where it cannot run; `Problems` with everything found wrong.
    """
    asked = _Asked(name, words, options)
    if asked.target is None and options.save_parameters:
        stage = _stage_without_input(asked)
        write_parameters(options.save_parameters, stage.pipeline, effective(stage))
        return None
    return _plan_of(asked, options)


def _plan_of(asked: _Asked, options: Options) -> Plan:
    if asked.target is None:
        raise ParameterError(f"name the exposure or association that {asked.alias} is to run on; -h lists more")
    request = Request(
        (asked.target,),
        output=asked.output,
        engine=options.engine,
        context=options.context,
        layers=tuple(asked.layers),
        force=True,
        crds_parameters=not options.disable_crds_steppars,
    )
    plan = make_single_plan(asked.alias, asked.target, request)
    if plan.problems:
        raise Problems(plan.problems)
    return plan


def _stage_without_input(asked: _Asked) -> Stage:
    """Return what the pipeline or step would be told, whatever its input."""
    from calservice.plan.engines import schemas_for
    from calservice.plan.parameters import resolve

    settings, problems, _ = resolve(schemas_for(asked.alias, ""), asked.layers)
    if problems:
        raise Problems(problems)
    return Stage(asked.alias, asked.alias, 0, "", (), parameters=settings.values, origins=settings.origins)


def _run_here(plan: Plan, options: Options) -> list[Outcome]:
    """Run the stages in this process, with the log where ``strun`` has it."""
    handlers = options.log.handlers()
    store = Store(plan.output)
    place = store.root if store.local else store.url
    job = Job(
        "run",
        place,
        plan.context,
        plan.cache,
        threads=options.threads,
        log_level=options.log.kept,
        debug=options.debug,
    )
    outcomes = []
    try:
        for stage in plan:
            with tempfile.TemporaryDirectory(prefix="calservice-run-") as folder:
                result = run_stage(stage, job, Path(folder, "0"), {}, handlers)
            if isinstance(result, Failure):
                raise TransientError(result.message)
            outcomes.append(result)
    finally:
        for handler in handlers:
            handler.close()
    return outcomes
