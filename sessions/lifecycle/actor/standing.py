"""Where a session stands: its state, what is remembered of it, what is shown and told of it, and
the attempt under way.
"""

import asyncio
import time
from functools import partial
from typing import Final

import msgspec
import structlog

from sessions.lifecycle import alerts
from sessions.lifecycle.agenda import Agenda
from sessions.lifecycle.attempt import Attempt
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Event, Overdue, Uncharged, Waited
from sessions.lifecycle.machine import Signal, step
from sessions.lifecycle.remembered import Opened, Remembered, decode, encode
from sessions.lifecycle.worker_slot import WorkerSlot
from sessions.model import AlertChange, CloseReason, EventData, SessionState
from sessions.policy import CRASH_BUDGET_USED_UP, Budget, ClosePolicy
from sessions.ports import DIRECT, WorkerHandle
from sessions.records import phone
from sessions.records.counters import Counters
from sessions.records.incident_recorder import IncidentRecorder
from sessions.records.incidents import Incident
from sessions.records.phone import PhoneRecord
from sessions.store import SessionRow
from sessions.views.events import SessionMoved
from sessions.views.snapshot import (
    BreakerSnapshot,
    Reconnection,
    human_action,
    iso,
    iso_at,
    rule_shown,
)
from sessions.workers import wire

S = SessionState

WITHOUT_A_TRY: Final = frozenset({S.HELD, S.WAITING, S.STARTING})
"""Where a session is away, and no try of its own is under way that would tell why."""
REPORT_GRACE_SECONDS: Final = 10.0
"""How much later than its own deadline a worker may report before it is taken for hung."""

log = structlog.get_logger("session")


AFTER_A_CLOSE: Final = frozenset({S.WAITING, S.PARKED, S.HELD})
"""States that the last close explains. An open session's last close is an old story."""


