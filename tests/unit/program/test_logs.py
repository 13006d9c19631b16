"""The log: one JSON line for each event, and no secret in any form."""

import asyncio
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog

from supervisor.process import logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    logging.captureWarnings(False)
    logging.raiseExceptions = True
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_a_stream_that_is_closed_below_loses_the_line_and_nothing_else() -> None:
    """Python 3.13 flushes a stream that is collected: what is below it may be closed by then."""
    below = io.StringIO()
    stream = logs.LossyStream(below)
    below.close()
    assert stream.write("a line") == len("a line")
    stream.flush()


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "api_token",
        "secret",
        "password",
        "creds",
        "Authorization",
        "qr",
        "noise_key",
        "privateKey",
        "TOKEN",
    ],
)
@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_field_of_a_secrets_name_is_hidden(
    name: str, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(log_format, "info")
    structlog.get_logger("x").info("something", **{name: "s3cr3t-v4lue", "session": "shop"})
    line = capsys.readouterr().err
    assert "s3cr3t-v4lue" not in line
    assert "(hidden)" in line
    assert "shop" in line


def test_a_line_is_json_with_time_level_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    structlog.get_logger("x").warning("it happened", action="thing", session="shop", n=3)
    written = json.loads(capsys.readouterr().err)
    assert written["timestamp"].endswith("Z")
    assert {
        "event": "it happened",
        "level": "warning",
        "action": "thing",
        "session": "shop",
        "n": 3,
    }.items() <= (written.items())


def test_for_people_the_session_comes_first_and_what_is_empty_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("human", "info")
    structlog.get_logger("x").info(
        "session is open", action="state", session="loja-1", before="qr", reason=None
    )
    line = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().err)
    assert "] loja-1: session is open" in line
    assert "before=qr" in line
    assert not {"None", "action", "session=loja-1"} & set(re.split(r"[ =]", line)), line


def test_auto_is_json_when_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto", "info")
    structlog.get_logger("x").info("hello")
    assert json.loads(capsys.readouterr().err)["event"] == "hello"


def test_a_traceback_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        structlog.get_logger("x").exception("it broke")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError" in json.loads(line)["exception"]


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_the_level_is_obeyed(level: str, shown: int, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", level)
    logger = structlog.get_logger("x")
    for method in (logger.debug, logger.info, logger.warning, logger.error):
        method("words")
    assert len(capsys.readouterr().err.splitlines()) == shown


def test_libraries_warn_on_the_same_stream(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    logging.getLogger("aiohttp").warning("from a library")
    logging.getLogger("aiohttp").info("chatter")
    line = capsys.readouterr().err
    assert "from a library" in line
    assert "chatter" not in line


# --- the second net -------------------------------------------------------------------------------

SECRET = "s3cr3t-v4lue\\'of\r"
"""With all that a quotation would write otherwise."""


@pytest.mark.parametrize("log_format", ["json", "human"])
@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        f"before {SECRET} behind",
        {"deep": [{"inside": SECRET}]},
        repr(SECRET),
        SECRET.encode(),
        ValueError(SECRET),
        f"Authorization: Basic {SECRET}",
        "Authorization : Bearer s3cr3t-of-another",
        "b'authorization: bearer s3cr3t-of-another\\r'",
        "got Bearer s3cr3t-of-another",
        "cannot reach http://someone:s3cr3t@proxy.example:3128",
        "postgresql+asyncpg://wasup:s3cr3t@127.0.0.1/wasup",
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(
    said: object, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(log_format, "info", [SECRET, ""])
    structlog.get_logger("x").info("what was said", said=said)
    structlog.get_logger("x").info(str(said), inside={"token": "s3cr3t"})
    logging.getLogger("some.library").warning("it said %s", said)
    written = capsys.readouterr().err
    assert "s3cr3t" not in written
    assert written.count("(hidden)") >= 3


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_secret_in_a_traceback_is_hidden(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(log_format, "info", [SECRET])
    try:
        raise ValueError(f"bad: {SECRET}")
    except ValueError:
        structlog.get_logger("x").exception("it broke")
        logging.getLogger("a.library").exception("it broke, too")
    written = capsys.readouterr().err
    assert written.count("ValueError: bad: (hidden)") == 2
    assert "s3cr3t" not in written


def test_aiohttp_s_errors_are_told_without_what_the_caller_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", "info")
    sent = "b'X-Any: what-" + "was-sent\\x01'"
    try:
        raise ValueError(f"400, message:\n  Invalid header value char:\n\n    {sent}")
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", sent)
    (line,) = capsys.readouterr().err.splitlines()
    written = json.loads(line)
    assert written["event"] == "Error handling request from %s"
    assert written["exception"].endswith("ValueError")
    assert "test_logs.py" in written["exception"], "where it was is told"
    assert "was-sent" not in line


def test_whatever_is_printed_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    logging.getLogger("library").warning("several\nlines")
    logging.getLogger("library").warning("a record %d that cannot be formatted", "s3cr3t")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("deprecated", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError("uncaught"), None)

    async def fail() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "in a callback"})

    asyncio.run(fail())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "several\nlines"
    assert any("deprecated" in event for event in events)
    assert sum(line.get("action") == "uncaught" for line in lines) == 2
    assert "in a callback" in events


def told(copy: list[dict[str, object]]) -> list[object]:
    return [line["event"] for line in copy]


def test_copies_have_the_lines_of_their_actions_whatever_the_logs_own_level_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    every, some = list[dict[str, object]](), list[dict[str, object]]()
    copies = [
        logs.Copy(lambda line: every.append(dict(line))),
        logs.Copy(lambda line: some.append(dict(line)), frozenset({"reconnected"}), "info"),
    ]
    logs.configure("json", "warning", ["hunter2"], copies)
    log = structlog.get_logger()
    log.info("back", action="reconnected", reason="hunter2")
    log.info("nothing of it", action="other")
    log.warning("it is wrong", action="other")
    logging.getLogger("library").warning("what a library says")
    assert told(every) == ["it is wrong", "what a library says"]
    assert told(some) == ["back"]
    assert some[0]["reason"] == logs.HIDDEN
    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["it is wrong", "what a library says"]
    logs.configure("json", "warning")
    structlog.get_logger().warning("later", action="reconnected")
    assert told(some) == ["back"]
