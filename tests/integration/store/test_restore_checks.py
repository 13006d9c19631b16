"""A file is believed to be a backup only after it was looked at: whatever is wrong with it is a
clear refusal, and nothing is half-done.
"""

import contextlib
import os
import random
import sqlite3
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import StoreError
from sessions.store import Store, sqlite_url
from sessions.store.backups.backup import backup, restore
from tests.integration.store.test_backup import fill


@pytest_asyncio.fixture
async def file(tmp_path: Path) -> Path:
    """A backup."""
    store = await Store.open(sqlite_url(tmp_path / "source.db"))
    await fill(store)
    await backup(store, tmp_path / "backup.db")
    await store.close()
    return tmp_path / "backup.db"


@pytest.fixture
def own(tmp_path: Path) -> URL:
    """Where it would be restored to."""
    return sqlite_url(tmp_path / "own.db")


def mangled(file: Path, statement: str, *parameters: object) -> Path:
    """A backup that somebody has edited."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.executescript(statement) if not parameters else connection.execute(
        statement, parameters
    )
    connection.commit()
    connection.close()
    return file


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET session = 'x/../../../../pwn'",
        "UPDATE archives SET session = 'a' || char(10) || char(27)",
        "UPDATE sessions SET created_at = 'x'",
        "UPDATE sessions SET created_at = 9e999",
        "UPDATE sessions SET epoch = 9223372036854775807",
        "UPDATE sessions SET epoch = 'many'",
        "UPDATE sessions SET jid = X'ff00ff'",
        "UPDATE sessions SET name = 'a' || char(0)",
        "UPDATE sessions SET wanted = 'yes'",
        "UPDATE auth SET value = 'text'",
        "UPDATE archives SET reason = printf('%.*c', 70, 'x')",
        "UPDATE events SET data = zeroblob(70000000)",
        "CREATE VIEW looks AS SELECT 1",
        "ALTER TABLE events RENAME TO kept; CREATE VIEW events AS SELECT * FROM kept",
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM sessions; END",
        "CREATE TABLE more (a)",
    ],
)
async def test_a_backup_that_somebody_has_edited_is_refused_whole(
    file: Path, own: URL, tmp_path: Path, statement: str
) -> None:
    with pytest.raises(StoreError) as refused:
        await restore(mangled(file, statement), own, tmp_path)
    assert refused.value.hint
    fresh = await Store.open(own)
    assert await fresh.sessions() == [], "nothing is half-done"
    await fresh.close()


async def test_a_session_id_that_is_none_is_refused(file: Path, own: URL, tmp_path: Path) -> None:
    for bad in ("x/../../pwn", "a\nb\x1b[2J", "..", "\0"):
        spoilt = mangled(file, "UPDATE sessions SET id = ?", bad)
        with pytest.raises(StoreError, match=r"no session id|does not fit"):
            await restore(mangled(spoilt, "UPDATE auth SET session = ?", bad), own, tmp_path)


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_pipe_is_no_backup(file: Path, own: URL, tmp_path: Path, suffix: str) -> None:
    pipe = file.with_name(file.name + suffix)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="no ordinary file"):
        await restore(file, own, tmp_path)


async def test_bytes_changed_at_random_end_in_a_refusal_or_a_whole_restore(
    file: Path, tmp_path: Path
) -> None:
    sound, rng = file.read_bytes(), random.Random(7)
    for number in range(12):
        spoilt = bytearray(sound)
        for _ in range(rng.randint(1, 40)):
            spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        (tmp_path / "spoilt.db").write_bytes(spoilt)
        with contextlib.suppress(StoreError):
            await restore(
                tmp_path / "spoilt.db", sqlite_url(tmp_path / f"target-{number}.db"), tmp_path
            )
