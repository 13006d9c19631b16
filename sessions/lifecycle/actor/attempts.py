"""How attempts begin and end: the way to one (a worker, a permit, `connect`), and from its end to
what comes next (wait, hold, park, rest).
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

import msgspec
import structlog

from sessions.lifecycle.actor.core import Core
from sessions.lifecycle.attempt import Attempt
from sessions.lifecycle.inbox import Admitted, CanaryOverdue, Overdue, Waited, WorkerReady
from sessions.lifecycle.machine import Signal
from sessions.lifecycle.worker_slot import UnreadableCredentials
from sessions.model import ON_ITS_WAY, CloseReason, SameDevice, SessionState, UnreadableValue
from sessions.policy import Action, Close, Credentials, Decision, expiry
from sessions.ports import Permit, WorkerHandle
from sessions.views.plain_text import plain
from sessions.views.session_view import human_action
from sessions.workers import wire

S = SessionState

NO_FAILURE: Final = frozenset(
    {CloseReason.RESTART_REQUIRED, CloseReason.REQUESTED, CloseReason.OWN_LOGOUT}
)
"""Closes that are no error of anybody."""
ALONE_SECONDS: Final = 300.0
"""Who closes for a reason that may concern all, while it is not known to, waits for so long if the
policy says nothing else.
"""
ARCHIVE_PATIENCE_SECONDS: Final = 5.0
"""A logout is shown when it is stored; while the store fails, after so long: the write waits in its
turn, and operators are answered.
"""

MAX_MESSAGE: Final = 1000
"""Characters of a close's message that are kept: it is shown with the session.

