"""Whether everything can be read is known before it is needed: of a store, and of a backup."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import StoreError
from sessions.store import Cipher, Store, sqlite_url
from sessions.store.backups.backup import backup
from sessions.store.backups.backup import verify as verify_backup
from tests.store_tools import CREDS_ENTRY, OTHER, SHOP, creds, entry, sql

KEY, ANOTHER = b"k" * 32, b"a" * 32


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    """Encrypted; a session with keys, a proxy's place, an archive and an event."""
    store = await Store.open(url, cipher=Cipher([KEY]))
    await store.create_session(SHOP, wanted=True)
    await store.write_keys(SHOP, 0, [CREDS_ENTRY, entry("1.0", b"1")])
    await store.snapshot(SHOP, "paired")
    await store.create_session(OTHER, wanted=False)
    await store.append_event(SHOP, "message.received", b'{"text":"hi"}')
    yield store
    await store.close()


async def test_a_whole_store_is_said_to_be_whole(store: Store) -> None:
    report = await store.verify()
    assert (report.sessions, report.wrong) == (2, [])
    assert report.values >= 4, "keys, archive and event were read"


async def test_what_cannot_be_read_is_named_and_all_else_is_still_read(
    store: Store, url: URL
) -> None:
    whole = await store.verify()
    await sql(url, "UPDATE auth SET value = ? WHERE name = '1.0'", b"\x01damaged")
    await store.write_keys(SHOP, 0, [creds(b'{"noiseKey":1}')])
    report = await store.verify()
    assert report.values == whole.values
    assert len(report.wrong) == 2
    assert any("session '1.0' of session 'shop'" in sentence for sentence in report.wrong)
    assert any(
        sentence.startswith("creds 'creds' of session 'shop': ") for sentence in report.wrong
    )


async def test_without_the_key_everything_is_said_to_be_unreadable(store: Store, url: URL) -> None:
    whole = await store.verify()
    for cipher in (None, Cipher([ANOTHER])):
        beside = Store.beside(url, cipher)
        try:
            report = await beside.verify()
        finally:
            await beside.close()
        assert len(report.wrong) == report.values == whole.values


async def test_a_backup_is_verified_with_the_keys_at_hand_and_left_as_it_is(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "backup.db"
    await backup(store, file)
    before = file.read_bytes()
    assert (await verify_backup(file, tmp_path, Cipher([KEY]))).wrong == []
    assert (await verify_backup(file, tmp_path, Cipher([ANOTHER]))).wrong != []
    assert file.read_bytes() == before
    assert list(tmp_path.glob(".wasup-*")) == [], (
        "no copy is left: it holds the keys of all numbers"
    )


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"x" * 4096])
async def test_what_is_no_backup_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(StoreError, match="is no backup"):
        await verify_backup(tmp_path / "file", tmp_path, None)


async def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "wasup.db")
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=False)
    await store.write_keys(SHOP, 0, [CREDS_ENTRY])
    await store.close()
    connection = sqlite3.connect(tmp_path / "wasup.db")
    connection.execute("PRAGMA writable_schema = ON")
    (table,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'auth'").fetchone()
    connection.execute(  # what the table holds is no longer what it says of itself
        "UPDATE sqlite_master SET sql = ? WHERE name = 'auth'",
        (table.rstrip().removesuffix(")") + ", CHECK (length(value) < 0))",),
    )
    connection.commit()
    connection.close()
    beside = Store.beside(url)
    try:
        report = await beside.verify()
    finally:
        await beside.close()
    assert any("damaged" in sentence for sentence in report.wrong)
