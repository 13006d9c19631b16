"""Where a backup was made, and whether the installation there still runs: its sessions and the
restored ones are the same devices.

What can be known: on the same machine, that the data directory there is locked; in the same
PostgreSQL server, that the database there has a writer. Anything else is unknown, and the operator
is asked instead.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import URL, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import database, hosts, lock, schema

NAME: Final = "origin"
"""The row of `meta` in a backup, and in a store that was filled from one."""
_MACHINE_ID: Final = Path("/etc/machine-id")
_HELD: Final = text("""
    SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = :database
      AND (l.classid::bigint << 32) | l.objid::bigint = :key
""")
_meta = schema.meta


class Origin(msgspec.Struct, frozen=True):
    """Where a backup was made. `server`: of PostgreSQL, host and port; empty with SQLite."""

    machine: str
    directory: str
    server: str = ""
    database: str = ""

    @classmethod
    def here(cls, directory: Path, url: URL) -> "Origin":
        """What the installation here is."""
        if database.is_sqlite(url):
            return cls(_machine(), str(directory))
        return cls(_machine(), str(directory), _server(url), url.database or "")


async def note(connection: AsyncConnection, origin: Origin) -> None:
    """Write it into a backup."""
    row = {"name": NAME, "value": msgspec.json.encode(origin)}
    await connection.execute(database.upsert(connection, _meta), row)


async def read(connection: AsyncConnection) -> Origin | None:
    """Where the store comes from; None: from nowhere else, or from a backup that does not say."""
    value = await connection.scalar(select(_meta.c.value).where(_meta.c.name == NAME))
    try:
        return msgspec.json.decode(value, type=Origin) if value is not None else None
    except msgspec.MsgspecError:  # it is only asked for comfort
        return None


async def still_runs(
    connection: AsyncConnection,
    origin: Origin | None,
    here: Origin,
    is_held: Callable[[Path], str | None],
) -> str | None:
    """Who runs at the origin, in words; None: nobody, as far as can be known.

    `is_held`: who holds a data directory of this machine.
    """
    if origin is None:
        return None
    if origin.machine == here.machine and origin.directory != here.directory:
        holder = is_held(Path(origin.directory))
        if holder is not None:
            return f"{origin.directory} is held by {holder}"
    if origin.server and origin.server == here.server and origin.database != here.database:
        asked = {"database": origin.database, "key": lock.KEY}
        if await connection.scalar(_HELD, asked):
            return f"the database {origin.database} on {origin.server} has a supervisor"
    return None


def _machine() -> str:
    try:
        return (
            _MACHINE_ID.read_text(encoding="ascii", errors="replace").strip()
            or socket.gethostname()
        )
    except OSError:
        return socket.gethostname()


def _server(url: URL) -> str:
    if several := hosts.of(url):  # one database, whichever of them has it now
        return ",".join(several)
    host = url.host or url.query.get("host") or "localhost"
    return f"{host}:{url.port or 5432}"
