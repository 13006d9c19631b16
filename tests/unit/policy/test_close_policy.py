"""What one session learns from its closes: it is charged by them, uncharged of what was an outage's,
and warned of a day with too many logins.
"""

import pytest

from sessions.lifecycle import remembered
from sessions.lifecycle.remembered import Remembered
from sessions.model import CloseReason as R
from sessions.model import SessionId
from sessions.policy import (
    COVERED,
    Action,
    Close,
    ClosePolicy,
    Config,
    Decision,
    Memory,
    Verdict,
    overridden,
)
from sessions.policy.breaker import BreakerRecord

NOW = 10_000.0
BLANK = Remembered(Memory(), BreakerRecord())


def judge(past: Remembered = BLANK, **numbers: int) -> ClosePolicy:
    return ClosePolicy(SessionId("shop"), Config(**numbers), 5, 600.0, past.learned)


def stored(policy: ClosePolicy) -> bytes:
    learned = policy.learned
    return remembered.encode(
        Remembered(learned.policy, learned.breaker, learned.last_close, baseline=learned.baseline),
        NOW,
    )


def close(
    policy: ClosePolicy,
    reason: R = R.CONNECTION_LOST,
    now: float = NOW,
    verdict: Verdict = Verdict.OWN,
    **more: bool,
) -> Decision:
    return policy.close(Close(reason=reason, at=now, **more), verdict, 0.5)


def test_a_covered_close_goes_to_the_gate_and_charges_nobody() -> None:
    policy = judge()
    policy.opened()
    for number in range(20):
        decision = close(policy, now=NOW + number, was_open=number == 0, verdict=Verdict.COVERED)
        assert (decision.action, decision.wait_seconds, decision.rule) == (
            Action.RETRY,
            0.0,
            COVERED,
        )
    assert (policy.failures, policy.breaker.failures, policy.breaker.state) == (
        0,
        0,
        "closed",
    )
    assert policy.last_close is not None
    assert policy.last_close.rule == COVERED


@pytest.mark.parametrize("verdict", [Verdict.COVERED, Verdict.REVEALING])
@pytest.mark.parametrize(
    "reason", [R.LOGGED_OUT, R.REPLACED, R.BANNED, R.TEMPORARILY_BANNED, R.REPAIR_NEEDED]
)
def test_no_outage_covers_what_it_cannot_have_caused(reason: R, verdict: Verdict) -> None:
    assert close(judge(), reason, verdict=verdict) == close(judge(), reason)


def test_the_covered_trial_of_an_open_breaker_leaves_it_ready_for_the_next_one() -> None:
    policy = judge()
    for _ in range(5):
        close(policy)
    assert policy.breaker.state == "open"
    policy.breaker.begin_attempt()
    close(policy, now=NOW + 700, verdict=Verdict.COVERED)
    assert policy.breaker.state == "open"
    assert policy.breaker.seconds_until_trial(NOW + 700) == 0


def test_what_an_outage_charged_before_it_was_seen_is_taken_back() -> None:
    policy = judge()
    policy.opened()
    for number in range(6):
        close(
            policy,
            R.RATE_LIMITED if number == 3 else R.CONNECTION_LOST,
            NOW + number,
            was_open=number == 0,
        )
    assert policy.breaker.state == "open"
    assert policy.uncharge(NOW)
    assert (policy.failures, policy.breaker.state, policy.breaker.failures) == (
        0,
        "closed",
        0,
    )
    assert policy.last_close is not None
    assert policy.last_close.rule == COVERED
    after = close(policy, now=NOW + 100)
    assert (after.rule, after.wait_seconds) == ("try 1 of 10, up to 2 s", 1.0), (
        "no penalty is left either"
    )


def test_a_duel_is_not_uncharged_and_its_wait_stands() -> None:
    policy = judge()
    policy.opened()
    close(policy, R.REPLACED, was_open=True)
    assert not policy.uncharge(NOW)
    assert policy.failures == 1
    close(policy, R.CONNECTION_LOST, NOW + 50)
    assert policy.uncharge(NOW)
    assert policy.failures == 0
    second = close(policy, R.REPLACED, NOW + 60)
    assert second.rule.startswith("replaced: try 2 of 2"), "the first try is remembered"


def test_an_uncharge_without_any_close_changes_nothing() -> None:
    assert not judge().uncharge(NOW)


def test_what_to_take_back_to_survives_a_restart() -> None:
    policy = judge()
    policy.opened()
    policy.stable()
    for _ in range(3):
        close(policy)
    kept = stored(policy)
    successor = judge(remembered.decode(kept, NOW + 5))
    assert successor.failures == 3
    assert successor.uncharge(NOW)
    assert successor.failures == 0


