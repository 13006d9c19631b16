"""Whose trouble an error is.

The database's (then it is worth trying again) or that of the one operation (then it never will be).

Also how an error is told: a driver's text may quote values, and values are keys.
"""

import sqlite3
from typing import Final

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
    ResourceClosedError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sessions.model import StoreUnavailable

_OPERATIONS_OWN: Final = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
_OPERATIONS_OWN_SQLSTATES: Final = ("0A", "21", "22", "23", "42")
"""Classes of PostgreSQL's error codes: not supported, cardinality, data, integrity, syntax.

All others (connection, resources, operator's intervention, system, internal) pass, or need somebody
who mends the database.
"""
_OPERATIONS_OWN_SQLITE: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)
_PERMISSION_DENIED: Final = "42501"
_MAY_QUOTE_VALUES: Final = ("22", "23")


def is_trouble(error: BaseException) -> bool:
    """Whether the database fails, so that the same operation may well succeed later."""
    match error:
        case StoreUnavailable() | OSError() | PoolTimeoutError() | ResourceClosedError():
            # OSError: TimeoutError too
            return True
        case DBAPIError():
            return error.connection_invalidated or not _is_operations_own(error)
        case _:
            return False


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection was lost, as after the database's restart: a new one may well work at
    once.
    """
    return isinstance(error, DBAPIError) and error.connection_invalidated


def describe(error: BaseException) -> str:
    """The error for logs and operators: never a parameter, never a value."""
    match error:
        case DBAPIError():
            return _describe_driver_error(error)
        case StoreUnavailable() | SQLAlchemyError():
            return str(error).partition("\n")[0]
        case TimeoutError():
            return "the database did not answer in time"
        case OSError():
            return f"the database cannot be reached ({error})"
        case _:
            return type(error).__name__


def _is_operations_own(error: DBAPIError) -> bool:
    driver_error = _driver_error(error)
    code = getattr(driver_error, "sqlstate", None)
    if isinstance(code, str):
        return code.startswith(_OPERATIONS_OWN_SQLSTATES) and code != _PERMISSION_DENIED
    if isinstance(driver_error, sqlite3.OperationalError):
        return getattr(driver_error, "sqlite_errorcode", None) in _OPERATIONS_OWN_SQLITE
    return isinstance(error, _OPERATIONS_OWN)


def _describe_driver_error(error: DBAPIError) -> str:
    driver_error = _driver_error(error)
    name, code = type(driver_error).__name__, getattr(driver_error, "sqlstate", None)
    if isinstance(driver_error, sqlite3.Error):
        return str(driver_error)  # names columns at most
    if isinstance(code, str) and not code.startswith(_MAY_QUOTE_VALUES):
        # PostgreSQL's primary message; its DETAIL, which quotes rows, is another attribute.
        return f"{driver_error.args[0] if driver_error.args else name} (SQLSTATE {code})".replace(
            "\n", " "
        )
    if error.connection_invalidated:
        return f"the connection was lost ({name})"
    return f"{name} (SQLSTATE {code})" if code else name


def _driver_error(error: DBAPIError) -> BaseException:
    """The error that the driver itself raised: SQLAlchemy's emulation of asyncpg puts one of its
    own in between.
    """
    orig = error.orig or error
    return orig.__cause__ or orig
