"""Arrays on disk give and take what arrays in memory do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calservice import disk
from calservice.disk import DiskArray, cut_image, scratch_array
from calservice.model.block import Window
from calservice.run.chain import Chain
from tests.parity.synthetic import Case

SHAPE = (3, 4, 6, 5)


@pytest.fixture(autouse=True, scope="module", params=[50, disk._TURNED])
def parts_of_images(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have images read and written in parts, or at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_TURNED", request.param)
        yield


@st.composite
def windows(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[slice | int, ...]:
    """Draw a window: a range or a number for each axis."""
    parts: list[slice | int] = []
    for length in shape:
        if draw(st.booleans()):
            parts.append(slice(None))
        elif draw(st.booleans()):
            parts.append(draw(st.integers(0, length - 1)))
        else:
            start = draw(st.integers(0, length))
            parts.append(slice(start, draw(st.integers(start, length))))
    return tuple(parts)


@settings(max_examples=60, deadline=None)
@given(window=windows(), inner=windows((3, 4, 3, 3)), stored=st.sampled_from((">i2", ">i4", ">f4", "u1")))
def test_windows_are_those_of_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    window: tuple[slice | int, ...],
    inner: tuple[slice | int, ...],
    stored: str,
) -> None:
    path = tmp_path_factory.mktemp("disk") / "array"
    numbers = np.random.default_rng(5).integers(-100, 100, SHAPE).astype(stored)
    path.write_bytes(bytes(11) + numbers.tobytes())
    unsigned = numbers.dtype.kind == "i"
    array = DiskArray(path, stored, SHAPE, 11, unsigned=unsigned)
    half = 1 << (8 * numbers.itemsize - 1) if unsigned else 0
    meant = (numbers.astype(np.float64) + half).astype(array.dtype)
    held = (slice(0, 2), ..., slice(1, 5), slice(None))
    for found in (array[window], array.held(held[1:])[window], array.held(held)[window]):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, meant[window])
    np.testing.assert_array_equal(array[..., 1], meant[..., 1])
    assert array.kept_as == "u" * unsigned + numbers.dtype.str
    ranges = tuple(part if isinstance(part, slice) else slice(part, part + 1) for part in window)
    for source in (array, array.held(held[1:]), array.held(held)):
        chain = Chain((), {"data": source}, Case(shape=SHAPE).info, Window.whole(SHAPE))
        read, _, _ = chain.run(Window(*(part.indices(n)[:2] for part, n in zip(ranges, SHAPE, strict=True))), ("data",))
        np.testing.assert_array_equal(read["data"], meant[ranges].astype(np.float32))
    part, whole = (cut_image(cut_image(a, slice(1, 6), slice(0, 4)), slice(2, 5), slice(1, 4)) for a in (array, meant))
    assert part.shape == whole.shape
    for found in (part[inner], part.held((..., slice(1, 3), slice(None)))[inner]):
        np.testing.assert_array_equal(found, whole[inner])


def test_few_columns_are_read_beside_each_other(tmp_path: Path) -> None:
    path, shape = tmp_path / "array", (3, 4, 6, 90)
    numbers = np.random.default_rng(7).normal(size=shape).astype(">f4")
    path.write_bytes(bytes(11) + numbers.tobytes())
    array = DiskArray(path, ">f4", shape, 11)
    for cut, meant in ((array, numbers), (cut_image(array, slice(1, 6), slice(5, 88)), numbers[..., 1:6, 5:88])):
        last = meant.shape[-1]
        sides = cut.beside([(0, 5), (last - 4, last)])
        np.testing.assert_array_equal(sides[1:, :3, 2:4, 1:4], meant[1:, :3, 2:4, 1:4])
        np.testing.assert_array_equal(sides[..., 0, 40:44], meant[..., 0, 40:44])
        np.testing.assert_array_equal(sides[0, ..., 20:83], meant[0, ..., 20:83])
        path.write_bytes(bytes(100))  # of the other side, the same rows are there already
        np.testing.assert_array_equal(sides[1:, :3, 2:4, last - 3 : last], meant[1:, :3, 2:4, last - 3 : last])
        with pytest.raises(OSError, match="shorter"):
            sides[:, :3, 2:4, last - 3 : last]
        path.write_bytes(bytes(11) + numbers.tobytes())


@settings(max_examples=40, deadline=None)
@given(window=windows(SHAPE[:-1]))
def test_what_is_written_is_there(tmp_path_factory: pytest.TempPathFactory, window: tuple[slice | int, ...]) -> None:
    ranges = tuple(part if isinstance(part, slice) else slice(part, part + 1) for part in window)
    array, meant = scratch_array(SHAPE, np.float32, tmp_path_factory.getbasetemp()), np.zeros(SHAPE, np.float32)
    values = np.random.default_rng(6).normal(size=meant[ranges].shape).astype(np.float32)
    array[(*ranges, slice(None))] = values
    meant[ranges] = values
    np.testing.assert_array_equal(np.asarray(array), meant)


def test_a_file_that_becomes_shorter_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "array"
    path.write_bytes(bytes(480))
    array = DiskArray(path, ">f4", (4, 6, 5))
    path.write_bytes(bytes(100))
    with pytest.raises(OSError, match="shorter"):
        array[2]


def test_raw_exposures_that_become_shorter_are_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "array"
    path.write_bytes(bytes(720))
    raw = DiskArray(path, ">i2", SHAPE, unsigned=True)
    path.write_bytes(bytes(700))
    chain = Chain((), {"data": raw}, Case(shape=SHAPE).info, Window.whole(SHAPE))
    assert chain.run(Window((0, 2), (0, 4), (0, 6), (0, 5)), ("data",))[0]["data"].min() == 1 << 15
    with pytest.raises(OSError, match="shorter"):
        chain.run(Window((0, 3), (0, 4), (0, 6), (0, 5)), ("data",))
