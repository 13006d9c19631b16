"""The circuit of one endpoint: is it away as a whole, or does it refuse single events? Pure.

An endpoint that fails `FAILURES` times in a row is taken to be away, unless all of them were
refusals of one and the same event: that is then the event's own trouble. Then one event at a time
is sent as a canary, at growing intervals; the first that is accepted closes the circuit, and
everything that waited goes out at once. So a dead endpoint costs one attempt in five minutes, and
what waits for it is not tried, counted or set aside meanwhile.

Times are arguments, seconds of a monotonic clock; `draw` is a number from 0 to 1.
"""

from dataclasses import dataclass
from typing import Final

FAILURES: Final = 5
"""So many in a row, with no success in between, are no accident of one event."""
FIRST_CANARY_SECONDS: Final = 5.0
LAST_CANARY_SECONDS: Final = 300.0
JITTER: Final = 0.2
"""Each wait is longer or shorter by up to this part of itself, so that endpoints that went away
together are not called together.
"""


def jittered(seconds: float, draw: float) -> float:
    """A wait of about so long."""
    return seconds * (1 - JITTER + 2 * JITTER * draw)


@dataclass(slots=True)
class Circuit:
    """Closed: events go out. Open: one canary at a time."""

    failures: int = 0
    """In a row."""
    failing_since: float | None = None
    """When the first of them came."""
    canary_at: float | None = None
    """When the next canary may go; None: the circuit is closed."""
    canaries: int = 0
    only: int | None = None
    """The event that all the failures are of, while it is one."""
    many: bool = False
    """They are of several events, or the endpoint did not even answer."""

    @property
    def is_open(self) -> bool:
        """Whether only canaries go out."""
        return self.canary_at is not None

    def succeeded(self) -> bool:
        """An event was accepted; whether that has closed the circuit."""
        closes = self.is_open
        self.failures, self.failing_since, self.canary_at, self.canaries = 0, None, None, 0
        self.only, self.many = None, False
        return closes

    def failed(
        self, n: int, away: bool, now: float, draw: float, least_seconds: float = 0.0
    ) -> bool:
        """Event `n` was not accepted; whether that has opened the circuit.

        `away`: there was no answer, or one that spoke of the endpoint alone. `least_seconds`: it
        asked for so much time (Retry-After).
        """
        self.failures += 1
        self.many = self.many or away or self.only not in {None, n}
        self.only = n
        self.failing_since = now if self.failing_since is None else self.failing_since
        if not self.is_open and (self.failures < FAILURES or not self.many):
            return False
        opens = not self.is_open
        wait = min(LAST_CANARY_SECONDS, FIRST_CANARY_SECONDS * 2.0 ** min(self.canaries, 16))
        self.canary_at = now + max(least_seconds, jittered(wait, draw))
        self.canaries += 1
        return opens

    def sends_canary(self, now: float) -> bool:
        """Whether the next canary may go now."""
        return self.canary_at is not None and now >= self.canary_at
