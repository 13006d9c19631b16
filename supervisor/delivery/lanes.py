"""What of one webhook's events is under way, and what may go out next. Pure.

The events of a session are a *lane*: one after the other, in the order of their numbers. Lanes go
side by side. Everything up to the *low-water mark* is settled: accepted by the endpoint, not asked
for, or set aside as a hole; the mark is all that has to be stored, and what lies above it is sent
again after a crash. That is why nothing is written for an event that is accepted.

Times are arguments, seconds of a monotonic clock.
"""

import heapq
import sys
from collections import deque
from dataclasses import dataclass
from typing import Final

from supervisor.delivery.endpoint import retrying

FLEET: Final = ""
"""The lane of events that belong to no session."""

COMPACT_ABOVE: Final = 64
"""What is settled is dropped when it is more than what is not, and this: so the memory that is
taken is bounded by what is not settled.
"""


@dataclass(slots=True, eq=False)
class Pending:
    """An event that is not settled yet."""

    n: int
    lane: str
    kind: str = ""
    failures: int = 0
    failing_since: float | None = None
    retry_at: float = 0.0
    last_status: int | None = None
    last_error: str | None = None
    last_answer: str | None = None
    under_way: bool = False
    is_settled: bool = False


class Lanes:
    """The events above the low-water mark, by lane."""

    def __init__(self, low_water: int) -> None:
        self._low_water = low_water
        self._read_to = low_water
        self._order: deque[Pending] = deque()
        self._lanes: dict[str, deque[Pending]] = {}
        self._ready: deque[str] = deque()
        """Lanes whose first event may go out now."""
        self._waiting: list[tuple[float, int, str]] = []
        """A heap of lanes whose first event waits for its next try: when, its number, the lane."""
        self._unsettled = 0

    @property
    def low_water(self) -> int:
        """Everything up to this number is settled."""
        return self._low_water

    @property
    def read_to(self) -> int:
        """The newest event that was offered or passed over."""
        return self._read_to

    def __len__(self) -> int:
        """How many events are not settled."""
        return self._unsettled

    # --- what comes in ----------------------------------------------------------------------------

    def offer(self, n: int, session: str | None, kind: str = "") -> None:
        """An event that the webhook has asked for, and its type; numbers only grow."""
        pending = Pending(n, session or FLEET, sys.intern(kind))
        self._read_to = n
        self._unsettled += 1
        self._order.append(pending)
        lane = self._lanes.setdefault(pending.lane, deque())
        lane.append(pending)
        if len(lane) == 1:
            self._ready.append(pending.lane)

    def pass_over(self, n: int) -> None:
        """Events up to this one that the webhook has not asked for."""
        self._read_to = max(self._read_to, n)
        self._settle_front()

    # --- what goes out ----------------------------------------------------------------------------

    def take(self, now: float) -> Pending | None:
        """The next event that may go out; it is under way then."""
        while self._waiting and self._waiting[0][0] <= now:
            entry = heapq.heappop(self._waiting)
            if self._stands(entry):
                self._ready.append(entry[2])
        if not self._ready:
            return None
        pending = self._lanes[self._ready.popleft()][0]
        return self._begin(pending)

    def take_canary(self) -> Pending | None:
        """The event that has been tried least, of these the oldest, whether or not its next try is
        due: an event that is refused for ever is not the canary for ever.
        """
        heads = [lane[0] for lane in self._lanes.values() if not lane[0].under_way]
        if not heads:
            return None
        pending = min(heads, key=lambda head: (head.failures, head.n))
        if pending.lane in self._ready:
            self._ready.remove(pending.lane)
        return self._begin(pending)

    def next_at(self) -> float | None:
        """When the next lane that waits may be tried; None: none waits."""
        while self._waiting and not self._stands(self._waiting[0]):
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    # --- how it went ------------------------------------------------------------------------------

    def settle(self, pending: Pending) -> None:
        """The endpoint has accepted it, or it is set aside: its lane goes on.

        It is under way, or the first of its lane.
        """
        is_ready = not pending.under_way and pending.lane in self._ready
        if pending.under_way:
            self._end(pending)
        self._mark_settled(pending)
        lane = self._lanes[pending.lane]
        lane.popleft()
        if lane and not is_ready:
            self._ready.append(pending.lane)
        elif not lane:
            del self._lanes[pending.lane]
            if is_ready:
                self._ready.remove(pending.lane)
        self._settle_front()

    def settle_up_to(self, n: int) -> int | None:
        """All that is not under way, up to that number, is settled: the log has dropped it, or its
        time is over. The first of it; None: there was none.
        """
        first: int | None = None
        for lane in list(self._lanes.values()):
            for pending in [one for one in lane if one.n <= n and not one.under_way]:
                first = pending.n if first is None else min(first, pending.n)
                if pending is lane[0]:
                    self.settle(pending)
                else:  # behind one that is under way
                    self._mark_settled(pending)
                    lane.remove(pending)
        self.pass_over(n)
        return first

    def fail(self, pending: Pending, now: float, wait_seconds: float) -> bool:
        """The endpoint has not accepted it; it is tried again after so long.

        True: it has blocked its lane for long enough, and is to be set aside (`settle`).
        """
        self._end(pending)
        pending.failures += 1
        pending.failing_since = now if pending.failing_since is None else pending.failing_since
        pending.retry_at = now + wait_seconds
        heapq.heappush(self._waiting, (pending.retry_at, pending.n, pending.lane))
        return now - pending.failing_since >= retrying.BLOCKED_SECONDS

    def put_back(self, pending: Pending) -> None:
        """It was not sent after all: it may go out at once."""
        self._end(pending)
        self._ready.appendleft(pending.lane)

    def clear_blame(self) -> None:
        """The endpoint is away as a whole: none of them is to be set aside for that."""
        for lane in self._lanes.values():
            lane[0].failing_since = None

    def clear_failures(self) -> None:
        """The endpoint was away as a whole: what has failed may go out now, and blocks nobody."""
        ready = set(self._ready)
        for lane in self._lanes.values():
            first = lane[0]
            if first.under_way:
                continue
            first.failing_since = None
            if first.lane not in ready:
                self._ready.append(first.lane)
        self._waiting.clear()

    def open_numbers(self, most: int) -> list[int] | None:
        """The events that are not settled, oldest first; None: more than so many."""
        found = []
        for pending in self._order:
            if not pending.is_settled:
                found.append(pending.n)
                if len(found) > most:
                    return None
        return found

    def find(self, n: int, session: str | None) -> tuple[Pending, Pending] | None:
        """An event that is not settled, and the one that is first in its lane; None: it is not one
        of them.
        """
        lane = self._lanes.get(session or FLEET) or deque[Pending]()
        return next(((one, lane[0]) for one in lane if one.n == n), None)

    def failing(self) -> list[Pending]:
        """Events that have failed and block their lanes, oldest first."""
        found = [lane[0] for lane in self._lanes.values() if lane[0].failures]
        return sorted(found, key=lambda pending: pending.n)

    # --- inside -----------------------------------------------------------------------------------

    def _stands(self, entry: tuple[float, int, str]) -> bool:
        """Whether this entry of the heap still holds: its event is first in its lane, and waits
        until then.
        """
        retry_at, n, lane = entry
        queue = self._lanes.get(lane)
        if queue is None or lane in self._ready:
            return False
        first = queue[0]
        return first.n == n and first.retry_at == retry_at and not first.under_way

    def _begin(self, pending: Pending) -> Pending:
        pending.under_way = True
        return pending

    def _end(self, pending: Pending) -> None:
        assert pending.under_way, "it was taken"
        pending.under_way = False

    def _mark_settled(self, pending: Pending) -> None:
        pending.is_settled = True
        self._unsettled -= 1
        if len(self._order) > 2 * self._unsettled + COMPACT_ABOVE:
            self._order = deque(one for one in self._order if not one.is_settled)

    def _settle_front(self) -> None:
        while self._order and self._order[0].is_settled:
            self._order.popleft()
        self._low_water = self._order[0].n - 1 if self._order else self._read_to
