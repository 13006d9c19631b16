"""Backups: one moment of a store that is in use, into a file, and back into either database."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import SessionId, StaleEpoch, StoreError, StoreUnavailable
from sessions.store import Cipher, Store, WorkerRow, sqlite_url
from sessions.store.backups import backup as store_backup
from sessions.store.backups.backup import EPOCHS_AHEAD, backup, clear_away, restore
from tests.integration.store.test_migrations import FIRST_SCHEMA_DATA, FIRST_SCHEMA_SECRETS, upgrade
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, entry, memory_of, sql


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    store = await Store.open(url)
    await fill(store)
    yield store
    await store.close()


async def fill(store: Store) -> None:
    """A session with all that a session has, and one that was deleted."""
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, epoch, [CREDS_ENTRY, entry("1.0", b"1")])
    await store.save_identity(SHOP, "jid", "Sh\u00f6p")
    await store.commit(memory_of(SHOP, b"\x00memory"))
    await store.snapshot(SHOP, "paired")
    await store.create_session(OTHER, wanted=False)
    await store.write_keys(OTHER, 0, [CREDS_ENTRY])
    await store.delete_session(OTHER, purge=False)
    await store.append_event(SHOP, "message", b'{"text":"hi"}', "3EB0")
    await store.append_worker_event(SHOP, epoch, 5, "message", b'{"text":"ho"}')
    await store.add_worker(WorkerRow("w-1", SHOP, 1, 1))


@pytest.fixture(params=["to sqlite", "to postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "to sqlite":
        return sqlite_url(tmp_path / "restored.db")
    found: URL = request.getfixturevalue("postgresql_url")
    return found


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """As everywhere, but PostgreSQL's is another database than the target's."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "wasup.db")
    found: URL = request.getfixturevalue("postgresql").new_database()
    return found


pytestmark = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


async def test_a_store_is_moved_whole_while_it_is_busy(
    store: Store, target: URL, tmp_path: Path
) -> None:
    """Writers go on all the time: pairs of keys, each pair in one transaction.

    The backup is of one moment: no half pair is in it.
    """
    (row,) = await store.sessions()
    busy, began = True, asyncio.Event()

    async def write(writer: int) -> int:
        number = 0
        while busy:
            value = b"%d" % number
            await store.write_keys(
                SHOP, row.epoch, [entry(f"{half}{writer}", value, "pair") for half in "ab"]
            )
            await store.append_event(SHOP, "busy", value)
            number += 1
        return number

    async def deliver() -> int:
        seq = 5
        while busy:
            seq += 1
            await store.append_worker_event(SHOP, row.epoch, seq, "delivered", b"%d" % seq)
            began.set()
        return seq

    writing = [*(asyncio.create_task(write(n)) for n in range(4)), asyncio.create_task(deliver())]
    await began.wait()
    file = tmp_path / "backup.db"
    report = await backup(store, file)
    busy = False
    assert min(await asyncio.gather(*writing)) > 0
    assert (report.sessions, report.archives) == (1, 2)
    delivered = await sql(
        sqlite_url(file), "SELECT max(CAST(data AS INTEGER)) FROM events WHERE type = 'delivered'"
    )
    assert await sql(sqlite_url(file), "SELECT event_seq FROM sessions") == delivered, (
        "one moment, in all tables"
    )
    content = file.read_bytes()
    assert await restore(file, target, tmp_path) == msgspec.structs.replace(report, paused=1)
    assert file.read_bytes() == content, "a backup is never changed"

    restored = await Store.open(target)
    (back,) = await restored.sessions()
    assert back == msgspec.structs.replace(
        row, epoch=row.epoch + EPOCHS_AHEAD, wanted=False, restored=True
    ), "nobody logs in beside the old store's sessions"
    pairs = await restored.read_keys(
        SHOP, "pair", [f"{half}{n}" for half in "ab" for n in range(4)]
    )
    assert len(pairs) in {0, 2, 4, 6, 8}
    for n in range(4):
        assert pairs.get(f"a{n}") == pairs.get(f"b{n}"), "one moment: no half pair"
    assert await restored.creds(SHOP) == CREDS
    assert await restored.archives(SHOP) == await store.archives(SHOP)
    assert await restored.archives(OTHER) == await store.archives(OTHER)
    assert await restored.workers() == []
    events = await restored.last_events(1_000_000)
    assert [bytes(event.data) for event in events[:2]] == [b'{"text":"hi"}', b'{"text":"ho"}']
    assert len(events) == report.events

    with pytest.raises(StaleEpoch):  # the old store's worker
        await restored.write_keys(SHOP, row.epoch, [CREDS_ENTRY])
    assert await restored.raise_epoch(SHOP) == back.epoch + 1
    new = await restored.append_event(None, "x", b"{}")
    assert new.n > (await store.last_events(1_000))[-1].n, (
        "no number is ever given twice, not even by the old store"
    )
    assert await restored.snapshot(SHOP, "again")
    assert (await restored.archives(SHOP))[-1].id == 3
    _, back = await restored.restore_session(OTHER, None, wanted=False)
    assert await restored.creds(OTHER) == CREDS
    assert back.epoch > EPOCHS_AHEAD, (
        "nor do those that are made anew begin where the old store's may be"
    )
    await restored.close()


