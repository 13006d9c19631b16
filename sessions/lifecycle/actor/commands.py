"""What operators ask of a session, and what becomes of it.

A command checks, and writes what has to be durable, before it changes anything: what is refused has
changed nothing.
"""

from dataclasses import replace
from typing import Final

import msgspec

from sessions.credentials.proxy import Proxy
from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.core import Core, Life, Past
from sessions.lifecycle.actor.open_socket import OpenSocket
from sessions.lifecycle.actor.replacement import Replacement
from sessions.lifecycle.inbox import Command, Restore, UseProxy
from sessions.lifecycle.machine import Signal
from sessions.lifecycle.remembered import decode
from sessions.model import CloseReason, SessionState
from sessions.store import ArchiveRow
from sessions.views import refusals
from sessions.views.events import ProxyChanged, SessionRestored

S = SessionState

AT_REST: Final = frozenset({S.STOPPED, S.PARKED, S.QUARANTINED})
"""Nothing is tried, and there is no worker."""


class Commands:
    """Carries them out."""

    def __init__(
        self, core: Core, attempts: Attempts, open_socket: OpenSocket, replacement: Replacement
    ) -> None:
        self._core = core
        self._attempts = attempts
        self._open_socket = open_socket
        self._replacement = replacement

    async def carry_out(self, command: Command | Restore | UseProxy) -> ArchiveRow | None:
        """Do it; what was restored, if that was asked for. Raises Refused, StoreError."""
        match command:
            case Restore(archive, start):
                return await self._restore(archive, start)
            case UseProxy(proxy):
                await self._use_proxy(proxy)
            case Command.START:
                await self._start()
            case Command.STOP:
                await self._core.want(False)
                await self._attempts.rest(Signal.STOP)
            case Command.FORCE:
                await self._force()
            case Command.RESET_BREAKER:
                await self._reset_breaker()
            case Command.LOGOUT:
                self._log_out()
            case Command.REPLACE:
                await self._replacement.begin()
            case Command.RETIRE:
                await self._retire()
            case Command.LEAVE:
                self._leave()
        return None

    async def _start(self) -> None:
        core = self._core
        await core.want(True)
        self._begin_anew()
        blocked = core.policy.breaker.seconds_until_trial(core.now())
        if core.state is S.STOPPED and blocked:  # stop and start are no way round an open breaker
            self._attempts.retry(0.0, blocked)
        elif core.state in AT_REST:
            core.policy.clear_failures()
            core.intent = replace(core.intent, logout=False)
            await self._attempts.go()
            core.save()

    def _begin_anew(self) -> None:
        """An operator's word counts for more than what is remembered, also while the session still
        waits for its worker's call.
        """
        core = self._core
        if core.past is not Past.TAKEN_UP:
            core.remembered = msgspec.structs.replace(
                core.remembered, parked=False, next_attempt_at=None
            )
            core.past = Past.STORED
        if core.state is not S.STARTING:
            core.past = Past.TAKEN_UP

    def _forget(self) -> None:
        """The credentials are others: nothing that was remembered holds for them.

        The store has forgotten it already.
        """
        core = self._core
        core.remembered, core.past = decode(None, core.now()), Past.TAKEN_UP
        core.policy.forget()
        core.judged = core.counted = None
        core.episode_attempts = 0
        core.intent = replace(core.intent, logout=False)

    async def _force(self) -> None:
        """Cut any wait short and let one attempt through, breaker or not; never past what a
        reconnect cannot mend.
        """
        core = self._core
        incurable = core.policy.last_close if core.policy.only_a_human_can_mend() else None
        found_parked = core.remembered.parked and core.past is not Past.TAKEN_UP
        state = S.PARKED if found_parked else core.state
        refusal = refusals.vain_force(core.id, state, incurable)
        if refusal is not None:
            raise refusal
        self._begin_anew()
        core.reconnects.planned("at once, since an operator forces it", core.episode_attempts)
        if core.attempt is not None:
            core.intent = replace(core.intent, urgent=True)
            self._attempts.close_socket(core.attempt, CloseReason.REQUESTED)
        elif core.state is S.STARTING:
            core.intent = replace(core.intent, urgent=True)
        else:
            await self._attempts.go(urgent=True)

    async def _reset_breaker(self) -> None:
        """Cut the breaker's wait, and no other: after a 440 or a ban it is the server that has to
        be given time.
        """
        core = self._core
        due, now, own_until = core.next_attempt_at, core.now(), self._attempts.own_wait_until
        put_off = core.state is S.WAITING and due is not None and core.policy.breaker.puts_off(due)
        core.policy.reset()
        if put_off and (own_until or now) > now:
            self._attempts.wait((own_until or now) - now)
        elif put_off:
            await self._attempts.go()
        core.save()

    def _log_out(self) -> None:
        core = self._core
        if core.state is not S.OPEN or core.attempt is None:
            raise refusals.cannot_log_out(core.id, core.state)
        core.intent = replace(core.intent, logout=True)
        self._open_socket.log_out(core.attempt)

    async def _restore(self, archive: int | None, start: bool) -> ArchiveRow:
        """Put archived credentials back, in place of those there are (which are archived
        themselves).
        """
        core = self._core
        if core.state not in AT_REST:
            raise refusals.cannot_restore(core.id, core.state)
        restored, core.row = await core.dependencies.store.restore_session(
            core.id, archive, wanted=start
        )
        core.intent = replace(core.intent, wanted=start)
        self._forget()
        core.publish(SessionRestored(restored.id, restored.reason))
        if start:
            await self._attempts.go()
        else:
            # not parked any more, and nothing may start it but an operator
            await self._attempts.rest(Signal.STOP)
        return restored

    async def _use_proxy(self, proxy: Proxy | None) -> None:
        """Only at rest: a live socket would go on by the way that it has."""
        core = self._core
        if core.state not in AT_REST:
            raise refusals.cannot_change_proxy(core.id, core.state)
        await core.dependencies.store.set_proxy(core.id, proxy)
        name = proxy.name if proxy else None
        core.row = msgspec.structs.replace(core.row, proxy=name)
        core.publish(ProxyChanged(name))

    async def _retire(self) -> None:
        if self._core.state is not S.STOPPED:
            self._core.save()
        await self._attempts.rest(None)
        self._core.life = Life.RETIRED

    def _leave(self) -> None:
        """Let the worker live on for our successor: nothing is closed, and what is remembered is
        stored.
        """
        core = self._core
        if core.state is not S.STOPPED:
            core.save()
        core.pending.clear()
        if core.attempt is not None:
            core.attempt.unwatch()
        core.life = Life.LEFT
