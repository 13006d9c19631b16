"""A session's judgement: charged by closes, forgiven what an outage has charged, warned of a day
with too many logins.
"""

import pytest

from sessions.lifecycle import remembered
from sessions.lifecycle.judgement import Judgement
from sessions.lifecycle.remembered import Remembered
from sessions.model import CloseReason as R
from sessions.model import SessionId
from sessions.policy import EXCUSED, Action, Config, Decision, Memory, overridden
from sessions.policy.breaker import BreakerRecord

NOW = 10_000.0
BLANK = Remembered(Memory(), BreakerRecord())


def judge(past: Remembered = BLANK, **numbers: int) -> Judgement:
    return Judgement(SessionId("shop"), Config(**numbers), 5, 600.0, past)


def close(
    judgement: Judgement, reason: R = R.CONNECTION_LOST, now: float = NOW, **more: bool
) -> Decision:
    return judgement.close(reason, None, "", None, more.pop("stable", False), now, 0.5, **more)


def test_an_excused_close_goes_to_the_gate_and_charges_nobody() -> None:
    judgement = judge()
    judgement.opened()
    for number in range(20):
        decision = close(judgement, now=NOW + number, was_open=number == 0, excused=True)
        assert (decision.action, decision.wait_seconds, decision.rule) == (
            Action.RETRY,
            0.0,
            EXCUSED,
        )
    assert (judgement.failures, judgement.breaker.failures, judgement.breaker.state) == (
        0,
        0,
        "closed",
    )
    assert judgement.last_close is not None
    assert judgement.last_close.rule == EXCUSED


@pytest.mark.parametrize(
    "reason", [R.LOGGED_OUT, R.REPLACED, R.BANNED, R.TEMPORARILY_BANNED, R.REPAIR_NEEDED]
)
def test_no_outage_excuses_what_it_cannot_have_caused(reason: R) -> None:
    assert close(judge(), reason, excused=True) == close(judge(), reason)


def test_the_excused_trial_of_an_open_breaker_leaves_it_ready_for_the_next_one() -> None:
    judgement = judge()
    for _ in range(5):
        close(judgement)
    assert judgement.breaker.state == "open"
    judgement.breaker.begin_attempt()
    close(judgement, now=NOW + 700, excused=True)
    assert judgement.breaker.state == "open"
    assert judgement.breaker.seconds_until_trial(NOW + 700) == 0


def test_what_an_outage_charged_before_it_was_seen_is_taken_back() -> None:
    judgement = judge()
    judgement.opened()
    for number in range(6):
        close(
            judgement,
            R.RATE_LIMITED if number == 3 else R.CONNECTION_LOST,
            NOW + number,
            was_open=number == 0,
        )
    assert judgement.breaker.state == "open"
    assert judgement.excuse(NOW)
    assert (judgement.failures, judgement.breaker.state, judgement.breaker.failures) == (
        0,
        "closed",
        0,
    )
    assert judgement.last_close is not None
    assert judgement.last_close.rule == EXCUSED
    after = close(judgement, now=NOW + 100)
    assert (after.rule, after.wait_seconds) == ("try 1 of 10, up to 2 s", 1.0), (
        "no penalty is left either"
    )


def test_a_duel_is_not_forgiven_and_its_wait_stands() -> None:
    judgement = judge()
    judgement.opened()
    close(judgement, R.REPLACED, was_open=True)
    assert not judgement.excuse(NOW)
    assert judgement.failures == 1
    close(judgement, R.CONNECTION_LOST, NOW + 50)
    assert judgement.excuse(NOW)
    assert judgement.failures == 0
    second = close(judgement, R.REPLACED, NOW + 60)
    assert second.rule.startswith("replaced: try 2 of 2"), "the first try is remembered"


def test_an_excuse_without_any_close_changes_nothing() -> None:
    assert not judge().excuse(NOW)


def test_what_to_take_back_to_survives_a_restart() -> None:
    judgement = judge()
    judgement.opened()
    judgement.stable()
    for _ in range(3):
        close(judgement)
    stored = remembered.encode(judgement.remembered(False, None, None), NOW)
    successor = judge(remembered.decode(stored, NOW + 5))
    assert successor.failures == 3
    assert successor.excuse(NOW)
    assert successor.failures == 0


