"""Both databases, as the doctor sees them from beside: whole or damaged, whose they are, how they are
set.
"""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import URL

from sessions.store import Store
from sessions.store.engine import examination
from sessions.store.engine.database import newest_revision
from sessions.store.engine.examination import examine_file, examine_server
from supervisor.places.store_opening import open_store
from supervisor.settings import Settings
from supervisor.watch.diagnostics.checks import from_outside
from supervisor.watch.diagnostics.results import Issue
from supervisor.watch.diagnostics.store import check_backups, check_database, newest_backup
from tests.store_tools import connect


async def found(settings: Settings) -> list[Issue]:
    async with from_outside(settings, None) as subject:
        return list(await check_database(subject))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, api_port=0)


@pytest.fixture
def on_a_server(settings: Settings, postgresql_url: URL) -> Settings:
    url = postgresql_url.set(drivername="postgresql").render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": SecretStr(url)})


async def a_store(settings: Settings) -> Path:
    await (await open_store(settings)).close()
    return settings.data_dir / "wasup.db"


async def test_a_file_that_is_well(settings: Settings) -> None:
    file = await a_store(settings)
    facts = examine_file(file)
    assert (facts.revision, facts.locked, facts.damage, facts.checked) == (
        newest_revision(),
        False,
        (),
        True,
    )
    assert await found(settings) == []
    assert not list(file.parent.glob("wasup.db-*")), "it leaves nothing behind"


async def test_a_file_that_is_damaged(settings: Settings) -> None:
    file = await a_store(settings)
    page = 4096
    with file.open("r+b") as opened:
        for number in range(3, file.stat().st_size // page):
            opened.seek(number * page)
            opened.write(b"\xff" * 64)
    issue = (await found(settings))[0]
    assert issue.severity == "critical"
    assert "is damaged" in issue.description or "cannot be opened" in issue.description
    assert "wasup store verify" in issue.commands


async def test_a_file_that_is_gone_is_not_taken_for_a_new_one(settings: Settings) -> None:
    (await a_store(settings)).unlink()
    issue = (await found(settings))[0]
    assert issue.severity == "critical"
    assert "had a store with sessions" in issue.description


async def test_what_a_newer_version_has_written(settings: Settings) -> None:
    file = await a_store(settings)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    issue = (await found(settings))[0]
    assert "was written by a newer version (schema 9999" in issue.description


async def test_a_store_whose_key_is_missing(settings: Settings) -> None:
    sealed = settings.model_copy(update={"store_key": SecretStr("ab" * 32)})
    await a_store(sealed)
    assert await found(sealed) == []
    issue = (await found(settings))[0]
    assert "WHATSAPP_STORE_KEY is not set" in issue.description


async def test_a_copy_that_is_old_and_none_at_all(settings: Settings, tmp_path: Path) -> None:
    watched = tmp_path / "copies"
    watched.mkdir()
    file = await a_store(settings)
    there = settings.model_copy(update={"watched_directories": f"{watched},{tmp_path}"})
    async with from_outside(there, None) as subject:
        (issue,) = await check_backups(subject)
        assert "There is no backup" in issue.description, "the store itself is no copy"
        copy = watched / "wasup-2026.db"
        copy.write_bytes(file.read_bytes())
        assert list(await check_backups(subject)) == []
        os.utime(copy, (1.0, 1.0))
        (issue,) = await check_backups(subject)
        assert f"The newest backup, {copy}," in issue.description
    assert newest_backup([tmp_path / "nowhere"]) is None


async def test_a_server_that_another_supervisor_owns(on_a_server: Settings) -> None:
    store = await open_store(on_a_server)
    try:
        first = (await found(on_a_server))[0]
    finally:
        await store.close()
    assert first.severity == "critical"
    assert "Another supervisor owns" in first.description
    # the tests' server does without durability, which is told, too
    assert any("fsync = off" in issue.description for issue in await found(on_a_server))


async def test_a_server_s_facts(on_a_server: Settings, postgresql_url: URL) -> None:
    await (await open_store(on_a_server)).close()
    facts = await examine_server(postgresql_url)
    assert facts.version[:2].isdecimal()
    assert facts.latency_ms >= 0
    assert facts.revision == newest_revision()
    assert facts.owner is None
    assert abs(facts.server_seconds - facts.at_seconds) < 30


async def test_who_waits_for_whom_and_whose_transaction_does_nothing(
    on_a_server: Settings, postgresql_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "IDLE_SECONDS", 0.0)
    await (await open_store(on_a_server)).close()
    holder, waiter = await connect(postgresql_url), await connect(postgresql_url)
    try:
        await holder.execute("BEGIN; LOCK TABLE meta")
        waiting = asyncio.create_task(waiter.execute("BEGIN; LOCK TABLE meta; COMMIT"))
        pid = holder.get_server_pid()
        async with asyncio.timeout(60):
            while not (facts := await examine_server(postgresql_url)).blocked:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        (blocked,) = facts.blocked
        assert (blocked.waits.pid, blocked.holder) == (waiter.get_server_pid(), pid)
        assert [idle.pid for idle in facts.idle] == [pid]
        assert facts.memory_bytes["work_mem"] > 0
        assert facts.size_bytes > 0
        assert 0 < facts.ours <= facts.connections
        await holder.execute("ROLLBACK")
        await waiting
    finally:
        await holder.close()
        await waiter.close()


async def test_a_server_that_is_away(settings: Settings) -> None:
    url = "postgresql://wasup:hidden-password@127.0.0.1:1/wasup"
    away = settings.model_copy(update={"database_url": SecretStr(url)})
    issue = (await found(away))[0]
    assert issue.severity == "critical"
    assert "127.0.0.1:1/wasup cannot be reached" in issue.description
    assert "pg_isready -h 127.0.0.1 -p 1" in issue.commands
    assert "hidden-password" not in str(issue)


async def test_keys_are_looked_at_without_being_noted(settings: Settings) -> None:
    """A doctor that is given a new key must not make it the store's own."""
    await a_store(settings)
    keyed = settings.model_copy(update={"store_key": SecretStr("cd" * 32)})
    assert await found(keyed) == []
    opened: Store = await open_store(settings)
    await opened.close()
