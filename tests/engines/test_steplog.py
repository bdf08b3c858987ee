"""What an official pipeline says of its steps, turned into outcomes."""

from __future__ import annotations

import logging

import pytest

from calservice.engines.steplog import StepLog, settled
from calservice.model.outcome import StepOutcome


def say(text: str, *, at: float) -> None:
    logger = logging.getLogger("stpipe.step")
    record = logger.makeRecord(logger.name, logging.INFO, "step.py", 1, text, (), None)
    record.created = at
    logger.handle(record)


def test_steps_are_timed_over_all_exposures_and_skipped_ones_left_out() -> None:
    with StepLog() as steps:
        say("Step Spec2Pipeline running with args ('x_asn.json',).", at=0)
        for start in (10, 20):
            say("Step assign_wcs running with args (<ImageModel>,).", at=start)
            say("Step assign_wcs done", at=start + 2)
            say("Step nsclean running with args (<ImageModel>,).", at=start + 3)
            say("Step skipped.", at=start + 3)
        say("Step photom running with args (<ImageModel>,).", at=30)
        say("Step Spec2Pipeline done", at=31)  # photom failed, and was passed over
    say("Step resample running with args ().", at=40)
    say("Step resample done", at=41)

    assert steps.seconds == {"assign_wcs": 4, "Spec2Pipeline": 31}


def test_a_child_of_a_pipeline_may_call_steps_itself() -> None:
    with StepLog() as steps:
        say("Step outer running with args ().", at=0)
        say("Step inner running with args ().", at=1)
        say("Step inner done", at=3)
        say("Step outer done", at=5)

    assert steps.seconds == {"inner": 2, "outer": 5}


@pytest.mark.parametrize(
    ("ran", "recorded", "expected"),
    [
        (True, {"COMPLETE"}, StepOutcome("jump", "jwst", "COMPLETE", 1.5)),
        (True, set(), StepOutcome("jump", "jwst", "COMPLETE", 1.5)),
        (True, {"SKIPPED"}, StepOutcome("jump", "jwst", "SKIPPED", 1.5)),
        (True, {"SKIPPED", "COMPLETE"}, StepOutcome("jump", "jwst", "COMPLETE", 1.5)),
        (False, {"COMPLETE"}, StepOutcome("jump", "off", "SKIPPED")),
        (False, set(), StepOutcome("jump", "off", "SKIPPED")),
    ],
)
def test_what_ran_and_what_is_recorded_settle_the_status(ran: bool, recorded: set[str], expected: StepOutcome) -> None:
    seconds = {"jump": 1.5} if ran else {}

    assert settled({"jump": "jwst"}, seconds, {"jump": recorded}) == (expected,)
