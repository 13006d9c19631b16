"""The fleet: which sessions there are. Each runs as its own task, and what befalls one leaves the others alone."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace

import structlog

from sessions import refusals
from sessions.events import Command, Restore
from sessions.model import SessionExists, SessionId, SessionNotFound, StoreError
from sessions.policy import Config, correlated_reasons
from sessions.proxy import Proxy
from sessions.session import Session
from sessions.store import ArchiveRow, SessionRow
from sessions.surroundings import Surroundings
from sessions.wire import KeyEntry
from supervisor.feed import Feed
from supervisor.gate import Gate
from supervisor.gate_view import GateView, HoldView
from supervisor.host.readings import Host, Sampler

log = structlog.get_logger("fleet")


class Fleet:
    """All sessions by id."""

    def __init__(
        self,
        around: Surroundings,
        gate: Gate,
        feed: Feed,
        host: Sampler | None = None,
        origin_runs: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        """`origin_runs`: who runs where the backup was made that the store was filled from, if anybody does."""
        self._origin_runs = origin_runs
        self._around = around
        self._gate = gate
        self._feed = feed
        self._sessions: dict[SessionId, Session] = {}
        self._tasks: dict[SessionId, asyncio.Task[None]] = {}
        self._reserved: set[SessionId] = set()
        self.host: Sampler = host or Host()
        gate.on_excused = self._excuse
        self.ready = False
        """Whether the stored sessions have been taken up, and the program is not stopping."""

    async def open(self) -> None:
        """Take up the stored sessions: what was started comes back, what was stopped by hand stays stopped."""
        rows = await self._around.store.sessions()
        self._around.workers.dismiss_unclaimed({row.id for row in rows if row.wanted})
        for row in rows:
            self._run(row)
        self.ready = True

    async def close(self, detach: bool = False) -> None:
        """Stop every session's worker, all at once, or let them live on for our successor (`detach`); what is wanted stays as it is."""
        self.ready = False
        farewell = Command.LEAVE if detach else Command.RETIRE
        await asyncio.gather(*(_retire(session, farewell) for session in self._sessions.values()))
        await asyncio.gather(*self._tasks.values())

    def sessions(self) -> Collection[Session]:
        """All sessions, oldest first."""
        return self._sessions.values()

    def get(self, session: SessionId) -> Session:
        """A session. Raises SessionNotFound."""
        try:
            return self._sessions[session]
        except KeyError:
            raise SessionNotFound(f"There is no session {session!r}.") from None

    async def start(self, session: SessionId) -> None:
        """Start a session. Raises SessionNotFound, StoreError, and Refused: the installation that it was restored from still runs."""
        found = self.get(session)
        await self._must_be_alone(found)
        await found.ask(Command.START)

    async def _must_be_alone(self, session: Session) -> None:
        if session.restored and self._origin_runs is not None and (who := await self._origin_runs()) is not None:
            raise refusals.runs_elsewhere(session.id, who)

    async def restore(self, session: SessionId, archive: int | None, start: bool) -> ArchiveRow:
        """Put archived credentials back; a deleted session comes back with them. Raises Refused, NoArchive, StoreError."""
        if start and session in self._sessions:
            await self._must_be_alone(self._sessions[session])
        if session in self._sessions:
            restored: ArchiveRow = await self._sessions[session].ask(Restore(archive, start))
            return restored
        with self._reserve(session):
            restored, row = await self._around.store.restore_session(session, archive, wanted=start)
            back = self._run(row)
        self._feed.publish(session, "created", {"started": start})
        if start:
            await back.ask(Command.START)  # nothing new to it, but now it has begun
        return restored

    async def import_credentials(
        self, session: SessionId, entries: Sequence[KeyEntry], start: bool, proxy: Proxy | None = None
    ) -> Session:
        """Add a session that was paired elsewhere, with its credentials. Raises SessionExists, StoreError."""
        with self._reserve(session):
            try:
                row = await self._around.store.import_session(session, entries, start, proxy)
            except SessionExists:
                self._run(await self._row(session))  # stored by a call that was told that it may not have been
                raise
            imported = self._run(row)
        self._feed.publish(session, "created", {"started": start})
        return imported

    async def create(self, session: SessionId, start: bool, proxy: Proxy | None = None) -> Session:
        """Add a session, and start it unless told not to. Raises SessionExists."""
        with self._reserve(session):
            try:
                row = await self._around.store.create_session(session, start, proxy)
            except SessionExists:
                row = await self._row(session)  # stored by a call that was told that it may not have been
        self._feed.publish(session, "created", {"started": start})
        created = self._run(row)
        if start:
            await created.ask(Command.START)  # nothing new to it, but now it has begun
        return created

    async def delete(self, session: SessionId, purge: bool) -> None:
        """Stop a session and remove it: its credentials are archived, or destroyed when `purge`. Raises SessionNotFound, StoreError."""
        self.get(session)
        await self._around.store.must_write()  # before anything is closed that could then not be deleted
        leaving = self.get(session)
        row = leaving.row()
        await leaving.ask(Command.RETIRE)
        await self._tasks.pop(session)
        try:
            await self._around.store.delete_session(session, purge)
        except StoreError:
            self._run(row, purge)  # nothing was deleted: it goes on; or it was after all, and it will find out
            raise
        self._remove(session, purge)

    def follow(self, policy: Config) -> None:
        """Every session, and each that is added later, judges by this policy from its next close on."""
        self._around = replace(self._around, config=replace(self._around.config, policy=policy))
        self._gate.follow(correlated_reasons(policy.rules))
        for session in self._sessions.values():
            session.follow(policy)

    def gate(self) -> GateView:
        """The gate's state."""
        return self._gate.view()

    def hold_of(self, session: SessionId) -> HoldView | None:
        """The hold that a session is under, if it is under one."""
        return self._gate.hold_of(session)

    def outcomes(self) -> tuple[int, int]:
        """Failed and all operations of the last minutes, of all sessions."""
        outcomes = [session.outcomes() for session in self._sessions.values()]
        return sum(failed for failed, _ in outcomes), sum(total for _, total in outcomes)

    def _excuse(self, sessions: Collection[SessionId]) -> None:
        for session in sessions:
            if session in self._sessions:
                self._sessions[session].excuse()

    @contextlib.contextmanager
    def _reserve(self, session: SessionId) -> Iterator[None]:
        """Nobody else may add a session of this name meanwhile. Raises SessionExists."""
        if session in self._sessions or session in self._reserved:
            raise SessionExists(f"There is a session {session!r} already.")
        self._reserved.add(session)
        try:
            yield
        finally:
            self._reserved.discard(session)

    async def _row(self, session: SessionId) -> SessionRow:
        return next(row for row in await self._around.store.sessions() if row.id == session)

    def _run(self, row: SessionRow, purged_perhaps: bool = False) -> Session:
        session = Session(row, self._around)
        self._sessions[row.id] = session
        self._tasks[row.id] = task = asyncio.create_task(session.run(), name=f"session {row.id}")
        task.add_done_callback(lambda _: self._on_end(session, purged_perhaps))
        return session

    def _on_end(self, session: Session, purged: bool) -> None:
        """Its task has ended. If nobody retired it, its deletion was durable after all."""
        if session.vanished and self._sessions.get(session.id) is session:
            self._tasks.pop(session.id, None)
            self._remove(session.id, purged)

    def _remove(self, session: SessionId, purged: bool) -> None:
        del self._sessions[session]
        if purged:
            self._feed.forget(session)
        self._around.publish(session, "deleted", {"purged": purged})  # with it end the alerts that it had


async def _retire(session: Session, farewell: Command) -> None:
    with contextlib.suppress(SessionNotFound):  # it is being deleted just now, and retires by itself
        await session.ask(farewell)
