"""How much a worker may say: far more than any honest one does, and far less than would harm the
others. Pure.

All sessions share one loop, one writer and one event log. A worker that floods its line, for
whatever cause, pays for it alone: it is killed, and its session's crash budget with it.
"""

from dataclasses import dataclass
from typing import Final

from sessions.workers import wire


@dataclass(frozen=True, slots=True)
class Rate:
    """What may come in the long run, and at once."""

    per_second: float
    burst: float


REPORTS: Final = Rate(2.0, 120.0)
"""`state`, `qr`, `opened`, `closed`, `phone`.

An attempt makes half a dozen, a QR changes every 20 s, and attempts are paced by us.
"""
FRAMES: Final = Rate(3_000.0, 30_000.0)
"""All of them.

Node needs milliseconds for the Signal work behind each; a first login makes some hundred.
"""
BYTES: Final = Rate(16.0 * 2**20, 256.0 * 2**20)
"""The largest that is known is a first history: some megabytes of keys."""
MAX_UNACKNOWLEDGED: Final = 20_000
"""Messages and receipts that a worker may have under way.

Ours stops reading its socket far below that (outbox.js).
"""
MAX_EARLY_FRAMES: Final = MAX_UNACKNOWLEDGED
"""Kept of a worker that nobody owns yet: an idle one says nothing, one that has come back what it
has under way.
"""
MAX_EARLY_BYTES: Final = 64 * 2**20
"""Ours keeps 16 MiB under way at the most (outbox.js)."""
_REPORTS: Final = (wire.State, wire.Qr, wire.Opened, wire.Closed, wire.Phone)


class Bucket:
    """A token bucket."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate, self._left, self._at = rate, rate.burst, now

    def take(self, amount: float, now: float) -> bool:
        """Whether there was room for it."""
        refilled = self._left + (now - self._at) * self._rate.per_second
        self._left, self._at = min(self._rate.burst, refilled) - amount, now
        return self._left >= 0


class Meter:
    """Counts what one worker says on its line."""

    def __init__(self, now: float) -> None:
        self._reports, self._frames, self._bytes = (
            Bucket(rate, now) for rate in (REPORTS, FRAMES, BYTES)
        )

    def read(self, size_bytes: int, now: float) -> str | None:
        """A line came, before anything is made of it. What is too much, in words; None: nothing."""
        if not self._bytes.take(size_bytes, now):
            return f"more than {BYTES.per_second / 2**20:.0f} MiB a second"
        if not self._frames.take(1, now):
            return f"more than {FRAMES.per_second:.0f} frames a second"
        return None

    def understood(self, frame: wire.Up, now: float) -> str | None:
        """What the line said, before it is passed on."""
        if isinstance(frame, _REPORTS) and not self._reports.take(1, now):
            return f"more than {REPORTS.per_second:.0f} reports a second"
        return None


def too_much_early(frames: int, size_bytes: int) -> str | None:
    """What a worker without an owner has said, all of it.

    What is too much, in words; None: nothing.
    """
    if frames > MAX_EARLY_FRAMES:
        return f"more than {MAX_EARLY_FRAMES} frames before it belonged to a session"
    if size_bytes > MAX_EARLY_BYTES:
        return f"more than {MAX_EARLY_BYTES / 2**20:.0f} MiB before it belonged to a session"
    return None
