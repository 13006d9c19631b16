"""Several PostgreSQL servers in one address: the one is taken that may be written to, and another when
that changes.
"""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from sessions.model import StoreUnavailable
from sessions.store import Store, parse_url
from sessions.store.engine import hosts
from tests.postgres import PostgreSQL
from tests.store_tools import OTHER, SHOP


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    servers = PostgreSQL(), PostgreSQL()
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def standby(server: PostgreSQL, is_one: bool) -> None:
    """As a standby it takes no writes, from new connections and from those that are there."""
    server.sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if is_one else 'off'}")
    server.sql("SELECT pg_reload_conf()")


def address(two: tuple[PostgreSQL, PostgreSQL], *further: str) -> URL:
    """Of a database of that name on both."""
    name = two[0].new_database().database
    assert name is not None
    two[1].sql(f"CREATE DATABASE {name}")
    places = [server.url(name).query["host"] for server in two]
    user = two[0].url(name).username
    named = "&".join(f"host={place}" for place in (*further, *places))
    return parse_url(f"postgresql://{user}@/{name}?{named}")


async def test_the_store_goes_where_it_may_write_and_follows_when_that_changes(
    two: tuple[PostgreSQL, PostgreSQL],
) -> None:
    url = address(two)
    standby(two[1], False)
    standby(two[0], True)
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=False)
    assert [row.id for row in await store.sessions()] == [SHOP]
    # the other has a schema, too, as a replica would have
    standby(two[0], False)
    standby(two[1], True)
    try:
        other = await Store.open(url)
        await other.close()
        await store.append_event(None, "fleet.test", b"{}")  # patient: it waits until it can
        await store.create_session(OTHER, wanted=False)
        beside = Store.beside(url)
        assert [row.id for row in await beside.sessions()] == [OTHER]
        await beside.close()
    finally:
        await store.close()
        standby(two[1], False)


async def test_where_none_may_be_written_to_it_says_so_of_each(
    two: tuple[PostgreSQL, PostgreSQL],
) -> None:
    url = address(two)
    for server in two:
        standby(server, True)
    try:
        with pytest.raises(
            StoreUnavailable, match=r"none of its servers can be written to: .*; .*"
        ):
            await Store.open(url)
    finally:
        for server in two:
            standby(server, False)


async def test_a_server_that_answers_nothing_keeps_nobody_from_the_next(
    two: tuple[PostgreSQL, PostgreSQL], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "SECONDS_OF_ONE", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = address(two, f"127.0.0.1:{silent.getsockname()[1]}")
        store = await Store.open(url)
        await store.create_session(SHOP, wanted=False)
        await asyncio.gather(*(store.sessions() for _ in range(4)))
        await store.close()
