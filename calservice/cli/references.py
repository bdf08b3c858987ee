"""``references``: what jobs need, what the cache holds, fetching, verifying, pruning."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import click

from calservice.cli import options as opt
from calservice.cli.pages import CRDS_ENVIRONMENT, Page
from calservice.model.errors import CalserviceError, MissingInput, Problems

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from calservice.needs import Needs
    from calservice.plan.request import Request
    from calservice.references.select import Crds


@click.group()
def references() -> None:
    """Reference files: which a job needs, what the cache holds, fetching, verifying, pruning.

    \b
    Examples:
      calservice references list                             what the cache holds
      calservice references list jw..._asn.json              what a job needs, and whether it is there
      calservice references fetch FOLDER --server pub        bring it
      calservice references verify --repair                  compare all with their checksums
      calservice references prune --keep-context jwst_1413.pmap --yes
    """


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


_context = click.option(
    "--context", metavar="PMAP", help="jwst_NNNN.pmap, latest, edit or build [default: CRDS_CONTEXT, else the server's]"
)
_place = _options(
    click.option("--cache", metavar="FOLDER", type=click.Path(file_okay=False), help="[default: CRDS_PATH]"),
    click.option("--server", metavar="ops|pub|URL", help="CRDS server [default: CRDS_SERVER_URL]"),
    click.option("--offline", is_flag=True, help="Ask no server"),
)
_job = _options(
    click.option(
        "--input", "inputs", metavar="URL", help="Folder of the members, if not the association's; of a program"
    ),
    click.option(
        "--level", type=click.Choice(["1", "2", "3"]), default="3", show_default=True, help="Last stage that would run"
    ),
    click.option(
        "--pipeline", metavar="NAME", help="Only this pipeline; or any pipeline or step, run on each exposure"
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "native", "jwst"]),
        default="auto",
        show_default=True,
        help="Which steps would run",
    ),
    click.option("--param-file", "param_files", multiple=True, metavar="FILE", help="Parameters, ASDF or YAML"),
)
_json = click.option("--json", "as_json", is_flag=True, help="Print all as JSON")
_jobs = click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Files at the same time")


_ENVIRONMENT = {**CRDS_ENVIRONMENT, "CRDS_READONLY_CACHE": "Set to 1: nothing is written into the cache."}


def _command(name: str, good: str, bad: str) -> Callable[[Any], click.Command]:
    read = {key: text for key, text in _ENVIRONMENT.items() if key != "CRDS_CONTEXT" or name != "verify"}
    return references.command(name, cls=Page, environment=read, exit_status={"0": good, "1": bad})


@_command(
    "list", "Done. That files or members are absent is no error.", "Something has no reference, or cannot be read."
)
@click.argument("targets", nargs=-1, metavar="[ASN|EXPOSURE|FOLDER|PROGRAM]...")
@_job
@_context
@_place
@_json
def list_(targets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Show what the cache holds, or what a job needs.

    Of exposures, associations, folders or a program: which references the pipelines that would run need, and whether
    they are there. Nothing runs and no reference is fetched. The rules of the context are, where they are missing.

    \b
    Examples:
      calservice references list
      calservice references list jw01345-o001_20230101t000000_image3_00001_asn.json
      calservice references list FOLDER --level 1 --context jwst_1413.pmap
      calservice references list jw..._rate.fits --pipeline flat_field --json
    """
    from calservice import report_references as report
    from calservice.references import inventory

    where, console = _where(options), opt.console()
    if not targets:
        contents = inventory.contents(**where)
        if as_json:
            click.echo(json.dumps(report.contents_as_json(contents), indent=1))
        else:
            report.print_contents(contents, console)
        return
    crds = _resolved(None if as_json else console, **where)
    found = _needs(targets, crds, lambda names: inventory.present(crds, names), **options)
    sizes, here = inventory.sizes(crds, found.names), inventory.present(crds, found.names)
    if as_json:
        click.echo(json.dumps(report.needs_as_json(found, _described(crds), sizes, here), indent=1))
    elif found.stages or not found.problems:
        report.print_needs(found, sizes, here, console, context=crds.context)
    _end(found.problems, silent=as_json)


