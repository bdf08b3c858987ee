"""``calservice demo``: simulate a program, calibrate it on a local Dask cluster, compare with the truth."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from calservice import report
from calservice.model.errors import EngineError, OutputError, Problems
from calservice.model.outcome import exit_status
from calservice.plan.build import make_plan
from calservice.plan.engines import EngineName
from calservice.plan.request import Request
from calservice.service import jobs
from calservice.simulate import Simulation, simulate

__all__ = ["Recovery", "compare_with_truth", "preview", "run"]

_MATCH = 0.5
"""Largest distance in pixels of the mosaic at which a catalog source is a simulated star."""


@dataclass(frozen=True)
class Recovery:
    """How well a mosaic's catalog recovers the simulated stars.

    Attributes
    ----------
    stars, found : int
        Simulated stars that lie on the mosaic, and those found in the catalog.
    flux_ratio, flux_scatter : float
        Median of recovered over true flux, and its robust scatter, of the brighter half.
    offset : float
        Median distance in milliarcseconds between recovered and true positions.
    """

    stars: int
    found: int
    flux_ratio: float
    flux_scatter: float
    offset: float


def run(folder: Path, exposures: int, workers: int, engine: EngineName, console: Console) -> int:
    """Run the demonstration in ``folder`` and return its exit status."""
    from calservice.engines import official

    if engine != "native" and not official.available():
        raise EngineError("the demo needs the official engine and previews: pip install 'calservice[jwst,demo]'")
    if folder.exists() and any(folder.iterdir()) and not (folder / "truth").is_dir():
        raise OutputError(f"{folder}: not empty, and not made by an earlier demo. Name another folder.")
    shutil.rmtree(folder, ignore_errors=True)
    console.print(f"simulating a program in {folder} ...")
    simulation = simulate(folder, exposures=exposures)
    products = folder / "products"
    with _crds(simulation):
        request = Request((str(simulation.data),), output=str(products), engine=engine, context=simulation.context)
        plan = make_plan(request)
        if plan.problems:
            raise Problems(plan.problems)
        report.print_plan(plan, console)
        from calservice.run.cluster import local_cluster

        console.print("starting a Dask cluster ...")
        with local_cluster(workers, dashboard=True) as client:
            outcomes = jobs.execute(plan, console, client=client)
    report.print_outcomes(plan, outcomes, console)
    _show(simulation, products, console)
    return exit_status(outcomes)


@contextmanager
def _crds(simulation: Simulation) -> Iterator[None]:
    """Point CRDS at the simulated references for the time of the demo."""
    before = {name: os.environ.get(name) for name in ("CRDS_PATH", "CRDS_CONTEXT", "CRDS_SERVER_URL")}
    os.environ["CRDS_PATH"] = str(simulation.crds)
    os.environ["CRDS_CONTEXT"] = simulation.context
    os.environ.pop("CRDS_SERVER_URL", None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _show(simulation: Simulation, products: Path, console: Console) -> None:
    table = Table(title="Recovered against true", title_justify="left")
    for name in ("mosaic", "stars", "found", "flux ratio (median)", "scatter", "position (median)"):
        table.add_column(name)
    for mosaic in sorted(products.glob("*-o*_i2d.fits")):
        catalog = mosaic.with_name(mosaic.name.replace("_i2d.fits", "_cat.ecsv"))
        truth = truth_of(mosaic, simulation)
        if truth is not None and catalog.exists():
            got = compare_with_truth(mosaic, catalog, truth)
            table.add_row(
                mosaic.name,
                str(got.stars),
                str(got.found),
                f"{got.flux_ratio:.4f}",
                f"{got.flux_scatter:.4f}",
                f"{got.offset:.1f} mas",
            )
    console.print(table)
    for mosaic in sorted(products.glob("*-o*_i2d.fits")):
        console.print(f"preview: {preview(mosaic)}", soft_wrap=True)


def truth_of(mosaic: Path, simulation: Simulation) -> Path | None:
    """Return the truth table that belongs to a mosaic, by instrument and filter."""
    from astropy.io import fits

    header = fits.getheader(mosaic)
    words = (str(header["INSTRUME"]).lower(), str(header["FILTER"]).lower())
    return next((t for t in simulation.truth if all(w in t.name.lower() for w in words)), None)


def compare_with_truth(mosaic: Path, catalog: Path, truth: Path) -> Recovery:
    """Match a catalog with the simulated stars.

    Parameters
    ----------
    mosaic, catalog, truth : Path
        The ``i2d`` image, its ``cat`` and the truth table (ra, dec in degrees, flux in Jy).

    Returns
    -------
    Recovery
    """
    from astropy.coordinates import SkyCoord
    from astropy.table import Table as AstroTable
    from stdatamodels.jwst import datamodels

    found = AstroTable.read(catalog, format="ascii.ecsv")
    stars = AstroTable.read(truth, format="ascii.ecsv")
    with datamodels.open(str(mosaic)) as model:
        x, y = model.meta.wcs.invert(np.asarray(stars["ra"]), np.asarray(stars["dec"]))
        rows, columns = model.data.shape
        scale = float(np.sqrt(model.meta.photometry.pixelarea_arcsecsq))
    inside = (x > 0) & (y > 0) & (x < columns - 1) & (y < rows - 1)
    stars = stars[inside]
    flux_column = "aper_total_flux" if "aper_total_flux" in found.colnames else "isophotal_flux"
    known = SkyCoord(stars["ra"], stars["dec"], unit="deg")
    index, distance, _ = known.match_to_catalog_sky(found["sky_centroid"])
    close = distance.arcsec < _MATCH * scale * 2
    ratio = np.asarray(found[flux_column])[index][close] / np.asarray(stars["flux"])[close]
    brighter = np.asarray(stars["flux"])[close] >= np.median(np.asarray(stars["flux"])[close])
    bright = ratio[brighter & np.isfinite(ratio)]
    middle = float(np.median(bright)) if bright.size else float("nan")
    return Recovery(
        stars=len(stars),
        found=int(close.sum()),
        flux_ratio=middle,
        flux_scatter=float(1.4826 * np.median(np.abs(bright - middle))) if bright.size else float("nan"),
        offset=float(np.median(distance.arcsec[close]) * 1000) if close.any() else float("nan"),
    )


def preview(mosaic: Path) -> Path:
    """Write a PNG preview beside a mosaic: asinh stretch, north up as the mosaic has it."""
    import matplotlib

    matplotlib.use("Agg")
    from astropy.io import fits
    from matplotlib import pyplot

    with fits.open(mosaic) as hdus:
        image: Any = hdus["SCI"].data
        title = f"{hdus[0].header['INSTRUME']} {hdus[0].header['FILTER']}"
        unit = hdus["SCI"].header.get("BUNIT", "")
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (5, 99.7)) if finite.size else (0.0, 1.0)
    stretched = np.arcsinh(10 * np.clip((image - low) / max(high - low, 1e-30), 0, 1)) / np.arcsinh(10)
    figure, axes = pyplot.subplots(figsize=(7, 7 * image.shape[0] / image.shape[1] + 0.6), layout="constrained")
    axes.imshow(stretched, origin="lower", cmap="magma", interpolation="nearest")
    axes.set_title(f"{title}   {mosaic.name}\n{low:.3g} to {high:.3g} {unit}, asinh", fontsize=9)
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    path = mosaic.with_suffix(".png")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
