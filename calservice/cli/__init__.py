"""The command line. Thin: it turns words into requests and prints what comes back."""

from __future__ import annotations

import sys
from typing import Any

import click

from calservice import __version__
from calservice.cli import jobs, pages, references, run, tools
from calservice.model.errors import CalserviceError, Problems

__all__ = ["main"]


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


for command in (
    jobs.plan,
    jobs.submit,
    jobs.batch,
    run.run,
    tools.compare,
    tools.steps,
    references.references,
    tools.simulate,
    tools.demo,
    pages.completion,
):
    main.add_command(command)
