"""What the shell is offered, and how little is loaded for it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.lab.processes import ROOT
from supervisor.process.lock import DirectoryLock

HEAVY = {"aiohttp", "sqlalchemy", "alembic", "asyncpg", "cryptography", "uvloop", "segno"}
"""What commands that only ask need not load."""
SHELLS = ("bash", "zsh", "fish")


class Api(BaseHTTPRequestHandler):
    """An API that knows three sessions."""

    def do_GET(self) -> None:
        content = b'{"sessions": [{"id": "loja-1"}, {"id": "loja-2"}, {"id": "bot"}], "next": null}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def api() -> Iterator[str]:
    """Its address."""
    server = HTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completed(line: str, directory: Path) -> list[str]:
    """What bash is offered at the end of the line; nothing is said beside it."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "supervisor"],
        env=os.environ
        | {
            "WHATSAPP_DATA_DIR": str(directory),
            "_WASUP_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_verbs_are_offered(tmp_path: Path) -> None:
    assert {"run", "status", "sessions", "events"} <= set(completed("wasup ", tmp_path))
    assert completed("wasup sessions re", tmp_path) == ["reconnect", "restore"]
    assert completed("wasup sessions proxy s", tmp_path) == ["set", "show"]
    assert "backup" not in completed("wasup ", tmp_path), "a name of before"


def test_the_ids_of_the_running_supervisor_are_offered(tmp_path: Path) -> None:
    with api() as address, DirectoryLock(tmp_path, "x") as lock:
        lock.note(address)
        assert completed("wasup sessions qr lo", tmp_path) == ["loja-1", "loja-2"]
        assert completed("wasup explain b", tmp_path) == ["bot"]
        assert completed("wasup sessions stop loja-1 b", tmp_path) == ["bot"]


@pytest.mark.parametrize("note", ["http://127.0.0.1:1", "127.0.0.1:4001"])
def test_without_an_answer_nothing_is_offered_and_nothing_is_said(
    note: str, tmp_path: Path
) -> None:
    assert completed("wasup sessions qr lo", tmp_path) == []
    with DirectoryLock(tmp_path, "x") as lock:
        lock.note(note)
        assert completed("wasup sessions qr lo", tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_given_its_script(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor"],
        env=os.environ | {"_WASUP_COMPLETE": f"source_{shell}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "_WASUP_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), ("sessions", "--help"), ("sessions", "list")]
)
def test_a_command_that_only_asks_loads_neither_the_store_nor_the_api(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    script = (
        "import sys; from supervisor.cli.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"WHATSAPP_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded, "the modules were listed"
    assert loaded & HEAVY == set()


def test_types_of_events_and_their_groups_are_offered() -> None:
    from supervisor.cli.common.completion import event_types

    assert event_types("message.") == [
        "message.*",
        "message.received",
        "message.sent",
        "message.status",
    ]
    assert "outage.*" in event_types("")
    assert event_types("zzz") == []
