"""websocket.log: each client of the live feed, from its login to its end, in a line each. Never a
token; of whom it is the principal's name.
"""

import time
from typing import Final

from api.live.observer import Closure, Handshake, Refusal, Resync
from sessions.views.times import iso
from supervisor.process.log_files import LogFile

LEVELS: Final = ("debug", "info", "warning", "error")


class ConnectionLog:
    """Writes down what the feed tells (a FeedObserver). `level`: less than that is not written."""

    def __init__(self, file: LogFile, level: str) -> None:
        self._file = file
        self._least = LEVELS.index(level)

    def on_handshake(self, handshake: Handshake) -> None:
        """A client was let in."""
        self._write(
            "info",
            "admitted",
            client=handshake.principal,
            transport=handshake.transport,
            tookMs=_ms(handshake.whole_seconds),
        )
        self._write(
            "debug",
            "handshake",
            client=handshake.principal,
            waitedMs=_ms(handshake.waited_seconds),
            tokenMs=_ms(handshake.token_seconds),
            capacityMs=_ms(handshake.capacity_seconds),
            admittedMs=_ms(handshake.admitted_seconds),
        )

    def on_refusal(self, refusal: Refusal) -> None:
        """A client was not let in."""
        self._write(
            "warning",
            "refused",
            reason=refusal.reason,
            transport=refusal.transport,
            afterMs=_ms(refusal.after_seconds),
        )

    def on_closure(self, closure: Closure) -> None:
        """A client that was let in is gone."""
        self._write(
            "info",
            "closed",
            client=closure.principal,
            transport=closure.transport,
            reason=closure.reason,
            ageSeconds=round(closure.age_seconds, 1),
            sentEvents=closure.sent_events,
        )

    def on_resync(self, resync: Resync) -> None:
        """A client's queue was dropped."""
        self._write(
            "warning", "too slow", client=resync.principal, droppedBytes=resync.queued_bytes
        )

    def _write(self, level: str, what: str, **fields: object) -> None:
        if LEVELS.index(level) >= self._least:
            head = {"timestamp": iso(time.time()), "level": level, "event": what}
            self._file.write(head | fields)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
