"""The store: one contract for the real one and the fake, and what only a real database on a real disk can promise."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import SessionExists, SessionId, SessionNotFound, StaleEpoch, StoreUnavailable
from sessions.store import Store, WorkerRow, database, schema
from sessions.store.database import PRAGMAS
from sessions.store.writer import MAX_BATCH, Writer
from sessions.wire import KeyEntry
from tests.fakes import FakeStore

ROOT = Path(__file__).resolve().parents[2]
SHOP = SessionId("shop")
OTHER = SessionId("other")
CREDS = b'{"registrationId":42}'


def _entry(name: str, value: bytes, kind: str = "session") -> KeyEntry:
    return KeyEntry(kind, name, msgspec.Raw(value))


CREDS_ENTRY = _entry("creds", CREDS, "creds")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wasup.db"


@pytest_asyncio.fixture
async def real(file: Path) -> AsyncIterator[Store]:
    store = await Store.open(file)
    yield store
    await store.close()


@pytest_asyncio.fixture(params=["real", "fake"])
async def store(request: pytest.FixtureRequest, file: Path) -> AsyncIterator[Store]:
    """The contract holds for both, or the session's tests prove nothing."""
    if request.param == "fake":
        yield FakeStore()  # type: ignore[misc]
        return
    store = await Store.open(file)
    yield store
    await store.close()


# --- the contract ---------------------------------------------------------------------------------------------------------


async def test_a_created_session_is_there_with_nothing_in_it(store: Store) -> None:
    row = await store.create_session(SHOP, wanted=True)
    assert (row.id, row.wanted, row.epoch, row.memory, row.jid, row.name) == (SHOP, True, 0, None, None, None)
    assert await store.sessions() == [row]
    assert await store.creds(SHOP) is None


async def test_a_session_is_created_once(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    with pytest.raises(SessionExists):
        await store.create_session(SHOP, wanted=False)
    assert [row.wanted for row in await store.sessions()] == [True]


async def test_what_is_remembered_of_a_session_is_read_back(store: Store) -> None:
    await store.create_session(SHOP, wanted=False)
    await store.create_session(OTHER, wanted=False)
    await store.set_wanted(SHOP, True)
    await store.save_memory(SHOP, b"\x00\xffmemory")
    await store.save_identity(SHOP, "1@s.whatsapp.net", None)
    shop, other = await store.sessions()
    assert (shop.wanted, shop.memory, shop.jid, shop.name) == (True, b"\x00\xffmemory", "1@s.whatsapp.net", None)
    assert (other.wanted, other.memory, other.jid) == (False, None, None)


async def test_each_assignment_has_a_higher_epoch(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    assert [await store.raise_epoch(SHOP) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(SessionNotFound):
        await store.raise_epoch(OTHER)


async def test_keys_are_written_overwritten_and_deleted(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, epoch, [CREDS_ENTRY, _entry("1.0", b'{"a":1}'), _entry("1.0", b"2", "pre-key")])
    await store.write_keys(SHOP, epoch, [_entry("1.0", b'{"a":2}'), _entry("2.0", b'"x"')])
    assert await store.read_keys(SHOP, "session", ["1.0", "2.0", "3.0"]) == {"1.0": b'{"a":2}', "2.0": b'"x"'}
    await store.write_keys(SHOP, epoch, [_entry("1.0", b"null")])
    assert await store.read_keys(SHOP, "session", ["1.0", "2.0"]) == {"2.0": b'"x"'}
    assert await store.read_keys(SHOP, "pre-key", ["1.0"]) == {"1.0": b"2"}
    assert await store.creds(SHOP) == CREDS


async def test_one_sessions_keys_are_no_others(store: Store) -> None:
    for session in (SHOP, OTHER):
        await store.create_session(session, wanted=True)
        await store.raise_epoch(session)
        await store.write_keys(session, 1, [_entry("1.0", f'"{session}"'.encode())])
    await store.delete_session(OTHER, purge=True)
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'"shop"'}


@pytest.mark.parametrize("epoch", [0, 1, 3])
async def test_a_write_of_another_epoch_is_refused_whole(store: Store, epoch: int) -> None:
    await store.create_session(SHOP, wanted=True)
    for _ in range(2):
        await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, 2, [CREDS_ENTRY])
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, epoch, [_entry("creds", b'{"stolen":true}', "creds"), _entry("9.0", b"1")])
    assert await store.creds(SHOP) == CREDS
    assert await store.read_keys(SHOP, "session", ["9.0"]) == {}


