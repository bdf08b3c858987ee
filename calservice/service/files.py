"""`ProductFile`: a product of a job as a Python object, with its provenance, header and content."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex, overload

from calservice.model.errors import CalserviceError, InputError
from calservice.model.exposure import Exposure, FileStat
from calservice.model.names import base_and_suffix
from calservice.model.plan import Stage
from calservice.products.headers import read_exposure
from calservice.products.manifest import Manifest, Product, manifest_name
from calservice.products.store import Store, shown

__all__ = ["ProductFile", "ProductList", "products_of"]


class ProductFile:
    """A product of a job.

    Attributes
    ----------
    name : str
        File name.
    size : int
        Bytes.
    blake3 : str
        BLAKE3 checksum of the content, in hexadecimal.
    level : int
        Stage of the pipeline that made it; 0 for a single step.
    manifest : Manifest
        Its provenance: inputs, references, parameters, versions, steps.
    """

    def __init__(self, record: Product, manifest: Manifest, store: Store, level: int) -> None:
        self.name = record.name
        self.size = record.size
        self.blake3 = record.blake3
        self.level = level
        self.manifest = manifest
        self._store = store
        self._fetched: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Path or URL."""
        return self._store.join(self.name)

    @property
    def suffix(self) -> str:
        """What kind of product it is: ``rate``, ``cal``, ``i2d`` ..."""
        return base_and_suffix(self.name)[1] or ""

    @property
    def path(self) -> Path:
        """Local path; a remote product is fetched into a temporary folder, which goes when this object does."""
        if self._store.local:
            return self._store.path(self.name)
        if self._fetched is None:
            folder = tempfile.TemporaryDirectory(prefix="calservice-product-")
            self._store.fetch(self.name, Path(folder.name))
            self._fetched = folder
        return Path(self._fetched.name, Path(self.name).name)

    @property
    def at_hand(self) -> bool:
        """Whether it is a local file, or was fetched already."""
        return self._store.local or self._fetched is not None

    def open(self) -> Any:
        """Open it.

        Returns
        -------
        JwstDataModel, astropy.table.QTable or object
            The datamodel of a FITS or ASDF file, the table of a catalog (ECSV), the content of a JSON file.

        Raises
        ------
        InputError
            Where it is gone, or of another kind; its ``path`` is then what there is.
        """
        path = self.path
        if not path.is_file():
            raise InputError(f"{shown(self.url)}: no such file")
        if self.name.endswith((".fits", ".fits.gz", ".asdf")):
            from stdatamodels.jwst import datamodels

            return datamodels.open(str(path))
        if self.name.endswith(".ecsv"):
            from astropy.table import QTable

            return QTable.read(path, format="ascii.ecsv")
        if self.name.endswith(".json"):
            import json

            return json.loads(path.read_bytes())
        raise InputError(f"{shown(self.url)}: neither FITS, ASDF, ECSV nor JSON")

    def header(self) -> Mapping[str, Any]:
        """Return the keywords of a FITS file, those of the primary header and of SCI; none of another file.

        Raises
        ------
        InputError
            Where it is gone or cannot be read.
        """
        return self._exposure.keywords if self._exposure is not None else {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the science array, slowest axis first; empty where there is none."""
        return self._exposure.shape if self._exposure is not None else ()

    @cached_property
    def _exposure(self) -> Exposure | None:
        if not self.name.endswith((".fits", ".fits.gz")):
            return None
        found = FileStat(str(self.path), self.size, "") if self.at_hand else self._store.stat(self.name)
        if found is None:
            raise InputError(f"{shown(self.url)}: no such file")
        return read_exposure(found)

    def __repr__(self) -> str:
        from calservice.report import size

        return f"<ProductFile {self.name}: {size(self.size)}, made by {self.manifest.pipeline}>"

    def _repr_html_(self) -> str:
        from calservice.report_html import product_html
        from calservice.service.preview import preview_png

        try:
            keywords, shape, fault = self.header(), self.shape, ""
        except CalserviceError as found:
            keywords, shape, fault = {}, (), str(found)
        picture = preview_png(self.path) if self.at_hand and not fault else None
        return product_html(self, keywords, shape, picture=picture, fault=fault)


class ProductList(list[ProductFile]):
    """Products, shown as a table."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> ProductFile: ...
    @overload
    def __getitem__(self, index: slice) -> ProductList: ...
    def __getitem__(self, index: SupportsIndex | slice) -> ProductFile | ProductList:
        found = super().__getitem__(index)
        return found if isinstance(found, ProductFile) else ProductList(found)

    def of(self, *suffixes: str) -> ProductList:
        """Return the products of some kinds: ``of("cal", "i2d")``."""
        return ProductList(p for p in self if p.suffix in suffixes)

    def __repr__(self) -> str:
        return f"<ProductList of {len(self)}: {', '.join(p.name for p in self)}>"

    def _repr_html_(self) -> str:
        from calservice.report_html import products_html

        return products_html(self)


def products_of(stage: Stage, store: Store) -> ProductList:
    """Return the products of a stage, as its manifest vouches for them; none where there is no manifest."""
    name = manifest_name(stage.label)
    manifest = Manifest.load(store.read(name)) if store.stat(name) is not None else None
    records: Iterable[Product] = manifest.products if manifest is not None else ()
    return ProductList(ProductFile(r, manifest, store, stage.level) for r in records if manifest is not None)
