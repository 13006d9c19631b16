"""Taking a session up: with the worker that an earlier supervisor left, as it stands, or from what
is remembered.
"""

from functools import partial

import structlog

from sessions.lifecycle import adoption
from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.core import Core, Past
from sessions.lifecycle.actor.open_socket import OpenSocket
from sessions.lifecycle.attempt import Attempt, ShownQr
from sessions.lifecycle.inbox import WorkerReturned
from sessions.lifecycle.machine import Signal
from sessions.model import SessionState
from sessions.ports import Returned
from sessions.views.events import SessionAdopted
from sessions.views.session_view import human_action
from sessions.workers import wire

S = SessionState

log = structlog.get_logger("session")


class Adoption:
    """How a session begins its life with this supervisor."""

    def __init__(self, core: Core, attempts: Attempts, open_socket: OpenSocket) -> None:
        self._core = core
        self._attempts = attempts
        self._open_socket = open_socket
        self._workers = core.dependencies.workers
        self._gate = core.dependencies.gate

    async def resume(self) -> None:
        """Find the worker that an earlier supervisor left, if it did; then take the session up."""
        if not self._core.intent.wanted:
            return
        self._core.register()
        if self._workers.expects(self._core.id):
            self._core.signal(Signal.START)
            self._core.pending.begin(
                partial(self._workers.await_reconnect, self._core.id), WorkerReturned
            )
        else:
            await self.take_up()

    async def take_up(self) -> None:
        """Go on where an earlier supervisor was: parked stays parked, a wait goes on, the rest
        starts.
        """
        due = self._core.remembered.next_attempt_at
        if self._core.past is Past.STORED:
            self._core.past = Past.TAKEN_UP
        if (
            self._core.past is Past.UNREADABLE
        ):  # it may have been banned, or parked for good: only a human can say
            self._core.signal(Signal.START, Signal.QUARANTINE)
            self._core.alerts.begin(
                "quarantined",
                "What is remembered of the session cannot be read;"
                f" `wasup sessions start {self._core.id}` begins anew.",
            )
        elif self._core.remembered.parked:
            self._core.signal(Signal.PARK)
            last = self._core.policy.last_close
            self._core.alerts.begin(
                "parked",
                human_action(self._core.id, self._core.state, last),
                cause=None if last is None else last.reason,
            )
            if due is not None:
                self._attempts.wait(due - self._core.now())
        elif due is not None and due > self._core.now():
            self._core.signal(Signal.RETRY)
            self._attempts.wait(due - self._core.now())
        else:
            await self._attempts.go()

    async def on_returned(self, returned: Returned | None) -> None:
        """Its worker has called (or there is none): go on with it as it stands, or without it."""
        if returned is None:
            await self.take_up()
            return
        worker, held = returned
        is_readable = self._core.past is not Past.UNREADABLE
        refusal = adoption.refusal(
            held, self._core.row.epoch, self._core.remembered.parked, is_readable
        )
        if refusal is not None:
            await self._workers.refuse(worker, refusal)
            await self.take_up()
            return
        self._core.past = Past.TAKEN_UP
        self._core.publish(SessionAdopted(worker.id, worker.pid, held.stage.value))
        self._attempts.number = held.attempt
        if held.stage is not wire.Stage.IDLE:
            self._adopt_attempt(held)
        self._core.slot.adopt(worker, held.epoch)
        if self._core.attempt is not None and held.stage in adoption.LOGIN_SENT:
            self._attempts.count_login(self._core.attempt)  # unless our predecessor has
        if held.stage is wire.Stage.OPEN:
            self._adopt_open(held)
        elif held.stage is wire.Stage.IDLE:
            await self._adopt_idle(held)

    def _adopt_attempt(self, held: wire.Held) -> None:
        """Its attempt is ours now, as far as it has come."""
        through = held.stage in {wire.Stage.QR, wire.Stage.OPEN}
        permit = self._gate.adopt(self._core.id, held.stage in adoption.LOGIN_SENT, through)
        self._core.attempt = Attempt(held.attempt, permit)
        if held.qr is not None:
            self._core.attempt.qr = ShownQr(held.qr, held.qr_number or 0, held.pairing_code)
        if through:
            self._core.attempt.admitted()
        self._core.policy.breaker.begin_attempt()
        self._core.signal(*adoption.SIGNALS[held.stage])
        config = self._core.dependencies.config
        limit = (
            config.qr_timeout_seconds
            if held.stage is wire.Stage.QR
            else config.connect_timeout_seconds
        )
        self._attempts.expect_report(self._core.attempt, limit)

    def _adopt_open(self, held: wire.Held) -> None:
        assert self._core.attempt is not None, "an open session has its attempt"
        self._open_socket.note_pairing(held.jid)
        self._open_socket.on_open(
            self._core.attempt,
            held.jid or self._core.row.jid or "",
            held.name,
            (held.open_for_ms or 0.0) / 1000,
        )

    async def _adopt_idle(self, held: wire.Held) -> None:
        """No socket.

        If our predecessor did not live to judge its end, we do; else its wait goes on.
        """
        if adoption.unjudged(held, self._core.judged):
            assert held.closed is not None, "it would not be unjudged"
            self._core.attempt = Attempt(
                held.attempt, self._gate.adopt(self._core.id, login_sent=True)
            )
            self._remember_open(self._core.attempt, held)
            self._attempts.count_login(
                self._core.attempt
            )  # nobody knows how far it came: better one too many
            closed = held.closed
            close = self._attempts.ended(closed.reason, closed.code, closed.message, closed.data)
            await self._attempts.closed(close)
        else:
            await self.take_up()

    def _remember_open(self, attempt: Attempt, held: wire.Held) -> None:
        """An attempt that our predecessor had seen open was no failed one: it closed while nobody
        watched.

        One that opened and closed again within that time is taken for a failed one: nobody knows
        better.
        """
        opened = self._core.remembered.opened
        if opened is not None and (opened.epoch, opened.attempt) == (held.epoch, held.attempt):
            attempt.opened_at, attempt.stable = self._core.now(), opened.stable
