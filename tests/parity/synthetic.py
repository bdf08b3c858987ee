"""Small exposures and reference files with every flaw that real ones have, for both engines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calservice.model.block import Window
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.info import ExposureInfo
from calservice.model.stripes import STRIPE_ATTRIBUTES, Stripes
from calservice.references.load import load_reference, load_user_flags
from calservice.references.placement import Placement, fit_to_exposure
from calservice.run.blocks import run_fused
from calservice.run.chain import BoundStep
from calservice.steps.registry import NATIVE

Array = NDArray[Any]
KINDS = ("mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise", "ipc", "reset", "rscd")
_SUBARRAYS = ("FULL", "SUB64", "SUB256", "SLITLESSPRISM")
"""Of MIRI, in the RSCD reference."""
FULL = (48, 56)
"""Rows and columns of the "full frame" of the test references."""


@dataclass(frozen=True)
class Case:
    """What an exposure is like."""

    instrument: str = "NIRCAM"
    detector: str = "NRCA1"
    exp_type: str = "NRC_IMAGE"
    shape: tuple[int, int, int, int] = (2, 6, *FULL)
    """Integrations, groups, rows and columns."""
    nframes: int = 1
    groupgap: int = 0
    start: tuple[int, int] = (1, 1)
    """First column and row on the detector, counted from 1."""
    zeroframe: bool = False
    integration_start: int = 1
    seed: int = 1
    read_times: tuple[float, ...] = ()
    frame_divisor: int | None = None
    readpatt: str = "ANY"
    subarray: str = "ANY"
    stripes: Stripes | None = None
    axes: tuple[int, int] = (1, 2)
    """FASTAXIS and SLOWAXIS."""

    @property
    def info(self) -> ExposureInfo:
        nints, ngroups, nrows, ncols = self.shape
        return ExposureInfo(
            instrument=self.instrument,
            detector=self.detector,
            exp_type=self.exp_type,
            readpatt=self.readpatt,
            subarray=self.subarray,
            nints=nints,
            ngroups=ngroups,
            nrows=nrows,
            ncols=ncols,
            nframes=self.nframes,
            groupgap=self.groupgap,
            frame_time=10.73677,
            group_time=10.73677 * (self.nframes + self.groupgap),
            integration_start=self.integration_start,
            read_times=self.read_times,
            xstart=self.start[0],
            ystart=self.start[1],
            frame_divisor=self.frame_divisor,
            start_time=60000.0,
            integration_time=100.0,
            irs2_pattern=(16, 4) if self.instrument == "NIRSPEC" else (None, None),
            stripes=self.stripes,
            num_superstripe=0 if self.stripes is None else self.stripes.count or 0,
            fastaxis=self.axes[0],
            slowaxis=self.axes[1],
        )

    @property
    def placement(self) -> Placement:
        nrows, ncols = self.shape[2:]
        return Placement(*self.start, ncols, 2048 if nrows == 3200 else nrows, self.stripes, self.axes[1])


def raw_ramps(case: Case, realistic: bool = False) -> dict[str, Array]:
    """Return integer ramps (as float32) from faint to saturated, with jumps, drops and floor values.

    With ``realistic``, most pixels are faint and flaws are as rare as in real exposures.
    """
    rng = np.random.default_rng(case.seed)
    nints, ngroups, nrows, ncols = case.shape
    rate = 10.0 ** rng.uniform(0, 4.6, (nrows, ncols))
    rate[: nrows // 4] = rng.uniform(0, 30, (nrows // 4, ncols))
    reads = np.arange(1, ngroups + 1)[:, None, None] * (case.nframes + case.groupgap)
    ramps = 9000 + rate * reads + rng.normal(0, 8, (nints, ngroups, nrows, ncols))
    if realistic:
        rate[:] = np.exp(rng.normal(3, 1, rate.shape))
        rate[rng.random(rate.shape) < 0.002] = 20000
        ramps = 9000 + rate * reads + rng.normal(0, 8, ramps.shape)
    hits = rng.random(ramps.shape) < (0.0005 if realistic else 0.02)
    ramps += np.cumsum(hits * rng.uniform(50, 30000, ramps.shape), axis=1)
    ramps[rng.random(ramps.shape) < (0.00001 if realistic else 0.004)] = 0
    data = np.clip(np.round(ramps), 0, 65535).astype(np.float32)
    made = {"data": data}
    if case.zeroframe:
        zero = np.clip(np.round(9000 + rate + rng.normal(0, 8, (nints, nrows, ncols))), 0, 65535)
        zero[rng.random(zero.shape) < 0.01] = 0
        made["zeroframe"] = zero.astype(np.float32)
    return made


def flagged_ramps(case: Case) -> dict[str, Array]:
    """Return bias-subtracted ramps with flags as they come to ramp fitting."""
    rng = np.random.default_rng(case.seed + 1000)
    nints, ngroups, nrows, ncols = case.shape
    rate = 10.0 ** rng.uniform(-1, 4, (nrows, ncols))
    times = np.arange(1, ngroups + 1)[:, None, None]
    data = rate * times + rng.normal(0, 10, case.shape)
    flags = np.zeros(case.shape, np.uint8)
    hits = rng.random(case.shape) < 0.06
    data += np.cumsum(hits * rng.uniform(50, 5000, case.shape), axis=1)
    flags[hits] |= PIXEL_FLAGS["JUMP_DET"]
    for name, chance in (("DO_NOT_USE", 0.05), ("PERSISTENCE", 0.03), ("AD_FLOOR", 0.01)):
        flags[rng.random(case.shape) < chance] |= PIXEL_FLAGS[name]
    from_group = rng.integers(0, ngroups * 2, (nints, nrows, ncols))
    saturated = np.arange(ngroups)[None, :, None, None] >= from_group[:, None]
    flags[saturated] |= PIXEL_FLAGS["SATURATED"]
    lone = rng.random((nints, nrows, ncols)) < 0.05
    later = np.arange(ngroups)[None, :, None, None] > 0
    flags[lone[:, None] & later] |= PIXEL_FLAGS["SATURATED"]
    flags[(lone[:, None] & ~later)] = 0
    flags[:, :, :2] = PIXEL_FLAGS["DO_NOT_USE"]
    flags[:, :, 2:4] = PIXEL_FLAGS["SATURATED"] | PIXEL_FLAGS["DO_NOT_USE"]
    pixels = np.zeros((nrows, ncols), np.uint32)
    for name in ("DO_NOT_USE", "SATURATED", "HOT", "LOW_QE", "JUMP_DET"):
        pixels[rng.random((nrows, ncols)) < 0.03] |= np.uint32(PIXEL_FLAGS[name])
    made = {"data": data.astype(np.float32), "groupdq": flags, "pixeldq": pixels}
    if case.zeroframe:
        zero = (rate + rng.normal(0, 10, (nints, nrows, ncols))).astype(np.float32)
        zero[rng.random(zero.shape) < 0.2] = 0
        made["zeroframe"] = zero
    return made


def with_charge_migration(arrays: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return ramps some of whose groups are not used because of charge migration."""
    rng = np.random.default_rng(seed)
    flags = arrays["groupdq"].copy()
    lost = rng.random(flags.shape) < 0.1
    flags[lost] |= PIXEL_FLAGS["CHARGELOSS"] | PIXEL_FLAGS["DO_NOT_USE"]
    return {**arrays, "groupdq": flags}


