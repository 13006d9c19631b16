"""A successor for the worker of an open session: warmed up first, at a quiet moment, through the
gate; then the socket changes hands.
"""

import asyncio
from typing import Final

import structlog

from sessions.lifecycle.actor.adopting import Adopting
from sessions.lifecycle.inbox import SuccessorReady
from sessions.lifecycle.machine import Signal
from sessions.lifecycle.worker_slot import UnreadableCredentials
from sessions.model import CloseReason, SessionState, StoreError, UnreadableValue, WorkerGone
from sessions.ports import Permit, WorkerHandle
from sessions.views import refusals
from sessions.workers.limits import Excess, Severity

S = SessionState

QUIET_SECONDS: Final = 5.0
"""A moment is quiet when no message has come or gone for so long, and none is under way."""
QUIET_PATIENCE_SECONDS: Final = 300.0
"""How long a replacement waits for such a moment; a number that is never quiet is replaced then."""
REPLACED_AGAIN_SECONDS: Final = 1800.0
"""A successor that is above the soft limit at once shows that the limit is too low; each
replacement is a login.
"""

log = structlog.get_logger("session")


class Replacing(Adopting):
    """How one worker takes the place of another."""

    async def _replace(self) -> None:
        """Begin to replace the worker: of an open session the socket changes hands when the
        successor is warm; a waiting one has none.
        """
        if self.state is S.OPEN and self._agenda.idle:
            self._begin_replacement()
        elif self.state is S.WAITING and self.worker is not None:
            await self._slot.clear()
        else:
            raise refusals.cannot_replace(self.id, self.state)

    def _begin_replacement(self) -> None:
        self._agenda.begin(self._warm_up_successor, SuccessorReady)

    async def _warm_up_successor(self) -> tuple[WorkerHandle, Permit]:
        """A second worker and a permit for it, at a quiet moment; the open session goes on
        meanwhile.
        """
        give_up_at = self._now() + QUIET_PATIENCE_SECONDS
        while not self.counters.quiet(self._now(), QUIET_SECONDS) and self._now() < give_up_at:  # noqa: ASYNC110 - quiet is no event
            await asyncio.sleep(1.0)
        successor = await self._dependencies.workers.bring_up(self.id)
        try:
            return successor, await self._dependencies.gate.admit(self.id)
        except BaseException:
            successor.kill()
            raise

    async def _hand_over(self, successor: WorkerHandle, permit: Permit) -> None:
        """The socket changes hands: the old worker closes it and ends, then the warm one logs
        in.
        """
        self._handing_over = (
            # while the store is asked, too: else a roll takes it for a replacement that came to
            # nothing
            True
        )
        try:
            await self._change_hands(successor, permit)
        finally:
            self._handing_over = False

    async def _change_hands(self, successor: WorkerHandle, permit: Permit) -> None:
        if not successor.alive:
            permit.finish(succeeded=False)
            self._alert(
                "replacement_failed",
                "The worker could not be replaced and goes on: its successor has ended.",
            )
            return
        try:  # before the socket closes: without an epoch nobody could open the next one
            await self._dependencies.store.must_write()
        except StoreError as error:
            permit.finish(succeeded=False)
            await successor.stop()
            self._alert(
                "replacement_failed", f"The worker could not be replaced and goes on: {error}"
            )
            return
        self._tell_reconnect("at once, since its worker is replaced")
        self._end_attempt()
        try:
            await self._slot.succeed(successor)
        except WorkerGone as error:
            permit.finish(succeeded=False)
            await successor.stop()
            await self._closed(self._ended(CloseReason.WORKER_EXITED, None, str(error)))
        except (UnreadableCredentials, UnreadableValue) as error:
            permit.finish(succeeded=False)
            await successor.stop()
            await self._quarantine(str(error))
        except BaseException:
            permit.finish(succeeded=False)
            successor.kill()
            raise
        else:
            self._connect(permit, Signal.READY)

    def _on_excess(self, excess: Excess) -> None:
        """The worker weighs too much or is too late: replaced at a quiet moment, or killed before
        it harms its neighbours.
        """
        if excess.severity is Severity.KILL and self.worker is not None:
            self._alert("worker_killed", excess.words)
            if self.attempt is not None:
                self.attempt.words = excess.words
            self.worker.kill()
        elif self.state is S.OPEN and self._agenda.idle and self._now() >= self._replaceable_at:
            self._replaceable_at = self._now() + REPLACED_AGAIN_SECONDS
            self._alert("worker_replaced", excess.words)
            self._begin_replacement()