async def test_an_encrypted_store_stays_encrypted_on_its_way(
    url: URL, target: URL, tmp_path: Path
) -> None:
    cipher = Cipher([bytes(32)])
    store = await Store.open(url, cipher=cipher)
    await store.create_session(SHOP, wanted=True)
    await store.write_keys(SHOP, await store.raise_epoch(SHOP), [entry("1.0", b'"secret"')])
    await backup(store, tmp_path / "backup.db")
    await store.close()
    assert b"secret" not in (tmp_path / "backup.db").read_bytes()
    await restore(tmp_path / "backup.db", target, tmp_path)
    with pytest.raises(StoreUnavailable, match="WHATSAPP_STORE_KEY"):
        await Store.open(target)
    store = await Store.open(target, cipher=cipher)
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'"secret"'}
    await store.close()


async def test_a_backup_is_one_private_file_and_overwrites_nothing(
    store: Store, tmp_path: Path
) -> None:
    directory = tmp_path / "backups"
    directory.mkdir()
    file = directory / "backup.db"
    before = os.umask(0)
    try:
        await backup(store, file)
    finally:
        os.umask(before)
    assert [path.name for path in directory.iterdir()] == ["backup.db"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        await backup(store, file)
    assert file.read_bytes() == content


async def test_a_backup_that_fails_leaves_nothing_behind(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(file: Path) -> None:
        raise sqlite3.DatabaseError("the file is damaged")

    monkeypatch.setattr("sessions.store.backups.backup._check", damaged)
    directory = tmp_path / "backups"
    directory.mkdir()
    with pytest.raises(StoreUnavailable, match="could not be made: the file is damaged"):
        await backup(store, directory / "backup.db")
    assert list(directory.iterdir()) == []
    with pytest.raises(OSError, match="No such file"):
        await backup(store, tmp_path / "nowhere" / "backup.db")


async def test_only_an_empty_store_is_filled(
    store: Store, url: URL, target: URL, tmp_path: Path
) -> None:
    await backup(store, tmp_path / "backup.db")
    other = await Store.open(target)
    await other.create_session(SessionId("precious"), wanted=True)
    await other.close()
    with pytest.raises(StoreError, match="is not empty") as caught:
        await restore(tmp_path / "backup.db", target, tmp_path)
    assert "new store" in caught.value.hint
    other = await Store.open(target)
    assert [row.id for row in await other.sessions()] == ["precious"]
    await other.close()


async def test_a_store_that_is_in_use_is_not_filled(store: Store, url: URL, tmp_path: Path) -> None:
    await backup(store, tmp_path / "backup.db")
    with pytest.raises(StoreError):
        await restore(tmp_path / "backup.db", url, tmp_path)
    assert [row.id for row in await store.sessions()] == [SHOP]


@pytest.mark.parametrize(
    "content",
    [b"", b"no database at all, but some text" * 50, b"SQLite format 3\x00" + bytes(4000)],
)
async def test_what_is_no_backup_is_refused(url: URL, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "backup.db"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="is no backup"):
        await restore(file, url, tmp_path)
    with pytest.raises(StoreError, match="does not exist"):
        await restore(tmp_path / "none.db", url, tmp_path)


async def test_a_backup_of_an_older_version_is_brought_up_to_date(url: URL, tmp_path: Path) -> None:
    old = sqlite_url(tmp_path / "old.db")
    await upgrade(old, "0001")
    for statement in FIRST_SCHEMA_DATA:
        await sql(old, statement)
    for statement in FIRST_SCHEMA_SECRETS:
        await sql(old, statement, CREDS)
    report = await restore(tmp_path / "old.db", url, tmp_path)
    assert (report.sessions, report.keys, report.archives, report.events) == (1, 1, 1, 1)
    assert await sql(old, "SELECT version_num FROM alembic_version") == [("0001",)]
    store = await Store.open(url)
    assert await store.creds(SHOP) == CREDS
    assert [row.epoch for row in await store.sessions()] == [7 + EPOCHS_AHEAD]
    await store.close()


async def test_a_restores_copy_is_private_and_lies_in_the_workspace_while_it_is_needed(
    store: Store, target: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backup(store, tmp_path / "backup.db")
    (tmp_path / "backup.db").chmod(0o644)
    (tmp_path / "backup.db-wal").write_bytes(b"")
    workspace = tmp_path / "data"
    workspace.mkdir()
    modes = list[int]()
    check = store_backup._check

    def look(file: Path) -> None:
        modes.extend(
            stat.S_IMODE(path.stat().st_mode)
            for path in workspace.glob(".wasup-restore-*/copy.db*")
        )
        check(file)

    monkeypatch.setattr(store_backup, "_check", look)
    before = os.umask(0)
    try:
        await restore(tmp_path / "backup.db", target, workspace)
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]
    assert list(workspace.iterdir()) == []


async def test_what_a_killed_restore_left_is_cleared_away_and_nothing_else(
    url: URL, tmp_path: Path
) -> None:
    assert url
    for name in (
        ".wasup-restore-ab_c1234",
        ".wasup-restore-notes",
        ".wasup-restore-ABCD1234",
        "wasup-restore-abcd1234",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "copy.db").write_bytes(b"keys")
    (tmp_path / ".wasup-restore-afile123").write_bytes(b"")
    (tmp_path / ".wasup-restore-alink123").symlink_to(tmp_path / "wasup-restore-abcd1234")
    everything = {path.name for path in tmp_path.iterdir()}
    clear_away(tmp_path)
    assert everything - {path.name for path in tmp_path.iterdir()} == {".wasup-restore-ab_c1234"}
    assert (tmp_path / "wasup-restore-abcd1234" / "copy.db").exists()


async def test_a_restored_store_knows_whether_the_old_one_still_runs(
    store: Store, target: URL, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    await backup(store, tmp_path / "backup.db", old)
    await restore(tmp_path / "backup.db", target, tmp_path)
    restored = await Store.open(target)
    try:
        assert "pid 7" in (
            await restored.origin_still_runs(new, lambda _: "a supervisor (pid 7)") or ""
        )
        if target.get_backend_name() == "sqlite" or store.origin_here(old).server == "":
            assert await restored.origin_still_runs(new, lambda _: None) is None
        else:
            assert "has a supervisor" in (
                await restored.origin_still_runs(new, lambda _: None) or ""
            )
        assert await store.origin_still_runs(old, lambda _: "a supervisor (pid 7)") is None, (
            "it comes from nowhere"
        )
    finally:
        await restored.close()