@_command("fetch", "All that is needed is in the cache.", "Some could not be had, and each is named.")
@click.argument("targets", nargs=-1, metavar="[ASN|EXPOSURE|FOLDER|PROGRAM]...")
@click.option("--reference", "names", multiple=True, metavar="NAME", help="Fetch this file (repeatable)")
@click.option("--all", "everything", is_flag=True, help="Fetch all that the context names")
@click.option(
    "--instrument", "instruments", multiple=True, metavar="NAME", help="With --all: only of this (repeatable)"
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="With --all: only of this type (repeatable)")
@click.option("--dry-run", is_flag=True, help="Only tell what would be fetched")
@_jobs
@click.option(
    "--attempts", type=click.IntRange(1, 100), default=4, show_default=True, help="How often to try each file"
)
@_job
@_context
@_place
@_json
def fetch(
    targets: tuple[str, ...],
    names: tuple[str, ...],
    everything: bool,
    instruments: tuple[str, ...],
    types: tuple[str, ...],
    dry_run: bool,
    jobs: int,
    attempts: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Bring references to the cache.

    Each comes once, whole and verified, and any number of these commands may run at a time. What is there already is
    verified at its first use on this host.

    \b
    Examples:
      calservice references fetch jw..._asn.json --server pub
      calservice references fetch 1345 --input FOLDER --level 2
      calservice references fetch --reference jwst_nircam_gain_0097.fits
      calservice references fetch --all --instrument niriss --type flat --type photom --dry-run
    """
    from calservice.references.cache import bring
    from calservice.references.inventory import present, without_context
    from calservice.references.server import Patience
    from calservice.report_references import Bytes, fetched_as_json, print_fetched

    if bool(targets) + bool(names) + everything != 1:
        raise click.UsageError("name exposures, associations, folders or a program; or give --reference NAME, or --all")
    if (instruments or types) and not everything:
        raise click.UsageError("--instrument and --type go with --all")
    where, console = _where(options), None if as_json else opt.console()
    problems: list[CalserviceError] = []
    if names:
        crds, wanted = without_context(where["cache"], where["server"]), frozenset(names)
    else:
        crds = _resolved(console, **where)
        if everything:
            wanted = crds.everything(instruments, types)
        else:
            found = _needs(targets, crds, lambda few: present(crds, few) if dry_run else _brought(crds, few), **options)
            wanted, problems = found.names, found.problems
    if dry_run:
        _print_missing(crds, wanted, as_json)
        _end(problems, silent=as_json)
        return
    with Bytes("fetching", console) as progress:
        brought = bring(crds, sorted(wanted), jobs=jobs, on_progress=progress, patience=Patience(attempts=attempts))
    problems = [*problems, *brought.problems]
    if console is None:
        click.echo(json.dumps(fetched_as_json(brought, _described(crds), problems), indent=1))
    else:
        print_fetched(brought, crds.server, progress.seconds, console)
    _end(problems, silent=as_json)


@_command("verify", "All is good, or repaired.", "Something is corrupt, changed, unreadable, or named and absent.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--repair", is_flag=True, help="Fetch again from the server what is corrupt or changed")
@click.option("--accept", is_flag=True, help="Take changed files as they are from now on; name them")
@_jobs
@_place
@_json
def verify(names: tuple[str, ...], repair: bool, accept: bool, jobs: int, as_json: bool, **options: Any) -> None:
    """Compare the cache with its checksums.

    References and rules, all or some, are read. Their checksums are those of the server's catalog, else those that the
    cache recorded of it, else those that were recorded when a file was first used here.

    \b
    Examples:
      calservice references verify
      calservice references verify --server pub --repair
      calservice references verify jwst_nircam_gain_0097.fits --offline
      calservice references verify --accept jwst_nircam_gain_0097.fits
    """
    from calservice.references.cache import replace
    from calservice.references.inventory import without_context
    from calservice.references.records import Records
    from calservice.references.verify import verify as compare
    from calservice.report_references import Bytes, print_verification, verification_as_json

    if accept and not names:
        raise click.UsageError("--accept needs the names of the files")
    where, console = _where({"context": None, **options}), None if as_json else opt.console()
    crds = without_context(where["cache"], where["server"])
    for name in names if accept else ():
        Records(crds.cache).forget(name)
    with Bytes("reading", console) as progress:
        found = compare(crds.cache, crds.server, names, jobs=jobs, on_progress=progress)
    bad = [v.file.name for v in found.verdicts if v.standing in ("corrupt", "changed", "unreadable")]
    repaired = None
    if repair and bad:
        with Bytes("fetching", console) as progress:
            repaired = replace(crds.cache, crds.server, bad, jobs=jobs, on_progress=progress)
    if console is None:
        click.echo(json.dumps(verification_as_json(found, repaired), indent=1))
    else:
        print_verification(found, console, repaired)
    _end(repaired.problems if repaired else (), silent=as_json)
    mended = repaired.files if repaired else {}
    sys.exit(0 if all(v.good or v.file.name in mended for v in found.verdicts) else 1)


@_command("prune", "Done.", "Something could not be removed, or which files to keep cannot be told.")
@click.option("--keep-context", "keep", multiple=True, metavar="PMAP", help="Keep what this names (repeatable)")
@click.option("--yes", is_flag=True, help="Remove; without it, only tell")
@_context
@_place
@_json
def prune(keep: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> None:
    """Remove what no context names any more.

    What killed downloads left goes too. Kept is what the contexts of --keep-context name, by default the one in use,
    and what any context names that a process using this cache works with. Files that are being fetched stay, and so
    do those whose names are not of CRDS.

    \b
    Examples:
      calservice references prune
      calservice references prune --keep-context jwst_1413.pmap --keep-context latest --yes
    """
    from calservice.references.inventory import prunable, remove
    from calservice.report_references import print_prunable, print_removed, prunable_as_json

    where, console = _where(options), None if as_json else opt.console()
    resolved = [_resolved(console, **{**where, "context": name}) for name in keep or (where["context"],)]
    cache = resolved[0].cache
    found = prunable(cache, [crds.context for crds in resolved])
    if console is not None:
        print_prunable(found, console)
    removed = remove(cache, found) if yes else None
    if console is None:
        click.echo(json.dumps(prunable_as_json(found, removed), indent=1))
    elif removed is not None:
        print_removed(removed, console)
    elif found.files or found.leftovers:
        console.print("nothing was removed; --yes does it")
    sys.exit(1 if removed is not None and any("cannot" in why for _, why in removed.stayed) else 0)


# -- from words to values


def _where(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options that name context, cache and server; say what ``--offline`` means."""
    where = {name: options.pop(name) for name in ("context", "cache", "server")}
    if options.pop("offline"):
        if where["server"]:
            raise click.UsageError("--offline asks no server, so --server has no meaning")
        where["server"] = ""
    elif where["server"] is None:
        import os

        where["server"] = os.environ.get("CRDS_SERVER_URL", "")
    return where


def _resolved(console: Console | None, **where: Any) -> Crds:
    """Return the context with all its mappings in the cache."""
    from calservice.references.select import Crds
    from calservice.report_references import Bytes

    with Bytes("fetching rules", console) as progress:
        return Crds.resolve(**where, on_progress=progress)


def _described(crds: Crds) -> dict[str, Any]:
    return {"context": crds.context or None, "server": crds.server, "cache": str(crds.cache)}


def _brought(crds: Crds, names: Collection[str]) -> dict[str, Path]:
    """Bring parameter references, which say what else is needed; what cannot be had is reported with the rest."""
    from calservice.references.cache import bring

    return {name: file.path for name, file in bring(crds, names).files.items()}


def _needs(
    targets: tuple[str, ...],
    crds: Crds,
    have: Callable[[Collection[str]], Mapping[str, Path]],
    *,
    pipeline: str | None,
    **options: Any,
) -> Needs:
    from calservice.describe import find
    from calservice.needs import needs

    return needs(_request(targets, **options), crds, have, find(pipeline) if pipeline else None)


def _request(targets: tuple[str, ...], *, level: str, param_files: tuple[str, ...], **options: Any) -> Request:
    from calservice.plan.parameter_files import layer_from_file
    from calservice.service.requests import make_request

    layers = [layer_from_file(path) for path in param_files]
    return make_request(targets, programs=True, level=int(level), layers=layers, **options)


def _print_missing(crds: Crds, names: Collection[str], as_json: bool) -> None:
    from calservice.references import inventory
    from calservice.report import size

    sizes, here = inventory.sizes(crds, names), inventory.present(crds, names)
    away = sorted(set(names) - here.keys())
    if as_json:
        files = [{"name": name, "size": sizes.get(name)} for name in away]
        click.echo(json.dumps({**_described(crds), "missing": files, "cached": sorted(here)}, indent=1))
        return
    for name in away:
        length = sizes.get(name)
        click.echo(f"{name}  {'?' if length is None else size(length)}")
    total = sum(sizes.get(name) or 0 for name in away)
    click.echo(f"{len(away)} of {len(names)} files would be fetched, {size(total)}")


def _end(problems: Collection[CalserviceError], *, silent: bool) -> None:
    """End with status 1 if anything is wrong but that members are absent, as for ``plan``."""
    for problem in problems:
        if isinstance(problem, MissingInput) and not silent:
            click.echo(f"note: {problem}", err=True)
    wrong = [problem for problem in problems if not isinstance(problem, MissingInput)]
    if wrong and not silent:
        raise Problems(wrong)
    if wrong:
        sys.exit(1)
