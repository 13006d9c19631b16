"""A session, as the rest of the program sees it: ask it, send through it, look at it.

What changes it is its actor (actor/).
"""

import asyncio
from typing import Any, Final

import msgspec
import structlog

from sessions.lifecycle.actor import Actor
from sessions.lifecycle.actor.core import Core, Life
from sessions.lifecycle.attempt import ShownQr
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Asked, Command, PolicyChanged, Restore, UseProxy
from sessions.messages.numbers import number_of, recipient
from sessions.model import (
    AlertChange,
    SessionState,
    Unanswered,
    WasupError,
    WorkerGone,
    WorkerRefused,
)
from sessions.policy import Budget, Config
from sessions.ports import WorkerHandle
from sessions.records.incidents import Incident
from sessions.store import SessionRow
from sessions.views import refusals
from sessions.views.session_view import Performance, Reconnection, SessionView
from sessions.views.times import iso
from sessions.workers import wire

S = SessionState

ASK_SECONDS: Final = 60.0
"""The longest honest answer: an earlier supervisor's worker that does not call (10 s) and is ended
(13 s), its successor's end (13 s), and a store that answers at its last moment (10 s).
"""
RESTART_SECONDS: Final = 5.0
RESTART_STEPS: Final = 5
"""A new actor follows one that has failed after so long, to twice as long; doubled with each that
fails, so many times.
"""
FORGOTTEN_SECONDS: Final = 600.0
"""One that fails after so long is the first one again."""
RESTARTED: Final = (
    "An error of this program has ended what runs the session; it begins anew in a while. Please"
    " report the supervisor's log."
)

WRONG_RECIPIENT: Final = frozenset({"invalid_recipient", "no_whatsapp"})
"""What a worker refuses for the recipient's sake: no failure of the session, and no reason to doubt
its socket.
"""

log = structlog.get_logger("session")


