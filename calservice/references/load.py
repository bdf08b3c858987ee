"""Load reference files into `Reference` values."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from astropy.io import fits

from calservice.disk import looked_up
from calservice.fits_on_disk import image_on_disk, is_plain_fits, table_on_disk
from calservice.model.block import Array
from calservice.model.dqflags import PIXEL_FLAGS
from calservice.model.errors import ReferenceFileError
from calservice.model.step import Reference, ReferenceNeed

__all__ = [
    "clear_cache",
    "keep_loaded",
    "load_reference",
    "load_user_flags",
    "load_user_mask",
    "reference_of_model",
]

_EXTENSIONS: Mapping[str, str] = {
    "data": "SCI",
    "dq": "DQ",
    "err": "ERR",
    "coeffs": "COEFFS",
    "inv_coeffs": "INV_COEFFS",
    "average_dark_current": "AVDRKCUR",
    "rscd_group_skip_table": "RSCD_GROUP_SKIP",
    "irs2_table": "IRS2",
    "dq_table": "DQ",
}
"""FITS extensions of arrays whose name differs from the extension's, as in the stdatamodels schemas."""

_KEYWORDS: Mapping[str, str] = {
    "meta.instrument.name": "INSTRUME",
    "meta.instrument.detector": "DETECTOR",
    "meta.exposure.readpatt": "READPATT",
    "meta.exposure.nints": "NINTS",
    "meta.exposure.nframes": "NFRAMES",
    "meta.exposure.ngroups": "NGROUPS",
    "meta.exposure.groupgap": "GROUPGAP",
    "meta.exposure.gain_factor": "GAINFACT",
    "meta.exposure.average_dark_current": "AVDRKCUR",
    "meta.subarray.name": "SUBARRAY",
    "meta.subarray.xstart": "SUBSTRT1",
    "meta.subarray.ystart": "SUBSTRT2",
    "meta.subarray.xsize": "SUBSIZE1",
    "meta.subarray.ysize": "SUBSIZE2",
    "meta.reftype": "REFTYPE",
    "meta.pedigree": "PEDIGREE",
    "meta.useafter": "USEAFTER",
}
"""Header keywords by the metadata path that stdatamodels gives them."""

_CACHE_BYTES = 2 * 1024**3
_CACHE_FILES = 64
_SMALL = 2**20
_Key = tuple[str, int, int, ReferenceNeed]


