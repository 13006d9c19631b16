"""The way to an attempt (a worker, a permit, `connect`), and from its end to what comes next: wait,
hold, park, rest.
"""

import asyncio
import time
from functools import partial
from typing import Final, assert_never

import msgspec
import structlog

from sessions.lifecycle.actor.standing import Standing
from sessions.lifecycle.attempt import Attempt
from sessions.lifecycle.inbox import Admitted, CanaryOverdue, WorkerReady
from sessions.lifecycle.machine import Signal
from sessions.lifecycle.worker_slot import UnreadableCredentials
from sessions.model import CloseReason, SameDevice, SessionState, UnreadableValue
from sessions.policy import Action, Close, Credentials, Decision, expiry
from sessions.ports import Permit, WorkerHandle
from sessions.views.plain_text import plain
from sessions.views.snapshot import human_action
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
ON_ITS_WAY: Final = frozenset({S.WAITING, S.STARTING, S.HELD, S.CONNECTING})
"""Where a session is on its way back to open."""

log = structlog.get_logger("session")


class Attempting(Standing):
    """How attempts begin and end."""

    async def _go(self, urgent: bool = False) -> None:
        """Take the next step towards an attempt: a worker, then a permit."""
        self._forced = self._forced or urgent
        self._next_attempt_at = None
        self._register()
        if self.worker is not None:
            self._ask_gate()
        else:
            self._signal(Signal.START)
            self._agenda.begin(self._slot.bring_up, WorkerReady)

    def _ask_gate(self) -> None:
        if self.state is S.HELD and self._agenda.arriving:
            return  # a permit is in the inbox already; never two at once
        ready = () if self.state is S.HELD else (Signal.READY,)
        permit = (
            None
            if self.state is S.HELD
            else self._dependencies.gate.try_admit(self.id, self._forced)
        )
        if permit is not None:
            self._agenda.cancel()
            self._connect(permit, *ready)
        else:
            self._signal(*ready)
            self._agenda.begin(
                partial(self._dependencies.gate.admit, self.id, self._forced), Admitted
            )

    async def _assign(self, worker: WorkerHandle) -> None:
        if not worker.alive:
            words = "It ended before its first attempt."
            await self._closed(self._ended(CloseReason.WORKER_EXITED, None, words))
            return
        try:
            await self._slot.assign(worker)
        except (UnreadableCredentials, UnreadableValue) as error:
            await worker.stop()
            await self._quarantine(str(error))
        except SameDevice as error:
            await worker.stop()
            await self._closed(self._ended(CloseReason.SAME_DEVICE, None, str(error)))
        except BaseException:
            worker.kill()
            raise
        else:
            self._ask_gate()

    def _connect(self, permit: Permit, *signals: Signal) -> None:
        self._attempts += 1
        self.attempt = Attempt(self._attempts, permit)
        self._episode_attempts += 1
        self._forced = False
        self._policy.breaker.begin_attempt()
        self._recorder.attempted()
        self._signal(*signals, Signal.ADMIT)
        self._expect_report(self.attempt, self._dependencies.config.connect_timeout_seconds)
        if permit.deadline_seconds is not None:
            self._agenda.later(permit.deadline_seconds, CanaryOverdue(self.attempt.number))
        self._slot.tell(wire.Connect(self.id, self.attempt.number))

    def _count_login(self, attempt: Attempt) -> None:
        """It is on the wire: from now on it is one of the day's, once."""
        login = (self._slot.epoch, attempt.number)
        if self._counted == login:
            return
        self._counted = login
        warning = self._policy.attempted(self._now())
        if warning is not None:
            self._begin_alert("reconnect_budget", warning, worse=self._policy.spent(self._now()))
        self._save()  # our successor would not know

    # --- when it closes ---------------------------------------------------------------------------

    def _ended(
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
        ended = self.attempt
        return Close(
            reason=reason,
            at=self._now(),
            at_wall_seconds=time.time(),
            code=code if code is not None and abs(code) <= MAX_CODE else None,
            message=plain(message[:MAX_MESSAGE]),
            was_open=ended is not None and ended.opened_at is not None,
            was_stable=ended is not None and ended.stable,
            expire_seconds=expiry(data),
            human=human,
        )

    async def _closed(self, close: Close) -> None:
        """The attempt or the open socket has ended: ask the gate and the policy, and do what they
        say.
        """
        asked = self.attempt is not None and self.attempt.verdict is CloseReason.REQUESTED
        self._forced = self._forced and asked  # else the attempt that was forced is over
        if close.reason not in NO_FAILURE:
            self.counters.failed(close.at)
        self._agenda.cancel()
        # The gate hears of it while the attempt's permit is under way: by that permit it knows
        # whether a canary has ended, and for whom the server's answer speaks.
        verdict = self._dependencies.gate.closed(self.id, close, self.counters.busy(close.at))
        self._end_attempt()
        self._judged = (self._slot.epoch, self._attempts)
        if close.reason is CloseReason.REPLACED:
            self._dependencies.workers.end_others(self._slot, self.worker)
        decision = self._policy.close(close, verdict, self._dependencies.rng.random())
        self._recorder.closed(close, decision)
        if decision.uncharges:
            self._recorder.uncharged(self._policy.correlated)
        log.info(
            f"session has closed: {close.message}",
            action="closed",
            session=self.id,
            reason=close.reason,
            code=close.code,
            rule=decision.rule,
        )
        await self._carry_out(close, decision)

    async def _uncharge(self) -> bool:
        """An outage was what has closed it: nothing is charged, and instead of waiting alone it is
        held with the others.

        Not at once if the day's logins are used up: then it waits first, and is held after that.
        False: it is none of it.
        """
        now = self._now()
        if self.state not in ON_ITS_WAY or not self._policy.uncharge(now):
            return False
        self._recorder.uncharged(self._policy.correlated)
        if self.state is S.WAITING and not self._policy.spent(now):
            await self._go()
        self._save()
        return True

    async def _carry_out(self, close: Close, decision: Decision) -> None:
        if decision.credentials is Credentials.ARCHIVE:
            await self._archive(close.reason, decision.action)
        match decision.action:
            case Action.RETRY:
                self._retry(decision.wait_seconds or 0.0)
                if close.reason is CloseReason.STORE_FAILED:
                    # it is ahead of the store; a new one needs the store before it may log in
                    await self._slot.clear()
            case Action.HOLD:
                alone = ALONE_SECONDS if decision.wait_seconds is None else decision.wait_seconds
                self._retry(0.0 if self._dependencies.gate.hold(self.id, close.reason) else alone)
            case Action.PARK:
                await self._park(decision.wait_seconds)
            case Action.DONE:
                await self._want(False)
                await self._rest(Signal.STOP)
            case never:
                assert_never(never)

    async def _archive(self, reason: CloseReason, action: Action) -> None:
        """Put the credentials aside, and with them, all or nothing, remember what follows: else a
        restart in between would pair it anew.

        Not awaited for ever: whatever is written later waits behind it, so nothing starts the
        session before it is durable.
        """
        await self._slot.clear()  # its last writes go into the archive
        self.wanted = self.wanted and action is not Action.DONE
        remembered = self._encoded(parked=action is Action.PARK)
        stored = self._dependencies.store.archive_credentials(
            self.id, reason, memory=remembered, wanted=self.wanted
        )
        await asyncio.wait({stored}, timeout=ARCHIVE_PATIENCE_SECONDS)
        self.row = msgspec.structs.replace(self.row, jid=None, name=None)

    def _retry(self, wait_seconds: float) -> None:
        """Give the next try a time.

        An open breaker may put it off; not a logout that an operator waits for; and a force
        nothing.
        """
        now = self._now()
        wait = 0.0 if self._forced else wait_seconds
        self._own_wait_until = now + wait
        if not self._forced and not self._logout_wanted:
            wait = max(wait, self._policy.breaker.seconds_until_trial(now))
        self._wait(wait)
        self._signal(Signal.RETRY)
        self._save()

    async def _park(self, wait_seconds: float | None) -> None:
        self._logout_wanted = False
        self._dependencies.gate.left(self.id)
        if wait_seconds is not None:
            self._wait(wait_seconds)
        self._signal(Signal.PARK)
        self._save()  # before the worker, which could tell our successor, is gone
        last = self._policy.last_close
        words = human_action(self.id, self.state, last)
        if last is not None and last.reason is CloseReason.SAME_DEVICE:
            words = f"{last.message} {words}"  # who is woken by it wants the other's name
        self._begin_alert("parked", words)
        await self._slot.clear()

    async def _quarantine(self, cause: str) -> None:
        self._agenda.cancel()
        self._dependencies.gate.left(self.id)
        self._next_attempt_at = None
        await self._slot.clear()
        self._signal(Signal.QUARANTINE)
        self._begin_alert(
            "quarantined",
            f"The stored credentials cannot be read; nothing was changed. {cause}".strip(),
        )

    async def _rest(self, signal: Signal | None) -> None:
        """Let go of everything, in order: what we wait for, the socket and its worker, the
        state.
        """
        self._agenda.cancel()
        self._dependencies.gate.left(self.id)
        self._end_attempt()
        await self._dependencies.workers.terminate_returning(self.id)
        await self._slot.clear()
        self._next_attempt_at, self._forced, self._logout_wanted = None, False, False
        self._away_since = None
        self._policy.breaker.abandon_attempt(self._now())
        if signal is not None:
            self._signal(signal)
            self._save()
