"""Which events somebody asks for: by type with wildcards, by session, by number. Pure.

The same words everywhere: `/events`, the live feed, webhooks and the commands.
"""

import difflib
import functools
from collections.abc import Collection, Iterable
from typing import Final, Self

import msgspec

from sessions.model import WasupError, event_types, parse_session_id

EVERYTHING: Final = "*"
MOST: Final = 100
"""Types, or sessions, that may be named at once."""
SIMILAR: Final = 3
"""Names that are told when somebody has mistyped one."""


class InvalidEventFilter(WasupError):
    """That asks for events that there cannot be."""

    code = "invalid_event_filter"
    hint = "A type is a name such as message.received, a group such as message.*, or *."


class EventFilter(msgspec.Struct, frozen=True):
    """What is asked for; what is not said is not asked.

    `types`: names, groups (`message.*`) or `*`. `sessions`: whose events; None: of all, and the
    fleet's own. `after`, `before`: numbers, which are not of it themselves.
    """

    types: tuple[str, ...] = (EVERYTHING,)
    sessions: frozenset[str] | None = None
    after: int = 0
    before: int | None = None

    @classmethod
    def of(
        cls,
        types: Iterable[str] = (),
        sessions: Iterable[str] = (),
        after: int = 0,
        before: int | None = None,
    ) -> Self:
        """What somebody has written; no types: all, no sessions: all.

        Raises InvalidEventFilter, InvalidSessionId.
        """
        wanted, whose = tuple(dict.fromkeys(types)), frozenset(sessions)
        check_types(wanted, event_names())
        if len(whose) > MOST:
            raise InvalidEventFilter(
                f"{len(whose)} sessions are named.", f"Name {MOST} at the most, or none for all."
            )
        for session in whose:
            parse_session_id(session)
        return cls(wanted or (EVERYTHING,), whose or None, after, before)

    def wants(self, session: str | None, kind: str) -> bool:
        """Whether it asks for such events of that session (None: the fleet's own)."""
        return (self.sessions is None or session in self.sessions) and covers(self.types, kind)

    @property
    def last(self) -> int | None:
        """The number of the last event that it can ask for; None: there will always be more."""
        return None if self.before is None else self.before - 1

    @property
    def wants_all(self) -> bool:
        """Whether it leaves out none between its numbers."""
        return self.sessions is None and EVERYTHING in self.types

    def within(self, sessions: Collection[str] | None) -> Self:
        """The same, of these sessions alone (None: of all): what somebody may see of it."""
        if sessions is None:
            return self
        both = frozenset(sessions) if self.sessions is None else self.sessions & set(sessions)
        return msgspec.structs.replace(self, sessions=both)

    def types_of(self, known: Iterable[str]) -> list[str]:
        """Which of these types it asks for."""
        return [kind for kind in known if covers(self.types, kind)]


@functools.lru_cache(maxsize=4096)
def covers(patterns: tuple[str, ...], kind: str) -> bool:
    """Whether a type is named, alone, by its group or with all others. Remembered: webhooks and the
    live feed ask for each event.
    """
    return _covers(patterns, kind)


def _covers(patterns: Collection[str], kind: str) -> bool:
    """The same, for what is asked once: it pushes out nothing that is asked for each event."""
    group = kind.partition(".")[0] + ".*" if "." in kind else None
    return any(pattern in {EVERYTHING, kind, group} for pattern in patterns)


def event_names() -> frozenset[str]:
    """The types that the loaded parts of this program publish."""
    return frozenset(kind.type for kind in event_types())


def check_types(patterns: Collection[str], known: Collection[str]) -> None:
    """Raises InvalidEventFilter, which says what was perhaps meant, for the first of them that can
    never be: who waits for it would wait for ever.
    """
    if len(patterns) > MOST:
        raise InvalidEventFilter(
            f"{len(patterns)} types are named.", f"Name {MOST} at the most, or groups, or *."
        )
    for pattern in patterns:
        if not any(_covers((pattern,), one) for one in known):
            raise InvalidEventFilter(
                f"There are no events {pattern[:64]!r}.", _meant(pattern, known)
            )


def _meant(pattern: str, known: Collection[str]) -> str:
    """What somebody may have meant."""
    groups = {one.partition(".")[0] for one in known}
    if pattern in groups:
        return f"For the whole group say {pattern}.*"
    possible = sorted({*known, *(f"{group}.*" for group in groups)})
    near = difflib.get_close_matches(pattern[:64].lower(), possible, SIMILAR)
    if near:
        return f"Is it {' or '.join(near)}? docs/events.md lists all types."
    return f"{InvalidEventFilter.hint} docs/events.md lists them."