class _Cache:
    """References of this process, most recently used last, within a number of bytes and of files, which stay open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._held: OrderedDict[_Key, Reference] = OrderedDict()

    def get(self, key: _Key) -> Reference | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: _Key, reference: Reference) -> None:
        with self._lock:
            self._held[key] = reference
            while len(self._held) > _CACHE_FILES or (len(self._held) > 1 and self._bytes() > self._limit):
                self._held.popitem(last=False)

    def _bytes(self) -> int:
        return sum(map(_bytes, self._held.values()))

    def drop(self, reference: Reference) -> None:
        """Forget a reference."""
        with self._lock:
            self._held = OrderedDict((key, held) for key, held in self._held.items() if held is not reference)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()


def _bytes(reference: Reference) -> int:
    """Return the memory a reference takes."""
    return sum(a.nbytes for a in reference.arrays.values() if isinstance(a, np.ndarray))


_cache = _Cache(_CACHE_BYTES)
_large: set[_Key] = set()
"""What `keep_loaded` need not load again to find that it takes too much memory."""


def clear_cache() -> None:
    """Forget all references that this process holds."""
    _cache.clear()
    _large.clear()


def load_reference(path: str | Path, need: ReferenceNeed) -> Reference:
    """Load what a step needs of a reference file, whole.

    Parameters
    ----------
    path : str or Path
        A FITS or ASDF file on this machine.
    need : ReferenceNeed
        The arrays to load; in an ASDF file a dotted name is the path to one, which keeps its type. An array that the
        file lacks is left out; ``dq`` is then zero.

    Returns
    -------
    Reference
        Read-only arrays in native byte order: float32, and uint32 for flags, which have the standard
        values whatever the file's DQ_DEF table numbers them. Images stay on disk, as `DiskArray`, where the file's
        layout allows it. Tables are structured arrays with the columns in lower case; large ones stay on disk, too,
        as `DiskTable`. Kept for the next call as long as the file stays the same.

    Raises
    ------
    ReferenceFileError
        If the file is missing or is no readable FITS file, or has none of the arrays.
    """
    try:
        key = _key(path, need)
        known = _cache.get(key)
        if known is not None:
            return known
        if need.tree is not None:
            reference = _load_tree(path, need)
        else:
            reference = _load_asdf(path, need) if Path(path).suffix == ".asdf" else _load_fits(path, need)
        reference = replace(reference, name=str(path))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise ReferenceFileError(
            f"{path}: the {need.reftype} reference cannot be read ({error}); "
            "remove it from the reference cache so that it is fetched again"
        ) from error
    if need.arrays and not reference.arrays:
        raise ReferenceFileError(
            f"{path}: has none of the arrays {', '.join(need.arrays)} of a {need.reftype} reference; "
            "give a file of that type"
        )
    _cache.put(key, reference)
    return reference


def keep_loaded(path: str | Path, need: ReferenceNeed) -> None:
    """Load what a step needs of a reference file for later calls, unless it takes more than a little memory.

    Parameters and errors are those of `load_reference`.
    """
    with suppress(OSError):  # which loading tells of
        if _key(path, need) in _large:
            return
    reference = load_reference(path, need)
    if _bytes(reference) > _SMALL:
        _large.add(_key(path, need))
        _cache.drop(reference)


def _key(path: str | Path, need: ReferenceNeed) -> _Key:
    """Return by what a reference is known to be the same."""
    status = Path(path).stat()
    return str(path), status.st_mtime_ns, status.st_size, need


def _load_fits(path: str | Path, need: ReferenceNeed) -> Reference:
    place = Path(path) if is_plain_fits(path) else None
    with fits.open(path, memmap=False) as file:
        return Reference(_arrays(file, need, place), _metadata(file))


def _load_asdf(path: str | Path, need: ReferenceNeed) -> Reference:
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model:
        return reference_of_model(model, need)


def _load_tree(path: str | Path, need: ReferenceNeed) -> Reference:
    import asdf

    with asdf.open(path, memmap=False) as file:
        return _of_tree(file.tree, need)


def _of_tree(tree: Mapping[str, Any], need: ReferenceNeed) -> Reference:
    assert need.tree is not None
    arrays = need.tree(tree)
    for array in arrays.values():
        array.flags.writeable = False
    return Reference(arrays, {})


def _extension(name: str) -> str:
    return _EXTENSIONS.get(name, name.upper())


def _arrays(file: fits.HDUList, need: ReferenceNeed, path: Path | None) -> dict[str, Array]:
    """Return arrays; of a file with a path, images stay there. Flags that it lacks are zeros of their shape."""
    made: dict[str, Array] = {}
    for name in sorted(need.arrays, key=lambda name: name == "dq"):
        extension = _extension(name)
        hdu = file[extension] if extension in file else None  # noqa: SIM401 - HDUList has no get
        stored = image_on_disk(path, hdu) if path is not None and type(hdu) is fits.ImageHDU else None
        if stored is not None and stored.dtype == (np.uint32 if name == "dq" else np.float32):
            if name == "dq" and (tables := _translations(file)) is not None:
                stored = stored.translated(tables)
            made[name] = cast(Array, stored)
            continue
        table = table_on_disk(path, hdu) if path is not None and type(hdu) is fits.BinTableHDU else None
        if table is not None:
            made[name] = cast(Array, table)
            continue
        found = None if hdu is None else hdu.data
        if name == "dq" and found is None and made:
            found = np.zeros(next(iter(made.values())).shape[-2:], np.uint32)
        if found is None:
            continue
        if name == "dq":
            array = np.array(found, dtype=np.uint32, order="C")
            tables = _translations(file)
            array = array if tables is None else looked_up(array, tables)
        elif found.dtype.names:
            array = _table(found)
        else:
            array = np.array(found, dtype=np.float32, order="C")
        array.flags.writeable = False
        made[name] = array
    return made


def _table(stored: Any) -> Array:
    """Return a table as a structured array: columns in lower case, text decoded."""
    columns = {name.lower(): np.asarray(stored[name]) for name in stored.dtype.names}
    native = {name: a.astype(a.dtype.newbyteorder("="), copy=False) for name, a in columns.items()}
    made = np.empty(len(stored), [(name, a.dtype, a.shape[1:]) for name, a in native.items()])
    for name, column in native.items():
        made[name] = column
    return made


def _translations(file: fits.HDUList) -> Array | None:
    """Return what stands for each value of each byte of the file's flags: its table to standard flags."""
    if "DQ_DEF" not in file or file["DQ_DEF"].data is None or not len(file["DQ_DEF"].data):
        return None
    tables = np.zeros((4, 256), np.uint32)
    defined = file["DQ_DEF"].data
    for value, name in zip(defined["VALUE"], defined["NAME"], strict=True):
        standard = PIXEL_FLAGS.get(str(name).strip(), 0)
        for place, table in enumerate(tables):
            table[(np.arange(256) & int(value) >> 8 * place) != 0] |= np.uint32(standard)
    return tables


