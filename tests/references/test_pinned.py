"""Official steps in a process pinned to a context: references of the plan, no network, no locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

CONTEXT = "jwst_0001.pmap"
MASK, LOST = "jwst_nircam_mask_0001.fits", "jwst_nircam_gain_0000.fits"
SCRIPT = """
import json, os, sys
from pathlib import Path
if "early" in sys.argv:
    import stpipe.crds_client  # crds and stpipe are at work before install is called
from calservice.references import pinned
cache, other = Path(sys.argv[1]), Path(sys.argv[2])
pinned.install(other, "jwst_0001.pmap")
pinned.install(cache, "jwst_0001.pmap")
pinned.install(cache, "jwst_0001.pmap")
out = {"installed": str(pinned.installed().cache)}
out["environment"] = {name: value for name, value in os.environ.items() if name.startswith("CRDS")}

from stpipe import crds_client
from crds.core.exceptions import CrdsLookupError
header = {"meta.instrument.name": "NIRCAM", "meta.instrument.detector": "NRCA1",
          "meta.observation.date": "2023-01-01", "meta.observation.time": "00:00:00"}
out["paths"] = crds_client.get_multiple_reference_paths(header, ["mask", "fringe", "made-up"], "jwst")
out["one"] = crds_client.get_reference_file(header, "mask", "jwst")
out["none"] = crds_client.get_multiple_reference_paths(header, [], "jwst")
out["uri"] = crds_client.reference_uri_to_cache_path("crds://" + sys.argv[3], "jwst")
out["context"] = crds_client.get_context_used("jwst")
for name, kinds, parameters in (
    ("missing", ["gain"], header),
    ("no match", ["dark", "gain"], header | {"meta.instrument.detector": "NRCALONG"}),
    ("no instrument", ["dark"], {"meta.exposure.type": "x"}),
):
    try:
        crds_client.get_multiple_reference_paths(parameters, kinds, "jwst")
    except Exception as error:
        out[name] = [type(error).__name__, str(error)]
assert issubclass(CrdsLookupError, crds_client.CrdsError)
if "step" in sys.argv:
    from jwst.dq_init import DQInitStep
    from stdatamodels.jwst.datamodels import open as open_model
    with open_model(sys.argv[-1]) as model:
        result = DQInitStep.call(model, save_results=False)
        result.save(str(cache.parent / "result.fits"))
print("RESULT:" + json.dumps(out))
"""


def run(store: Any, tmp_path: Path, url: str, *options: str) -> dict[str, Any]:
    """Run the script, with a cache that lacks one file, and settings that would go astray."""
    cache, other = store.lay(tmp_path / "cache"), store.lay(tmp_path / "other", flat=True)
    (cache / "references" / "jwst" / "nircam" / LOST).unlink()
    astray = {"CRDS_SERVER_URL": url, "CRDS_PATH": "/nowhere", "CRDS_REFPATH": "/nowhere", "CRDS_MODE": "remote"}
    command = [sys.executable, "-c", SCRIPT, str(cache), str(other), MASK, *options]
    done = subprocess.run(command, env=os.environ | astray, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not [*cache.rglob(".lock*"), *cache.rglob("*.lock"), *cache.rglob(".tmp*")]
    return json.loads(done.stdout.split("RESULT:")[-1])


@pytest.fixture
def with_mask(store: Any, tmp_path: Path) -> Any:
    """Return the store with a mask that is a reference file indeed."""
    mask = np.zeros((32, 32), np.uint32)
    mask[3, 4] = 1
    flags = fits.BinTableHDU.from_columns(
        [
            fits.Column("BIT", "J", array=[0]),
            fits.Column("VALUE", "J", array=[1]),
            fits.Column("NAME", "40A", array=["DEAD"]),
            fits.Column("DESCRIPTION", "80A", array=["dead"]),
        ],
        name="DQ_DEF",
    )
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name="DQ"), flags])
    hdus[0].header.update(
        TELESCOP="JWST",
        INSTRUME="NIRCAM",
        DETECTOR="NRCA1",
        REFTYPE="MASK",
        DATAMODL="MaskModel",
        SUBARRAY="SUB32",
        SUBSTRT1=1,
        SUBSTRT2=1,
        SUBSIZE1=32,
        SUBSIZE2=32,
        FASTAXIS=-1,
        SLOWAXIS=2,
        USEAFTER="2020-01-01T00:00:00",
        AUTHOR="tests",
        PEDIGREE="DUMMY",
        DESCRIP="made",
    )
    hdus.writeto(tmp_path / MASK)
    store.put(MASK, (tmp_path / MASK).read_bytes())
    store.rules("mask", {"NRCA1": {"2020-01-01 00:00:00": MASK}})
    store.context(["dark", "gain", "flat", "mask"])
    return store


def check(found: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    mask = str(cache / "references" / "jwst" / "nircam" / MASK)
    assert found["installed"] == str(cache)
    expected = {"CRDS_PATH": str(cache), "CRDS_CONTEXT": CONTEXT, "CRDS_MODE": "local", "CRDS_READONLY_CACHE": "1"}
    assert found["environment"].items() >= expected.items()
    assert not {"CRDS_SERVER_URL", "CRDS_REFPATH"} & set(found["environment"])
    assert found["paths"] == {"mask": mask, "fringe": "N/A", "made-up": "N/A"}
    assert (found["one"], found["uri"], found["none"], found["context"]) == (mask, mask, {}, CONTEXT)
    kind, text = found["missing"]
    assert kind == "ReferenceFileError"
    assert LOST in text
    kind, text = found["no match"]
    assert kind == "CrdsLookupError"
    assert "no dark reference" in text
    assert "no gain reference" in text
    assert found["no instrument"][0] == "CrdsLookupError"


@pytest.mark.parametrize("options", [(), ("early",)])
def test_install(with_mask: Any, serve: Any, tmp_path: Path, options: tuple[str, ...]) -> None:
    server = serve()
    check(run(with_mask, tmp_path, server.url, *options), tmp_path)
    assert server.stats() == {}  # nobody asked it anything


@pytest.mark.official
def test_official_step(with_mask: Any, serve: Any, tmp_path: Path) -> None:
    pytest.importorskip("jwst")
    import crds
    from stdatamodels.jwst.datamodels import RampModel

    model = RampModel((1, 2, 32, 32))
    model.meta.telescope = "JWST"
    model.meta.instrument.name, model.meta.instrument.detector = "NIRCAM", "NRCA1"
    model.meta.observation.date, model.meta.observation.time = "2023-01-01", "00:00:00"
    model.meta.exposure.type = "NRC_IMAGE"
    model.meta.subarray.name = "SUB32"
    model.meta.subarray.xstart = model.meta.subarray.ystart = 1
    model.meta.subarray.xsize = model.meta.subarray.ysize = 32
    model.meta.subarray.fastaxis, model.meta.subarray.slowaxis = -1, 2
    model.save(tmp_path / "ramp.fits")
    server = serve()
    check(run(with_mask, tmp_path, server.url, "step", str(tmp_path / "ramp.fits")), tmp_path)
    assert server.stats() == {}  # nobody asked it anything
    with fits.open(tmp_path / "result.fits") as result:
        header = result[0].header
        assert result["PIXELDQ"].data[3, 4] == 1024  # DEAD
    assert header["S_DQINIT"] == "COMPLETE"
    assert (header["R_MASK"], header["CRDS_CTX"]) == (f"crds://{MASK}", CONTEXT)
    assert header["CRDS_VER"] == crds.__version__
