"""One session's actor: one task, one inbox. Machine, policy, breaker, worker and gate put together.

Only this task changes the session. Everyone else puts an event into its inbox
(sessions/lifecycle/inbox.py) and may read its snapshots. At any time the session either waits for
exactly one *step* (a worker, a permit, the end of a wait), or its worker owes it a report, or it
rests (stopped, parked, quarantined); so it is never forgotten and never tries twice at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, assert_never

import msgspec
import structlog

from sessions.credentials.proxy import Proxy
from sessions.lifecycle.actor.replacing import Replacing
from sessions.lifecycle.inbox import (
    Admitted,
    Asked,
    CanaryOverdue,
    CheckFailed,
    Command,
    Event,
    Exceeded,
    FrameCame,
    KeysUnreadable,
    Overdue,
    PhoneDue,
    PolicyChanged,
    Restore,
    Reunited,
    StableReached,
    Step,
    StepFailed,
    SuccessorReady,
    Told,
    Uncharged,
    UseProxy,
    Waited,
    WorkerEnded,
    WorkerReady,
)
from sessions.lifecycle.machine import TRANSITIONS, Signal
from sessions.lifecycle.remembered import decode
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
from sessions.store import ArchiveRow
from sessions.views import refusals
from sessions.views.events import ProxyChanged, SessionRestored
from sessions.workers import wire
from sessions.workers.worker_process import Exit

S = SessionState

ERROR_STEPS: Final = 5
"""So often the wait after an error of our own is doubled: up to 160 to 320 s."""

PROGRESSING: Final = frozenset({S.CONNECTING, S.QR})
"""Where an attempt may report that it gets on."""

log = structlog.get_logger("session")


class Actor(Replacing):
    """The only one who changes the session.

    Run `run()` as its task; others put events into `inbox` and read.
    """

    async def run(self) -> None:
        """Live until retired.

        What goes wrong inside is mended here; what goes wrong while mending it leaves this task:
        see Session.run.
        """
        await self._guarded(self._resume())
        self._look_at_alerts()
        while not self.retired:
            event = await self.inbox.get()
            await self._guarded(self._handle(event))
            self._look_at_alerts()
        await self._clear_inbox()

    async def give_up(self) -> None:
        """It has failed: nobody is left waiting for it, and its worker ends, before another one
        takes its place.
        """
        self.retired = True
        for name in sorted(self._on):
            self._end_alert(name, "The session begins anew.")
        self._agenda.cancel()
        self._end_attempt()
        self._dependencies.gate.left(self.id)
        await self._dependencies.workers.terminate_returning(self.id)
        await self._slot.clear()
        await self._clear_inbox(restarts=True)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except SessionNotFound:
            await self._vanish()
        except StoreError as error:
            await self._start_over(str(error), self._tell_store_away(error))
        except Exception as error:
            log.exception(
                "an error of this program hit a session", action="session_error", session=self.id
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
                session=self.id,
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
                session=self.id,
                error=str(error),
            )
        return not known and self._dependencies.store.health.state == "ok"

    async def _vanish(self) -> None:
        """The store has no row of it: it was deleted by a write of which we were told that it may
        not have been made.
        """
        log.warning("a session is gone from the store", action="session_gone", session=self.id)
        await self._rest(None)
        self.retired = self.vanished = True

    async def _start_over(self, why: str, tell: bool = True) -> None:
        """After an error of our own: no worker, nothing under way, a try in a while; never
        forgotten.
        """
        if not self.wanted or self.retired:
            return
        if tell:
            self._alert("session_error", why)
        if Signal.RETRY not in TRANSITIONS[self.state]:
            # parked or quarantined: our error is no reason to log in a number that is banned
            return
        self._end_attempt()
        self._dependencies.gate.left(self.id)  # it may have been open
        await self._slot.clear()
        self._signal(Signal.RETRY)
        self._wait(self._patience_seconds())

    def _patience_seconds(self) -> float:
        """Until the next try after an error of our own: later and later, so that a fault that lasts
        costs little.
        """
        self._errors += 1
        steps = 0 if self._store_away else min(self._errors - 1, ERROR_STEPS)
        return float(STORE_RETRY_SECONDS * 2**steps * (1 + self._dependencies.rng.random()))

    async def _handle(self, event: Event) -> None:
        match event:
            case Asked():
                await self._on_asked(event)
            case FrameCame() | KeysUnreadable() | Exceeded() | WorkerEnded() if (
                event.worker is self.worker
            ):
                await self._on_told(event)
            case (
                WorkerReady() | Reunited() | SuccessorReady() | Admitted() | Waited() | StepFailed()
            ) if self._agenda.is_current(event):
                self._agenda.finish()
                await self._on_step(event)
            case WorkerReady() | Reunited() | SuccessorReady() | Admitted():
                await self._give_back(event)
            case StableReached() if current := self._current(event.attempt):
                self._on_stable(current)
            case CheckFailed(_, verdict, words) if current := self._current(event.attempt):
                current.words = words
                self._on_check_failed(current, verdict)
            case PhoneDue() if current := self._current(event.attempt):
                self._look_for_phone(current)
            case CanaryOverdue() if (
                current := self._current(event.attempt)
            ) and not current.has_landed:
                self._close_socket(current, CloseReason.ATTEMPT_TIMED_OUT)
            case PolicyChanged(config):
                self._policy.follow(config)
            case Uncharged():
                await self._uncharge()
            case Overdue() if current := self._current(event.attempt):
                self._end_worker(current, current.verdict or CloseReason.WORKER_HUNG)
            case _:
                log.debug(
                    "an event of the past",
                    action="event_dropped",
                    session=self.id,
                    event_type=type(event).__name__,
                )

    # --- what it waited for, and what its worker tells --------------------------------------------

    async def _on_step(self, event: Step) -> None:
        match event:
            case WorkerReady(_, worker):
                await self._assign(worker)
                self._store_away = False
            case Reunited(_, returned):
                await self._on_reunited(returned)
            case SuccessorReady(_, (successor, permit)):
                await self._hand_over(successor, permit)
            case Admitted(_, permit):
                self._connect(permit)
            case Waited() if (
                self.worker is None and self._dependencies.store.health.state == "failing"
            ):
                # A worker needs an epoch. Thousands would fail together, each with its events; the
                # store tries by itself.
                self._wait(STORE_RETRY_SECONDS * (1 + self._dependencies.rng.random()))
            case Waited():
                await self._go()
            case StepFailed(_, error) if not self._taken_up:
                # the reunion: whatever it was, it unparks nobody
                log.error(
                    "a reunion failed", action="reunion_failed", session=self.id, error=str(error)
                )
                await self._take_up()
            case StepFailed(_, error) if self.state is S.OPEN:
                self._alert(
                    "replacement_failed", f"The worker could not be replaced and goes on: {error}"
                )
            case StepFailed(_, WorkerGone() | TimeoutError() as error):
                words = str(error) or "The worker did not say hello in time."
                human = error.human if isinstance(error, SpawnRefused) else None
                await self._closed(self._ended(CloseReason.WORKER_EXITED, None, words, human=human))
            case StepFailed(_, error):
                raise error
            case never:
                assert_never(never)

    async def _on_told(self, told: Told) -> None:
        match told:
            case FrameCame(_, frame):
                await self._on_frame(frame)
            case KeysUnreadable(_, error):
                self._end_attempt()
                await self._quarantine(str(error))
            case Exceeded(_, excess):
                self._on_excess(excess)
            case WorkerEnded(_, end):
                await self._on_worker_ended(end)
            case never:
                assert_never(never)

    async def _on_frame(self, frame: wire.Up) -> None:
        match frame:
            case wire.Qr() | wire.State() | wire.Opened() if (
                self._current(frame.attempt) and self.state not in PROGRESSING
            ):
                self._end_who_speaks_out_of_turn(type(frame).__name__)
            case wire.Closed() | wire.Qr() | wire.State() | wire.Opened() if (
                attempt := self._current(frame.attempt)
            ):
                await self._on_report(attempt, frame)
            case wire.Phone(seen_at_seconds=at):
                self._phone = phone.seen(self._phone, at, time.time())
                self._save()
            case _:
                kind = type(frame).__name__
                log.debug(
                    "a report of an earlier attempt",
                    action="frame_dropped",
                    session=self.id,
                    frame=kind,
                )

    def _end_who_speaks_out_of_turn(self, kind: str) -> None:
        """An open session cannot be paired or opened again: its worker is not what we have started,
        or out of its mind.
        """
        log.error(
            "a worker speaks out of turn: it is ended",
            action="out_of_turn",
            session=self.id,
            frame=kind,
        )
        if self._slot.worker is not None:
            self._slot.worker.kill()

    async def _on_worker_ended(self, end: Exit) -> None:
        self._slot.worker = None
        if self.attempt is not None or self.state is S.HELD:
            reason = (self.attempt and self.attempt.verdict) or CloseReason.WORKER_EXITED
            words = self.attempt.words if self.attempt is not None else None
            words = words or f"The worker process {end}."
            await self._closed(self._ended(reason, end.status, words))

    async def _give_back(self, event: WorkerReady | Reunited | SuccessorReady | Admitted) -> None:
        """What was waited for came when it was no longer wanted."""
        match event:
            case Reunited() if self._leaving:
                log.debug("a worker is left to our successor", action="left", session=self.id)
            case WorkerReady(_, worker) | Reunited(_, Returned(worker, _)):
                await worker.stop()
            case SuccessorReady(_, (worker, permit)):
                permit.finish(succeeded=False)
                await worker.stop()
            case Admitted(_, permit):
                permit.finish(succeeded=False)

    async def _clear_inbox(self, restarts: bool = False) -> None:
        """What came too late: questions are refused, workers and permits given back."""
        while not self.inbox.empty():
            match self.inbox.get_nowait():
                case Asked(_, reply):
                    _answer(reply, refusals.has_no_actor(self.id, restarts=restarts))
                case WorkerReady() | Reunited() | SuccessorReady() | Admitted() as late:
                    await self._give_back(late)

    # --- commands ---------------------------------------------------------------------------------

    async def _on_asked(self, event: Asked) -> None:
        commands: dict[Command, Callable[[], Awaitable[None]]] = {
            Command.START: self._start,
            Command.STOP: self._stop,
            Command.FORCE: self._force,
            Command.RESET_BREAKER: self._reset_breaker,
            Command.LOGOUT: self._logout,
            Command.REPLACE: self._replace,
            Command.RETIRE: self._retire,
            Command.LEAVE: self._leave,
        }
        try:
            result: ArchiveRow | None = None
            match event.command:
                case Restore(archive, start):
                    result = await self._restore(archive, start)
                case UseProxy(proxy):
                    await self._use_proxy(proxy)
                case Command():
                    await commands[event.command]()
        except WasupError as refusal:
            _answer(
                event.reply, refusal
            )  # a command checks and writes before it changes anything: nothing is half-done
        except BaseException:
            _answer(event.reply, WasupError("The supervisor failed to do that."))
            raise
        _answer(event.reply, result)

    async def _start(self) -> None:
        await self._want(True)
        self._begin_anew()
        blocked = self._policy.breaker.seconds_until_trial(self._now())
        if self.state is S.STOPPED and blocked:  # stop and start are no way round an open breaker
            self._retry(blocked)
        elif self.state in {S.STOPPED, S.PARKED, S.QUARANTINED}:
            self._policy.clear_failures()
            self._logout_wanted = False
            await self._go()
            self._save()

    def _begin_anew(self) -> None:
        """An operator's word counts for more than what is remembered, also while the session still
        waits for its worker's call.
        """
        if not self._taken_up:
            self._past = msgspec.structs.replace(self._past, parked=False, next_attempt_at=None)
            self._readable = True
        if self.state is not S.STARTING:
            self._taken_up = True

    def _forget(self) -> None:
        """The credentials are others: nothing that was remembered holds for them.

        The store has forgotten it already.
        """
        self._past, self._readable, self._taken_up = decode(None, self._now()), True, True
        self._policy.forget()
        self._judged = self._counted = None
        self._episode_attempts = 0
        self._logout_wanted = False

    async def _stop(self) -> None:
        await self._want(False)
        await self._rest(Signal.STOP)

    async def _force(self) -> None:
        """Cut any wait short and let one attempt through, breaker or not; never past what a
        reconnect cannot mend.
        """
        judgement = self._policy
        incurable = judgement.last_close if judgement.only_a_human_can_mend() else None
        found_parked = self._past.parked and not self._taken_up
        refusal = refusals.vain_force(self.id, S.PARKED if found_parked else self.state, incurable)
        if refusal is not None:
            raise refusal
        self._begin_anew()
        self._tell_reconnect("at once, since an operator forces it")
        if self.attempt is not None:
            self._forced = True
            self._close_socket(self.attempt, CloseReason.REQUESTED)
        elif self.state is S.STARTING:
            self._forced = True
        else:
            await self._go(urgent=True)

    async def _reset_breaker(self) -> None:
        """Cut the breaker's wait, and no other: after a 440 or a ban it is the server that has to
        be given time.
        """
        due, now = self._next_attempt_at, self._now()
        put_off = self.state is S.WAITING and due is not None and self._policy.breaker.puts_off(due)
        self._policy.reset()
        if put_off and (self._own_wait_until or now) > now:
            self._wait((self._own_wait_until or now) - now)
        elif put_off:
            await self._go()
        self._save()

    async def _logout(self) -> None:
        if self.state is not S.OPEN or self.attempt is None:
            raise refusals.cannot_log_out(self.id, self.state)
        self._logout_wanted = True
        self._log_out(self.attempt)

    async def _restore(self, archive: int | None, start: bool) -> ArchiveRow:
        """Put archived credentials back, in place of those there are (which are archived
        themselves).
        """
        if self.state not in {S.STOPPED, S.PARKED, S.QUARANTINED}:
            raise refusals.cannot_restore(self.id, self.state)
        restored, self.row = await self._dependencies.store.restore_session(
            self.id, archive, wanted=start
        )
        self.wanted = start
        self._forget()
        self._publish(SessionRestored(restored.id, restored.reason))
        if start:
            await self._go()
        else:
            # not parked any more, and nothing may start it but an operator
            await self._rest(Signal.STOP)
        return restored

    async def _use_proxy(self, proxy: Proxy | None) -> None:
        """Only at rest: a live socket would go on by the way that it has."""
        if self.state not in {S.STOPPED, S.PARKED, S.QUARANTINED}:
            raise refusals.cannot_change_proxy(self.id, self.state)
        await self._dependencies.store.set_proxy(self.id, proxy)
        name = proxy.name if proxy else None
        self.row = msgspec.structs.replace(self.row, proxy=name)
        self._publish(ProxyChanged(name))

    async def _retire(self) -> None:
        if self.state is not S.STOPPED:
            self._save()
        await self._rest(None)
        self.retired = True

    async def _leave(self) -> None:
        """Let the worker live on for our successor: nothing is closed, and what is remembered is
        stored.
        """
        if self.state is not S.STOPPED:
            self._save()
        self._leaving = True
        self._agenda.cancel()
        self._agenda.clear_deadlines()
        if self.attempt is not None:
            self.attempt.unwatch()
        self.retired = True


def _answer(reply: "asyncio.Future[Any]", answer: Any) -> None:
    if reply.done():  # whoever asked has gone
        return
    if isinstance(answer, WasupError):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
