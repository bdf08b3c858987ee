"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EXTRA", "console", "context", "engine", "job_options", "param_files", "threads", "where_options"]

EXTRA = {"ignore_unknown_options": True, "allow_extra_args": True}


def _shared(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_output = click.option("--output", metavar="URL", default=".", help="Folder or URL for the products [default: .]")
_input = click.option("--input", "inputs", metavar="URL", help="Folder or URL of the members, if not the association's")
context = click.option("--context", metavar="PMAP", help="CRDS context [default: CRDS_CONTEXT, else the server's]")
engine = click.option(
    "--engine",
    type=click.Choice(["auto", "native", "jwst"]),
    default="auto",
    show_default=True,
    help="Which steps to run",
)
param_files = click.option(
    "--param-file", "param_files", multiple=True, metavar="FILE", help="Parameters, ASDF or YAML"
)
_level = click.option("--level", type=click.Choice(["1", "2", "3"]), default="3", show_default=True, help="Last stage")
_start = click.option(
    "--start",
    type=click.Choice(["auto", "uncal", "ramp", "rate", "cal"]),
    default="auto",
    show_default=True,
    help="Which files count as inputs; auto takes the most advanced",
)
_force = click.option("--force", is_flag=True, help="Make everything again, up to date or not")
threads = click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of the kernels"
)
job_options = _shared(_output, _input, context, engine, param_files, _level, _start, _force)
where_options = _shared(
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, tcp://host:port or tls://host:port"),
    click.option("--local", "local", is_flag=True, help="Run on this machine, without Dask [the default]"),
    click.option("--workers", type=click.IntRange(min=1), help="Tasks at a time with --local"),
    click.option("--scratch", type=click.Path(file_okay=False), help="Folder for temporary files"),
    threads,
)


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 132)
