"""The fleet: which sessions there are.

Each runs as its own task, and what befalls one leaves the others alone.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from sessions.credentials.proxy import Proxy
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Command, Restore
from sessions.lifecycle.session import Session
from sessions.model import (
    AlertChange,
    SessionExists,
    SessionId,
    SessionNotFound,
    StoreError,
    WasupError,
)
from sessions.policy import Config, correlated_reasons
from sessions.store import ArchiveRow, SessionRow
from sessions.views import refusals
from sessions.views.events import SessionCreated, SessionDeleted
from sessions.workers.wire import KeyEntry
from supervisor.fleet.feed import Feed
from supervisor.gate.gate import Gate
from supervisor.gate.view import GateView, PauseView
from supervisor.host.reading.readings import Host, Sampler

FAREWELL_SECONDS: Final = 5.0
"""How long a session that has answered its farewell may take to end its task: it has nothing to do
any more.
"""
REVIVED: Final = (
    "The session's task has ended although nobody asked it to; it begins anew. See the supervisor's"
    " log."
)

log = structlog.get_logger("fleet")


class Fleet:
    """All sessions by id."""

    def __init__(
        self,
        dependencies: Dependencies,
        gate: Gate,
        feed: Feed,
        host: Sampler | None = None,
        origin_runs: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        """`origin_runs`: who runs where the backup was made that the store was filled from, if
        anybody does.
        """
        self._origin_runs = origin_runs
        self._dependencies = dependencies
        self._gate = gate
        self._feed = feed
        self._sessions: dict[SessionId, Session] = {}
        self._tasks: dict[SessionId, asyncio.Task[None]] = {}
        self._reserved: set[SessionId] = set()
        self._leaving: set[SessionId] = set()
        """Being deleted: their tasks end, and nobody takes them up again."""
        self.host: Sampler = host or Host()
        self.ready = False
        """Whether the stored sessions have been taken up, and the program is not stopping."""

    async def open(self) -> None:
        """Take up the stored sessions: what was started comes back, what was stopped by hand stays
        stopped.
        """
        rows = await self._dependencies.store.sessions()
        self._dependencies.workers.terminate_unclaimed({row.id for row in rows if row.wanted})
        for row in rows:
            self._run(row)
        self.ready = True

    async def close(self, detach: bool = False) -> None:
        """Stop every session's worker, all at once, or let them live on for our successor
        (`detach`); what is wanted stays as it is.
        """
        self.ready = False
        farewell = Command.LEAVE if detach else Command.RETIRE
        self._leaving |= set(self._sessions)
        await asyncio.gather(*(_retire(session, farewell) for session in self._sessions.values()))
        if not self._tasks:
            return
        _, left = await asyncio.wait(self._tasks.values(), timeout=FAREWELL_SECONDS)
        for task in left:
            # it is told to leave, and cannot: its worker is ended, or left, with all the others
            log.critical(
                "a session does not end", action="session_does_not_end", task=task.get_name()
            )
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=FAREWELL_SECONDS)

    def sessions(self) -> Collection[Session]:
        """All sessions, oldest first."""
        return self._sessions.values()

    def get(self, session: SessionId) -> Session:
        """A session. Raises SessionNotFound."""
        try:
            return self._sessions[session]
        except KeyError:
            raise SessionNotFound(f"There is no session {session!r}.") from None

    def worker_pid(self, session: SessionId) -> int | None:
        """The process of a session's worker; None: it has none, or is deleted."""
        found = self._sessions.get(session)
        worker = None if found is None else found.worker
        return None if worker is None else worker.pid

    async def start(self, session: SessionId) -> None:
        """Start a session.

        Raises SessionNotFound, StoreError, and Refused: the installation that it was restored from
        still runs.
        """
        found = self.get(session)
        await self._must_be_alone(found)
        await found.ask(Command.START)

    async def _must_be_alone(self, session: Session) -> None:
        if (
            session.restored
            and self._origin_runs is not None
            and (who := await self._origin_runs()) is not None
        ):
            raise refusals.runs_elsewhere(session.id, who)

    async def restore(self, session: SessionId, archive: int | None, start: bool) -> ArchiveRow:
        """Put archived credentials back; a deleted session comes back with them.

        Raises Refused, NoArchive, StoreError.
        """
        if start and session in self._sessions:
            await self._must_be_alone(self._sessions[session])
        if session in self._sessions:
            restored: ArchiveRow = await self._sessions[session].ask(Restore(archive, start))
            return restored
        with self._reserve(session):
            restored, row = await self._dependencies.store.restore_session(
                session, archive, wanted=start
            )
            back = self._run(row)
        self._dependencies.publish(session, SessionCreated(start))
        if start:
            await back.ask(Command.START)  # nothing new to it, but now it has begun
        return restored

    async def import_credentials(
        self,
        session: SessionId,
        entries: Sequence[KeyEntry],
        start: bool,
        proxy: Proxy | None = None,
    ) -> Session:
        """Add a session that was paired elsewhere, with its credentials.

        Raises SessionExists, StoreError.
        """
        with self._reserve(session):
            try:
                row = await self._dependencies.store.import_session(session, entries, start, proxy)
            except SessionExists:
                # stored by a call that was told that it may not have been
                self._run(await self._row(session))
                raise
            imported = self._run(row)
        self._dependencies.publish(session, SessionCreated(start))
        return imported

    async def create(self, session: SessionId, start: bool, proxy: Proxy | None = None) -> Session:
        """Add a session, and start it unless told not to. Raises SessionExists."""
        with self._reserve(session):
            try:
                row = await self._dependencies.store.create_session(session, start, proxy)
            except SessionExists:
                row = await self._completed(session, start, proxy)
        self._dependencies.publish(session, SessionCreated(start))
        created = self._run(row)
        if start:
            await created.ask(Command.START)  # nothing new to it, but now it has begun
        return created

    async def delete(self, session: SessionId, purge: bool) -> None:
        """Stop a session and remove it: its credentials are archived, or destroyed when `purge`.

        Raises SessionNotFound, StoreError.
        """
        self.get(session)
        # before anything is closed that could then not be deleted
        await self._dependencies.store.must_write()
        leaving = self.get(session)
        row = leaving.row()
        self._leaving.add(session)
        try:
            await leaving.ask(Command.RETIRE)
            await asyncio.wait([self._tasks.pop(session)])
            await self._dependencies.store.delete_session(session, purge)
        except StoreError:
            # nothing was deleted: it goes on; or it was after all, and it will find out
            self._run(row, purge)
            raise
        finally:
            self._leaving.discard(session)
        self._remove(session, purge)

    def follow(self, policy: Config) -> None:
        """Every session, and each that is added later, judges by this policy from its next close
        on.
        """
        self._dependencies = replace(
            self._dependencies, config=replace(self._dependencies.config, policy=policy)
        )
        self._gate.follow(correlated_reasons(policy.rules))
        for session in self._sessions.values():
            session.follow(policy)

    def gate(self) -> GateView:
        """The gate's state."""
        return self._gate.view()

    def pause_of(self, session: SessionId) -> PauseView | None:
        """The pause that a session is under, if it is under one."""
        return self._gate.pause_of(session)

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
        return next(row for row in await self._dependencies.store.sessions() if row.id == session)

    async def _completed(self, session: SessionId, start: bool, proxy: Proxy | None) -> SessionRow:
        """The row that was stored by an earlier call, which was told that it may not have been;
        made what this call asks for.
        """
        await self._dependencies.store.set_proxy(session, proxy)
        await self._dependencies.store.set_wanted(session, start)
        return await self._row(session)

    def _run(self, row: SessionRow, purged_perhaps: bool = False) -> Session:
        session = Session(row, self._dependencies)
        self._sessions[row.id] = session
        self._tasks[row.id] = task = asyncio.create_task(session.run(), name=f"session {row.id}")
        task.add_done_callback(lambda ended: self._on_end(session, ended, purged_perhaps))
        return session

    def _on_end(self, session: Session, ended: "asyncio.Task[None]", purged: bool) -> None:
        """Its task has ended.

        If nobody waits for that: its deletion was durable after all; or, else, it begins anew.
        """
        error = None if ended.cancelled() else ended.exception()
        if error is not None:
            log.critical(
                "a session's task has died",
                action="session_died",
                session=session.id,
                exc_info=error,
            )
        if self._sessions.get(session.id) is not session or session.id in self._leaving:
            return
        self._tasks.pop(session.id, None)
        if session.vanished:
            self._remove(session.id, purged)
            return
        log.error(
            "a session has ended unasked and begins anew",
            action="session_revived",
            session=session.id,
        )
        self._dependencies.publish(session.id, AlertChange(name="session_error", message=REVIVED))
        self._tasks[session.id] = asyncio.create_task(
            self._revive(session), name=f"revival of {session.id}"
        )

    async def _revive(self, session: Session) -> None:
        """Never two workers for one session: that of the one that has ended ends first."""
        await session.give_up()
        if self._sessions.get(session.id) is session and session.id not in self._leaving:
            self._run(session.row())

    def _remove(self, session: SessionId, purged: bool) -> None:
        del self._sessions[session]
        if purged:
            self._feed.forget(session)
        # with it end the alerts that it had
        self._dependencies.publish(session, SessionDeleted(purged))


async def _retire(session: Session, farewell: Command) -> None:
    try:
        await session.ask(farewell)
    except SessionNotFound:  # it is being deleted just now, and retires by itself
        return
    except WasupError as error:  # its worker is ended, or left, with all the others
        log.error(
            "a session did not take leave",
            action="no_farewell",
            session=session.id,
            error=str(error),
        )
