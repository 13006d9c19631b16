"""Two policies over the same recorded closes."""

import pytest

from sessions.model import CloseReason as R
from sessions.policy import COVERED, Action, Config, Recorded, overridden, replay
from supervisor.cli.policy_commands import Incident, RecordedClose, recorded_closes

BEFORE = Config()


def changed(text: str) -> Config:
    return Config(rules=overridden(text))


def drops(*times: float, reason: R = R.CONNECTION_LOST, **more: bool) -> list[Recorded]:
    return [Recorded(at_seconds=at, reason=reason, **more) for at in times]


def test_the_same_policy_differs_nowhere() -> None:
    found = replay({"a": drops(0, 10, 20), "b": drops(5, reason=R.REPLACED)}, BEFORE, BEFORE)
    assert (found.judged, found.differences) == (4, ())
    assert found.before == found.after
    assert found.before.tries == 4
    assert found.before.charged == 4
    assert found.before.waits_seconds == pytest.approx(1 + 2 + 4 + 45)


def test_another_wait_is_a_difference_with_both_decisions() -> None:
    found = replay({"a": drops(0, 10)}, BEFORE, changed("[connection_lost]\nbase_seconds = 8\n"))
    first, second = found.differences
    assert (first.session, first.before.wait_seconds, first.after.wait_seconds) == ("a", 1.0, 4.0)
    assert (second.before.wait_seconds, second.after.wait_seconds) == (2.0, 8.0)


def test_another_action_and_another_charge_are_differences() -> None:
    parks = replay(
        {"a": drops(0, 100, reason=R.REPLACED)}, BEFORE, changed("[replaced]\ntries = 1\n")
    )
    (difference,) = parks.differences
    assert (difference.before.action, difference.after.action) == (Action.RETRY, Action.PARK)
    assert (parks.before.parked, parks.after.parked) == (0, 1)
    charges = replay({"a": drops(0)}, BEFORE, changed("[connection_lost]\ncounts = 0\n"))
    assert (charges.before.charged, charges.after.charged) == (1, 0)


def test_words_alone_are_no_difference() -> None:
    assert (
        replay(
            {"a": drops(0)}, BEFORE, changed('[connection_lost]\nhuman = "x"\ntries = 50\n')
        ).differences
        == ()
    )


def test_differences_are_told_oldest_first_and_closes_judged_in_order() -> None:
    found = replay(
        {"a": drops(30, 10), "b": drops(20)},
        BEFORE,
        changed("[connection_lost]\nbase_seconds = 4\n"),
    )
    assert [difference.close.at_seconds for difference in found.differences] == [10, 20, 30]
    assert [difference.after.wait_seconds for difference in found.differences] == [2.0, 2.0, 4.0]


def test_a_close_after_a_stable_period_begins_a_new_episode() -> None:
    closes = [*drops(0, 10, 20), *drops(500, was_open=True, was_stable=True)]
    assert replay({"a": closes}, BEFORE, BEFORE).before.waits_seconds == pytest.approx(
        1 + 2 + 4 + 0.25
    )


def test_an_excused_close_charges_nobody_under_either_policy() -> None:
    found = replay(
        {"a": drops(0, 1, 2, covered=True)},
        BEFORE,
        changed("[connection_lost]\nbase_seconds = 9\n"),
    )
    assert (found.differences, found.before.charged) == ((), 0)
    taken = replay(
        {"a": drops(0, covered=True)}, BEFORE, changed("[connection_lost]\ncorrelated = false\n")
    )
    assert [d.before.rule for d in taken.differences] == [COVERED]


def test_a_logout_that_is_said_to_be_excused_is_judged_all_the_same() -> None:
    found = replay({"a": drops(0, reason=R.LOGGED_OUT, covered=True)}, BEFORE, BEFORE)
    assert found.before.parked == 1


def test_recorded_incidents_become_closes_of_their_sessions() -> None:
    incidents = [
        Incident(
            id=1,
            session="a",
            closes=[RecordedClose(at=1.0, reason=R.CONNECTION_LOST, was_open=True)],
        ),
        Incident(id=2, session=None, closes=[]),
        Incident(
            id=3,
            session="a",
            closes=[
                RecordedClose(
                    at=9.0, reason=R.TEMPORARILY_BANNED, expire_seconds=60.0, was_stable=True
                )
            ],
        ),
    ]
    assert recorded_closes(incidents) == {
        "a": [
            Recorded(at_seconds=1.0, reason=R.CONNECTION_LOST, was_open=True),
            Recorded(
                at_seconds=9.0, reason=R.TEMPORARILY_BANNED, expire_seconds=60.0, was_stable=True
            ),
        ]
    }
