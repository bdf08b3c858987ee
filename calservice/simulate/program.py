"""A whole small program: exposures, references, context, associations and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calservice.simulate.associations import write_associations
from calservice.simulate.context import Rule, write_context
from calservice.simulate.declarations import Mode, Subarray
from calservice.simulate.exposures import Exposure, write_exposure
from calservice.simulate.geometry import pixel_area
from calservice.simulate.modes import MODES
from calservice.simulate.ramps import read_ramp
from calservice.simulate.references import USEAFTER, Making, write_references
from calservice.simulate.response import Response, generator, make_response
from calservice.simulate.scene import Dither, light_rate, make_dithers, make_stars


@dataclass(frozen=True)
class Simulation:
    """Where everything that belongs to a simulated program is.

    Parameters
    ----------
    folder : Path
        Everything is below here.
    data : Path
        Raw exposures and associations, side by side.
    crds : Path
        A complete offline CRDS cache, to be named by CRDS_PATH.
    context : str
        Name of the context, for CRDS_CONTEXT.
    associations : tuple of Path
        Association files, those of stage 3 first.
    truth : tuple of Path
        Tables of the stars, one per mode: id, ra and dec (degrees), flux (Jy), abmag.
    """

    folder: Path
    data: Path
    crds: Path
    context: str
    associations: tuple[Path, ...]
    truth: tuple[Path, ...]


@dataclass(frozen=True)
class _Request:
    """The shape of the program."""

    exposures: int
    integrations: int
    groups: int
    stars: int
    seed: int
    program: str
    effects: bool


def _check(request: _Request, modes: Sequence[str]) -> None:
    unknown = [name for name in modes if name not in MODES]
    if unknown or not modes or len(set(modes)) != len(modes):
        raise ValueError(f"modes must be one or more of {', '.join(MODES)}, got {tuple(modes)}")
    for name in ("exposures", "integrations", "groups", "stars"):
        if getattr(request, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(request, name)}")
    if not (len(request.program) == 5 and request.program.isdigit()):
        raise ValueError(f"program must be five digits, got {request.program!r}")


def _write_references(making: Making, crds: Path, serial: int) -> list[Rule]:
    mode = making.mode
    folder = crds / "references" / "jwst" / mode.instrument.lower()
    folder.mkdir(parents=True, exist_ok=True)
    parameters = mode.parameters(making.subarray)
    rules = []
    for kind, name in write_references(making, folder, serial).items():
        keys = mode.references[kind].parkeys
        values = tuple(parameters[key] for key in keys)
        rules.append(Rule(mode.instrument, kind, keys, values, USEAFTER, name))
    return rules


def _pixels(
    exposure: Exposure, response: Response, light: NDArray[np.float32], request: _Request
) -> NDArray[np.uint16]:
    """Ramps of one exposure, (integrations, groups, rows, columns)."""
    rate = (light * response.flat + response.dark) * response.gain
    shape = (request.integrations, request.groups, *exposure.subarray.shape)
    pixels = np.empty(shape, dtype=np.uint16)
    for integration in range(request.integrations):
        labels = (exposure.mode.name, "ramp", exposure.number, integration)
        rng = generator(request.seed, *labels) if request.effects else None
        pixels[integration] = read_ramp(response, rate, exposure.mode.readout, request.groups, rng)
    return pixels


def _product(mode: Mode, subarray: Subarray, program: str, observation: str) -> str:
    window = "" if subarray.name == "FULL" else f"-{subarray.name.lower()}"
    element = f"{mode.optical_element}{window}"
    return f"jw{program}-{observation}_t001_{mode.instrument.lower()}_{element}"


def _write_mode(
    mode: Mode, subarray: Subarray, number: int, folder: Path, request: _Request
) -> tuple[list[Rule], Path, list[Path], Path]:
    """Write one mode: its rules, stage-3 association, stage-2 associations and truth."""
    area = pixel_area(mode.optics, subarray)
    response = make_response(mode, subarray, area, request.seed, blemishes=request.effects)
    making = Making(mode, subarray, response, area, request.groups)
    rules = _write_references(making, folder / "crds", number)

    dithers: tuple[Dither, ...] = make_dithers(mode, subarray, request.exposures, request.seed, errors=request.effects)
    stars = make_stars(mode, subarray, dithers, request.stars, request.groups, request.seed)
    names = []
    for place, dither in enumerate(dithers, start=1):
        exposure = Exposure(
            mode=mode,
            subarray=subarray,
            dither=dither,
            program=request.program,
            observation=number,
            number=place,
            total=request.exposures,
            integrations=request.integrations,
            groups=request.groups,
        )
        light = light_rate(mode, subarray, dither.true, stars, area)
        write_exposure(exposure, _pixels(exposure, response, light, request), folder / "data")
        names.append(exposure.name)

    observation = f"o{number:03d}"
    image3, image2 = write_associations(
        folder / "data",
        program=request.program,
        observation=observation,
        product=_product(mode, subarray, request.program, observation),
        exposures=names,
        constraints={
            "instrument": mode.instrument.lower(),
            "exp_type": mode.exp_type.lower(),
            "opt_elem": mode.filter.lower(),
            "subarray": subarray.name.lower(),
        },
    )
    truth = folder / "truth" / f"{mode.name}_{mode.filter.lower()}.ecsv"
    stars.write(truth, mode)
    return rules, image3, image2, truth


def simulate(
    folder: str | Path,
    *,
    modes: Sequence[str] = ("nircam-image", "miri-image"),
    exposures: int = 4,
    integrations: int = 1,
    groups: int = 8,
    subarray: str | None = None,
    stars: int = 40,
    seed: int = 1,
    program: str = "09901",
    effects: bool = True,
) -> Simulation:
    """Make a small, consistent JWST program without any network.

    Parameters
    ----------
    folder : str or Path
        Gets the folders ``data``, ``crds`` and ``truth``; made if it does not exist.
    modes : sequence of str
        Keys of `MODES`; each becomes one observation.
    exposures : int
        Dithered exposures per mode.
    integrations, groups : int
        Ramps per exposure, and groups per ramp.
    subarray : str, optional
        Window to read, by its SUBARRAY name; by default each mode's own small one.
    stars : int
        Stars in each mode's field.
    seed : int
        The same seed and arguments give the same pixels.
    program : str
        Program number, five digits.
    effects : bool
        If False, everything that depends on chance is left out (photon and read noise, cosmic rays,
        offsets and drifts of the electronics, bad pixels, pointing errors), while bias, dark,
        nonlinearity, saturation, flat and gain stay.

    Returns
    -------
    Simulation
        Where things are.

    Raises
    ------
    ValueError
        If an argument makes no sense, or a mode has no such subarray.
    """
    request = _Request(exposures, integrations, groups, stars, seed, program, effects)
    _check(request, modes)
    chosen = [(MODES[name], MODES[name].subarray(subarray)) for name in modes]
    folder = Path(folder).absolute()
    for name in ("data", "crds", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rules: list[Rule] = []
    stage3, stage2, truth = [], [], []
    for number, (mode, window) in enumerate(chosen, start=1):
        mode_rules, image3, image2, table = _write_mode(mode, window, number, folder, request)
        rules += mode_rules
        stage3.append(image3)
        stage2 += image2
        truth.append(table)
    return Simulation(
        folder=folder,
        data=folder / "data",
        crds=folder / "crds",
        context=write_context(folder / "crds", rules),
        associations=(*stage3, *stage2),
        truth=tuple(truth),
    )
