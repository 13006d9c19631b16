"""The queue of one client: bounded, in order, and nobody waits for it."""

import asyncio

import pytest
from engineio import packet

from api.live.client_queue import MOST_ANSWERS, ClientQueue, Frame

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


def frame(to: int, size_bytes: int = 100) -> Frame:
    return Frame(packet.Packet(packet.MESSAGE, f"{to}"), size_bytes, to, 1)


async def test_frames_go_out_in_order_and_what_was_handed_out_is_known() -> None:
    queue = ClientQueue(1000, 0.0)
    assert queue.offer(frame(1))
    assert queue.offer(frame(2))
    assert queue.queued_bytes == 200
    assert (await queue.get()).data == "1"  # type: ignore[union-attr]
    assert (queue.sent_to, queue.sent_events, queue.queued_bytes) == (1, 1, 100)
    assert queue.get_nowait().data == "2"
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()


async def test_answers_of_the_library_go_first() -> None:
    queue = ClientQueue(1000, 0.0)
    queue.offer(frame(1))
    await queue.put(packet.Packet(packet.PING))
    assert (await queue.get()).packet_type == packet.PING  # type: ignore[union-attr]


async def test_more_than_may_wait_is_refused_and_a_large_one_alone_is_not() -> None:
    queue = ClientQueue(150, 0.0)
    assert queue.offer(frame(1, 10_000))
    assert not queue.offer(frame(2))
    assert queue.drop() == 10_000
    assert queue.offer(frame(2))
    assert queue.sent_to == 0


async def test_who_waits_for_a_packet_gets_the_next_one_and_who_has_given_up_takes_none() -> None:
    queue = ClientQueue(1000, 0.0)
    given_up = queue.get()
    given_up.cancel()
    waiting = queue.get()
    queue.offer(frame(1))
    assert (await waiting).data == "1"  # type: ignore[union-attr]


async def test_answers_that_nobody_reads_are_bounded() -> None:
    queue = ClientQueue(1000, 0.0)
    for _ in range(MOST_ANSWERS):
        await queue.put(packet.Packet(packet.PING))
    assert not queue.overrun
    await queue.put(packet.Packet(packet.PING))
    assert queue.overrun


async def test_after_the_end_what_was_answered_still_goes_and_events_do_not() -> None:
    queue = ClientQueue(1000, 0.0)
    queue.offer(frame(1))
    await queue.put(packet.Packet(packet.MESSAGE, "farewell"))
    await queue.put(None)
    assert queue.offer(frame(2))
    assert (await queue.get()).data == "farewell"  # type: ignore[union-attr]
    assert await queue.get() is None
    assert await queue.get() is None
    async with asyncio.timeout(1):
        await queue.join()  # whoever closes waits for nobody
        await queue.room(0)


async def test_who_fills_it_waits_for_room() -> None:
    queue = ClientQueue(1000, 0.0)
    queue.offer(frame(1, 600))
    waiting = asyncio.create_task(queue.room(500))
    await asyncio.sleep(1)
    assert not waiting.done()
    await queue.get()
    await waiting
