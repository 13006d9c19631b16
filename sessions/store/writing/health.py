"""How the store is: ok, failing or slow; in words for whoever is woken by it."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

SLOW_SECONDS: Final = 5.0
"""A write that waits longer without an error: the disk or the database hangs.

A healthy one takes milliseconds.
"""

State = Literal["ok", "failing", "slow"]


class StoreHealth(msgspec.Struct, frozen=True, rename="camel"):
    """How the store is.

    `error` never holds parameters or secrets; `for_seconds`: since the state changed, monotonic.
    """

    state: State
    error: str | None
    for_seconds: float
    waiting_operations: int
    lost_events: int
    words: str


class HealthWatch:
    """Keeps the state and tells of its changes.

    `waiting` says how many operations wait; `notify` is told of each change of state, soon.
    """

    def __init__(
        self, waiting: Callable[[], int], notify: Callable[[StoreHealth], None] | None = None
    ) -> None:
        self._notify = notify
        self.lost_events = 0
        self._waiting = waiting
        self._state: State = "ok"
        self._error: str | None = None
        self._since = self._now()

    @property
    def state(self) -> State:
        """The state alone."""
        return self._state

    @property
    def health(self) -> StoreHealth:
        """As it is now."""
        seconds, waiting = self._now() - self._since, self._waiting()
        words = _words(self._state, self._error, seconds, waiting)
        return StoreHealth(self._state, self._error, seconds, waiting, self.lost_events, words)

    def enter(self, state: State, error: str | None = None) -> bool:
        """The state is this now; whether that is a change."""
        self._error = error
        if state == self._state:
            return False
        self._state, self._since = state, self._now()
        if self._notify is not None:  # soon, not now: whatever it does, the writer goes on
            asyncio.get_running_loop().call_soon(self._notify, self.health)
        return True

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _words(state: State, error: str | None, seconds: float, waiting: int) -> str:
    match state:
        case "ok":
            return "The store works."
        case "slow":
            return (
                f"The store has not answered for {SLOW_SECONDS:.0f} s or more, without an error;"
                f" {waiting} writes wait. Nothing unsaved is acknowledged. Look at the disk's or"
                " the database's load."
            )
        case "failing":
            return (
                f"The store cannot write since {seconds:.0f} s: {error}. {waiting} writes wait and"
                " are made when it can again; nothing unsaved is acknowledged. Look at the disk's"
                " room or at the database."
            )