def ramp_model(case: Case, arrays: Mapping[str, Array]) -> Any:
    """Return the exposure as the official package takes it."""
    from stdatamodels.jwst import datamodels

    model = datamodels.RampModel()
    for name in ("data", "pixeldq", "groupdq", "zeroframe"):
        if name in arrays:
            setattr(model, name, arrays[name].copy())
    for name in ("pixeldq", "groupdq"):
        if name not in arrays:
            setattr(model, name, model.get_default(name))
    info = case.info
    model.meta.instrument.name = info.instrument
    model.meta.instrument.detector = info.detector
    model.meta.exposure.type = info.exp_type
    model.meta.exposure.nints = info.nints
    model.meta.exposure.ngroups = info.ngroups
    model.meta.exposure.nframes = info.nframes
    model.meta.exposure.groupgap = info.groupgap
    model.meta.exposure.frame_time = info.frame_time
    model.meta.exposure.group_time = info.group_time
    model.meta.exposure.integration_start = info.integration_start
    model.meta.exposure.zero_frame = case.zeroframe
    model.meta.exposure.drop_frames1 = 0
    model.meta.observation.date = "2024-01-01"
    model.meta.observation.time = "00:00:00"
    model.meta.filename = "synthetic_uncal.fits"
    model.meta.subarray.xstart, model.meta.subarray.ystart = case.start
    if case.stripes is not None:
        put_stripes(model, case.stripes, case.axes)
    placement = case.placement
    model.meta.subarray.xsize, model.meta.subarray.ysize = placement.xsize, placement.ysize
    if info.instrument == "NIRSPEC":
        model.meta.exposure.nrs_normal, model.meta.exposure.nrs_reference = 16, 4
    if case.read_times:
        model.meta.exposure.read_times = [list(case.read_times)]
    return model


