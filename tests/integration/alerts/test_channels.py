"""The file's channels, told by the real notifier: mail, a webhook, and a dead one that delays
nobody.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from sessions.forever import Forever
from sessions.model import SessionId, SessionNotFound, SessionState
from sessions.records.changes import Changes
from sessions.views.events import SessionMoved
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.alerts_file import read_alerts_file
from supervisor.alerts.channels.heartbeat import Heartbeat
from supervisor.alerts.channels.live_alerts_file import LiveAlertsFile
from supervisor.alerts.channels.whatsapp import Sender
from supervisor.alerts.judging.flapping import Flapping
from supervisor.alerts.ledger import Ledger
from supervisor.alerts.notifier import Notifier
from supervisor.settings import Settings
from tests.integration.alerts.receivers import dead_port, mail_server, web_server
from tests.unit.alerts.story import Rows

SHOP = SessionId("shop")
SECRET = "hc-0a1b2c3d"


class Sending:
    """A session that is open."""

    state = SessionState.OPEN

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send_text(self, to: str, text: str) -> str:
        self.sent.append(text)
        return "id"


def opened() -> SessionMoved:
    """What is told of a session that is open."""
    words = {"state": SessionState.OPEN, "previous_state": "connecting"}
    return SessionMoved(**dict.fromkeys(SessionMoved.__struct_fields__) | words)  # type: ignore[arg-type]


class Running:
    """Alerts, notifier and a file in force; the notifier's clock goes on by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead_seconds = 0.0
        self.sender: Sending | None = None
        self.forever = Forever()
        self.alerts = Alerts(lambda *_: None, self._now)
        self.notifier = Notifier(
            self.alerts, Ledger(Rows(), self._now), Flapping(self._now), self.forever, now=self._now
        )
        self.live = LiveAlertsFile(
            path,
            read_alerts_file(path),
            self.notifier,
            self.forever,
            lambda *_: None,
            self._find,
            lambda: None,
            Settings(_env_file=None).alerting_config,
        )

    def _now(self) -> float:
        return time.time() + self.ahead_seconds

    def _find(self, session: SessionId) -> Sender:
        if self.sender is not None:
            return self.sender
        raise SessionNotFound(f"There is no session {session}.")

    async def __aenter__(self) -> "Running":
        await self.notifier.open()
        self.live.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.live.close()
        await self.notifier.close()
        await self.forever.close()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_an_alert_is_told_by_mail_and_webhook_and_a_dead_channel_delays_neither(
    tmp_path: Path,
) -> None:
    async with mail_server() as box, web_server() as inbox:
        with dead_port() as port:
            file = written(
                tmp_path / "alerts.toml",
                f"""
                language = "pt-BR"
                heartbeat_url = "{inbox.url}/alive"
                [smtp]
                host = "127.0.0.1"
                port = {box.port}
                [channels.dead]
                type = "webhook"
                url = "http://127.0.0.1:{port}/"
                [channels.email]
                recipients = ["ops@example.com", "nobody@example.com"]
                [channels.hook]
                type = "webhook"
                language = "en"
                severity_levels = ["critical"]
                url = "{inbox.url}/alerts"
                """,
            )
            async with Running(file) as running:
                running.alerts.begin(None, "store", "The disk is full.", "critical")
                running.ahead_seconds = 30.0  # it is not told at once
                await eventually(lambda: bool(box.mails and inbox.posts))
                dead = next(one for one in running.notifier.channels() if one.name == "dead")
                assert dead.last_success_at is None
                await eventually(lambda: "/alive" in inbox.gets)
                running.alerts.begin(None, "cpu", "cpu is 95%")
                running.ahead_seconds = 90.0
                await eventually(lambda: len(box.mails) == 2)
    to, mail = box.mails[0]
    assert to == ["ops@example.com"], "another who is refused keeps nobody from it"
    assert mail["Subject"] == "[crítico] O banco de dados tem problemas"
    assert "The disk is full." in mail.get_content()
    ((_, posted),) = inbox.posts
    assert posted["title"] == "[critical] The store has trouble"
    assert (posted["group"], posted["severity"], posted["over"]) == ("store", "critical", False)
    assert posted["new"][0]["runbook"] == "docs/runbooks.md#store"


