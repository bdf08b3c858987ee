"""``plan``, ``submit`` and ``batch``."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING, Any

import click

from calservice.cli import options as opt
from calservice.cli.pages import CRDS_ENVIRONMENT, JOB_STATUS, Page
from calservice.model.errors import MissingInput, Problems

if TYPE_CHECKING:
    from calservice.plan.engines import EngineName
    from calservice.plan.request import Request

_PLAN_STATUS = {"0": "It can run, up to members that are absent.", "1": "Something would keep it from running."}


@click.command(cls=Page, context_settings=opt.EXTRA, environment=CRDS_ENVIRONMENT, exit_status=_PLAN_STATUS)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@opt.engine
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
    from calservice.plan.build import make_plan

    made = make_plan(_request(targets, **options))
    if not made.stages and not as_json:
        raise Problems(made.problems)
    if as_json:
        import json

        click.echo(json.dumps(report.plan_as_json(made), indent=1, default=str))
    else:
        report.print_plan(made, opt.console())
    if not all(isinstance(problem, MissingInput) for problem in made.problems):
        sys.exit(1)


@click.command(cls=Page, context_settings=opt.EXTRA, environment=CRDS_ENVIRONMENT, exit_status=JOB_STATUS)
@click.argument("targets", nargs=-1, required=True, metavar="ASN|EXPOSURE|FOLDER...", type=click.UNPROCESSED)
@opt.engines
@opt.compare
@opt.job_options
@opt.where_options
@click.option("--keep-going", is_flag=True, help="Run what can run although something is wrong; exit status 1")
def submit(targets: tuple[str, ...], engines: tuple[str, ...], compare: bool, keep_going: bool, **options: Any) -> None:
    """Calibrate and combine what associations name, here or on a Dask cluster.

    Parameters of steps are given as --steps.STEP.NAME=VALUE, for one pipeline only as
    --calwebb_spec3.steps.STEP.NAME=VALUE.

    With --compare two engines make the products, in folders OUTPUT/ENGINE, which are then compared as `calservice
    compare` does it. Exit status 0: both made everything, and it is the same.

    \b
    Examples:
      calservice submit jw..._image3_00001_asn.json --output products
      calservice submit jw..._asn.json --scheduler tcp://host:8786 --output s3://bucket/products
      calservice submit jw..._uncal.fits --steps.jump.rejection_threshold=5
      calservice submit jw..._uncal.fits --engine jwst,auto --compare
    """
    both = opt.two_engines(engines, compare)
    where = {k: options.pop(k) for k in ("scheduler", "local", "workers", "scratch", "log_level", "threads")}
    _run(_request(targets, engine=engines[0], **options), both, keep_going, **where)


@click.command(cls=Page, context_settings=opt.EXTRA, environment=CRDS_ENVIRONMENT, exit_status=JOB_STATUS)
@click.argument("targets", nargs=-1, required=True, metavar="FOLDER|URL|PROGRAM...", type=click.UNPROCESSED)
@opt.engines
@opt.compare
@opt.job_options
@opt.where_options
@click.option("--observation", multiple=True, metavar="N", help="Only this observation (repeatable)")
@click.option("--instrument", multiple=True, metavar="NAME", help="Only this instrument (repeatable)")
@click.option("--exp-type", multiple=True, metavar="TYPE", help="Only this EXP_TYPE (repeatable)")
@click.option("--filter", multiple=True, metavar="NAME", help="Only this filter, pupil, grating (repeatable)")
def batch(targets: tuple[str, ...], engines: tuple[str, ...], compare: bool, **options: Any) -> None:
    """Calibrate every association and exposure found in folders, or of a program.

    A program ID selects jwPPPPP* in --input (default: the current folder). What is bad fails alone; the rest runs,
    and the exit status says so.

    \b
    Examples:
      calservice batch FOLDER --output products
      calservice batch 1345 --input FOLDER --filter F200W --level 2
      calservice batch s3://bucket/raw --output s3://bucket/products --scheduler tcp://host:8786
    """
    both = opt.two_engines(engines, compare)
    where = {k: options.pop(k) for k in ("scheduler", "local", "workers", "scratch", "log_level", "threads")}
    _run(_request(targets, programs=True, engine=engines[0], **options), both, True, **where)


def _request(
    targets: tuple[str, ...],
    *,
    level: str,
    param_files: tuple[str, ...],
    disable_crds_steppars: bool,
    **options: Any,
) -> Request:
    """Split what click collected into targets and parameters, and make a request of it."""
    from calservice.model.modes import PIPELINES
    from calservice.plan.parameter_files import layer_from_file
    from calservice.plan.parameters import layer_of, parse_assignment
    from calservice.service.requests import make_request

    words = [w for w in targets if w.startswith("--")]
    places = [w for w in targets if not w.startswith("--")]
    for word in words:
        if "=" not in word and "." not in word:
            raise click.NoSuchOption(word, possibilities=_near(word))
    if not places:
        raise click.UsageError("name at least one association, exposure or folder")
    layers = [layer_from_file(path) for path in param_files]
    layers += [layer_of(*parse_assignment(word), PIPELINES) for word in words]
    return make_request(places, level=int(level), layers=layers, crds_parameters=not disable_crds_steppars, **options)


def _near(word: str) -> list[str]:
    """Return the options of this command that may be meant by a word."""
    known = [option for parameter in click.get_current_context().command.params for option in parameter.opts]
    return difflib.get_close_matches(word, known, n=3, cutoff=0.6)


def _run(request: Request, engines: tuple[EngineName, EngineName] | None, keep_going: bool, **where: Any) -> None:
    """Run a job, or the same by two engines, and end with its exit status."""
    from calservice.service import comparison, jobs

    where |= {"keep_going": keep_going, "console": opt.console()}
    sys.exit(comparison.run(request, engines, **where) if engines else jobs.run(request, **where))
