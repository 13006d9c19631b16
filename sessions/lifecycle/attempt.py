"""One attempt, and, if it comes through, the open socket after it: everything that ends when it
ends.
"""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field

from sessions.model import CloseReason
from sessions.ports import Permit


@dataclass(frozen=True, slots=True)
class ShownQr:
    """What waits for a phone.

    `number`: which QR of the attempt it is (0: a worker of 0.1.0 does not say). `pairing_code`:
    None if none was asked for.
    """

    qr: str
    number: int = 0
    pairing_code: str | None = None
    shown_at: float = field(default_factory=time.time, compare=False)
    """Since when we show it, seconds of the wall clock."""


class Attempt:
    """An attempt under way.

    A session has one exactly while its worker has, or should have, a socket.
    """

    def __init__(self, number: int, permit: Permit) -> None:
        self.number = number
        """The worker repeats it in each report; what bears another number is of the past."""
        self.qr: ShownQr | None = None
        self.opened_at: float | None = None
        """When it came through, in seconds of the monotonic clock."""
        self.stable = False
        """It has been open for the stable period."""
        self.left_deaf = False
        """It answers no probe, and has used up what may be done about that."""
        self.verdict: CloseReason | None = None
        """Why we are ending it ourselves."""
        self.words: str | None = None
        """The same as a sentence, where the verdict does not say it all."""
        self.has_landed = False
        """Its login is on the wire."""
        self._permit = permit
        self._checks: asyncio.Task[None] | None = None

    def login_sent(self) -> None:
        """The login is on the wire."""
        self.has_landed = True
        self._permit.login_sent()

    def admitted(self) -> None:
        """The server has let us in, or shows a QR: the gate need not wait for us any more."""
        self._permit.finish(succeeded=True)

    def watch(self, checks: Coroutine[None, None, None], name: str) -> None:
        """Run the health checks, in place of those under way."""
        self.unwatch()
        self._checks = asyncio.create_task(checks, name=name)

    def unwatch(self) -> None:
        """No more health checks: we are ending it."""
        if self._checks is not None:
            self._checks.cancel()
            self._checks = None

    def end(self) -> None:
        """It is over."""
        self.unwatch()
        self._permit.finish(succeeded=False)
