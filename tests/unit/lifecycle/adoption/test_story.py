"""A session is handed on from supervisor to supervisor; WhatsApp sees one login, and nothing is lost."""

import asyncio

import pytest

from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import World
from tests.unit.lifecycle.adoption.pasts import MINUTE, now

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize("how", ["is killed", "leaves"])
async def test_a_supervisor_goes_its_successor_adopts_and_every_message_is_delivered_once(
    how: str,
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        worker = world.workers.last
        for text in ("one", "two"):
            worker.says(text)
        await asyncio.sleep(0.1)
        assert worker.unacknowledged == {}
        acks = [frame for frame in worker.sent if isinstance(frame, wire.EventsAck)]
        worker.line_down = True  # what comes now is delivered, and its acknowledgement lost
        worker.says("three")
        await asyncio.sleep(0.1)
        await (world.crash(workers_live=True) if how == "is killed" else world.leave())
        worker.line_down = False
        worker.says("four")
        await asyncio.sleep(20.0)
        assert [event.text for event in worker.unacknowledged.values()] == ["three", "four"]
        world.come_back(after=0.3)
        await world.start()
        worker.later(0.3, lambda: worker.says("five"))
        await world.until(S.OPEN)
        await asyncio.sleep(0.1)
        assert [data["text"] for _, kind, data in world.events if kind == "message.received"] == [
            "one",
            "two",
            "three",
            "four",
            "five",
        ]
        assert worker.unacknowledged == {}
        again = [frame for frame in worker.sent if isinstance(frame, wire.EventsAck)][len(acks) :]
        assert [frame.seq for frame in again] == [3, 4, 5]
        assert world.session.performance().messages_processed == 2, (
            "what was delivered before is not counted twice"
        )
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1, "WhatsApp has seen one login"
        assert world.store.rows["shop"].epoch == 1


async def test_a_session_is_handed_on_ten_times_and_whatsapp_sees_one_login() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        opened = now()
        for number in range(10):
            await (world.crash(workers_live=True) if number % 2 else world.leave())
            await asyncio.sleep(7.0)
            world.come_back(after=0.2)
            await world.start()
            await world.until(S.OPEN)
        assert len(world.workers.attempts) == 1
        assert world.session.performance().connection_uptime == pytest.approx(
            (now() - opened) * 1000, abs=500
        )
        await asyncio.sleep(MINUTE)
        assert world.session.reconnection().failures == 0
