"""Peak memory of calwebb_detector1 on an exposure far larger than memory, made here by repeating integrations.

A simulated full-frame integration is written again and again into one exposure file of the wanted size; then
`calservice run` calibrates it, in a process of its own whose peak memory is what the kernel counted. Usage::

    python benchmarks/large_exposure.py [--mode miri-image] [--gigabytes 20] [--groups 60] [--threads 1] [--events]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calservice.simulate import simulate

GB = 1e9
_RECORD = 2880
_EVENTS = {"nircam-image": "expand_large_events", "miri-image": "find_showers"}
"""The parameter of jump that has large events looked for, by mode."""


def repeated(small: Path, target: Path, integrations: int) -> None:
    """Write an exposure whose pixels are those of a small one, several times."""
    from astropy.io import fits

    with fits.open(small, memmap=False) as hdus, open(target, "wb") as out:
        content = small.read_bytes()
        for hdu in hdus:
            info = hdu.fileinfo()
            header = fits.Header.fromstring(content[info["hdrLoc"] : info["datLoc"]].decode("ascii"))
            pixels = content[info["datLoc"] : info["datLoc"] + info["datSpan"]]
            if hdu.name == "PRIMARY":
                header["NINTS"] = integrations
            if hdu.name == "SCI":
                header["NAXIS4"] = integrations
                pixels = pixels[: hdu.size]
            out.write(header.tostring().encode("ascii"))
            for _ in range(integrations if hdu.name == "SCI" else 1):
                out.write(pixels)
            out.write(bytes(-out.tell() % _RECORD))


def calibrated(large: Path, folder: Path, environment: Mapping[str, str], threads: int, events: str) -> None:
    """Plan and run, and print the time and the peak memory."""
    command = [str(Path(sys.executable).with_name("calservice"))]
    chosen = folder / "parameters.yaml"
    chosen.write_text(json.dumps({"class": "jwst.jump.JumpStep", "parameters": {events: True} if events else {}}))
    words = ["plan", str(large), "--level", "1", "--engine", "native", "--param-file", str(chosen)]
    subprocess.run([*command, *words], env=environment, check=True)
    words = ["run", "calwebb_detector1", str(large), "--engine", "native", "--threads", str(threads)]
    words += [f"--output_dir={folder / 'out'}", *([f"--steps.jump.{events}=True"] if events else [])]
    begun = time.monotonic()
    subprocess.run([*command, *words], env={**environment, "TMPDIR": str(folder)}, check=True)
    [path] = (folder / "out").glob("*.manifest.json")
    peak = json.loads(path.read_text())["peak_memory"]
    print(f"{time.monotonic() - begun:.0f} s, peak memory {peak / 2**30:.2f} GiB")


def main() -> None:
    """Make the exposure, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=sorted(_EVENTS), default="nircam-image")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--groups", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--events", action="store_true", help="look for snowballs or showers, too, in more passes")
    parser.add_argument("--folder", default=None)
    options: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-", dir=options.folder) as place:
        folder = Path(place)
        made = simulate(folder, modes=(options.mode,), exposures=1, groups=options.groups, subarray="FULL")
        [small] = made.data.glob("*_uncal.fits")
        large = folder / "large_uncal.fits"
        integrations = max(1, round(options.gigabytes * GB / small.stat().st_size))
        repeated(small, large, integrations)
        small.unlink()
        print(f"{integrations} integrations of {options.groups} groups: {large.stat().st_size / GB:.1f} GB", flush=True)
        environment = {**os.environ, "CRDS_PATH": str(made.crds), "CRDS_CONTEXT": made.context}
        calibrated(large, folder, environment, options.threads, _EVENTS[options.mode] if options.events else "")


if __name__ == "__main__":
    main()