async def test_a_write_for_a_session_that_is_gone_is_refused(store: Store) -> None:
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, 0, [CREDS_ENTRY])


async def test_archiving_puts_credentials_aside_and_fences_off_late_writes(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.save_identity(SHOP, "1@s.whatsapp.net", "Shop")
    await store.write_keys(SHOP, epoch, [CREDS_ENTRY, _entry("1.0", b"1")])
    await store.archive_credentials(SHOP, "logged_out")
    assert await store.creds(SHOP) is None
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {}
    assert await store.archived(SHOP) == [(1, "logged_out")]
    (row,) = await store.sessions()
    assert (row.jid, row.name) == (None, None)
    assert row.epoch > epoch
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, epoch, [_entry("1.0", b"late")])


async def test_archiving_nothing_makes_no_archive(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    await store.archive_credentials(SHOP, "logged_out")
    assert await store.archived(SHOP) == []


async def test_a_deleted_sessions_credentials_outlive_it_unless_purged(store: Store) -> None:
    for purge, left in ((False, 1), (True, 0)):
        await store.create_session(SHOP, wanted=True)
        epoch = await store.raise_epoch(SHOP)
        await store.write_keys(SHOP, epoch, [CREDS_ENTRY])
        await store.delete_session(SHOP, purge=purge)
        assert await store.sessions() == []
        assert await store.creds(SHOP) is None
        assert len(await store.archived(SHOP)) == left
    await store.delete_session(SHOP, purge=True)


async def test_writes_take_effect_in_the_order_of_the_calls(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await asyncio.gather(*(store.write_keys(SHOP, epoch, [_entry("n", str(n).encode())]) for n in range(200)))
    assert await store.read_keys(SHOP, "session", ["n"]) == {"n": b"199"}


# --- only the real one ----------------------------------------------------------------------------------------------------


async def test_the_fence_holds_within_one_transaction(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    first = await real.raise_epoch(SHOP)
    # Queued in one breath, so in one batch: the old worker's write before and after the session is given away.
    before = real.write_keys(SHOP, first, [_entry("1.0", b"1")])
    second = asyncio.ensure_future(real.raise_epoch(SHOP))
    await asyncio.sleep(0)
    after = real.write_keys(SHOP, first, [_entry("1.0", b"2")])
    await before
    assert await second == first + 1
    with pytest.raises(StaleEpoch):
        await after
    assert await real.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b"1"}


async def test_many_waiting_writes_share_few_transactions(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    commits = 0

    @event.listens_for(real._writer_engine.sync_engine, "commit")
    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    total = 2 * MAX_BATCH
    await asyncio.gather(*(real.write_keys(SHOP, epoch, [_entry(f"k{n}", b"1")]) for n in range(total)))
    assert commits <= total / MAX_BATCH + 2
    names = [f"k{n}" for n in range(total)]
    assert len(await real.read_keys(SHOP, "session", names)) == total, "and more names than one query takes"


async def test_a_refused_write_harms_none_that_share_its_transaction(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    writes = [real.write_keys(SHOP, epoch - n % 2, [_entry(f"k{n}", b"1")]) for n in range(20)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(outcome, StaleEpoch) for outcome in outcomes] == [False, True] * 10
    assert len(await real.read_keys(SHOP, "session", [f"k{n}" for n in range(20)])) == 10


async def test_a_writer_whose_waiter_has_gone_writes_all_the_same(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    real.write_keys(SHOP, epoch, [_entry("1.0", b"1")]).cancel()
    await real.write_keys(SHOP, epoch, [_entry("2.0", b"1")])
    assert set(await real.read_keys(SHOP, "session", ["1.0", "2.0"])) == {"1.0", "2.0"}


async def test_reads_see_every_acknowledged_write(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)

    async def write_and_read(number: int) -> None:
        name = f"{number}.0"
        for value in range(10):
            await real.write_keys(SHOP, epoch, [_entry(name, str(value).encode())])
            assert await real.read_keys(SHOP, "session", [name]) == {name: str(value).encode()}

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


async def test_a_full_disk_refuses_writes_and_the_store_goes_on_when_there_is_room(real: Store, file: Path) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
    async with real._writer_engine.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
        await connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        await real.write_keys(SHOP, epoch, [_entry("big", b'"' + b"x" * 1_000_000 + b'"')])
    assert await real.creds(SHOP) == CREDS
    async with real._writer_engine.connect() as connection:
        await connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    await real.write_keys(SHOP, epoch, [_entry("big", b'"x"')])


async def test_an_error_of_our_own_in_one_write_leaves_nobody_waiting_for_ever(file: Path) -> None:
    await asyncio.to_thread(database.migrate, file)
    engine = database.open_writer(file)
    writer = Writer(engine)

    async def fine(connection: AsyncConnection) -> int:
        return 1

    async def broken(connection: AsyncConnection) -> int:
        raise RuntimeError("a bug")

    try:
        futures = [writer.submit(fine), writer.submit(broken), writer.submit(fine)]
        done, pending = await asyncio.wait(futures, timeout=3)
        assert not pending, "any other error fails the whole batch: nobody's write is acknowledged, everybody is told"
        assert all(isinstance(future.exception(), StoreUnavailable) for future in done)
        assert await asyncio.wait_for(writer.submit(fine), 3) == 1, "and the writer goes on"
    finally:
        await asyncio.gather(writer.close(), return_exceptions=True)
        await engine.dispose()


async def test_events_are_numbered_for_ever_and_bounded(file: Path) -> None:
    store = await Store.open(file, event_limit=100)
    events = await asyncio.gather(*(store.append_event("shop", "x", b'{"i":%d}' % i) for i in range(600)))
    assert [e.n for e in events] == list(range(1, 601))
    kept = await store.last_events(1_000_000)
    assert [e.n for e in kept] == list(range(501, 601))
    assert bytes(kept[-1].data) == b'{"i":599}'
    await store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] < 400, "old ones are really gone"
        connection.execute("DELETE FROM events")
    connection.close()
    store = await Store.open(file, event_limit=100)
    assert (await store.append_event(None, "y", b"{}")).n == 601, "no number is ever given twice"
    await store.close()


async def test_workers_are_remembered_until_they_have_ended(real: Store) -> None:
    row = WorkerRow("w-1", "shop", 4711, 123_456)
    await real.add_worker(row)
    await real.add_worker(WorkerRow("w-2", None, 4712, 2**40))
    await real.remove_worker("w-2")
    assert await real.workers() == [row]


async def test_an_archive_holds_every_byte_of_the_credentials(real: Store, file: Path) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(SHOP, epoch, [CREDS_ENTRY, *(_entry(f"{n}.0", b'"%d"' % n) for n in range(1000))])
    await real.delete_session(SHOP, purge=False)
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT kind, name, value FROM archived_auth").fetchall()
        assert connection.execute("SELECT count(*) FROM auth").fetchone() == (0,)
    connection.close()
    assert {(kind, name): value for kind, name, value in rows} == {
        ("creds", "creds"): CREDS,
        **{("session", f"{n}.0"): b'"%d"' % n for n in range(1000)},
    }


async def test_a_purge_leaves_no_byte_of_the_session(real: Store, file: Path) -> None:
    await real.create_session(SHOP, wanted=True)
    for _ in range(2):
        epoch = await real.raise_epoch(SHOP)
        await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
        await real.archive_credentials(SHOP, "logged_out")
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
    await real.delete_session(SHOP, purge=True)
    with sqlite3.connect(file) as connection:
        for table in ("sessions", "auth", "archives", "archived_auth"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    connection.close()


async def test_a_closed_store_has_written_what_was_queued_and_refuses_more(file: Path) -> None:
    store = await Store.open(file)
    await store.create_session(SHOP, wanted=True)
    for n in range(50):
        store.save_memory(SHOP, b"%d" % n)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.save_memory(SHOP, b"too late")
    again = await Store.open(file)
    assert [row.memory for row in await again.sessions()] == [b"49"]
    await again.close()


# --- the file -------------------------------------------------------------------------------------------------------------


async def test_the_pragmas_are_really_set_on_every_connection(real: Store) -> None:
    words = {"synchronous": {"FULL": 2}, "temp_store": {"MEMORY": 2}, "foreign_keys": {"ON": 1}}
    for engine in (real._reader, real._writer_engine):
        async with engine.connect() as connection:
            for name, value in PRAGMAS.items():
                found = (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                expected = words.get(name, {}).get(value, value.lower())
                assert str(found).lower() == str(expected), name


async def test_the_writer_takes_its_lock_at_the_begin(real: Store, file: Path) -> None:
    other = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        async with real._writer_engine.begin():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()


def test_the_migrations_make_the_schema_that_the_code_believes_in(file: Path) -> None:
    database.migrate(file)
    database.migrate(file)  # and a second time changes nothing
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        migrated = _shape(connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all())
    engine.dispose()
    fresh = create_engine("sqlite://")
    with fresh.connect() as connection:
        schema.metadata.create_all(connection)
        created = _shape(connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all())
    fresh.dispose()
    assert {name: sql for name, sql in migrated.items() if "alembic_version" not in name} == created


async def test_nobody_else_may_read_the_files(file: Path) -> None:
    before = os.umask(0o077)
    try:
        store = await Store.open(file)
        await store.create_session(SHOP, wanted=True)
        files = sorted(file.parent.iterdir())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
        await store.close()
    finally:
        os.umask(before)
    assert modes == {"wasup.db": 0o600, "wasup.db-shm": 0o600, "wasup.db-wal": 0o600}


@pytest.mark.parametrize("content", [b"this is not a database, but a text of some length" * 100, None])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(file: Path, content: bytes | None) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await Store.open(file)
    assert content is None or file.read_bytes() == content


WRITE = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import msgspec
from sessions.model import SessionId
from sessions.store import Store
from sessions.wire import KeyEntry

async def main():
    store = await Store.open(Path(sys.argv[2]))
    await store.create_session(SessionId("shop"), True)
    epoch = await store.raise_epoch("shop")
    async def write(n):
        value = b'{"n":%d,"pad":"%s"}' % (n, b"x" * 500)
        entries = [KeyEntry("session", f"{half}{n}", msgspec.Raw(value)) for half in "ab"]
        await store.write_keys("shop", epoch, entries)
        print(n, flush=True)
    n = 0
    while True:
        await asyncio.gather(*(write(i) for i in range(n, n + 7)))
        n += 7

asyncio.run(main())
"""


@pytest.fixture
def writing(file: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(ROOT), str(file)], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait(timeout=10)
    if process.stdout is not None:
        process.stdout.close()


@pytest.mark.parametrize("lines", [1, 60, 333])
async def test_a_kill_in_mid_write_loses_nothing_that_was_acknowledged_and_tears_nothing(
    lines: int, writing: "subprocess.Popen[bytes]", file: Path
) -> None:
    assert writing.stdout is not None
    read = [await asyncio.to_thread(writing.stdout.readline) for _ in range(lines)]
    writing.kill()
    writing.wait(timeout=10)
    read += writing.stdout.readlines()
    acknowledged = {int(line) for line in read if line.endswith(b"\n")}
    assert len(acknowledged) >= lines
    store = await Store.open(file)
    names = [f"{half}{n}" for n in range(max(acknowledged) + 50) for half in "ab"]
    found = await store.read_keys("shop", "session", names)
    assert {f"a{n}" for n in acknowledged} <= set(found)
    halves = {half: {int(name[1:]) for name in found if name[0] == half} for half in "ab"}
    assert halves["a"] == halves["b"], "a write is whole or not there"
    for name, value in found.items():
        assert msgspec.json.decode(value)["n"] == int(name[1:])
    assert await store.raise_epoch(SHOP) == 2, "and the database is writable"
    await store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def _shape(rows: object) -> dict[str, str | None]:
    """Tables and indexes as SQL, without the differences of layout."""
    assert isinstance(rows, list)
    return {name: sql and " ".join(sql.replace('"', "").replace(", ", ",").split()) for name, sql in rows}
