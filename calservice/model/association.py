"""`Association`: the JSON file that names exposures and the product they make.

The rules are those of the JWST association documentation (levels 2 and 3): a list of products, each with a name and
members; members are file names, co-resident with the association, never paths that leave its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from calservice.model.errors import AssociationError
from calservice.model.modes import PIPELINES, pipeline_for_asn_type
from calservice.model.names import base_and_suffix, shown, stem

__all__ = ["AsnProduct", "Association", "Member", "looks_like_association"]

_MAX_BYTES = 64 * 1024 * 1024


class Member(BaseModel):
    """One file of an association and its role. Further keys of the file are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    expname: str = Field(min_length=1)
    exptype: str = Field(min_length=1)

    @field_validator("expname")
    @classmethod
    def _stays_in_folder(cls, value: str) -> str:
        path = PurePosixPath(value.replace("\\", "/"))
        if path.is_absolute() or "://" in value or (len(value) > 1 and value[1] == ":"):
            raise ValueError(f"member {value!r} is an absolute path; members are names of files beside the association")
        if ".." in path.parts:
            raise ValueError(f"member {value!r} leaves the association's folder; members are names of files beside it")
        if "\0" in value or "\n" in value:
            raise ValueError(f"member {value!r} is not a file name")
        return value

    @property
    def role(self) -> str:
        """The member's role in lower case."""
        return self.exptype.lower()


class AsnProduct(BaseModel):
    """One product of an association: its name and the members that make it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = ""
    members: tuple[Member, ...] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if "/" in value or "\\" in value or value in (".", ".."):
            raise ValueError(f"product name {value!r} is a path; it must be the base of a file name")
        return value

    def role(self, *roles: str) -> tuple[Member, ...]:
        """Return the members with one of the given roles, each file once, in order."""
        return tuple({m.expname: m for m in self.members if m.role in roles}.values())

    @property
    def pairs(self) -> dict[tuple[str, str], Member]:
        """The members by file name and role: what is named twice in one role is there once, in order."""
        return {(m.expname, m.role): m for m in self.members}

    @property
    def by_source(self) -> bool:
        """Whether the product is one a source (its name holds ``{source_id}``)."""
        return "{source_id}" in self.name


class Association(BaseModel):
    """A parsed, checked association.

    Attributes
    ----------
    filename : str
        Name of the JSON file, as products record it in ASNTABLE.
    folder : str
        Path or URL of the folder that holds it and its members.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    filename: str
    folder: str = ""
    asn_type: str | None = None
    asn_rule: str | None = None
    asn_id: str | None = None
    asn_pool: str | None = None
    program: str | None = None
    target: str | None = None
    products: tuple[AsnProduct, ...] = Field(min_length=1)

    @classmethod
    def parse(cls, text: str | bytes, filename: str, folder: str = "") -> Association:
        """Parse and check the text of an association file.

        Parameters
        ----------
        text : str or bytes
            Content of the file.
        filename : str
            Its name, for messages and for the products' headers.
        folder : str
            Path or URL of its folder.

        Raises
        ------
        AssociationError
            With every fault found: not JSON (line and column), not an association, keys missing, members that leave
            the folder.
        """
        where = shown(f"{folder.rstrip('/')}/{filename}" if folder else filename)
        if len(text) > _MAX_BYTES:
            raise AssociationError(f"{where}: {len(text)} bytes are too many for an association")
        try:
            content = json.loads(text)
        except UnicodeDecodeError:
            raise AssociationError(f"{where}: not JSON: it is not even text. Give an association file.") from None
        except json.JSONDecodeError as fault:
            raise AssociationError(
                f"{where}: not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}. Mend it there."
            ) from None
        except RecursionError:
            raise AssociationError(f"{where}: not an association: nested too deeply") from None
        if not isinstance(content, dict):
            raise AssociationError(f"{where}: not an association: a JSON object with 'products' is expected")
        content = {key: value for key, value in content.items() if key not in ("filename", "folder")}
        try:
            return cls.model_validate({**content, "filename": filename, "folder": folder})
        except ValidationError as fault:
            raise AssociationError("\n".join(f"{where}: {line}" for line in _faults(fault))) from None

    @property
    def where(self) -> str:
        """Path or URL of the file, as it may be shown."""
        return shown(f"{self.folder.rstrip('/')}/{self.filename}" if self.folder else self.filename)

    @property
    def pipeline(self) -> str | None:
        """The pipeline that ``asn_type`` names; None where it names none and the exposures decide."""
        return pipeline_for_asn_type(self.asn_type)

    @property
    def level(self) -> int | None:
        """2 or 3 by ``asn_type``, else by ``asn_rule``, else None."""
        if self.pipeline:
            return PIPELINES[self.pipeline]
        rule = (self.asn_rule or "").lower()
        if "level2" in rule or "lv2" in rule:
            return 2
        if "level3" in rule or "lv3" in rule:
            return 3
        return None

    def product_name(self, product: AsnProduct) -> str:
        """Return the base name of a product's files (a known suffix or extension in it is dropped)."""
        if product.name:
            return base_and_suffix(product.name)[0] if product.name.endswith(".fits") else product.name
        if self.level == 3:
            return stem(self.filename).removesuffix("_asn")
        science = product.role("science") or product.members
        return base_and_suffix(science[0].expname)[0]

    def record(self, product: AsnProduct, members: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the JSON content of this association for one product with the given members."""
        content = self.model_dump(exclude={"filename", "folder", "products"})
        content.setdefault("asn_id", "a3001")
        return {**content, "products": [{"name": self.product_name(product), "members": members}]}


_WORDS = {
    "missing": "this key is missing",
    "too_short": "at least one entry is needed",
    "string_too_short": "it is empty",
    "tuple_type": "a list is expected",
    "model_type": "an object with keys is expected",
    "string_type": "a text is expected",
}
"""What pydantic finds, in the words of JSON."""


def _faults(error: ValidationError) -> Iterator[str]:
    """Say what is wrong, fault by fault; a list is not called short for the faulty entries that are left out of it."""
    places = [fault["loc"] for fault in error.errors()]
    for fault in error.errors():
        here = fault["loc"]
        if fault["type"] == "too_short" and any(p[: len(here)] == here and len(p) > len(here) for p in places):
            continue
        place = ".".join(str(part) for part in here)
        message = _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        yield f"{place}: {message}" if place else message


def looks_like_association(content: Any) -> bool:
    """Whether parsed JSON has the shape of an association (used when a folder is searched)."""
    products = content.get("products") if isinstance(content, dict) else None
    if not isinstance(products, list) or not products:
        return False
    return all(isinstance(p, dict) and isinstance(p.get("members"), list) for p in products)
