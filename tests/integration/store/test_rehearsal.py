"""Whether a backup can be restored is found out by restoring it, and it stays as it is."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import URL

from sessions.store import Cipher, Store
from sessions.store.backups.backup import backup
from sessions.store.backups.rehearsal import rehearse
from tests.integration.store.test_backup import fill

KEY = b"k" * 32


@pytest.fixture
async def made(url: URL, tmp_path: Path) -> Path:
    store = await Store.open(url, cipher=Cipher([KEY]))
    await fill(store)
    await backup(store, tmp_path / "backup.db")
    await store.close()
    return tmp_path / "backup.db"


async def test_a_whole_backup_comes_back_and_nothing_is_left_of_the_rehearsal(
    made: Path, tmp_path: Path
) -> None:
    before, others = made.read_bytes(), set(tmp_path.iterdir())
    found = await rehearse(made, tmp_path, Cipher([KEY]))
    assert (found.sessions, found.keys, found.archives, found.events) == (1, 2, 2, 2)
    assert found.wrong == []
    assert found.values >= 4
    assert found.restore_seconds is not None
    assert (found.file_bytes, found.sha256) == (len(before), hashlib.sha256(before).hexdigest())
    assert made.read_bytes() == before
    assert set(tmp_path.iterdir()) == others


async def test_with_other_keys_nothing_in_it_can_be_used(made: Path, tmp_path: Path) -> None:
    found = await rehearse(made, tmp_path, Cipher([b"a" * 32]))
    assert len(found.wrong) == found.values > 0


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["cut", "overwritten", "no backup"])
async def test_what_cannot_be_restored_is_said_to_be_so(
    made: Path, tmp_path: Path, what: str
) -> None:
    whole = made.read_bytes()
    half = len(whole) // 2
    damaged = {
        "cut": whole[:half],
        "overwritten": whole[:4096] + b"\xff" * 8192 + whole[4096 + 8192 :],
        "no backup": b"something else",
    }
    made.write_bytes(damaged[what])
    found = await rehearse(made, tmp_path, Cipher([KEY]))
    assert found.restore_seconds is None
    (why,) = found.wrong
    assert why.startswith("It cannot be restored: ")