def test_a_session_that_an_older_version_stored_is_taken_back_to_what_was_stored() -> None:
    policy = judge(Remembered(Memory(failures=2), BreakerRecord(failures=2)))
    close(policy)
    policy.uncharge(NOW)
    assert (policy.failures, policy.breaker.failures) == (2, 2)


def test_an_uncharge_during_a_trial_leaves_a_breaker_that_closes_when_the_session_opens() -> None:
    policy = judge(Remembered(Memory(), BreakerRecord(state="open", failures=5, opened_at=NOW)))
    close(policy, now=NOW + 601)
    policy.breaker.begin_attempt()
    policy.uncharge(NOW)
    policy.opened()
    assert policy.breaker.state == "closed"
    policy.stable()
    assert policy.breaker.failures == 0


# --- a day's logins -------------------------------------------------------------------------------


def test_the_day_that_sees_too_many_logins_is_warned_of_at_four_fifths_and_at_its_end() -> None:
    policy = judge(daily_logins=10)
    told = [policy.attempted(NOW + number * 60) for number in range(12)]
    assert [number + 1 for number, words in enumerate(told) if words] == [8, 10]
    assert told[7] is not None
    assert told[7].startswith("8 of 10 logins")
    assert (policy.budget(NOW + 720).used, policy.budget(NOW + 720).limit) == (12, 10)


def test_beyond_the_budget_there_is_one_try_per_tail_delay_and_an_operator_is_obeyed() -> None:
    policy = judge(daily_logins=3)
    for _ in range(3):
        policy.attempted(NOW)
    decision = close(policy)
    assert decision.wait_seconds == pytest.approx(900)
    assert decision.rule == "daily budget of 3 logins used up: one try per 900 s"
    assert close(policy, R.REQUESTED).wait_seconds == 0.0
    assert close(policy, R.RESTART_REQUIRED).wait_seconds == 0.0, "a pairing has only seconds"
    assert close(policy, R.RESTART_REQUIRED, NOW + 1).wait_seconds == pytest.approx(900)


def test_the_logins_survive_a_restart() -> None:
    policy = judge(daily_logins=3)
    for _ in range(3):
        policy.attempted(NOW)
    kept = stored(policy)
    assert judge(remembered.decode(kept, NOW + 5)).budget(NOW + 5).used == 3


# --- another policy -------------------------------------------------------------------------------


def test_another_policy_is_followed_from_the_next_close_on() -> None:
    policy = judge()
    assert close(policy).wait_seconds == 1.0
    policy.follow(
        Config(
            rules=overridden(
                '[connection_lost]\nbase_seconds = 8\nhuman = "Call Ana about {id}."\n'
            )
        )
    )
    assert close(policy).wait_seconds == 8.0
    assert policy.last_close is not None
    assert policy.last_close.human == "Call Ana about shop."


def test_a_covered_close_beyond_the_budget_waits_for_the_tail_and_an_uncharge_leaves_that_wait() -> (
    None
):
    policy = judge(daily_logins=3)
    for _ in range(3):
        policy.attempted(NOW)
    decision = close(policy, verdict=Verdict.COVERED)
    assert (decision.wait_seconds, decision.covered, decision.counts) == (
        pytest.approx(900),
        True,
        0,
    )
    assert policy.uncharge(NOW)
    assert policy.spent(NOW)
    assert policy.last_close is not None
    assert policy.last_close.rule.startswith("daily budget")


def test_a_budget_that_is_lower_than_what_was_used_is_told_once() -> None:
    policy = judge(Remembered(Memory(logins=((NOW, 150),)), BreakerRecord()), daily_logins=50)
    told = [policy.attempted(NOW + number) for number in range(3)]
    assert [bool(words) for words in told] == [True, False, False]


def test_a_lone_rejected_client_tries_ever_more_seldom() -> None:
    policy = judge()
    waits = [close(policy, R.CLIENT_OUTDATED, NOW + n).wait_seconds for n in range(5)]
    assert waits == pytest.approx([300, 600, 1200, 1800, 1800])


def test_the_long_tail_is_never_below_the_rows_minimum() -> None:
    policy = judge()
    policy.follow(
        Config(rules=overridden("[connection_lost]\nminimum_seconds = 7200\ncap_seconds = 7200\n"))
    )
    waits = [close(policy, now=NOW + number).wait_seconds or 0.0 for number in range(13)]
    assert min(waits) >= 7200
