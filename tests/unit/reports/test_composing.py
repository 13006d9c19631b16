"""What a report says follows from what was measured, and what was not is said to be so."""

from collections.abc import Callable

import pytest

from sessions.records.distribution import bucket_of
from sessions.store.supervision.presence import Away, Times
from supervisor.reports.composing import compose, full_in_seconds
from supervisor.reports.period import DAY, HOUR, between
from supervisor.reports.recommendations import NAMES
from supervisor.reports.report import Backups, Figure, Report, ServiceLevel
from tests.report_tools import T0, UTC, bad_day, counted, gathered, point, whole


def figure(report: Report, name: str) -> Figure:
    return next(one for one in report.figures if one.name == name)


def level(report: Report, name: str) -> ServiceLevel:
    return next(one for one in report.service_levels if one.name == name)


def test_figures_are_those_that_were_measured_each_weighing_the_same() -> None:
    report = compose(
        gathered(
            measured={
                "host.cpu": [point(0, 0.2), point(1, 0.4, most=0.9)],
                "fleet.messages": [counted(0, 190), counted(1, 10)],
                "fleet.errors": [counted(0, 50)],
            },
            measured_before={
                "host.cpu": [point(-160, 0.1)],
                "fleet.messages": [counted(-160, 100)],
            },
        )
    )
    assert figure(report, "avg_cpu").value == pytest.approx((0.2 * 360 + 0.4 * 359 + 0.9) / 720)
    assert figure(report, "messages").value == 200
    assert figure(report, "messages").change == pytest.approx(1.0)
    assert figure(report, "error_rate").value == pytest.approx(0.2)
    peaks = {peak.name: (peak.value, peak.at) for peak in report.peaks}
    assert peaks["host.cpu"] == (0.9, "2027-01-16T01:00:00.000Z")
    assert peaks["fleet.messages"] == (190, "2027-01-16T00:00:00.000Z")
    assert report.measured == pytest.approx(2 / 24)


def test_what_was_not_measured_is_none_and_never_nothing() -> None:
    report = compose(gathered(measured={"fleet.messages": [counted(0, 10)]}, capacity=None))
    for name in ("avg_response_time", "error_rate", "total_requests", "cache_hit_ratio"):
        assert figure(report, name).value is None, name
    assert figure(report, "messages").change is None
    assert level(report, "response_time").met is None


def test_a_day_without_data_is_empty() -> None:
    report = compose(gathered(measured={}, times={}, parts=[(T0, Times())], backups=None))
    assert report.empty
    assert level(report, "availability").value is None
    assert [one.rule for one in report.recommendations] == ["nothing_measured"]


def test_availability_is_that_of_exact_times_without_what_was_stopped() -> None:
    report = compose(
        gathered(
            times={
                "shop": Times(DAY - 86.4, 86.4, 0),
                "bar": Times(DAY / 2, 0, DAY / 2),
                "stopped": Times(0, 0, DAY),
            }
        )
    )
    found = level(report, "availability")
    assert found.value == pytest.approx((1.5 * DAY - 86.4) / (1.5 * DAY))
    assert found.met
    assert found.budget_seconds == pytest.approx(0.75 * 86.4), "of what they were to be open"
    assert found.used_seconds == pytest.approx(43.2)
    assert report.availability.sessions == 2
    assert [one.session for one in report.sessions] == ["shop"]


def test_the_promise_is_the_one_by_which_the_alert_judges() -> None:
    times = {"shop": Times(DAY - 864.0, 864.0, 0)}
    found = level(compose(gathered(times=times, availability_target=0.99)), "availability")
    assert (found.target, found.met) == (0.99, True)
    assert found.budget_seconds == pytest.approx(864)


def test_of_time_that_is_not_on_record_nobody_was_away() -> None:
    report = compose(gathered(times={"shop": Times(60, 60, 0)}, recorded_since=T0 + DAY - 120))
    found = level(report, "availability")
    assert (found.value, found.used_seconds) == (0.5, 60)
    assert found.budget_seconds == pytest.approx(0.12)


def test_the_objective_is_missed_by_a_second() -> None:
    report = compose(gathered(times={"shop": Times(DAY - 87.4, 87.4, 0)}))
    assert level(report, "availability").met is False


