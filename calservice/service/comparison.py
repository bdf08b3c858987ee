"""The same job by two engines, and what differs between their products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console

from calservice import report_compare
from calservice.model.errors import CalserviceError, EngineError, Problems
from calservice.plan.engines import EngineName
from calservice.plan.request import Request
from calservice.products.compare import Settings, compare_places
from calservice.service import jobs

__all__ = ["Begin", "compare_engines", "run"]

Begin = Callable[[EngineName, str], Callable[[], int]]
"""Called with an engine and the place of its products: finds everything that is wrong, runs nothing yet, and returns
the function that runs and returns an exit status."""

_NOT_NATIVE = (
    "the native engine refuses what is not native. --engine jwst,auto compares what is native and leaves the rest to "
    "the official engine."
)


def run(
    request: Request,
    engines: tuple[EngineName, EngineName],
    *,
    console: Console,
    scheduler: str | None = None,
    local: bool = False,
    **how: Any,
) -> int:
    """Run a job by two engines, compare the products, and return the exit status.

    Parameters
    ----------
    request : Request
        What to make; its ``engine`` is not used.
    engines : tuple of str
        The engines, in the order in which they are run and compared.
    console, scheduler, local, **how
        As for `jobs.run`.

    Raises
    ------
    CalserviceError
        Where nothing can run or nothing was made; `Problems` with everything found wrong.
    """
    with jobs.connected(scheduler, local) as client:

        def begin(engine: EngineName, place: str) -> Callable[[], int]:
            asked = replace(request, engine=engine, output=place)
            return jobs.begin(asked, console=console, client=client, **how)

        return compare_engines(engines, request.output, begin, console)


def compare_engines(
    engines: tuple[EngineName, EngineName],
    output: str,
    begin: Begin,
    console: Console,
    settings: Settings | None = None,
) -> int:
    """Make products by two engines, each in its own folder of ``output``, and compare these.

    Parameters
    ----------
    engines : tuple of str
        The engines; products of the first are A, those of the second B.
    output : str
        Folder or URL; products go to ``output/<engine>``.
    begin : callable
        Called for both engines before the first of them runs; see `Begin`.
    console : rich.console.Console
        Where the report goes.
    settings : Settings, optional
        Tolerances; by default those of the official regression tests.

    Returns
    -------
    int
        0 where both engines made everything and their products are the same, else 1.

    Raises
    ------
    CalserviceError
        Where one of them cannot begin (`Problems` with everything found wrong by both), or nothing was made.
    """
    places = {engine: f"{output.rstrip('/')}/{engine}" for engine in engines}
    ready = _begun(places, begin)
    failed = False
    for engine, go in ready.items():
        console.print(f"[bold]engine {engine}[/]")
        ended = go()
        if ended:
            failed = True
            console.print(f"[red]engine {engine}[/] did not make everything (exit status {ended})")
    one, other = engines
    console.print(f"[bold]engines {one} (A) and {other} (B) compared[/]")
    found = compare_places(places[one], places[other], settings)
    report_compare.print_comparison(found, console)
    return 0 if found.same and not failed else 1


def _begun(places: dict[EngineName, str], begin: Begin) -> dict[EngineName, Callable[[], int]]:
    ready: dict[EngineName, Callable[[], int]] = {}
    problems: list[CalserviceError] = []
    for engine, place in places.items():
        try:
            ready[engine] = begin(engine, place)
        except CalserviceError as fault:
            found = fault.problems if isinstance(fault, Problems) else (fault,)
            problems += found
            if engine == "native" and any(isinstance(p, EngineError) for p in found):
                problems.append(EngineError(_NOT_NATIVE))
    if problems:
        raise Problems(problems)
    return ready
