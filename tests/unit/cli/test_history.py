"""The step that `wasup history` chooses is one that the supervisor answers, and fits a screen."""

import pytest

from supervisor.cli.watch_commands.history import ROWS, step_for
from supervisor.history.tiers import DAY, HOUR, tier_for

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    "seconds", [60, HOUR, DAY, DAY + 60, 7 * DAY, 8 * DAY, 60 * DAY, 400 * DAY]
)
def test_a_step_is_chosen_of_which_there_are_figures(seconds: int) -> None:
    step = step_for(seconds)
    tier_for(NOW - seconds, NOW, step, NOW)
    assert seconds / step <= max(ROWS, seconds / DAY)
