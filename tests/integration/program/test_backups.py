"""Backups by the clock, made by the real commands in processes of their own: verified, kept, looked
after, and missed when there are none.
"""

import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from sessions.store import Store
from sessions.views.times import iso
from supervisor.alerts.alerts import Alerts
from supervisor.places import store_opening
from supervisor.reports.sources import backups_of
from supervisor.settings import load
from supervisor.upkeep.backups import process
from supervisor.upkeep.backups.backups import BackupConfig, Backups
from supervisor.upkeep.backups.keeping import Keep
from supervisor.upkeep.backups.shelf import Shelf
from supervisor.upkeep.jobs import JobFailed
from supervisor.upkeep.schedule import Schedule
from tests.integration.store.test_backup import fill

KEY = "6b" * 32


class Stage:
    """A store with its backups, and a clock that is set by hand."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.now = 1_767_225_600.0
        self.store = store
        self.alerts = Alerts(lambda session, event: None)
        self.most_used = 1.0
        self.directory = directory

    def backups(self) -> Backups:
        zone = ZoneInfo("UTC")
        config = BackupConfig(
            directory=self.directory,
            schedule=Schedule("0 * * * *", zone),
            keep=Keep(2, 0, 0),
            most_used=self.most_used,
        )
        return Backups(config, self.store, self.alerts, lambda: self.now)

    def ringing(self) -> list[str]:
        return [alert.name for alert in self.alerts.active()]

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*.db"))

    def left_over(self) -> list[str]:
        return [file.name for file in self.directory.iterdir() if file.name.startswith(".")]


@pytest_asyncio.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    for name in [name for name in os.environ if name.startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WHATSAPP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WHATSAPP_STORE_KEY", KEY)
    (tmp_path / "data").mkdir(mode=0o700)
    store = await store_opening.open_store(load())
    await fill(store)
    yield Stage(store, tmp_path / "backups")
    await store.close()


async def test_a_backup_is_verified_kept_private_and_looked_after(stage: Stage) -> None:
    backups = stage.backups()
    words = await backups.make()
    assert "holds 1 sessions and 2 events" in words
    (first,) = stage.files()
    assert [stat.S_IMODE(file.stat().st_mode) for file in (first, first.with_suffix(".json"))] == [
        0o600
    ] * 2
    assert stat.S_IMODE(stage.directory.stat().st_mode) == 0o700
    assert stage.left_over() == []
    view = await backups.view()
    assert (view.kept, view.last_verified_at) == (1, "2026-01-01T00:00:00.000Z")
    assert view.last_restore_seconds is not None
    assert view.bytes == first.stat().st_size

    # more are made than are kept
    for _ in range(2):
        stage.now += 3600
        await backups.make()
    assert first not in stage.files()
    assert len(stage.files()) == 2
    assert await backups.check() == "2 backups are what they were."

    # a bit rots in the newest
    newest = stage.files()[-1]
    spoilt = bytearray(newest.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    newest.write_bytes(spoilt)
    with pytest.raises(JobFailed, match="1 of 2 backups are damaged") as failure:
        await backups.check()
    assert failure.value.told, "one alert says it"
    (alert,) = stage.alerts.active()
    assert (alert.name, alert.severity, alert.about) == ("backup_corrupt", "critical", newest.name)
    assert (await backups.view()).last_verified_at == "2026-01-01T01:00:00.000Z", "the one before"
    stage.now += 3600
    await backups.make()
    assert newest not in stage.files(), "a better one has come after it"
    assert stage.ringing() == []


async def test_a_store_with_values_that_cannot_be_read_has_a_backup_that_is_told_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", "61" * 32)  # of the commands alone
    backups = stage.backups()
    with pytest.raises(JobFailed, match="cannot be relied on") as failure:
        await backups.make()
    assert failure.value.told
    assert stage.ringing() == ["backup_corrupt"]
    (kept,) = stage.files()
    assert json.loads(kept.with_suffix(".json").read_bytes())["verifiedAt"] is None
    assert (await backups.view()).last_verified_at is None


async def test_a_full_disk_leaves_no_half_backup_and_the_last_good_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = stage.backups()
    await backups.make()
    before = {file: file.read_bytes() for file in stage.directory.iterdir()}
    gentle = process.gentle

    async def bounded(*command: str, **given: Any) -> process.Ended:
        return await gentle("prlimit", "--fsize=60000", *command, **given)

    monkeypatch.setattr(process, "gentle", bounded)
    stage.now += 3600
    with pytest.raises(JobFailed, match="No backup was made") as failure:
        await backups.make()
    assert not failure.value.told
    assert {file: file.read_bytes() for file in stage.directory.iterdir()} == before


async def test_without_room_it_is_not_even_begun(stage: Stage) -> None:
    stage.most_used = 0.0001
    with pytest.raises(JobFailed, match="not enough room") as failure:
        await stage.backups().make()
    assert "WHATSAPP_BACKUP_DIR" in failure.value.hint


async def test_what_killed_ones_have_left_is_removed(stage: Stage) -> None:
    left = stage.directory / f".wasup-{(await identity(stage))[:8]}.unfinished"
    left.mkdir(parents=True)
    (left / "backup.db").write_bytes(b"half")
    await stage.backups().make()
    assert stage.left_over() == []
    assert len(stage.files()) == 1


async def identity(stage: Stage) -> str:
    found = await stage.store.identity()
    assert found is not None
    return found


async def test_backups_that_are_missed_ring_until_there_is_one(stage: Stage) -> None:
    backups = stage.backups()
    stage.now += 2.4 * 3600
    assert await backups.watch() == "There is no backup that was verified."
    assert stage.ringing() == [], "two turns and half an hour may pass"
    stage.now += 0.2 * 3600
    await backups.watch()
    assert stage.ringing() == ["backup_old"]
    await backups.make()
    assert stage.ringing() == []
    stage.now += 1.8 * 3600  # 04:24; it was due at 03:00 and at 04:00
    assert await backups.watch() == "The newest verified backup is 1 h 48 min old."
    assert stage.ringing() == []
    stage.now += 0.2 * 3600
    await backups.watch()
    assert stage.ringing() == ["backup_old"]


async def test_a_backup_of_a_moment_to_come_reassures_nobody_and_takes_no_others_place(
    stage: Stage,
) -> None:
    began = stage.now
    stage.now += 400 * 86400  # the clock was ahead, also when the supervisor started
    backups = stage.backups()
    await backups.make()
    ahead = stage.files()
    stage.now = began
    with capture_logs() as lines:
        assert await backups.watch() == "There is no backup that was verified."
        await backups.watch()
    assert [line["action"] for line in lines] == ["backup_to_come"], "once"
    view = await backups.view()
    assert (view.kept, view.last_verified_at) == (1, None)
    assert ahead[0].name in (view.problem or "")
    stage.now += 2.6 * 3600
    await backups.watch()
    assert stage.ringing() == ["backup_old"]
    await backups.make()
    assert stage.ringing() == []
    assert (await backups.view()).last_verified_at == iso(stage.now)
    assert set(ahead) < set(stage.files())


async def test_a_directory_that_cannot_be_read_is_said_to_be_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Shelf) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Shelf, "backups", refused)
    view = await stage.backups().view()
    assert (view.problem, view.last_verified_at) == ("Permission denied", None)
    assert await backups_of(stage.backups())() is None, "a report says that it is not known"


async def test_installations_that_share_a_directory_leave_each_others_backups_alone(
    stage: Stage,
) -> None:
    stage.directory.mkdir()
    other = stage.directory / "wasup-deadbeef-2020-01-01T00-00-00Z.db"
    other.write_bytes(b"another's")
    await stage.backups().make()
    assert other.exists()
    assert (await stage.backups().view()).kept == 1
    assert [one.file for one in Shelf(stage.directory, "deadbeefdeadbeef").backups()] == [other]
