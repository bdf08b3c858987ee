"""Products are saved piece by piece, several at a time, with the very bytes that their models' own way gives."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from stdatamodels.jwst import datamodels

from calservice.disk import DiskArray, scratch_array
from calservice.model.errors import OutputError
from calservice.run import sealing
from calservice.run.saving import Saver, place_holder
from calservice.run.sealing import Sealing

SHAPE = (3, 700, 611)
"""Of arrays that are written in several pieces, of rows that do not fill the parts that pieces have."""


@pytest.fixture(autouse=True)
def at_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have models keep the date that they have."""
    monkeypatch.setattr(datamodels.JwstDataModel, "on_save", lambda self, path=None: None)


def model_of(seed: int) -> Any:
    """Return a model with large arrays of several types, and small ones."""
    random = np.random.default_rng(seed)
    model = datamodels.CubeModel(SHAPE)
    model.data = random.normal(size=SHAPE).astype(np.float32)
    model.dq = random.integers(0, 2**32, SHAPE, dtype=np.uint32)
    model.var_poisson = random.normal(size=(2, 5)).astype(np.float32)
    model.meta.instrument.name = "NIRCAM"
    return model


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_are_those_of_the_models(threads: int, flush: bool, tmp_path: Path) -> None:
    done: dict[str, str] = {}
    models = [model_of(seed) for seed in range(3)]
    for n, model in enumerate(models):
        model.save(tmp_path / f"{n}_due.fits")
    saver = Saver(threads, lambda path: done.update({path.name: path.read_bytes().hex()}), flush=flush)
    for n, model in enumerate(models):
        large: dict[str, DiskArray] = {}
        if n == 2:  # its pixels are in a file
            large["SCI"] = scratch_array(SHAPE, np.float32, tmp_path)
            large["SCI"][...] = model.data
            model.data = place_holder(large["SCI"])
        saver.save(model, tmp_path / f"{n}.fits", large)
    saver.wait()
    assert done == {f"{n}.fits": (tmp_path / f"{n}_due.fits").read_bytes().hex() for n in range(3)}


@pytest.mark.parametrize("longer", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_reserved_arrays_come_first(threads: int, longer: bool, tmp_path: Path) -> None:
    """Blocks put them there, in any order; also where the header becomes longer than it was expected to be."""
    due, expected = model_of(5), model_of(5)
    expected.meta.date = due.meta.date
    for name in ("data", "dq"):
        setattr(expected, name, np.zeros(SHAPE, getattr(due, name).dtype))
    done: list[Path] = []
    saver = Saver(threads, done.append, flush=True)
    named = due.meta.filename
    places = saver.reserve(expected, tmp_path / "a.fits")
    assert places.keys() == {"SCI", "DQ", "ERR"}  # which stays as it is: zero
    assert expected.meta.filename == named
    blocks = [(name, i, y) for name in ("data", "dq") for i in range(SHAPE[0]) for y in range(0, SHAPE[1], 90)]

    def put(block: tuple[str, int, int]) -> None:
        name, i, y = block
        places["SCI" if name == "data" else "DQ"][i : i + 1, y : y + 90] = getattr(due, name)[i : i + 1, y : y + 90]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(put, blocks[::-1]))
    assert np.asarray(places["DQ"]).tobytes() == due.dq.tobytes()
    for model in (due, expected) if longer else ():
        model.meta.program.title = 3000 * "x"
    due.save(tmp_path / "due.fits")
    saver.save(expected, tmp_path / "a.fits", places)
    saver.wait()
    assert done == [tmp_path / "a.fits"]
    assert done[0].read_bytes() == (tmp_path / "due.fits").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.fits", "due.fits"}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_full_disk_is_an_error(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, content: Any, place: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    done: list[Path] = []
    saver = Saver(threads, done.append)
    monkeypatch.setattr(os, "pwrite", full)

    def save() -> None:
        saver.save(model_of(0), tmp_path / "a.fits", {})
        saver.wait()

    with pytest.raises(OSError, match="No space left"):
        save()
    assert not done


@pytest.mark.parametrize("threads", [1, 2])
def test_sums_are_those_of_what_is_published(threads: int, tmp_path: Path) -> None:
    given, early, late = (tmp_path / name for name in ("given", "early", "late"))
    given.write_bytes(b"given")
    early.write_bytes(b"early")
    with Sealing(threads, flush=True) as seal:
        seal.inputs([given])
        seal.product(early)
        early.write_bytes(b"changed by a hook")
        late.write_bytes(b"late")
        sums = seal.sums([given], [early, late])
    assert sums == {path: blake3(path.read_bytes()).hexdigest() for path in (given, early, late)}


def test_what_the_disk_does_not_take_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealing, "flush", full)
    product = tmp_path / "a_rate.fits"
    product.write_bytes(b"a")
    with Sealing(2, flush=True) as seal, pytest.raises(OutputError, match=r"a_rate\.fits cannot be written: No space"):
        seal.sums([], [product])


def test_threads_leave_out_no_piece(tmp_path: Path) -> None:
    """Those that are there for one product take pieces of the next as soon as it is begun."""

    class Slow(list[Any]):
        def append(self, begun: Any) -> None:
            super().append(begun)
            time.sleep(0.2)

    models, done = [model_of(seed) for seed in range(2)], list[Path]()
    for n, model in enumerate(models):
        model.save(tmp_path / f"{n}_due.fits")
    saver = Saver(2, done.append)
    saver._begun = Slow()
    saver._begin = lambda *_: time.sleep(0.05) or 0  # so much is left of the first
    for n, model in enumerate(models):
        saver.save(model, tmp_path / f"{n}.fits", {})
    saver.wait()
    assert sorted(path.name for path in done) == ["0.fits", "1.fits"]
    for n in range(2):
        assert (tmp_path / f"{n}.fits").read_bytes() == (tmp_path / f"{n}_due.fits").read_bytes()