def test_a_session_that_an_older_version_stored_is_taken_back_to_what_was_stored() -> None:
    judgement = judge(Remembered(Memory(failures=2), BreakerRecord(failures=2)))
    close(judgement)
    judgement.excuse(NOW)
    assert (judgement.failures, judgement.breaker.failures) == (2, 2)


def test_an_excuse_during_a_trial_leaves_a_breaker_that_closes_when_the_session_opens() -> None:
    judgement = judge(Remembered(Memory(), BreakerRecord(state="open", failures=5, opened_at=NOW)))
    close(judgement, now=NOW + 601)
    judgement.breaker.begin_attempt()
    judgement.excuse(NOW)
    judgement.opened()
    assert judgement.breaker.state == "closed"
    judgement.stable()
    assert judgement.breaker.failures == 0


# --- a day's logins -------------------------------------------------------------------------------


def test_the_day_that_sees_too_many_logins_is_warned_of_at_four_fifths_and_at_its_end() -> None:
    judgement = judge(daily_logins=10)
    told = [judgement.attempted(NOW + number * 60) for number in range(12)]
    assert [number + 1 for number, words in enumerate(told) if words] == [8, 10]
    assert told[7] is not None
    assert told[7].startswith("8 of 10 logins")
    assert (judgement.budget(NOW + 720).used, judgement.budget(NOW + 720).limit) == (12, 10)


def test_beyond_the_budget_there_is_one_try_per_tail_delay_and_an_operator_is_obeyed() -> None:
    judgement = judge(daily_logins=3)
    for _ in range(3):
        judgement.attempted(NOW)
    decision = close(judgement)
    assert decision.wait_seconds == pytest.approx(900)
    assert decision.rule == "daily budget of 3 logins used up: one try per 900 s"
    assert close(judgement, R.REQUESTED).wait_seconds == 0.0
    assert close(judgement, R.RESTART_REQUIRED).wait_seconds == 0.0, "a pairing has only seconds"
    assert close(judgement, R.RESTART_REQUIRED, NOW + 1).wait_seconds == pytest.approx(900)


def test_the_logins_survive_a_restart() -> None:
    judgement = judge(daily_logins=3)
    for _ in range(3):
        judgement.attempted(NOW)
    stored = remembered.encode(judgement.remembered(False, None, None), NOW)
    assert judge(remembered.decode(stored, NOW + 5)).budget(NOW + 5).used == 3


# --- another policy -------------------------------------------------------------------------------


def test_another_policy_is_followed_from_the_next_close_on() -> None:
    judgement = judge()
    assert close(judgement).wait_seconds == 1.0
    judgement.follow(
        Config(
            rules=overridden(
                '[connection_lost]\nbase_seconds = 8\nhuman = "Call Ana about {id}."\n'
            )
        )
    )
    assert close(judgement).wait_seconds == 8.0
    assert judgement.last_close is not None
    assert judgement.last_close.human == "Call Ana about shop."


def test_an_excused_close_beyond_the_budget_waits_for_the_tail_and_an_excuse_leaves_that_wait() -> (
    None
):
    judgement = judge(daily_logins=3)
    for _ in range(3):
        judgement.attempted(NOW)
    decision = close(judgement, excused=True)
    assert (decision.wait_seconds, decision.excused, decision.counts) == (
        pytest.approx(900),
        True,
        0,
    )
    assert judgement.excuse(NOW)
    assert judgement.spent(NOW)
    assert judgement.last_close is not None
    assert judgement.last_close.rule.startswith("daily budget")


def test_a_budget_that_is_lower_than_what_was_used_is_told_once() -> None:
    judgement = judge(Remembered(Memory(logins=((NOW, 150),)), BreakerRecord()), daily_logins=50)
    told = [judgement.attempted(NOW + number) for number in range(3)]
    assert [bool(words) for words in told] == [True, False, False]


def test_a_lone_rejected_client_tries_ever_more_seldom() -> None:
    judgement = judge()
    waits = [close(judgement, R.CLIENT_OUTDATED, NOW + n).wait_seconds for n in range(5)]
    assert waits == pytest.approx([300, 600, 1200, 1800, 1800])


def test_the_long_tail_is_never_below_the_rows_minimum() -> None:
    judgement = judge()
    judgement.follow(
        Config(rules=overridden("[connection_lost]\nminimum_seconds = 7200\ncap_seconds = 7200\n"))
    )
    waits = [close(judgement, now=NOW + number).wait_seconds or 0.0 for number in range(13)]
    assert min(waits) >= 7200
