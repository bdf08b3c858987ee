"""The command line. Thin: it turns words into requests and prints what comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from calservice import __version__
from calservice.model.errors import CalserviceError, MissingInput, Problems

if TYPE_CHECKING:
    from rich.console import Console

    from calservice.model.plan import Plan
    from calservice.plan.build import Request

_EXTRA = {"ignore_unknown_options": True, "allow_extra_args": True}


class _Commands(click.Group):
    """Commands in the order of their definition; errors of ours become messages, never tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and end with status 1 after a usage error too: 1 is any error, as for ``strun``."""
        try:
            sys.exit(super().main(*args, **{**extra, "standalone_mode": False}))
        except click.ClickException as fault:
            fault.show()
            sys.exit(1)
        except click.Abort:
            sys.exit(130)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CalserviceError as fault:
            for problem in fault.problems if isinstance(fault, Problems) else (fault,):
                click.echo(f"error: {problem}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("\ninterrupted; what is finished stands, and submitting it again goes on from there", err=True)
            ctx.exit(130)


def _shared(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_output = click.option("--output", metavar="URL", default=".", help="Folder or URL for the products [default: .]")
_input = click.option("--input", "inputs", metavar="URL", help="Folder or URL of the members, if not the association's")
_context = click.option("--context", metavar="PMAP", help="CRDS context [default: CRDS_CONTEXT, else the server's]")
_engine = click.option(
    "--engine",
    type=click.Choice(["auto", "native", "jwst"]),
    default="auto",
    show_default=True,
    help="Which steps to run",
)
_files = click.option("--param-file", "param_files", multiple=True, metavar="FILE", help="Parameters, ASDF or YAML")
_level = click.option("--level", type=click.Choice(["1", "2", "3"]), default="3", show_default=True, help="Last stage")
_start = click.option(
    "--start",
    type=click.Choice(["auto", "uncal", "ramp", "rate", "cal"]),
    default="auto",
    show_default=True,
    help="Which files count as inputs; auto takes the most advanced",
)
_force = click.option("--force", is_flag=True, help="Make everything again, up to date or not")
_job = _shared(_output, _input, _context, _engine, _files, _level, _start, _force)
_where = _shared(
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, tcp://host:port or tls://host:port"),
    click.option("--local", "local", is_flag=True, help="Run on this machine, without Dask [the default]"),
    click.option("--workers", type=click.IntRange(min=1), help="Tasks at a time with --local"),
    click.option("--scratch", type=click.Path(file_okay=False), help="Folder for temporary files"),
    click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the kernels"),
)
_parameters = click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--steps.STEP.NAME=VALUE]...")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="calservice")
def main() -> None:
    """Calibrate JWST exposures and combine associations, on this machine or a Dask cluster.

    \b
    calservice demo                               a simulated program, from ramps to mosaics
    calservice plan   jw..._asn.json              what would run, without touching a pixel
    calservice submit jw..._asn.json              run it here
    calservice submit jw..._asn.json --scheduler tcp://host:8786
    calservice batch  FOLDER                      every association found there
    calservice run    calwebb_detector1 x_uncal.fits
    """


@main.command(context_settings=_EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@_job
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON")
def plan(targets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what would run: tasks, cuts and why, references, memory and output sizes.

    No pixel is read. Members that are absent are listed; they are no error here. Anything else that would keep the
    job from running gives exit status 1.

    \b
    Examples:
      calservice plan jw01345-o001_20230101t000000_image3_00001_asn.json --output products
      calservice plan FOLDER --json
    """
    from calservice import report

    request = _request(targets, **options)
    made = _plan(request)
    if not made.stages and not as_json:
        raise Problems(made.problems)
    if as_json:
        import json

        click.echo(json.dumps(report.plan_as_json(made), indent=1, default=str))
    else:
        report.print_plan(made, _console())
    if not all(isinstance(problem, MissingInput) for problem in made.problems):
        sys.exit(1)


