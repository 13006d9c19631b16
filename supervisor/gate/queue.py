"""Who waits for a permit: in a queue for each egress, or paused. Pure.

The future by which somebody waits is only carried here.

No clock of its own: times are arguments.
"""

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from sessions.model import SessionId
from supervisor.gate.bucket import Allowance
from supervisor.gate.permit import GatePermit

TICK_SECONDS: Final = 0.001
"""No wait is shorter: the remainder of a rounding must not make the queue spin."""


class Answer(Protocol):
    """Where whoever waits gets its permit: a future."""

    def done(self) -> bool:
        """Whether it has it, or waits no more."""

    def cancelled(self) -> bool:
        """Whether it waits no more."""

    def result(self) -> GatePermit:
        """The permit that it has."""

    def set_result(self, permit: GatePermit, /) -> None:
        """Give it the permit."""


@dataclass(slots=True, eq=False)
class Waiting:
    """A session that waits for a permit. `number` is its place: who came first has the smallest."""

    session: SessionId
    egress: str
    urgent: bool
    number: int
    permit: Answer
    home: "AdmissionQueues | PausedQueue | None" = None
    """Where it waits."""

    @property
    def rank(self) -> tuple[bool, int]:
        """Who is urgent goes first, then who came first."""
        return not self.urgent, self.number

    def withdraw(self) -> None:
        """It waits no longer; the queue drops it when it comes to it."""
        if self.home is not None:
            self.home.count -= 1
            self.home = None


@dataclass(slots=True, eq=False)
class EgressQueue:
    """One egress: its own allowance, and who waits for it."""

    egress: str
    allowance: Allowance
    waiting: list[tuple[tuple[bool, int], Waiting]] = field(default_factory=list)
    version: int = 0


class _Ready(NamedTuple):
    """A queue's place among those whose egress has a token, by the rank of who is first in it.

    Of no account when the queue has a newer place.
    """

    rank: tuple[bool, int]
    number: int
    queue: EgressQueue
    version: int


class _Later(NamedTuple):
    """A queue's place among those whose egress has a token later, by the time when it has one."""

    at: float
    number: int
    queue: EgressQueue
    version: int


class AdmissionQueues:
    """A queue for each egress, since one that has used up its rate must not stop the others."""

    def __init__(
        self,
        new_allowance: Callable[[], Allowance],
        in_use: Callable[[str], bool] = lambda egress: True,
    ) -> None:
        """`in_use`: whether a session uses the egress; the queues of others are dropped when they
        are empty.
        """
        self.count = 0
        self._new_allowance = new_allowance
        self._in_use = in_use
        self._queues: dict[str, EgressQueue] = {}
        self._ready: list[_Ready] = []
        self._later: list[_Later] = []
        self._numbers = 0

    def __len__(self) -> int:
        return self.count

    def allowance(self, egress: str) -> Allowance:
        """An egress' own allowance."""
        return self._queue(egress).allowance

    def drop_idle(self, now: float) -> None:
        """Forget the queues of egresses that nobody uses any more.

        One whose allowance is not whole again has to stay.
        """
        for egress, queue in list(self._queues.items()):
            if (
                not self._in_use(egress)
                and self._head(queue) is None
                and queue.allowance.is_whole(now)
            ):
                queue.version += 1
                del self._queues[egress]

    def join(self, waiting: Waiting, now: float) -> None:
        """Wait in the queue of its egress."""
        queue = self._queue(waiting.egress)
        before = self._head(queue)
        heapq.heappush(queue.waiting, (waiting.rank, waiting))
        waiting.home, self.count = self, self.count + 1
        if before is None or waiting.rank < before.rank:
            self._place(queue, now)

    def first(self, now: float) -> Waiting | None:
        """Who is first of those whose egress has a token."""
        while self._later and self._later[0].at <= now:
            due = heapq.heappop(self._later)
            if due.version == due.queue.version:
                self._place(due.queue, now)
        while self._ready:
            ready = self._ready[0]
            head = self._head(ready.queue) if ready.version == ready.queue.version else None
            if head is not None and head.rank == ready.rank:
                return head
            heapq.heappop(self._ready)
            if head is not None:  # who was first is gone
                self._place(ready.queue, now)
        return None

    def take(self, waiting: Waiting) -> None:
        """It is let through. Call `changed` when its token is reserved."""
        waiting.withdraw()

    def reserve(self, egress: str, now: float) -> None:
        """A token of the egress is reserved."""
        self.allowance(egress).reserve()
        self.changed(egress, now)

    def changed(self, egress: str, now: float) -> None:
        """A token of the egress was reserved, taken or given back."""
        queue = self._queues.get(egress)
        if queue is not None and queue.waiting:
            self._place(queue, now)

    def seconds_until_next(self, now: float) -> float:
        """How long until an egress without a token has one for who waits; infinite if none will by
        itself.
        """
        while self._later and self._later[0].version != self._later[0].queue.version:
            heapq.heappop(self._later)
        return max(0.0, self._later[0].at - now) if self._later else float("inf")

    def waiting_at(self, egress: str) -> bool:
        """Whether somebody waits in that queue."""
        queue = self._queues.get(egress)
        return queue is not None and self._head(queue) is not None

    def pull(self, paused: Callable[[Waiting], bool], egress: str | None = None) -> list[Waiting]:
        """Take out those who are paused from now on (`egress`: all of them wait there), in the
        order of their ranks.
        """
        queues = (
            self._queues.values()
            if egress is None
            else [self._queues[egress]]
            if egress in self._queues
            else []
        )
        pulled = sorted(
            (w for queue in queues for _, w in queue.waiting if w.home is self and paused(w)),
            key=_rank,
        )
        for waiting in pulled:
            waiting.withdraw()
        for queue in queues:  # they may come back, and must not be found in two places then
            queue.waiting = [
                (rank, waiting) for rank, waiting in queue.waiting if waiting.home is self
            ]
            heapq.heapify(queue.waiting)
        return pulled

    def _queue(self, egress: str) -> EgressQueue:
        queue = self._queues.get(egress)
        if queue is None:
            queue = self._queues[egress] = EgressQueue(egress, self._new_allowance())
        return queue

    def _head(self, queue: EgressQueue) -> Waiting | None:
        while queue.waiting and queue.waiting[0][1].home is not self:
            heapq.heappop(queue.waiting)
        return queue.waiting[0][1] if queue.waiting else None

    def _place(self, queue: EgressQueue, now: float) -> None:
        """Put the queue where it belongs: among those that are ready, those that have to wait, or,
        while nobody waits in it, nowhere.
        """
        queue.version += 1
        self._numbers += 1
        head = self._head(queue)
        if head is None:
            return
        wait = queue.allowance.seconds_until_free(now)
        if wait <= 0:
            heapq.heappush(self._ready, _Ready(head.rank, self._numbers, queue, queue.version))
        elif wait != float("inf"):  # else a login has to land first, which is a change
            heapq.heappush(
                self._later,
                _Later(now + max(wait, TICK_SECONDS), self._numbers, queue, queue.version),
            )


class PausedQueue:
    """Who is paused: who tries next is who is urgent, then who was open until now, then who has not
    been a canary yet, then the others in turn.

    One egress after the other, so that one that is dead for good cannot keep the canaries to
    itself. Those who only want to replace an open session's worker wait for the end of the pause:
    as canaries they would close a socket that works.
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
        """Be paused."""
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