def test_response_time_is_the_95th_percentile_of_all_calls() -> None:
    quick, slow = bucket_of(100), bucket_of(3_000)

    def report_of(few: int) -> Report:
        return compose(gathered(spreads={"api.response_ms": {quick: 100 - few, slow: few}}))

    assert level(report_of(5), "response_time").met is True
    report = report_of(6)
    assert level(report, "response_time").met is False
    assert (level(report, "response_time").value or 0) > 2_000


def test_recovery_is_judged_by_what_was_restored() -> None:
    made = "2027-01-17T06:59:00Z"  # the report is of 08:00
    report = compose(gathered(backups=Backups(made, 4 * HOUR + 1.0)))
    assert [level(report, name).met for name in ("rpo", "rto")] == [False, False]
    none = compose(gathered(backups=Backups(None, None)))
    assert [level(none, name).met for name in ("rpo", "rto")] == [None, None]
    assert [one.rule for one in none.recommendations] == ["no_backup"]


def test_the_worst_sessions_come_first_with_their_causes() -> None:
    report = compose(
        gathered(
            times={f"s{number}": Times(DAY - number, number, 0) for number in range(30)},
            away=[
                Away("s29", "connection_lost", 3, 9.0),
                Away("s29", "deaf", 1, 20.0),
                Away("s3", "deaf", 1, 3.0),
            ],
        )
    )
    assert len(report.sessions) == 29
    assert report.sessions_away == 29
    worst = report.sessions[0]
    assert (worst.session, worst.down_seconds, worst.incidents) == ("s29", 29, 4)
    assert [cause.reason for cause in worst.causes] == ["deaf", "connection_lost"]
    assert [(one.reason, one.sessions, one.seconds) for one in report.causes] == [
        ("deaf", 2, 23.0),
        ("connection_lost", 1, 9.0),
    ]


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (lambda hour: 0.5 + 0.01 * hour, (1 - 0.73) / (0.01 / HOUR)),
        (lambda _: 0.9, None),
        (lambda hour: 0.9 - 0.01 * hour, None),
        (lambda hour: 0.1 + 1e-9 * hour, None),
    ],
)
def test_when_a_disk_is_full(used: Callable[[int], float], expected: float | None) -> None:
    found = full_in_seconds([point(hour, used(hour)) for hour in range(24)])
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_good_day_asks_for_nothing() -> None:
    assert compose(gathered()).recommendations == ()


def test_every_rule_speaks_when_it_should_and_what_is_critical_first() -> None:
    report = bad_day()
    told = [one.rule for one in report.recommendations]
    without = compose(gathered(measured={}, backups=Backups(None, None))).recommendations
    assert {*told, *(one.rule for one in without)} == set(NAMES)
    critical = [one.severity == "critical" for one in report.recommendations]
    assert critical == sorted(critical, reverse=True)


@pytest.mark.parametrize(("days", "restless"), [(1, True), (30, False)])
def test_reconnections_are_judged_by_the_day_however_long_a_time_is_asked_for(
    days: int, restless: bool
) -> None:
    asked = between(T0, T0 + days * DAY, T0 + days * DAY, UTC)
    measured = {"fleet.reconnects": [counted(3, 500)], "fleet.sessions": [point(3, 10)]}
    report = compose(gathered(period=asked, measured=measured))
    assert ("restless" in [one.rule for one in report.recommendations]) is restless


def test_the_plots_are_what_was_measured() -> None:
    report = compose(gathered(measured={"host.cpu": whole(0.25), "fleet.errors": [counted(5, 7)]}))
    plots = {plot.name: plot.points for plot in report.plots}
    assert plots["host.cpu"][1] == (T0 + HOUR, 0.25, 0.25, 0.25)
    assert plots["fleet.errors"] == ((T0 + 5 * HOUR, 7, 7, 7),)


@pytest.mark.parametrize(("messages", "told"), [(17, False), (18, True)])
def test_a_rate_of_a_few_operations_asks_for_nothing(messages: int, told: bool) -> None:
    report = compose(
        gathered(
            measured={
                "fleet.messages": [counted(0, messages)],
                "fleet.errors": [counted(0, 2)],
            }
        )
    )
    assert level(report, "errors").met is False
    assert ("errors" in [one.rule for one in report.recommendations]) is told
