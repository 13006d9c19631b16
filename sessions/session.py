"""One session's actor: one task, one inbox. Machine, policy, breaker, worker and gate put together.

Only this task changes the session. Everyone else puts an event into its inbox (sessions/events.py) and may read its snapshots.
At any time the session either waits for exactly one *step* (a worker, a ticket, the end of a wait), or its worker owes
it a report, or it rests (stopped, parked, quarantined); so it is never forgotten and never tries twice at once.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import msgspec
import structlog

from sessions import memory as memories
from sessions import policy, wire
from sessions.breaker import Breaker
from sessions.counters import Counters
from sessions.events import (
    Admitted,
    Asked,
    CheckFailed,
    Command,
    Event,
    FrameCame,
    Overdue,
    StableReached,
    Step,
    StepFailed,
    Waited,
    WorkerEnded,
    WorkerReady,
)
from sessions.health import HealthConfig, check_until_failed
from sessions.keys import KeyService
from sessions.machine import TRANSITIONS, Signal, step
from sessions.memory import LastClose, Remembered
from sessions.model import (
    CloseReason,
    Refused,
    SessionNotFound,
    SessionState,
    StoreError,
    WasupError,
    WorkerGone,
)
from sessions.policy import Action, Credentials, DeafAction, Mend
from sessions.policy import Config as PolicyConfig
from sessions.ports import Admission, Publish, Ticket, WorkerHandle, WorkerSource
from sessions.snapshot import BreakerSnapshot, Performance, Reconnection, SessionView
from sessions.store import SessionRow, Store
from sessions.worker_process import Exit

S = SessionState

REPORT_GRACE_SECONDS: Final = 10.0
"""How much later than its own deadline a worker may report before it is taken for hung."""
STORE_RETRY_SECONDS: Final = 5.0
"""How soon a session tries again when the store failed it."""
ACTIVE: Final = frozenset({S.CONNECTING, S.QR, S.OPEN})
"""The states in which the worker has a socket, and owes a report when it ends."""

log = structlog.get_logger("session")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """A session's numbers, handed down from the settings; seconds and counts."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    breaker_threshold: int = 5
    breaker_timeout_seconds: float = 600.0
    connect_timeout_seconds: float = 30.0
    stable_after_seconds: float = 60.0
    send_timeout_seconds: float = 40.0
    health: HealthConfig = field(default_factory=HealthConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a session is given of the program around it."""

    config: SessionConfig
    store: Store
    keys: KeyService
    workers: WorkerSource
    gate: Admission
    publish: Publish
    dice: random.Random


class Session:
    """A session. Run `run()` as its task; the other public methods may be called from anywhere in the loop."""

    def __init__(self, row: SessionRow, around: Surroundings) -> None:
        loop = asyncio.get_running_loop()
        config = around.config
        remembered = memories.decode(row.memory, loop.time())
        self.id: Final = row.id
        self.counters: Final = Counters()
        self.wanted = row.wanted
        self._row = row
        self._around = around
        self._now: Final = loop.time
        self._state = S.STOPPED
        self._since = time.time()
        self._memory = remembered.policy
        self._last_close = remembered.last_close
        self._resume_from: Remembered | None = remembered
        self._breaker: Final = Breaker(config.breaker_threshold, config.breaker_timeout_seconds, remembered.breaker)
        self._inbox: Final[asyncio.Queue[Event]] = asyncio.Queue()
        self._worker: WorkerHandle | None = None
        self._ticket: Ticket | None = None
        self._step: asyncio.Task[None] | None = None
        self._step_number = 0
        self._next_attempt_at: float | None = None
        self._attempt = 0
        self._episode_attempts = 0
        self._forced = False
        self._qr: str | None = None
        self._opened_at: float | None = None
        self._stable = False
        self._verdict: CloseReason | None = None
        self._timers: Final[list[asyncio.TimerHandle]] = []
        self._checks: asyncio.Task[None] | None = None
        self._retired = False

    # --- asked from outside -----------------------------------------------------------------------------------------------

    async def ask(self, command: Command) -> None:
        """Have the actor do it. Raises Refused with the reason and what would help instead."""
        if self._retired:
            raise SessionNotFound(f"Session {self.id} is gone.")
        reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Asked(command, reply))
        await reply

    async def send_text(self, to: str, text: str) -> str:
        """Send a text; the message's id, after the server's ack. Raises Refused, WorkerRefused, WorkerGone, TimeoutError."""
        worker = self._worker
        if self._state is not S.OPEN or worker is None:
            hint = "GET /reconnection-status says when it will be open again."
            raise Refused(f"Session {self.id} is {self._state}, not open.", hint, "not_open")
        began = self._now()
        try:
            reply = await worker.request(
                lambda number: wire.Send(self.id, number, to, text), self._around.config.send_timeout_seconds
            )
        except (WasupError, TimeoutError):
            self.counters.failed(self._now())
            raise
        self.counters.succeeded(self._now(), (self._now() - began) * 1000)
        self.counters.message(self._now())
        return _result(reply, "id")

    async def pairing_code(self, phone: str) -> str:
        """A code to type on that phone. Raises Refused, WorkerRefused, WorkerGone, TimeoutError."""
        worker = self._worker
        if self._state not in {S.QR, S.CONNECTING} or worker is None or self._row.jid is not None:
            hint = "Only a session that waits for a phone can be paired: POST /sessions/{id}/start, wait for state qr."
            raise Refused(f"Session {self.id} is {self._state} and waits for no phone.", hint, "not_pairing")
        timeout = self._around.config.connect_timeout_seconds
        return _result(await worker.request(lambda number: wire.PairingCode(self.id, number, phone), timeout), "code")

    def qr(self) -> str:
        """The QR string that waits for a phone, exactly as Baileys emitted it. Raises Refused."""
        if self._qr is None:
            hint = "A QR exists while the state is qr. An open session needs none; a parked or stopped one: POST /sessions/{id}/start."
            raise Refused(f"Session {self.id} is {self._state} and shows no QR.", hint, "no_qr")
        return self._qr

    def view(self) -> SessionView:
        """The session as `/sessions` shows it."""
        row = self._row
        return SessionView(
            row.id,
            self._state,
            self.wanted,
            row.jid,
            row.name,
            _iso(row.created_at),
            self.reconnection(),
            self.performance(),
        )

    def reconnection(self) -> Reconnection:
        """Why the session is where it is and what comes next."""
        last = self._last_close
        until = self._breaker.opens_until()
        breaker = BreakerSnapshot(self._breaker.state, self._breaker.failures, self._wall(until))
        shown = last is not None and self._state is not S.OPEN
        return Reconnection(
            state=self._state,
            since=_iso(self._since),
            close_reason=last.reason if last else None,
            close_code=last.code if last else None,
            close_message=last.message if last else None,
            closed_at=_iso(last.at_wall_seconds) if last else None,
            rule=last.rule if last else None,
            attempts=self._episode_attempts,
            failures=self._memory.failures,
            next_attempt=self._wall(self._next_attempt_at),
            breaker=breaker,
            human_action=self._human_action(last if shown else None),
        )

    def performance(self) -> Performance:
        """The session's figures."""
        now, beat = self._now(), self._worker.beat if self._worker else None
        return Performance(
            state=self._state,
            connection_uptime=0 if self._opened_at is None else round((now - self._opened_at) * 1000),
            messages_processed=self.counters.messages_processed,
            messages_per_minute=self.counters.messages_per_minute(now),
            average_response_time=self.counters.average_response_ms(),
            error_count=self.counters.error_count,
            reconnect_count=self.counters.reconnect_count,
            worker_pid=self._worker.pid if self._worker else None,
            worker_memory=beat.rss_bytes if beat else None,
            worker_lag=beat.lag_ms if beat else None,
        )

    @property
    def state(self) -> SessionState:
        """Where it stands."""
        return self._state

    # --- told by the worker ---------------------------------------------------------------------------------------------

    def on_frame(self, worker: WorkerHandle, frame: wire.Up) -> None:
        """A frame came: key reads and writes go straight to the store (the epoch fences them), the rest into the inbox."""
        if not isinstance(frame, wire.SessionFrame) or frame.session != self.id:
            log.error(
                "a worker spoke of a session that is not its own",
                action="protocol_error",
                session=self.id,
                worker=worker.id,
            )
            worker.kill()
            return
        match frame:
            case wire.KeysGet():
                self._around.keys.read(worker, frame)
            case wire.KeysSet():
                self._around.keys.write(worker, frame)
            case _:
                self._inbox.put_nowait(FrameCame(worker, frame))

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        """The process has ended."""
        self._inbox.put_nowait(WorkerEnded(worker, end))

    # --- the actor --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until retired. Nothing that goes wrong inside leaves this task."""
        await self._guarded(self._resume())
        while not self._retired:
            event = await self._inbox.get()
            await self._guarded(self._handle(event))
        self._refuse_the_rest()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreError as error:
            log.error("the store failed a session", action="session_store_failed", session=self.id, error=str(error))
            await self._start_over(str(error))
        except Exception as error:
            log.exception("an error of this program hit a session", action="session_error", session=self.id)
            await self._start_over(f"internal error: {type(error).__name__}")

    async def _start_over(self, why: str) -> None:
        """After an error of our own: no worker, nothing under way, a try in a while; never forgotten."""
        if not self.wanted or self._retired:
            return
        self._clear_attempt(succeeded=False)
        await self._drop_worker()
        self._alert("session_error", why)
        if Signal.RETRY in TRANSITIONS[self._state]:
            self._signal(Signal.RETRY)
        self._wait(STORE_RETRY_SECONDS)

    async def _handle(self, event: Event) -> None:
        match event:
            case Asked():
                await self._on_asked(event)
            case FrameCame(worker, frame) if worker is self._worker:
                await self._on_frame(frame)
            case WorkerEnded(worker, end) if worker is self._worker:
                await self._on_worker_ended(end)
            case WorkerReady() | Admitted() | Waited() | StepFailed() if event.number == self._step_number:
                self._step = None
                await self._on_step(event)
            case WorkerReady(_, worker):
                await worker.stop()
            case Admitted(_, ticket):
                ticket.finish(succeeded=False)
            case StableReached(attempt) if attempt == self._attempt and self._state is S.OPEN:
                self._on_stable()
            case CheckFailed(attempt, verdict) if attempt == self._attempt and self._state is S.OPEN:
                self._on_check_failed(verdict)
            case Overdue(attempt) if attempt == self._attempt and self._state in ACTIVE:
                self._end_worker(self._verdict or CloseReason.WORKER_HUNG)
            case FrameCame() | WorkerEnded() | Waited() | StepFailed() | StableReached() | CheckFailed() | Overdue():
                log.debug(
                    "an event of the past", action="event_dropped", session=self.id, event_type=type(event).__name__
                )
            case never:
                assert_never(never)

    async def _resume(self) -> None:
        """Take up what an earlier supervisor left: parked stays parked, a wait goes on, the rest starts."""
        remembered, self._resume_from = self._resume_from, None
        if remembered is None or not self.wanted:
            return
        due = remembered.next_attempt_at
        if remembered.parked:
            self._signal(Signal.PARK)
            if due is not None:
                self._wait(due - self._now())
        elif due is not None and due > self._now():
            self._signal(Signal.RETRY)
            self._wait(due - self._now())
        else:
            await self._go()

    # --- commands ---------------------------------------------------------------------------------------------------------

    async def _on_asked(self, event: Asked) -> None:
        commands = {
            Command.START: self._start,
            Command.STOP: self._stop,
            Command.FORCE: self._force,
            Command.RESET_BREAKER: self._reset_breaker,
            Command.LOGOUT: self._logout,
            Command.RETIRE: self._retire,
        }
        try:
            await commands[event.command]()
        except WasupError as refusal:
            _answer(event.reply, refusal)
            if isinstance(refusal, StoreError):
                raise
        except BaseException:
            _answer(event.reply, WasupError("The supervisor failed to do that."))
            raise
        _answer(event.reply, None)

    async def _start(self) -> None:
        await self._want(True)
        if self._state in {S.STOPPED, S.PARKED, S.QUARANTINED}:
            self._memory = policy.stable(self._memory)
            await self._go()

    async def _stop(self) -> None:
        await self._want(False)
        await self._rest(Signal.STOP)

    async def _retire(self) -> None:
        if self._state is not S.STOPPED:
            self._save()
            await self._rest(None)
        self._retired = True

    async def _force(self) -> None:
        """Cut any wait short and let one attempt through, breaker or not; never past what a reconnect cannot mend."""
        self._refuse_vain_force()
        if self._state in {S.CONNECTING, S.OPEN}:
            self._forced = True
            self._close_socket(CloseReason.REQUESTED)
        elif self._state is not S.STARTING:
            await self._go(urgent=True)

    def _refuse_vain_force(self) -> None:
        last = self._last_close
        match self._state:
            case S.STOPPED:
                raise Refused(f"Session {self.id} is stopped.", "POST /sessions/{id}/start starts it.", "stopped")
            case S.QUARANTINED:
                raise Refused(
                    f"Session {self.id} is quarantined.",
                    "Its stored credentials cannot be read; see its events.",
                    "quarantined",
                )
            case S.QR:
                raise Refused(
                    f"Session {self.id} waits for a phone.",
                    "Scan the QR (GET /sessions/{id}/qr); a reconnect cannot help.",
                    "qr",
                )
            case S.PARKED if last is not None and policy.RULES[last.reason].mend is Mend.HUMAN:
                raise Refused(f"Session {self.id} is parked: {last.reason}.", last.human, last.reason.value)
            case _:
                return

    async def _reset_breaker(self) -> None:
        self._breaker.reset()
        self._memory = policy.stable(self._memory)
        self._save()
        if self._state is S.WAITING:
            await self._go()

    async def _logout(self) -> None:
        if self._state is not S.OPEN or self._worker is None:
            hint = "Only an open session can tell WhatsApp. Unlink it on the phone, or DELETE the session (its credentials are archived)."
            raise Refused(f"Session {self.id} is {self._state}.", hint, "not_open")
        self._worker.send(wire.Logout(self.id, 0))
        self._expect_report(0.0, CloseReason.OWN_LOGOUT)

    # --- towards an attempt -----------------------------------------------------------------------------------------------

    async def _go(self, urgent: bool = False) -> None:
        """Take the next step towards an attempt: a worker, then a ticket."""
        self._forced = self._forced or urgent
        self._next_attempt_at = None
        if self._worker is not None:
            self._ask_gate()
        else:
            self._signal(Signal.START)
            self._begin_step(self._around.workers.bring_up(self.id), WorkerReady)

    def _ask_gate(self) -> None:
        ready = () if self._state is S.HELD else (Signal.READY,)
        ticket = self._around.gate.try_admit(self.id, self._forced)
        if ticket is not None:
            self._cancel_step()
            self._connect(ticket, *ready)
        else:
            self._signal(*ready)
            self._begin_step(self._around.gate.admit(self.id, self._forced), Admitted)

    async def _on_step(self, event: Step) -> None:
        match event:
            case WorkerReady(_, worker):
                await self._assign(worker)
            case Admitted(_, ticket):
                self._connect(ticket)
            case Waited():
                await self._go()
            case StepFailed(_, WorkerGone() | TimeoutError() as error):
                await self._closed(
                    CloseReason.WORKER_EXITED, None, str(error) or "The worker did not say hello in time."
                )
            case StepFailed(_, error):
                raise error
            case never:
                assert_never(never)

    async def _assign(self, worker: WorkerHandle) -> None:
        if not worker.alive:
            await self._closed(CloseReason.WORKER_EXITED, None, "It ended before its first attempt.")
            return
        self._worker = worker
        worker.owner = self
        store = self._around.store
        epoch = await store.raise_epoch(self.id)
        creds = await store.creds(self.id)
        if creds is not None and not _readable(creds):
            await self._quarantine()
            return
        worker.send(wire.Assign(self.id, epoch, msgspec.Raw(creds) if creds is not None else wire.NULL))
        self._ask_gate()

    def _connect(self, ticket: Ticket, *signals: Signal) -> None:
        assert self._worker is not None, "a ticket is asked for only with a worker"
        self._ticket = ticket
        self._attempt += 1
        self._episode_attempts += 1
        self._forced = False
        self._breaker.begin_attempt()
        self._signal(*signals, Signal.ADMIT)
        self._expect_report(self._around.config.connect_timeout_seconds, None)
        self._worker.send(wire.Connect(self.id, self._attempt))

    # --- what the worker reports --------------------------------------------------------------------------------------

    async def _on_frame(self, frame: wire.Up) -> None:
        match frame:
            case wire.Closed() | wire.Qr() | wire.State() | wire.Opened() if (
                self._state in ACTIVE and frame.attempt == self._attempt
            ):
                await self._on_report(frame)
            case wire.Message():
                self.counters.message(self._now())
                self._publish("message", msgspec.to_builtins(frame))
            case wire.Receipt():
                self._publish("receipt", msgspec.to_builtins(frame))
            case _:
                log.debug(
                    "a report of an earlier attempt",
                    action="frame_dropped",
                    session=self.id,
                    frame=type(frame).__name__,
                )

    async def _on_report(self, report: wire.Closed | wire.Qr | wire.State | wire.Opened) -> None:
        match report:
            case wire.Closed():
                asked = report.reason is CloseReason.REQUESTED
                reason = self._verdict or report.reason if asked else report.reason
                await self._closed(reason, report.code, report.message, report.data)
            case wire.Qr():
                self._on_qr(report.qr)
            case wire.State():
                self._on_stage(report.stage)
            case wire.Opened():
                self._on_opened(report)
            case never:
                assert_never(never)

    def _on_qr(self, qr: str) -> None:
        self._cancel_timers()  # from here on Baileys' own QR timers rule
        self._finish_ticket(succeeded=True)
        self._qr = qr
        self._signal(Signal.SHOW_QR)
        self._publish("qr", {"qr": qr})

    def _on_stage(self, stage: str) -> None:
        if stage == "login" and self._ticket is not None:
            self._ticket.landed()
        elif stage == "paired":
            self._qr = None
            self._signal(Signal.PAIR)
            self._publish("paired", {})
            self._expect_report(self._around.config.connect_timeout_seconds, None)

    def _on_opened(self, frame: wire.Opened) -> None:
        config = self._around.config
        now = self._now()
        self._cancel_timers()
        self._finish_ticket(succeeded=True)
        self._breaker.opened()
        self.counters.opened(now)
        self._qr, self._opened_at, self._stable = None, now, False
        self._row = msgspec.structs.replace(self._row, jid=frame.jid, name=frame.name)
        self._around.store.save_identity(self.id, frame.jid, frame.name)
        self._signal(Signal.OPEN)
        self._save()
        self._later(config.stable_after_seconds, StableReached(self._attempt))
        assert self._worker is not None, "an opened frame comes from the worker"
        self._checks = asyncio.create_task(self._check(self._worker, self._attempt), name=f"checks of {self.id}")

    def _on_stable(self) -> None:
        self._stable = True
        self._episode_attempts = 0
        self._memory = policy.stable(self._memory)
        self._breaker.stable()
        self._save()

    async def _check(self, worker: WorkerHandle, attempt: int) -> None:
        verdict = await check_until_failed(self.id, worker, self.counters, self._around.config.health, self._alert)
        self._inbox.put_nowait(CheckFailed(attempt, verdict))

    def _on_check_failed(self, verdict: CloseReason) -> None:
        worker = self._worker
        assert worker is not None, "an open session has a worker"
        match verdict:
            case CloseReason.DEAF:
                self._on_deaf(worker)
            case CloseReason.WORKER_HUNG:
                self._end_worker(verdict)
            case _:
                self._close_socket(verdict)

    def _on_deaf(self, worker: WorkerHandle) -> None:
        action, self._memory = policy.decide_deaf(self._memory, self._now())
        self._alert("deaf", action.value)
        match action:
            case DeafAction.RECONNECT:
                self._close_socket(CloseReason.DEAF)
            case DeafAction.REPLACE_WORKER:
                self._end_worker(CloseReason.DEAF)
            case DeafAction.LEAVE:
                self._checks = asyncio.create_task(self._check(worker, self._attempt), name=f"checks of {self.id}")
            case never:
                assert_never(never)

    async def _on_worker_ended(self, end: Exit) -> None:
        self._worker = None
        reason, self._verdict = self._verdict or CloseReason.WORKER_EXITED, None
        if self._state in ACTIVE or self._state is S.HELD:
            await self._closed(reason, end.status, f"The worker process {end}.")

    # --- when it closes -----------------------------------------------------------------------------------------------

    async def _closed(
        self, reason: CloseReason, code: int | None, message: str, data: dict[str, str] | None = None
    ) -> None:
        """The attempt or the open socket has ended: ask the policy, and do what it says."""
        now, was_stable = self._now(), self._stable
        if reason not in {CloseReason.RESTART_REQUIRED, CloseReason.REQUESTED, CloseReason.OWN_LOGOUT}:
            self.counters.failed(now)
        self._clear_attempt(succeeded=False)
        close = policy.Close(reason=reason, was_stable=was_stable, expire_seconds=_expiry(data))
        decision = policy.decide(close, self._memory, self._around.config.policy, now, self._around.dice.random())
        self._memory = decision.memory
        self._breaker.failed(now, decision.counts)
        if decision.opens_breaker:
            self._breaker.trip(now)
        if reason is not CloseReason.REQUESTED:
            human = policy.RULES[reason].human.replace("{id}", self.id)
            self._last_close = LastClose(reason, code, message, decision.rule, human, time.time())
        if reason is CloseReason.REPLACED:
            self._around.workers.end_others(self, self._worker)
        await self._carry_out(decision)

    async def _carry_out(self, decision: policy.Decision) -> None:
        if decision.credentials is Credentials.ARCHIVE:
            await self._drop_worker()
            await self._around.store.archive_credentials(self.id, str(self._last_close and self._last_close.reason))
            self._row = msgspec.structs.replace(self._row, jid=None, name=None)
        match decision.action:
            case Action.RETRY:
                self._retry(decision.wait_seconds or 0.0)
            case Action.HOLD:
                self._around.gate.hold(str(self._last_close and self._last_close.reason))
                self._retry(0.0)
            case Action.PARK:
                await self._drop_worker()
                self._next_attempt_at = None if decision.wait_seconds is None else self._now() + decision.wait_seconds
                self._signal(Signal.PARK)
                self._alert("parked", self._human_action(self._last_close))
                if decision.wait_seconds is not None:
                    self._wait(decision.wait_seconds)
                self._save()
            case Action.DONE:
                await self._want(False)
                await self._rest(Signal.STOP)
            case never:
                assert_never(never)

    def _retry(self, wait_seconds: float) -> None:
        """Give the next try a time; an open breaker may put it off, an operator's force may not be put off."""
        wait = 0.0 if self._forced else max(wait_seconds, self._breaker.seconds_until_trial(self._now()))
        self._next_attempt_at = self._now() + wait
        self._signal(Signal.RETRY)
        self._wait(wait)
        self._save()

    async def _quarantine(self) -> None:
        await self._drop_worker()
        self._signal(Signal.QUARANTINE)
        self._alert("quarantined", "The stored credentials cannot be read; nothing was changed.")

    async def _rest(self, signal: Signal | None) -> None:
        """Let go of everything, in order: what we wait for, the socket and its worker, the state."""
        self._cancel_step()
        await self._drop_worker()
        self._clear_attempt(succeeded=False)
        self._next_attempt_at = None
        if signal is not None:
            self._signal(signal)
            self._save()

    # --- small tools --------------------------------------------------------------------------------------------------

    def _signal(self, *signals: Signal) -> None:
        """Step the machine; what is passed through within one call is not shown."""
        before = self._state
        state = before
        for signal in signals:
            state = step(state, signal)
        self._state = state
        if state is not before:
            self._since = time.time()
            shown = self.reconnection()
            self._publish("state", msgspec.to_builtins(shown) | {"from": before.value})
            log.info(
                f"session is {state}",
                action="state",
                session=self.id,
                before=before.value,
                reason=shown.close_reason,
                rule=shown.rule,
            )

    def _begin_step(self, work: Coroutine[Any, Any, Any], done: Callable[[int, Any], Step]) -> None:
        self._cancel_step()
        self._step = asyncio.create_task(self._run_step(self._step_number, work, done), name=f"step of {self.id}")

    async def _run_step(self, number: int, work: Coroutine[Any, Any, Any], done: Callable[[int, Any], Step]) -> None:
        try:
            event = done(number, await work)
        except Exception as error:
            event = StepFailed(number, error)
        self._inbox.put_nowait(event)

    def _cancel_step(self) -> None:
        self._step_number += 1  # whatever is in the inbox of it is of the past
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def _wait(self, seconds: float) -> None:
        self._next_attempt_at = self._now() + max(0.0, seconds)
        self._begin_step(asyncio.sleep(max(0.0, seconds)), Waited)

    def _later(self, seconds: float, event: Event) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self._inbox.put_nowait, event))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _expect_report(self, seconds: float, verdict: CloseReason | None) -> None:
        """The worker owes a report by then (and some grace); else it is hung, or gone the way of the verdict."""
        self._cancel_timers()
        self._verdict = verdict
        self._later(seconds + REPORT_GRACE_SECONDS, Overdue(self._attempt))

    def _close_socket(self, verdict: CloseReason) -> None:
        self._stop_checks()
        self._expect_report(0.0, verdict)
        if self._worker is not None:
            with contextlib.suppress(WorkerGone):  # then its end is in the inbox already
                self._worker.send(wire.Close(self.id))

    def _end_worker(self, verdict: CloseReason) -> None:
        self._verdict = verdict
        if self._worker is not None:
            self._worker.kill()

    async def _drop_worker(self) -> None:
        worker, self._worker, self._verdict = self._worker, None, None
        if worker is not None:
            await worker.stop()

    def _clear_attempt(self, succeeded: bool) -> None:
        self._cancel_timers()
        self._stop_checks()
        self._finish_ticket(succeeded)
        self._qr, self._opened_at, self._stable, self._verdict = None, None, False, None

    def _finish_ticket(self, succeeded: bool) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.finish(succeeded)

    def _stop_checks(self) -> None:
        if self._checks is not None:
            self._checks.cancel()
            self._checks = None

    async def _want(self, wanted: bool) -> None:
        if self.wanted != wanted:
            await self._around.store.set_wanted(self.id, wanted)
            self.wanted = wanted

    def _save(self) -> None:
        now = self._now()
        parked = self._state is S.PARKED
        remembered = Remembered(self._memory, self._breaker.record, self._last_close, parked, self._next_attempt_at)
        self._around.store.save_memory(self.id, memories.encode(remembered, now))

    def _publish(self, kind: str, data: dict[str, Any]) -> None:
        self._around.publish(self.id, kind, data)

    def _alert(self, name: str, message: str) -> None:
        log.warning(message, action="alert", session=self.id, alert=name)
        self._publish("alert", {"name": name, "message": message})

    def _human_action(self, last: LastClose | None) -> str:
        match self._state:
            case S.QR:
                return f"Scan the QR with the phone: GET /sessions/{self.id}/qr"
            case S.STOPPED if not self.wanted:
                return f"Nothing, if it shall be stopped; else POST /sessions/{self.id}/start"
            case S.QUARANTINED:
                return "Restore a backup of the data directory; the stored credentials cannot be read."
            case S.PARKED if last is not None:
                return last.human
            case S.HELD | S.WAITING if last is not None and policy.RULES[last.reason].action is Action.HOLD:
                return last.human
            case _:
                return "Nothing: it comes back by itself." if self._state is not S.OPEN else "Nothing."

    def _wall(self, at: float | None) -> str | None:
        return None if at is None else _iso(time.time() + at - self._now())

    def _refuse_the_rest(self) -> None:
        while not self._inbox.empty():
            event = self._inbox.get_nowait()
            if isinstance(event, Asked):
                _answer(event.reply, SessionNotFound(f"Session {self.id} is gone."))


def _answer(reply: "asyncio.Future[None]", error: WasupError | None) -> None:
    if reply.done():  # whoever asked has gone
        return
    if error is None:
        reply.set_result(None)
    else:
        reply.set_exception(error)


def _iso(wall_seconds: float) -> str:
    return datetime.fromtimestamp(wall_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _readable(creds: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(creds), dict)
    except msgspec.MsgspecError:
        return False


def _expiry(data: dict[str, str] | None) -> float | None:
    """The seconds that a temporary ban's `<failure>` names (whatsmeow: attribute `expire`)."""
    try:
        return float((data or {})["expire"])
    except (KeyError, ValueError):
        return None


def _result(reply: wire.Replied | wire.Probed, name: str) -> str:
    if isinstance(reply, wire.Replied) and reply.result is not None:
        return reply.result[name]
    raise WorkerGone("The worker's answer was empty.")
