"""One session's actor: one task, one inbox. Machine, policy, breaker, worker and gate put together.

Only this task changes the session. Everyone else puts an event into its inbox (sessions/events.py) and may read its snapshots.
At any time the session either waits for exactly one *step* (a worker, a ticket, the end of a wait), or its worker owes
it a report, or it rests (stopped, parked, quarantined); so it is never forgotten and never tries twice at once.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, assert_never

import msgspec
import structlog

from sessions import memory, refusals, wire
from sessions.agenda import Agenda
from sessions.attempt import Attempt
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
from sessions.health import FIRST_CHECK_SECONDS, check_until_failed
from sessions.judgement import Judgement
from sessions.machine import TRANSITIONS, Signal, step
from sessions.model import CloseReason, SessionNotFound, SessionState, StoreError, WasupError, WorkerGone
from sessions.policy import STORE_RETRY_SECONDS, Action, Credentials, DeafAction, Decision
from sessions.ports import Ticket, WorkerHandle
from sessions.snapshot import BreakerSnapshot, Reconnection, human_action, iso, iso_at
from sessions.store import SessionRow
from sessions.surroundings import Surroundings
from sessions.worker_process import Exit

S = SessionState

REPORT_GRACE_SECONDS: Final = 10.0
"""How much later than its own deadline a worker may report before it is taken for hung."""
CREDS_HOLD: Final = frozenset({"noiseKey", "signedIdentityKey", "signedPreKey", "registrationId", "advSecretKey"})
"""What all of Baileys' credentials hold; without one of these it cannot even begin a handshake."""
NO_FAILURE: Final = frozenset({CloseReason.RESTART_REQUIRED, CloseReason.REQUESTED, CloseReason.OWN_LOGOUT})
"""Closes that are no error of anybody."""

log = structlog.get_logger("session")


