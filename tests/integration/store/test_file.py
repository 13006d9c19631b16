"""The store in a file: SQLite's pragmas and locks, the file's permissions, and what a kill leaves
behind.
"""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from scripts.lab import eventually
from sessions.credentials.proxy import parse_proxy
from sessions.model import StoreUnavailable
from sessions.store import Cipher, Store, sqlite_url
from sessions.store.engine import erasing
from sessions.store.engine.database import PRAGMAS
from tests.store_tools import OTHER, SHOP, creds, entry

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wasup.db"


@pytest_asyncio.fixture
async def real(file: Path) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(file))
    yield store
    await store.close()


async def test_the_pragmas_are_really_set_on_every_connection(real: Store) -> None:
    words = {
        "synchronous": {"FULL": 2},
        "temp_store": {"MEMORY": 2},
        "foreign_keys": {"ON": 1},
        "secure_delete": {"ON": 1},
    }
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


async def test_nobody_else_may_read_the_files(file: Path) -> None:
    before = os.umask(0o077)
    try:
        store = await Store.open(sqlite_url(file))
        await store.create_session(SHOP, wanted=True)
        files = sorted(file.parent.iterdir())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
        await store.close()
    finally:
        os.umask(before)
    assert modes == {"wasup.db": 0o600, "wasup.db-shm": 0o600, "wasup.db-wal": 0o600}


@pytest.mark.parametrize(
    "content", [b"this is not a database, but a text of some length" * 100, None]
)
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    file: Path, content: bytes | None
) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await Store.open(sqlite_url(file))
    assert content is None or file.read_bytes() == content


WRITE = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import msgspec
from sessions.model import SessionId
from sessions.store import Store, sqlite_url
from sessions.workers.wire import KeyEntry

async def main():
    store = await Store.open(sqlite_url(Path(sys.argv[2])))
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
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(ROOT), str(file)], stdout=subprocess.PIPE
    )
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
    store = await Store.open(sqlite_url(file))
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


async def test_a_statement_that_was_cancelled_leaves_no_thread_behind(file: Path) -> None:
    """Its connection is dropped, not closed; its thread would report to a loop that has ended (and
    did, in other tests).
    """
    before = set(threading.enumerate())
    store = await Store.open(sqlite_url(file))
    count = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000) SELECT"
        " count(*) FROM n"
    )

    async def read() -> None:
        async with store._reader.connect() as connection:
            reading.set()
            await connection.exec_driver_sql(count)

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    await asyncio.sleep(0)
    task.cancel()
    assert isinstance(
        (await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError
    )
    await store.close()
    assert set(threading.enumerate()) - before == set()


# --- what was destroyed ---------------------------------------------------------------------------

SECRET = b"s3cr3t-of-a-session"


def on_disk(file: Path) -> bytes:
    return b"".join(one.read_bytes() for one in file.parent.iterdir() if one.is_file())


async def fill(store: Store) -> int:
    """A session with a secret in each column that holds some, and in its archive."""
    await store.create_session(
        SHOP, wanted=True, proxy=parse_proxy(f"http://someone:{SECRET.decode()}@proxy.example:1")
    )
    epoch = await store.raise_epoch(SHOP)
    large = b'"' + SECRET * 2000 + b'"'  # on pages of its own
    await store.write_keys(
        SHOP, epoch, [creds(b'{"secret":"' + SECRET + b'"}'), entry("1.0", large)]
    )
    await store.snapshot(SHOP, "paired")
    await store.append_event(SHOP, "message", b'{"text":"' + SECRET + b'"}')
    return epoch


async def test_of_a_purged_session_no_byte_is_left_on_the_disk(real: Store, file: Path) -> None:
    await fill(real)
    await real.create_session(OTHER, wanted=True)
    assert SECRET in on_disk(file)
    await real.delete_session(SHOP, purge=True)
    assert SECRET not in on_disk(file)
    assert [row.id for row in await real.sessions()] == [OTHER]


async def test_a_proxy_s_password_goes_with_the_proxy(real: Store, file: Path) -> None:
    await real.create_session(SHOP, wanted=True)
    await real.set_proxy(SHOP, parse_proxy(f"http://someone:{SECRET.decode()}@proxy.example:1"))
    assert SECRET in on_disk(file)
    await real.set_proxy(SHOP, None)
    assert SECRET not in on_disk(file)


async def test_of_what_was_sealed_nothing_is_left_in_the_clear(file: Path) -> None:
    store = await Store.open(sqlite_url(file))
    await fill(store)
    await store.close()
    assert SECRET in on_disk(file)
    store = await Store.open(sqlite_url(file), cipher=Cipher([bytes(32)]))
    assert (await store.rewrite_secrets()).complete
    assert SECRET not in on_disk(file)
    await store.close()


async def test_a_purge_while_somebody_reads_is_done_when_he_has_read(
    real: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "ATTEMPT_SECONDS", 0.05)
    monkeypatch.setattr(erasing, "RETRY_SECONDS", 0.05)
    await fill(real)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM auth").fetchone() == (2,)
    await real.delete_session(SHOP, purge=True)
    assert SECRET in on_disk(file), "he may still look at it"
    reader.execute("ROLLBACK")
    reader.close()

    async def found() -> bool:
        return SECRET in on_disk(file)

    await eventually(found, lambda seen: not seen, what="the end of the purge")


async def test_a_purge_that_nobody_lets_through_is_over_with_the_store(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "ATTEMPT_SECONDS", 0.05)
    store = await Store.open(sqlite_url(file))
    await fill(store)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM auth").fetchone()
    await store.delete_session(SHOP, purge=True)
    await store.close()
    reader.close()  # the last one
    assert SECRET not in on_disk(file)


@pytest.mark.parametrize("name", ["wasup.db", "a ? b#c%41.db"])
async def test_who_goes_on_with_a_store_never_makes_an_empty_file_in_its_place(
    tmp_path: Path, name: str
) -> None:
    """An operator has moved it, and puts it back: nothing may stand there meanwhile."""
    file = tmp_path / name
    await (await Store.open(sqlite_url(file))).close()
    store = await Store.open(sqlite_url(file))
    aside = tmp_path / "aside.db"
    file.rename(aside)
    for beside in ("-wal", "-shm"):
        file.with_name(name + beside).unlink(missing_ok=True)
    try:
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await store.sessions()
        assert not file.exists()
        aside.rename(file)
        assert await store.sessions() == []
    finally:
        await store.close()
