"""A store in memory, and the records it keeps of incidents."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from sessions.credentials.proxy import Proxy
from sessions.model import (
    NoArchive,
    SameDevice,
    SessionExists,
    SessionId,
    SessionNotFound,
    StaleEpoch,
    StoreUnavailable,
)
from sessions.records.changes import Changes
from sessions.records.incidents import Incident, Span
from sessions.store import ArchiveRow, Restored, SessionRow, StoredEvent, StoreHealth
from sessions.store.writing.writer import IMPATIENT_SECONDS
from sessions.workers.wire import KeyEntry
from tests.fakes.clock import EPOCH


class FakeRecords:
    """Incidents by their begin, and the moves between open, down and off."""

    def __init__(self) -> None:
        self.silent_since: float | None = None
        self.lasting: Mapping[str, Span] = {}
        self.saved: dict[tuple[str | None, str, float], Incident] = {}
        self.moves: deque[tuple[str, str, float]] = deque(maxlen=10_000)
        self.alive = 0

    def save_incident(self, incident: Incident) -> None:
        self.saved[incident.session, incident.scope, incident.began_at] = incident
        if len(self.saved) > 10_000:  # as the real ones: pruned
            del self.saved[next(iter(self.saved))]

    def say_alive(self) -> None:
        self.alive += 1

    def move(self, session: str, state: str, at: float) -> None:
        self.moves.append((session, state, at))

    @property
    def incidents(self) -> list[Incident]:
        return list(self.saved.values())


class FakeStore:
    """The store's part that sessions use, in memory.

    `failing`: reads and all that somebody waits for are refused; what can wait waits, and is made
    in order when it fails no more. `late_seconds`: answers take so long, and beyond the real one's
    patience they do not come.
    """

    def __init__(self) -> None:
        self._failing = False
        self._waiting: list[tuple[asyncio.Future[None], Callable[[], Exception | None]]] = []
        self.late_seconds = 0.0
        self.known = True
        """It is known to fail (else only this session's operations do)."""
        self.writes: list[str] = []
        self.rows: dict[str, SessionRow] = {}
        self.devices: dict[str, str] = {}
        """Linked devices that other sessions are."""
        self.first_epoch = 0
        self.proxies: dict[str, Proxy | None] = {}
        self.auth: dict[tuple[str, str, str], bytes] = {}
        self.archives: list[tuple[int, str, str, dict[tuple[str, str], bytes]]] = []
        self.records = FakeRecords()

    @property
    def failing(self) -> bool:
        return self._failing

    @failing.setter
    def failing(self, failing: bool) -> None:
        self._failing = failing
        while not self._failing and self._waiting:
            future, write = self._waiting.pop(0)
            if not future.done():
                _settle(future, write())

    def forget_waiting(self) -> None:
        """The supervisor is gone, and with it what was not written yet."""
        self._waiting.clear()

    @property
    def health(self) -> StoreHealth:
        state: Literal["ok", "failing"] = "failing" if self.failing and self.known else "ok"
        return StoreHealth(state, None, 0.0, 0, 0, "")

    async def sessions(self) -> list[SessionRow]:
        await self._answer()
        return sorted(self.rows.values(), key=lambda row: (row.created_at, row.id))

    async def create_session(
        self, session: SessionId, wanted: bool, proxy: Proxy | None = None
    ) -> SessionRow:
        await self._answer()
        if session in self.rows:
            raise SessionExists
        row = SessionRow(
            session,
            wanted,
            self.first_epoch,
            None,
            None,
            None,
            EPOCH + len(self.rows),
            proxy.name if proxy else None,
        )
        self.rows[session] = row
        self.proxies[session] = proxy
        return row

    async def delete_session(self, session: SessionId, purge: bool) -> None:
        await self._answer()
        if purge:
            self.archives = [archive for archive in self.archives if archive[1] != session]
            self._take_auth(session)
        else:
            self._archive(session, "deleted")
        row = self.rows.pop(session, None)
        if row is not None:
            self.first_epoch = max(self.first_epoch, row.epoch + 1)

    def set_wanted(self, session: SessionId, wanted: bool) -> asyncio.Future[None]:
        if self.failing:
            return _settled(StoreUnavailable("The disk is full."))
        return self._update(session, "wanted", wanted=wanted)

    def commit(self, changes: Changes) -> asyncio.Future[StoredEvent | None]:
        """All of it at once, as the real one; events are in no log here."""

        def write() -> Exception | None:
            if changes.incident is not None:
                self.records.save_incident(changes.incident)
            if changes.move is not None:
                self.records.move(changes.session, *changes.move)
            if changes.memory is not None:
                self._set(changes.session, "memory", memory=changes.memory())
            return None

        return self._patiently(write)  # type: ignore[return-value]

    def save_identity(self, session: SessionId, jid: str, name: str | None) -> asyncio.Future[None]:
        def write() -> Exception | None:
            self._set(session, "identity", jid=jid, name=name)
            owner = self.devices.get(jid)
            return None if owner is None else SameDevice(session, owner, jid)

        return self._patiently(write)

    async def claim_device(self, session: SessionId, device: str | None) -> None:
        await self._answer()
        if device is not None and device in self.devices:
            raise SameDevice(session, self.devices[device], device)

    async def set_proxy(self, session: SessionId, proxy: Proxy | None) -> None:
        await self._answer()
        self.proxies[session] = proxy
        self.rows[session] = msgspec.structs.replace(
            self.rows[session], proxy=proxy.name if proxy else None
        )

    async def proxy(self, session: SessionId) -> Proxy | None:
        await self._answer()
        return self.proxies.get(session)

    async def raise_epoch(self, session: SessionId) -> int:
        await self._answer()
        if session not in self.rows:
            raise SessionNotFound
        row = self.rows[session]
        self.rows[session] = msgspec.structs.replace(row, epoch=row.epoch + 1)
        return row.epoch + 1

    async def creds(self, session: SessionId) -> bytes | None:
        return (await self.read_keys(session, "creds", ["creds"])).get("creds")

    async def read_keys(self, session: str, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        await self._answer()
        return {
            name: self.auth[session, kind, name]
            for name in names
            if (session, kind, name) in self.auth
        }

    async def inbound(self, session: str, most_bytes: int) -> dict[str, bytes]:
        await self._answer()
        mine = {
            name: value
            for (of, kind, name), value in self.auth.items()
            if (of, kind) == (session, "inbound")
        }
        assert sum(map(len, mine.values())) <= most_bytes
        return mine

    def write_keys(
        self, session: str, epoch: int, entries: Sequence[KeyEntry]
    ) -> asyncio.Future[None]:
        def write() -> Exception | None:
            current = self.rows[session].epoch if session in self.rows else None
            if current != epoch:
                return StaleEpoch(f"{session} is at epoch {current}, not {epoch}")
            self.writes.append("keys")
            for entry in entries:
                if entry.deleted:
                    self.auth.pop((session, entry.kind, entry.name), None)
                else:
                    self.auth[session, entry.kind, entry.name] = bytes(entry.value)
            return None

        return self._patiently(write)

    def archive_credentials(
        self, session: SessionId, reason: str, *, memory: bytes, wanted: bool
    ) -> asyncio.Future[None]:
        def write() -> Exception | None:
            self._archive(session, reason)
            if session in self.rows:
                epoch = self.rows[session].epoch + 1
                self._set(
                    session,
                    "archive",
                    epoch=epoch,
                    jid=None,
                    name=None,
                    memory=memory,
                    wanted=wanted,
                )
            return None

        return self._patiently(write)

    async def must_write(self) -> None:
        await self._answer()

    async def snapshot(self, session: SessionId, reason: str) -> bool:
        await self._answer()
        self.writes.append("snapshot")
        creds = self.auth.get((session, "creds", "creds"))
        if creds is not None:
            self.archives.append(
                (len(self.archives) + 1, session, reason, {("creds", "creds"): creds})
            )
        return creds is not None

    async def restore_session(
        self, session: SessionId, archive: int | None, *, wanted: bool
    ) -> Restored:
        await self._answer()
        mine = [kept for kept in self.archives if kept[1] == session and archive in {None, kept[0]}]
        if not mine:
            raise NoArchive(f"There is no archive {archive} of {session}.")
        number, _, reason, entries = mine[-1]
        self._archive(session, "before_restore")
        self.auth |= {(session, kind, name): value for (kind, name), value in entries.items()}
        if session not in self.rows:
            await self.create_session(session, wanted=False)
        row = self.rows[session]
        self.rows[session] = msgspec.structs.replace(
            row, epoch=row.epoch + 1, memory=None, jid=None, name=None, wanted=wanted
        )
        return Restored(
            ArchiveRow(number, session, EPOCH, reason, True, len(entries)), self.rows[session]
        )

    async def archived(self, session: str) -> list[tuple[int, str]]:
        return [(number, reason) for number, of, reason, _ in self.archives if of == session]

    def _archive(self, session: str, reason: str) -> None:
        mine = self._take_auth(session)
        if mine:
            self.archives.append((len(self.archives) + 1, session, reason, mine))

    def _take_auth(self, session: str) -> dict[tuple[str, str], bytes]:
        mine = {key[1:]: value for key, value in self.auth.items() if key[0] == session}
        self.auth = {key: value for key, value in self.auth.items() if key[0] != session}
        return {(kind, name): value for (kind, name), value in mine.items()}

    def _update(self, session: SessionId, what: str, **values: object) -> asyncio.Future[None]:
        return self._patiently(lambda: self._set(session, what, **values))

    def _set(self, session: SessionId, what: str, **values: object) -> None:
        if session in self.rows:
            self.writes.append(what)
            self.rows[session] = msgspec.structs.replace(self.rows[session], **values)

    def _patiently(self, write: Callable[[], Exception | None]) -> asyncio.Future[None]:
        """What can wait, as the real one does it: in order, once the store can write."""
        if not self.failing:
            return _settled(write())
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, write))
        return future

    async def _answer(self) -> None:
        """What somebody waits for: late, or refused."""
        if self.late_seconds:
            await asyncio.sleep(min(self.late_seconds, IMPATIENT_SECONDS))
        if self.failing or self.late_seconds >= IMPATIENT_SECONDS:
            raise StoreUnavailable("The disk is full.")


def _settled(error: Exception | None) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _settle(future, error)
    return future


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # as the real one: nobody has to await a write
