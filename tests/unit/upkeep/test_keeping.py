"""Which backups are kept: of each hour, day and week the newest, and never none."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from supervisor.upkeep.backups.keeping import DOUBTFUL, Keep, kept

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def hourly(count: int) -> list[float]:
    return [(NOW - timedelta(hours=hours)).timestamp() for hours in range(count)]


def words(stay: set[float]) -> list[str]:
    return [datetime.fromtimestamp(at, UTC).strftime("%m-%d %H") for at in sorted(stay)]


def test_after_weeks_of_backups_by_the_hour_the_newest_of_each_period_stay() -> None:
    stay = kept(hourly(24 * 40), (), Keep(3, 3, 3), ZONE)
    assert words(stay) == ["11-22 23", "11-28 23", "11-29 23", "11-30 10", "11-30 11", "11-30 12"]


def test_days_are_those_of_the_zone() -> None:
    stay = kept(hourly(48), (), Keep(0, 2, 0), ZoneInfo("America/Sao_Paulo"))
    assert words(stay) == ["11-30 02", "11-30 12"]


def test_periods_without_a_backup_cost_none_that_there_is() -> None:
    """After a month's pause the old ones are still the newest of their days."""
    old = [(NOW - timedelta(days=days)).timestamp() for days in (40, 41, 42)]
    assert kept([NOW.timestamp(), *old], (), Keep(1, 3, 0), ZONE) == {NOW.timestamp(), *old[:2]}


def test_the_newest_stays_whatever_is_said() -> None:
    assert kept(hourly(5), (), Keep(0, 0, 0), ZONE) == {NOW.timestamp()}


def test_a_doubtful_one_takes_no_good_ones_place_and_goes_when_a_better_one_has_come() -> None:
    good, later = hourly(3)[1:], [NOW.timestamp() + number for number in range(DOUBTFUL + 2)]
    stay = kept(good, [*later, good[0] - 60], Keep(1, 0, 0), ZONE)
    assert stay == {good[0], *later[-DOUBTFUL:]}


@given(
    st.sets(st.integers(0, 10**7)),
    st.sets(st.integers(0, 10**7)),
    st.builds(Keep, *[st.integers(0, 5)] * 3),
)
def test_it_is_bounded_and_the_newest_good_one_is_never_dropped(
    good: set[int], doubtful: set[int], keep: Keep
) -> None:
    stay = kept(map(float, good), map(float, doubtful - good), keep, ZONE)
    assert len(stay) <= 1 + keep.hourly + keep.daily + keep.weekly + DOUBTFUL
    assert not good or float(max(good)) in stay
