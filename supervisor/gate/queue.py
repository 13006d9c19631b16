"""Who waits for a permit: in a line for each egress, or held.

No clock of its own: times are arguments.
"""

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sessions.model import SessionId
from supervisor.gate.bucket import Allowance
from supervisor.gate.permit import GatePermit

TICK_SECONDS: Final = 0.001
"""No wait is shorter: the remainder of a rounding must not make the queue spin."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A session that waits for a permit. `number` is its place: who came first has the smallest."""

    session: SessionId
    egress: str
    urgent: bool
    number: int
    permit: "asyncio.Future[GatePermit]"
    home: "Lines | HeldLine | None" = None
    """Where it waits."""

    @property
    def rank(self) -> tuple[bool, int]:
        """Who is urgent goes first, then who came first."""
        return not self.urgent, self.number

    def withdraw(self) -> None:
        """It waits no longer; the line drops it when it comes to it."""
        if self.home is not None:
            self.home.count -= 1
            self.home = None


@dataclass(slots=True, eq=False)
class Line:
    """One egress: its own allowance, and who waits for it."""

    egress: str
    allowance: Allowance
    waiting: list[tuple[tuple[bool, int], Waiting]] = field(default_factory=list)
    version: int = 0


class _Due(NamedTuple):
    """A line's place among the lines; of no account when the line has a newer one."""

    key: tuple[bool, int] | float
    number: int
    line: Line
    version: int


