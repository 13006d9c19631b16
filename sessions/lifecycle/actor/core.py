"""The session core: what an actor's parts share. The session's state, what is wanted of it, what is
remembered and what is shown; nothing here decides anything.

The parts (attempts, open socket, adoption, replacement, commands) know the core and not each other,
unless they are handed each other by name (actor.py).
"""

import asyncio
import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import msgspec
import structlog

from sessions.lifecycle import alerts
from sessions.lifecycle.actor.reconnect_log import ReconnectLog
from sessions.lifecycle.actor.session_alerts import SessionAlerts
from sessions.lifecycle.attempt import Attempt
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Event, Uncharged
from sessions.lifecycle.machine import Signal, step
from sessions.lifecycle.pending import Pending
from sessions.lifecycle.remembered import Opened, Remembered, decode, encode
from sessions.lifecycle.worker_slot import WorkerSlot
from sessions.model import DIRECT, AlertChange, EventData, SameDevice, SessionState
from sessions.policy import CRASH_BUDGET_USED_UP, ClosePolicy
from sessions.records import phone
from sessions.records.changes import Changes
from sessions.records.counters import Counters
from sessions.records.incident_recorder import IncidentRecorder
from sessions.records.phone import PhoneRecord
from sessions.records.stages import StageClock
from sessions.store import SessionRow
from sessions.views.events import SessionMoved
from sessions.views.session_view import (
    BreakerSnapshot,
    Reconnection,
    human_action,
    iso_at,
    rule_shown,
)
from sessions.views.times import iso
from sessions.workers import wire

S = SessionState

WITHOUT_A_TRY: Final = frozenset({S.HELD, S.WAITING, S.STARTING})
"""Where a session is away, and no try of its own is under way that would tell why."""
AFTER_A_CLOSE: Final = frozenset({S.WAITING, S.PARKED, S.HELD})
"""States that the last close explains. An open session's last close is an old story."""

