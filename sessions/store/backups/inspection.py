"""What a file has to be to be a backup of ours: looked at before any of it is believed.

Blocking (call it in a thread).

A backup comes from elsewhere: it may be cut, mangled or made up. Whatever is wrong with it is told
before anything is written.
"""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Float, LargeBinary, String, Table, Text

from sessions.model import InvalidSessionId, StoreError, parse_session_id
from sessions.store.engine import schema
from sessions.store.tables.text import fits

HINT: Final = "A backup is a file that `wasup store backup` wrote, unchanged. Is there another one?"
MAX_VALUE_BYTES: Final = 64 * 1024 * 1024
"""A key of Baileys has some kilobytes; the largest thing that we store is a frame, of which half
may be a value.
"""
MAX_TEXT_CHARACTERS: Final = 64 * 1024
"""Texts without a length of their own: names, rules, messages."""
MAX_NUMBER: Final = 2**62
"""Far above any number of ours, and below what both databases count to even when a restore adds its
million.
"""


def check_file(file: Path) -> None:
    """Raises StoreError for what is no ordinary file, or none at all: a pipe would never end."""
    for path in (file, Path(f"{file}-wal")):
        if path.exists() and not path.is_file():
            raise StoreError(f"{path} is no ordinary file.", "Give the path of a backup.")
    if not file.exists():
        raise StoreError(f"{file} does not exist.", "Give the path of a backup.")


def check_structure(file: Path) -> None:
    """Only tables, and their indexes, may be in it: a view or a trigger would be carried out.

    Raises StoreError, sqlite3.Error.
    """
    connection = sqlite3.connect(file)
    try:
        found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    finally:
        connection.close()
    known = {*schema.metadata.tables, "alembic_version", "sqlite_sequence", "sqlite_stat1"}
    for kind, name, statement in found:
        ours = kind == "index" or (kind == "table" and name in known)
        if not ours or (
            kind == "table" and "VIRTUAL" in str(statement).upper().split("(")[0].split()
        ):
            raise StoreError(f"{file} is no backup: it holds the {kind} {str(name)[:80]!r}.", HINT)


def check_rows(file: Path) -> None:
    """Every value of every row is what its column is for.

    For a copy whose schema is this version's. Raises StoreError, sqlite3.Error.
    """
    connection = sqlite3.connect(file)
    # what is no UTF-8 is told with its row, not raised by the driver
    connection.text_factory = bytes
    try:
        for table in schema.metadata.sorted_tables:
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            for row in connection.execute(f'SELECT {names} FROM "{table.name}"'):
                for complaint in _complaints(table, row):
                    raise StoreError(f"The backup cannot be restored: {complaint}.", HINT)
        _check_devices(connection)
    finally:
        connection.close()


def _check_devices(connection: sqlite3.Connection) -> None:
    double = connection.execute(
        "SELECT device FROM sessions WHERE device IS NOT NULL GROUP BY device HAVING count(*) > 1"
    ).fetchone()
    if double is not None:
        raise StoreError("The backup cannot be restored: two of its sessions are one device.", HINT)


def _complaints(table: Table, row: tuple[Any, ...]) -> Iterator[str]:
    for column, value in zip(table.columns, row, strict=True):
        wrong = _wrong(table, column, value)
        if wrong is not None:
            yield f"in the table {table.name}, {column.name} is {wrong}"


def _wrong(table: Table, column: Column[Any], value: Any) -> str | None:
    """What is wrong with a value; it is not quoted, as it may be a key, or anything at all."""
    if value is None:
        return None if column.nullable else "missing"
    match column.type:
        case LargeBinary():
            return _wrong_bytes(value)
        case String() | Text():
            return _wrong_text(table, column, value)
        case Float():
            fits_well = (
                isinstance(value, int | float) and math.isfinite(value) and abs(value) < MAX_NUMBER
            )
            return None if fits_well else "no number that can be"
        case _:
            fits_well = isinstance(value, int) and -MAX_NUMBER < value < MAX_NUMBER
            return None if fits_well else "no whole number that can be"


def _wrong_bytes(value: Any) -> str | None:
    if not isinstance(value, bytes):
        return "not made of bytes"
    return None if len(value) <= MAX_VALUE_BYTES else "larger than anything that is stored"


def _wrong_text(table: Table, column: Column[Any], value: Any) -> str | None:
    if not isinstance(value, bytes):
        return "no text"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return "no text"
    if len(text) > MAX_TEXT_CHARACTERS or not fits(text, column):
        return "a text that does not fit"
    if column.name == "session" or (table is schema.sessions and column.name == "id"):
        try:
            parse_session_id(text)
        except InvalidSessionId:
            return "no session id"
    return None
