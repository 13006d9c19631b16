"""The events that webhooks are about to send: kept within a bound, read when they are needed, and
never those of a session that was purged.
"""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from sessions.store import StoredEvent
from supervisor.delivery import bodies as module
from supervisor.delivery.bodies import PAGE, READ_AHEAD, Bodies
from supervisor.fleet.feed import EVENT_BYTES, Page


class Log:
    """The feed's part that is asked."""

    def __init__(self, *numbers: int) -> None:
        self.events = [event(n) for n in numbers]
        self.purges = 0
        self.asked: list[tuple[int, int]] = []
        self.in_memory = 10**9
        """Those behind this number."""
        self.read_seconds = 0.0
        """From when a page is made until who asked for it has it."""

    @property
    def last(self) -> int:
        return self.events[-1].n

    def in_memory_after(self, n: int, limit: int) -> tuple[list[StoredEvent], int] | None:
        return None if n < self.in_memory else ([one for one in self.events if one.n > n], n)

    async def after(self, n: int, limit: int) -> Page:
        self.asked.append((n, limit))
        await asyncio.sleep(0)
        found = [one for one in self.events if one.n > n][:limit]
        await asyncio.sleep(self.read_seconds)
        return Page(found, self.events[0].n, self.last)

    def purge(self, session: str) -> None:
        self.events = [one for one in self.events if one.session != session]
        self.purges += 1


def event(n: int, session: str = "a") -> StoredEvent:
    return StoredEvent(n, n, session, "message.received", msgspec.Raw(b'"x"'))


def bodies(log: Log) -> Bodies:
    return Bodies(log, SimpleNamespace())  # type: ignore[arg-type]


async def test_what_was_read_is_not_read_again_by_another_webhook() -> None:
    log = Log(*range(1, 10))
    found = bodies(log)
    page = await found.after(0)
    assert [one.n for one in page.events] == list(range(1, 10))
    assert [await found.get(n) for n in (1, 9)] == [log.events[0], log.events[8]]
    assert len(log.asked) == 1


async def test_an_event_is_read_with_those_behind_it_and_one_that_is_gone_is_none() -> None:
    log = Log(1, 3, 4)
    found = bodies(log)
    assert await found.get(1) == log.events[0]
    assert await found.get(3) == log.events[1]
    assert log.asked == [(0, READ_AHEAD)]
    assert await found.get(2) is None


async def test_neighbours_that_are_wanted_at_once_are_read_once() -> None:
    log = Log(*range(1, 200))
    found = bodies(log)
    events = await asyncio.gather(*(found.get(n) for n in range(1, 21)))
    assert [event and event.n for event in events] == list(range(1, 21))
    assert log.asked == [(0, READ_AHEAD)]


async def test_who_has_followed_so_far_asks_the_store_nothing() -> None:
    log = Log(*range(1, 5))
    log.in_memory = 2
    found = bodies(log)
    assert [one.n for one in (await found.after(2)).events] == [3, 4]
    assert await found.first_after(3) == log.events[3]
    assert log.asked == []
    assert [one.n for one in (await found.after(0)).events] == [1, 2, 3, 4]
    assert log.asked == [(0, PAGE)]


async def test_the_first_behind_a_number_may_be_far_behind_it() -> None:
    log = Log(1, 7, 8)
    found = bodies(log)
    assert await found.first_after(1) == log.events[1]
    assert await found.first_after(8) is None


async def test_no_more_is_kept_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3 * (EVENT_BYTES + 3))
    log = Log(*range(1, 6))
    found = bodies(log)
    await found.after(0)
    before = len(log.asked)
    for n in (3, 4, 5):
        assert (await found.get(n)) == log.events[n - 1]
    assert len(log.asked) == before, "the newest three are kept"
    await found.get(1)
    assert len(log.asked) == before + 1


async def test_what_a_purged_session_said_is_sent_to_nobody() -> None:
    log = Log(1, 2)
    found = bodies(log)
    await found.after(0)
    log.events, log.purges = log.events[1:], 1
    assert await found.get(1) is None
    assert await found.first_after(0) == log.events[0]


async def test_an_event_is_not_lost_when_another_session_is_purged_while_it_is_read() -> None:
    log = Log(1)
    log.events.append(event(2, "b"))
    log.read_seconds = 1.0
    found = bodies(log)
    reading = asyncio.create_task(found.get(1))
    await asyncio.sleep(0.5)
    log.purge("b")
    assert await reading == event(1)
    assert await found.get(2) is None


async def test_a_page_that_was_read_before_a_purge_is_neither_kept_nor_told() -> None:
    log = Log(1)
    log.events.append(event(2, "b"))
    log.read_seconds = 1.0
    found = bodies(log)
    reading = asyncio.create_task(found.after(0))
    await asyncio.sleep(0.5)
    log.purge("b")
    log.read_seconds = 0.0
    assert await found.get(1) == event(1), "another one knows of the purge by now"
    assert [one.n for one in (await reading).events] == [1]
    assert await found.get(2) is None
