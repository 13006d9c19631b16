"""Taking a session up: with the worker that an earlier supervisor left, as it stands, or from what
is remembered.
"""

from functools import partial

import structlog

from sessions.lifecycle import adoption
from sessions.lifecycle.actor.opening import Opening
from sessions.lifecycle.attempt import Attempt, ShownQr
from sessions.lifecycle.inbox import Reunited
from sessions.lifecycle.machine import Signal
from sessions.model import SessionState
from sessions.ports import Returned
from sessions.views.events import SessionAdopted
from sessions.views.snapshot import human_action
from sessions.workers import wire

S = SessionState

log = structlog.get_logger("session")


class Adopting(Opening):
    """How a session begins its life with this supervisor."""

    async def _resume(self) -> None:
        """Find the worker that an earlier supervisor left, if it did; then take the session up."""
        if not self.wanted:
            return
        self._register()
        if self._dependencies.workers.expects(self.id):
            self._signal(Signal.START)
            self._agenda.begin(
                partial(self._dependencies.workers.await_reconnect, self.id), Reunited
            )
        else:
            await self._take_up()

    async def _take_up(self) -> None:
        """Go on where an earlier supervisor was: parked stays parked, a wait goes on, the rest
        starts.
        """
        due = self._past.next_attempt_at
        self._taken_up = self._readable
        if not self._readable:  # it may have been banned, or parked for good: only a human can say
            self._signal(Signal.START, Signal.QUARANTINE)
            self._begin_alert(
                "quarantined",
                "What is remembered of the session cannot be read; POST start begins anew.",
            )
        elif self._past.parked:
            self._signal(Signal.PARK)
            self._begin_alert("parked", human_action(self.id, self.state, self._policy.last_close))
            if due is not None:
                self._wait(due - self._now())
        elif due is not None and due > self._now():
            self._signal(Signal.RETRY)
            self._wait(due - self._now())
        else:
            await self._go()

    async def _on_reunited(self, returned: Returned | None) -> None:
        if returned is None:
            await self._take_up()
            return
        worker, held = returned
        refusal = adoption.refusal(held, self.row.epoch, self._past.parked, self._readable)
        if refusal is not None:
            await self._dependencies.workers.refuse(worker, refusal)
            await self._take_up()
            return
        self._taken_up = True
        self._publish(SessionAdopted(worker.id, worker.pid, held.stage.value))
        self._attempts = held.attempt
        if held.stage is not wire.Stage.IDLE:
            self._adopt_attempt(held)
        self._slot.adopt(worker, held.epoch)
        if self.attempt is not None and held.stage in adoption.LOGIN_SENT:
            self._count_login(self.attempt)  # unless our predecessor has
        if held.stage is wire.Stage.OPEN:
            self._adopt_open(held)
        elif held.stage is wire.Stage.IDLE:
            await self._adopt_idle(held)

    def _adopt_attempt(self, held: wire.Held) -> None:
        """Its attempt is ours now, as far as it has come."""
        through = held.stage in {wire.Stage.QR, wire.Stage.OPEN}
        permit = self._dependencies.gate.adopt(self.id, held.stage in adoption.LOGIN_SENT, through)
        self.attempt = Attempt(held.attempt, permit)
        if held.qr is not None:
            self.attempt.qr = ShownQr(held.qr, held.qr_number or 0, held.pairing_code)
        if through:
            self.attempt.admitted()
        self._policy.breaker.begin_attempt()
        self._signal(*adoption.SIGNALS[held.stage])
        config = self._dependencies.config
        limit = (
            config.qr_timeout_seconds
            if held.stage is wire.Stage.QR
            else config.connect_timeout_seconds
        )
        self._expect_report(self.attempt, limit)

    def _adopt_open(self, held: wire.Held) -> None:
        assert self.attempt is not None, "an open session has its attempt"
        self._note_pairing(held.jid)
        self._on_open(
            self.attempt,
            held.jid or self.row.jid or "",
            held.name,
            (held.open_for_ms or 0.0) / 1000,
        )

    async def _adopt_idle(self, held: wire.Held) -> None:
        """No socket.

        If our predecessor did not live to judge its end, we do; else its wait goes on.
        """
        if adoption.unjudged(held, self._judged):
            assert held.closed is not None, "it would not be unjudged"
            self.attempt = Attempt(
                held.attempt, self._dependencies.gate.adopt(self.id, login_sent=True)
            )
            self._remember_open(self.attempt, held)
            self._count_login(self.attempt)  # nobody knows how far it came: better one too many
            closed = held.closed
            await self._closed(self._ended(closed.reason, closed.code, closed.message, closed.data))
        else:
            await self._take_up()

    def _remember_open(self, attempt: Attempt, held: wire.Held) -> None:
        """An attempt that our predecessor had seen open was no failed one: it closed while nobody
        watched.

        One that opened and closed again within that time is taken for a failed one: nobody knows
        better.
        """
        opened = self._past.opened
        if opened is not None and (opened.epoch, opened.attempt) == (held.epoch, held.attempt):
            attempt.opened_at, attempt.stable = self._now(), opened.stable