What a server says in earnest is far shorter.
"""
MAX_CODE: Final = 2**31 - 1
"""No code of WhatsApp or HTTP has ten digits; a larger one is none."""
REPORT_GRACE_SECONDS: Final = 10.0
"""How much later than its own deadline a worker may report before it is taken for hung."""

log = structlog.get_logger("session")


class Attempts:
    """Begins attempts, and ends them.

    `number`: the last attempt's; the worker repeats it in each report. `own_wait_until`: until when
    the session would wait if there were no breaker, as far as that is known.
    """

    def __init__(self, core: Core) -> None:
        self.number = 0
        self.own_wait_until: float | None = None
        self._core = core
        self._gate = core.dependencies.gate
        self._config = core.dependencies.config

    # --- the way to one ---------------------------------------------------------------------------

    async def go(self, urgent: bool = False) -> None:
        """Take the next step towards an attempt: a worker, then a permit.

        The worker first: it takes a second to come up, and a permit that waited for it would keep
        its token from others meanwhile.
        """
        core = self._core
        core.intent = replace(core.intent, urgent=core.intent.urgent or urgent)
        core.next_attempt_at = None
        if core.state is not S.HELD:
            core.stages.begin(core.now())
        core.register()
        if core.slot.worker is not None:
            self.ask_gate()
        else:
            core.signal(Signal.START)
            core.pending.begin(core.slot.bring_up, WorkerReady)

    async def assign(self, worker: WorkerHandle) -> None:
        """The worker is up: it is given the session, and then the gate is asked."""
        if not worker.alive:
            words = "It ended before its first attempt."
            await self.closed(self.ended(CloseReason.WORKER_EXITED, None, words))
            return
        try:
            await self._core.slot.assign(worker)
        except (UnreadableCredentials, UnreadableValue) as error:
            await worker.stop()
            await self.quarantine(str(error))
        except SameDevice as error:
            await worker.stop()
            words = self._core.same_device(error)
            await self.closed(self.ended(CloseReason.SAME_DEVICE, None, words))
        except BaseException:
            worker.kill()
            raise
        else:
            self._core.stages.passed("spawn", self._core.now())
            self.ask_gate()

    def ask_gate(self) -> None:
        """A permit at once, if one is free; else the session is held until there is one.

        Of a session that is held already only an operator asks again, who forces it. Its place in
        the gate's queue is given up by cancelling the step, which takes a turn of the loop: a
        permit taken at once could be the second one. So it joins the queue anew, as urgent.
        """
        core, urgent = self._core, self._core.intent.urgent
        held = core.state is S.HELD
        if held and core.pending.arriving:
            return  # A permit is in the inbox already; never two at once.
        permit = None if held else self._gate.try_admit(core.id, urgent)
        ready = () if held else (Signal.READY,)
        if permit is not None:
            core.pending.cancel()
            self.connect(permit, *ready)
        else:
            core.signal(*ready)
            core.pending.begin(partial(self._gate.admit, core.id, urgent), Admitted)

    def connect(self, permit: Permit, *signals: Signal) -> None:
        """The gate lets it go: `signals`, and the attempt begins.

        An open breaker lets it through, too: that it was waited for is the wait's affair, and who
        comes here has waited, or an operator has forced it.
        """
        core = self._core
        self.number += 1
        core.stages.passed("gate", core.now())
        core.attempt = Attempt(self.number, permit)
        core.episode_attempts += 1
        core.intent = replace(core.intent, urgent=False)
        core.policy.breaker.begin_attempt()
        core.recorder.attempted()
        core.signal(*signals, Signal.ADMIT)
        self.expect_report(core.attempt, self._config.connect_timeout_seconds)
        if permit.deadline_seconds is not None:
            core.pending.later(permit.deadline_seconds, CanaryOverdue(self.number))
        core.slot.tell(wire.Connect(core.id, self.number))

    def count_login(self, attempt: Attempt) -> None:
        """It is on the wire: from now on it is one of the day's, once."""
        core, now = self._core, self._core.now()
        login = (core.slot.epoch, attempt.number)
        if core.counted == login:
            return
        core.counted = login
        warning = core.policy.attempted(now)
        if warning is not None:
            core.alerts.begin("reconnect_budget", warning, worse=core.policy.spent(now))
        core.save()  # our successor would not know

    # --- what its worker owes ---------------------------------------------------------------------

    def expect_report(self, attempt: Attempt, seconds: float) -> None:
        """The worker owes a report by then (and some grace); else it is ended, and the verdict is
        the reason, or that it hung.
        """
        self._core.pending.owe(seconds + REPORT_GRACE_SECONDS, Overdue(attempt.number))

    def close_socket(self, attempt: Attempt, verdict: CloseReason) -> None:
        """Have the worker close it; `verdict` is why."""
        attempt.unwatch()
        attempt.verdict = verdict
        self.expect_report(attempt, 0.0)
        self._core.slot.tell(wire.Close(self._core.id))

    def end_worker(self, attempt: Attempt, verdict: CloseReason) -> None:
        """Kill the worker, which obeys no more; `verdict` is why."""
        attempt.unwatch()
        attempt.verdict = verdict
        if self._core.slot.worker is not None:
            self._core.slot.worker.kill()

    def end_attempt(self) -> None:
        """There is none any more: nothing is waited for, and nothing is owed."""
        self._core.pending.clear()
        ended, self._core.attempt = self._core.attempt, None
        if ended is not None:
            ended.end()

    # --- when it closes ---------------------------------------------------------------------------

    def ended(
        self,
        reason: CloseReason,
        code: int | None,
        message: str,
        data: dict[str, str] | None = None,
        human: str | None = None,
    ) -> Close:
        """The close of the attempt under way, or of the open socket, as it is handed on from here.

        What the server, a proxy or a worker says of it is bounded and made fit to be seen.
        """
        ended = self._core.attempt
        return Close(
            reason=reason,
            at=self._core.now(),
            at_wall_seconds=time.time(),
            code=code if code is not None and abs(code) <= MAX_CODE else None,
            message=plain(message[:MAX_MESSAGE]),
            was_open=ended is not None and ended.opened_at is not None,
            was_stable=ended is not None and ended.stable,
            expire_seconds=expiry(data),
            human=human,
        )

    async def on_closed(self, attempt: Attempt, report: wire.Closed) -> None:
        """The worker reports that the socket has closed: for the reason that it tells, or, where we
        have closed it ourselves, for ours.
        """
        asked = report.reason is CloseReason.REQUESTED
        reason = attempt.verdict or report.reason if asked else report.reason
        message = attempt.words if asked and attempt.words is not None else report.message
        await self.closed(self.ended(reason, report.code, message, report.data))

    async def closed(self, close: Close) -> None:
        """The attempt or the open socket has ended: ask the gate and the policy, and do what they
        say.
        """
        core, ended = self._core, self._core.attempt
        asked = ended is not None and ended.verdict is CloseReason.REQUESTED
        # Else the attempt that was forced is over.
        core.intent = replace(core.intent, urgent=core.intent.urgent and asked)
        if close.reason not in NO_FAILURE:
            core.counters.failed(close.at)
        # The gate hears of it while the attempt's permit is under way: by that permit it knows
        # whether a canary has ended, and for whom the server's answer speaks.
        verdict = self._gate.closed(core.id, close, core.counters.busy(close.at))
        self.end_attempt()
        core.judged = (core.slot.epoch, self.number)
        if close.reason is CloseReason.REPLACED:
            core.dependencies.workers.end_others(core.slot, core.slot.worker)
        decision = core.policy.close(close, verdict, core.dependencies.rng.random())
        core.recorder.closed(close, decision)
        if decision.uncharges:
            core.recorder.uncharged(core.policy.correlated)
        log.info(
            f"session has closed: {close.message}",
            action="closed",
            session=core.id,
            reason=close.reason,
            code=close.code,
            rule=decision.rule,
        )
        await self.carry_out(close, decision)

    async def uncharge(self) -> bool:
        """An outage was what has closed it: nothing is charged, and instead of waiting alone it is
        held with the others.

        Not at once if the day's logins are used up: then it waits first, and is held after that.
        False: it is none of it.
        """
        core, now = self._core, self._core.now()
        if core.state not in ON_ITS_WAY or not core.policy.uncharge(now):
            return False
        core.recorder.uncharged(core.policy.correlated)
        if core.state is S.WAITING and not core.policy.spent(now):
            await self.go()
        core.save()
        return True

    async def carry_out(self, close: Close, decision: Decision) -> None:
        """Do what the policy says."""
        if decision.credentials is Credentials.ARCHIVE:
            await self._archive(close.reason, decision.action)
        match decision.action:
            case Action.RETRY:
                self.retry(decision.wait_seconds or 0.0, decision.blocked_seconds)
                if close.reason is CloseReason.STORE_FAILED:
                    # it is ahead of the store; a new one needs the store before it may log in
                    self._core.commit()
                    await self._core.slot.clear()
            case Action.HOLD:
                alone = ALONE_SECONDS if decision.wait_seconds is None else decision.wait_seconds
                is_held = self._gate.pause(self._core.id, close.reason)
                self.retry(0.0 if is_held else alone, decision.blocked_seconds)
            case Action.PARK:
                await self.park(decision.wait_seconds)
            case Action.DONE:
                await self._core.want(False)
                await self.rest(Signal.STOP)
            case never:
                assert_never(never)

    async def _archive(self, reason: CloseReason, action: Action) -> None:
        """Put the credentials aside, and with them, all or nothing, remember what follows: else a
        restart in between would pair it anew.

        Not awaited for ever: whatever is written later waits behind it, so nothing starts the
        session before it is durable.
        """
        core = self._core
        core.commit()
        await core.slot.clear()  # its last writes go into the archive
        wanted = core.intent.wanted and action is not Action.DONE
        core.intent = replace(core.intent, wanted=wanted)
        remembered = core.memory(parked=action is Action.PARK)
        stored = core.dependencies.store.archive_credentials(
            core.id, reason, memory=remembered(), wanted=wanted
        )
        await asyncio.wait({stored}, timeout=ARCHIVE_PATIENCE_SECONDS)
        core.row = msgspec.structs.replace(core.row, jid=None, name=None)

    def retry(self, wait_seconds: float, blocked_seconds: float) -> None:
        """Give the next try a time: after its own wait, and not before an open breaker lets it
        through (`blocked_seconds`).

        A logout that an operator waits for does not wait for the breaker; a forced try waits for
        nothing.
        """
        core, now, intent = self._core, self._core.now(), self._core.intent
        wait = 0.0 if intent.urgent else wait_seconds
        self.own_wait_until = now + wait
        self.wait(wait if intent.urgent or intent.logout else max(wait, blocked_seconds))
        core.signal(Signal.RETRY)
        core.save()

    def wait(self, seconds: float) -> None:
        """The next try is due in so many seconds."""
        core, seconds = self._core, max(0.0, seconds)
        core.next_attempt_at = core.now() + seconds
        core.reconnects.waits(seconds, core.episode_attempts)
        core.pending.begin(partial(asyncio.sleep, seconds), Waited)

    # --- where nothing is tried -------------------------------------------------------------------

    async def park(self, wait_seconds: float | None) -> None:
        """Give it to a human; `wait_seconds`: one try is made by itself after so long, if ever."""
        core = self._core
        core.intent = replace(core.intent, logout=False)
        self._gate.left(core.id)
        if wait_seconds is not None:
            self.wait(wait_seconds)
        core.signal(Signal.PARK)
        core.save()
        core.commit()  # before the worker, which could tell our successor, is gone
        last = core.policy.last_close
        words = human_action(core.id, core.state, last)
        if last is not None and last.reason is CloseReason.SAME_DEVICE:
            words = f"{last.message} {words}"  # who is woken by it wants to know which device
        core.alerts.begin("parked", words, cause=None if last is None else last.reason)
        await core.slot.clear()

    async def quarantine(self, cause: str) -> None:
        """The stored credentials cannot be read: nothing is tried, and so nothing overwritten."""
        core = self._core
        core.pending.cancel()
        self._gate.left(core.id)
        core.next_attempt_at = None
        await core.slot.clear()
        core.signal(Signal.QUARANTINE)
        words = f"The stored credentials cannot be read; nothing was changed. {cause}".strip()
        core.alerts.begin("quarantined", words)

    async def rest(self, signal: Signal | None) -> None:
        """End everything, in order: what we wait for, the socket and its worker, the state."""
        core = self._core
        core.commit()
        self._gate.left(core.id)
        self.end_attempt()
        await core.dependencies.workers.terminate_returning(core.id)
        await core.slot.clear()
        core.next_attempt_at = None
        core.intent = replace(core.intent, urgent=False, logout=False)
        core.reconnects.given_up()
        core.policy.breaker.abandon_attempt(core.now())
        if signal is not None:
            core.signal(signal)
            core.save()
