"""Which tier answers, and that what a refusal proposes is not refused in turn."""

import re

import pytest

from supervisor.history.tiers import DAY, HOUR, TIERS, InvalidPeriod, tier_for

NOW = 1_800_000_000.0


@pytest.mark.parametrize("days", [0.5, 1, 2, 6, 8, 30, 300, 399])
@pytest.mark.parametrize("length", [HOUR, DAY, 6 * DAY, 30 * DAY, 399 * DAY])
@pytest.mark.parametrize("step", [10, 20, 60, 300, 3600])
def test_a_step_that_is_proposed_can_be_asked_for(days: float, length: int, step: int) -> None:
    start = NOW - days * DAY
    end = min(NOW, start + length)
    hint = ""
    try:
        tier_for(start, end, step, NOW)
    except InvalidPeriod as refusal:
        hint = refusal.hint
    for proposed in re.findall(r"a step of (?:at least )?(\d+) s", hint):
        for times in (1, 2):
            tier_for(start, end, times * int(proposed), NOW)
    assert hint == "" or "a step of" in hint


def test_what_is_older_than_all_is_said_to_be_so() -> None:
    with pytest.raises(InvalidPeriod) as refusal:
        tier_for(NOW - 500 * DAY, NOW, 10, NOW)
    assert "Nothing is kept for longer" in refusal.value.hint


def test_no_step_reaches_far_beyond_its_period() -> None:
    with pytest.raises(InvalidPeriod, match="longer than the period") as refusal:
        tier_for(NOW - HOUR, NOW, 1_000_000_000, NOW)
    assert "86400 s at the most" in refusal.value.hint
    assert tier_for(NOW - HOUR, NOW, DAY, NOW) == TIERS[2]
    assert tier_for(NOW - 7 * DAY, NOW, 7 * DAY, NOW) == TIERS[2]
