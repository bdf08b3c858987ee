"""``run``."""

from __future__ import annotations

import sys
from typing import Any

import click

from calservice.cli import options as opt
from calservice.cli.pages import CRDS_ENVIRONMENT, RunPage, complete_word

_LOG = ("verbose", "log_level", "log_file", "log_stream", "logcfg")


@click.command(
    cls=RunPage,
    context_settings={**opt.EXTRA, "help_option_names": []},
    environment={**CRDS_ENVIRONMENT, "STPIPE_DISABLE_CRDS_STEPPARS": "true: as --disable-crds-steppars."},
    exit_status={"0": "Done.", "1": "An error.", "64": "No science data on this detector."},
)
@click.argument(
    "words",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="PIPELINE|STEP|CLASS|FILE INPUT [--NAME=VALUE]...",
    shell_complete=complete_word,
)
@opt.engines
@opt.compare
@opt.context
@opt.param_files
@opt.threads
@click.option("--explain", is_flag=True, help="Print every effective parameter and its origin; run nothing")
@click.option("--save-parameters", metavar="FILE", help="Write the effective parameters to an ASDF file")
@click.option("--disable-crds-steppars", is_flag=True, help="Take no parameters from CRDS")
@click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL [default: INFO]")
@click.option("--log-file", metavar="FILE", help="Write the log to this file too")
@click.option("--log-stream", metavar="STREAM", help="stdout, stderr or null [default: stdout]")
@click.option("--logcfg", metavar="FILE", help="Where the log goes [default: stpipe-log.cfg, if there is one]")
@click.option("-v", "--verbose", is_flag=True, help="Log everything")
@click.option("--debug", is_flag=True, help="Enter the Python debugger where a step fails")
@click.option("-h", "--help", "help_wanted", is_flag=True, help="This page; after a pipeline or step, its parameters")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    engines: tuple[str, ...],
    compare: bool,
    help_wanted: bool,
    explain: bool,
    **options: Any,
) -> None:
    """Run one pipeline or step on one exposure or association, like strun.

    A pipeline or step is named by its alias, its class or a parameter file (ASDF or YAML); `calservice run NAME -h`
    lists its parameters. Values take precedence in this order: command line, parameter file, CRDS, default.

    \b
    Examples:
      calservice run calwebb_detector1 jw..._uncal.fits --output_dir=calibrated
      calservice run calwebb_detector1 jw..._uncal.fits --steps.dark_current.override_dark=my_dark.fits
      calservice run calwebb_detector1 jw..._uncal.fits --steps.jump.rejection_threshold=5 --explain
      calservice run linearity jw..._superbias.fits --save-parameters mine.asdf
      calservice run mine.asdf jw..._superbias.fits
      calservice run linearity jw..._superbias.fits --engine jwst,native --compare
    """
    from calservice import describe

    if help_wanted or not words:
        click.echo(describe.describe(words[0]) if words else ctx.get_help())
        ctx.exit(0 if help_wanted else 1)
    if words[0].startswith("--"):
        raise click.UsageError(f"name the pipeline or step first, then {words[0]}")
    from calservice import single
    from calservice.run.logs import LogOptions

    log = LogOptions(*(options.pop(name) for name in _LOG))
    both = opt.two_engines(engines, compare)
    engine: Any = engines[0]
    told = single.Options(log=log, engine=engine, **options)
    if explain:
        single.explain(words[0], words[1:], told, opt.console())
        return
    if both:
        sys.exit(single.run_both(words[0], words[1:], told, both, opt.console()))
    sys.exit(single.run(words[0], words[1:], told, opt.console()))
