"""What a worker may weigh and how late it may be: two limits of memory and one of its event loop.

Pure; limit_watch.py looks.
"""

import enum
from dataclasses import dataclass
from typing import Final

LATE_BEATS: Final = 3
"""A loop is late when so many heartbeats in a row say so: one long pause of the garbage collector
is no reason.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Above `soft_bytes` a worker is replaced at a quiet moment, above `hard_bytes` killed; with a
    loop late by `lag_ms` it is replaced.
    """

    soft_bytes: int = 400 * 1024 * 1024
    hard_bytes: int = 800 * 1024 * 1024
    lag_ms: float = 5_000.0


class Severity(enum.Enum):
    """What to do about it."""

    REPLACE = "replace at a quiet moment"
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
