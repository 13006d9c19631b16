"""The helper process, for real: what it delivers, what it says when it cannot, and what becomes of
messages when it dies, hangs or is slow.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessions.forever import Forever
from supervisor.alerts.channels.helper import COMMAND, ROOT, Helper
from supervisor.alerts.channels.wire import Request
from supervisor.alerts.notices import NotDelivered
from tests.integration.alerts.receivers import dead_port, mail_server, web_server

SECRET = "hunter2hunter2"


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Helper]:
    """A helper that is kept going."""
    helper, forever = Helper(**options), Forever()
    forever.keep("helper", helper.look, within_seconds=None)
    try:
        yield helper
    finally:
        await forever.close()


def mail(port: int, to: str, **more: Any) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "smtp_host": "127.0.0.1",
        "port": port,
        "secure_mode": "insecure",
        "from_addr": "wasup <wasup@example.com>",
        "targets": [to],
        **more,
    }


def hook(port: int, path: str = "/") -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "fullpath": path}


def under_way(pid: int) -> list[str]:
    """The processes of the messages that it sends."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


async def refused(helper: Helper, *what: Any, **more: Any) -> NotDelivered:
    with pytest.raises(NotDelivered) as raised:
        await helper.send(*what, **more)
    return raised.value


async def test_a_mail_server_and_a_web_server_are_given_the_message() -> None:
    async with running() as helper, mail_server() as box, web_server() as inbox:
        assert helper.pid is None, "it is begun when something is to be sent"
        targets = [mail(box.port, "one@example.com"), mail(box.port, "two@example.com")]
        assert await helper.send("email", targets, "[critical] Está caída", "Olá\nmundo") == []
        extras = {"group": "outage", "alerts": [{"session": "shop"}]}
        hooks = [hook(inbox.port, "/alerts/a%2Fb")]
        await helper.send("webhook", hooks, "T", "B", severity="critical", extras=extras)
    assert [to for to, _ in box.mails] == [["one@example.com"], ["two@example.com"]]
    first = box.mails[0][1]
    assert first["Subject"] == "[critical] Está caída"
    assert first.get_content_type() == "text/plain"
    assert first.get_content().split() == ["Olá", "mundo"]
    ((path, posted),) = inbox.posts
    assert path == "/alerts/a%2Fb"
    assert (posted["title"], posted["message"], posted["type"]) == ("T", "B", "failure")
    assert (posted["group"], posted["alerts"]) == ("outage", [{"session": "shop"}])


async def test_a_file_goes_with_a_mail(tmp_path: Path) -> None:
    report = tmp_path / "daily-2027-01-16.pdf"
    report.write_bytes(b"%PDF-1.3 made by hand")
    async with running() as helper, mail_server() as box:
        await helper.send("email", [mail(box.port, "a@example.com")], "T", "B", attach=report)
    ((_, mailed),) = box.mails
    (part,) = mailed.iter_attachments()
    assert (part.get_filename(), part.get_content()) == (report.name, report.read_bytes())


async def test_who_is_refused_delays_nobody_else_and_is_named() -> None:
    async with running() as helper, mail_server() as box:
        targets = [mail(box.port, "nobody@example.com"), mail(box.port, "two@example.com")]
        problems = await helper.send("email", targets, "T", "B")
        assert problems == ["the mail server answers 550 no such user here"]
        assert [to for to, _ in box.mails] == [["two@example.com"]]
        alone = await refused(helper, "email", targets[:1], "T", "B")
        assert alone.permanent


async def test_the_cause_is_told_in_words_and_without_secrets() -> None:
    async with running() as helper, mail_server() as box, web_server() as inbox:
        secret = {"secrets": [SECRET]}
        inbox.status = 404
        one = await refused(helper, "webhook", [hook(inbox.port, f"/{SECRET}")], "T", "B", **secret)
        assert (one.words, one.permanent) == ("it answers HTTP 404 (Not Found)", True)
        inbox.status = 302
        one = await refused(helper, "webhook", [hook(inbox.port, f"/{SECRET}")], "T", "B", **secret)
        assert (one.words, one.permanent) == ("it answers HTTP 302 (Found)", False)
        one = await refused(helper, "webhook", [hook(1, f"/{SECRET}")], "T", "B", **secret)
        assert one.words == "it cannot be reached: Connection refused"
        nowhere = {"host": "nowhere.invalid", "fullpath": f"/{SECRET}"}
        one = await refused(helper, "webhook", [nowhere], "T", "B", **secret)
        assert one.words == "its name is not found (DNS)"
        login = mail(box.port, "one@example.com", user="u", password=SECRET)
        one = await refused(helper, "email", [login], "T", "B", **secret)
        assert one.words == "the mail server takes no password: leave out `user`"
        one = await refused(
            helper, "telegram", [{"bot_token": SECRET, "targets": ["1"]}], "T", "B", **secret
        )
        assert one.permanent
        assert "(hidden)" in one.words
        assert SECRET not in one.words


