"""What is kept in memory is bounded, and what is no figure is not taken."""

import pytest

from supervisor.history.recent import (
    FORGOTTEN_SLOTS,
    GREATEST,
    KEPT_SLOTS,
    LONGEST_SUBJECT,
    MOST_SUBJECTS,
    Recent,
    whose_of,
)

CPU = ("host.cpu", None)
HOST = whose_of(CPU)


def slots_of(recent: Recent) -> list[int]:
    row = recent.rows(HOST).get("host.cpu")
    return [] if row is None else [cell.at_seconds // 10 for cell in row.whole().cells()]


def test_while_nothing_can_be_written_the_last_hour_is_kept() -> None:
    recent = Recent()
    for slot in range(1000):
        recent.take({CPU: 0.5}, slot)
    assert slots_of(recent) == list(range(1000 - KEPT_SLOTS, 1000))


def test_a_clock_that_is_set_forward_fills_no_memory() -> None:
    recent = Recent()
    for slot in (5, 10**9):
        recent.take({CPU: 0.5}, slot)
    assert slots_of(recent) == [10**9]


def test_a_clock_that_ran_far_ahead_and_is_set_right_is_measured_by_at_once() -> None:
    recent = Recent()
    for slot in (10**9, 10**9 + 1, 5, 6):
        recent.take({CPU: 0.5}, slot)
    assert slots_of(recent) == [5, 6]
    recent.take({CPU: 0.5}, 6 - KEPT_SLOTS // 2)
    assert slots_of(recent) == [5, 6], "a little back: nothing is measured twice"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10.0 * GREATEST])
def test_what_is_no_figure_is_not_taken_and_counted(value: float) -> None:
    recent = Recent()
    recent.take({CPU: value, ("host.memory", None): 0.5}, 7)
    assert recent.latest == {("host.memory", None): 0.5}
    assert recent.refused == 1


def test_subjects_are_bounded_in_number_and_are_what_a_database_takes() -> None:
    recent = Recent()
    many = {("disk.used", f"/{number}"): 0.5 for number in range(MOST_SUBJECTS + 5)}
    recent.take(many, 7)
    assert len(recent.latest) == MOST_SUBJECTS
    assert recent.refused == 5
    for name in ("/" * (LONGEST_SUBJECT + 1), "/a\0b", "/a\udcff"):
        recent = Recent()
        recent.take({("disk.used", name): 0.5}, 7)
        assert recent.refused == 1


def test_a_figure_that_has_ceased_is_forgotten_after_a_day_and_a_count_remembers_till_then() -> (
    None
):
    recent, key = Recent(), ("session.messages", "shop")
    recent.take({key: 5, CPU: 0.5}, 1)
    recent.take({CPU: 0.5}, FORGOTTEN_SLOTS)
    recent.written(whose_of(key), FORGOTTEN_SLOTS)
    recent.take({key: 7, CPU: 0.5}, FORGOTTEN_SLOTS + 1)
    assert recent.latest[key] == 2
    recent.take({CPU: 0.5}, 2 * FORGOTTEN_SLOTS + 2)
    recent.written(whose_of(key), recent.slot)
    assert whose_of(key) not in recent.subjects()
