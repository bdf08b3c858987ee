"""Every value of every parameter of native steps: the same as by the official step, and not without effect.

On one exposure each; ``python -m tests.parity`` takes them all.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.parity.parameters import VARIATIONS, Variation, missing
from tests.parity.scenes import SCENES
from tests.parity.variations import compared, reason

pytestmark = [
    pytest.mark.official,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Input data contains invalid values"),
    pytest.mark.filterwarnings("ignore:Covariance"),
    pytest.mark.filterwarnings("ignore:The 'user_supplied_reffile'"),
]

QUICK = [one for one in VARIATIONS if SCENES[one.scenes[0]].quick and not one.official]


def test_no_parameter_is_left_out() -> None:
    assert missing() == []


@pytest.mark.parametrize(
    "one",
    [pytest.param(one, id=one.name, marks=pytest.mark.xdist_group(one.step)) for one in QUICK],
)
def test_values(one: Variation) -> None:
    for found in compared(replace(one, scenes=one.scenes[:1])):
        for file in found.files:
            assert file.status == "same", (found.scene, found.value, file)
        assert found.files
        assert found.value == "default" or found.effect != one.inert, (found.scene, found.value)


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in VARIATIONS if one.official])
def test_what_the_official_step_serves(one: Variation) -> None:
    for scene in one.scenes:
        assert all(reason(one.step, scene, {**one.given, one.parameter: value}) for value in one.values)
