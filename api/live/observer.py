"""What the live feed tells whoever counts, times and logs its clients.

The interface alone, and one that does nothing with it: the feed works without any.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

Transport = Literal["websocket", "polling"]


class Handshake(msgspec.Struct, frozen=True, kw_only=True):
    """A client that was let in, and what its handshake's stages took; their sum is `whole`.

    `waited_seconds`: from the open transport until it handed in its token; `token_seconds`: until
    the token was checked; `capacity_seconds`: until there was known to be room; `admitted_seconds`:
    until it had its place.
    """

    transport: Transport
    principal: str
    waited_seconds: float
    token_seconds: float
    capacity_seconds: float
    admitted_seconds: float

    @property
    def whole_seconds(self) -> float:
        """From the open transport until it was let in."""
        return (
            self.waited_seconds + self.token_seconds + self.capacity_seconds + self.admitted_seconds
        )


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A client that was not let in.

    `reason`: as it was told (`empty_token`, `expired`, `invalid`, `insufficient resources`,
    `timeout`); `after_seconds`: since its transport was open.
    """

    reason: str
    transport: Transport
    after_seconds: float


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    """A client that was let in, and is gone.

    `reason`: `transport close`, `transport error`, `client disconnect`, `ping timeout`, `expired`,
    `going away` or `overrun`; `age_seconds`: since it was let in; `sent_events`: in that time.
    """

    reason: str
    transport: Transport
    principal: str
    age_seconds: float
    sent_events: int


class Resync(msgspec.Struct, frozen=True, kw_only=True):
    """A client that did not read as fast as things happened. `queued_bytes`: what was dropped."""

    principal: str
    queued_bytes: int


class FeedObserver(Protocol):
    """Told of each as it happens; must not wait, and what it raises is logged and harms nobody."""

    def on_handshake(self, handshake: Handshake) -> None:
        """A client was let in."""

    def on_refusal(self, refusal: Refusal) -> None:
        """A client was not let in."""

    def on_closure(self, closure: Closure) -> None:
        """A client that was let in is gone."""

    def on_resync(self, resync: Resync) -> None:
        """A client's queue was dropped."""


class Observers:
    """Several observers as one: each is told, whatever becomes of the others."""

    def __init__(self, *observers: FeedObserver) -> None:
        self._observers = observers

    def on_handshake(self, handshake: Handshake) -> None:
        """A client was let in."""
        self._tell(lambda one: one.on_handshake(handshake))

    def on_refusal(self, refusal: Refusal) -> None:
        """A client was not let in."""
        self._tell(lambda one: one.on_refusal(refusal))

    def on_closure(self, closure: Closure) -> None:
        """A client that was let in is gone."""
        self._tell(lambda one: one.on_closure(closure))

    def on_resync(self, resync: Resync) -> None:
        """A client's queue was dropped."""
        self._tell(lambda one: one.on_resync(resync))

    def _tell(self, tell: Callable[[FeedObserver], None]) -> None:
        failed: list[Exception] = []
        for observer in self._observers:
            try:
                tell(observer)
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]  # whoever has told us logs it


class NoObserver:
    """Nobody counts."""

    def on_handshake(self, handshake: Handshake) -> None:
        """Nothing."""

    def on_refusal(self, refusal: Refusal) -> None:
        """Nothing."""

    def on_closure(self, closure: Closure) -> None:
        """Nothing."""

    def on_resync(self, resync: Resync) -> None:
        """Nothing."""
