"""When jobs are due: cron's fields in a time zone, also where its clocks are set."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from supervisor.places import time_zone
from supervisor.upkeep.schedule import OFF, Schedule, checked

SAO_PAULO, BERLIN = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def turns(text: str, zone: ZoneInfo, begin: str, count: int) -> list[str]:
    schedule, found, now = Schedule(text, zone), [], at(begin, zone)
    for _ in range(count):
        due = schedule.next_after(now)
        assert due is not None
        assert due > now
        found.append(datetime.fromtimestamp(due, zone).isoformat())
        now = due
    return found


def test_a_turn_is_meant_in_the_zone() -> None:
    assert turns("0 8 * * *", SAO_PAULO, "2026-11-30T08:00", 1) == ["2026-12-01T08:00:00-03:00"]


def test_a_daily_job_runs_once_on_the_days_on_which_the_clocks_are_set() -> None:
    assert turns("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == [
        "2026-03-29T03:00:00+02:00",  # there is no 02:30
        "2026-03-30T02:30:00+02:00",
    ]
    assert turns("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == [
        "2026-10-25T02:30:00+02:00",  # the first of two
        "2026-10-26T02:30:00+01:00",
    ]


def test_an_hourly_job_runs_in_each_hour_of_such_a_night() -> None:
    assert turns("0 * * * *", BERLIN, "2026-10-25T01:30", 3) == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_several_turns_on() -> None:
    hourly = Schedule("0 * * * *", SAO_PAULO)
    begin = at("2026-11-30T08:10", SAO_PAULO)
    assert hourly.turns_after(begin, 2) == at("2026-11-30T10:00", SAO_PAULO)
    assert Schedule(OFF, SAO_PAULO).turns_after(begin, 2) is None


@pytest.mark.parametrize(
    "text",
    ["", "hourly", "* * * *", "0 0 * * * *", "61 * * * *", "0 0 31 2 *", "0 0 30 2 *", "@daily"],
)
def test_what_is_no_schedule_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="five fields"):
        checked(text)


def test_what_is_one_is_taken() -> None:
    assert checked("  */5   * * * MON-FRI ") == "*/5 * * * MON-FRI"
    assert checked("off") == OFF


@pytest.mark.parametrize("name", ["America/Atlantis", "", "../etc/passwd", "/etc/localtime", "US"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="America/Sao_Paulo"):
        time_zone.named(name)


def test_the_hosts_zone_is_what_its_file_is_a_link_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    local = tmp_path / "localtime"
    assert time_zone.of_host(local).key == "UTC", "there is none"
    local.symlink_to("/usr/share/zoneinfo/America/Sao_Paulo")
    assert time_zone.of_host(local) is SAO_PAULO
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert time_zone.of_host(local) is BERLIN
