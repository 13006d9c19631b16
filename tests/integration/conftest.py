"""Both databases, for tests of the store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from sessions.store import sqlite_url
from tests.postgres import PostgreSQL


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The server of this test process; it is there when the first test asks for it."""
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def postgresql_url(postgresql: PostgreSQL) -> URL:
    """A fresh, empty PostgreSQL database."""
    return postgresql.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "wasup.db")
    found: URL = request.getfixturevalue("postgresql_url")
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], URL]:
    """As many fresh, empty databases of a kind as a test needs."""
    if request.param == "sqlite":
        names = iter(range(1000))
        return lambda: sqlite_url(tmp_path / f"wasup-{next(names)}.db")
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database
