"""The gate: every attempt of the fleet asks here.

Rates (token buckets), attempts under way (a cap), and the pauses.

A token is reserved when an attempt is admitted and taken when its login is on the wire (or when it
ends without one). So what the server sees obeys the bucket, however long a busy machine takes
between the two: with the bucket debited at admission, slow attempts of a burst would land together
with the next ones.

Every attempt takes a token of its egress and one of the fleet. Who is paused (pauses.py), because
the detector (outage.py) has seen correlated closes or because a close reason says so (405), waits
with the pause; everybody else waits in the queue of his egress (queue.py).
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from sessions.model import CloseReason, SessionId
from sessions.policy import Close, ClosedWay, Verdict, correlated_reasons
from sessions.ports import Publish
from supervisor.gate.bucket import Allowance, TokenBucket
from supervisor.gate.outage import ANSWERS, FEWEST, FLEET, OUTAGE, Detector, Finding, Scope
from supervisor.gate.pause import Pause
from supervisor.gate.pauses import Pauses
from supervisor.gate.permit import GatePermit
from supervisor.gate.queue import TICK_SECONDS, AdmissionQueues, Waiting
from supervisor.gate.reachability import Prober, Reachability
from supervisor.gate.view import GateView, PauseView, pause_view
from supervisor.gate.way import Way

NEVER: Final = float("inf")
IN_VAIN: Final = 2
"""So many canaries that fail although looks find the way open, of a pause that a look began, show
that it is the session's own matter.
"""

FAILED_SECONDS: Final = 5.0
"""After an error of our own the gate looks again after so long."""

log = structlog.get_logger("gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """Logins a second, how many may go at once after a quiet time, attempts under way.

    `egress_*`: of one egress; None: as the fleet's.
    """

    rate_per_second: float = 5.0
    burst: int = 10
    concurrency: int = 50
    egress_rate_per_second: float | None = None
    egress_burst: int | None = None


class Gate:
    """The fleet's gate.

    `publish`: told when an outage begins and ends; `correlated`: the close reasons that are
    evidence of one.

    `prober`: looks whether WhatsApp can be reached at all; None: nobody does, and only the number
    of closes tells.
    """

    def __init__(
        self,
        config: GateConfig,
        rng: random.Random,
        publish: Publish | None = None,
        correlated: Collection[CloseReason] = correlated_reasons(),
        prober: Prober | None = None,
    ) -> None:
        self._uncharge: dict[SessionId, Callable[[], None]] = {}
        """Whom to tell that an outage has closed a session which was not seen at that time."""
        self._config = config
        self._egress_rate = config.egress_rate_per_second or config.rate_per_second
        self._egress_burst = config.egress_burst or config.burst
        self._rng = rng
        self._now = asyncio.get_running_loop().time
        # Empty: nobody knows what an earlier supervisor has let through just before it died.
        began = self._now()
        self._fleet = Allowance(TokenBucket.empty(config.rate_per_second, config.burst, began))
        self._detector = Detector(correlated)
        self._queues = AdmissionQueues(
            lambda: Allowance(TokenBucket.empty(self._egress_rate, self._egress_burst, began)),
            self._detector.uses,
        )
        self._under_way: set[GatePermit] = set()
        self._pauses = Pauses(self._detector, rng, publish)
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._failing = False
        self._reach = Reachability(prober, rng, self._detector.somebody_open, self._on_look)

    async def close(self) -> None:
        """Look at nothing any more."""
        await self._reach.close()

    # --- asked by sessions ------------------------------------------------------------------------

    def try_admit(self, session: SessionId, urgent: bool = False) -> GatePermit | None:
        """A permit, if one is free at once and nobody waits before."""
        now, egress = self._now(), self._detector.egress(session)
        pause = self._pauses.covering(session)
        if self._seconds_until_free(egress, pause, urgent, now) > 0:
            return None
        waits = self._queues.waiting_at(egress) if pause is None else pause.queue.first()
        if waits and not urgent:
            return None
        return self._grant(session, egress, pause, now)

    async def admit(self, session: SessionId, urgent: bool = False) -> GatePermit:
        """Wait for a permit. `urgent`: ahead of the queue, and as the next canary of a pause."""
        future: asyncio.Future[GatePermit] = asyncio.get_running_loop().create_future()
        waiting = Waiting(
            session, self._detector.egress(session), urgent, next(self._numbers), future
        )
        self._join(waiting, self._pauses.covering(session), self._now())
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            self._withdraw(waiting)
            raise

    def adopt(self, session: SessionId, login_sent: bool, through: bool = False) -> GatePermit:
        """A permit for an attempt that an earlier supervisor admitted; it costs a token only if its
        login is still to come.

        `through`: it had come through before: nothing is under way, and its success says nothing of
        now.
        """
        egress = self._detector.egress(session)
        permit = self._new_permit(session, egress, login_sent, speaks=not through)
        if through:
            self._under_way.discard(permit)
        return permit

    def pause(self, session: SessionId, reason: str) -> bool:
        """The session was closed for a reason that may concern all (405).

        True: the fleet is paused. A second session within half an hour, or one that tries for a
        fleet that is paused already, shows that it does. Then one canary at a time tries, and the
        first that succeeds releases all. False: it is the session's own trouble so far.
        """
        concerns_all = self._pauses.rejected(session, self._now())
        pause = self._pauses.get(FLEET)
        if pause is None and not concerns_all:
            return False
        if pause is None or pause.is_outage:
            self._begin(FLEET, reason)
        return True

    # --- notified by sessions ---------------------------------------------------------------------

    def registered(self, session: SessionId, egress: str, uncharge: Callable[[], None]) -> None:
        """The session is part of the fleet, and this is the egress that it uses.

        `uncharge`: called when an outage turns out to have closed it before it was seen.
        """
        self._uncharge[session] = uncharge
        before, is_new = self._detector.registered(session, egress)
        if before != egress:
            self._settle(session, before)
        if is_new:
            self._queues.drop_idle(self._now())

    def opened(self, session: SessionId) -> None:
        """The session is open."""
        self._detector.opened(session, self._now())
        self._pauses.opened(session)
        self._settle(session, self._detector.egress(session))

    def left(self, session: SessionId) -> None:
        """The session is not part of the fleet any more.

        If it is a canary, the next one takes its turn.
        """
        egress = self._detector.egress(session)
        self._detector.left(session)
        self._uncharge.pop(session, None)
        self._settle(session, egress)
        self._pauses.left(session, self._now())
        self._pump()

    def closed(self, session: SessionId, close: Close, weight: float) -> Verdict:
        """The session, or its attempt, has ended: whether an outage covers it."""
        now, reason, was_open = self._now(), close.reason, close.was_open
        finding = self._detector.closed(session, reason, was_open, weight, now)
        if reason not in self._detector.correlated:
            self._observe_answer(session, reason)
            return Verdict.OWN
        self._reach.doubt(self._detector.egress(session), session)
        pause, paused = self._pauses.covering(session), self._pauses.scopes
        if self._detector.fails_alone(session) and not (
            pause is not None and self._is_barred(session)
        ):
            return Verdict.OWN
        if pause is not None and not self._fails_alone(pause, session):
            if was_open:
                pause.queue.expect(session)
            return Verdict.COVERED
        if finding in {Finding.EVIDENCE, Finding.TRIAL}:
            self._detector.add(session, finding, now)
            scope = self._detector.suspect(session, now, paused)
            turned_away = {} if scope or paused else self._detector.turned_away()
            if scope is None and not turned_away:
                return Verdict.OWN
            self._begin(scope or FLEET, OUTAGE, turned_away=turned_away or None, seen_by=session)
            return Verdict.REVEALING
        return Verdict.COVERED if finding is Finding.ECHO else Verdict.OWN

    # --- shown ------------------------------------------------------------------------------------

    def follow(self, correlated: Collection[CloseReason]) -> None:
        """These close reasons are evidence from now on (the policy was reloaded)."""
        self._detector.correlated = correlated

    def closed_way(self, session: SessionId) -> ClosedWay | None:
        """Why the session could not come through now, by the last look; None: it could, or nobody
        knows.
        """
        way = self._reach.way(self._detector.egress(session))
        if way is None or not way.is_closed or way.last is None or way.last.reason is None:
            return None
        return ClosedWay(way.last.reason, way.last.words)

    def pause_of(self, session: SessionId) -> PauseView | None:
        """The pause that the session is under, as shown; None if it is under none."""
        pause, now = self._pauses.covering(session), self._now()
        if pause is None:
            return None
        tokens, rate = self._fleet.available(now), self._config.rate_per_second
        return pause_view(
            pause,
            now,
            tokens,
            rate,
            self._egress_rate,
            self._reach.way(self._detector.egress(session)),
        )

    def view(self) -> GateView:
        """The gate's state, as shown."""
        now, rate = self._now(), self._config.rate_per_second
        tokens = self._fleet.available(now)
        behind = len(self._queues) + self._fleet.reserved - tokens
        pauses = tuple(
            pause_view(pause, now, tokens, rate, self._egress_rate, self._way_under(pause))
            for pause in self._pauses
        )
        return GateView(
            rate_per_second=rate,
            burst=self._config.burst,
            egress_rate_per_second=self._egress_rate,
            egress_burst=self._egress_burst,
            tokens=round(tokens, 2),
            concurrency=self._config.concurrency,
            under_way=len(self._under_way),
            queued=len(self._queues) + self._pauses.waiting,
            seconds_until_queue_is_through=(
                None if self._pauses.get(FLEET) is not None else round(max(0.0, behind / rate), 1)
            ),
            holds=pauses,
        )

    # --- notified by permits ----------------------------------------------------------------------

    def on_login_sent(self, permit: GatePermit) -> None:
        """A reserved token is taken."""
        now = self._now()
        self._fleet.take(now)
        self._queues.allowance(permit.egress).take(now)
        self._queues.changed(permit.egress, now)
        self._pump()  # with all tokens reserved the queue had nothing to wait for but this

    def on_finished(self, permit: GatePermit, succeeded: bool) -> None:
        """An attempt is over."""
        self._under_way.discard(permit)
        self._pauses.attempt_over(permit)
        if succeeded:
            self._reach.came_through(permit.egress)
            for pause in self._pauses.came_through(permit):
                self._end(pause, f"{permit.session} came through")
        self._pump()

    # --- permits ----------------------------------------------------------------------------------

    def _new_permit(
        self, session: SessionId, egress: str, login_sent: bool, speaks: bool = True
    ) -> GatePermit:
        """`speaks`: its success says something of the scopes that the session is in now."""
        now = self._now()
        self._detector.tries(session, now)
        scopes = self._detector.scopes(session) if speaks else ()
        permit = GatePermit(self, session, egress, scopes, login_sent)
        self._under_way.add(permit)
        if not login_sent:
            self._queues.reserve(egress, now)
            self._fleet.reserve()
        return permit

    def _grant(
        self, session: SessionId, egress: str, pause: Pause | None, now: float
    ) -> GatePermit:
        permit = self._new_permit(session, egress, login_sent=False)
        if pause is not None:
            self._pauses.canary_tries(permit, pause, now, self._is_barred(session))
        return permit

    def _seconds_until_free(
        self, egress: str, pause: Pause | None, urgent: bool, now: float
    ) -> float:
        """How long until a permit is free by the clock; infinite if an attempt has to end first."""
        # A canary is not stopped by the cap: those under way may all hang.
        turn = (
            self._seconds_until_cap()
            if pause is None
            else pause.seconds_until_canary(now, urgent, self._reach.is_closed(egress))
        )
        own = self._queues.allowance(egress).seconds_until_free(now)
        return max(turn, self._fleet.seconds_until_free(now), own)

    def _seconds_until_cap(self) -> float:
        most = self._config.concurrency
        if len(self._under_way) < most or len(self._under_way) - self._pauses.canaries < most:
            return 0.0
        return NEVER

    # --- who waits --------------------------------------------------------------------------------

    def _join(self, waiting: Waiting, pause: Pause | None, now: float) -> None:
        if pause is None:
            self._queues.join(waiting, now)
        else:
            pause.join(waiting, may_try=not self._detector.is_open(waiting.session))

    def _withdraw(self, waiting: Waiting) -> None:
        if waiting.permit.done() and not waiting.permit.cancelled():
            waiting.permit.result().finish(succeeded=False)
        elif waiting.home is not None:
            waiting.withdraw()
            self._pump()

    def _pump(self) -> None:
        """Let through whoever may go now, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            wait = self._pump_all(self._now())
            self._failing = False
        except Exception as error:
            # whoever waits must not wait for ever because of an error of our own
            if not self._failing:
                log.error("the gate failed; it tries again", action="gate_failed", exc_info=error)
            self._failing, wait = True, FAILED_SECONDS
        if wait != NEVER:
            self._timer = asyncio.get_running_loop().call_later(max(wait, TICK_SECONDS), self._pump)

    def _pump_all(self, now: float) -> float:
        """Seconds until it is worth while to look again."""
        wait = min([self._pump_pause(pause, now) for pause in self._pauses], default=NEVER)
        return min(wait, self._pump_queues(now))

    def _pump_pause(self, pause: Pause, now: float) -> float:
        if now >= pause.over_at and not self._is_closed_under(pause):
            why = (
                "few were turned away, for so long that it is no outage to the rest of us: each is"
                " on his own"
            )
            self._end(pause, why, others_are_well=True)
            return 0.0
        if now >= pause.look_at:
            if not self._is_closed_under(pause) and self._detector.others_are_well(
                pause.scope, pause.since
            ):
                self._end(
                    pause, "the others are well; who was held is on his own", others_are_well=True
                )
                return 0.0
            pause.look_again(now)
        over_at = pause.over_at if now < pause.over_at else NEVER
        return min(self._pump_canaries(pause, now), pause.look_at - now, over_at - now)

    def _pump_canaries(self, pause: Pause, now: float) -> float:
        while (
            waiting := pause.queue.first(self._reach.is_closed) or pause.queue.first()
        ) is not None:
            pause.nobody_since = None
            wait = self._seconds_until_free(waiting.egress, pause, waiting.urgent, now)
            if wait > 0:
                return wait
            pause.queue.take(waiting)
            self._let_through(waiting, pause, now)
        return self._give_up_waiting(pause, now)

    def _give_up_waiting(self, pause: Pause, now: float) -> float:
        if self._under_way:
            pause.nobody_since = None
            return NEVER
        wait = pause.seconds_until_given_up(now)
        if wait <= 0:
            self._end(pause, "nobody is left to try")
            return NEVER
        return wait

    def _pump_queues(self, now: float) -> float:
        while (waiting := self._queues.first(now)) is not None:
            wait = max(self._seconds_until_cap(), self._fleet.seconds_until_free(now))
            if wait > 0:
                return wait
            self._queues.take(waiting)
            self._let_through(waiting, None, now)
        return self._queues.seconds_until_next(now)

    def _let_through(self, waiting: Waiting, pause: Pause | None, now: float) -> None:
        if waiting.permit.done():  # cancelled, and not yet withdrawn
            self._queues.changed(waiting.egress, now)
        else:
            waiting.permit.set_result(self._grant(waiting.session, waiting.egress, pause, now))

    # --- the way ----------------------------------------------------------------------------------

    def _settle(self, session: SessionId, egress: str) -> None:
        """It has nothing to ask of that way any more."""
        self._reach.settled(egress, session)
        if not self._detector.uses(egress):
            self._reach.forget(egress)

    def _on_look(self, way: Way, opened: bool) -> None:
        """A look has found something.

        Closed: those who have closed are paused, and were not to blame. Opened: a canary tries.
        """
        covering = [
            pause for pause in self._pauses if pause.scope in {FLEET, Scope("egress", way.egress)}
        ]
        if way.is_closed and way.doubters and not covering:
            scope = FLEET if self._detector.is_only(way.egress) else Scope("egress", way.egress)
            self._begin(scope, OUTAGE, way=way)
        for pause in self._pauses:
            if pause.is_outage and opened:
                pause.way_opens(self._now())
            elif pause.is_outage and way.is_closed and pause in covering:
                pause.way_is_closed()
        self._pump()

    def _way_under(self, pause: Pause) -> Way | None:
        """The way of those whom it pauses, if they have one in common."""
        if pause.scope.kind == "egress":
            return self._reach.way(pause.scope.value)
        egresses = {egress for egress, _ in pause.queue.egresses()} or {
            self._detector.egress(session) for session in [pause.canary] if session is not None
        }
        return self._reach.way(egresses.pop()) if len(egresses) == 1 else None

    def _is_barred(self, session: SessionId) -> bool:
        return self._reach.is_closed(self._detector.egress(session))

    def _is_closed_under(self, pause: Pause) -> bool:
        way = self._way_under(pause)
        return way is not None and way.is_closed

    def _fails_alone(self, pause: Pause, session: SessionId) -> bool:
        """A canary has failed.

        True: the way was open all the while, so that it is no outage; the few who are paused are
        released.
        """
        way = self._reach.way(self._detector.egress(session))
        if (
            not pause.by_look
            or pause.canary != session
            or way is None
            or way.closed_since is not None
        ):
            return False
        if way.open_at > self._detector.tried_at(session) or way.open_at <= pause.since:
            return False
        pause.in_vain += 1
        if pause.in_vain < IN_VAIN or pause.sessions >= FEWEST:
            return False
        self._end(
            pause, f"WhatsApp can be reached, and {session} fails all the same: it is on its own"
        )
        self._pump()
        return True

    # --- pauses -----------------------------------------------------------------------------------

    def _observe_answer(self, session: SessionId, reason: CloseReason) -> None:
        """An attempt that was answered by a server that knows the session: there is no outage any
        more.
        """
        if reason in ANSWERS and any(pause.is_outage for pause in self._pauses):
            for permit in [permit for permit in self._under_way if permit.session == session]:
                for pause in self._pauses.of(permit.scopes):
                    if pause.is_outage:
                        self._end(pause, f"the server has answered {session} ({reason})")
            self._pump()

    def _begin(
        self,
        scope: Scope,
        cause: str,
        *,
        way: Way | None = None,
        turned_away: Mapping[SessionId, CloseReason] | None = None,
        seen_by: SessionId | None = None,
    ) -> None:
        """Pause the scope.

        `way`: a look has found it closed; `turned_away`: all of a small fleet, by WhatsApp's own
        answer; `seen_by`: the session whose close has shown it, and which learns it by the verdict.
        """
        now = self._now()
        pause, closed, joining = self._pauses.begin(scope, cause, now, way, turned_away)
        egress = scope.value if scope.kind == "egress" else None
        joining += self._queues.pull(
            lambda waiting: self._pauses.covering(waiting.session) is pause, egress
        )
        for waiting in joining:
            self._join(waiting, pause, now)
        if pause.is_outage:
            doubters = way.doubters if way is not None else ()
            for session in dict.fromkeys((*closed, *doubters)):
                if session != seen_by and session in self._uncharge:
                    self._uncharge[session]()
        self._pump()

    def _end(self, pause: Pause, why: str, others_are_well: bool = False) -> None:
        """Release everybody, the busiest first."""
        now = self._now()
        for waiting in self._pauses.end(pause, why, now, others_are_well):
            waiting.number = next(self._numbers)
            self._join(waiting, self._pauses.covering(waiting.session), now)
