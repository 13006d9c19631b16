"""What the program puts together: nothing of it holds up the loop, and nobody is left untold."""

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sessions.records.changes import Changes
from sessions.store import Store, sqlite_url
from supervisor import program
from supervisor.fleet.bus import Bus
from supervisor.fleet.feed import Feed
from supervisor.process.log_files import LogFile
from supervisor.settings import Settings
from tests.store_tools import SHOP, memory_of


async def test_the_loop_goes_on_while_the_log_of_the_live_feed_is_closed(
    tmp_path: Path, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, goes_on, went_on = LogFile.close, threading.Event(), list[bool]()

    def slowly(file: LogFile) -> None:
        went_on.append(goes_on.wait(10))
        close(file)

    monkeypatch.setattr(LogFile, "close", slowly)
    async with AsyncExitStack() as stack:
        assert program._websocket_log(Settings(), tmp_path, stack) is not None
        asyncio.get_running_loop().call_later(0.01, goes_on.set)
    assert went_on == [True]


async def test_what_changes_of_a_session_is_stored_and_told_to_who_watches(
    tmp_path: Path,
) -> None:
    store = await Store.open(sqlite_url(tmp_path / "store.db"))
    feed, bus, seen = await Feed.open(store, 10), Bus(), list[object]()
    bus.subscribe(Changes, lambda session, changes: seen.append((session, changes)))
    await store.create_session(SHOP, wanted=True)
    changes = memory_of(SHOP, b"what it knows")
    program.record(feed, bus, changes)
    await store.must_write()
    (row,) = await store.sessions()
    await store.close()
    assert row.memory == b"what it knows"
    assert seen == [(SHOP, changes)]
