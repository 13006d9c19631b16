"""The work of the jobs: make a backup and rehearse its restore, look whether those that are kept
are still what they were, and tell when there is none that can be relied on.
"""

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from sessions.store import Store
from sessions.store.backups.backup import BackupReport
from sessions.store.backups.rehearsal import Rehearsal
from sessions.views.times import duration, iso
from supervisor.alerts.alerts import Alerts
from supervisor.upkeep.backups import process
from supervisor.upkeep.backups.hand import DirectorySilent, Hand
from supervisor.upkeep.backups.keeping import DOUBTFUL, Keep, kept
from supervisor.upkeep.backups.shelf import Backup, Record, Shelf
from supervisor.upkeep.jobs import JobFailed
from supervisor.upkeep.schedule import Schedule

ROOM: Final = 4
"""So many times its own size a backup takes for a while: itself, and its rehearsal."""
TURNS: Final = 2
"""Turns of its schedule that may pass without a backup that was verified ..."""
GRACE_SECONDS: Final = 1800.0
"""... and so long after the last of them: a large store takes its time."""
LOOK_SECONDS: Final = 5.0
"""A directory that does not answer within this is told as one that cannot be read."""
COUNTED: Final = ("sessions", "keys", "archives", "events")
CORRUPT: Final = (
    "The backup {name} cannot be relied on: {why} It would be missed on the day when it is needed:"
    " look at `wasup store verify` and at the disk, then `wasup upkeep run backups`."
)
ROOM_HINT: Final = (
    "Make room, keep fewer (WHATSAPP_BACKUP_KEEP_*), or put them elsewhere (WHATSAPP_BACKUP_DIR)."
)
TO_COME: Final = (
    "{names} of a moment to come, made while the clock was ahead, and not counted on until then."
    " Look at the clock (`date`); what is of no use can be deleted."
)

log = structlog.get_logger("backups")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupConfig:
    """What the operator says. `most_used`: of their file system, a fraction of 1, that a backup may
    leave in use.
    """

    directory: Path
    schedule: Schedule
    keep: Keep
    most_used: float


class BackupsView(msgspec.Struct, frozen=True, rename="camel"):
    """The backups by the clock.

    `last_verified_at`: the moment that the newest one is of that could be restored: what has come
    after it would be lost (RPO). `last_restore_seconds`: what restoring the newest took (RTO).
    Null: there is none. `problem`: why the directory cannot be read, or which backups are not
    counted on, as they are of a moment to come.
    """

    directory: str
    kept: int
    bytes: int
    last_verified_at: str | None
    last_restore_seconds: float | None
    problem: str | None = None


