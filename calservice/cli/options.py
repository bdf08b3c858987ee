"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from rich.console import Console

    from calservice.plan.engines import EngineName

__all__ = [
    "EXTRA",
    "compare",
    "console",
    "context",
    "engine",
    "engines",
    "job_options",
    "param_files",
    "threads",
    "two_engines",
    "where_options",
]

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
_engine = click.Choice(["auto", "native", "jwst"])
engine = click.option("--engine", type=_engine, default="auto", show_default=True, help="Which steps to run")


def _names(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """Return engines that are separated by commas."""
    return tuple(_engine.convert(word.strip(), param, ctx) for word in value.split(","))


engines = click.option(
    "--engine",
    "engines",
    callback=_names,
    shell_complete=_engine.shell_complete,
    default="auto",
    show_default=True,
    metavar="[auto|native|jwst]",
    help="Which steps to run; two of them with --compare",
)
compare = click.option(
    "--compare",
    is_flag=True,
    help="Run by two engines (--engine jwst,auto), each in a folder of the output, and compare the products",
)


def two_engines(names: tuple[str, ...], compare: bool) -> tuple[EngineName, EngineName] | None:
    """Return the two engines to compare, or None where there is one and nothing to compare.

    Raises
    ------
    click.UsageError
        Where ``--engine`` and ``--compare`` do not go together.
    """
    if compare and (len(names) != 2 or len(set(names)) != 2):
        raise click.UsageError("--compare needs two different engines: --engine jwst,native or --engine jwst,auto")
    if not compare and len(names) != 1:
        raise click.UsageError(f"--engine {','.join(names)}: one engine at a time, or two of them with --compare")
    first, *rest = cast("tuple[EngineName, ...]", names)
    return (first, rest[0]) if compare else None


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
_steppars = click.option("--disable-crds-steppars", is_flag=True, help="Take no parameters from CRDS")
job_options = _shared(_output, _input, context, param_files, _level, _start, _force, _steppars)
where_options = _shared(
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler, tcp://host:port or tls://host:port"),
    click.option("--local", "local", is_flag=True, help="Run on this machine, without Dask [the default]"),
    click.option("--workers", type=click.IntRange(min=1), help="Tasks at a time with --local"),
    click.option("--scratch", type=click.Path(file_okay=False), help="Folder for temporary files"),
    click.option(
        "--log-level",
        type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], case_sensitive=False),
        help="Show the log from this level on, of workers too",
    ),
    threads,
)


def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 132)
