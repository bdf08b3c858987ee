"""``plan``, ``submit`` and ``batch``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from calservice.cli import options as opt
from calservice.model.errors import MissingInput, Problems

if TYPE_CHECKING:
    from calservice.model.plan import Plan
    from calservice.plan.build import Request


@click.command(context_settings=opt.EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@opt.job_options
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
        report.print_plan(made, opt.console())
    if not all(isinstance(problem, MissingInput) for problem in made.problems):
        sys.exit(1)


@click.command(context_settings=opt.EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@opt.job_options
@opt.where_options
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


@click.command(context_settings=opt.EXTRA)
@click.argument("targets", nargs=-1, required=True, metavar="FOLDER|URL|PROGRAM...", type=click.UNPROCESSED)
@opt.job_options
@opt.where_options
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

    sys.exit(jobs.run(request, keep_going=keep_going, console=opt.console(), **where))
