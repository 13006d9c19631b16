"""The figures of one session that scripts read (docs/evidence.md#names-that-scripts-use).

Pure: times are arguments, in monotonic seconds.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from sessions.records.distribution import Distribution

RESPONSES_KEPT: Final = 20
"""averageResponseTime is the mean of so many last round trips (probes and sends)."""
ERROR_WINDOW_SECONDS: Final = 300.0
BUSY_HALF_LIFE_SECONDS: Final = 3600.0
"""A message counts half for how busy a session is after so long."""


@dataclass(slots=True)
class Counters:
    """Counts since the supervisor started.

    `round_trips`: of all sessions, in milliseconds.
    """

    round_trips: Distribution = field(default_factory=Distribution)
    messages_processed: int = 0
    error_count: int = 0
    reconnect_count: int = 0
    sending: int = 0
    """Texts that wait for the server's ack."""
    _opened_before: bool = False
    _busy: float = 0.0
    _busy_at: float = 0.0
    _message_times: deque[float] = field(default_factory=deque)
    _responses_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RESPONSES_KEPT))
    _outcomes: deque[tuple[float, bool]] = field(default_factory=deque)

    def opened(self, now: float) -> None:
        """An attempt came through; it is a reconnect unless it is the first."""
        self.reconnect_count += self._opened_before
        self._opened_before = True
        self._responses_ms.clear()  # those were another socket's
        self.succeeded(now)

    def message(self, now: float) -> None:
        """A message went in or out."""
        self.messages_processed += 1
        self._message_times.append(now)
        self._busy, self._busy_at = self.busy(now) + 1.0, now
        _forget(self._message_times, now - 60)

    def busy(self, now: float) -> float:
        """How many messages came and went of late, the older ones counting less."""
        return self._busy * math.exp2((self._busy_at - now) / BUSY_HALF_LIFE_SECONDS)

    def idle(self, now: float, seconds: float) -> bool:
        """Whether nothing has come or gone for so long, and nothing is under way."""
        last = self._message_times[-1] if self._message_times else None
        return self.sending == 0 and (last is None or last <= now - seconds)

    def succeeded(self, now: float, response_ms: float | None = None) -> None:
        """An attempt, a probe or a send went well."""
        self._outcome(now, True)
        if response_ms is not None:
            self.round_trips.add(response_ms)
            self._responses_ms.append(response_ms)

    def failed(self, now: float) -> None:
        """An attempt, a probe or a send failed, or an open session was lost."""
        self.error_count += 1
        self._outcome(now, False)

    def messages_per_minute(self, now: float) -> int:
        """Messages of the last 60 seconds."""
        _forget(self._message_times, now - 60)
        return len(self._message_times)

    def average_response_ms(self) -> float | None:
        """Mean of the last round trips, or None before the first."""
        return (
            round(sum(self._responses_ms) / len(self._responses_ms), 1)
            if self._responses_ms
            else None
        )

    def outcomes(self, now: float) -> tuple[int, int]:
        """Failed and all operations of the last five minutes."""
        self._forget_outcomes(now)
        return sum(not well for _, well in self._outcomes), len(self._outcomes)

    def _outcome(self, now: float, well: bool) -> None:
        self._outcomes.append((now, well))
        self._forget_outcomes(now)

    def _forget_outcomes(self, now: float) -> None:
        while self._outcomes and self._outcomes[0][0] < now - ERROR_WINDOW_SECONDS:
            self._outcomes.popleft()


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] < before:
        times.popleft()