class Backups:
    """The backups of the store that is open."""

    def __init__(
        self,
        config: BackupConfig,
        store: Store,
        alerts: Alerts,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._store = store
        self._alerts = alerts
        self._now = now
        self._since = now()
        self._hand = Hand(config.directory)
        self._known: Shelf | None = None
        self._told_to_come: str | None = None

    async def view(self) -> BackupsView:
        """What there is, or why nobody can say. Raises StoreUnavailable."""
        try:
            return await self.seen()
        except OSError as error:
            problem = error.strerror or str(error)
            return BackupsView(str(self._config.directory), 0, 0, None, None, problem)

    async def seen(self) -> BackupsView:
        """What there is. Raises StoreUnavailable, OSError: then nobody can say."""
        shelf = await self._shelf()
        found = await self._hand.do(shelf.backups, LOOK_SECONDS)
        newest = _newest_good(found, self._now())
        record = None if newest is None else newest.record
        return BackupsView(
            directory=str(self._config.directory),
            kept=len(found),
            bytes=sum(backup.record.file_bytes for backup in found if backup.record is not None),
            last_verified_at=None if record is None else record.made_at,
            last_restore_seconds=None if record is None else record.restore_seconds,
            problem=_to_come(found, self._now()),
        )

    # --- making one -------------------------------------------------------------------------------

    async def make(self) -> str:
        """Make a backup, rehearse its restore, and drop those that are not kept any longer.

        Raises JobFailed, StoreUnavailable, OSError; then all that were there still are.
        """
        shelf = await self._shelf()
        await self._must_have_room(shelf)
        made_at = self._now()
        workspace = await self._hand.do(shelf.begin)
        try:
            file = workspace / "backup.db"
            made = await self._copied(file)
            rehearsal, trouble = await self._rehearsed(file, made)
            status = await self._hand.do(file.stat)
            record = _record(made_at, self._now(), status.st_size, rehearsal)
            kept_as = await self._hand.do(partial(shelf.put, file, record))
        finally:
            with contextlib.suppress(DirectorySilent):  # the next one removes what is left
                await self._hand.do(shelf.end)
        dropped = await self._hand.do(partial(self._drop_old, shelf))
        await self._judge(shelf)
        if rehearsal is None:
            raise JobFailed(
                f"{kept_as} was made, but whether it can be restored is not known: {trouble}",
                f"Try `wasup store verify {kept_as} --rehearse`.",
            )
        if rehearsal.wrong:
            raise JobFailed(_corrupt(kept_as.name, rehearsal.wrong), "", told=True)
        return (
            f"{kept_as.name} ({_mebibytes(record.file_bytes)}) holds {rehearsal.sessions} sessions"
            f" and {rehearsal.events} events; restoring it took"
            f" {duration(rehearsal.restore_seconds or 0)}. {dropped} older ones were dropped."
        )

    async def _copied(self, file: Path) -> BackupReport:
        ended = await process.wasup("store", "backup", str(file), "--json")
        if ended.status != 0:
            raise JobFailed(f"No backup was made: {ended.trouble}", "Those before it are kept.")
        return msgspec.json.decode(ended.output, type=BackupReport)

    async def _rehearsed(self, file: Path, made: BackupReport) -> tuple[Rehearsal | None, str]:
        """What came of it; or None, and why nobody knows."""
        ended = await process.wasup("store", "verify", str(file), "--rehearse", "--json")
        try:
            found = msgspec.json.decode(ended.output, type=Rehearsal)
        except msgspec.MsgspecError:
            return None, ended.trouble
        if not found.wrong:
            lost = [
                f"It was made with {getattr(made, name)} {name}, and {getattr(found, name)} came"
                " back."
                for name in COUNTED
                if getattr(made, name) != getattr(found, name)
            ]
            found = msgspec.structs.replace(found, wrong=lost)
        return found, ""

    async def _must_have_room(self, shelf: Shelf) -> None:
        found = await self._hand.do(shelf.backups)
        sizes = [backup.record.file_bytes for backup in found[-1:] if backup.record is not None]
        needed = ROOM * max(await self._store.tidying.size_bytes(), *sizes, 0)
        disk = await self._hand.do(partial(_usage, self._config.directory))
        if disk.total - disk.free + needed > self._config.most_used * disk.total:
            raise JobFailed(
                f"There is not enough room in {self._config.directory}: a backup and its rehearsal"
                f" take {_mebibytes(needed)} for a while, {_mebibytes(disk.free)} are free, and"
                f" {1 - self._config.most_used:.0%} of the disk stay so"
                " (WHATSAPP_DISK_CRITICAL_THRESHOLD).",
                ROOM_HINT,
            )

    def _drop_old(self, shelf: Shelf) -> int:
        found, now = shelf.backups(), self._now()
        past = [backup for backup in found if backup.made_at <= now]
        stay = kept(
            (backup.made_at for backup in past if backup.good),
            (backup.made_at for backup in past if not backup.good),
            self._config.keep,
            self._config.schedule.zone,
        )
        # those of a moment to come take no place of others
        stay.update(backup.made_at for backup in found[-DOUBTFUL:] if backup.made_at > now)
        going = [backup for backup in found if backup.made_at not in stay]
        for backup in going:
            shelf.remove(backup)
        return len(going)

    # --- looking after them -----------------------------------------------------------------------

    async def check(self) -> str:
        """See whether each is still what it was when it was restored; one that is not is never
        counted on again. Raises JobFailed, StoreUnavailable, OSError.
        """
        shelf, damaged = await self._shelf(), 0
        found = [one for one in await self._hand.do(shelf.backups) if one.record is not None]
        for backup in found:
            assert backup.record is not None
            if (why := await self._changed(backup.file, backup.record)) is not None:
                damaged += 1
                record = msgspec.structs.replace(backup.record, verified_at=None, wrong=[why])
                await self._hand.do(partial(shelf.note, backup.file, record))
        await self._judge(shelf)
        if damaged:
            raise JobFailed(
                f"{damaged} of {len(found)} backups are damaged: see the alert.", "", told=True
            )
        return f"{len(found)} backups are what they were."

    async def _changed(self, file: Path, record: Record) -> str | None:
        """Why a backup is not what it was; None: it is, or is gone by now."""
        ended = await process.gentle("sha256sum", "--", str(file))
        if not await self._hand.do(file.exists):
            return None
        if ended.status != 0:
            return f"It cannot be read: {ended.trouble}."
        digest = ended.output.split()[0].removeprefix(b"\\").decode(errors="replace")
        if digest != record.sha256:
            return f"It is not what was written at {record.made_at}: it has changed since."
        return None

    async def watch(self) -> str:
        """Tell of what is wrong with them, and of its end. Raises StoreUnavailable, OSError."""
        newest = await self._judge(await self._shelf())
        if newest is None:
            return "There is no backup that was verified."
        return f"The newest verified backup is {duration(self._now() - newest.made_at)} old."

    async def _judge(self, shelf: Shelf) -> Backup | None:
        found = await self._hand.do(shelf.backups)
        newest = _newest_good(found, self._now())
        if (to_come := _to_come(found, self._now())) != self._told_to_come:
            self._told_to_come = to_come
            if to_come is not None:
                log.warning(to_come, action="backup_to_come")
        wrong = {
            one.file.name: one.record.wrong for one in found if one.record and one.record.wrong
        }
        for name, why in wrong.items():
            words = _corrupt(name, why)
            self._alerts.begin(None, "backup_corrupt", words, "critical", about=name)
        for alert in self._alerts.active():
            if alert.name == "backup_corrupt" and alert.about not in wrong:
                words = f"The backup {alert.about} is there no more."
                self._alerts.end(None, "backup_corrupt", words, about=alert.about)
        self._judge_age(newest)
        return newest

    def _judge_age(self, newest: Backup | None) -> None:
        now = self._now()
        self._since = min(self._since, now)  # the clock may have been set since
        since = self._since if newest is None else newest.made_at
        due = self._config.schedule.turns_after(since, TURNS)
        age = now - since
        if due is None or now < due + GRACE_SECONDS:
            words = f"The newest verified backup is {duration(age)} old."
            self._alerts.end(None, "backup_old", words, round(age))
            return
        which = (
            "No backup was made and verified since the supervisor's start"
            if newest is None
            else f"The newest backup that was verified is of {iso(newest.made_at)}"
        )
        words = (
            f"{which}, {duration(age)} ago, and they are due by `{self._config.schedule.text}`:"
            " what has come since would be lost. `wasup upkeep list` says why, `wasup upkeep run"
            " backups` makes one now."
        )
        limit = round(due + GRACE_SECONDS - since)
        self._alerts.begin(None, "backup_old", words, "warning", round(age), limit)

    async def _shelf(self) -> Shelf:
        if self._known is None:
            store = await self._store.identity()
            self._known = Shelf(self._config.directory, store or "new")
        return self._known


def _record(made_at: float, now: float, size: int, rehearsal: Rehearsal | None) -> Record:
    if rehearsal is None:
        return Record(iso(made_at), size, "", 0, 0, None, None, [])
    return Record(
        made_at=iso(made_at),
        file_bytes=rehearsal.file_bytes,
        sha256=rehearsal.sha256,
        sessions=rehearsal.sessions,
        values=rehearsal.values,
        verified_at=None if rehearsal.wrong else iso(now),
        restore_seconds=rehearsal.restore_seconds,
        wrong=rehearsal.wrong[:10],
    )


def _newest_good(found: list[Backup], now: float) -> Backup | None:
    """Of those that are of the past: another's age says nothing of what would be lost."""
    return next((one for one in reversed(found) if one.good and one.made_at <= now), None)


def _to_come(found: list[Backup], now: float) -> str | None:
    """In words, which backups are of a moment to come; None: none is."""
    names = [backup.file.name for backup in found if backup.made_at > now]
    if not names:
        return None
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    return TO_COME.format(names=f"{names[0]}{more}")


def _corrupt(name: str, wrong: list[str]) -> str:
    more = f" (and {len(wrong) - 1} things more)" if len(wrong) > 1 else ""
    return CORRUPT.format(name=name, why=f"{wrong[0].rstrip('.')}{more}.")


def _usage(directory: Path) -> Any:
    """Of the file system on which it is, or will be."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory)


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"
