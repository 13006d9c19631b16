"""The store when its database fails: what can wait is kept in order until it is durable, what
cannot is told in time; the operator is told.
"""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from scripts.lab.processes import eventually
from sessions.model import StaleEpoch, StoreError, StoreUnavailable
from sessions.store import Store, StoreHealth, sqlite_url
from sessions.store.engine import database
from sessions.store.writing import writer
from tests.postgres import PostgreSQL
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, entry, memory_of, sql

ROOT = Path(__file__).resolve().parents[3]
NO_FILE_GROWS = (0, resource.RLIM_INFINITY)
FILES_GROW = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, shorter."""
    monkeypatch.setitem(database.PRAGMAS, "busy_timeout", "100")
    monkeypatch.setattr(database, "COMMAND_SECONDS", 2)
    monkeypatch.setattr(writer, "IMPATIENT_SECONDS", 1.0)
    monkeypatch.setattr(writer, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 1.0)


@pytest.fixture
def told() -> list[StoreHealth]:
    """What the store has told of its health."""
    return []


@pytest_asyncio.fixture
async def store(url: URL, told: list[StoreHealth]) -> AsyncIterator[Store]:
    store = await Store.open(url, notify=told.append)
    await store.create_session(SHOP, wanted=True)
    yield store
    await store.close()


class Fault:
    """The database fails between `begin` and `end`."""

    def __init__(self, url: URL, request: pytest.FixtureRequest) -> None:
        self._url = url
        self._server: PostgreSQL | None = None
        self._other: sqlite3.Connection | None = None
        if not database.is_sqlite(url):
            self._server = request.getfixturevalue("postgresql")

    async def begin(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.crash)
        else:
            self._other = sqlite3.connect(str(self._url.database), isolation_level=None)
            self._other.execute("BEGIN EXCLUSIVE")

    async def end(self) -> None:
        if self._server is not None:
            await asyncio.to_thread(self._server.start)
        elif self._other is not None:
            self._other.close()
            self._other = None


@pytest_asyncio.fixture
async def fault(url: URL, request: pytest.FixtureRequest) -> AsyncIterator[Fault]:
    """SQLite: somebody else holds the file's lock. PostgreSQL: the server is killed."""
    fault = Fault(url, request)
    yield fault
    await fault.end()


async def reaches(store: Store, state: str, seconds: float = 15.0) -> None:
    """Wait until the store's health is in that state."""

    async def look() -> str:
        return store.health.state

    await eventually(
        look, lambda seen: seen == state, seconds, f"the store does not become {state}"
    )


async def test_what_can_wait_outlives_a_failing_database_in_order_and_exactly_once(
    store: Store, fault: Fault, told: list[StoreHealth]
) -> None:
    epoch = await store.raise_epoch(SHOP)
    await fault.begin()
    futures: list[asyncio.Future[Any]] = [
        *(store.write_keys(SHOP, epoch, [entry("n", b"%d" % n)]) for n in range(50)),
        *(
            store.append_worker_event(SHOP, epoch, seq, "message", b"%d" % seq)
            for seq in range(1, 51)
        ),
        *(store.append_event(SHOP, "own", b"%d" % n) for n in range(50)),
        store.commit(memory_of(SHOP, b"memory")),
        store.save_identity(SHOP, "jid", "Shop"),
    ]
    with pytest.raises(StoreUnavailable, match="could not write"):
        await store.raise_epoch(SHOP)
    assert not any(future.done() for future in futures), "nothing unsaved is acknowledged"
    health = store.health
    assert (health.state, health.waiting_operations, health.lost_events) == (
        "failing",
        len(futures),
        0,
    )
    assert health.error is not None
    assert health.error in health.words
    assert await _ends_within(1.0, asyncio.gather(*futures)) is False
    await fault.end()
    await asyncio.wait_for(asyncio.gather(*futures), 60)
    assert store.health.state == "ok"
    seen = [health.state for health in told]
    assert seen in (["failing", "ok"], ["slow", "failing", "ok"]), "slow first, if the machine is"
    assert await store.read_keys(SHOP, "session", ["n"]) == {"n": b"49"}
    events = [(event.type, int(bytes(event.data))) for event in await store.last_events(100_000)]
    assert events == [*(("message", seq) for seq in range(1, 51)), *(("own", n) for n in range(50))]
    (row,) = await store.sessions()
    assert (row.epoch, row.memory, row.jid) == (epoch, b"memory", "jid")


async def test_a_database_that_has_nothing_to_write_is_seen_to_work_again(
    store: Store, fault: Fault
) -> None:
    """After a refused call nothing may wait any more: the store finds out by itself."""
    await fault.begin()
    with pytest.raises(StoreUnavailable):
        await store.create_session(OTHER, wanted=True)
    assert (store.health.state, store.health.waiting_operations) == ("failing", 0)
    await fault.end()
    await reaches(store, "ok")
    await store.create_session(OTHER, wanted=True)