@main.command(context_settings=_EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@_job
@_where
@click.option("--keep-going", is_flag=True, help="Run what can run although something is wrong; exit status 1")
def submit(targets: tuple[str, ...], keep_going: bool, **options: Any) -> None:
    """Calibrate and combine what associations name, here or on a Dask cluster.

    Parameters of steps are given as --steps.STEP.NAME=VALUE, for one pipeline only as
    --calwebb_spec3.steps.STEP.NAME=VALUE.

    \b
    Examples:
      calservice submit jw..._image3_00001_asn.json --output products
      calservice submit jw..._asn.json --scheduler tcp://host:8786 --output s3://bucket/products
      calservice submit jw..._uncal.fits --steps.jump.rejection_threshold=5
    """
    where = {k: options.pop(k) for k in ("scheduler", "local", "workers", "scratch", "threads")}
    _run(_request(targets, **options), keep_going, **where)


@main.command(context_settings=_EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="FOLDER|URL|PROGRAM...", type=click.UNPROCESSED)
@_job
@_where
@click.option("--observation", multiple=True, metavar="N", help="Only this observation (repeatable)")
@click.option("--instrument", multiple=True, metavar="NAME", help="Only this instrument (repeatable)")
@click.option("--exp-type", multiple=True, metavar="TYPE", help="Only this EXP_TYPE (repeatable)")
@click.option("--filter", "optics", multiple=True, metavar="NAME", help="Only this filter, pupil, grating (repeatable)")
def batch(targets: tuple[str, ...], **options: Any) -> None:
    """Calibrate every association and exposure found in folders, or of a program.

    A program ID selects jwPPPPP* in --input (default: the current folder). What is bad fails alone; the rest runs,
    and the exit status says so.

    \b
    Examples:
      calservice batch FOLDER --output products
      calservice batch 1345 --input FOLDER --filter F200W --level 2
      calservice batch s3://bucket/raw --output s3://bucket/products --scheduler tcp://host:8786
    """
    where = {k: options.pop(k) for k in ("scheduler", "local", "workers", "scratch", "threads")}
    names = {k: options.pop(k) for k in ("observation", "instrument", "exp_type", "optics")}
    _run(_batch_request(targets, names, **options), True, **where)


@main.command(context_settings={**_EXTRA, "help_option_names": ["--help"]})
@click.argument("name", metavar="PIPELINE|STEP|CLASS|PARAMETER_FILE")
@click.argument("target", metavar="INPUT", required=False)
@_parameters
@_engine
@_context
@_files
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the kernels")
def run(name: str, target: str | None, parameters: tuple[str, ...], **options: Any) -> None:
    """Run one pipeline or step on one file or association, like strun.

    `calservice run STEP -h` lists its parameters.

    \b
    Examples:
      calservice run calwebb_detector1 jw..._uncal.fits --output_dir=calibrated
      calservice run calwebb_detector1 jw..._uncal.fits --steps.dark_current.override_dark=my_dark.fits
      calservice run linearity jw..._superbias.fits
    """
    from calservice import single

    if target in (None, "-h") or "-h" in parameters:
        click.echo(single.describe(name))
        return
    assert target is not None
    console = _console()
    sys.exit(single.run(name, target, parameters, console=console, **options))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON")
def steps(as_json: bool) -> None:
    """List pipelines and steps, and which engine runs each."""
    from calservice import single

    click.echo(single.list_steps(as_json), nl=False)


@main.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--rtol", type=click.FloatRange(min=0), default=1e-5, show_default=True, help="Relative tolerance")
@click.option("--atol", type=click.FloatRange(min=0), default=1e-7, show_default=True, help="Absolute tolerance")
@click.option(
    "--ignore", multiple=True, metavar="KEYWORD", help="Keyword or column to leave out, * allowed (repeatable)"
)
@click.option(
    "--max-pixels", type=click.IntRange(min=0), default=0, show_default=True, help="Pixels of an image that may differ"
)
@click.option("--all", "everything", is_flag=True, help="Manifests and logs of folders too")
@click.option("--json", "as_json", is_flag=True, help="Print all that was found as JSON")
def compare(a: str, b: str, everything: bool, as_json: bool, **options: Any) -> None:
    """Compare two products, or two folders of products, as the official regression tests do.

    Numbers agree within --rtol (relative to B) and --atol, data quality bit for bit, WCSs by what they do. DATE,
    CAL_VER, CAL_VCS, CRDS_VER and CRDS_CTX may differ. Exit status 0: the same; 1: different, or not comparable.

    \b
    Examples:
      calservice compare mine/jw..._rate.fits theirs/jw..._rate.fits
      calservice compare products s3://bucket/products --ignore 'R_*' --json
      calservice compare mine theirs --max-pixels 3     where rounding may flip a flag
    """
    from calservice.products.compare import Settings, compare_places

    found = compare_places(a, b, Settings(**options), everything=everything)
    from calservice import report_compare

    if as_json:
        import json

        click.echo(json.dumps(report_compare.comparison_as_json(found), indent=1))
    else:
        report_compare.print_comparison(found, _console())
    sys.exit(0 if found.same else 1)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False), required=False)