def times_of(count: int) -> Array:
    """Return a table of times of integrations."""
    from stdatamodels.jwst.datamodels import RampModel

    table = np.zeros(count, RampModel().get_default("int_times").dtype)
    table["integration_number"] = 1 + np.arange(count)
    for n, name in enumerate(table.dtype.names[1:]):
        table[name] = 60000 + 0.001 * (np.arange(count) + 0.3 * (n % 3)) + 0.01 * (n // 3)
    return table


def put_stripes(model: Any, stripes: Stripes, axes: tuple[int, int]) -> None:
    """Have an exposure tell of the stripes that it was read in."""
    for name, value in zip(STRIPE_ATTRIBUTES, astuple(stripes), strict=False):
        setattr(model.meta.subarray, name, value)
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = axes


def save(model: Any, case: Case, path: Path, placed: bool = True) -> Path:
    """Write a reference, which covers a full frame if it is placed on one; return its path."""
    model.meta.description = "synthetic"
    model.meta.author = "test"
    model.meta.pedigree = "DUMMY"
    model.meta.useafter = "2020-01-01T00:00:00"
    model.meta.reftype = path.stem
    model.meta.instrument.name = case.instrument
    model.meta.instrument.detector = case.detector
    if placed:
        primary = getattr(model, model.get_primary_array_name())
        model.meta.subarray.xstart, model.meta.subarray.ystart = 1, 1
        model.meta.subarray.xsize = primary.shape[-1]
        model.meta.subarray.ysize = 2048 if primary.shape[-2] == 3200 else primary.shape[-2]
    model.save(str(path))
    return path


def _flags(rng: np.random.Generator, shape: tuple[int, ...], names: Sequence[str], rarity: float = 1) -> Array:
    flags = np.zeros(shape, np.uint32)
    for name in names:
        flags[rng.random(shape) < 0.04 / rarity] |= np.uint32(PIXEL_FLAGS[name])
    return flags


def _definitions(names: Sequence[str]) -> Array:
    """Return a DQ_DEF table that numbers flags in the file's own way, with one unknown name."""
    rows = [(i, 1 << i, name, "") for i, name in enumerate([*names, "NO_SUCH_FLAG"])]
    kinds = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    return np.array(rows, dtype=kinds)


def write_references(
    folder: Path,
    case: Case,
    *,
    size: tuple[int, int] = FULL,
    dark_readout: tuple[int, int, int] = (1, 0, 12),
    dark_ints: int = 0,
    dark_rate: float | Array | None = None,
    inverse: bool = False,
    irs2: bool = False,
    kinds: Collection[str] = KINDS,
    realistic: bool = False,
    seed: int = 7,
) -> dict[str, Path]:
    """Write references of some types; return the paths by type.

    ``dark_readout`` is frames a group, gap and groups; ``dark_ints`` integrations, if it has that axis;
    ``dark_rate`` its average dark current, a number or an image. With ``irs2`` superbias and mask have the
    shape of that readout. ``realistic`` makes flaws as rare as they are in real references.
    """
    from stdatamodels.jwst import datamodels as dm

    paths: dict[str, Path] = {}
    rarity = 20.0 if realistic else 1.0

    def random(kind: str) -> np.random.Generator:
        return np.random.default_rng([seed, *kind.encode()])

    def put(kind: str, make: Callable[[np.random.Generator], Any], *names: str) -> None:
        if kind in kinds:
            model = make(random(kind))
            if names:
                shape = getattr(model, model.get_primary_array_name()).shape[-2:]
                model.dq = _flags(random("dq"), shape, names, rarity)
                model.dq_def = _definitions(names)
            paths[kind] = save(model, case, folder / f"{kind}.fits")

    def image(kind: type, low: float, high: float, bad: Sequence[float], shape: Any = size) -> Any:
        def make(rng: np.random.Generator) -> Any:
            values = rng.uniform(low, high, shape).astype(np.float32)
            for value in bad:
                values[rng.random(shape) < 0.02 / rarity] = value
            return kind(data=values)

        return make

    raw = (3200, size[1]) if irs2 else size
    zeros = np.zeros(raw, np.uint32)
    put("mask", lambda rng: dm.MaskModel(dq=zeros), "DO_NOT_USE", "HOT", "DEAD", "REFERENCE_PIXEL")
    limits = image(dm.SaturationModel, 30000, 62000, [np.nan])
    put("saturation", limits, "NO_SAT_CHECK", "DO_NOT_USE")
    biases = image(dm.SuperBiasModel, 8000, 9500, [np.nan], raw)
    put("superbias", biases, "UNRELIABLE_BIAS", "HOT")
    put("linearity", lambda rng: _linearity(rng, size, inverse, rarity), "NO_LIN_CORR", "NONLINEAR")
    put("dark", lambda rng: _dark(rng, size, dark_readout, dark_ints, dark_rate, rarity))
    put("gain", image(dm.GainModel, 1.5, 2.5, [np.nan, -1, 0]))
    put("readnoise", image(dm.ReadnoiseModel, 5, 20, [np.nan, 0]))
    if "emicorr" in kinds:
        paths["emicorr"] = _interference(folder / "emicorr.asdf")
    for kind, plain in _plain(random, size).items():
        if kind in kinds:
            paths[kind] = save(plain, case, folder / f"{kind}.fits", placed=False)
    return paths


def _interference(path: Path) -> Path:
    """Write a reference of one frequency, which is known of the full frame of MIRI and of one subarray."""
    from stdatamodels.jwst import datamodels as dm

    model = dm.EmiModel()
    wave = np.sin(np.arange(60) * np.pi / 30) + np.sin(np.arange(60) * np.pi / 15 + 1) / 3
    model.frequencies = {"Hz390": {"frequency": 390.625, "phase_amplitudes": wave}}
    model.subarray_cases = {
        name: {"rowclocks": row, "frameclocks": frame, "freqs": {"FAST": ["Hz390"]}}
        for name, row, frame in (("FULL_FAST", 271, 277504), ("SUB64", 28, 8512))
    }
    model.meta.author, model.meta.description, model.meta.pedigree = "test", "synthetic", "GROUND"
    model.meta.useafter = "2020-01-01T00:00:00"
    model.save(str(path))
    return path


def _plain(random: Callable[[str], np.random.Generator], size: tuple[int, int]) -> dict[str, Any]:
    """Return references that are not matched to the exposure by where they lie on the detector."""
    from stdatamodels.jwst import datamodels as dm

    reset = dm.ResetModel(data=random("reset").normal(0, 9, (2, 4, *size)).astype(np.float32))
    reset.dq = _flags(random("dq"), size, ("UNRELIABLE_DARK", "HOT"))
    reset.meta.exposure.nints, reset.meta.exposure.ngroups = 2, 4
    rscd = dm.RSCDModel()
    columns = [("subarray", "S17"), ("readpatt", "S12"), ("group_skip1", "i4"), ("group_skip", "i4")]
    rows = [(subarray, readpatt, 2, 3) for subarray in _SUBARRAYS for readpatt in ("FASTR1", "SLOWR1")]
    rscd.rscd_group_skip_table = np.array(rows, columns)
    kernel = random("ipc").normal(0.01, 0.01, (3, 3)).astype(np.float32)
    return {"reset": reset, "rscd": rscd, "ipc": dm.IPCModel(data=kernel)}


def _linearity(rng: np.random.Generator, size: tuple[int, int], inverse: bool, rarity: float) -> Any:
    from stdatamodels.jwst import datamodels as dm

    scales = (0.5, 0.02, 2e-7, 3e-12, 1e-17)

    def coefficients() -> Array:
        made = np.stack([rng.normal(0, s, size) for s in scales]).astype(np.float32)
        made[1] += 1
        made[3, rng.random(size) < 0.03 / rarity] = np.nan
        made[1, rng.random(size) < 0.03 / rarity] = 0
        return made

    model = dm.LinearityModel(coeffs=coefficients())
    if inverse:
        model.inv_coeffs = coefficients()
    return model


def _dark(
    rng: np.random.Generator,
    size: tuple[int, int],
    readout: tuple[int, int, int],
    nints: int,
    rate: float | Array | None,
    rarity: float,
) -> Any:
    from stdatamodels.jwst import datamodels as dm

    nframes, groupgap, ngroups = readout
    shape = (nints, ngroups, *size) if nints else (ngroups, *size)
    data = np.cumsum(rng.normal(3, 1, shape), axis=-3).astype(np.float32)
    data[rng.random(shape) < 0.02 / rarity] = np.nan
    names = ("UNRELIABLE_DARK", "HOT")
    if nints:
        flags = _flags(rng, (nints, 1, *size), names)
        model = dm.DarkMIRIModel(data=data, dq=flags)
    else:
        model = dm.DarkModel(data=data, dq=_flags(rng, size, names))
    model.meta.exposure.nframes = nframes
    model.meta.exposure.groupgap = groupgap
    model.meta.exposure.ngroups = ngroups
    if isinstance(rate, float):
        model.meta.exposure.average_dark_current = rate
    elif rate is not None:
        model.average_dark_current = rate
    return model


def bind(alias: str, case: Case, paths: Mapping[str, Path], parameters: Mapping[str, Any]) -> BoundStep:
    """Return a native step with its references loaded and cut to the exposure."""
    step = NATIVE[alias]
    loaded = {}
    for need in step.references:
        if need.reftype in paths:
            path = paths[need.reftype]
            whole = load_reference(path, need)
            loaded[need.reftype] = fit_to_exposure(whole, need, case.placement, case.shape[2:], path)
    for need in step.parameter_references:
        if parameters.get(need.reftype) is not None:
            path = parameters[need.reftype]
            loaded[need.reftype] = load_user_flags(path) if need.tree is None else load_reference(path, need)
    return BoundStep(step, step.params(**parameters), loaded)


def run_native(
    case: Case,
    arrays: Mapping[str, Array],
    paths: Mapping[str, Path],
    steps: Sequence[tuple[str, Mapping[str, Any]]],
    cuts: Sequence[Window] | None = None,
    threads: int = 1,
) -> dict[str, Array]:
    """Run native steps; the source arrays are made read-only first."""
    source = {}
    for name, array in arrays.items():
        source[name] = array.view()
        source[name].flags.writeable = False
    bound = [bind(alias, case, paths, parameters) for alias, parameters in steps]
    return run_fused(bound, source, case.info, cuts=cuts, threads=threads)


def run_official(alias: str, model: Any, paths: Mapping[str, Path], parameters: Mapping[str, Any]) -> Any:
    """Run the official step of the same alias on a copy of a model, without asking CRDS anything."""
    return official_step(alias, paths, parameters).process(model)


def official_step(alias: str, paths: Mapping[str, Path], parameters: Mapping[str, Any]) -> Any:
    """Return the official step with its references and parameters."""
    import importlib

    native = NATIVE[alias]
    module, name = native.official.rsplit(".", 1)
    step = getattr(importlib.import_module(module), name)()
    for kind in step.reference_file_types:
        setattr(step, f"override_{kind}", str(paths[kind]) if kind in paths else "N/A")
    for parameter, value in parameters.items():
        setattr(step, parameter, value)
    return step


def same(ours: Array, theirs: Array, name: str) -> None:
    """Demand equal flags bit for bit, and values as close as jwst's own regression tests do."""
    assert ours.shape == theirs.shape, name
    if name.endswith("dq"):
        differing = np.argwhere(ours != theirs)
        assert not len(differing), (
            f"{name}: {len(differing)} differ, first at {differing[0]}: "
            f"{ours[tuple(differing[0])]} not {theirs[tuple(differing[0])]}"
        )
        return
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7, equal_nan=True, err_msg=name)


def compare(ours: Mapping[str, Array], model: Any, names: Sequence[str]) -> None:
    """Compare arrays by name with those of a ramp model."""
    for name in names:
        theirs = getattr(model, name)
        if name in ours:
            same(ours[name], np.asarray(theirs), name)


def compare_rates(ours: Mapping[str, Array], image: Any, integrations: Any) -> None:
    """Compare all that ramp fitting makes with the models of the official step."""
    for prefix, model in (("", image), ("int_", integrations)):
        for kind in ("slope", "dq", "err", "var_poisson", "var_rnoise"):
            official = "data" if kind == "slope" else kind
            same(ours[prefix + kind], np.asarray(getattr(model, official)), prefix + kind)