class Lines:
    """A line for each egress, since one that has used up its rate must not stop the others."""

    def __init__(
        self,
        new_allowance: Callable[[], Allowance],
        in_use: Callable[[str], bool] = lambda egress: True,
    ) -> None:
        """`in_use`: whether a session uses the egress; the lines of others are dropped when they
        are empty.
        """
        self.count = 0
        self._new_allowance = new_allowance
        self._in_use = in_use
        self._lines: dict[str, Line] = {}
        self._ready: list[_Due] = []  # by the rank of who is first
        self._later: list[_Due] = []  # by the time when a token is there
        self._numbers = 0

    def __len__(self) -> int:
        return self.count

    def allowance(self, egress: str) -> Allowance:
        """An egress' own allowance."""
        return self._line(egress).allowance

    def drop_idle(self, now: float) -> None:
        """Forget the lines of egresses that nobody uses any more.

        One whose allowance is not whole again has to stay.
        """
        for egress, line in list(self._lines.items()):
            if (
                not self._in_use(egress)
                and self._head(line) is None
                and line.allowance.is_whole(now)
            ):
                line.version += 1
                del self._lines[egress]

    @property
    def egresses(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def join(self, waiting: Waiting, now: float) -> None:
        """Wait in the line of its egress."""
        line = self._line(waiting.egress)
        before = self._head(line)
        heapq.heappush(line.waiting, (waiting.rank, waiting))
        waiting.home, self.count = self, self.count + 1
        if before is None or waiting.rank < before.rank:
            self._place(line, now)

    def first(self, now: float) -> Waiting | None:
        """Who is first of those whose egress has a token."""
        while self._later and self._later[0].key <= now:  # type: ignore[operator]
            due = heapq.heappop(self._later)
            if due.version == due.line.version:
                self._place(due.line, now)
        while self._ready:
            due = self._ready[0]
            head = self._head(due.line) if due.version == due.line.version else None
            if head is not None and head.rank == due.key:
                return head
            heapq.heappop(self._ready)
            if head is not None:  # who was first is gone
                self._place(due.line, now)
        return None

    def take(self, waiting: Waiting) -> None:
        """It is let through. Call `changed` when its token is reserved."""
        waiting.withdraw()

    def changed(self, egress: str, now: float) -> None:
        """A token of the egress was reserved, taken or given back."""
        line = self._lines.get(egress)
        if line is not None:
            self._place(line, now)

    def seconds_until_next(self, now: float) -> float:
        """How long until an egress without a token has one for who waits; infinite if none will by
        itself.
        """
        while self._later and self._later[0].version != self._later[0].line.version:
            heapq.heappop(self._later)
        return max(0.0, float(self._later[0].key) - now) if self._later else float("inf")  # type: ignore[arg-type]

    def waiting_at(self, egress: str) -> bool:
        """Whether somebody waits in that line."""
        line = self._lines.get(egress)
        return line is not None and self._head(line) is not None

    def pull(self, held: Callable[[Waiting], bool], egress: str | None = None) -> list[Waiting]:
        """Take out those who are held from now on (`egress`: all of them wait there), in the order
        of their ranks.
        """
        lines = (
            self._lines.values()
            if egress is None
            else [self._lines[egress]]
            if egress in self._lines
            else []
        )
        pulled = sorted(
            (w for line in lines for _, w in line.waiting if w.home is self and held(w)), key=_rank
        )
        for waiting in pulled:
            waiting.withdraw()
        for line in lines:  # they may come back, and must not be found in two places then
            line.waiting = [
                (rank, waiting) for rank, waiting in line.waiting if waiting.home is self
            ]
            heapq.heapify(line.waiting)
        return pulled

    def _line(self, egress: str) -> Line:
        line = self._lines.get(egress)
        if line is None:
            line = self._lines[egress] = Line(egress, self._new_allowance())
        return line

    def _head(self, line: Line) -> Waiting | None:
        while line.waiting and line.waiting[0][1].home is not self:
            heapq.heappop(line.waiting)
        return line.waiting[0][1] if line.waiting else None

    def _place(self, line: Line, now: float) -> None:
        """Put the line where it belongs: among those that are ready, those that have to wait, or,
        while nobody waits in it, nowhere.
        """
        line.version += 1
        self._numbers += 1
        head = self._head(line)
        if head is None:
            return
        wait = line.allowance.seconds_until_free(now)
        if wait <= 0:
            heapq.heappush(self._ready, _Due(head.rank, self._numbers, line, line.version))
        elif wait != float("inf"):  # else a login has to land first, which is a change
            heapq.heappush(
                self._later, _Due(now + max(wait, TICK_SECONDS), self._numbers, line, line.version)
            )


class HeldLine:
    """Who is held: who tries next is who is urgent, then who was open until now, then who has not
    been a canary yet, then the others in turn.

    One egress after the other, so that one that is dead for good cannot keep the canaries to
    itself. Those who only want to replace an open session's worker wait for the end of the hold: as
    canaries they would close a socket that works.
    """

    def __init__(self) -> None:
        self.count = 0
        self._urgent: deque[Waiting] = deque()
        self._fresh: OrderedDict[str, deque[Waiting]] = OrderedDict()
        self._again: OrderedDict[str, deque[Waiting]] = OrderedDict()
        self._patient: list[Waiting] = []
        self._tried: set[SessionId] = set()
        self._newcomers: set[SessionId] = set()
        self._newest: Waiting | None = None

    def __len__(self) -> int:
        return self.count

    def join(self, waiting: Waiting, may_try: bool) -> None:
        """Be held."""
        waiting.home, self.count = self, self.count + 1
        if waiting.session in self._newcomers:
            self._newcomers.discard(waiting.session)
            self._newest = waiting
        if not may_try:
            self._patient = [other for other in self._patient if other.home is self]
            self._patient.append(waiting)
        elif waiting.urgent:
            self._urgent.append(waiting)
        else:
            turns = self._again if waiting.session in self._tried else self._fresh
            turns.setdefault(waiting.egress, deque()).append(waiting)

    @property
    def patient(self) -> int:
        """How many wait who will not try."""
        return sum(waiting.home is self for waiting in self._patient)

    def expect(self, session: SessionId) -> None:
        """It was open until now, and will join: it is the next canary, unless another one such
        comes after it.
        """
        self._newcomers.add(session)

    def expects(self, session: SessionId) -> bool:
        """Whether it was open until now."""
        return session in self._newcomers

    def tried(self, session: SessionId) -> None:
        """It has been a canary."""
        self._tried.add(session)

    def first(self, barred: Callable[[str], bool] = lambda egress: False) -> Waiting | None:
        """The next canary.

        `barred`: egresses by which nobody comes through; who is urgent tries all the same.
        """
        while self._urgent and self._urgent[0].home is not self:
            self._urgent.popleft()
        if self._urgent:
            return self._urgent[0]
        if (
            self._newest is not None
            and self._newest.home is self
            and not barred(self._newest.egress)
        ):
            return self._newest
        return self._turn(self._fresh, barred) or self._turn(self._again, barred)

    def take(self, waiting: Waiting) -> None:
        """It tries: the other egresses are next."""
        waiting.withdraw()
        for turns in (self._fresh, self._again):
            if waiting.egress in turns:
                turns.move_to_end(waiting.egress)

    def drain(self) -> list[Waiting]:
        """Everybody leaves, in the order in which they came."""
        queues: Iterable[Iterable[Waiting]] = (
            self._urgent,
            *self._fresh.values(),
            *self._again.values(),
            self._patient,
        )
        drained = sorted((w for queue in queues for w in queue if w.home is self), key=_rank)
        for waiting in drained:
            waiting.withdraw()
        return drained

    def egresses(self) -> Iterator[tuple[str, int]]:
        """How many wait at each egress, at most: those who have withdrawn may still be counted."""
        for turns in (self._fresh, self._again):
            for egress, queue in turns.items():
                yield egress, len(queue)

    def _turn(
        self, turns: OrderedDict[str, deque[Waiting]], barred: Callable[[str], bool]
    ) -> Waiting | None:
        for egress, queue in list(turns.items()):
            while queue and queue[0].home is not self:
                queue.popleft()
            if not queue:
                del turns[egress]
            elif not barred(egress):
                return queue[0]
        return None


def _rank(waiting: Waiting) -> tuple[bool, int]:
    return waiting.rank
