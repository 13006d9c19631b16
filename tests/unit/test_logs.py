"""The log: one JSON line for each event, and no secret in any form."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from supervisor import logs


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "name",
    ["token", "api_token", "secret", "password", "creds", "Authorization", "qr", "noise_key", "privateKey", "TOKEN"],
)
@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_field_of_a_secrets_name_is_hidden(name: str, log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert {"event": "it happened", "level": "warning", "action": "thing", "session": "shop", "n": 3}.items() <= (
        written.items()
    )


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


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
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
