"""What the rooms tell each other inside this process: typed values, to whoever has subscribed to
their type.

Made first and given to everybody at construction, so that a room that is made early (the store) can
tell one that is made late (the alerts, which need the store), and nobody has to plant a callback in
a part that is finished. Nothing here is stored, and nothing leaves the process: the event log is
the feed's.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog

from sessions.model import SessionId

T = TypeVar("T")
Subscriber = Callable[[SessionId | None, T], None]

EARLY_MOST: Final = 1_000
"""So many values are kept until somebody subscribes to them, the newest: what is told before the
program is put together. A value that nobody ever wants is dropped in its turn.
"""

log = structlog.get_logger("bus")


class Bus:
    """Typed values, from those who publish to those who have subscribed to their class, or to a
    class that theirs is derived from. With each goes the session that it is about, if it is about
    one.
    """

    def __init__(self) -> None:
        self._subscribers: list[tuple[type, Subscriber[Any]]] = []
        self._early: deque[tuple[SessionId | None, object]] = deque(maxlen=EARLY_MOST)

    def subscribe(self, kind: type[T], notify: "Subscriber[T]") -> None:
        """Notify of each value of that class: of what nobody has been notified of so far at once,
        then of each as it is published.
        """
        self._subscribers.append((kind, notify))
        early, self._early = self._early, deque(maxlen=EARLY_MOST)
        for session, value in early:
            if isinstance(value, kind):
                _notify(notify, session, value)
            else:
                self._early.append((session, value))

    def publish(self, session: SessionId | None, value: object) -> None:
        """Notify all who have subscribed to it, in the order in which they subscribed.

        Never raises: a subscriber that fails is logged, and harms neither the others nor whoever
        publishes.
        """
        subscribers = [notify for kind, notify in self._subscribers if isinstance(value, kind)]
        if not subscribers:
            self._early.append((session, value))
        for notify in subscribers:
            _notify(notify, session, value)

    def tell(self, value: object) -> None:
        """Publish what is about no session."""
        self.publish(None, value)


def _notify(notify: Subscriber[Any], session: SessionId | None, value: object) -> None:
    try:
        notify(session, value)
    except Exception as error:
        log.error(
            "a subscriber failed",
            action="subscriber_failed",
            about=type(value).__name__,
            exc_info=error,
        )
