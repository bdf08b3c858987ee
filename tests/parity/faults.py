"""Exposures and references with faults, calibrated by ``strun`` and by ``calservice run``, and what becomes of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asdf
import numpy as np
from astropy.io import fits

from calservice.model import modes
from calservice.products.compare import compare_places
from calservice.recipes import recipe_for
from calservice.report_compare import comparison_as_json
from calservice.simulate.context import write_context
from tests.parity.modes import write_mask
from tests.parity.synthetic import Case, ramp_model, raw_ramps, write_references

__all__ = ["INSTRUMENTS", "Bench", "Ended", "Prepared", "bench", "differences", "edited", "prepared"]

_FORKS = Path(__file__).resolve().parents[1] / "cli" / "forks.py"
_KINDS = ("mask", "saturation", "superbias", "linearity", "dark", "gain", "readnoise", "reset", "rscd")
_SIZE = (32, 40)

INSTRUMENTS: Mapping[str, Case] = MappingProxyType(
    {
        "NIRCam": Case("NIRCAM", "NRCALONG", "NRC_IMAGE", shape=(2, 5, *_SIZE)),
        "NIRISS": Case("NIRISS", "NIS", "NIS_IMAGE", shape=(2, 5, *_SIZE)),
        "NIRSpec": Case("NIRSPEC", "NRS2", "NRS_BRIGHTOBJ", shape=(2, 5, *_SIZE)),
        "MIRI": Case("MIRI", "MIRIMAGE", "MIR_IMAGE", shape=(2, 7, *_SIZE)),
        "dark": Case("NIRCAM", "NRCALONG", "NRC_DARK", shape=(2, 5, *_SIZE)),
    }
)
"""Subarrays in the corner of a detector."""
_READOUT = MappingProxyType({"NIRCAM": "RAPID", "NIRISS": "NISRAPID", "NIRSPEC": "NRSRAPID", "MIRI": "FASTR1"})


@dataclass(frozen=True)
class Ended:
    """How a program ended: its status, what it said, and the products that it wrote."""

    status: int
    said: str
    folder: Path

    @property
    def products(self) -> list[str]:
        """Names of what it wrote, but for logs and manifests."""
        ours = (".log", ".manifest.json")
        return sorted(p.name for p in self.folder.rglob("*") if p.is_file() and not p.name.endswith(ours))


@dataclass
class Prepared:
    """An exposure with all that its calibration needs, to be spoiled."""

    pipeline: str
    exposure: Path
    references: dict[str, Path]
    words: list[str] = field(default_factory=list)
    instrument: str = ""

    def overrides(self) -> list[str]:
        """Return parameters that name a file for every reference that the pipeline could ask for."""
        from calservice.engines.official import catalog

        recipe = recipe_for(self.pipeline, self.instrument)
        assert recipe is not None
        pairs = [(alias, kind) for alias in recipe.steps for kind in catalog()[alias].references]
        return [f"--steps.{alias}.override_{kind}={self.references.get(kind, 'N/A')}" for alias, kind in pairs]


@dataclass(frozen=True)
class Bench:
    """The process whose forks run both programs, and the place where they do."""

    process: subprocess.Popen[str]

    def run(self, program: str, made: Prepared, folder: Path) -> Ended:
        """Run a program on an exposure."""
        folder.mkdir(parents=True)
        words = [made.pipeline, str(made.exposure), "--output_dir=out", *made.overrides(), *made.words]
        words = words if program == "strun" else ["run", *words]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"program": program, "words": words, "folder": str(folder)}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        status: int = json.loads(self.process.stdout.readline())["status"]
        (folder / "out").mkdir(exist_ok=True)
        return Ended(status, (folder / "said.txt").read_text(), folder / "out")

    def both(self, made: Prepared, folder: Path) -> tuple[Ended, Ended]:
        """Run ours and the official program on an exposure."""
        return self.run("calservice", made, folder / "ours"), self.run("strun", made, folder / "theirs")


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Start the process, with a CRDS context that knows no reference."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CRDS_", "STPIPE_"))}
    environment |= {"CRDS_PATH": str(folder), "CRDS_CONTEXT": write_context(folder, []), "COLUMNS": "200"}
    environment |= {"STPIPE_DISABLE_CRDS_STEPPARS": "true"}
    with subprocess.Popen(
        [sys.executable, str(_FORKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Bench(process)


def prepared(folder: Path, name: str, *, size: tuple[int, int] | None = None, **changes: Any) -> Prepared:
    """Write an exposure of an instrument, and references of its size or another.

    ``changes`` are those of its `Case`.
    """
    from stdatamodels.jwst import datamodels

    folder.mkdir(parents=True, exist_ok=True)
    case = replace(INSTRUMENTS[name], **changes)
    miri = case.instrument == "MIRI"
    model = datamodels.Level1bModel()
    for array, values in raw_ramps(case, realistic=True).items():
        setattr(model, array, values.astype(np.uint16))
    model.update(ramp_model(case, {}))
    model.meta.exposure.readpatt, model.meta.subarray.name = _READOUT[case.instrument], "SUB64"
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = 1, 2
    model.meta.exposure.noutputs = 4 if miri else 1
    path = folder / "exposure_uncal.fits"
    model.save(str(path))
    readout = (case.nframes, case.groupgap, case.shape[1] + 2)
    references = write_references(
        folder, case, size=size or case.shape[2:], kinds=_KINDS, realistic=True, dark_readout=readout,
        dark_ints=2 if miri else 0,
    )  # fmt: skip
    write_mask(references["mask"], case, size or case.shape[2:])
    for kind in ("superbias",) if miri else ("reset", "rscd"):
        del references[kind]
    pipeline = modes.DARK if case.exp_type.endswith("_DARK") else modes.DETECTOR1
    return Prepared(pipeline, path, references, instrument=case.instrument)


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Give the extensions of a FITS file, to be changed, and write it again; the tree beside them tells nothing."""
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            hdu.data  # noqa: B018 - reads it
        if "ASDF" in hdus:
            room = io.BytesIO()
            asdf.AsdfFile({"meta": {}}).write_to(room)
            tree = np.frombuffer(room.getvalue(), np.uint8)
            column = np.array([(tree,)], [("ASDF_METADATA", "u1", (tree.size,))])
            hdus["ASDF"] = fits.BinTableHDU(column, name="ASDF")
        yield hdus
        hdus.writeto(path, overwrite=True)


def differences(ours: Ended, theirs: Ended) -> str:
    """Return how the products of two programs differ; nothing where they do not."""
    if ours.products != theirs.products:
        return f"{ours.products} instead of {theirs.products}"
    found = compare_places(str(ours.folder), str(theirs.folder))
    return "" if found.same else json.dumps(comparison_as_json(found), indent=1)
