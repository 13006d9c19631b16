"""Which worker may be adopted, and where its session then stands."""

import itertools
from typing import Any

import pytest

from sessions.lifecycle import adoption
from sessions.lifecycle.machine import Signal, step
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.unit.lifecycle.adoption.pasts import SHOWN_AS, Stage, holding, how_closed

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize("stage", Stage)
def test_the_way_to_every_stage_is_a_legal_one_and_ends_where_the_session_then_stands(
    stage: Stage,
) -> None:
    state = step(S.STOPPED, Signal.START)
    for signal in adoption.SIGNALS[stage]:
        state = step(state, signal)
    assert state is SHOWN_AS[stage]


def test_a_login_is_on_the_wire_from_the_stage_of_that_name_on() -> None:
    assert set(Stage) - adoption.LOGIN_SENT == {Stage.IDLE, Stage.CONNECTING}


@pytest.mark.parametrize(
    ("stage", "parked", "readable"), list(itertools.product(Stage, [False, True], [False, True]))
)
def test_only_a_worker_of_the_stores_own_epoch_is_adopted(
    stage: Stage, parked: bool, readable: bool
) -> None:
    held = wire.Held(session="shop", **holding(stage, epoch=4))
    for epoch in (3, 5):
        refusal = adoption.refusal(held, epoch, parked, readable)
        assert refusal is not None
        assert f"epoch {epoch}" in refusal
    may_be_adopted = readable and (stage is Stage.OPEN or not parked)
    assert (adoption.refusal(held, 4, parked, readable) is None) is may_be_adopted


CLOSED = how_closed(R.SERVER_ERROR)


@pytest.mark.parametrize(
    ("held", "judged", "unjudged"),
    [
        (holding(Stage.IDLE, 1, 7, CLOSED), None, True),
        (holding(Stage.IDLE, 1, 7, CLOSED), (1, 6), True),
        (holding(Stage.IDLE, 2, 7, CLOSED), (1, 7), True),
        (holding(Stage.IDLE, 1, 7, CLOSED), (1, 7), False),
        (holding(Stage.IDLE, 1, 0), None, False),
        (holding(Stage.IDLE, 1, 7), None, False),
        (holding(Stage.OPEN, 1, 7) | {"closed": CLOSED}, None, False),
    ],
)
def test_a_close_is_judged_unless_it_was(
    held: dict[str, Any], judged: tuple[int, int] | None, unjudged: bool
) -> None:
    assert adoption.unjudged(wire.Held(session="shop", **held), judged) is unjudged
