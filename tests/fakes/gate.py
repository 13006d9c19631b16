"""Admission control that can be shut, and remembers its permits."""

import asyncio
from collections.abc import Callable
from typing import Any

from sessions.model import SessionId
from sessions.policy import Close, ClosedWay, Verdict, correlated_reasons

CORRELATED = correlated_reasons()


class FakeTicket:
    """An admission; remembers what became of it."""

    def __init__(self, gate: "FakeGate", session: str, urgent: bool) -> None:
        self.gate = gate
        self.session = session
        self.urgent = urgent
        self.has_landed = False
        self.succeeded: bool | None = None
        self.deadline_seconds = gate.deadline_seconds

    def login_sent(self) -> None:
        self.has_landed = True

    def finish(self, succeeded: bool) -> None:
        if self.succeeded is None:
            self.succeeded = succeeded


class FakeGate:
    """Admits at once, or not at all while `shut`."""

    def __init__(self) -> None:
        self.shut = False
        self.permits: list[FakeTicket] = []
        self.waiting: list[tuple[FakeTicket, asyncio.Future[None]]] = []
        self.holds: list[str] = []
        self.concerns_all = True
        """What a hold is answered."""
        self.breaches: list[str] = []
        self.outage = False
        """An outage covers every close that can be an outage's."""
        self.reveals = False
        """Each such close shows an outage that had not been seen before."""
        self._uncharge: dict[SessionId, Callable[[], None]] = {}
        self.way: ClosedWay | None = None
        """What looks say of everybody's way."""
        self.deadline_seconds: float | None = None
        self.told: list[tuple[str, Any]] = []
        """What sessions have said: `registered` and the egress, `opened`, `closed` with the reason
        and whether it was open, `left`.
        """

    def registered(self, session: SessionId, egress: str, uncharge: Callable[[], None]) -> None:
        self._uncharge[session] = uncharge
        self.told.append(("registered", egress))

    def opened(self, session: SessionId) -> None:
        self.told.append(("opened", None))

    def closed(self, session: SessionId, close: Close, weight: float) -> Verdict:
        self.told.append(("closed", (close.reason, close.was_open)))
        if close.reason not in CORRELATED:
            return Verdict.OWN
        if self.reveals:
            return Verdict.REVEALING
        return Verdict.COVERED if self.outage else Verdict.OWN

    def uncharge(self, session: SessionId) -> None:
        """As the real one, when an outage turns out to have closed the session: a session that has
        left is not told.
        """
        if session in self._uncharge:
            self._uncharge[session]()

    def left(self, session: SessionId) -> None:
        self._uncharge.pop(session, None)
        self.told.append(("left", None))

    def closed_way(self, session: SessionId) -> ClosedWay | None:
        return self.way

    def adopt(self, session: SessionId, login_sent: bool, through: bool = False) -> FakeTicket:
        permit = self._grant(FakeTicket(self, session, urgent=False))
        permit.has_landed = login_sent
        return permit

    @property
    def unfinished(self) -> list[FakeTicket]:
        return [permit for permit in self.permits if permit.succeeded is None]

    def try_admit(self, session: SessionId, urgent: bool = False) -> FakeTicket | None:
        return None if self.shut else self._grant(FakeTicket(self, session, urgent))

    async def admit(self, session: SessionId, urgent: bool = False) -> FakeTicket:
        entry = (FakeTicket(self, session, urgent), asyncio.get_running_loop().create_future())
        if not self.shut:
            return self._grant(entry[0])
        self.waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry[1].done() and not entry[1].cancelled():
                entry[0].finish(succeeded=False)
            raise
        finally:
            self.waiting.remove(entry)
        return entry[0]

    def pause(self, session: SessionId, reason: str) -> bool:
        self.holds.append(reason)
        return self.concerns_all

    def open(self) -> None:
        """Let everybody through who waits."""
        self.shut = False
        for permit, future in self.waiting:
            if not future.done():
                self._grant(permit)
                future.set_result(None)

    def grant_first(self) -> None:
        """Let the first one through who waits, and stay shut."""
        permit, future = self.waiting[0]
        self._grant(permit)
        future.set_result(None)

    def _grant(self, permit: FakeTicket) -> FakeTicket:
        if any(other.session == permit.session for other in self.unfinished):
            self.breaches.append(f"{permit.session} holds two permits")
        self.permits.append(permit)
        return permit
