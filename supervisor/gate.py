"""The gate: every attempt of the fleet asks here. Rate (a token bucket), attempts under way (a cap), and the hold.

A token is reserved when an attempt is admitted and taken when its login is on the wire (or when it ends without one). So what the
server sees obeys the bucket, however long a busy machine takes between the two: with the bucket debited at admission, slow
attempts of a burst would land together with the next ones.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from sessions.model import SessionId
from supervisor.bucket import TokenBucket
from supervisor.hold import Hold

TICK_SECONDS: Final = 0.001
"""No timer is shorter: the remainder of a rounding must not make the queue spin."""

log = structlog.get_logger("gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Logins a second, how many may go at once after a quiet time, attempts under way."""

    rate_per_second: float = 5.0
    burst: int = 10
    concurrency: int = 50


class HoldView(msgspec.Struct, frozen=True, rename="camel"):
    """The hold as shown. Seconds; `words` says it in a sentence."""

    reason: str
    held_for_seconds: float
    next_canary_in_seconds: float | None
    canary: str | None
    words: str


class GateView(msgspec.Struct, frozen=True, rename="camel"):
    """The gate as shown."""

    rate_per_second: float
    burst: int
    tokens: float
    concurrency: int
    under_way: int
    queued: int
    seconds_until_queue_is_through: float | None
    hold: HoldView | None


class GateTicket:
    """An admission to make one attempt."""

    def __init__(self, gate: "Gate", session: SessionId, landed: bool = False) -> None:
        self.session = session
        self._gate = gate
        self._landed = landed
        self._finished = False

    def landed(self) -> None:
        """The login is on the wire: the attempt has cost its token."""
        if not self._landed:
            self._landed = True
            self._gate.on_landed()

    def finish(self, succeeded: bool) -> None:
        """The attempt is over. Further calls do nothing."""
        if not self._finished:
            self._finished = True
            self.landed()
            self._gate.on_finished(self, succeeded)


@dataclass(slots=True)
class _Waiting:
    session: SessionId
    ticket: "asyncio.Future[GateTicket]"


class Gate:
    """The fleet's gate."""

    def __init__(self, config: GateConfig, dice: random.Random) -> None:
        self._config = config
        self._dice = dice
        self._now = asyncio.get_running_loop().time
        # Empty: nobody knows what an earlier supervisor has let through just before it died.
        self._bucket = TokenBucket.empty(config.rate_per_second, config.burst, self._now())
        self._under_way: set[GateTicket] = set()
        self._reserved = 0
        self._queue: deque[_Waiting] = deque()
        self._hold: Hold | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- asked by sessions ----------------------------------------------------------------------------------------------

    def try_admit(self, session: SessionId, urgent: bool = False) -> GateTicket | None:
        """A ticket, if one is free at once and nobody waits before."""
        if (self._queue and not urgent) or self._seconds_until_free(urgent) > 0:
            return None
        return self._grant(session)

    async def admit(self, session: SessionId, urgent: bool = False) -> GateTicket:
        """Wait for a ticket. `urgent`: ahead of the queue, and as the next canary of a hold."""
        waiting = _Waiting(session, asyncio.get_running_loop().create_future())
        if urgent:
            self._queue.appendleft(waiting)
            if self._hold is not None:
                self._hold.next_canary_at = self._now()
        else:
            self._queue.append(waiting)
        self._pump()
        try:
            return await waiting.ticket
        except asyncio.CancelledError:
            self._withdraw(waiting)
            raise

    def adopt(self, session: SessionId, landed: bool) -> GateTicket:
        """A ticket for an attempt that an earlier supervisor admitted; it costs a token only if its login is still to come."""
        ticket = GateTicket(self, session, landed)
        self._under_way.add(ticket)
        self._reserved += not landed
        return ticket

    def hold(self, reason: str) -> None:
        """Hold the fleet: one canary at a time tries, and the first that succeeds releases all."""
        if self._hold is None:
            self._hold = Hold.begin(reason, self._now(), self._dice.random())
            log.error(f"the fleet is held: {reason}", action="hold_begins", reason=reason)

    def view(self) -> GateView:
        """The gate's state, as shown."""
        now = self._now()
        behind = len(self._queue) + self._reserved - self._bucket.available(now)
        return GateView(
            rate_per_second=self._config.rate_per_second,
            burst=self._config.burst,
            tokens=round(self._bucket.available(now), 2),
            concurrency=self._config.concurrency,
            under_way=len(self._under_way),
            queued=len(self._queue),
            seconds_until_queue_is_through=None
            if self._hold
            else round(max(0.0, behind / self._config.rate_per_second), 1),
            hold=_hold_view(self._hold, now, len(self._queue)) if self._hold else None,
        )

    # --- told by tickets ------------------------------------------------------------------------------------------------

    def on_landed(self) -> None:
        """A reserved token is taken."""
        self._reserved -= 1
        self._bucket.take(self._now())
        self._pump()  # with all tokens reserved the queue had nothing to wait for but this

    def on_finished(self, ticket: GateTicket, succeeded: bool) -> None:
        """An attempt is over."""
        self._under_way.discard(ticket)
        if self._hold is not None:
            self._judge_canary(self._hold, ticket, succeeded)
        self._pump()

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _judge_canary(self, hold: Hold, ticket: GateTicket, succeeded: bool) -> None:
        if succeeded:
            log.info("the hold is over", action="hold_ends", reason=hold.reason, canary=ticket.session)
            self._hold = None
        elif hold.canary == ticket.session:
            hold.canary_failed(self._now(), self._dice.random())

    def _grant(self, session: SessionId) -> GateTicket:
        ticket = GateTicket(self, session)
        self._under_way.add(ticket)
        self._reserved += 1
        if self._hold is not None:
            self._hold.canary = session
        return ticket

    def _seconds_until_free(self, urgent: bool = False) -> float:
        """How long until a ticket is free by the clock; infinite if an attempt has to end first."""
        if len(self._under_way) >= self._config.concurrency:
            return float("inf")
        now = self._now()
        wait = self._bucket.seconds_until(self._reserved + 1, now)
        if self._hold is None:
            return wait
        canary = self._hold.seconds_until_canary(now)
        return max(wait, 0.0 if urgent and canary != float("inf") else canary)

    def _pump(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            wait = self._seconds_until_free()
            if wait > 0:
                if wait != float("inf"):
                    self._timer = asyncio.get_running_loop().call_later(max(wait, TICK_SECONDS), self._pump)
                return
            waiting = self._queue.popleft()
            if not waiting.ticket.done():  # done: cancelled, and not yet withdrawn
                waiting.ticket.set_result(self._grant(waiting.session))

    def _withdraw(self, waiting: _Waiting) -> None:
        if waiting.ticket.done() and not waiting.ticket.cancelled():
            waiting.ticket.result().finish(succeeded=False)
        elif waiting in self._queue:
            self._queue.remove(waiting)
            self._pump()


def _hold_view(hold: Hold, now: float, queued: int) -> HoldView:
    wait = hold.seconds_until_canary(now)
    next_canary = None if wait == float("inf") else round(wait, 1)
    trying = f"{hold.canary} tries now" if hold.canary else f"the next canary tries in {wait:.0f} s"
    words = f"{queued} sessions are held for {now - hold.since:.0f} s because of {hold.reason}; {trying}, and its success releases all."
    return HoldView(hold.reason, round(now - hold.since, 1), next_canary, hold.canary, words)
