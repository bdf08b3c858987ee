"""``steps``, ``compare``, ``simulate`` and ``demo``."""

from __future__ import annotations

import sys
from typing import Any

import click

from calservice.cli import options as opt
from calservice.cli.pages import Page


@click.command(cls=Page)
@click.option("--json", "as_json", is_flag=True, help="As JSON")
def steps(as_json: bool) -> None:
    """List pipelines and steps, and which engine runs each.

    \b
    Examples:
      calservice steps
      calservice steps --json
    """
    from calservice import describe

    click.echo(describe.list_steps(as_json), nl=False)


@click.command(cls=Page, exit_status={"0": "The same.", "1": "Different, or not comparable."})
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
    CAL_VER, CAL_VCS, CRDS_VER and CRDS_CTX may differ.

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
        report_compare.print_comparison(found, opt.console())
    sys.exit(0 if found.same else 1)


@click.command(cls=Page)
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


@click.command(cls=Page)
@click.argument("folder", type=click.Path(file_okay=False), default="demo-output")
@click.option("--exposures", type=click.IntRange(2, 64), default=4, show_default=True, help="Dithers of each mode")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Dask workers")
@opt.engine
def demo(folder: str, exposures: int, workers: int, engine: str) -> None:
    """Simulate a program, calibrate it on a local Dask cluster, and compare with the truth.

    \b
    Examples:
      calservice demo
      calservice demo FOLDER --engine jwst --exposures 2
    """
    from pathlib import Path

    from calservice import demo as demonstration

    choice: Any = engine
    sys.exit(demonstration.run(Path(folder), exposures, workers, choice, opt.console()))
