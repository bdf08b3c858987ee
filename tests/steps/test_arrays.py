"""Views of rows are not copied to become a line; others are."""

import numpy as np
import pytest

from calservice.steps.arrays import lines

WHOLE = np.arange(2 * 3 * 8 * 5, dtype=np.float32).reshape(2, 3, 8, 5)
CUTS = {
    "all": (slice(None), slice(None)),
    "rows": (slice(2, 6), slice(None)),
    "columns": (slice(None), slice(1, 4)),
    "every other row": (slice(None, None, 2), slice(None)),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("fewer", ["none", "integrations", "groups"])
def test_lines_hold_what_is_asked_for(cut: str, fewer: str) -> None:
    values, flags = WHOLE.copy(), WHOLE.astype(np.uint8)
    part = {"none": (), "integrations": slice(1, 2), "groups": (slice(None), slice(1, 3))}[fewer]
    wanted = values[part][(..., *CUTS[cut])], flags[part][(..., *CUTS[cut])]
    made, begin = lines(*wanted)
    for line, array in zip(made, wanted, strict=True):
        found = line[..., 0, begin : begin + array.shape[-2] * array.shape[-1]]
        assert line.flags.c_contiguous
        assert found.tobytes() == array.tobytes()
    whole_rows = fewer == "none" and cut in ("all", "rows")
    assert np.shares_memory(made[0], values) == whole_rows or (cut == "all" and fewer == "integrations")


def test_lines_of_arrays_that_begin_elsewhere_are_copies() -> None:
    values, flags = WHOLE.copy(), WHOLE.astype(np.uint8)
    made, begin = lines(values[:, :, 2:6], flags[:, :, 3:7])
    assert begin == 0
    assert made[0].tobytes() == values[:, :, 2:6].tobytes()
    assert made[1].tobytes() == flags[:, :, 3:7].tobytes()
