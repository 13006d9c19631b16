"""What users run today, as functions: the wait before the next attempt.

What each is, was read in its source (file and line named in `source`).

None of them has a gate, and each reconnects all of its sessions at once when its process starts
again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sessions.model import CloseReason

Wait = Callable[[int, float], float | None]
"""Seconds to wait before attempt number n (1: the first after a close that followed an open) and a
roll in [0, 1); None: it gives up.
"""


@dataclass(frozen=True, slots=True)
class Strategy:
    """A policy of somebody else.

    `calm_seconds`: how long a session has to be open before its attempts are counted anew.
    """

    key: str
    name: str
    source: str
    wait: Wait
    calm_seconds: float = 0.0
    stops_at: frozenset[CloseReason] = frozenset({CloseReason.LOGGED_OUT})


def fixed(attempt: int, roll: float) -> float | None:
    """2 s, always."""
    return 2.0


def at_once(attempt: int, roll: float) -> float | None:
    """No wait at all."""
    return 0.0


def linear(attempt: int, roll: float) -> float | None:
    """0, 2, 4, 6 ... seconds, without an end."""
    return 2.0 * (attempt - 1)


def exponential(attempt: int, roll: float) -> float | None:
    """2, 4, 8 ... at most 300 s; after ten attempts it gives up."""
    return None if attempt > 10 else min(300.0, 2.0**attempt)


def fibonacci(attempt: int, roll: float) -> float | None:
    """1, 1, 2, 3, 5 ... at most 900 s, a tenth more or less."""
    wait, after = 1.0, 1.0
    for _ in range(min(attempt, 20) - 1):
        wait, after = after, wait + after
    return min(900.0, wait) * (0.9 + 0.2 * roll)


RIVALS: Final = (
    Strategy(
        "fixed",
        "fixed 2 s (Whaticket, WAHA)",
        "WhaticketSaas libs/wbot.ts:280, waha session.noweb.core.ts:386",
        fixed,
    ),
    Strategy(
        "at-once", "at once (Evolution)", "evolution-api whatsapp.baileys.service.ts:400", at_once
    ),
    Strategy(
        "linear", "n x 2 s (whatsmeow)", "whatsmeow client.go:624, connectionevents.go:165", linear
    ),
    Strategy(
        "exponential",
        "2 s..5 min, gives up at 10",
        "wasup's settings read literally: base 2000 ms, max 300000 ms, 10 retries",
        exponential,
    ),
    Strategy(
        "fibonacci",
        "Fibonacci (WhatsApp Web)",
        "whatsapp-rust client.rs:2045 (reverse-engineered)",
        fibonacci,
        30.0,
    ),
)
