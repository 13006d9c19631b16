"""What is written beside its target until it is whole, and what a writer leaves that is killed on
the way.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.lab.processes import ROOT
from sessions.credentials import baileys_folders, staging
from sessions.store import Store, sqlite_url
from sessions.store.backups.backup import backup
from sessions.workers.wire import KeyEntry
from tests.fakes import CREDS

WRITER = """
import sys, time
from pathlib import Path
from sessions.credentials import staging
with staging.beside(Path(sys.argv[1])) as directory:
    (directory / "keys").write_text("secret")
    print(directory, flush=True)
    time.sleep(60)
"""


@contextmanager
def writing(target: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Another process that is writing, and where."""
    command = [sys.executable, "-c", WRITER, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def killed_while_writing(target: Path) -> Path:
    """What it has left."""
    with writing(target) as (process, left):
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (left / "keys").exists()
    return left


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_killed_writers_of_the_same_target_have_left_is_removed_and_nothing_else(
    tmp_path: Path,
) -> None:
    first = killed_while_writing(tmp_path / "keys.db")
    kept = [
        killed_while_writing(tmp_path / name) for name in ("other.db", "keys_db", "keys.db.keys.db")
    ]
    for name in (
        ".keys.db.0123abcd.partial.old",
        ".keys.db.0123abcg.partial",
        ".keys.db.0123.partial",
        "keys.db.0123abcd.partial",
    ):
        kept.append(tmp_path / name)
        kept[-1].mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (tmp_path / ".keys.db.89abcdef.partial").symlink_to(elsewhere)
    with staging.beside(tmp_path / "keys.db") as directory:
        assert not first.exists()
        assert directory.stat().st_mode & 0o077 == 0
    expected = {path.name for path in kept} | {"elsewhere", ".keys.db.89abcdef.partial"}
    assert (names(tmp_path), names(elsewhere)) == (expected, {"file"})


def test_what_is_being_written_just_now_is_left_to_its_writer(tmp_path: Path) -> None:
    with writing(tmp_path / "keys.db") as (_, theirs):
        with (
            staging.beside(tmp_path / "keys.db") as ours,
            staging.beside(tmp_path / "keys.db"),
        ):
            assert ours.exists()
            assert (theirs / "keys").exists()
        assert names(tmp_path) == {theirs.name}


def test_nothing_is_left_when_the_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staging.beside(tmp_path / "keys.db") as directory:
        (directory / "keys").rename(tmp_path / "never")
    assert names(tmp_path) == set()


async def test_a_backup_and_an_export_clear_away_what_the_one_before_has_left(
    tmp_path: Path,
) -> None:
    targets = tmp_path / "targets"
    targets.mkdir()
    for name in ("backup.db", "folder"):
        killed_while_writing(targets / name)
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    await backup(store, targets / "backup.db")
    await store.close()
    baileys_folders.export([KeyEntry("creds", "creds", CREDS)], targets / "folder")
    assert names(targets) == {"backup.db", "folder"}
    assert (targets / "folder").stat().st_mode & 0o077 == 0
