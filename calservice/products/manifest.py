"""`Manifest`: the provenance of one stage's products, published last."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["InputRecord", "Manifest", "Product", "ReferenceRecord", "StepRecord", "manifest_name"]

Status = Literal["COMPLETE", "FAILED"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InputRecord(_Record):
    """An input as it was read: name, role, length, stamp and BLAKE3 checksum; the key of the stage that made it."""

    name: str
    role: str = "science"
    url: str = ""
    size: int = 0
    stamp: str = ""
    blake3: str = ""
    key: str = ""


class ReferenceRecord(_Record):
    """A reference file: CRDS type, name and SHA-1."""

    reftype: str
    name: str
    sha1: str = ""


class StepRecord(_Record):
    """What happened to one step: engine, status (COMPLETE or SKIPPED), seconds of wall time."""

    alias: str
    engine: str
    status: str
    seconds: float | None = None


class Product(_Record):
    """A file written: name, length, BLAKE3 checksum, and its stamp once published."""

    name: str
    size: int
    blake3: str
    stamp: str = ""


class Manifest(_Record):
    """Everything needed to know how the products of one stage came to be, and whether they still stand.

    Attributes
    ----------
    key, recipe_key : str
        Digests as in the plan: of everything, and of all but the inputs.
    parameters, origins : dict
        Effective parameters that differ from the defaults, and where each came from.
    engines : dict
        Engine of each step.
    seconds, peak_memory : float, int
        Wall time in seconds and peak resident memory in bytes of the process that ran the stage.
    """

    format: int = 1
    key: str
    recipe_key: str
    stage: str
    pipeline: str
    product: str
    association: str = ""
    status: Status = "COMPLETE"
    started: str = ""
    seconds: float = 0.0
    peak_memory: int = 0
    host: str = ""
    inputs: tuple[InputRecord, ...] = ()
    references: tuple[ReferenceRecord, ...] = ()
    context: str = ""
    parameters: dict[str, Any] = {}
    origins: dict[str, str] = {}
    engines: dict[str, str] = {}
    versions: dict[str, str] = {}
    steps: tuple[StepRecord, ...] = ()
    products: tuple[Product, ...] = ()
    caveats: tuple[str, ...] = ()

    def dump(self) -> bytes:
        """Return the manifest as JSON."""
        return (json.dumps(self.model_dump(), indent=1, sort_keys=False) + "\n").encode()

    @classmethod
    def load(cls, content: bytes) -> Manifest | None:
        """Parse a manifest; None where the content is not one (a half-written or foreign file)."""
        try:
            return cls.model_validate_json(content)
        except (ValidationError, ValueError):
            return None


def manifest_name(label: str) -> str:
    """Return the file name of the manifest of a stage with the given label."""
    return f"{label}.manifest.json"
