"""The database is tidied while it is in use: statistics for its planner, free room given back."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import URL

from sessions.store import Store
from sessions.store.engine import tidying
from tests.store_tools import OTHER, SHOP, entry, sql


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(tidying, "KEPT_PAGES", 16)


async def full(url: URL) -> Store:
    """A store that had 4 MiB of keys once."""
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    for begin in range(0, 1024, 256):
        entries = [entry(f"{number}", b"x" * 4096) for number in range(begin, begin + 256)]
        await store.write_keys(SHOP, 0, entries)
    await store.delete_session(SHOP, purge=True)
    return store


@pytest.mark.usefixtures("_quick")
async def test_room_is_given_back_and_those_who_write_meanwhile_are_served(
    url: URL, tmp_path: Path
) -> None:
    store = await full(url)
    before = await store.tidying.size_bytes()
    writing = True

    async def write() -> int:
        count = 0
        while writing:
            await store.append_event(None, "fleet.test", b"{}")
            count += 1
        return count

    writer = asyncio.create_task(write())
    tidied = await store.tidying.tidy()
    writing = False
    assert await writer > 0
    if url.get_backend_name() == "sqlite":
        assert tidied.given_back_bytes > 2 * 2**20
        assert tidied.gives_back
        assert tidied.free_bytes < 2**20
        await store.close()
        assert (tmp_path / "wasup.db").stat().st_size < before - 2 * 2**20
        assert await sql(url, "SELECT count(*) FROM sqlite_stat1") != [(0,)]
        assert await sql(url, "PRAGMA integrity_check") == [("ok",)]
    else:
        assert before > 0
        analysed = "SELECT count(*) FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL"
        assert next(iter(await sql(url, analysed)))[0] > 5
        await store.close()


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_file_of_before_is_left_as_large_as_it_is_and_says_so(url: URL) -> None:
    store = await full(url)
    await store.close()
    connection = sqlite3.connect(str(url.database), isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA auto_vacuum=NONE")
    connection.execute("VACUUM")
    connection.close()
    store = await Store.open(url)
    await store.create_session(OTHER, wanted=True)
    epoch = await store.raise_epoch(OTHER)
    await store.write_keys(OTHER, epoch, [entry("large", b"x" * 2**20)])
    await store.delete_session(OTHER, purge=True)
    tidied = await store.tidying.tidy()
    assert (tidied.gives_back, tidied.given_back_bytes) == (False, 0)
    assert tidied.free_bytes > 2**19
    await store.close()
