"""What the store gives and takes: its rows as frozen values."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Executable, Row

from sessions.model import SessionId

Read = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]
"""Read what is committed. Raises StoreUnavailable."""


class SessionRow(msgspec.Struct, frozen=True):
    """A session as stored.

    `created_at`: seconds of wall clock; `proxy`: its name, without user and password.
    """

    id: SessionId
    wanted: bool
    epoch: int
    memory: bytes | None
    jid: str | None
    name: str | None
    created_at: float
    proxy: str | None = None
    restored: bool = False
    """It came back with a backup of the whole store, where it ran, and waits until an operator
    starts it.
    """


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker process as stored. `token_digest`: SHA-256 of the token with which it says hello."""

    id: str
    session: str | None
    pid: int
    started_at_ticks: int
    token_digest: bytes | None = None


class StoredEvent(msgspec.Struct, frozen=True):
    """An event with its number.

    `time_ms`: since the epoch, by the wall clock.
    """

    n: int
    time_ms: int
    session: str | None
    type: str
    data: msgspec.Raw

    @property
    def id(self) -> str:
        """Names the event for ever, also beyond a restore, after which a number may come again."""
        return f"evt_{self.time_ms:011x}{self.n:08x}"


class ArchiveRow(msgspec.Struct, frozen=True, rename="camel"):
    """Credentials that were put aside.

    `archived_at`: seconds of wall clock; `whole`: all keys, or (a snapshot) the creds alone.
    """

    id: int
    session: str
    archived_at: float
    reason: str
    whole: bool
    entries: int


class Restored(NamedTuple):
    """An archive that was put back, and the session as it is stored since."""

    archive: ArchiveRow
    session: SessionRow