async def test_a_store_that_is_closed_while_its_database_fails_ends_in_time_and_tells_those_who_wait(
    url: URL, fault: Fault
) -> None:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    await fault.begin()
    futures: list[asyncio.Future[Any]] = [store.append_event(SHOP, "x", b"{}") for _ in range(3)]
    futures.append(store.commit(memory_of(SHOP, b"memory")))
    await asyncio.wait_for(store.close(), 20)
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert store.health.lost_events == 3
    assert store.health.waiting_operations == 0


async def test_a_store_that_is_closed_writes_what_waits_if_the_database_comes_back_in_time(
    url: URL, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 5.0)
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    await fault.begin()
    memory = store.commit(memory_of(SHOP, b"memory"))
    await reaches(store, "failing")
    closing = asyncio.create_task(store.close())
    await fault.end()
    await asyncio.gather(closing, memory)
    store = await Store.open(url)
    assert [row.memory for row in await store.sessions()] == [b"memory"]
    await store.close()


async def test_events_of_our_own_are_bounded_while_they_wait(
    store: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS", 20)
    epoch = await store.raise_epoch(SHOP)
    await fault.begin()
    events = [store.append_event(None, "x", b"%d" % n) for n in range(30)]
    from_worker = store.append_worker_event(SHOP, epoch, 1, "message", b"100")
    assert [event.done() for event in events] == [False] * 20 + [True] * 10
    assert isinstance(events[-1].exception(), StoreUnavailable)
    assert store.health.lost_events == 10
    await fault.end()
    await asyncio.gather(*events[:20], from_worker)
    kept = [int(bytes(event.data)) for event in await store.last_events(10_000)]
    assert kept == [*range(20), 100], (
        "workers wait for their acknowledgements: they bound themselves"
    )
    await store.append_event(None, "x", b"{}")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_database_that_hangs_is_told_and_nobody_waits_for_ever_for_an_answer(
    store: Store, postgresql: PostgreSQL, url: URL, told: list[StoreHealth]
) -> None:
    epoch = await store.raise_epoch(SHOP)
    frozen = await asyncio.to_thread(postgresql.backends, str(url.database))
    for backend in frozen:
        backend.suspend()
    try:
        write = store.write_keys(SHOP, epoch, [CREDS_ENTRY])
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(StoreUnavailable, match="within 1 s"):
            await store.raise_epoch(SHOP)
        assert loop.time() - begun < 1.5
        assert told[0].state == "slow"
        assert "5 s" not in str(told[0].error)
        await reaches(store, "failing")
        assert not write.done()
    finally:
        for backend in frozen:
            os.kill(backend.pid, signal.SIGCONT)
    await asyncio.wait_for(write, 60)
    assert await store.creds(SHOP) == CREDS
    assert store.health.state == "ok"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_store_whose_database_hangs_can_be_closed_all_the_same(
    url: URL, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions.store.store.DISPOSE_SECONDS", 0.5)
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    await store.sessions()  # a reader's connection hangs as well
    frozen = await asyncio.to_thread(postgresql.backends, str(url.database))
    assert len(frozen) == 2
    for backend in frozen:
        backend.suspend()
    try:
        memory = store.commit(memory_of(SHOP, b"memory"))
        await asyncio.wait_for(store.close(), 20)
        assert isinstance(memory.exception(), StoreUnavailable)
    finally:
        for backend in frozen:
            os.kill(backend.pid, signal.SIGCONT)


async def test_whoever_is_told_of_the_health_may_fail_and_nothing_else_does(
    url: URL, fault: Fault
) -> None:
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: failures.append(context["exception"])
    )

    def tell(health: StoreHealth) -> None:
        raise KeyError(health.state)

    store = await Store.open(url, notify=tell)
    await store.create_session(SHOP, wanted=True)
    await fault.begin()
    memory = store.commit(memory_of(SHOP, b"memory"))
    with pytest.raises(StoreUnavailable):
        await store.raise_epoch(SHOP)
    await fault.end()
    await asyncio.wait_for(memory, 60)
    await asyncio.sleep(0)
    assert [str(failure) for failure in failures] == ["'failing'", "'ok'"]
    await store.close()


async def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the commit and before its answer: for each batch, and with every
    kind of operation in it.
    """
    epoch = await store.raise_epoch(SHOP)
    lost = _lose_answers(store, monkeypatch, 3)
    futures = [store.append_event(None, "x", b"%d" % n) for n in range(writer.MAX_BATCH + 50)]
    worker_event = store.append_worker_event(SHOP, epoch, 1, "message", b"1000")
    key = store.write_keys(SHOP, epoch, [entry("a", b"1")])
    await asyncio.wait_for(asyncio.gather(*futures, worker_event, key), 60)
    assert lost == [3, 2, 1]
    assert worker_event.result() is not None, "it is no duplicate: it was stored now"
    kept = await store.last_events(100_000)
    assert [int(bytes(event.data)) for event in kept] == [*range(writer.MAX_BATCH + 50), 1000]
    assert [future.result().n for future in futures] == [event.n for event in kept[:-1]]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_whoever_is_impatient_is_told_the_truth_about_a_commit_whose_answer_was_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose_answers(store, monkeypatch, 1)
    assert await store.raise_epoch(SHOP) == 1
    assert [row.epoch for row in await store.sessions()] == [1]


async def test_a_bug_in_one_operation_fails_that_one_and_no_other(store: Store) -> None:
    async def broken(connection: AsyncConnection) -> None:
        raise KeyError("secret")

    epoch = await store.raise_epoch(SHOP)
    futures: list[asyncio.Future[Any]] = [
        store.write_keys(SHOP, epoch, [entry("1.0", b"1")]),
        store._writer.submit(broken, patient=True),
        store.write_keys(SHOP, epoch - 1, [entry("2.0", b"1")]),
        store.write_keys(SHOP, epoch, [entry("3.0", b"1")]),
    ]
    outcomes = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), 60)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StoreError,
        StaleEpoch,
        type(None),
    ]
    assert "secret" not in str(outcomes[1])
    assert set(await store.read_keys(SHOP, "session", ["1.0", "2.0", "3.0"])) == {"1.0", "3.0"}
    assert store.health.state == "ok"


async def test_a_write_that_waits_is_older_than_a_raise_behind_it_and_never_refused_by_it(
    store: Store, fault: Fault
) -> None:
    epoch = await store.raise_epoch(SHOP)
    await fault.begin()
    write = store.write_keys(SHOP, epoch, [CREDS_ENTRY])
    raised = asyncio.ensure_future(store.raise_epoch(SHOP))
    await asyncio.gather(raised, return_exceptions=True)
    await fault.end()
    await asyncio.wait_for(write, 60)
    assert await store.creds(SHOP) == CREDS
    assert await store.raise_epoch(SHOP) == epoch + 1


# --- a full disk ----------------------------------------------------------------------------------

WRITE = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import msgspec, structlog
from sessions.store import Store, sqlite_url
from sessions.workers.wire import KeyEntry
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    def tell(health):
        print(health.state, "|", health.error, flush=True)

    store = await Store.open(sqlite_url(Path(sys.argv[2])), notify=tell)
    await store.create_session("shop", True)
    epoch = await store.raise_epoch("shop")
    for n in range(100_000):
        value = b'{"n":%d,"pad":"%s"}' % (n, b"x" * 500)
        await store.write_keys("shop", epoch, [KeyEntry("session", str(n), msgspec.Raw(value))])
        print(n, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def writing(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    arguments = [sys.executable, "-c", WRITE, str(ROOT), str(tmp_path / "wasup.db")]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield process
    process.kill()
    process.wait(timeout=10)
    if process.stdout is not None:
        process.stdout.close()


async def test_a_full_disk_acknowledges_nothing_loses_nothing_and_is_told(
    writing: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert writing.stdout is not None
    readline = writing.stdout.readline
    while (await asyncio.to_thread(readline)).strip() != "20":
        pass
    resource.prlimit(writing.pid, resource.RLIMIT_FSIZE, NO_FILE_GROWS)
    written = 20
    while (line := (await asyncio.to_thread(readline)).strip()).isdigit():
        written = int(line)
    assert line.startswith("failing |")
    assert "disk" in line
    next_line = asyncio.create_task(asyncio.to_thread(readline))
    assert await _ends_within(1.0, next_line) is False, "nothing is acknowledged"
    resource.prlimit(writing.pid, resource.RLIMIT_FSIZE, FILES_GROW)
    lines = [await next_line] + [await asyncio.to_thread(readline) for _ in range(10)]
    assert "ok | None\n" in lines
    numbers = [int(line) for line in lines if line.strip().isdigit()]
    assert numbers == list(range(written + 1, written + 1 + len(numbers)))
    writing.kill()
    rows = await sql(sqlite_url(tmp_path / "wasup.db"), "SELECT count(*) FROM auth")
    assert rows[0][0] > numbers[-1]


async def _ends_within(seconds: float, awaited: asyncio.Future[Any]) -> bool:
    done, _ = await asyncio.wait({awaited}, timeout=seconds)
    return bool(done)


def _lose_answers(store: Store, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """The next commits of the writer succeed, and then their connection breaks before the
    answer.
    """
    dialect = store._writer_engine.sync_engine.dialect
    commit, left, lost = dialect.do_commit, times, list[int]()

    def commit_and_break(connection: Any) -> None:
        nonlocal left
        commit(connection)
        if left:
            lost.append(left)
            left -= 1
            if dialect.name == "postgresql":
                connection.dbapi_connection._connection.terminate()
                raise dialect.loaded_dbapi.InterfaceError("connection is closed")
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(dialect, "do_commit", commit_and_break)
    return lost
