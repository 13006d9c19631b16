"""One session's actor: one task, one inbox. Machine, policy, breaker, worker and gate put together.

Only this task changes the session. Everyone else puts an event into its inbox
(sessions/lifecycle/inbox.py) and may read its snapshots. At any time the session either waits for
exactly one *step* (a worker, a permit, the end of a wait), or its worker owes it a report, or it
rests (stopped, parked, quarantined); so it is never forgotten and never tries twice at once.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final, assert_never

import structlog

from sessions.lifecycle.actor.adoption import Adoption
from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.commands import Commands
from sessions.lifecycle.actor.core import Core, Life, Past
from sessions.lifecycle.actor.open_socket import OpenSocket
from sessions.lifecycle.actor.replacement import Replacement
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import (
    Admitted,
    Asked,
    CanaryOverdue,
    CheckFailed,
    Event,
    Exceeded,
    FrameCame,
    KeysUnreadable,
    Overdue,
    PhoneDue,
    PolicyChanged,
    StableReached,
    Step,
    StepFailed,
    SuccessorReady,
    Told,
    Uncharged,
    Waited,
    WorkerEnded,
    WorkerReady,
    WorkerReturned,
)
from sessions.lifecycle.machine import TRANSITIONS, Signal
from sessions.model import (
    CloseReason,
    SessionNotFound,
    SessionState,
    SpawnRefused,
    StoreError,
    WasupError,
    WorkerGone,
)
from sessions.policy import STORE_RETRY_SECONDS
from sessions.ports import Returned
from sessions.records import phone
from sessions.store import SessionRow
from sessions.views import refusals
from sessions.workers import wire
from sessions.workers.worker_process import Exit

S = SessionState

ERROR_STEPS: Final = 5
"""So often the wait after an error of our own is doubled: up to 160 to 320 s."""

PROGRESSING: Final = frozenset({S.CONNECTING, S.QR})
"""Where an attempt may report that it gets on."""

log = structlog.get_logger("session")


class Actor:
    """The only one who changes the session.

    Run `run()` as its task; others put events into `core.inbox` and read `core`. `attempts` and
    `open_socket` know this very core.
    """

    def __init__(self, core: Core, attempts: Attempts, open_socket: OpenSocket) -> None:
        self.core: Final = core
        self.open_socket: Final = open_socket
        self.replacement: Final = Replacement(core, attempts)
        self._attempts = attempts
        self._adoption = Adoption(core, attempts, open_socket)
        self._commands = Commands(core, attempts, open_socket, self.replacement)
        self._store_away = False
        """The store has failed it, and that was told; until it has a worker again."""

    @classmethod
    def of(cls, row: SessionRow, dependencies: Dependencies) -> "Actor":
        """The actor of a stored session."""
        core = Core(row, dependencies)
        attempts = Attempts(core)
        return cls(core, attempts, OpenSocket(core, attempts))

    @property
    def retired(self) -> bool:
        """Whether it has ended, or ends now."""
        return self.core.life is not Life.RUNNING

    async def run(self) -> None:
        """Live until retired.

        What goes wrong inside is mended here; what goes wrong while mending it leaves this task:
        see Session.run.
        """
        await self._guarded(self._adoption.resume())
        self.core.look_at_alerts()
        while self.core.life is Life.RUNNING:
            event = await self.core.inbox.get()
            await self._guarded(self._handle(event))
            self.core.look_at_alerts()
        await self._clear_inbox()

    async def give_up(self) -> None:
        """It has failed: nobody is left waiting for it, and its worker ends, before another one
        takes its place.
        """
        self.core.life = Life.RETIRED
        self.core.alerts.end_all("The session begins anew.")
        self._attempts.end_attempt()
        self.core.dependencies.gate.left(self.core.id)
        await self.core.dependencies.workers.terminate_returning(self.core.id)
        await self.core.slot.clear()
        await self._clear_inbox(restarts=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, and commit what it has changed; what goes wrong is mended."""
        try:
            await work
            self.core.commit()
        except SessionNotFound:
            await self._vanish()
        except StoreError as error:
            await self._start_over(str(error), self._tell_store_away(error))
        except Exception as error:
            log.exception(
                "an error of this program hit a session",
                action="session_error",
                session=self.core.id,
            )
            await self._start_over(f"internal error: {type(error).__name__}")
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody has cancelled us: what we waited for was.
            log.error(
                "what a session waited for was cancelled",
                action="session_error",
                session=self.core.id,
                exc_info=error,
            )
            await self._start_over("internal error: what it waited for was cancelled")

    def _tell_store_away(self, error: StoreError) -> bool:
        """Whether the session has to tell of it: once, until it has a worker again; and not when
        the store tells of it for all.
        """
        known, self._store_away = self._store_away, True
        if not known:
            log.error(
                "the store failed a session",
                action="session_store_failed",
                session=self.core.id,
                error=str(error),
            )
        return not known and self.core.dependencies.store.health.state == "ok"

    async def _vanish(self) -> None:
        """The store has no row of it: it was deleted by a write of which we were told that it may
        not have been made.
        """
        log.warning("a session is gone from the store", action="session_gone", session=self.core.id)
        await self._attempts.rest(None)
        self.core.life = Life.VANISHED

    async def _start_over(self, why: str, tell: bool = True) -> None:
        """After an error of our own: no worker, nothing under way, a try in a while; never
        forgotten.
        """
        self.core.commit()  # what was changed before the error
        if not self.core.intent.wanted or self.retired:
            return
        if tell:
            self.core.alerts.happened("session_error", why)
        if Signal.RETRY not in TRANSITIONS[self.core.state]:
            # parked or quarantined: our error is no reason to log in a number that is banned
            return
        self._attempts.end_attempt()
        self.core.dependencies.gate.left(self.core.id)  # it may have been open
        await self.core.slot.clear()
        self.core.signal(Signal.RETRY)
        self._attempts.wait(self._patience_seconds())
        self.core.commit()

    def _patience_seconds(self) -> float:
        """Until the next try after an error of our own: later and later, so that a fault that lasts
        costs little.
        """
        self.core.errors += 1
        steps = 0 if self._store_away else min(self.core.errors - 1, ERROR_STEPS)
        return float(STORE_RETRY_SECONDS * 2**steps * (1 + self.core.dependencies.rng.random()))

    async def _handle(self, event: Event) -> None:
        match event:
            case Asked():
                await self._on_asked(event)
            case FrameCame() | KeysUnreadable() | Exceeded() | WorkerEnded() if (
                event.worker is self.core.slot.worker
            ):
                await self._on_told(event)
            case (
                WorkerReady()
                | WorkerReturned()
                | SuccessorReady()
                | Admitted()
                | Waited()
                | StepFailed()
            ) if self.core.pending.ends_with(event):
                await self._on_step(event)
            case WorkerReady() | WorkerReturned() | SuccessorReady() | Admitted():
                await self._give_back(event)
            case StableReached() if current := self.core.current(event.attempt):
                self.open_socket.on_stable(current)
            case CheckFailed(_, verdict, words) if current := self.core.current(event.attempt):
                current.words = words
                self.open_socket.on_check_failed(current, verdict)
            case PhoneDue() if current := self.core.current(event.attempt):
                self.open_socket.look_for_phone(current)
            case CanaryOverdue() if (
                current := self.core.current(event.attempt)
            ) and not current.has_landed:
                self._attempts.close_socket(current, CloseReason.ATTEMPT_TIMED_OUT)
            case PolicyChanged(config):
                self.core.policy.follow(config)
            case Uncharged():
                await self._attempts.uncharge()
            case Overdue() if current := self.core.current(event.attempt):
                self._attempts.end_worker(current, current.verdict or CloseReason.WORKER_HUNG)
            case _:
                log.debug(
                    "an event of the past",
                    action="event_dropped",
                    session=self.core.id,
                    event_type=type(event).__name__,
                )

    # --- what it waited for, and what its worker tells --------------------------------------------

    async def _on_step(self, event: Step) -> None:
        match event:
            case WorkerReady(_, worker):
                await self._attempts.assign(worker)
                self._store_away = False
            case WorkerReturned(_, returned):
                await self._adoption.on_returned(returned)
            case SuccessorReady(_, (successor, permit)):
                await self.replacement.hand_over(successor, permit)
            case Admitted(_, permit):
                self._attempts.connect(permit)
            case Waited() if (
                self.core.slot.worker is None
                and self.core.dependencies.store.health.state == "failing"
            ):
                # A worker needs an epoch. Thousands would fail together, each with its events; the
                # store tries by itself.
                self._attempts.wait(STORE_RETRY_SECONDS * (1 + self.core.dependencies.rng.random()))
            case Waited():
                await self._attempts.go()
            case StepFailed(_, error) if self.core.past is not Past.TAKEN_UP:
                # Waiting for a returning worker failed: whatever it was, it unparks nobody.
                log.error(
                    "the wait for a returning worker failed",
                    action="await_reconnect_failed",
                    session=self.core.id,
                    error=str(error),
                )
                await self._adoption.take_up()
            case StepFailed(_, error) if self.core.state is S.OPEN:
                self.core.alerts.happened(
                    "replacement_failed", f"The worker could not be replaced and goes on: {error}"
                )
            case StepFailed(_, WorkerGone() | TimeoutError() as error):
                words = str(error) or "The worker did not say hello in time."
                human = error.human if isinstance(error, SpawnRefused) else None
                close = self._attempts.ended(CloseReason.WORKER_EXITED, None, words, human=human)
                await self._attempts.closed(close)
            case StepFailed(_, error):
                raise error
            case never:
                assert_never(never)

    async def _on_told(self, told: Told) -> None:
        match told:
            case FrameCame(_, frame):
                await self._on_frame(frame)
            case KeysUnreadable(_, error):
                self._attempts.end_attempt()
                await self._attempts.quarantine(str(error))
            case Exceeded(_, excess):
                self.replacement.on_excess(excess)
            case WorkerEnded(_, end):
                await self._on_worker_ended(end)
            case never:
                assert_never(never)

    async def _on_frame(self, frame: wire.Up) -> None:
        match frame:
            case wire.Qr() | wire.State() | wire.Opened() if (
                self.core.current(frame.attempt) and self.core.state not in PROGRESSING
            ):
                self._end_who_speaks_out_of_turn(type(frame).__name__)
            case wire.Closed() if attempt := self.core.current(frame.attempt):
                await self._attempts.on_closed(attempt, frame)
            case wire.Qr() | wire.State() | wire.Opened() if attempt := self.core.current(
                frame.attempt
            ):
                self.open_socket.on_report(attempt, frame)
            case wire.Phone(seen_at_seconds=at):
                self.core.phone = phone.seen(self.core.phone, at, time.time())
                self.core.save()
            case _:
                kind = type(frame).__name__
                log.debug(
                    "a report of an earlier attempt",
                    action="frame_dropped",
                    session=self.core.id,
                    frame=kind,
                )

    def _end_who_speaks_out_of_turn(self, kind: str) -> None:
        """An open session cannot be paired or opened again: its worker is not what we have started,
        or out of its mind.
        """
        log.error(
            "a worker speaks out of turn: it is ended",
            action="out_of_turn",
            session=self.core.id,
            frame=kind,
        )
        if self.core.slot.worker is not None:
            self.core.slot.worker.kill()

    async def _on_worker_ended(self, end: Exit) -> None:
        self.core.slot.worker = None
        if self.core.attempt is not None or self.core.state is S.HELD:
            reason = (self.core.attempt and self.core.attempt.verdict) or CloseReason.WORKER_EXITED
            words = self.core.attempt.words if self.core.attempt is not None else None
            words = words or f"The worker process {end}."
            close = self._attempts.ended(reason, end.status, words)
            await self._attempts.closed(close)

    async def _give_back(
        self, event: WorkerReady | WorkerReturned | SuccessorReady | Admitted
    ) -> None:
        """What was waited for came when it was no longer wanted."""
        match event:
            case WorkerReturned() if self.core.life is Life.LEFT:
                log.debug("a worker is left to our successor", action="left", session=self.core.id)
            case WorkerReady(_, worker) | WorkerReturned(_, Returned(worker, _)):
                await worker.stop()
            case SuccessorReady(_, (worker, permit)):
                permit.finish(succeeded=False)
                await worker.stop()
            case Admitted(_, permit):
                permit.finish(succeeded=False)

    async def _clear_inbox(self, restarts: bool = False) -> None:
        """What came too late: questions are refused, workers and permits given back."""
        while not self.core.inbox.empty():
            match self.core.inbox.get_nowait():
                case Asked(_, reply):
                    _answer(reply, refusals.has_no_actor(self.core.id, restarts=restarts))
                case WorkerReady() | WorkerReturned() | SuccessorReady() | Admitted() as late:
                    await self._give_back(late)

    # --- commands ---------------------------------------------------------------------------------

    async def _on_asked(self, event: Asked) -> None:
        try:
            result = await self._commands.carry_out(event.command)
            self.core.commit()
        except WasupError as refusal:
            _answer(event.reply, refusal)
        except BaseException:
            _answer(event.reply, WasupError("The supervisor failed to do that."))
            raise
        else:
            _answer(event.reply, result)


def _answer(reply: "asyncio.Future[Any]", answer: Any) -> None:
    if reply.done():  # whoever asked has gone
        return
    if isinstance(answer, WasupError):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
