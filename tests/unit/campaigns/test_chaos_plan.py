"""The chaos campaign's plan: a pure function of the seed, and a table that is whole."""

import pytest

from scripts.chaos import faults
from scripts.chaos.__main__ import main
from scripts.chaos.plan import BY_NAME, FAULTS, plan


def test_the_same_seed_gives_the_same_plan_and_another_seed_another_one() -> None:
    assert plan(7, 200, 8) == plan(7, 200, 8)
    assert plan(7, 200, 8) != plan(8, 200, 8)


def test_a_long_plan_begins_with_the_short_one() -> None:
    assert plan(7, 300, 8)[:30] == plan(7, 30, 8)


def test_every_fault_comes_in_a_plan_of_300_steps() -> None:
    for seed in range(5):
        assert {step.fault for step in plan(seed, 300, 8)} == set(BY_NAME)


def test_only_the_faults_that_were_asked_for_come() -> None:
    assert {step.fault for step in plan(7, 100, 8, ["drop", "flood"])} == {"drop", "flood"}


@pytest.mark.parametrize("sessions", [1, 8])
def test_victims_are_sessions_that_there_are(sessions: int) -> None:
    for step in plan(7, 500, sessions):
        assert set(step.hit.victims) <= set(range(sessions))


def test_every_fault_of_the_plan_can_be_inflicted_and_no_other() -> None:
    assert set(faults.FAULTS) == set(BY_NAME)
    assert len(BY_NAME) == len(FAULTS)


def test_the_command_line_refuses_a_fault_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "drop,earthquake"])
    assert "'earthquake' is no fault" in capsys.readouterr().err


def test_the_list_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in BY_NAME)
