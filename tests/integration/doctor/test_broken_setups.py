"""Installations that are broken, each for real: the doctor's first finding is the cause, and its
commands are about it.
"""

import asyncio
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from scripts.lab.processes import ROOT, free_port
from sessions.credentials.proxy import parse_proxy
from sessions.model import SessionId
from sessions.store.tables.webhooks import WebhookRow
from supervisor.access.keys import Keys
from supervisor.access.scopes import Scope
from supervisor.delivery.deliverer import Progress
from supervisor.delivery.webhook_settings import NewWebhook, settings_of
from supervisor.places import installation
from supervisor.places.store_opening import open_store
from supervisor.process.lock import DirectoryLock
from supervisor.settings import Settings
from supervisor.watch.diagnostics.checks import CHECKS, from_outside
from supervisor.watch.diagnostics.doctor import Examination, concluded, examine
from supervisor.watch.diagnostics.results import Issue, Severity
from tests.other_users import NOBODY, as_user, needs_root
from tests.unit.gate.test_way_probe import Door, door, takes

HOUR = 3600.0
SHOP = SessionId("shop")


def dated(ahead_seconds: float) -> Any:
    """What takes everybody, and says what time it is there."""

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        date = formatdate(time.time() + ahead_seconds, usegmt=True).encode()
        await takes(head, _Dated(writer, date))  # type: ignore[arg-type]

    return answer


class _Dated:
    """Puts the date behind the answer's first line."""

    def __init__(self, writer: asyncio.StreamWriter, date: bytes) -> None:
        self._writer, self._date = writer, date

    def write(self, data: bytes) -> None:
        first, rest = data.split(b"\r\n", 1)
        self._writer.write(first + b"\r\nDate: " + self._date + b"\r\n" + rest)


@pytest_asyncio.fixture
async def whatsapp() -> AsyncIterator[Door]:
    """Where WhatsApp is; its clock is right."""
    async with door(dated(0.0)) as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory as a supervisor makes it, of an installation without settings."""
    for name in [name for name in os.environ if name.upper().startswith("WHATSAPP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(installation, "INSTALLED", tmp_path)
    home = tmp_path / "data"
    home.mkdir(mode=0o700)
    return home


@pytest.fixture
def settings(home: Path, whatsapp: Door) -> Settings:
    return Settings(
        data_dir=home, api_port=0, web_socket_url=f"ws://127.0.0.1:{whatsapp.port}/ws/chat"
    )


@pytest_asyncio.fixture
async def store(settings: Settings) -> Path:
    """The store's file, with one session that nobody started."""
    opened = await open_store(settings)
    await opened.create_session(SHOP, wanted=False)
    await opened.close()
    file = settings.data_dir / "wasup.db"
    file.chmod(0o600)
    for name in ("store.id", "wasup.db"):
        (settings.data_dir / name).chmod(0o600)
    return file


async def examined(settings: Settings) -> Examination:
    async with from_outside(settings, None) as subject:
        return concluded(await examine(subject, CHECKS), 0.0, None)


async def first(settings: Settings, least: Severity = Severity.HIGH) -> Issue:
    """The first finding, which wants somebody soon and says what to type."""
    found = await examined(settings)
    issue = found.issues[0]
    assert not found.success
    assert issue.severity in {least, Severity.CRITICAL}
    assert issue.solution
    assert issue.commands
    return issue


