"""``run``."""

from __future__ import annotations

import sys
from typing import Any

import click

from calservice.cli import options as opt

_parameters = click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--steps.STEP.NAME=VALUE]...")


@click.command(context_settings={**opt.EXTRA, "help_option_names": ["--help"]})
@click.argument("name", metavar="PIPELINE|STEP|CLASS|PARAMETER_FILE")
@click.argument("target", metavar="INPUT", required=False)
@_parameters
@opt.engine
@opt.context
@opt.param_files
@opt.threads
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
    console = opt.console()
    sys.exit(single.run(name, target, parameters, console=console, **options))
