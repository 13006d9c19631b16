"""Addresses of databases as operators write them, and errors of databases as operators are told
them.
"""

import sqlite3
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError

from sessions.model import StoreUnavailable
from sessions.store import parse_url, sqlite_url
from sessions.store.engine.database import name_of
from sessions.store.writing.faults import describe, is_trouble


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_postgresql_url_is_taken_under_each_of_its_names(scheme: str) -> None:
    url = parse_url(f"{scheme}://operator:hunter2@db.example:5433/wasup?sslmode=require")
    assert (url.drivername, url.host, url.port, url.database) == (
        "postgresql+asyncpg",
        "db.example",
        5433,
        "wasup",
    )
    assert (url.password, url.query) == ("hunter2", {"ssl": "require"})
    assert name_of(url) == "postgresql+asyncpg://operator:***@db.example:5433/wasup?ssl=require"


def test_several_servers_are_taken_in_libpq_s_form_and_the_one_is_meant_that_may_be_written_to() -> (
    None
):
    url = parse_url(
        "postgresql://operator:hunter2@one.example:5433,two.example/wasup?sslmode=require"
    )
    assert (url.host, url.database, url.password) == (None, "wasup", "hunter2")
    assert url.query == {
        "host": ("one.example:5433", "two.example:5432"),
        "ssl": "require",
        "target_session_attrs": "read-write",
    }
    primary = parse_url("postgresql://a,b/wasup?target_session_attrs=primary")
    assert primary.query["target_session_attrs"] == "primary"
    assert "hunter2" not in name_of(url)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://operator:hunter2@one,/wasup",
        "postgresql://operator:hunter2@one,two:port/wasup",
        "postgresql://operator:hunter2@one,[::1]:5432/wasup",
        "postgresql://operator:hunter2@one,two/wasup?target_session_attrs=standby",
    ],
)
def test_servers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host1:port,host2:port|read-write or primary") as caught:
        parse_url(text)
    assert "hunter2" not in str(caught.value)


def test_a_socket_directory_is_a_host() -> None:
    assert parse_url("postgresql:///wasup?host=/run/postgresql").query == {
        "host": "/run/postgresql"
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///data/wasup.db", "data/wasup.db"),
        ("sqlite:////var/lib/wasup.db", "/var/lib/wasup.db"),
    ],
)
def test_an_sqlite_url_is_a_path(text: str, path: str) -> None:
    assert parse_url(text) == sqlite_url(Path(path))
    assert name_of(parse_url(text)) == path


def test_a_path_may_hold_what_a_url_may_not() -> None:
    assert sqlite_url(Path("/a b/50%/what?#.db")).database == "/a b/50%/what?#.db"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2",
        "mysql://operator:hunter2@db/wasup",
        "postgresql://operator:hunter2@db",
        "postgresql://operator:hunter2@db/wasup?application_name=x",
        "postgresql://operator:hunter2@db:port/wasup",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite://hunter2/wasup.db",
    ],
)
def test_what_is_no_such_url_is_refused_in_a_sentence_without_the_password(text: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///|postgresql://|parameters") as caught:
        parse_url(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def _sqlite(name: str, text: str) -> DBAPIError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = getattr(sqlite3, name)
    return OperationalError("UPDATE secret", {"value": "secret"}, error, hide_parameters=True)


def _postgresql(
    kind: type[asyncpg.PostgresError], text: str, wrapper: type[DBAPIError] = DBAPIError
) -> DBAPIError:
    error = kind(text)
    error.detail = "Failing row contains (secret)."
    emulated = Exception(str(error))
    emulated.__cause__ = error
    return wrapper("UPDATE secret", {"value": "secret"}, emulated, hide_parameters=True)


TROUBLE = [
    _sqlite("SQLITE_BUSY", "database is locked"),
    _sqlite("SQLITE_FULL", "database or disk is full"),
    _sqlite("SQLITE_IOERR", "disk I/O error"),
    _postgresql(asyncpg.DiskFullError, "could not extend file"),
    _postgresql(asyncpg.AdminShutdownError, "terminating connection due to administrator command"),
    _postgresql(asyncpg.TooManyConnectionsError, "sorry, too many clients already"),
    _postgresql(
        asyncpg.ReadOnlySQLTransactionError, "cannot execute UPDATE in a read-only transaction"
    ),
    _postgresql(asyncpg.DeadlockDetectedError, "deadlock detected"),
    _postgresql(asyncpg.InsufficientPrivilegeError, "permission denied for table auth"),
    InterfaceError("UPDATE", None, Exception("connection is closed"), connection_invalidated=True),
    ConnectionRefusedError(111, "Connect call failed"),
    TimeoutError(),
    StoreUnavailable("Another supervisor owns this database."),
]
OWN = [
    _sqlite("SQLITE_ERROR", "no such column: x"),
    _postgresql(asyncpg.NotNullViolationError, 'null value in column "value" of relation "auth"'),
    _postgresql(asyncpg.StringDataRightTruncationError, "value too long: secret", DataError),
    _postgresql(asyncpg.UndefinedColumnError, 'column "x" does not exist'),
    KeyError("secret"),
    OverflowError("secret"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: describe(error)[:40])
def test_what_passes_or_can_be_mended_is_the_databases_trouble(error: Exception) -> None:
    assert is_trouble(error)
    assert len(describe(error)) > 5
    assert "secret" not in describe(error)


@pytest.mark.parametrize("error", OWN, ids=lambda error: type(error).__name__)
def test_what_never_passes_is_the_operations_own_and_told_without_values(error: Exception) -> None:
    assert not is_trouble(error)
    assert "secret" not in describe(error)