def by_command(
    *before: str, directory: Path, limit: int | None = None, **environment: str
) -> tuple[int, Any]:
    """`wasup doctor --json` as a process of its own: its exit status and what it says."""

    def few() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    inherited = {n: v for n, v in os.environ.items() if not n.startswith("WHATSAPP_")}
    done = subprocess.run(
        [*before, sys.executable, "-m", "supervisor", "doctor", "--json"],
        env=inherited
        | {"WHATSAPP_DATA_DIR": str(directory), "WHATSAPP_API_PORT": "0"}
        | environment,
        cwd=ROOT,
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=few,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of two MiB, if this process may mount one."""
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(directory: Path) -> None:
    """Write until nothing more fits."""
    with suppress(OSError), (directory / "filled").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)


async def test_nothing_is_wrong_with_what_is_not_broken(settings: Settings, store: Path) -> None:
    found = await examined(settings)
    acute = [i for i in found.issues if i.severity in {Severity.HIGH, Severity.CRITICAL}]
    assert acute == []
    assert [one.name for one in found.checks if one.state == "skipped"] == []
    found = await examined(settings.model_copy(update={"backup_schedule": "off"}))
    assert {one.name: one.words for one in found.checks if one.state == "skipped"} == {
        "backups": (
            "where backups go is not known: WHATSAPP_BACKUP_SCHEDULE is off, and no directory is"
            " named in WHATSAPP_WATCHED_DIRECTORIES"
        )
    }


@pytest.mark.parametrize(
    ("ahead", "words", "severity"),
    [
        (2 * HOUR, "2 hours behind 127.0.0.1", Severity.HIGH),
        (-3 * 24 * HOUR, "3 days ahead of 127.0.0.1", Severity.CRITICAL),
    ],
)
async def test_a_wrong_clock(
    settings: Settings, store: Path, ahead: float, words: str, severity: Severity
) -> None:
    async with door(dated(ahead)) as elsewhere:
        url = f"ws://127.0.0.1:{elsewhere.port}/ws/chat"
        issue = await first(settings.model_copy(update={"web_socket_url": url}), severity)
    assert words in issue.description
    assert "sudo timedatectl set-ntp true" in issue.commands


async def test_a_wrong_clock_where_the_upgrade_s_answer_is_not_dated(
    settings: Settings, store: Path
) -> None:
    async def undated(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET"):
            await takes(head, writer)
        else:
            date = formatdate(time.time() - 4 * HOUR, usegmt=True)
            writer.write(f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\n\r\n".encode())

    async with door(undated) as elsewhere:
        url = f"ws://127.0.0.1:{elsewhere.port}/ws/chat"
        issue = await first(settings.model_copy(update={"web_socket_url": url}))
    assert "4 hours ahead of 127.0.0.1" in issue.description


async def test_a_clock_that_was_set_back(settings: Settings, store: Path) -> None:
    ahead = time.time() + 5 * HOUR
    os.utime(store, (ahead, ahead))
    issue = await first(settings)
    assert "5 hours in the future" in issue.description
    assert "date -u" in issue.commands


async def test_no_dns(settings: Settings, store: Path) -> None:
    url = "wss://whatsapp.invalid/ws/chat"
    issue = await first(settings.model_copy(update={"web_socket_url": url}))
    assert "the name whatsapp.invalid" in issue.description
    assert "getent hosts whatsapp.invalid" in issue.commands
    assert "cat /etc/resolv.conf" in issue.commands


@needs_root
def test_no_network_at_all(home: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], check=False).returncode:
        pytest.skip("no network namespace can be made here")
    status, found = by_command(unshare, "-n", directory=home)
    assert status == 1
    issue = found["issues"][0]
    assert "the name web.whatsapp.com" in issue["description"]
    assert (issue["type"], issue["severity"]) == ("connection", "critical")
    assert "getent hosts web.whatsapp.com" in issue["commands"]


async def test_a_dead_proxy(settings: Settings, store: Path) -> None:
    opened = await open_store(settings)
    name = f"socks5h://127.0.0.1:{free_port()}"
    proxy = parse_proxy(name.replace("//", "//user:hidden@"))
    await opened.create_session(SessionId("far"), wanted=True, proxy=proxy)
    await opened.close()
    issue = await first(settings)
    assert f"by the proxy {name}" in issue.description
    assert "1 session goes that way" in issue.description
    assert any(name in command for command in issue.commands)
    assert "hidden" not in str(issue)


async def test_a_full_disk(settings: Settings, home: Path) -> None:
    with small_disk(home):
        opened = await open_store(settings)
        await opened.close()
        fill(home)
        issue = await first(settings)
        assert f"The disk of {home} is 100% full: 0 MiB are left" in issue.description
        assert f"df -h '{home}'" in issue.commands


def test_few_descriptors(home: Path, whatsapp: Door) -> None:
    status, found = by_command(directory=home, limit=128)
    assert status == 1
    issue = found["issues"][0]
    assert issue["severity"] == "critical"
    assert "open files: 128; wanted for 1 sessions" in issue["description"]
    assert any("ulimit" in command or "LimitNOFILE" in command for command in issue["commands"])


async def test_a_webhook_that_cannot_be_reached(settings: Settings, store: Path) -> None:
    opened = await open_store(settings)
    port = free_port()
    chosen = settings_of(NewWebhook(url=f"http://127.0.0.1:{port}/secret-path"))
    row = WebhookRow(
        id="wh_1",
        created_at=time.time(),
        settings=msgspec.json.encode(chosen),
        paused_because=None,
        progress=msgspec.json.encode(Progress(0, 0)),
    )
    await opened.webhooks.add(row)
    await opened.close()
    issue = await first(settings)
    assert f"wh_1 (http://127.0.0.1:{port}) cannot be reached" in issue.description
    assert "Connection refused" in issue.description
    assert any(
        f"curl -sv --max-time 10 -o /dev/null http://127.0.0.1:{port}/" in command
        for command in issue.commands
    )
    assert "secret-path" not in str(issue)


async def test_a_key_that_has_expired(settings: Settings, store: Path) -> None:
    opened = await open_store(settings)
    keys, now = await Keys.open(opened), time.time()
    ended, text = await keys.create("n8n", Scope.SEND, None, now + 3600)
    row = (await opened.keys.all())[0]
    await opened.keys.remove(ended.id)
    await opened.keys.add(msgspec.structs.replace(row, expires_at=now - 60, last_used_at=now - 90))
    await opened.close()
    issue = await first(settings)
    assert f"The key {ended.id} (n8n) has expired" in issue.description
    assert issue.commands == ("wasup keys create --scope send", f"wasup keys revoke {ended.id}")
    assert text not in str(issue)


async def test_a_database_that_somebody_else_holds(settings: Settings, store: Path) -> None:
    holds = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    )
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", holds, store, stdin=pipe, stdout=pipe
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"
    issue = await first(settings)
    await other.communicate(b"")
    assert "is locked by" in issue.description
    assert f"(pid {other.pid})" in issue.description
    assert f"kill {other.pid}" in issue.commands


async def test_wrong_permissions_let_others_in(settings: Settings, store: Path) -> None:
    store.parent.chmod(0o755)
    store.chmod(0o644)
    issue = await first(settings)
    assert "can be entered by others (mode 755)" in issue.description
    assert f"chmod 700 {store.parent}" in issue.commands


@needs_root
async def test_wrong_permissions_keep_the_owner_out(settings: Settings, store: Path) -> None:
    os.chown(store.parent, NOBODY, NOBODY)
    issue = await first(settings, Severity.CRITICAL)
    assert "wasup.db" in issue.description
    assert "belongs to root" in issue.description or "belong to root" in issue.description
    assert any(command.startswith("sudo chown -R") for command in issue.commands)


async def test_a_command_that_has_the_data_directory_is_no_supervisor_that_hangs(
    settings: Settings, store: Path
) -> None:
    with DirectoryLock(settings.data_dir, command="wasup store backup"):
        found = await examined(settings)
    assert [i for i in found.issues if i.severity in {Severity.HIGH, Severity.CRITICAL}] == []


async def test_secrets_that_others_can_read_and_a_misspelt_setting(
    settings: Settings, store: Path
) -> None:
    file = installation.INSTALLED / ".env"
    file.write_text("WHATSAPP_API_TOKEN=correct-horse-battery\nWHATSAPP_API_PROT=4001\n")
    file.chmod(0o644)
    issue = await first(settings)
    assert f"{file} holds secrets and can be read by others" in issue.description
    assert f"chmod 600 {file}" in issue.commands
    others = [one.description for one in (await examined(settings)).issues]
    assert "WHATSAPP_API_PROT is not a setting and is ignored: did you mean WHATSAPP_API_PORT?" in (
        others
    )
    assert "battery" not in str(others)


async def test_a_port_that_something_else_has(settings: Settings, store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        issue = await first(settings.model_copy(update={"api_port": port}))
    assert f"The API cannot listen on 127.0.0.1:{port}: Address already in use" in issue.description
    assert f"ss -ltnp 'sport = :{port}'" in issue.commands


@needs_root
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("mode", "words", "command"),
    [
        (0o755, "belongs to root, and nobody cannot write there", "sudo -u root wasup run"),
        (0o700, "cannot be entered by nobody: Permission denied", "namei -l"),
    ],
)
def test_another_user_s_data_is_said_to_be_that(mode: int, words: str, command: str) -> None:
    """A man who is not the supervisor's user looks."""
    with tempfile.TemporaryDirectory() as elsewhere:
        above, data = Path(elsewhere), Path(elsewhere) / "data"
        data.mkdir(mode=0o755)
        above.chmod(mode)
        chosen = Settings(data_dir=data, api_port=0, web_socket_url="ws://127.0.0.1:1/")

        def look() -> bytes:
            return msgspec.json.encode(asyncio.run(examined(chosen)))

        issue = msgspec.json.decode(as_user(NOBODY, look), type=Examination).issues[0]
    assert f"{data} {words}" in issue.description
    assert issue.commands[0].startswith(command)
