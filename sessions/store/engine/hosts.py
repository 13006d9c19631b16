"""Several PostgreSQL servers, of which one may be written to at a time: their address, and which
one a connection goes to.

asyncpg has that, too, but gives all of them one time-out together: a first server that answers
nothing (its machine is off) would keep everybody from the second.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import URL, Engine, event
from sqlalchemy.engine import ExceptionContext

MEANT: Final = "several servers are host1:port,host2:port, by name or IPv4 address"
WRITABLE: Final = ("read-write", "primary")
"""What may be asked of the server that is chosen. A standby takes no credentials."""
PORT: Final = 5432
SECONDS_OF_ONE: Final = 4.0
"""What one server may take to answer, where there is another."""
_SEVERAL: Final = re.compile(r"(?P<before>\w[\w+]*://(?:[^@/?#]*@)?)(?P<hosts>[^@/?#]*,[^@/?#]*)")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?::\d{1,5})?")
_READ_ONLY: Final = "25006"


def spread(text: str) -> str:
    """An address in libpq's form for several servers, in SQLAlchemy's; another as it is.

    Raises ValueError.
    """
    found = _SEVERAL.match(text)
    if found is None:
        return text
    hosts = found["hosts"].split(",")
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(MEANT)
    address, mark, query = text[found.end() :].partition("?")
    named = "&".join(f"host={host}" for host in hosts)
    return f"{found['before']}{address}?{query}{'&' if mark and query else ''}{named}"


def of(url: URL) -> tuple[str, ...]:
    """The servers of an address, each with its port, where it has several."""
    hosts = url.query.get("host", ())
    if not isinstance(hosts, tuple):
        return ()
    return tuple(host if ":" in host else f"{host}:{PORT}" for host in hosts)


class Hosts:
    """Connects to the first that answers and may be written to, beginning with the one that last
    did.
    """

    def __init__(self) -> None:
        self._last = 0

    async def connect(
        self, *, host: Sequence[str], port: Sequence[int], timeout: float, **options: Any
    ) -> Any:
        """A connection of asyncpg's. Raises OSError."""
        # here alone: most have SQLite, and do without loading it
        import asyncpg  # type: ignore[import-untyped]
        from asyncpg.exceptions import (  # type: ignore[import-untyped]
            InterfaceError,
            InternalClientError,
            PostgresError,
        )

        troubles, count = [], len(host)
        for number in (*range(self._last, count), *range(self._last)):
            try:
                connection = await asyncpg.connect(
                    host=host[number],
                    port=port[number],
                    timeout=min(timeout, SECONDS_OF_ONE),
                    **options,
                )
            except (
                OSError,  # a time-out too
                PostgresError,
                InterfaceError,
                InternalClientError,  # it may not be written to
            ) as error:
                told = str(error).partition("\n")[0] or "no answer in time"
                troubles.append(f"{host[number]}: {told}")
            else:
                self._last = number
                return connection
        raise OSError(f"none of its servers can be written to: {'; '.join(troubles)}")


def leave_a_standby(engine: Engine) -> None:
    """Whose server has become a standby under way takes another connection."""

    @event.listens_for(engine, "handle_error")
    def look(context: ExceptionContext) -> None:
        error = getattr(context.original_exception, "__cause__", None)
        if getattr(error, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True
