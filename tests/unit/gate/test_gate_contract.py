"""What the fake gate promises to sessions is what the real one does, at the unkind moments: each
case runs against both.
"""

import asyncio
import random
from collections.abc import Callable

import pytest

from sessions.model import SessionId
from sessions.ports import Admission
from supervisor.gate.gate import Gate, GateConfig
from tests.fakes import FakeGate

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]
SHOP, OTHER = SessionId("shop"), SessionId("other")


def fake() -> tuple[Admission, Callable[[], None], Callable[[], None]]:
    gate = FakeGate()

    def shut() -> None:
        gate.shut = True

    return gate, shut, gate.open


def real() -> tuple[Admission, Callable[[], None], Callable[[], None]]:
    """Shut: its one place is taken."""
    gate = Gate(GateConfig(rate_per_second=100, burst=100, concurrency=1), random.Random(1))
    taken = []

    def shut() -> None:
        permit = gate.try_admit(SessionId("who shuts it"))
        assert permit is not None
        taken.append(permit)

    def opened() -> None:
        taken.pop().finish(succeeded=True)

    return gate, shut, opened


both = pytest.mark.parametrize("made", [fake, real])
Made = Callable[[], tuple[Admission, Callable[[], None], Callable[[], None]]]


async def _quiet() -> None:
    await asyncio.sleep(1.0)  # the real one's bucket begins empty


@both
async def test_a_gate_that_is_shut_admits_nobody_and_everybody_when_it_opens(made: Made) -> None:
    gate, shut, opened = made()
    await _quiet()
    shut()
    assert gate.try_admit(SHOP) is None
    waiting = asyncio.create_task(gate.admit(SHOP))
    await asyncio.sleep(60)
    assert not waiting.done()
    opened()
    (await waiting).finish(succeeded=True)


@both
async def test_who_is_called_off_as_he_waits_takes_nothing_from_the_others(made: Made) -> None:
    gate, shut, opened = made()
    await _quiet()
    shut()
    first, second = asyncio.create_task(gate.admit(SHOP)), asyncio.create_task(gate.admit(OTHER))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.wait([first])
    opened()
    (await second).finish(succeeded=True)
    again = await gate.admit(SHOP)
    again.finish(succeeded=False)


@both
async def test_who_is_called_off_in_the_moment_that_it_opens_holds_no_ticket(made: Made) -> None:
    gate, shut, opened = made()
    await _quiet()
    shut()
    waiting = asyncio.create_task(gate.admit(SHOP))
    await asyncio.sleep(1)
    opened()
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(60):
        again = await gate.admit(SHOP)
    again.finish(succeeded=True)


@both
async def test_a_ticket_may_be_finished_twice_and_landed_late(made: Made) -> None:
    gate, _, _ = made()
    await _quiet()
    permit = await gate.admit(SHOP)
    permit.login_sent()
    permit.finish(succeeded=True)
    permit.finish(succeeded=False)
    permit.login_sent()
    async with asyncio.timeout(60):
        (await gate.admit(OTHER)).finish(succeeded=True)


@both
async def test_who_was_never_registered_may_leave(made: Made) -> None:
    gate, _, _ = made()
    await _quiet()
    gate.left(SHOP)
    gate.left(SHOP)
    async with asyncio.timeout(60):
        (await gate.admit(SHOP)).finish(succeeded=True)