async def test_a_file_is_read_again_and_each_channel_can_be_tested(tmp_path: Path) -> None:
    async with mail_server() as box, web_server() as inbox:
        mail = f"[smtp]\nhost = '127.0.0.1'\nport = {box.port}\n"
        mail += "[channels.email]\nrecipients = ['ops@example.com']\n"
        file = written(tmp_path / "alerts.toml", mail)
        async with Running(file) as running:
            (test,) = await running.live.test()
            assert (test.channel, test.delivered) == ("email", True)
            assert "test of the channel email" in box.mails[0][1].get_content()
            hook = f"[channels.hook]\ntype = 'webhook'\nurl = '{inbox.url}/x'\n"
            phone = "[channels.whatsapp]\nsession = 'gone'\nto = '5511987654321'\n"
            written(file, hook + phone)
            assert await running.live.reload() == [
                "The channel hook is new.",
                "The channel whatsapp is new.",
                "The channel email is no more.",
                "[smtp] is changed.",
            ]
            assert [one.name for one in running.notifier.channels()] == ["hook", "whatsapp"]
            inbox.status = 401
            tests = {one.channel: one for one in await running.live.test()}
            assert tests["hook"].problem == "it answers HTTP 401 (Unauthorized)"
            assert tests["hook"].permanent
            assert tests["whatsapp"].problem == "there is no session gone"


async def test_two_who_reload_at_once_leave_one_heartbeat_and_what_belongs_to_it(
    tmp_path: Path,
) -> None:
    hook = "[channels.hook]\ntype = 'webhook'\nurl = 'http://127.0.0.1:1/'\nreports = ['daily']\n"
    beat = "heartbeat_url = 'http://127.0.0.1:1/alive'\n"
    async with Running(written(tmp_path / "alerts.toml", beat)) as running:
        written(running.path, beat + hook)
        reloading = [asyncio.create_task(running.live.reload()) for _ in range(2)]
        while not all(task.done() for task in reloading):
            assert len(running.live.readers("daily")) == len(running.live.file.channels)
            await asyncio.sleep(0)
        beating = [task.name for task in running.forever.health() if task.name == "heartbeat"]
        assert beating == ["heartbeat"]
        await running.live.close()
        await asyncio.gather(*reloading)
        assert not [task for task in running.forever.health() if task.name == "heartbeat"]


@pytest.mark.parametrize("path", ["/alive-{SECRET}", "/{SECRET} x", "/{SECRET}é"])
async def test_an_outside_watcher_that_answers_nonsense_costs_a_line_without_its_url(
    path: str,
) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"GO AWAY, {SECRET}\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}{path.replace('{SECRET}', SECRET)}"
    with structlog.testing.capture_logs() as lines:
        await Heartbeat(url, lambda: False).look()
    server.close()
    (line,) = [one for one in lines if one["action"] == "heartbeat_failed"]
    assert SECRET not in str(line)


async def test_an_outside_watcher_that_hangs_keeps_neither_the_loop_nor_the_programs_end() -> None:
    heard, over = asyncio.Event(), asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    before = set(threading.enumerate())
    beat = asyncio.create_task(Heartbeat(url, lambda: False).look())
    try:
        async with asyncio.timeout(30):
            await heard.wait()
        begun = set(threading.enumerate()) - before
        assert begun
        assert all(thread.daemon for thread in begun), "the loop's own are few, and waited for"
    finally:
        over.set()
        await beat
        server.close()


async def test_a_session_that_opens_is_told_at_once_how_things_are(tmp_path: Path) -> None:
    file = written(
        tmp_path / "alerts.toml", "[channels.whatsapp]\nsession = 'shop'\nto = '5511987654321'\n"
    )
    async with Running(file) as running:
        running.alerts.begin(None, "store", "The disk is full.", "critical")
        running.ahead_seconds = 30.0
        await eventually(lambda: running.notifier.channels()[0].failing_since_at is not None)
        running.ahead_seconds = 3600.0
        await eventually(lambda: running.notifier.channels()[0].permanent)
        running.sender = Sending()
        running.live.on_changes(SHOP, Changes(session=SHOP, event=opened()))
        await eventually(lambda: bool(running.sender and running.sender.sent))
        assert running.sender.sent[0].startswith("*[critical] The store has trouble*")


async def test_no_sign_of_life_is_given_while_no_channel_works(tmp_path: Path) -> None:
    async with web_server() as inbox:
        file = written(
            tmp_path / "alerts.toml",
            f"heartbeat_url = '{inbox.url}/alive'\nheartbeat_every_seconds = 10\n"
            "[channels.hook]\ntype = 'webhook'\nurl = 'http://127.0.0.1:1/'\n",
        )
        async with Running(file) as running:
            assert not running.live.nobody_is_reached()
            running.alerts.begin(None, "store", "The disk is full.", "critical")
            running.ahead_seconds = 30.0
            await eventually(lambda: running.notifier.channels()[0].failing_since_at is not None)
            assert running.live.nobody_is_reached()
