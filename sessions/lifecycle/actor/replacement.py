"""A successor for the worker of an open session: warmed up first, in an idle window, through the
gate; then the socket changes hands.
"""

import asyncio
from typing import Final

import structlog

from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.core import Core
from sessions.lifecycle.inbox import SuccessorReady
from sessions.lifecycle.machine import Signal
from sessions.lifecycle.worker_slot import UnreadableCredentials
from sessions.model import (
    CloseReason,
    SameDevice,
    SessionState,
    StoreError,
    UnreadableValue,
    WorkerGone,
)
from sessions.ports import Permit, WorkerHandle
from sessions.views import refusals
from sessions.workers.limits import Excess, Severity

S = SessionState

IDLE_SECONDS: Final = 5.0
"""The session is idle when no message has come or gone for so long, and none is under way."""
IDLE_PATIENCE_SECONDS: Final = 300.0
"""How long a replacement waits for such a moment; a number that is never idle is replaced then."""
REPLACED_AGAIN_SECONDS: Final = 1800.0
"""A successor that is above the soft limit at once shows that the limit is too low; each
replacement is a login.
"""

log = structlog.get_logger("session")


class Replacement:
    """How one worker takes the place of another."""

    def __init__(self, core: Core, attempts: Attempts) -> None:
        self._core = core
        self._attempts = attempts
        self._handing_over = False
        """A successor is warm, and about to take over."""
        self._replaceable_at = 0.0
        """From then on the worker may be replaced for being above a soft limit, again."""

    @property
    def is_under_way(self) -> bool:
        """Whether a successor for the worker of the open session is being warmed up, or takes over
        just now.
        """
        core = self._core
        return core.state is S.OPEN and (
            not core.pending.idle or self._handing_over or core.slot.worker is None
        )

    async def begin(self) -> None:
        """Begin to replace the worker: of an open session the socket changes hands when the
        successor is warm; a waiting one has none.
        """
        if self._core.state is S.OPEN and self._core.pending.idle:
            self._begin_replacement()
        elif self._core.state is S.WAITING and self._core.slot.worker is not None:
            await self._core.slot.clear()
        else:
            raise refusals.cannot_replace(self._core.id, self._core.state)

    def _begin_replacement(self) -> None:
        self._core.pending.begin(self._warm_up_successor, SuccessorReady)

    async def _warm_up_successor(self) -> tuple[WorkerHandle, Permit]:
        """A second worker and a permit for it, in an idle window; the open session goes on
        meanwhile.
        """
        give_up_at = self._core.now() + IDLE_PATIENCE_SECONDS
        while self._is_busy() and self._core.now() < give_up_at:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(1.0)
        successor = await self._core.dependencies.workers.bring_up(self._core.id)
        try:
            return successor, await self._core.dependencies.gate.admit(self._core.id)
        except BaseException:
            successor.kill()
            raise

    def _is_busy(self) -> bool:
        return not self._core.counters.idle(self._core.now(), IDLE_SECONDS)

    async def hand_over(self, successor: WorkerHandle, permit: Permit) -> None:
        """The socket changes hands: the old worker closes it and ends, then the warm one logs
        in.
        """
        # Also while the store is asked: else a roll takes it for one that came to nothing.
        self._handing_over = True
        try:
            await self._change_hands(successor, permit)
        finally:
            self._handing_over = False

    async def _change_hands(self, successor: WorkerHandle, permit: Permit) -> None:
        if not successor.alive:
            permit.finish(succeeded=False)
            self._core.alerts.happened(
                "replacement_failed",
                "The worker could not be replaced and goes on: its successor has ended.",
            )
            return
        try:  # before the socket closes: without an epoch nobody could open the next one
            await self._core.dependencies.store.must_write()
        except StoreError as error:
            permit.finish(succeeded=False)
            await successor.stop()
            self._core.alerts.happened(
                "replacement_failed", f"The worker could not be replaced and goes on: {error}"
            )
            return
        self._core.reconnects.planned(
            "at once, since its worker is replaced", self._core.episode_attempts
        )
        self._attempts.end_attempt()
        try:
            await self._core.slot.succeed(successor)
        except WorkerGone as error:
            permit.finish(succeeded=False)
            await successor.stop()
            close = self._attempts.ended(CloseReason.WORKER_EXITED, None, str(error))
            await self._attempts.closed(close)
        except (UnreadableCredentials, UnreadableValue) as error:
            permit.finish(succeeded=False)
            await successor.stop()
            await self._attempts.quarantine(str(error))
        except SameDevice as error:
            permit.finish(succeeded=False)
            await successor.stop()
            words = self._core.same_device(error)
            close = self._attempts.ended(CloseReason.SAME_DEVICE, None, words)
            await self._attempts.closed(close)
        except BaseException:
            permit.finish(succeeded=False)
            successor.kill()
            raise
        else:
            self._attempts.connect(permit, Signal.READY)

    def on_excess(self, excess: Excess) -> None:
        """The worker weighs too much or is too late: replaced in an idle window, or killed before
        it harms its neighbours.
        """
        if excess.severity is Severity.KILL and self._core.slot.worker is not None:
            self._core.alerts.happened("worker_killed", excess.words)
            if self._core.attempt is not None:
                self._core.attempt.words = excess.words
            self._core.slot.worker.kill()
        elif (
            self._core.state is S.OPEN
            and self._core.pending.idle
            and self._core.now() >= self._replaceable_at
        ):
            self._replaceable_at = self._core.now() + REPLACED_AGAIN_SECONDS
            self._core.alerts.happened("worker_replaced", excess.words)
            self._begin_replacement()
