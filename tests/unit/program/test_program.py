"""What the program puts together: nothing of it holds up the loop, and nobody is left untold."""

import asyncio
import json
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sessions.model import StoreUnavailable
from sessions.records.changes import Changes
from sessions.store import Store, sqlite_url
from supervisor import program
from supervisor.fleet.bus import Bus
from supervisor.fleet.feed import Feed
from supervisor.process.log_files import LogFile
from supervisor.settings import Settings
from tests.api_tools import TOKEN
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
        program._alert_log(Settings(), tmp_path, stack)
        asyncio.get_running_loop().call_later(0.01, goes_on.set)
    assert went_on == [True, True]


async def test_the_file_of_alerts_is_closed_behind_all_that_may_be_an_alert(
    tmp_path: Path, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> Store:
        raise StoreUnavailable("It is away.")

    closed, close = list[LogFile](), LogFile.close
    monkeypatch.setattr(program, "open_store", refused)  # the first that has to be closed
    monkeypatch.setattr(LogFile, "close", lambda file: (closed.append(file), close(file)))
    with pytest.raises(StoreUnavailable):
        async with AsyncExitStack() as stack:
            await program.build(Settings(), tmp_path, {}, 0, stack)
    assert len(closed) == 1


async def test_the_file_of_alerts_holds_no_secret(
    tmp_path: Path, bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_API_TOKEN", TOKEN)
    async with AsyncExitStack() as stack:
        write = program._alert_log(Settings(), tmp_path, stack)
        write({"message": f"Nobody takes {TOKEN}.", "alert": "store", "session": None})
    (line,) = (tmp_path / "logs" / "alerts.log").read_text().splitlines()
    assert json.loads(line) == {
        "message": "Nobody takes (hidden).",
        "alert": "store",
        "session": None,
    }


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
