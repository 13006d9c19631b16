"""The policy against a table of its own: every row, the episodes between rows, and what
no history may break.
"""

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions import policy
from sessions.model import CloseReason as R
from sessions.policy import (
    RULES,
    Action,
    Close,
    Config,
    Credentials,
    DeafAction,
    Decision,
    Memory,
    Mend,
    attempted,
    decide,
    decide_deaf,
    logins_of_the_day,
    overridden,
    stable,
    uncharged,
)

CONFIG = Config()
NOW = 1_000_000.0
ALMOST_ONE = 0.999
HOUR = 3600.0


def test_every_close_reason_has_a_rule() -> None:
    assert set(RULES) == set(R)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is to follow a reason.

    Waits are those of a first failure that did not follow a stable period, at roll 0 and 0.999.
    """

    action: Action
    waits: tuple[float, float] | None
    counts: int = 0
    tries: int | None = None
    archives: bool = False
    force: bool = True


TABLE: dict[R, Row] = {
    # 515: at once, no failure
    R.RESTART_REQUIRED: Row(action=Action.RETRY, waits=(0.0, 0.0)),
    # 428 and the like: common, from the base of 2 s
    R.CONNECTION_CLOSED: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    # 408 of a registered device: common
    R.CONNECTION_LOST: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.NETWORK_UNREACHABLE: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.DNS: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.TLS_UNTRUSTED: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.PROXY: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    # our own deadline passed, a frame that cannot be decrypted, another HTTP answer than 101: all
    # without a code, so common
    R.ATTEMPT_TIMED_OUT: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.UNDECRYPTABLE_FRAME: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    R.UPGRADE_REFUSED: Row(action=Action.RETRY, waits=(0.0, 2.0), counts=1),
    # 408 "QR refs attempts ended": a human asks for a new one
    R.QR_EXPIRED: Row(action=Action.PARK, waits=None, force=False),
    # a passkey, which only a browser gives: each scan would end the same way
    R.PASSKEY_REQUIRED: Row(action=Action.PARK, waits=None, force=False),
    R.SAME_DEVICE: Row(action=Action.PARK, waits=None, force=False),
    # 500: common with base 5 s
    R.SERVER_ERROR: Row(action=Action.RETRY, waits=(0.0, 5.0), counts=1),
    # 501, 503: the same
    R.UNAVAILABLE: Row(action=Action.RETRY, waits=(0.0, 5.0), counts=1),
    # 429: five steps further on (2 s * 2^5), and twice for the breaker
    R.RATE_LIMITED: Row(action=Action.RETRY, waits=(0.0, 64.0), counts=2),
    # 440: two tries, 30-60 s apart
    R.REPLACED: Row(action=Action.RETRY, waits=(30.0, 60.0), counts=1, tries=2),
    # 401: the phone has unlinked us; only a new pairing helps
    R.LOGGED_OUT: Row(action=Action.PARK, waits=None, archives=True, force=False),
    # our own logout is no failure
    R.OWN_LOGOUT: Row(action=Action.DONE, waits=None, archives=True, force=False),
    # 402 without an expiry: 24 h, then one probe
    R.TEMPORARILY_BANNED: Row(action=Action.PARK, waits=(24 * HOUR, 24 * HOUR), force=False),
    # 403, 406: a human has to see to it on the phone
    R.LOCKED: Row(action=Action.PARK, waits=None, force=False),
    R.BANNED: Row(action=Action.PARK, waits=None, force=False),
    # 405: the fleet is held, no session is charged; alone, one try per 300 s to 1800 s
    R.CLIENT_OUTDATED: Row(action=Action.HOLD, waits=(270.0, 330.0)),
    # 409, 411, 415, 418: two tries
    R.REPAIR_NEEDED: Row(action=Action.RETRY, waits=(0.0, 30.0), counts=1, tries=2),
    # an unknown <failure>: three tries
    R.UNKNOWN_FAILURE: Row(action=Action.RETRY, waits=(0.0, 30.0), counts=1, tries=3),
    # the worker's own budget: the first crash in a window is mended at once; nothing for the
    # breaker
    R.WORKER_EXITED: Row(action=Action.RETRY, waits=(0.0, 0.0)),
    R.WORKER_HUNG: Row(action=Action.RETRY, waits=(0.0, 0.0)),
    # our own disk: no failure of WhatsApp's, and no login while it lasts
    R.STORE_FAILED: Row(action=Action.RETRY, waits=(5.0, 10.0)),
    # deaf: at once, under its own budget (decide_deaf)
    R.DEAF: Row(action=Action.RETRY, waits=(0.0, 0.5)),
    # an operator's force: at once
    R.REQUESTED: Row(action=Action.RETRY, waits=(0.0, 0.0)),
}


def test_the_expected_table_is_as_long_as_the_policy() -> None:
    assert set(TABLE) == set(R)


@pytest.mark.parametrize("reason", R)
def test_the_first_close_is_treated_as_the_design_says(reason: R) -> None:
    row = TABLE[reason]
    low, high = _decide(reason, roll=0.0), _decide(reason, roll=ALMOST_ONE)
    assert low.action is high.action is row.action
    assert low.counts == high.counts == row.counts
    assert low.credentials is (Credentials.ARCHIVE if row.archives else Credentials.KEEP)
    assert not low.opens_breaker
    assert RULES[reason].tries == row.tries
    if row.waits is None:
        assert low.wait_seconds is None
        assert high.wait_seconds is None
    else:
        assert low.wait_seconds == row.waits[0]
        assert high.wait_seconds is not None
        assert row.waits[1] * 0.99 <= high.wait_seconds <= row.waits[1]


@pytest.mark.parametrize("reason", R)
def test_a_reason_that_only_a_human_can_mend_says_what_he_has_to_do(reason: R) -> None:
    rule = RULES[reason]
    assert (rule.mend is Mend.RECONNECT) is TABLE[reason].force
    assert rule.human
    if rule.mend is Mend.HUMAN or rule.tries is not None:
        assert rule.human != RULES[R.CONNECTION_LOST].human


def test_no_cause_on_this_machine_is_said_to_mend_itself_without_a_word_on_what_to_look_at() -> (
    None
):
    local = {R.NETWORK_UNREACHABLE, R.DNS, R.TLS_UNTRUSTED, R.PROXY, R.UPGRADE_REFUSED}
    assert [reason for reason in local if RULES[reason].human.startswith("Nothing")] == []
    assert RULES[R.TLS_UNTRUSTED].human.startswith("It does not come back by itself")
    parked = overridden('[dns]\naction = "park"\n')
    assert "by itself" not in parked[R.DNS].human, "what is parked does not"


def test_credentials_are_kept_or_archived_and_nothing_can_delete_them() -> None:
    assert set(Credentials) == {Credentials.KEEP, Credentials.ARCHIVE}
    archiving = {
        reason for reason, rule in RULES.items() if rule.credentials is Credentials.ARCHIVE
    }
    assert archiving == {R.LOGGED_OUT, R.OWN_LOGOUT}


# --- common: full jitter, a cap, and a long tail --------------------------------------------------


@pytest.mark.parametrize(
    "reason", [R.CONNECTION_LOST, R.CONNECTION_CLOSED, R.SERVER_ERROR, R.UNAVAILABLE]
)
def test_the_first_try_after_a_stable_period_goes_almost_at_once(reason: R) -> None:
    waits = [
        _decide(reason, roll=roll, was_stable=True).wait_seconds for roll in (0.0, 0.5, ALMOST_ONE)
    ]
    assert waits == [0.0, 0.25, pytest.approx(0.4995)]


def test_waits_double_from_the_base_to_the_cap_and_then_follow_the_long_tail() -> None:
    decisions = _episode(R.CONNECTION_LOST, 13, roll=ALMOST_ONE)
    assert [d.wait_seconds for d in decisions[:10]] == pytest.approx(
        [ALMOST_ONE * c for c in (2, 4, 8, 16, 32, 64, 128, 256, 300, 300)]
    )
    for tail in decisions[10:]:  # MAX_RETRIES = 10 are used up
        assert tail.wait_seconds == pytest.approx(990, abs=1)
        assert "tail" in tail.rule
    assert [d.wait_seconds for d in _episode(R.CONNECTION_LOST, 11, roll=0.0)][:10] == [0.0] * 10
    assert _episode(R.CONNECTION_LOST, 11, roll=0.0)[-1].wait_seconds == pytest.approx(810)


def test_server_errors_wait_from_five_seconds_to_fifteen_minutes() -> None:
    waits = [d.wait_seconds for d in _episode(R.SERVER_ERROR, 10, roll=ALMOST_ONE)]
    assert waits == pytest.approx(
        [ALMOST_ONE * c for c in (5, 10, 20, 40, 80, 160, 320, 640, 900, 900)]
    )


def test_the_settings_numbers_are_obeyed() -> None:
    config = Config(base_seconds=1.0, cap_seconds=3.0, max_retries=2, tail_seconds=100.0)
    waits = [d.wait_seconds for d in _episode(R.CONNECTION_LOST, 4, roll=0.5, config=config)]
    assert waits == pytest.approx([0.5, 1.0, 100.0, 100.0])


def test_a_stable_period_forgets_failures_and_tries_but_no_window() -> None:
    memory = Memory(
        failures=7, tries={R.REPLACED: 2}, restarts=(NOW,), crashes=(NOW,), deafs=(NOW,)
    )
    calm = stable(memory)
    assert (calm.failures, calm.tries) == (0, {})
    assert (calm.restarts, calm.crashes, calm.deafs) == ((NOW,), (NOW,), (NOW,))


# --- 429 ------------------------------------------------------------------------------------------


def test_a_rate_limit_puts_the_session_five_steps_on_for_an_hour_even_after_a_stable_period() -> (
    None
):
    limited = _decide(R.RATE_LIMITED, roll=ALMOST_ONE, was_stable=True)
    assert limited.wait_seconds == pytest.approx(64 * ALMOST_ONE), "never almost at once"
    calm = stable(limited.memory)
    later = _decide(
        R.CONNECTION_LOST, memory=calm, now=NOW + HOUR - 1, roll=ALMOST_ONE, was_stable=True
    )
    assert later.wait_seconds == pytest.approx(64 * ALMOST_ONE), (
        "the penalty has survived the reset"
    )
    assert "rate limited" in later.rule
    forgiven = _decide(
        R.CONNECTION_LOST, memory=calm, now=NOW + HOUR + 1, roll=ALMOST_ONE, was_stable=True
    )
    assert forgiven.wait_seconds == pytest.approx(0.5 * ALMOST_ONE)


def test_rate_limits_add_up_but_not_without_end() -> None:
    decisions = _episode(R.RATE_LIMITED, 9, roll=ALMOST_ONE)
    assert [d.memory.penalty_steps for d in decisions] == [5, 10, 15, 20, 20, 20, 20, 20, 20]
    assert [d.wait_seconds for d in decisions[1:]] == pytest.approx([300 * ALMOST_ONE] * 8)


# --- 440 ------------------------------------------------------------------------------------------


def test_a_replaced_session_tries_twice_and_then_parks_with_its_breaker_open() -> None:
    first, second, third = _episode(R.REPLACED, 3, roll=0.5)
    assert [first.action, second.action, third.action] == [Action.RETRY, Action.RETRY, Action.PARK]
    assert (first.wait_seconds, second.wait_seconds, third.wait_seconds) == (45.0, 45.0, None)
    assert [first.opens_breaker, second.opens_breaker, third.opens_breaker] == [False, False, True]
    assert third.credentials is Credentials.KEEP


def test_a_replaced_session_that_was_stable_does_not_rush_back_either() -> None:
    assert _decide(R.REPLACED, roll=0.0, was_stable=True).wait_seconds == 30.0


# --- 515 and the 401 that may follow --------------------------------------------------------------


def test_more_than_three_restarts_in_a_minute_are_treated_as_a_lost_connection() -> None:
    decisions = _episode(R.RESTART_REQUIRED, 4, roll=ALMOST_ONE, apart=15.0)
    assert [d.wait_seconds for d in decisions[:3]] == [0.0, 0.0, 0.0]
    assert [d.counts for d in decisions] == [0, 0, 0, 1]
    assert decisions[3].wait_seconds == pytest.approx(2 * ALMOST_ONE)
    assert decisions[3].memory.failures == 1


def test_three_restarts_in_a_minute_again_and_again_are_fine() -> None:
    decisions = _episode(R.RESTART_REQUIRED, 40, roll=ALMOST_ONE, apart=20.1)
    assert {(d.wait_seconds, d.counts) for d in decisions} == {(0.0, 0)}


@pytest.mark.parametrize(("seconds_after", "probes"), [(1.0, True), (59.0, True), (61.0, False)])
def test_an_unlinking_right_after_a_restart_is_probed_exactly_once(
    seconds_after: float, probes: bool
) -> None:
    memory = _decide(R.RESTART_REQUIRED).memory
    first = _decide(R.LOGGED_OUT, memory=memory, now=NOW + seconds_after)
    assert (first.action is Action.RETRY) is probes
    assert first.credentials is (Credentials.KEEP if probes else Credentials.ARCHIVE)
    if probes:
        assert first.wait_seconds is not None
        assert 0 < first.wait_seconds < 2
        second = _decide(R.LOGGED_OUT, memory=first.memory, now=NOW + seconds_after + 1)
        assert second.action is Action.PARK
        assert second.credentials is Credentials.ARCHIVE


# --- bans, 405 and the rest -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expire_seconds", "wait"),
    [
        (None, 24 * HOUR),  # none named
        (3600.0, HOUR),
        (2.0, 2.0),
        (0.0, 1.0),  # it is over already; but never a try in the same instant
        (-5.0, 1.0),
    ],
)
def test_a_temporary_ban_rests_until_the_expiry_that_it_names(
    expire_seconds: float | None, wait: float
) -> None:
    close = Close(reason=R.TEMPORARILY_BANNED, expire_seconds=expire_seconds)
    decision = decide(close, Memory(), CONFIG, NOW, 0.5)
    assert (decision.action, decision.wait_seconds, decision.counts) == (Action.PARK, wait, 0)


def test_a_ban_whose_expiry_is_not_true_is_tried_more_and_more_rarely() -> None:
    memory, waits = Memory(), []
    for _ in range(14):
        decision = decide(
            Close(reason=R.TEMPORARILY_BANNED, expire_seconds=0.0), memory, CONFIG, NOW, 0.5
        )
        memory = decision.memory
        waits.append(decision.wait_seconds)
    assert waits[:4] == [1.0, 60.0, 120.0, 240.0]
    assert waits[-1] == 24 * HOUR


def test_an_outdated_client_holds_the_fleet_and_charges_nobody() -> None:
    decisions = _episode(R.CLIENT_OUTDATED, 30)
    assert {d.action for d in decisions} == {Action.HOLD}
    assert decisions[-1].memory.failures == 0


@pytest.mark.parametrize(("reason", "tries"), [(R.REPAIR_NEEDED, 2), (R.UNKNOWN_FAILURE, 3)])
def test_a_refused_registration_is_tried_a_few_times_and_then_parked(reason: R, tries: int) -> None:
    decisions = _episode(reason, tries + 1, roll=ALMOST_ONE)
    assert [d.action for d in decisions] == [Action.RETRY] * tries + [Action.PARK]
    assert [d.wait_seconds for d in decisions[:-1]] == pytest.approx(
        [30 * 2**n * ALMOST_ONE for n in range(tries)]
    )
    assert decisions[-1].credentials is Credentials.KEEP
    assert not decisions[-1].opens_breaker


# --- workers and deafness -------------------------------------------------------------------------


def test_a_crashing_worker_has_five_quick_restarts_and_then_the_windows_pace() -> None:
    memory, now, starts = Memory(), NOW, []
    for _ in range(40):
        decision = _decide(R.WORKER_EXITED, memory=memory, now=now, roll=ALMOST_ONE)
        assert decision.action is Action.RETRY
        assert decision.counts == 0, "a crash is not WhatsApp's doing"
        assert decision.wait_seconds is not None
        memory, now = decision.memory, now + decision.wait_seconds
        starts.append(now)
    quick = [round(b - a) for a, b in zip([NOW, *starts], starts, strict=False)]
    assert quick[:5] == [0, 1, 2, 4, 8]
    assert quick[5] == pytest.approx(600 - 15, abs=1), (
        "until the oldest of the last five has left the window"
    )
    for first, seventh in zip(starts, starts[6:], strict=False):
        assert seventh - first >= 600 - 1e-6, (
            "one when the window lets it, and five more that are forgiven"
        )


def test_the_crash_budget_comes_back_when_the_window_has_passed() -> None:
    memory = _episode(R.WORKER_EXITED, 5)[-1].memory
    assert memory.crashes
    assert (
        _decide(R.WORKER_EXITED, memory=memory, now=NOW + 700, roll=ALMOST_ONE).wait_seconds == 0.0
    )


def test_a_crash_and_a_hang_share_one_budget() -> None:
    memory = _decide(R.WORKER_EXITED).memory
    assert _decide(R.WORKER_HUNG, memory=memory, roll=ALMOST_ONE).wait_seconds == 1.0


def test_a_deaf_session_gets_a_new_socket_then_a_new_worker_then_is_left_alone() -> None:
    first, memory = decide_deaf(Memory(), NOW)
    second, memory = decide_deaf(memory, NOW + 10)
    third, memory = decide_deaf(memory, NOW + 20)
    almost, memory = decide_deaf(memory, NOW + 6 * HOUR - 1)
    assert [first, second, third, almost] == [
        DeafAction.RECONNECT,
        DeafAction.REPLACE_WORKER,
        DeafAction.LEAVE,
        DeafAction.LEAVE,
    ]
    again, _ = decide_deaf(memory, NOW + 6 * HOUR + 11)
    assert again is DeafAction.RECONNECT, "six hours later there is a new budget"


# --- histories ------------------------------------------------------------------------------------

LONGEST = 24 * HOUR + 990.0
expiries = st.one_of(st.none(), st.floats(min_value=-1e6, max_value=24 * HOUR))
closes = st.builds(
    Close,
    reason=st.sampled_from(R),
    was_open=st.booleans(),
    was_stable=st.booleans(),
    expire_seconds=expiries,
)
rolls = st.floats(min_value=0, max_value=1, exclude_max=True)
histories = st.lists(
    st.tuples(closes, st.floats(min_value=0, max_value=5000), rolls, st.booleans()), max_size=60
)
configs = st.builds(
    Config,
    base_seconds=st.floats(min_value=0.001, max_value=1000),
    cap_seconds=st.floats(min_value=0.001, max_value=900),
    max_retries=st.integers(min_value=1, max_value=10**6),
    tail_seconds=st.floats(min_value=0.001, max_value=900),
    crash_budget=st.integers(min_value=1, max_value=50),
    crash_window_seconds=st.floats(min_value=0.001, max_value=3600),
    daily_logins=st.integers(min_value=1, max_value=30),
)


# --- flapping -------------------------------------------------------------------------------------


def test_from_the_fourth_drop_within_an_hour_on_a_session_is_slowed_although_each_time_it_was_stable() -> (
    None
):
    decisions = _drops(7, apart=120.0)
    assert [d.wait_seconds for d in decisions] == pytest.approx(
        [ALMOST_ONE * c for c in (0.5, 0.5, 0.5, 2, 4, 8, 16)]
    )
    assert [d.rule for d in decisions[2:4]] == [
        "first try, almost at once",
        "flapping: 4 drops within an hour, up to 2 s",
    ]


def test_flapping_slows_to_the_cap_and_no_further() -> None:
    decisions = _drops(30, apart=90.0)
    assert decisions[-1].wait_seconds == pytest.approx(300 * ALMOST_ONE)
    assert len(decisions[-1].memory.drops) == 20


def test_drops_are_forgotten_after_an_hour() -> None:
    assert {d.wait_seconds for d in _drops(20, apart=1201.0)} == {0.5 * ALMOST_ONE}


def test_a_try_that_never_opened_is_no_drop() -> None:
    memory = _episode(R.CONNECTION_LOST, 8)[-1].memory
    assert memory.drops == ()


def test_a_drop_before_the_stable_period_waits_for_whatever_is_longer() -> None:
    memory = Memory(failures=5, drops=(NOW - 3, NOW - 2, NOW - 1))
    decision = decide(
        Close(reason=R.CONNECTION_LOST, was_open=True), memory, CONFIG, NOW, ALMOST_ONE
    )
    assert decision.wait_seconds == pytest.approx(64 * ALMOST_ONE)
    assert decision.rule == "try 6 of 10, up to 64 s"


@pytest.mark.parametrize(
    "reason", [R.REPLACED, R.DEAF, R.WORKER_EXITED, R.REQUESTED, R.STORE_FAILED, R.RESTART_REQUIRED]
)
def test_what_has_a_budget_of_its_own_is_no_flapping(reason: R) -> None:
    assert (
        decide(Close(reason=reason, was_open=True), Memory(), CONFIG, NOW, 0.5).memory.drops == ()
    )


# --- a day's logins -------------------------------------------------------------------------------


@given(st.lists(st.floats(min_value=0, max_value=7200), max_size=300))
def test_the_days_logins_are_never_fewer_than_there_were_and_few_numbers_hold_them(
    pauses: list[float],
) -> None:
    memory, now, times = Memory(), 0.0, []
    for pause in pauses:
        now += pause
        memory = attempted(memory, now)
        times.append(now)
        counted = logins_of_the_day(memory, now)
        assert len([t for t in times if t > now - 24 * HOUR]) <= counted
        assert counted <= len([t for t in times if t > now - 25 * HOUR])
        assert len(memory.logins) <= 26


@given(histories, st.integers(min_value=1, max_value=5))
def test_beyond_the_budget_no_rule_tries_more_often_than_the_tail(
    history: list[tuple[Close, float, float, bool]], budget: int
) -> None:
    config, memory, now = replace(CONFIG, daily_logins=budget), Memory(), 0.0
    for close, pause, roll, _ in history:
        now += pause
        decision = decide(close, memory, config, now, roll)
        if (
            decision.action is Action.RETRY
            and logins_of_the_day(memory, now) >= budget
            and close.reason not in {R.REQUESTED, R.RESTART_REQUIRED}
        ):
            assert decision.wait_seconds is not None
            assert decision.wait_seconds >= 0.9 * config.tail_seconds
            assert "budget" in decision.rule
        memory = attempted(decision.memory, now)


# --- what an outage charged -----------------------------------------------------------------------


def test_what_an_outage_charged_is_taken_back_and_the_rest_stays() -> None:
    before = Memory(failures=1, drops=(NOW,), tries={R.REPLACED: 1})
    after = Memory(
        failures=6,
        penalty_steps=5,
        penalty_until=NOW + 60,
        drops=(NOW, NOW + 1),
        tries={R.REPLACED: 2, R.CONNECTION_LOST: 3},
        crashes=(NOW,),
        deafs=(NOW,),
        restarts=(NOW,),
        logins=((NOW, 9),),
    )
    assert uncharged(after, before, RULES) == Memory(
        failures=1,
        drops=(NOW,),
        tries={R.REPLACED: 2},
        crashes=(NOW,),
        deafs=(NOW,),
        restarts=(NOW,),
        logins=((NOW, 9),),
    )


def test_only_what_network_and_server_do_to_many_at_once_is_correlated() -> None:
    assert {reason for reason, rule in RULES.items() if rule.correlated} == {
        R.CONNECTION_CLOSED,
        R.CONNECTION_LOST,
        R.NETWORK_UNREACHABLE,
        R.DNS,
        R.TLS_UNTRUSTED,
        R.PROXY,
        R.ATTEMPT_TIMED_OUT,
        R.UNAVAILABLE,
        R.SERVER_ERROR,
        R.UPGRADE_REFUSED,
        R.RATE_LIMITED,
        R.UNDECRYPTABLE_FRAME,
    }


# --- what no history may break --------------------------------------------------------------------


@given(histories, configs)
def test_no_history_makes_a_wait_negative_endless_or_not_a_number(
    history: list[tuple[Close, float, float, bool]], config: Config
) -> None:
    memory, now = Memory(), 0.0
    for close, pause, roll, calm in history:
        now += pause
        decision = decide(close, stable(memory) if calm else memory, config, now, roll)
        if decision.wait_seconds is not None:
            assert math.isfinite(decision.wait_seconds)
            assert 0 <= decision.wait_seconds <= LONGEST
        assert (decision.wait_seconds is not None) or decision.action is not Action.RETRY
        assert decision.rule
        memory = attempted(decision.memory, now)


@given(histories, st.floats(min_value=-1e9, max_value=1e9))
def test_telling_the_memory_on_another_clock_changes_no_decision(
    history: list[tuple[Close, float, float, bool]], shift: float
) -> None:
    shift, memory, now = round(shift), Memory(), 0.0
    for close, pause, roll, _ in history:
        now += round(pause)
        here = decide(close, memory, CONFIG, now, roll)
        there = decide(close, memory.shifted(shift), CONFIG, now + shift, roll)
        assert (here.action, here.rule, here.wait_seconds) == (
            there.action,
            there.rule,
            there.wait_seconds,
        )
        assert there.memory.shifted(-shift) == here.memory
        assert here.memory.shifted(shift).shifted(-shift) == here.memory
        memory = attempted(here.memory, now)


def test_an_expired_penalty_is_no_penalty_on_any_clock() -> None:
    memory = replace(Memory(), penalty_steps=5, penalty_until=NOW)
    assert _decide(
        R.CONNECTION_LOST, memory=memory, now=NOW, roll=ALMOST_ONE
    ).wait_seconds == pytest.approx(1.998)


def test_decide_changes_nothing_of_the_memory_it_is_given() -> None:
    memory = Memory(tries={R.REPLACED: 1})
    _decide(R.REPLACED, memory=memory)
    assert memory == Memory(tries={R.REPLACED: 1})


def _decide(
    reason: R,
    *,
    memory: Memory | None = None,
    now: float = NOW,
    roll: float = 0.5,
    was_stable: bool = False,
) -> Decision:
    return decide(
        Close(reason=reason, was_stable=was_stable), memory or Memory(), CONFIG, now, roll
    )


def _episode(
    reason: R, closes: int, *, roll: float = 0.5, apart: float = 1.0, config: policy.Config = CONFIG
) -> list[Decision]:
    """The decisions of so many closes in a row, a fixed time apart."""
    decisions: list[Decision] = []
    memory = Memory()
    for number in range(closes):
        decisions.append(decide(Close(reason=reason), memory, config, NOW + number * apart, roll))
        memory = decisions[-1].memory
    return decisions


def _drops(number: int, *, apart: float) -> list[Decision]:
    """The decisions of so many drops of a session that is stably open in between."""
    decisions: list[Decision] = []
    memory = Memory()
    for each in range(number):
        close = Close(reason=R.CONNECTION_LOST, was_open=True, was_stable=True)
        decisions.append(decide(close, stable(memory), CONFIG, NOW + each * apart, ALMOST_ONE))
        memory = decisions[-1].memory
    return decisions


def test_a_first_wait_that_may_be_none_at_all_is_not_said_to_be_at_least_so_long() -> None:
    row, said = TABLE[R.SERVER_ERROR], policy.in_words(RULES[R.SERVER_ERROR])
    assert row.waits is not None
    assert row.waits[0] == 0.0
    assert "up to 5 s at first" in said
    assert not [words for rule in RULES.values() if "at least" in (words := policy.in_words(rule))]
