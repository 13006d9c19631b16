"""The limits of a worker: of its memory, of its event loop's lag, and of how much it may say. Pure.

What it may say is far more than any honest worker says, and far less than would harm the others.
All sessions share one loop, one writer and one event log. A worker that floods its connection, for
whatever cause, pays for it alone: it is killed, and its session's crash budget with it.

limit_watch.py looks at memory and lag, connection.py meters the frames.
"""

import enum
from dataclasses import dataclass
from typing import Final

from sessions.workers import wire

LATE_BEATS: Final = 3
"""A loop is late when so many heartbeats in a row say so: one long pause of the garbage collector
is no reason.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Above `soft_bytes` a worker is replaced in an idle window, above `hard_bytes` killed; with a
    loop late by `lag_ms` it is replaced.
    """

    soft_bytes: int = 400 * 1024 * 1024
    hard_bytes: int = 800 * 1024 * 1024
    lag_ms: float = 5_000.0


class Severity(enum.Enum):
    """What to do about it."""

    REPLACE = "replace in an idle window"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that a worker is above, and the sentence for the operator."""

    severity: Severity
    words: str


def judge(rss_bytes: int, late_beats: int, limits: Limits) -> Excess | None:
    """The worst limit that is exceeded, if any. Pure."""
    weight = f"{rss_bytes / 2**20:.0f} MiB"
    if rss_bytes > limits.hard_bytes:
        return Excess(
            Severity.KILL,
            f"The worker weighs {weight}, above the hard limit of {limits.hard_bytes / 2**20:.0f}"
            " MiB.",
        )
    if rss_bytes > limits.soft_bytes:
        return Excess(
            Severity.REPLACE,
            f"The worker weighs {weight}, above the soft limit of {limits.soft_bytes / 2**20:.0f}"
            " MiB.",
        )
    if late_beats >= LATE_BEATS:
        return Excess(
            Severity.REPLACE,
            f"The worker's event loop was late by more than {limits.lag_ms:.0f} ms, {late_beats}"
            " heartbeats in a row.",
        )
    return None


# --- how much it may say --------------------------------------------------------------------------


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
    """Counts what one worker says on its connection."""

    def __init__(self, now: float) -> None:
        self._reports, self._frames, self._bytes = (
            Bucket(rate, now) for rate in (REPORTS, FRAMES, BYTES)
        )

    def read(self, size_bytes: int, now: float) -> str | None:
        """A frame came, before anything is made of it.

        What is too much, in words; None: nothing.
        """
        if not self._bytes.take(size_bytes, now):
            return f"more than {BYTES.per_second / 2**20:.0f} MiB a second"
        if not self._frames.take(1, now):
            return f"more than {FRAMES.per_second:.0f} frames a second"
        return None

    def understood(self, frame: wire.Up, now: float) -> str | None:
        """What the frame said, before it is passed on."""
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
