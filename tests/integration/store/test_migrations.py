"""The schema: what the migrations make is what the code believes in, and an older store's data live
on in it.
"""

import time
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection

from sessions.model import StoreUnavailable
from sessions.store import Store, WorkerRow
from sessions.store.engine import database, schema
from tests.store_tools import CREDS, CREDS_ENTRY, SHOP, sql

FIRST_SCHEMA_DATA = (
    (
        "INSERT INTO sessions (id, wanted, epoch, memory, jid, name, created_at) VALUES ('shop', 1,"
        " 7, NULL, 'jid', 'Shop', 12.5)"
    ),
    (
        "INSERT INTO archives (id, session, archived_at, reason) VALUES (1, 'shop', 11.5,"
        " 'logged_out')"
    ),
    "INSERT INTO workers (id, session, pid, started_at_ticks) VALUES ('w-1', 'shop', 4711, 99)",
)
FIRST_SCHEMA_SECRETS = (
    "INSERT INTO auth (session, kind, name, value) VALUES ('shop', 'creds', 'creds', ?)",
    "INSERT INTO archived_auth (archive, kind, name, value) VALUES (1, 'creds', 'creds', ?)",
    "INSERT INTO events (time_ms, session, type, data) VALUES (1, 'shop', 'message', ?)",
)


async def upgrade(url: URL, revision: str) -> None:
    if database.is_sqlite(url):
        Path(url.database or "").touch()  # the writer makes no file
    engine = database.open_writer(url)
    async with engine.begin() as connection:
        await connection.run_sync(database.run_migrations, revision)
    await engine.dispose()


async def test_a_store_of_the_first_schema_is_brought_up_to_date_with_all_that_is_in_it(
    url: URL,
) -> None:
    await upgrade(url, "0001")
    for statement in FIRST_SCHEMA_DATA:
        await sql(url, statement)
    for statement in FIRST_SCHEMA_SECRETS:
        await sql(url, statement, CREDS)
    store = await Store.open(url)
    (row,) = await store.sessions()
    assert (row.id, row.wanted, row.epoch, row.jid, row.name, row.created_at) == (
        SHOP,
        True,
        7,
        "jid",
        "Shop",
        12.5,
    )
    assert await store.creds(SHOP) == CREDS
    (archive,) = await store.archives(SHOP)
    assert (archive.reason, archive.whole, archive.entries) == ("logged_out", True, 1)
    assert await store.workers() == [WorkerRow("w-1", "shop", 4711, 99, None)]
    assert [bytes(event.data) for event in await store.last_events(1000)] == [CREDS]
    await store.write_keys(SHOP, 7, [CREDS_ENTRY])
    assert await store.append_worker_event(SHOP, 7, 1, "message", b"{}") is not None
    assert await store.raise_epoch(SHOP) == 8
    await store.close()


async def test_the_migrations_make_the_schema_that_the_code_believes_in(url: URL) -> None:
    await upgrade(url, "head")
    store = await Store.open(url)  # finds nothing to do
    await store.close()
    engine = database.open_writer(url)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def differences(connection: Connection) -> Any:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return compare_metadata(context, schema.metadata)


async def test_a_new_store_which_needs_no_migrations_has_the_very_tables_that_they_make(
    tmp_path: Any,
) -> None:
    """What a comparison of columns does not see: AUTOINCREMENT, names of constraints, ON DELETE."""
    migrated, new = (database.sqlite_url(tmp_path / name) for name in ("migrated.db", "new.db"))
    await upgrade(migrated, "head")
    await (await Store.open(new)).close()
    shape = "SELECT name, sql FROM sqlite_master"
    assert _shape(await sql(new, shape)) == _shape(await sql(migrated, shape))


async def test_a_new_store_is_what_the_newest_migration_leaves_behind(url: URL) -> None:
    await (await Store.open(url)).close()
    newest = ScriptDirectory(str(database.MIGRATIONS)).get_current_head()
    assert await sql(url, "SELECT version_num FROM alembic_version") == [(newest,)]
    engine = database.open_writer(url)
    async with engine.begin() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(url: URL) -> None:
    await (await Store.open(url)).close()
    await sql(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await Store.open(url)
    assert await sql(url, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_a_database_that_is_not_there_is_refused_in_time_and_without_its_password() -> None:
    url = database.parse_url("postgresql://operator:hunter2@127.0.0.1:9/none")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await Store.open(url)
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)
    assert time.monotonic() - begun < 15


def _shape(rows: Any) -> dict[str, set[str] | None]:
    """Tables as sets of their parts: a column that a migration adds stands elsewhere than where the
    code lists it.
    """
    shape: dict[str, set[str] | None] = {}
    for name, statement in rows:
        text = " ".join((statement or "").replace('"', "").replace("'", "").split())
        inside = text.partition("(")[2].rpartition(")")[0]
        shape[name] = (
            {part.strip() for part in inside.split(", ")} | {text.rpartition(")")[2]}
            if statement
            else None
        )
    return shape
