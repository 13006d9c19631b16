"""Whether WhatsApp can be reached at all.

Asked without a login, for each egress that is in doubt, and only while it is.

A *look* is what a session does before it logs in, and no more: connect, TLS, the upgrade to a
WebSocket, then close. It tells an outage (of the network, of DNS, of the proxy, of WhatsApp's front
door) from a session that is sick, however small the fleet. `Way` (way.py) is the pure part: what is
known of an egress, and when to look again; `Reachability` looks. What a look finds is the gate's to
act upon.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from sessions.model import SessionId
from supervisor.gate.way import Look, Way

log = structlog.get_logger("reach")


class Prober(Protocol):
    """Whoever looks. A look ends by itself, within LOOK_SECONDS, and costs no login."""

    async def look(self, session: SessionId, egress: str) -> Look:
        """Go the way of this session, which is to be that egress, as far as the upgrade."""


class Reachability:
    """Looks, one at a time of each egress, for as long as it is in doubt."""

    def __init__(
        self,
        prober: Prober | None,
        rng: random.Random,
        somebody_open: Callable[[str], SessionId | None],
        notify: Callable[[Way, bool], None],
    ) -> None:
        """`prober`: None: nobody looks, and nothing is known of any way. `somebody_open`: a session
        of the egress that is open, if one is. `notify`: called after each look; True: the way was
        closed until now, and is open.
        """
        self._prober = prober
        self._rng = rng
        self._somebody_open = somebody_open
        self._notify = notify
        self._now = asyncio.get_running_loop().time
        self._ways: dict[str, Way] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def way(self, egress: str) -> Way | None:
        """What is known of an egress; None: nothing."""
        return self._ways.get(egress)

    def is_closed(self, egress: str) -> bool:
        """Whether nobody can come through by it just now, as far as is known."""
        way = self._ways.get(egress)
        return way is not None and way.is_closed

    def doubt(self, egress: str, session: SessionId) -> None:
        """The session has closed, and it may be the way: look."""
        if self._prober is None:
            return
        way = self._ways.setdefault(egress, Way(egress))
        way.doubt(session, self._now())
        self._begin(way)

    def settled(self, egress: str, session: SessionId) -> None:
        """The session is open, or not of the fleet any more."""
        way = self._ways.get(egress)
        if way is not None:
            way.settled(session)

    def came_through(self, egress: str) -> None:
        """A login by this egress was answered."""
        way = self._ways.get(egress)
        if way is not None:
            way.came_through(self._now())

    def forget(self, egress: str) -> None:
        """Nobody uses the egress any more."""
        self._ways.pop(egress, None)
        task = self._tasks.get(egress)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Look no more."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, way: Way) -> None:
        prober = self._prober
        if prober is not None and way.egress not in self._tasks and not self._closed:
            task = asyncio.create_task(self._watch(prober, way), name=f"looks at {way.egress}")
            self._tasks[way.egress] = task
            task.add_done_callback(lambda ended: self._over(way, ended))

    async def _watch(self, prober: Prober, way: Way) -> None:
        while way.doubted:
            await asyncio.sleep(max(0.0, way.next_at - self._now()))
            session = self._who_looks(way) if way.doubted else None
            if session is None:
                way.drop()
                return
            way.begins(self._now())
            look = await self._look(prober, session, way.egress)
            believed = not way.disbelieved
            opened = way.learns(look, self._now(), self._rng.random())
            log.info(
                f"{way.egress}: {look.words}",
                action="look",
                egress=way.egress,
                state=look.state,
                reason=look.reason,
            )
            if believed and way.disbelieved:
                log.warning(
                    f"Sessions come through {way.egress}, but looks say that WhatsApp cannot be"
                    " reached: they are not believed any more.",
                    action="looks_wrong",
                    egress=way.egress,
                )
            self._notify(way, opened)

    def _who_looks(self, way: Way) -> SessionId | None:
        """Whose way is gone: of somebody who is open if there is one, for whom it has been right;
        else of each in turn.
        """
        somebody = self._somebody_open(way.egress)
        if somebody is not None:
            return somebody
        waiting = list(way.doubters)
        way.turn += 1
        return waiting[way.turn % len(waiting)] if waiting else None

    async def _look(self, prober: Prober, session: SessionId, egress: str) -> Look:
        try:
            return await prober.look(session, egress)
        except Exception as error:  # a look that fails tells nothing, and must not end the looks
            log.exception("a look has failed", action="look_failed", session=session)
            return Look("unknown", f"the look itself has failed ({type(error).__name__})")

    def _over(self, way: Way, task: "asyncio.Task[None]") -> None:
        del self._tasks[way.egress]
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "looks have ended with an error", action="looks_died", exc_info=task.exception()
            )
            way.drop()  # nobody is to be held by what is not looked at any more
        current = self._ways.get(way.egress)
        forgotten = current is not way
        if current is not None and current.doubted and (forgotten or not task.cancelled()):
            self._begin(current)
