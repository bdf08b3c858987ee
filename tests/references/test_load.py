"""References that are kept for later stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calservice.disk import DiskArray
from calservice.model.step import ReferenceNeed
from calservice.references import load

NEED = ReferenceNeed("gain", ("data",))


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    load.clear_cache()
    yield
    load.clear_cache()


def written(path: Path, kind: str, side: int = 8) -> Path:
    image = np.arange(side * side).reshape(side, side).astype(kind)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image, name="SCI")]).writeto(path, overwrite=True)
    return path


def test_what_is_small_or_on_disk_is_kept_and_what_takes_memory_is_not(tmp_path: Path) -> None:
    small, stored = written(tmp_path / "small.fits", "f8"), written(tmp_path / "stored.fits", "f4", 1024)
    large = written(tmp_path / "large.fits", "f8", 1024)
    for path, kept in ((small, True), (stored, True), (large, False)):
        load.keep_loaded(path, NEED)
        first, second = (load.load_reference(path, NEED) for _ in range(2))
        assert first is second
        load.clear_cache()
        load.keep_loaded(path, NEED)
        held = next(iter(load._cache._held.values()), None)
        assert (held is not None) == kept
    assert isinstance(load.load_reference(stored, NEED)["data"], DiskArray)


def test_what_is_not_kept_is_not_loaded_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, loaded = written(tmp_path / "large.fits", "f8", 1024), []
    whole = load._load_fits
    monkeypatch.setattr(load, "_load_fits", lambda *args: loaded.append(args) or whole(*args))
    for _ in range(3):
        load.keep_loaded(path, NEED)
    assert len(loaded) == 1


def test_a_file_that_changed_is_loaded_again(tmp_path: Path) -> None:
    path = written(tmp_path / "gain.fits", "f4")
    load.keep_loaded(path, NEED)
    written(path, "f4", 9)
    assert load.load_reference(path, NEED)["data"].shape == (9, 9)


def test_files_are_not_kept_open_without_end(tmp_path: Path) -> None:
    for n in range(load._CACHE_FILES + 5):
        load.keep_loaded(written(tmp_path / f"{n}.fits", "f4"), NEED)
    assert len(load._cache._held) == load._CACHE_FILES
