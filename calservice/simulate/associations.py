"""Association files as the operations pipeline writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

_STAMP = "20260101t000000"
_CODE_VERSION = "3.0.0"


def _constraints(values: Mapping[str, str]) -> str:
    return "\n".join(
        f"DMSAttrConstraint({{'name': '{name}', 'sources': ['{name}'], 'value': '{value}'}})"
        for name, value in values.items()
    )


def _write(
    path: Path,
    rule: str,
    program: str,
    observation: str,
    constraints: Mapping[str, str],
    product: str,
    members: Sequence[str],
) -> Path:
    kind = path.name.split("_")[2]
    candidate = f"('{observation}', 'observation')"
    content = {
        "asn_type": kind,
        "asn_rule": rule,
        "version_id": _STAMP,
        "code_version": _CODE_VERSION,
        "degraded_status": "No known degraded exposures in association.",
        "program": program,
        "constraints": _constraints({"program": program, **constraints}),
        "asn_id": observation,
        "target": "t001",
        "asn_pool": f"jw{program}_{_STAMP}_pool.csv",
        "products": [
            {
                "name": product,
                "members": [
                    {
                        "expname": name,
                        "exptype": "science",
                        "exposerr": "null",
                        "asn_candidate": candidate,
                    }
                    for name in members
                ],
            }
        ],
    }
    path.write_text(json.dumps(content, indent=4) + "\n")
    return path


def write_associations(
    folder: Path,
    *,
    program: str,
    observation: str,
    product: str,
    exposures: Sequence[str],
    constraints: Mapping[str, str],
) -> tuple[Path, list[Path]]:
    """Write one stage-3 association and one stage-2 association per exposure.

    Parameters
    ----------
    folder : Path
        Where the exposures are.
    program : str
        Program number, five digits.
    observation : str
        Association candidate, such as ``o001``.
    product : str
        Name of the stage-3 product.
    exposures : sequence of str
        Exposure names without suffix, such as ``jw09901001001_02101_00001_nrcblong``.
    constraints : mapping of str to str
        What the members have in common, by keyword.

    Returns
    -------
    image3 : Path
        The stage-3 association.
    image2 : list of Path
        The stage-2 associations.
    """
    stem = f"jw{program}-{observation}_{_STAMP}"
    image3 = _write(
        folder / f"{stem}_image3_00001_asn.json",
        "Asn_Lv3Image",
        program,
        observation,
        constraints,
        product,
        [f"{name}_cal.fits" for name in exposures],
    )
    image2 = [
        _write(
            folder / f"{stem}_image2_{number:05d}_asn.json",
            "Asn_Lv2Image",
            program,
            observation,
            constraints,
            name,
            [f"{name}_rate.fits"],
        )
        for number, name in enumerate(exposures, start=1)
    ]
    return image3, image2
