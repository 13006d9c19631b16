"""The table of wanted limits: the guide's numbers, scaled by the fleet."""

import pytest

from supervisor.host.needs.requirements import (
    BY_NAME,
    PORTS_MOST,
    SESSIONS_DEFAULT,
    SESSIONS_MOST,
    TABLE,
    WRITABLE,
    Direction,
    Kind,
    Severity,
    limit_text,
    limit_value,
)
from supervisor.host.numbers import NUMBERS, OPTIMIZATIONS, whole
from supervisor.host.tuning.diagnosis import _ADVICE

SESSIONS = (1, 10, SESSIONS_DEFAULT, 5_000, 21_761, SESSIONS_MOST)


def test_every_kernel_value_of_the_seed_is_wanted_as_the_seed_says_for_its_own_fleet() -> None:
    rows = [number for number in NUMBERS if number.table == OPTIMIZATIONS and "." in number.name]
    assert len(rows) == 7
    for number in rows:
        row = BY_NAME[number.name]
        assert row.wanted(SESSIONS_DEFAULT) == number.value
        direction = Direction.AT_MOST if "at most" in number.meaning else Direction.AT_LEAST
        assert (row.direction, row.kind, row.written) == (direction, Kind.SYSCTL, True)


def test_a_process_may_open_what_the_seed_says_and_more_where_the_supervisor_needs_it() -> None:
    assert BY_NAME["nofile_soft"].wanted(SESSIONS_DEFAULT) == whole("nofile")
    assert BY_NAME["nofile_soft"].wanted(30_000) == 3 * 30_000 + 256
    assert all(
        BY_NAME["fs.nr_open"].wanted(n) >= BY_NAME["nofile_hard"].wanted(n) for n in SESSIONS
    )


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_row_is_whole(row: "object") -> None:
    row = BY_NAME[row.name]  # type: ignore[attr-defined]
    for sessions in SESSIONS:
        wanted = row.wanted(sessions)
        assert row.satisfied(wanted, sessions), "the wanted value itself is good"
        assert row.severity_of(wanted, sessions) is None
        if row.written:
            assert row.satisfied(row.parse(row.wanted_text(sessions)), sessions), (
                "and so is what is written"
            )
        if row.needed is not None:
            assert row.as_good(wanted, row.needed(sessions)), "more is never needed than wanted"
        assert row.why(sessions)
        assert not row.why(sessions).endswith(".")
    assert [row.wanted(n) for n in SESSIONS] == sorted(row.wanted(n) for n in SESSIONS), (
        "more sessions never want less"
    )


def test_names_are_unique_and_what_we_cannot_set_has_advice() -> None:
    assert len(BY_NAME) == len(TABLE)
    assert set(_ADVICE) == {row.name for row in TABLE if not row.written}


def test_wanted_pids_never_exceed_what_the_kernel_can_count() -> None:
    assert BY_NAME["kernel.pid_max"].wanted(SESSIONS_MOST) <= 4_194_304


def test_5000_workers_do_not_fit_into_the_default_pid_space() -> None:
    row = BY_NAME["kernel.pid_max"]
    assert row.severity_of(32_768, 5_000) is Severity.CRITICAL
    assert row.severity_of(56_000, 5_000) is Severity.WARNING
    assert row.severity_of(4_194_304, 5_000) is None


def test_a_descriptor_limit_between_criterion_and_wish_is_a_warning() -> None:
    row = BY_NAME["nofile_soft"]
    assert row.severity_of(1024, 500) is Severity.CRITICAL
    assert row.severity_of(20_000, 500) is Severity.WARNING
    assert row.severity_of(float("inf"), 500) is None


def test_nr_open_comes_before_what_is_measured_by_it() -> None:
    assert WRITABLE[0].name == "fs.nr_open"


@pytest.mark.parametrize("text", ["65536", "unlimited"])
def test_limits_are_read_as_they_are_written(text: str) -> None:
    assert limit_text(limit_value(text)) == text


def test_a_port_range_is_compared_by_its_width() -> None:
    row = BY_NAME["net.ipv4.ip_local_port_range"]
    assert row.parse("32768\t60999") == 28_232
    assert row.parse(row.wanted_text(10)) == PORTS_MOST
    with pytest.raises(ValueError, match="unpack"):
        row.parse("32768")
