"""What the fake store promises when its database is away, or answers late, is what both real ones
do: each case runs against all three.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from scripts.lab import eventually
from sessions.model import StaleEpoch, StoreUnavailable
from sessions.store import Store, sqlite_url
from sessions.store.engine import database
from sessions.store.writing import writer
from tests.fakes import FakeStore, store
from tests.integration.store.test_patience import Fault
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, entry, memory_of

IMPATIENT_SECONDS = 1.0
LATE_SECONDS = 0.3


class World(Protocol):
    """A store with one session, and what a test does to its database."""

    store: Store
    epoch: int

    def away(self) -> AbstractAsyncContextManager[None]:
        """Nothing can be written while the block runs; it is known at its begin."""


class Fake:
    """The fake."""

    def __init__(self) -> None:
        self.fake = FakeStore()
        self.store: Store = self.fake  # type: ignore[assignment]
        self.epoch = 0

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        self.fake.failing = True
        yield
        self.fake.failing = False


class Real:
    """One of the real ones."""

    def __init__(self, store: Store, fault: Fault) -> None:
        self.store = store
        self.epoch = 0
        self._fault = fault

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self._fault.begin()
        with pytest.raises(StoreUnavailable):
            await self.store.must_write()
        yield
        await self._fault.end()


@pytest_asyncio.fixture(params=["sqlite", "postgresql", "fake"])
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setitem(database.PRAGMAS, "busy_timeout", "100")
    monkeypatch.setattr(database, "COMMAND_SECONDS", 2)
    monkeypatch.setattr(writer, "IMPATIENT_SECONDS", IMPATIENT_SECONDS)
    monkeypatch.setattr(store, "IMPATIENT_SECONDS", IMPATIENT_SECONDS)
    if request.param == "fake":
        found: World = Fake()
    else:
        url = (
            sqlite_url(tmp_path / "wasup.db")
            if request.param == "sqlite"
            else request.getfixturevalue("postgresql_url")
        )
        found = Real(await Store.open(url), Fault(url, request))
    await found.store.create_session(SHOP, wanted=True)
    found.epoch = await found.store.raise_epoch(SHOP)
    yield found
    if isinstance(found, Real):
        await found.store.close()


ASKED: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "create": lambda store: store.create_session(OTHER, wanted=True),
    "delete": lambda store: store.delete_session(SHOP, purge=False),
    "wanted": lambda store: store.set_wanted(SHOP, False),
    "epoch": lambda store: store.raise_epoch(SHOP),
    "proxy": lambda store: store.set_proxy(SHOP, None),
    "device": lambda store: store.claim_device(SHOP, None),
    "restore": lambda store: store.restore_session(SHOP, None, wanted=False),
    "write": lambda store: store.must_write(),
}
"""What somebody waits for."""


@pytest.mark.parametrize("asked", ASKED)
async def test_what_somebody_waits_for_is_refused_while_the_database_is_away_and_not_done_later(
    world: World, asked: str
) -> None:
    before = await world.store.sessions()
    async with world.away():
        with pytest.raises(StoreUnavailable):
            await ASKED[asked](world.store)
    await eventually(lambda: _writes(world.store), what="the database that is back")
    assert await world.store.sessions() == before


async def test_what_can_wait_waits_and_is_made_in_order_when_the_database_is_back(
    world: World,
) -> None:
    async with world.away():
        waiting: list[asyncio.Future[Any]] = [
            world.store.write_keys(SHOP, world.epoch, [CREDS_ENTRY, entry("n", b"1")]),
            world.store.write_keys(SHOP, world.epoch, [entry("n", b"2")]),
            world.store.commit(memory_of(SHOP, b"older")),
            world.store.commit(memory_of(SHOP, b"newer")),
            world.store.save_identity(SHOP, "1@s.whatsapp.net", "Shop"),
        ]
        await asyncio.wait(waiting, timeout=LATE_SECONDS)
        assert not any(future.done() for future in waiting), "nothing unsaved is acknowledged"
    await asyncio.gather(*waiting)
    assert await world.store.creds(SHOP) == CREDS
    assert await world.store.read_keys(SHOP, "session", ["n"]) == {"n": b"2"}
    (row,) = await world.store.sessions()
    assert (row.memory, row.jid, row.name) == (b"newer", "1@s.whatsapp.net", "Shop")


async def test_a_logout_that_waits_fences_off_the_write_behind_it(world: World) -> None:
    async with world.away():
        before = world.store.write_keys(SHOP, world.epoch, [CREDS_ENTRY])
        logout = world.store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=False)
        behind = world.store.write_keys(SHOP, world.epoch, [entry("n", b"1")])
    await before
    await logout
    with pytest.raises(StaleEpoch):
        await behind
    assert await world.store.creds(SHOP) is None
    assert await world.store.archived(SHOP) == [(1, "logged_out")]
    (row,) = await world.store.sessions()
    assert (row.memory, row.wanted, row.epoch) == (b"parked", False, world.epoch + 1)


async def _writes(store: Store) -> bool:
    try:
        await store.must_write()
    except StoreUnavailable:
        return False
    return True


async def test_an_answer_that_is_late_is_still_an_answer_and_one_that_is_too_late_is_none() -> None:
    """Of the real ones this is told by test_patience.py, with a database that hangs."""
    fake = FakeStore()
    fake.late_seconds = LATE_SECONDS
    await fake.create_session(SHOP, wanted=True)
    assert await fake.raise_epoch(SHOP) == 1
    fake.late_seconds = 1e9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "IMPATIENT_SECONDS", LATE_SECONDS)
        with pytest.raises(StoreUnavailable):
            await fake.raise_epoch(SHOP)