def _metadata(file: fits.HDUList) -> dict[str, Any]:
    headers = [file[0].header, *(hdu.header for hdu in file[1:2])]
    return {path: next((h[keyword] for h in headers if keyword in h), None) for path, keyword in _KEYWORDS.items()}


def reference_of_model(model: Any, need: ReferenceNeed) -> Reference:
    """Return what a step needs of a reference that is an open datamodel, whole.

    Parameters
    ----------
    model : datamodel
        The reference, as users give it instead of a file. It is not changed.
    need : ReferenceNeed
        The arrays to take. Flags that it lacks are zeros of the shape of its images.

    Returns
    -------
    Reference
        Read-only arrays of its values at this time, and its metadata. Flags of a model that has a table
        of definitions are translated to the standard ones, as the official package does it.

    Raises
    ------
    ReferenceFileError
        If it has none of the arrays.
    """
    if need.tree is not None:
        return _of_tree(model.instance, need)
    from stdatamodels.dynamicdq import dynamic_mask

    arrays: dict[str, Array] = {}
    for name in need.arrays:
        found = _attribute(model, name)
        if found is None:
            continue
        if name == "dq" and getattr(model, "dq_def", None) is not None:
            found = dynamic_mask(model, PIXEL_FLAGS)
        if found.dtype.names:
            arrays[name] = _table(found)
        elif "." in name:
            arrays[name] = np.array(found, order="C")
        else:
            arrays[name] = np.array(found, dtype=np.uint32 if name == "dq" else np.float32, order="C")
    if need.arrays and not arrays:
        raise ReferenceFileError(
            f"{type(model).__name__}: has none of the arrays {', '.join(need.arrays)} of a {need.reftype} reference; "
            "give a model of that type"
        )
    if "dq" in need.arrays and "dq" not in arrays:
        arrays["dq"] = np.zeros(next(iter(arrays.values())).shape[-2:], np.uint32)
    for array in arrays.values():
        array.flags.writeable = False
    return Reference(arrays, {path: _attribute(model, path) for path in _KEYWORDS})


def _attribute(model: Any, path: str) -> Any:
    """Return a value of a model's metadata, None where it has none."""
    for name in path.split("."):
        model = getattr(model, name, None)
    return model


def load_user_flags(path: str | Path) -> Reference:
    """Load the image of flags that ``dq_init``'s parameter ``user_supplied_dq`` names.

    Parameters
    ----------
    path : str or Path
        A FITS file with one image of integers.

    Returns
    -------
    Reference
        ``dq``, uint32.

    Raises
    ------
    ReferenceFileError
        If the file is missing, or is no FITS file with an image of integers.
    """
    try:
        flags = np.asarray(fits.getdata(path))
    except (OSError, ValueError, IndexError) as error:
        raise ReferenceFileError(
            f"{path}: the file named by user_supplied_dq cannot be read ({error}); name a FITS file"
        ) from error
    if flags.dtype.kind not in "iu" or flags.ndim != 2:
        raise ReferenceFileError(
            f"{path}: the file named by user_supplied_dq holds {flags.dtype} of {flags.ndim} "
            "dimensions; name one with a 2-D image of integers"
        )
    return Reference({"dq": flags.astype(np.uint32)}, {})


def load_user_mask(path: str | Path) -> Reference:
    """Load the mask of the background that ``clean_flicker_noise``'s parameter ``user_mask`` names.

    Parameters
    ----------
    path : str or Path
        A FITS file with an image, or one of each integration, in the extension SCI.

    Returns
    -------
    Reference
        ``data``, bool.

    Raises
    ------
    ReferenceFileError
        If the file is missing, or is no FITS file with such images.
    """
    try:
        mask = np.asarray(fits.getdata(path, "SCI"))
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ReferenceFileError(
            f"{path}: the file named by user_mask cannot be read ({error}); name a FITS file with a SCI extension"
        ) from error
    if mask.ndim not in (2, 3):
        raise ReferenceFileError(
            f"{path}: the file named by user_mask holds {mask.ndim} dimensions; name one with an image, or one of each "
            "integration"
        )
    return Reference({"data": mask.astype(np.bool_)}, {})
