"""The state machine, cell by cell."""

import itertools

import pytest

from sessions.lifecycle.machine import TRANSITIONS, IllegalTransition, Signal, step
from sessions.model import SessionState as S


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(S)


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(S, Signal)))
def test_every_cell_either_names_a_state_or_raises(state: S, signal: Signal) -> None:
    before = {s: dict(row) for s, row in TRANSITIONS.items()}
    if signal in TRANSITIONS[state]:
        assert step(state, signal) is TRANSITIONS[state][signal]
    else:
        with pytest.raises(IllegalTransition, match=f"{signal.name} in state {state}"):
            step(state, signal)
    assert {s: dict(row) for s, row in TRANSITIONS.items()} == before


def test_every_state_can_be_reached_from_stopped() -> None:
    reached = {S.STOPPED}
    while more := {after for state in reached for after in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(S)


@pytest.mark.parametrize("state", S)
def test_every_state_can_be_stopped(state: S) -> None:
    assert step(state, Signal.STOP) is S.STOPPED


def test_a_parked_session_leaves_only_by_a_start_a_due_try_or_a_stop() -> None:
    leaving = {signal for signal, after in TRANSITIONS[S.PARKED].items() if after is not S.PARKED}
    assert leaving <= {Signal.START, Signal.READY, Signal.STOP}
    assert Signal.START in leaving


def test_a_quarantined_session_never_gets_near_a_login_by_itself() -> None:
    assert set(TRANSITIONS[S.QUARANTINED]) == {Signal.START, Signal.STOP}


def test_only_an_admitted_attempt_connects_and_only_a_connecting_one_opens() -> None:
    into_connecting = {
        (s, g)
        for s, row in TRANSITIONS.items()
        for g, after in row.items()
        if after is S.CONNECTING
    }
    assert into_connecting == {
        (S.HELD, Signal.ADMIT),
        (S.CONNECTING, Signal.PAIR),
        (S.QR, Signal.PAIR),
    }
    into_open = {s for s, row in TRANSITIONS.items() for after in row.values() if after is S.OPEN}
    assert into_open == {S.CONNECTING, S.QR}


def test_an_open_session_is_never_admitted_straight_away_its_worker_is_replaced_by_way_of_the_gate() -> (
    None
):
    assert Signal.ADMIT not in TRANSITIONS[S.OPEN]
    assert step(S.OPEN, Signal.READY) is S.HELD


@pytest.mark.parametrize("state", [s for s in S if s not in {S.STOPPED, S.PARKED}])
def test_wherever_a_worker_may_be_its_keys_can_turn_out_unreadable(state: S) -> None:
    if state is not S.QUARANTINED:
        assert step(state, Signal.QUARANTINE) is S.QUARANTINED


@pytest.mark.parametrize("state", [s for s in S if s not in {S.STOPPED, S.PARKED, S.QUARANTINED}])
def test_every_living_state_can_take_any_verdict_of_the_policy(state: S) -> None:
    assert step(state, Signal.RETRY) is S.WAITING
    assert step(state, Signal.PARK) is S.PARKED


def test_credentials_are_read_before_the_first_attempt_and_can_be_quarantined_then() -> None:
    assert step(S.STARTING, Signal.QUARANTINE) is S.QUARANTINED
