"""The queue of one client: bounded, in order, and nobody waits for it."""

import asyncio

import pytest
from engineio import packet

from api.live.outbox import MOST_ANSWERS, Frame, Outbox

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


def frame(to: int, size_bytes: int = 100) -> Frame:
    return Frame(packet.Packet(packet.MESSAGE, f"{to}"), size_bytes, to, 1)


async def test_frames_go_out_in_order_and_what_was_handed_out_is_known() -> None:
    outbox = Outbox(1000, 0.0)
    assert outbox.offer(frame(1))
    assert outbox.offer(frame(2))
    assert outbox.queued_bytes == 200
    assert (await outbox.get()).data == "1"  # type: ignore[union-attr]
    assert (outbox.sent_to, outbox.sent_events, outbox.queued_bytes) == (1, 1, 100)
    assert outbox.get_nowait().data == "2"
    with pytest.raises(asyncio.QueueEmpty):
        outbox.get_nowait()


async def test_answers_of_the_library_go_first() -> None:
    outbox = Outbox(1000, 0.0)
    outbox.offer(frame(1))
    await outbox.put(packet.Packet(packet.PING))
    assert (await outbox.get()).packet_type == packet.PING  # type: ignore[union-attr]


async def test_more_than_may_wait_is_refused_and_a_large_one_alone_is_not() -> None:
    outbox = Outbox(150, 0.0)
    assert outbox.offer(frame(1, 10_000))
    assert not outbox.offer(frame(2))
    assert outbox.drop() == 10_000
    assert outbox.offer(frame(2))
    assert outbox.sent_to == 0


async def test_who_waits_for_a_packet_gets_the_next_one_and_who_has_given_up_takes_none() -> None:
    outbox = Outbox(1000, 0.0)
    given_up = outbox.get()
    given_up.cancel()
    waiting = outbox.get()
    outbox.offer(frame(1))
    assert (await waiting).data == "1"  # type: ignore[union-attr]


async def test_answers_that_nobody_reads_are_bounded() -> None:
    outbox = Outbox(1000, 0.0)
    for _ in range(MOST_ANSWERS):
        await outbox.put(packet.Packet(packet.PING))
    assert not outbox.overrun
    await outbox.put(packet.Packet(packet.PING))
    assert outbox.overrun


async def test_after_the_end_what_was_answered_still_goes_and_events_do_not() -> None:
    outbox = Outbox(1000, 0.0)
    outbox.offer(frame(1))
    await outbox.put(packet.Packet(packet.MESSAGE, "farewell"))
    await outbox.put(None)
    assert outbox.offer(frame(2))
    assert (await outbox.get()).data == "farewell"  # type: ignore[union-attr]
    assert await outbox.get() is None
    assert await outbox.get() is None
    async with asyncio.timeout(1):
        await outbox.join()  # whoever closes waits for nobody
        await outbox.room(0)


async def test_who_fills_it_waits_for_room() -> None:
    outbox = Outbox(1000, 0.0)
    outbox.offer(frame(1, 600))
    waiting = asyncio.create_task(outbox.room(500))
    await asyncio.sleep(1)
    assert not waiting.done()
    await outbox.get()
    await waiting