@click.option("--mode", "modes", multiple=True, help="What to simulate (repeatable) [default: all]")
@click.option("--exposures", type=click.IntRange(1, 64), default=4, show_default=True, help="Dithers of each mode")
@click.option("--groups", type=click.IntRange(2, 200), default=8, show_default=True)
@click.option("--integrations", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--subarray", help="Subarray name, FULL for full frame [default: a small one]")
@click.option("--stars", type=click.IntRange(1, 5000), default=40, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--program", default="09901", show_default=True, help="Program ID, five digits")
@click.option("--empty-context", type=click.Path(file_okay=False), metavar="CACHE", help="Only write an empty context")
def simulate(folder: str | None, modes: tuple[str, ...], empty_context: str | None, **options: Any) -> None:
    """Simulate a small program: ramps, references, CRDS context, associations, truth.

    \b
    Examples:
      calservice simulate program
      calservice simulate program --mode nircam-image --exposures 2 --subarray FULL
      calservice simulate --empty-context crds      every reference type 'not applicable', to work offline
    """
    from pathlib import Path

    import calservice.simulate as simulator

    if empty_context is not None:
        name = simulator.empty_context(Path(empty_context))
        click.echo(f"export CRDS_PATH={Path(empty_context).resolve()} CRDS_CONTEXT={name}")
        return
    if folder is None:
        raise click.UsageError("name a folder, or --empty-context CACHE")
    made = simulator.simulate(Path(folder), modes=modes or tuple(simulator.MODES), **options)
    number = len(list(made.data.glob("*_uncal.fits")))
    click.echo(f"{number} exposures and {len(made.associations)} associations in {made.data}")
    click.echo(f"export CRDS_PATH={made.crds.resolve()} CRDS_CONTEXT={made.context}")
    click.echo(f"calservice batch {made.data} --output {made.folder / 'products'}")


@main.command()
@click.argument("folder", type=click.Path(file_okay=False), default="demo-output")
@click.option("--exposures", type=click.IntRange(2, 64), default=4, show_default=True, help="Dithers of each mode")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Dask workers")
@_engine
def demo(folder: str, exposures: int, workers: int, engine: str) -> None:
    """Simulate a program, calibrate it on a local Dask cluster, and compare with the truth."""
    from pathlib import Path

    from calservice import demo as demonstration

    choice: Any = engine
    sys.exit(demonstration.run(Path(folder), exposures, workers, choice, _console()))


# -- from words to requests


def _request(targets: tuple[str, ...], **options: Any) -> Request:
    """Split what click collected into targets and parameters, and make a request of it."""
    from calservice.model.modes import PIPELINES
    from calservice.plan.build import Request
    from calservice.plan.parameter_files import layer_from_file
    from calservice.plan.parameters import layer_of, parse_assignment

    words = [w for w in targets if w.startswith("--")]
    places = tuple(w for w in targets if not w.startswith("--"))
    if not places:
        raise click.UsageError("name at least one association, exposure or folder")
    layers = [layer_from_file(path) for path in options.pop("param_files", ())]
    layers += [layer_of(*parse_assignment(word), PIPELINES) for word in words]
    options["top"] = int(options.pop("level"))
    return Request(targets=places, layers=tuple(layers), **options)


def _batch_request(targets: tuple[str, ...], names: dict[str, tuple[str, ...]], **options: Any) -> Request:
    from dataclasses import replace

    from calservice.plan.build import Filters
    from calservice.products.survey import program_pattern

    request = _request(targets, **options)
    patterns = [p for p in map(program_pattern, request.targets) if p]
    if patterns:
        if len(request.targets) > 1:
            raise click.UsageError("name one program at a time")
        request = replace(request, targets=(request.inputs or ".",), inputs=None, pattern=patterns[0])
    upper = {k: frozenset(v.upper() for v in values) for k, values in names.items()}
    filters = Filters(upper["observation"], upper["instrument"], upper["exp_type"], upper["optics"])
    return replace(request, filters=filters)


def _plan(request: Request) -> Plan:
    from calservice.plan.build import make_plan

    return make_plan(request)


def _run(request: Request, keep_going: bool, **where: Any) -> None:
    from calservice.service import jobs

    sys.exit(jobs.run(request, keep_going=keep_going, console=_console(), **where))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 132)


if __name__ == "__main__":
    main()