class Standing:
    """The ground floor of the actor: what it knows and its small tools. Nothing here decides."""

    def __init__(self, row: SessionRow, dependencies: Dependencies) -> None:
        config, self._now = dependencies.config, asyncio.get_running_loop().time
        self.id: Final = row.id
        self.counters: Final = Counters()
        self.wanted = row.wanted
        self.row = row
        self._dependencies = dependencies
        try:
            self._past, self._readable = decode(row.memory, self._now()), True
        except wire.WireError:
            self._past, self._readable = decode(None, self._now()), False
        self._policy: Final = ClosePolicy(
            row.id,
            config.policy,
            config.breaker_threshold,
            config.breaker_timeout_seconds,
            self._past.learned,
        )
        self._recorder: Final = IncidentRecorder(
            row.id, dependencies.store.records, self._past.incident
        )
        self.inbox: Final[asyncio.Queue[Event]] = asyncio.Queue()
        self._agenda: Final = Agenda(row.id, self.inbox)
        self._slot: Final = WorkerSlot(row.id, dependencies, self.inbox, self.counters)
        self.state, self._since = S.STOPPED, self._recorder.left_since(S.STOPPED) or time.time()
        self._settled = not row.wanted
        """It has come to where the supervisor before this one may have left it, or has gone
        elsewhere.
        """
        self._began_at = time.time()
        self._on: set[str] = set()
        """The alerts that are on, of those that last."""
        self._planned: tuple[int, float | None] | None = None
        """After which attempt, and which close, the last reconnection that was told is."""
        self._away_since: float | None = None
        """Since when it has been on its way back to open; None: it is open, or not wanted, or has
        not closed yet.
        """
        self.attempt: Attempt | None = None
        self._next_attempt_at: float | None = None
        self._own_wait_until: float | None = None
        """Until when it would wait if there were no breaker, as far as that is known."""
        self._store_away = False
        """The store has failed it, and that was told; until it has a worker again."""
        self._errors = 0
        """Errors of our own in a row: each makes the next try later."""
        self._attempts = 0
        self._taken_up = False
        """What is remembered has been taken up (or an operator has begun anew): from now on it may
        be overwritten.
        """
        self._judged = self._past.judged
        """Epoch and attempt of the last close that the policy has judged."""
        self._counted = self._past.counted
        """Epoch and attempt of the last login that was counted."""
        self._phone = self._past.phone or PhoneRecord()
        self.doubt: Final = asyncio.Event()
        """Something went wrong that a probe may explain: the next one is due at once."""
        self._episode_attempts = 0
        self._forced = False
        """An operator wants the next attempt now."""
        self._logout_wanted = False
        """An operator wants the device unlinked; a connection lost meanwhile only puts it off."""
        self._handing_over = False
        """A successor is warm, and about to take over."""
        self._replaceable_at = 0.0
        """From then on its worker may be replaced for being above a soft limit, again."""
        self._snapshot: asyncio.Task[None] | None = None
        self._leaving = False
        self.retired = False
        self.vanished = False
        """Retired by itself, as the store has no row of it any more."""

    @property
    def worker(self) -> WorkerHandle | None:
        """Its worker, if it has one."""
        return self._slot.worker

    @property
    def replacing(self) -> bool:
        """Whether a successor for the worker of the open session is being warmed up, or takes over
        just now.
        """
        return self.state is S.OPEN and (
            not self._agenda.idle or self._handing_over or self.worker is None
        )

    def stored_row(self) -> SessionRow:
        """The session as it would be stored now."""
        remembered = self._encoded() if self._taken_up else self.row.memory
        return msgspec.structs.replace(self.row, wanted=self.wanted, memory=remembered)

    def reconnection(self) -> Reconnection:
        """Why the session is where it is and what comes next."""
        now, last = self._now(), self._policy.last_close
        way = self._dependencies.gate.closed_way(self.id) if self.state in WITHOUT_A_TRY else None
        if way is not None:
            last = self._policy.as_found(way)
        return Reconnection(
            state=self.state,
            since=iso(self._since),
            close_reason=last.reason if last else None,
            close_code=last.code if last else None,
            close_message=last.message if last else None,
            closed_at=iso(last.at_wall_seconds) if last else None,
            rule=rule_shown(
                last,
                self._next_attempt_at if self.state is S.WAITING else None,
                self._policy.breaker,
                now,
            ),
            attempts=self._episode_attempts,
            failures=self._policy.failures,
            next_attempt=iso_at(self._next_attempt_at, now),
            breaker=BreakerSnapshot.of(self._policy.breaker, now),
            human_action=human_action(
                self.id, self.state, last, self._dependencies.workers.stuck(self.id)
            ),
        )

    @property
    def incident(self) -> Incident | None:
        """The incident that it is in, or was in last."""
        return self._recorder.current

    @property
    def phone_last_seen(self) -> float | None:
        """When the account's phone last gave a sign, in seconds of wall clock; None: never, or
        before we watched.
        """
        return self._phone.seen_at

    def budget(self) -> Budget:
        """Its logins of the last 24 hours, and how many there may be."""
        return self._policy.budget(self._now())

    # --- small tools ------------------------------------------------------------------------------

    def _signal(self, *signals: Signal) -> None:
        """Step the machine; what is passed through within one call is not shown."""
        before = self.state
        state = before
        for signal in signals:
            state = step(state, signal)
        self.state = state
        if state is not before:
            self._since = self._began(state)
            self._recorder.moved(state)
            shown = self.reconnection()
            self._publish(
                SessionMoved(**msgspec.structs.asdict(shown), previous_state=before.value)
            )
            closed = state in AFTER_A_CLOSE
            due = f", next try at {shown.next_attempt}" if closed and shown.next_attempt else ""
            log.info(
                f"session is {state}{due}",
                action="state",
                session=self.id,
                before=before.value,
                reason=shown.close_reason if closed else None,
                message=shown.close_message if closed else None,
                rule=shown.rule if closed else None,
                next_attempt=shown.next_attempt if closed else None,
            )

    def _began(self, state: S) -> float:
        """When it came to be in this state: now, unless that is where the supervisor before this
        one left it. Wall clock, seconds.
        """
        now = time.time()
        if self._settled or state is S.STARTING:
            return now
        self._settled = True
        last = self._policy.last_close
        if state is S.OPEN:
            return min(now, self._recorder.left_since(state) or now)
        if last is not None and (state is S.WAITING or (state is S.PARKED and self._past.parked)):
            return min(now, last.at_wall_seconds)  # both begin with a close
        return now

    def _register(self) -> None:
        """Be part of the fleet, by the egress that it uses."""
        self._dependencies.gate.registered(
            self.id, self.row.proxy or DIRECT, partial(self.inbox.put_nowait, Uncharged())
        )

    def _wait(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        self._next_attempt_at = self._now() + seconds
        last = self._policy.last_close
        planned = (self._episode_attempts, last.at_wall_seconds if last else None)
        if planned != self._planned:
            # else nothing has been tried meanwhile (the store is away, say): it has been told
            self._planned = planned
            self._tell_reconnect(f"in {seconds:.1f} s", wait_seconds=round(seconds, 1))
        self._agenda.begin(partial(asyncio.sleep, seconds), Waited)

    def _current(self, number: int) -> Attempt | None:
        """The attempt under way, if that is its number."""
        return self.attempt if self.attempt is not None and self.attempt.number == number else None

    def _expect_report(self, attempt: Attempt, seconds: float) -> None:
        """The worker owes a report by then (and some grace); else it is ended, and the verdict is
        the reason, or that it hung.
        """
        self._agenda.clear_deadlines()
        self._agenda.later(seconds + REPORT_GRACE_SECONDS, Overdue(attempt.number))

    def _close_socket(self, attempt: Attempt, verdict: CloseReason) -> None:
        attempt.unwatch()
        attempt.verdict = verdict
        self._expect_report(attempt, 0.0)
        self._slot.tell(wire.Close(self.id))

    def _end_worker(self, attempt: Attempt, verdict: CloseReason) -> None:
        attempt.unwatch()
        attempt.verdict = verdict
        if self.worker is not None:
            self.worker.kill()

    def _end_attempt(self) -> None:
        self._agenda.clear_deadlines()
        ended, self.attempt = self.attempt, None
        if ended is not None:
            ended.end()

    async def _want(self, wanted: bool) -> None:
        if self.wanted != wanted:
            await self._dependencies.store.set_wanted(self.id, wanted)
            self.wanted = wanted
            self.row = msgspec.structs.replace(self.row, restored=False)

    def _save(self) -> None:
        if not self._taken_up:
            return  # it may say that the number is banned
        self._dependencies.store.save_memory(self.id, self._encoded())

    def _encoded(self, parked: bool | None = None) -> bytes:
        """What is remembered.

        `parked`: of a state that it is about to have; else of the one that it has.
        """
        parked = self.state is S.PARKED if parked is None else parked
        learned = self._policy.learned
        remembered = Remembered(
            learned.policy,
            learned.breaker,
            learned.last_close,
            parked,
            self._next_attempt_at,
            self._judged,
            learned.baseline,
            incident=self._recorder.remembered,
            phone=self._phone,
            opened=self._opened(),
            counted=self._counted,
        )
        return encode(remembered, self._now())

    def _opened(self) -> Opened | None:
        """What a successor has to know of the open socket, if there is one: its worker tells only
        of a socket that it still has.
        """
        open_one = self.attempt
        if open_one is None or open_one.opened_at is None:
            return None
        return Opened(self._slot.epoch, open_one.number, open_one.stable)

    def _publish(self, told: EventData | AlertChange) -> None:
        self._dependencies.publish(self.id, told)

    def _tell_reconnect(self, when: str, **more: float) -> None:
        """A line for each reconnection that is planned: which attempt, when, and why."""
        last = self._policy.last_close
        self._away_since = self._now() if self._away_since is None else self._away_since
        reason = last.reason if last else None
        log.info(
            f"reconnect: attempt {self._episode_attempts + 1} {when}, after"
            f" {reason or 'a restart'}",
            action="reconnect_planned",
            session=self.id,
            attempt=self._episode_attempts + 1,
            reason=reason,
            rule=last.rule if last else None,
            **more,
        )

    def _tell_reconnected(self) -> None:
        """A line when it is open again."""
        since, self._away_since = self._away_since, None
        if since is not None:
            last, away = self._policy.last_close, self._now() - since
            log.info(
                f"reconnected: open again after {away:.1f} s, at attempt {self._episode_attempts}",
                action="reconnected",
                session=self.id,
                attempt=self._episode_attempts,
                away_seconds=round(away, 1),
                reason=last.reason if last else None,
            )

    # --- alerts -----------------------------------------------------------------------------------

    def _alert(self, name: str, message: str) -> None:
        """Tell of what has happened, and is over."""
        self._publish(AlertChange(name=name, message=message))

    def _begin_alert(self, name: str, message: str, worse: bool = False) -> None:
        """Tell of what is wrong from now on, or `worse` than it was; `_look_at_alerts` tells when
        it is over (alerts.py).
        """
        last = self._policy.last_close
        goes_on = (
            name in alerts.OUTLIVES_A_RESTART
            and last is not None
            and last.at_wall_seconds < self._began_at
        )
        self._publish(
            AlertChange(
                name=name,
                message=message,
                state="began",
                severity="critical" if worse or name in alerts.CRITICAL else "warning",
                goes_on=goes_on,
            )
        )
        self._on.add(name)

    def _end_alert(self, name: str, message: str) -> None:
        if name in self._on:
            self._on.discard(name)
            self._publish(AlertChange(name=name, message=message, state="ended"))

    def _look_at_alerts(self) -> None:
        """After each event: which of the alerts that last have begun, and which are over."""
        last = self._policy.last_close
        crashes = last is not None and last.rule == CRASH_BUDGET_USED_UP
        if not self._on and not crashes and self._policy.breaker.state == "closed":
            return  # as nearly always
        facts = self._alert_facts()
        for name in sorted(self._on):
            words = alerts.over(name, facts)
            if words is not None:
                self._end_alert(name, words)
        for name, words in alerts.begun(facts).items():
            if name not in self._on:
                self._begin_alert(name, words)

    def _alert_facts(self) -> alerts.Facts:
        breaker, attempt = self._policy.breaker, self.attempt
        return alerts.Facts(
            state=self.state,
            stable=attempt is not None and attempt.stable,
            breaker_open=breaker.state == "open",
            breaker_tripped=breaker.tripped,
            failures=self._policy.failures,
            last=self._policy.last_close,
            left_deaf=attempt is not None and attempt.left_deaf,
            phone_offline=phone.is_offline(self._phone, time.time()),
            budget=self.budget(),
            next_attempt=iso_at(self._next_attempt_at, self._now()),
        )