async def test_no_secret_is_in_its_command_its_environment_or_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHATSAPP_STORE_KEY", SECRET)
    async with running() as helper, web_server() as inbox:
        await helper.send("webhook", [hook(inbox.port, f"/{SECRET}")], "T", "B", secrets=[SECRET])
        about = Path(f"/proc/{helper.pid}")
        assert SECRET.encode() not in (about / "cmdline").read_bytes()
        if os.geteuid() == 0:  # it is not dumpable: nobody else may look
            assert SECRET.encode() not in (about / "environ").read_bytes()


async def test_many_that_hang_keep_nobody_waiting_and_leave_nothing() -> None:
    async with running(send_seconds=3.0) as helper, web_server() as inbox:
        with dead_port() as port:
            hanging = [
                asyncio.create_task(refused(helper, "webhook", [hook(port)], "T", "B"))
                for _ in range(8)
            ]
            await asyncio.sleep(0)
            await helper.send("webhook", [hook(inbox.port)], "T", "B")
            assert not any(task.done() for task in hanging), "the other was quicker"
            for error in await asyncio.gather(*hanging):
                assert error.words == "it has not taken the message within 3 s"
        assert helper.pid is not None
        assert not under_way(helper.pid)


async def test_more_than_it_can_bear_are_refused() -> None:
    async with running(send_seconds=3.0) as helper:
        with dead_port() as port:
            errors = await asyncio.gather(
                *(refused(helper, "webhook", [hook(port)], "T", "B") for _ in range(34))
            )
    assert [error.words for error in errors].count("too many messages are under way") == 2


async def test_it_dies_and_is_begun_anew() -> None:
    async with running() as helper, web_server() as inbox:
        with dead_port() as port:
            waiting = asyncio.create_task(refused(helper, "webhook", [hook(port)], "T", "B"))
            await eventually(lambda: helper.pid is not None)
            first = helper.pid
            assert first is not None
            await eventually(lambda: len(under_way(first)) == 1)
            os.kill(first, signal.SIGKILL)
            assert "died of signal 9" in (await waiting).words
        await helper.send("webhook", [hook(inbox.port)], "T", "B")
        assert helper.pid not in (None, first)


async def test_it_hangs_and_is_replaced() -> None:
    async with running(send_seconds=2.0, slack_seconds=4.0) as helper, web_server() as inbox:
        await asyncio.wait_for(_until_sent(helper, inbox.port), 60)
        first = helper.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        error = await refused(helper, "webhook", [hook(inbox.port)], "T", "B")
        assert error.words == "the process that sends it does not answer"
        await asyncio.wait_for(_until_sent(helper, inbox.port), 60)
        assert helper.pid != first


async def _until_sent(helper: Helper, port: int) -> None:
    while True:  # a busy machine may need longer than this test's helper is given
        try:
            await helper.send("webhook", [hook(port)], "T", "B")
        except NotDelivered:
            continue
        return


async def test_it_ends_when_nothing_is_to_be_sent_and_comes_back() -> None:
    async with running(idle_seconds=0.5) as helper, web_server() as inbox:
        await helper.send("webhook", [hook(inbox.port)], "T", "B")
        await eventually(lambda: helper.pid is None)
        await helper.send("webhook", [hook(inbox.port)], "T", "B")
    assert len(inbox.posts) == 2


async def test_a_helper_that_cannot_be_begun_or_talks_nonsense_is_told_of() -> None:
    async with running(command=["/nowhere/python"]) as helper:
        assert "cannot be used" in (await refused(helper, "webhook", [hook(1)], "T", "B")).words
    async with running(command=["/bin/sh", "-c", "echo nonsense; sleep 60"]) as helper:
        error = await refused(helper, "webhook", [hook(1)], "T", "B")
        assert error.words == "the process that sends it says what nobody understands"


async def test_it_ends_with_whoever_began_it() -> None:
    async with running() as helper, web_server() as inbox:
        await helper.send("webhook", [hook(inbox.port)], "T", "B")
        pid = helper.pid
    assert not Path(f"/proc/{pid}").exists()


async def test_it_ends_with_its_stdin_and_ends_what_is_under_way() -> None:
    """So it is when the supervisor is killed."""
    with dead_port() as port:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        request = Request(id=1, service="webhook", targets=[hook(port)], title="T", body="B")
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        await eventually(lambda: len(under_way(process.pid)) == 1)
        (message,) = under_way(process.pid)
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await eventually(lambda: not Path(f"/proc/{message}").exists())