log = structlog.get_logger("session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What operators want of the session, beyond what the policy makes of it.

    `wanted`: that it runs, as stored. `urgent`: that the next attempt is made now, whatever puts it
    off. `logout`: that the device is unlinked; a connection that is lost meanwhile only puts it
    off.
    """

    wanted: bool
    urgent: bool = False
    logout: bool = False


class Life(enum.Enum):
    """Whether the actor lives, and else how it has ended."""

    RUNNING = "running"
    LEFT = "its worker goes on, for our successor"
    RETIRED = "its worker is stopped"
    VANISHED = "the store has no row of the session any more"


class Past(enum.Enum):
    """What has become of that which an earlier supervisor remembered of the session."""

    UNREADABLE = "it may say that the number is banned: it is never overwritten by our own doing"
    STORED = "it is read, and still to be taken up: it is not overwritten yet"
    TAKEN_UP = "it is ours: it may be overwritten"


class Core:
    """What the parts of one actor share.

    `attempt`: the one under way, or of the open socket. `next_attempt_at`: when the next is due, in
    seconds of the monotonic clock.
    """

    def __init__(self, row: SessionRow, dependencies: Dependencies) -> None:
        self.now: Final = asyncio.get_running_loop().time
        self.id: Final = row.id
        self.dependencies: Final = dependencies
        self.row = row
        self.intent = Intent(wanted=row.wanted)
        self.life = Life.RUNNING
        self.counters: Final = Counters(round_trips=dependencies.round_trips)
        self.stages: Final = StageClock()
        self.inbox: Final[asyncio.Queue[Event]] = asyncio.Queue()
        self.pending: Final = Pending(row.id, self.inbox)
        self.slot: Final = WorkerSlot(row.id, dependencies, self.inbox, self.counters)
        try:
            self.remembered, self.past = decode(row.memory, self.now()), Past.STORED
        except wire.WireError:
            self.remembered, self.past = decode(None, self.now()), Past.UNREADABLE
        config, remembered = dependencies.config, self.remembered
        self.policy: Final = ClosePolicy(
            row.id,
            config.policy,
            config.breaker_threshold,
            config.breaker_timeout_seconds,
            remembered.learned,
        )
        self.recorder: Final = IncidentRecorder(
            row.id, dependencies.store.records, remembered.incident
        )
        self.alerts: Final = SessionAlerts(self.publish, self.policy)
        self.reconnects: Final = ReconnectLog(row.id, self.policy, self.now)
        self.state, self._since = S.STOPPED, self.recorder.left_since(S.STOPPED) or time.time()
        self._shown = self.state
        """The state that was told last."""
        self._to_save = False
        """What is remembered has changed, and the store does not have it yet."""
        self._settled = not row.wanted
        """It has come to where the supervisor before this one may have left it, or has gone
        elsewhere.
        """
        self.attempt: Attempt | None = None
        self.next_attempt_at: float | None = None
        self.episode_attempts = 0
        """Attempts since it was last stable."""
        self.judged = remembered.judged
        """Epoch and attempt of the last close that the policy has judged."""
        self.counted = remembered.counted
        """Epoch and attempt of the last login that was counted."""
        self.phone = remembered.phone or PhoneRecord()
        self.errors = 0
        """Errors of our own in a row: each makes the next try later."""

    def current(self, number: int) -> Attempt | None:
        """The attempt under way, if that is its number."""
        return self.attempt if self.attempt is not None and self.attempt.number == number else None

    # --- state ------------------------------------------------------------------------------------

    def signal(self, *signals: Signal) -> None:
        """Step the machine; what is passed through before the next `commit` is not shown."""
        state = self.state
        for each in signals:
            state = step(state, each)
        self.state = state

    def _began(self, state: S) -> float:
        """When it came to be in this state: now, unless that is where the supervisor before this
        one left it. Wall clock, seconds.
        """
        now = time.time()
        if self._settled or state is S.STARTING:
            return now
        self._settled = True
        last = self.policy.last_close
        if state is S.OPEN:
            return min(now, self.recorder.left_since(state) or now)
        if last is not None and (
            state is S.WAITING or (state is S.PARKED and self.remembered.parked)
        ):
            return min(now, last.at_wall_seconds)  # both begin with a close
        return now

    def register(self) -> None:
        """Be part of the fleet, by the egress that it uses."""
        uncharge = partial(self.inbox.put_nowait, Uncharged())
        self.dependencies.gate.registered(self.id, self.row.proxy or DIRECT, uncharge)

    # --- what is wanted ---------------------------------------------------------------------------

    async def want(self, wanted: bool) -> None:
        """Whether it runs, from now on and after a restart. Raises StoreError."""
        self.commit()
        if self.intent.wanted != wanted:
            await self.dependencies.store.set_wanted(self.id, wanted)
            self.intent = replace(self.intent, wanted=wanted)
            self.row = msgspec.structs.replace(self.row, restored=False)

    # --- what is remembered -----------------------------------------------------------------------

    def save(self) -> None:
        """What is remembered has changed: the next `commit` has the store remember it. What is not
        taken up stays as it is: it may say that the number is banned.
        """
        self._to_save = self._to_save or self.past is Past.TAKEN_UP

    def commit(self) -> None:
        """What has changed goes to the store, all of it as one, and is told of; nobody waits for
        that.

        After each event, and before anything is awaited in the midst of one: whatever ends us then
        finds it on its way.
        """
        moved, to_save = self.state is not self._shown, self._to_save
        incident, move = self.recorder.take(self.state if moved else None)
        if not moved and not to_save and incident is None:
            return
        changes = Changes(
            session=self.id,
            memory=self.memory() if to_save else None,
            incident=incident,
            move=move,
        )
        try:
            if moved:
                changes = replace(changes, event=self._tell_of_move())
        finally:  # an error in what is told of a ban is no reason to forget the ban
            self.dependencies.record(changes)
            self._to_save = False

    def memory(self, parked: bool | None = None) -> Callable[[], bytes]:
        """What is remembered now, to be encoded when it is written.

        `parked`: of a state that it is about to have; else of the one that it has.
        """
        learned, attempt = self.policy.learned, self.attempt
        remembered = Remembered(
            policy=learned.policy,
            breaker=learned.breaker,
            last_close=learned.last_close,
            baseline=learned.baseline,
            parked=self.state is S.PARKED if parked is None else parked,
            next_attempt_at=self.next_attempt_at,
            judged=self.judged,
            incident=self.recorder.remembered,
            phone=self.phone,
            # A successor's worker tells only of a socket that it still has.
            opened=(
                None
                if attempt is None or attempt.opened_at is None
                else Opened(self.slot.epoch, attempt.number, attempt.stable)
            ),
            counted=self.counted,
        )
        return lambda: encode(remembered, self.now())

    def stored_row(self) -> SessionRow:
        """The session as it would be stored now."""
        memory = self.memory()() if self.past is Past.TAKEN_UP else self.row.memory
        return msgspec.structs.replace(self.row, wanted=self.intent.wanted, memory=memory)

    # --- what is shown ----------------------------------------------------------------------------

    def same_device(self, error: SameDevice) -> str:
        """The same in words for the close, which are shown, sent and written down wherever this
        session is: the other one may be another tenant's, and is named in the log alone.
        """
        log.warning(
            "another session is this device already",
            action="same_device",
            session=self.id,
            owner=error.owner,
        )
        return str(error.without_owner())

    def publish(self, told: EventData | AlertChange) -> None:
        """Show an event of the session, after what has changed before it."""
        self.commit()
        self.dependencies.publish(self.id, told)

    def _tell_of_move(self) -> SessionMoved:
        """The session has come to another state: the log's line, and the event."""
        before, state, self._shown = self._shown, self.state, self.state
        self._since = self._began(state)
        shown = self.reconnection()
        closed = state in AFTER_A_CLOSE
        due = f", next try at {shown.next_attempt_at}" if closed and shown.next_attempt_at else ""
        log.info(
            f"session is {state}{due}",
            action="state",
            session=self.id,
            before=before.value,
            reason=shown.close_reason if closed else None,
            message=shown.close_message if closed else None,
            rule=shown.rule if closed else None,
            next_attempt_at=shown.next_attempt_at if closed else None,
        )
        return SessionMoved(**msgspec.structs.asdict(shown), previous_state=before.value)

    def reconnection(self) -> Reconnection:
        """Why the session is where it is and what comes next."""
        now, last = self.now(), self.policy.last_close
        way = self.dependencies.gate.closed_way(self.id) if self.state in WITHOUT_A_TRY else None
        if way is not None:
            last = self.policy.as_found(way)
        due, breaker = self.next_attempt_at, self.policy.breaker
        return Reconnection(
            state=self.state,
            failures=self.policy.failures,
            attempts=self.episode_attempts,
            rule=rule_shown(last, due if self.state is S.WAITING else None, breaker, now),
            breaker=BreakerSnapshot.of(breaker, now),
            next_attempt_at=iso_at(due, now),
            since=iso(self._since),
            closed_at=iso(last.at_wall_seconds) if last else None,
            close_reason=last.reason if last else None,
            close_code=last.code if last else None,
            close_message=last.message if last else None,
            human_action=human_action(
                self.id, self.state, last, self.dependencies.workers.stuck(self.id)
            ),
        )

    def look_at_alerts(self) -> None:
        """After each event: which of the alerts that last have begun, and which are over."""
        last, breaker = self.policy.last_close, self.policy.breaker
        crashes = last is not None and last.rule == CRASH_BUDGET_USED_UP
        if not self.alerts.on and not crashes and breaker.state == "closed":
            return  # as nearly always
        attempt = self.attempt
        self.alerts.look(
            alerts.Facts(
                state=self.state,
                stable=attempt is not None and attempt.stable,
                breaker_open=breaker.state == "open",
                breaker_tripped=breaker.tripped,
                failures=self.policy.failures,
                last=last,
                left_deaf=attempt is not None and attempt.left_deaf,
                phone_offline=phone.is_offline(self.phone, time.time()),
                budget=self.policy.budget(self.now()),
                next_attempt_at=iso_at(self.next_attempt_at, self.now()),
            )
        )
