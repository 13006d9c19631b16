"""The chaos campaign's plan: a pure function of the seed, and a table that is whole."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from scripts.chaos import faults
from scripts.chaos.__main__ import main
from scripts.chaos.plan import BY_NAME, FAULTS, Promise, by_proxy, plan
from scripts.chaos.report import Report
from scripts.chaos.stage import Stage


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


@pytest.mark.parametrize("sessions", [1, 2, 4, 8])
def test_victims_are_sessions_that_there_are(sessions: int) -> None:
    for step in plan(7, 500, sessions):
        assert set(step.hit.victims) <= set(range(sessions))
        assert step.hit.victims or BY_NAME[step.fault].promise is not Promise.OUTAGE, (
            "an outage strikes somebody"
        )


def test_who_is_alone_goes_through_no_proxy_and_meets_every_fault_but_the_proxys() -> None:
    assert by_proxy(1) == ()
    assert {step.fault for step in plan(7, 500, 1)} == set(BY_NAME) - {"proxy-away"}


def test_a_proxy_and_dns_are_the_ways_of_different_sessions_and_of_all() -> None:
    steps = {
        step.fault: set(step.hit.victims)
        for step in plan(7, 100, 4, ["proxy-away", "dns-away", "door-shut"])
    }
    assert steps == {"proxy-away": {1, 3}, "dns-away": {0, 2}, "door-shut": {0, 1, 2, 3}}


def test_a_fault_that_no_fleet_of_this_size_has_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "proxy-away", "--sessions", "1"])
    assert "proxy-away" in capsys.readouterr().err


def test_every_fault_of_the_plan_can_be_inflicted_and_no_other() -> None:
    assert set(faults.FAULTS) == set(BY_NAME)
    assert len(BY_NAME) == len(FAULTS)


def test_the_command_line_refuses_a_fault_that_there_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "drop,earthquake"])
    assert "'earthquake' is no fault" in capsys.readouterr().err


def test_the_list_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in BY_NAME)


async def test_where_dns_cannot_be_taken_away_the_step_is_skipped_and_the_report_says_why(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, None, None, ("s1",), tmp_path / "clock", dns=None)  # type: ignore[arg-type]
    (step,) = plan(7, 1, 1, ["dns-away"])
    damage = await faults.inflict(faults.Field(stage, None, None), step)  # type: ignore[arg-type]
    assert "it takes root" in damage.skipped
    report = Report(Console(file=StringIO(), width=200))
    report.skip(step, 1, damage.skipped)
    report.table()
    said = report.console.file.getvalue()  # type: ignore[attr-defined]
    assert f"skipped: {damage.skipped}" in said
    assert f"dns-away was skipped: {damage.skipped}" in said