class Session:
    """A session.

    Run `run()` as its task; everything else may be called from anywhere in the loop.
    """

    def __init__(self, row: SessionRow, dependencies: Dependencies) -> None:
        self.id: Final = row.id
        self._actor = Actor.of(row, dependencies)
        self._dependencies: Final = dependencies
        self._retiring = False
        """It was asked to retire: no actor follows one that fails."""
        self._config: Final = dependencies.config
        self._now: Final = asyncio.get_running_loop().time

    @property
    def _core(self) -> Core:
        """What the actor of today shares; nothing here changes it."""
        return self._actor.core

    async def run(self) -> None:
        """Live until retired.

        An actor that fails even at mending what went wrong is replaced by a new one, after a while.
        """
        failures = 0
        while not self._actor.retired:
            began = self._now()
            try:
                await self._actor.run()
            except Exception as error:
                failures = 1 if self._now() - began > FORGOTTEN_SECONDS else failures + 1
                log.error(
                    "a session's actor has failed",
                    action="actor_failed",
                    session=self.id,
                    exc_info=error,
                )
                self._dependencies.publish(
                    self.id, AlertChange(name="session_error", message=RESTARTED)
                )
                failed = self._actor
                await _given_up(failed)
                pause = RESTART_SECONDS * 2 ** min(failures - 1, RESTART_STEPS)
                await asyncio.sleep(pause * (1 + self._dependencies.rng.random()))
                if not self._retiring:
                    self._actor = Actor.of(_remembered(failed), self._dependencies)

    async def give_up(self) -> None:
        """Its task has ended unasked: nobody is left waiting for it, and its worker ends, before
        another one takes the session up.
        """
        await _given_up(self._actor)

    async def ask(self, command: Command | Restore | UseProxy) -> Any:
        """Have it done; what was restored, if that was asked for.

        Raises Refused (it says what would help), SessionNotFound, StoreError; Unanswered after
        ASK_SECONDS, when it may still be done.
        """
        retires = command in {Command.RETIRE, Command.LEAVE}
        self._retiring = self._retiring or retires
        if self._actor.retired:
            raise refusals.has_no_actor(
                self.id, restarts=not self._retiring and self._core.life is not Life.VANISHED
            )
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._core.inbox.put_nowait(Asked(command, reply))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await reply
        except TimeoutError:
            log.error(
                "a session does not answer",
                action="session_unanswered",
                session=self.id,
                state=self.state,
            )
            raise Unanswered(
                f"Session {self.id} has not answered for {ASK_SECONDS:.0f} s."
            ) from None

    def follow(self, policy: Config) -> None:
        """Judge by this policy from the next close on; what is planned stays planned."""
        if not self._actor.retired:
            self._core.inbox.put_nowait(PolicyChanged(policy))

    async def send_text(self, to: str, text: str) -> str:
        """Send a text to a number or a jid; the message's id, after the server's ack.

        Raises InvalidRecipient, Refused, WorkerRefused, WorkerGone, TimeoutError.
        """
        jid, others = recipient(to, number_of(self._core.row.jid))
        worker, counters, began = self._core.slot.worker, self._core.counters, self._now()
        if self.state is not S.OPEN or worker is None:
            raise refusals.cannot_send(self.id, self.state)
        counters.sending += 1
        try:
            reply = await worker.request(
                lambda number: wire.Send(self.id, number, jid, text, list(others)),
                self._config.send_timeout_seconds,
            )
        except (WasupError, TimeoutError) as error:
            code = error.code if isinstance(error, WorkerRefused) else None
            if code not in WRONG_RECIPIENT:
                counters.failed(self._now())
            if code == "timed_out":
                self._actor.open_socket.doubt.set()  # no ack: is the socket deaf?
            raise
        finally:
            counters.sending -= 1
        counters.succeeded(self._now(), (self._now() - began) * 1000)
        counters.message(self._now())
        return _result(reply, "id")

    async def pairing_code(self, phone: str) -> str:
        """A code to type on that phone. Raises Refused, WorkerRefused, WorkerGone, TimeoutError."""
        worker = self._core.slot.worker
        if worker is None or not self.awaits_phone:
            raise refusals.waits_for_no_phone(self.id, self.state)
        timeout = self._config.connect_timeout_seconds
        return _result(
            await worker.request(lambda number: wire.PairingCode(self.id, number, phone), timeout),
            "code",
        )

    @property
    def restored(self) -> bool:
        """Whether it came back with a backup of the whole store, and nobody has said since whether
        it shall run.
        """
        return self._core.row.restored

    def row(self) -> SessionRow:
        """The session as it would be stored now."""
        return self._core.stored_row()

    # --- looked at --------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._core.state

    @property
    def vanished(self) -> bool:
        """Whether the store turned out to have no row of it any more, so that it has ended."""
        return self._core.life is Life.VANISHED

    @property
    def replacing(self) -> bool:
        """Whether a successor for the worker of the open session is being warmed up, or takes over
        just now.
        """
        return self._actor.replacement.is_under_way

    @property
    def worker(self) -> WorkerHandle | None:
        """Its worker, if it has one."""
        return self._core.slot.worker

    @property
    def awaits_phone(self) -> bool:
        """Whether a pairing code could be asked for now."""
        core = self._core
        return (
            self.state in {S.QR, S.CONNECTING}
            and core.slot.worker is not None
            and core.row.jid is None
        )

    @property
    def may_show_qr(self) -> bool:
        """Whether a QR may come without anybody's doing: it is on its way, and no phone has linked
        it yet.
        """
        return (
            self.state in {S.STARTING, S.HELD, S.CONNECTING, S.QR, S.WAITING}
            and self._core.row.jid is None
        )

    def qr(self) -> ShownQr:
        """What waits for a phone.

        Raises Refused, also while WhatsApp has retired the last one and the next is not durable.
        """
        attempt = self._core.attempt
        if attempt is None or attempt.qr is None:
            raise refusals.shows_no_qr(self.id, self.state)
        return attempt.qr

    def view(self) -> SessionView:
        """The session as `/sessions` shows it."""
        row, wanted = self._core.row, self._core.intent.wanted
        why, figures = self.reconnection(), self.performance()
        seen_at = self._core.phone.seen_at
        seen = None if seen_at is None else iso(seen_at)
        return SessionView(
            row.id,
            self.state,
            wanted,
            row.jid,
            row.name,
            row.proxy,
            iso(row.created_at),
            seen,
            why,
            figures,
            self.restored,
        )

    def reconnection(self) -> Reconnection:
        """Why the session is where it is and what comes next."""
        return self._core.reconnection()

    def performance(self) -> Performance:
        """The session's figures."""
        core, attempt = self._core, self._core.attempt
        opened_at = attempt.opened_at if attempt else None
        return Performance.of(
            core.state, opened_at, core.counters, core.slot.worker, core.stages.last, self._now()
        )

    def incident(self) -> Incident | None:
        """The incident that it is in, or was in last, as far as it is remembered."""
        return self._core.recorder.current

    def budget(self) -> Budget:
        """Its logins of the last 24 hours, and how many there may be."""
        return self._core.policy.budget(self._now())

    def outcomes(self) -> tuple[int, int]:
        """Failed and all operations of the last minutes."""
        return self._core.counters.outcomes(self._now())


def _result(reply: wire.Replied | wire.Probed, name: str) -> str:
    if isinstance(reply, wire.Replied) and reply.result is not None:
        return reply.result[name]
    raise WorkerGone("The worker's answer was empty.")


async def _given_up(actor: Actor) -> None:
    try:
        await actor.give_up()
    except (
        Exception
        # whatever of it was not done: its worker is fenced by the next epoch, and never given to
        # two
    ) as error:
        log.error(
            "a failed actor left something behind",
            action="actor_left",
            session=actor.core.id,
            exc_info=error,
        )
        if actor.core.slot.worker is not None:
            await actor.core.slot.worker.stop()


def _remembered(actor: Actor) -> SessionRow:
    """The session as its next actor takes it up; at the worst as it was stored when this one
    began.
    """
    try:
        return actor.core.stored_row()
    except Exception as error:
        log.error(
            "what a failed actor knew is lost",
            action="actor_memory_lost",
            session=actor.core.id,
            exc_info=error,
        )
        return msgspec.structs.replace(actor.core.row, wanted=actor.core.intent.wanted)
