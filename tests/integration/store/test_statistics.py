"""What the database costs is counted where it is paid: by kind of statement, with both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from sessions.model import SessionId, StoreUnavailable
from sessions.store import Store
from sessions.store.engine.statistics import LINES_PER_MINUTE, SLOW_SECONDS, Statistics, kind_of
from supervisor.history.recent import Recent
from supervisor.history.sources import ask, store_source


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    opened = await Store.open(url)
    yield opened
    await opened.close()


async def test_statements_and_commits_are_counted_by_kind(store: Store) -> None:
    kinds = store.statistics.statements
    before = {kind: figures.count for kind, figures in kinds.items()}
    await store.create_session(SessionId("shop"), wanted=True)
    await store.sessions()

    def added(kind: str) -> int:
        return kinds[kind].count - before.get(kind, 0)

    assert added("insert") >= 1
    assert added("select") >= 1
    assert added("commit") == 1
    for kind in ("insert", "select", "commit"):
        assert kinds[kind].seconds > 0
        assert sum(kinds[kind].took_ms.counts.values()) == kinds[kind].count


async def test_a_statement_that_fails_is_counted_as_an_error(store: Store) -> None:
    with pytest.raises(SQLAlchemyError):
        async with store.snapshot_of_all() as connection:
            await connection.execute(text("SELECT * FROM no_such_table"))
    assert store.statistics.statements["select"].errors == 1


async def test_the_database_is_measured_and_every_figure_is_a_series(store: Store) -> None:
    await store.create_session(SessionId("shop"), wanted=True)
    source, recent = store_source(store), Recent()
    recent.take(await ask(source), 1)
    recent.take(await ask(source), 2)
    found = recent.latest
    assert recent.refused == 0
    assert found["database.size_bytes", None] > 0
    assert found["database.pool_limit", None] >= 5
    assert 0 <= found["database.pool_in_use", None] <= found["database.pool_limit", None]
    assert found["database.pool_waiting", None] == 0
    assert found["database.writes_waiting", None] == 0
    assert recent.totals["statement.count", "insert"] >= 1
    if ("database.locks", None) in found:  # PostgreSQL
        assert found["database.locks_waiting", None] == 0
        assert 0 <= found.get(("database.cache_hits", None), 1.0) <= 1


async def test_reads_that_find_no_connection_are_counted(store: Store) -> None:
    limit = (await store.figures()).pool_limit
    taken = [store.snapshot_of_all() for _ in range(limit - 1)]
    for one in taken:
        await one.__aenter__()
    waiting = asyncio.create_task(store.sessions())
    try:
        async with asyncio.timeout(20):
            while store.statistics._waiting == 0:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
    finally:
        for one in taken:
            await one.__aexit__(None, None, None)
    await waiting
    assert store.statistics._waiting == 0


async def test_a_database_that_does_not_answer_costs_its_figures_alone() -> None:
    async def fails(_statement: object) -> Any:
        raise StoreUnavailable("it is away")

    statistics = Statistics(make_url("postgresql+asyncpg://nobody@nowhere/nothing"), ())
    figures = await statistics.look(fails, writes_waiting=7)
    assert (figures.size_bytes, figures.locks, figures.writes_waiting) == (None, None, 7)


def test_slow_statements_are_told_of_without_their_values_and_not_without_end(
    tmp_path: Path,
) -> None:
    statistics = Statistics(make_url(f"sqlite:///{tmp_path}/a"), ())
    with structlog.testing.capture_logs() as logged:
        statistics.took("select", SLOW_SECONDS / 2, "SELECT 1")
        for _ in range(LINES_PER_MINUTE + 5):
            statistics.took("select", 0.35, "SELECT value FROM auth WHERE name = ?")
    assert len(logged) == LINES_PER_MINUTE
    assert logged[0]["action"] == "slow_statement"
    assert (logged[0]["milliseconds"], logged[0]["kind"]) == (350, "select")
    assert statistics.statements["select"].slow == LINES_PER_MINUTE + 5


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1", "select"),
        ("\n  insert into x", "insert"),
        ("UPDATE x", "update"),
        ("DELETE FROM x", "delete"),
        ("BEGIN IMMEDIATE", "begin"),
        ("PRAGMA wal_checkpoint", "other"),
        ("", "other"),
    ],
)
def test_a_statements_kind_is_its_first_word(statement: str, kind: str) -> None:
    assert kind_of(statement) == kind