class Actor:
    """The only one who changes the session. Run `run()` as its task; others put events into `inbox` and read."""

    def __init__(self, row: SessionRow, around: Surroundings) -> None:
        config, self._now = around.config, asyncio.get_running_loop().time
        self.id: Final = row.id
        self.counters: Final = Counters()
        self.wanted = row.wanted
        self.row = row
        self._around = around
        try:
            self._past, self._readable = memory.decode(row.memory, self._now()), True
        except wire.WireError:
            self._past, self._readable = memory.decode(None, self._now()), False
        self._judgement: Final = Judgement(
            row.id, config.policy, config.breaker_threshold, config.breaker_timeout_seconds, self._past
        )
        self.inbox: Final[asyncio.Queue[Event]] = asyncio.Queue()
        self._agenda: Final = Agenda(row.id, self.inbox)
        self.state, self._since = S.STOPPED, time.time()
        self.worker: WorkerHandle | None = None
        self.attempt: Attempt | None = None
        self._next_attempt_at: float | None = None
        self._attempts = 0
        self._epoch = 0
        self._episode_attempts = 0
        self._forced = False
        """An operator wants the next attempt now."""
        self._logout_wanted = False
        """An operator wants the device unlinked; a connection lost meanwhile only puts it off."""
        self.retired = False

    def stored_row(self) -> SessionRow:
        """The session as it would be stored now."""
        return msgspec.structs.replace(self.row, wanted=self.wanted, memory=self._encoded())

    def reconnection(self) -> Reconnection:
        """Why the session is where it is and what comes next."""
        now, last = self._now(), self._judgement.last_close
        return Reconnection(
            state=self.state,
            since=iso(self._since),
            close_reason=last.reason if last else None,
            close_code=last.code if last else None,
            close_message=last.message if last else None,
            closed_at=iso(last.at_wall_seconds) if last else None,
            rule=last.rule if last else None,
            attempts=self._episode_attempts,
            failures=self._judgement.failures,
            next_attempt=iso_at(self._next_attempt_at, now),
            breaker=BreakerSnapshot.of(self._judgement.breaker, now),
            human_action=human_action(self.id, self.state, last),
        )

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
                self.inbox.put_nowait(FrameCame(worker, frame))

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        """The process has ended."""
        self.inbox.put_nowait(WorkerEnded(worker, end))

    # --- the actor --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until retired. Nothing that goes wrong inside leaves this task."""
        await self._guarded(self._resume())
        while not self.retired:
            event = await self.inbox.get()
            await self._guarded(self._handle(event))
        await self._clear_inbox()

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
        if not self.wanted or self.retired:
            return
        self._alert("session_error", why)
        if Signal.RETRY not in TRANSITIONS[self.state]:
            return  # parked or quarantined: our error is no reason to log in a number that is banned
        self._end_attempt()
        await self._drop_worker()
        self._signal(Signal.RETRY)
        self._wait(STORE_RETRY_SECONDS * (1 + self._around.dice.random()))

    async def _handle(self, event: Event) -> None:
        match event:
            case Asked():
                await self._on_asked(event)
            case FrameCame(worker, frame) if worker is self.worker:
                await self._on_frame(frame)
            case WorkerEnded(worker, end) if worker is self.worker:
                await self._on_worker_ended(end)
            case WorkerReady() | Admitted() | Waited() | StepFailed() if self._agenda.is_current(event):
                self._agenda.finish()
                await self._on_step(event)
            case WorkerReady(_, worker):
                await worker.stop()
            case Admitted(_, ticket):
                ticket.finish(succeeded=False)
            case StableReached() if current := self._current(event.attempt):
                self._on_stable(current)
            case CheckFailed(_, verdict) if current := self._current(event.attempt):
                self._on_check_failed(current, verdict)
            case Overdue() if current := self._current(event.attempt):
                self._end_worker(current, current.verdict or CloseReason.WORKER_HUNG)
            case FrameCame() | WorkerEnded() | Waited() | StepFailed() | StableReached() | CheckFailed() | Overdue():
                log.debug(
                    "an event of the past", action="event_dropped", session=self.id, event_type=type(event).__name__
                )
            case never:
                assert_never(never)

    async def _resume(self) -> None:
        """Take up what an earlier supervisor left: parked stays parked, a wait goes on, the rest starts."""
        if not self.wanted:
            return
        due = self._past.next_attempt_at
        if not self._readable:  # it may have been banned, or parked for good: only a human can say
            self._signal(Signal.START, Signal.QUARANTINE)
            self._alert("quarantined", "What is remembered of the session cannot be read; POST start begins anew.")
        elif self._past.parked:
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
            _answer(
                event.reply, refusal
            )  # a command checks and writes before it changes anything: nothing is half-done
        except BaseException:
            _answer(event.reply, WasupError("The supervisor failed to do that."))
            raise
        _answer(event.reply, None)

    async def _start(self) -> None:
        await self._want(True)
        blocked = self._judgement.breaker.seconds_until_trial(self._now())
        if self.state is S.STOPPED and blocked:  # stop and start are no way round an open breaker
            self._retry(blocked)
        elif self.state in {S.STOPPED, S.PARKED, S.QUARANTINED}:
            self._judgement.pardon()
            self._logout_wanted = False
            await self._go()
            self._save()

    async def _stop(self) -> None:
        await self._want(False)
        await self._rest(Signal.STOP)

    async def _retire(self) -> None:
        if self.state not in {S.STOPPED, S.QUARANTINED}:  # what could not be read is not overwritten
            self._save()
        await self._rest(None)
        self.retired = True

    async def _force(self) -> None:
        """Cut any wait short and let one attempt through, breaker or not; never past what a reconnect cannot mend."""
        judgement = self._judgement
        incurable = judgement.last_close if judgement.only_a_human_can_mend() else None
        refusal = refusals.vain_force(self.id, self.state, incurable)
        if refusal is not None:
            raise refusal
        if self.attempt is not None:
            self._forced = True
            self._close_socket(self.attempt, CloseReason.REQUESTED)
        elif self.state is S.STARTING:
            self._forced = True
        else:
            await self._go(urgent=True)

    async def _reset_breaker(self) -> None:
        self._judgement.reset()
        self._save()
        if self.state is S.WAITING:
            await self._go()

    async def _logout(self) -> None:
        if self.state is not S.OPEN or self.attempt is None:
            raise refusals.cannot_log_out(self.id, self.state)
        self._logout_wanted = True
        self._log_out(self.attempt)

    def _log_out(self, attempt: Attempt) -> None:
        attempt.unwatch()
        self._expect_report(attempt, 0.0)
        self._tell(wire.Logout(self.id, 0))

    # --- towards an attempt -----------------------------------------------------------------------------------------------

    async def _go(self, urgent: bool = False) -> None:
        """Take the next step towards an attempt: a worker, then a ticket."""
        self._forced = self._forced or urgent
        self._next_attempt_at = None
        if self.worker is not None:
            self._ask_gate()
        else:
            self._signal(Signal.START)
            self._agenda.begin(self._bring_up, WorkerReady)

    async def _bring_up(self) -> WorkerHandle:
        """A worker of a new epoch. The epoch first: while the store refuses, no process is started and nobody logs in."""
        self._epoch = await self._around.store.raise_epoch(self.id)
        return await self._around.workers.bring_up(self.id)

    def _ask_gate(self) -> None:
        if self.state is S.HELD and self._agenda.arriving:
            return  # a ticket is in the inbox already; never two at once
        ready = () if self.state is S.HELD else (Signal.READY,)
        ticket = None if self.state is S.HELD else self._around.gate.try_admit(self.id, self._forced)
        if ticket is not None:
            self._agenda.cancel()
            self._connect(ticket, *ready)
        else:
            self._signal(*ready)
            self._agenda.begin(partial(self._around.gate.admit, self.id, self._forced), Admitted)

    async def _on_step(self, event: Step) -> None:
        match event:
            case WorkerReady(_, worker):
                await self._assign(worker)
            case Admitted(_, ticket):
                self._connect(ticket)
            case Waited():
                await self._go()
            case StepFailed(_, WorkerGone() | TimeoutError() as error):
                words = str(error) or "The worker did not say hello in time."
                await self._closed(CloseReason.WORKER_EXITED, None, words)
            case StepFailed(_, error):
                raise error
            case never:
                assert_never(never)

    async def _assign(self, worker: WorkerHandle) -> None:
        if not worker.alive:
            await self._closed(CloseReason.WORKER_EXITED, None, "It ended before its first attempt.")
            return
        self.worker = worker
        worker.owner = self
        creds = await self._around.store.creds(self.id)
        if creds is not None and not _readable(creds):
            await self._quarantine()
            return
        self._tell(wire.Assign(self.id, self._epoch, msgspec.Raw(creds) if creds is not None else wire.NULL))
        self._ask_gate()

    def _connect(self, ticket: Ticket, *signals: Signal) -> None:
        self._attempts += 1
        self.attempt = Attempt(self._attempts, ticket)
        self._episode_attempts += 1
        self._forced = False
        self._judgement.breaker.begin_attempt()
        self._signal(*signals, Signal.ADMIT)
        self._expect_report(self.attempt, self._around.config.connect_timeout_seconds)
        self._tell(wire.Connect(self.id, self.attempt.number))

    # --- what the worker reports --------------------------------------------------------------------------------------

    def _current(self, number: int) -> Attempt | None:
        """The attempt under way, if that is its number."""
        return self.attempt if self.attempt is not None and self.attempt.number == number else None

    async def _on_frame(self, frame: wire.Up) -> None:
        match frame:
            case wire.Closed() | wire.Qr() | wire.State() | wire.Opened() if attempt := self._current(frame.attempt):
                await self._on_report(attempt, frame)
            case wire.Message():
                self.counters.message(self._now())
                self._publish("message", msgspec.to_builtins(frame))
            case wire.Receipt():
                self._publish("receipt", msgspec.to_builtins(frame))
            case _:
                kind = type(frame).__name__
                log.debug("a report of an earlier attempt", action="frame_dropped", session=self.id, frame=kind)

    async def _on_report(self, attempt: Attempt, report: wire.Closed | wire.Qr | wire.State | wire.Opened) -> None:
        match report:
            case wire.Closed():
                asked = report.reason is CloseReason.REQUESTED
                reason = attempt.verdict or report.reason if asked else report.reason
                await self._closed(reason, report.code, report.message, report.data)
            case wire.Qr():
                self._on_qr(attempt, report.qr)
            case wire.State():
                self._on_stage(attempt, report.stage)
            case wire.Opened():
                self._on_opened(attempt, report)
            case never:
                assert_never(never)

    def _on_qr(self, attempt: Attempt, qr: str) -> None:
        self._expect_report(attempt, self._around.config.qr_timeout_seconds)  # the next QR, or the end of the attempt
        attempt.admitted()
        attempt.qr = qr
        self._signal(Signal.SHOW_QR)
        self._publish("qr", {"qr": qr})

    def _on_stage(self, attempt: Attempt, stage: str) -> None:
        if stage == "login":
            attempt.landed()
        elif stage == "paired":
            attempt.qr = None
            self._signal(Signal.PAIR)
            self._publish("paired", {})
            self._expect_report(attempt, self._around.config.connect_timeout_seconds)

    def _on_opened(self, attempt: Attempt, frame: wire.Opened) -> None:
        self._agenda.clear_deadlines()
        attempt.admitted()
        attempt.qr, attempt.opened_at = None, self._now()
        self._judgement.breaker.opened()
        self.counters.opened(self._now())
        self.row = msgspec.structs.replace(self.row, jid=frame.jid, name=frame.name)
        self._around.store.save_identity(self.id, frame.jid, frame.name)
        self._signal(Signal.OPEN)
        self._save()
        if self._logout_wanted:
            self._log_out(attempt)
            return
        self._agenda.later(self._around.config.stable_after_seconds, StableReached(attempt.number))
        self._begin_checks(attempt)

    def _on_stable(self, attempt: Attempt) -> None:
        attempt.stable = True
        self._episode_attempts = 0
        self._judgement.stable()
        self._save()

    def _begin_checks(self, attempt: Attempt, after_seconds: float = FIRST_CHECK_SECONDS) -> None:
        assert self.worker is not None, "an open session has a worker"
        attempt.watch(self._check(self.worker, attempt.number, after_seconds), f"checks of {self.id}")

    async def _check(self, worker: WorkerHandle, number: int, after_seconds: float) -> None:
        health, verdict = self._around.config.health, None
        await asyncio.sleep(min(after_seconds, health.interval_seconds))
        while verdict is None:
            try:
                verdict = await check_until_failed(self.id, worker, self.counters, health, self._alert)
            except Exception:  # an error of our own must not leave an open session unwatched
                log.exception("a health check failed by itself", action="check_error", session=self.id)
                await asyncio.sleep(health.interval_seconds)
        self.inbox.put_nowait(CheckFailed(number, verdict))

    def _on_check_failed(self, attempt: Attempt, verdict: CloseReason) -> None:
        match verdict:
            case CloseReason.DEAF:
                self._on_deaf(attempt)
            case CloseReason.WORKER_HUNG:
                self._end_worker(attempt, verdict)
            case _:
                self._close_socket(attempt, verdict)

    def _on_deaf(self, attempt: Attempt) -> None:
        action = self._judgement.deaf(self._now())
        if not attempt.left_deaf:
            self._alert("deaf", action.value)
        match action:
            case DeafAction.RECONNECT:
                self._close_socket(attempt, CloseReason.DEAF)
            case DeafAction.REPLACE_WORKER:
                self._end_worker(attempt, CloseReason.DEAF)
            case DeafAction.LEAVE:
                attempt.left_deaf = True
                self._begin_checks(attempt, self._around.config.health.interval_seconds)
            case never:
                assert_never(never)

    async def _on_worker_ended(self, end: Exit) -> None:
        self.worker = None
        if self.attempt is not None or self.state is S.HELD:
            reason = (self.attempt and self.attempt.verdict) or CloseReason.WORKER_EXITED
            await self._closed(reason, end.status, f"The worker process {end}.")

    # --- when it closes -----------------------------------------------------------------------------------------------

    async def _closed(
        self, reason: CloseReason, code: int | None, message: str, data: dict[str, str] | None = None
    ) -> None:
        """The attempt or the open socket has ended: ask the policy, and do what it says."""
        now, ended = self._now(), self.attempt
        asked = ended is not None and ended.verdict is CloseReason.REQUESTED
        self._forced = self._forced and asked  # else the attempt that was forced is over
        if reason not in NO_FAILURE:
            self.counters.failed(now)
        self._end_attempt()
        if reason is CloseReason.REPLACED:
            self._around.workers.end_others(self, self.worker)
        roll = self._around.dice.random()
        await self._carry_out(
            reason, self._judgement.close(reason, code, message, data, ended is not None and ended.stable, now, roll)
        )

    async def _carry_out(self, reason: CloseReason, decision: Decision) -> None:
        if decision.credentials is Credentials.ARCHIVE:
            await self._drop_worker()
            await self._around.store.archive_credentials(self.id, reason)
            self.row = msgspec.structs.replace(self.row, jid=None, name=None)
        match decision.action:
            case Action.RETRY:
                self._retry(decision.wait_seconds or 0.0)
                if reason is CloseReason.STORE_FAILED:
                    await (
                        self._drop_worker()
                    )  # it is ahead of the store; a new one needs the store before it may log in
            case Action.HOLD:
                self._around.gate.hold(reason)
                self._retry(0.0)
            case Action.PARK:
                await self._park(decision.wait_seconds)
            case Action.DONE:
                await self._want(False)
                await self._rest(Signal.STOP)
            case never:
                assert_never(never)

    def _retry(self, wait_seconds: float) -> None:
        """Give the next try a time; an open breaker may put it off, an operator's force may not be put off."""
        wait = 0.0 if self._forced else max(wait_seconds, self._judgement.breaker.seconds_until_trial(self._now()))
        self._wait(wait)
        self._signal(Signal.RETRY)
        self._save()

    async def _park(self, wait_seconds: float | None) -> None:
        self._logout_wanted = False
        await self._drop_worker()
        if wait_seconds is not None:
            self._wait(wait_seconds)
        self._signal(Signal.PARK)
        self._alert("parked", human_action(self.id, self.state, self._judgement.last_close))
        self._save()

    async def _quarantine(self) -> None:
        await self._drop_worker()
        self._signal(Signal.QUARANTINE)
        self._alert("quarantined", "The stored credentials cannot be read; nothing was changed.")

    async def _rest(self, signal: Signal | None) -> None:
        """Let go of everything, in order: what we wait for, the socket and its worker, the state."""
        self._agenda.cancel()
        await self._drop_worker()
        self._end_attempt()
        self._next_attempt_at, self._forced, self._logout_wanted = None, False, False
        self._judgement.breaker.abandon_attempt(self._now())
        if signal is not None:
            self._signal(signal)
            self._save()

    # --- small tools --------------------------------------------------------------------------------------------------

    def _signal(self, *signals: Signal) -> None:
        """Step the machine; what is passed through within one call is not shown."""
        before = self.state
        state = before
        for signal in signals:
            state = step(state, signal)
        self.state = state
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

    def _wait(self, seconds: float) -> None:
        self._next_attempt_at = self._now() + max(0.0, seconds)
        self._agenda.begin(partial(asyncio.sleep, max(0.0, seconds)), Waited)

    def _expect_report(self, attempt: Attempt, seconds: float) -> None:
        """The worker owes a report by then (and some grace); else it is ended, and the verdict is the reason, or that it hung."""
        self._agenda.clear_deadlines()
        self._agenda.later(seconds + REPORT_GRACE_SECONDS, Overdue(attempt.number))

    def _close_socket(self, attempt: Attempt, verdict: CloseReason) -> None:
        attempt.unwatch()
        attempt.verdict = verdict
        self._expect_report(attempt, 0.0)
        self._tell(wire.Close(self.id))

    def _end_worker(self, attempt: Attempt, verdict: CloseReason) -> None:
        attempt.unwatch()
        attempt.verdict = verdict
        if self.worker is not None:
            self.worker.kill()

    def _tell(self, frame: wire.Down) -> None:
        if self.worker is not None:
            with contextlib.suppress(WorkerGone):  # then its end is on its way into the inbox
                self.worker.send(frame)

    async def _drop_worker(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            await worker.stop()

    def _end_attempt(self) -> None:
        self._agenda.clear_deadlines()
        ended, self.attempt = self.attempt, None
        if ended is not None:
            ended.end()

    async def _want(self, wanted: bool) -> None:
        if self.wanted != wanted:
            await self._around.store.set_wanted(self.id, wanted)
            self.wanted = wanted

    def _save(self) -> None:
        self._around.store.save_memory(self.id, self._encoded())

    def _encoded(self) -> bytes:
        remembered = self._judgement.remembered(self.state is S.PARKED, self._next_attempt_at)
        return memory.encode(remembered, self._now())

    def _publish(self, kind: str, data: dict[str, Any]) -> None:
        self._around.publish(self.id, kind, data)

    def _alert(self, name: str, message: str) -> None:
        log.warning(message, action="alert", session=self.id, alert=name)
        self._publish("alert", {"name": name, "message": message})

    async def _clear_inbox(self) -> None:
        """What came too late: questions are refused, workers and tickets given back."""
        while not self.inbox.empty():
            match self.inbox.get_nowait():
                case Asked(_, reply):
                    _answer(reply, SessionNotFound(f"Session {self.id} is gone."))
                case WorkerReady(_, worker):
                    await worker.stop()
                case Admitted(_, ticket):
                    ticket.finish(succeeded=False)


def _answer(reply: "asyncio.Future[None]", error: WasupError | None) -> None:
    if reply.done():  # whoever asked has gone
        return
    if error is None:
        reply.set_result(None)
    else:
        reply.set_exception(error)


def _readable(creds: bytes) -> bool:
    try:
        decoded = msgspec.json.decode(creds)
    except wire.UNREADABLE:
        return False
    return isinstance(decoded, dict) and decoded.keys() >= CREDS_HOLD
