"""Random exposures with random values of several parameters, by both engines: ``python -m tests.parity.combinations``.

One parameter at a time is the business of `tests.parity.parameters`; here steps meet what others leave, in exposures of
few groups or integrations, too. A number stands for one combination, and is told where products are not the same::

    python -m tests.parity.combinations [first] [count]
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from calservice.recipes import OFF_BY_DEFAULT
from tests.parity.modes import MODES, Mode, prepared
from tests.parity.parameters import VARIATIONS, Variation

__all__ = ["combination", "difference"]

_MODES = (
    *("NIRCam SUB160", "NIRCam SUBGRISM64, time series", "NIRISS SUBSTRIP96, averaged", "NIRSpec SUB512"),
    *("MIRI SUB64, every step", "MIRI SLITLESSPRISM, time series", "FGS SUB128, averaged"),
)
_ALWAYS_ON = ("ramp_fit", "clean_flicker_noise", "picture_frame")
"""Steps that are not turned off: without the first there are no rates, and the others are off by default."""
_TELLS_WHEN = "save_intermediate_results"


def combination(seed: int) -> tuple[Mode, tuple[str, ...]]:
    """Return an exposure and parameters, as words of a command line."""
    choose = random.Random(seed)
    mode = MODES[choose.choice(_MODES)]
    near = mode.case.instrument != "MIRI"
    shape = (choose.choice((1, 1, 2, 3, 5)), choose.choice((1, 2, 3, 4, 5, 6, 8, 11)), *mode.case.shape[2:])
    nframes = choose.choice((1, 1, 2, 4)) if near else 1
    groupgap = choose.choice((0, 0, 1)) if nframes > 1 else 0
    case = replace(
        mode.case, shape=shape, nframes=nframes, groupgap=groupgap, zeroframe=near and choose.random() < 0.5, seed=seed
    )
    mode = replace(mode, case=case, every=choose.random() < 0.4)
    values = _values(mode, choose)
    if not mode.every and choose.random() < 0.2:
        values[choose.choice([alias for alias in mode.recipe.steps if alias not in _ALWAYS_ON]), "skip"] = True
    return mode, tuple(f"--steps.{alias}.{name}={_written(value)}" for (alias, name), value in values.items())


def difference(seed: int, folder: Path) -> str:
    """Calibrate a combination by both engines; return what differs, or why one of them failed, else nothing."""
    mode, words = combination(seed)
    ready = prepared(mode, folder)
    command = [sys.executable, "-m", "calservice.cli", "run", mode.pipeline, str(ready.exposure), *ready.words, *words]
    command += [f"--output_dir={folder / 'out'}", "--engine", "auto,jwst", "--compare", "--log-level", "ERROR"]
    done = subprocess.run(command, env=dict(ready.environment), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    return f"{mode.name}, {' x '.join(map(str, mode.case.shape))}: {' '.join(words)}\n{done.stdout}{done.stderr}"


def _values(mode: Mode, choose: random.Random) -> dict[tuple[str, str], Any]:
    """Return values of some parameters of the steps of a mode, by step and name."""
    known = [one for one in VARIATIONS if one.step in mode.recipe.steps and _serves(one)]
    found: dict[tuple[str, str], Any] = {}
    for one in choose.sample(known, choose.choice((1, 2, 3, 5, 8))):
        given: Mapping[str, Any] = {**one.given, one.parameter: choose.choice(one.values)}
        found |= {(one.step, name): value for name, value in given.items() if not name.startswith("override")}
        if one.step in OFF_BY_DEFAULT:
            found[one.step, "skip"] = False
    return found


def _serves(one: Variation) -> bool:
    """Whether a variation neither asks for files or a WCS, nor makes what tells when it was made."""
    told = [*one.values, *one.given.values()]
    asks = one.parameter == "mask_science_regions" or "median_image" in told
    return not (one.official or asks or _TELLS_WHEN in (one.parameter, *one.given) or _names_files(told))


def _names_files(values: list[Any]) -> bool:
    return any(str(value).startswith("@") for value in values)


def _written(value: Any) -> str:
    return ",".join(map(str, value)) + "," * (len(value) == 1) if isinstance(value, list) else str(value)


def main(first: int = 0, count: int = 20) -> int:
    """Print what differs in some combinations; return how many do."""
    found = 0
    for seed in range(first, first + count):
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            told = difference(seed, Path(folder))
        found += bool(told)
        print(f"{seed}: {told or 'the same'}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(min(main(*map(int, sys.argv[1:])), 1))
