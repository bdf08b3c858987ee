"""Reading headers: which exposure a FITS file holds, and whether it is whole. No pixel is read."""

from __future__ import annotations

import warnings
from typing import IO, Any

from calservice.model.errors import CalserviceError, InputError
from calservice.model.exposure import NUMBERS, Exposure, FileStat
from calservice.products.store import Store, parent_of, shown

__all__ = ["read_exposure"]

_AGAIN = "Fetch the file again, or leave it out."
_SKIPPED = {"", "COMMENT", "HISTORY"}


def read_exposure(file: FileStat) -> Exposure:
    """Read the headers of a FITS file.

    Parameters
    ----------
    file : FileStat
        The file; remote ones are read by ranges.

    Returns
    -------
    Exposure
        Keywords of the primary header and SCI, and the shape of SCI.

    Raises
    ------
    InputError
        Not there, not FITS, truncated, or no JWST exposure (no EXP_TYPE).
    """
    store = Store(parent_of(file.url))
    where = shown(file.url)
    try:
        with store.open(file.name) as stream:
            keywords, shape = _walk(stream, file.size, where, gz=file.name.endswith(".gz"))
    except CalserviceError:
        raise
    except EOFError as fault:
        raise InputError(f"{where}: truncated: {fault}. {_AGAIN}") from None
    except OSError as fault:
        raise InputError(f"{where}: cannot be read: {fault.strerror or fault}") from None
    if not keywords.get("EXP_TYPE") and not keywords.get("DATAMODL"):
        raise InputError(f"{where}: not a JWST exposure: its header has neither EXP_TYPE nor DATAMODL")
    for keyword in sorted(NUMBERS & keywords.keys()):
        value = keywords[keyword]
        if not _is_number(value):
            raise InputError(f"{where}: its header says {keyword}={value!r}, which is no number. Correct it.")
    return Exposure(file=file, keywords=keywords, shape=shape)


def _is_number(value: Any) -> bool:
    """Whether the value of a keyword is a number, written as one or as text; it may be left empty."""
    try:
        float(value or 0)
    except (TypeError, ValueError):
        return not str(value).strip()
    return True


def _walk(stream: IO[bytes], size: int, where: str, gz: bool) -> tuple[dict[str, Any], tuple[int, ...]]:
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    start = stream.read(30)
    stream.seek(0)
    if not gz and not start.startswith(b"SIMPLE  ="):
        raise InputError(f"{where}: not a FITS file{': it is empty' if not start else ''}. {_AGAIN}")
    keywords: dict[str, Any] = {}
    shape: tuple[int, ...] = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            hdus = fits.open(stream, mode="readonly", memmap=False, lazy_load_hdus=True)
            index = 0
            while True:
                try:
                    hdu = hdus[index]
                except IndexError:
                    break
                _check_whole(hdu, size, where, gz)
                if index == 0 or (hdu.name == "SCI" and not shape):
                    told = {k: v for k, v in hdu.header.items() if not isinstance(v, fits.card.Undefined)}
                    keywords |= {k: v for k, v in told.items() if k not in _SKIPPED and k not in keywords}
                if hdu.name == "SCI" and not shape:
                    naxis = int(hdu.header.get("NAXIS", 0))
                    shape = tuple(int(hdu.header[f"NAXIS{n}"]) for n in range(naxis, 0, -1))
                index += 1
        except (OSError, fits.VerifyError, TypeError, ValueError, KeyError) as fault:
            raise InputError(f"{where}: not a readable FITS file: {str(fault).splitlines()[0]}. {_AGAIN}") from None
    return keywords, shape


def _check_whole(hdu: Any, size: int, where: str, gz: bool) -> None:
    if gz:
        return
    place = hdu.fileinfo()
    end = place["datLoc"] + place["datSpan"]
    if end > size:
        raise InputError(
            f"{where}: truncated: {size} bytes, but extension {hdu.name or 'PRIMARY'} ends at {end}. {_AGAIN}"
        )
