"""A close: how an attempt or an open socket has ended. Pure.

It is made once, where the end is heard of, and handed on whole: to the gate, which says whether an
outage covers it; to the policy, which judges it; and to the record.
"""

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

from sessions.model import CloseReason

MAX_EXPIRY_SECONDS: Final = 366 * 24 * 3600.0
"""No ban that names its end is longer; anything above is garbage on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """One close.

    `at`: when it was heard of, in seconds of the monotonic clock, and `at_wall_seconds` of the wall
    clock. `was_open`: the session had been open; `was_stable`: for the stable period.
    `expire_seconds`: how long a ban lasts, by its own account. `human`: what a human must do, where
    that is known better than by the reason alone.
    """

    reason: CloseReason
    at: float = 0.0
    at_wall_seconds: float = 0.0
    code: int | None = None
    message: str = ""
    was_open: bool = False
    was_stable: bool = False
    expire_seconds: float | None = None
    human: str | None = None


class Verdict(enum.Enum):
    """What the gate, which sees the closes of all sessions, says of one."""

    OWN = "as far as anybody knows it is the session's own: the policy judges it, and charges"
    COVERED = "an outage covers it: nobody is charged, and the session is held with the others"
    REVEALING = "with it an outage is seen: as COVERED, and what came before it is uncharged, too"

    @property
    def covered(self) -> bool:
        """Whether an outage covers the close."""
        return self is not Verdict.OWN


class ClosedWay(NamedTuple):
    """Why nobody comes through by a session's egress just now, as a look without a login has found
    it.
    """

    reason: CloseReason
    words: str


def expiry(data: dict[str, str] | None) -> float | None:
    """The seconds that a temporary ban's `<failure>` names (whatsmeow: attribute `expire`), if it
    names any that can be true.
    """
    named = (data or {}).get("expire", "")
    return min(float(named), MAX_EXPIRY_SECONDS) if named.isascii() and named.isdecimal() else None
