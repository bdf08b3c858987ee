"""Run the official pipeline over a simulated program; started as a process of its own.

Arguments: the data folder and the names of stage-3 associations in it. The CRDS_ variables of the
environment say where the references are.
"""

import json
import sys
from pathlib import Path
from typing import Any


def calibrate(data: Path, association: str) -> None:
    """Run stages 1, 2 and 3 for one stage-3 association, writing into `data`."""
    from jwst.pipeline import Detector1Pipeline, Image2Pipeline, Image3Pipeline

    options: dict[str, Any] = {"output_dir": str(data), "save_results": True}
    content = json.loads((data / association).read_text())
    for member in content["products"][0]["members"]:
        name = member["expname"].removesuffix("_cal.fits")
        Detector1Pipeline.call(str(data / f"{name}_uncal.fits"), **options)
    stem, _, _ = association.partition("_image3")
    for stage2 in sorted(data.glob(f"{stem}_image2_*_asn.json")):
        Image2Pipeline.call(str(stage2), steps={"resample": {"skip": True}}, **options)
    Image3Pipeline.call(str(data / association), **options)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        calibrate(Path(sys.argv[1]), name)
