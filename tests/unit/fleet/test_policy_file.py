"""The policy file: read at the start, put in force while sessions run, and looked at by
commands.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sessions.model import BadPolicy
from sessions.model import CloseReason as R
from sessions.policy import RULES, Config, overridden
from supervisor.cli import cli, policy_commands
from supervisor.fleet.policy_file import LivePolicy, PolicyChanged, read_rules
from supervisor.settings import load

pytestmark = pytest.mark.usefixtures("bare_environment")

GOOD = "[connection_lost]\nbase_seconds = 4\n"
BAD = "[replaced]\ntries = 5\n"


def wasup(*command: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, [*command])
    return done.exit_code, done.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


# --- read -----------------------------------------------------------------------------------------


def test_without_a_file_the_table_is_the_default() -> None:
    assert read_rules(None) is RULES


def test_a_file_is_laid_over_the_table_whatever_the_editor_put_before_it(file: Path) -> None:
    assert read_rules(file)[R.CONNECTION_LOST].base_seconds == 4.0
    file.write_text(GOOD, encoding="utf-8-sig")
    assert read_rules(file)[R.CONNECTION_LOST].base_seconds == 4.0


def test_a_bad_file_is_named_with_row_key_and_value_on_each_line(file: Path) -> None:
    file.write_text(BAD + '[banned]\naction = "retry"\n', encoding="utf-8")
    with pytest.raises(BadPolicy) as refusal:
        read_rules(file)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}: [") for line in lines)


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe[", "a directory"], ids=["missing", "not text", "a directory"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "other.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    with pytest.raises(BadPolicy, match=re.escape(str(path))):
        read_rules(path)


def test_the_settings_name_the_file_and_the_budget(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    assert (load().policy_file, load().policy_config().daily_logins) == (None, 200)
    monkeypatch.setenv("WHATSAPP_POLICY_FILE", str(file))
    monkeypatch.setenv("WHATSAPP_DAILY_RECONNECT_BUDGET", "50")
    settings = load()
    config = settings.session_config(read_rules(settings.policy_file)).policy
    assert config.daily_logins == 50
    assert config.rules[R.CONNECTION_LOST].base_seconds == 4.0


# --- in force -------------------------------------------------------------------------------------


def test_what_the_api_shows_is_said_in_the_files_words() -> None:
    """Rows of `rules` pasted with their keys as they stand, and `toml` as it is, change nothing."""
    live = LivePolicy(None, Config(rules=RULES), lambda _, told: None, lambda config: None)
    view = live.view()
    assert overridden(view.toml) == RULES
    lines = []
    for reason in R:
        lines.append(f"[{reason}]")
        lines += [
            f"{key} = {json.dumps(value)}"
            for key, value in view.rules[reason].items()
            if key not in {"does", "credentials"}  # the row in words, and what no file may change
        ]
    pasted = "\n".join(lines)
    assert all(f"{word} = " in pasted for word in ("minimumSeconds", "capSeconds", "action"))
    assert overridden(pasted) == RULES


def test_a_key_may_be_said_in_one_spelling_only() -> None:
    row = "[connection_lost]\nbaseSeconds = 4\n"
    assert overridden(row) == overridden("[connection_lost]\nbase_seconds = 4\n")
    with pytest.raises(BadPolicy, match="say it once"):
        overridden(row + "base_seconds = 4\n")


class Listener:
    """What a live policy tells."""

    def __init__(self, path: Path | None) -> None:
        self.followed: list[Config] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.live = LivePolicy(
            path,
            Config(rules=read_rules(path)),
            lambda _, told: self.events.append(told),
            self.followed.append,
        )


def test_a_reload_puts_the_file_in_force_and_says_what_differs(file: Path) -> None:
    listener = Listener(file)
    file.write_text("[connection_lost]\nbase_seconds = 8\n", encoding="utf-8")
    assert listener.live.reload() == ["[connection_lost] base_seconds: 4 -> 8"]
    assert [config.rules[R.CONNECTION_LOST].base_seconds for config in listener.followed] == [8.0]
    assert listener.events == [PolicyChanged(str(file), ["[connection_lost] base_seconds: 4 -> 8"])]
    assert listener.live.reload() == []


def test_a_bad_file_leaves_what_is_in_force(file: Path) -> None:
    listener = Listener(file)
    file.write_text(BAD, encoding="utf-8")
    with pytest.raises(BadPolicy):
        listener.live.reload()
    assert (listener.followed, listener.events) == ([], [])
    assert listener.live.config.rules[R.CONNECTION_LOST].base_seconds == 4.0


def test_what_is_in_force_is_shown_with_what_was_changed(file: Path) -> None:
    view = Listener(file).live.view()
    assert view.file == str(file)
    assert view.changed == ["[connection_lost] base_seconds: unset -> 4"]
    assert view.rules["replaced"]["tries"] == 2
    assert overridden(view.toml) == overridden(GOOD)


# --- commands -------------------------------------------------------------------------------------


def test_show_prints_a_policy_file_of_the_whole_table(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, shown = wasup("policy", "show")
    assert (status, overridden(shown)) == (0, RULES)
    status, shown = wasup("policy", "show", "--file", str(file))
    assert (status, overridden(shown)) == (0, overridden(GOOD))
    monkeypatch.setenv("WHATSAPP_POLICY_FILE", str(file))
    assert wasup("policy", "show") == (0, shown)


def test_check_says_what_a_file_changes(file: Path) -> None:
    status, told = wasup("policy", "check", "--file", str(file))
    assert status == 0
    assert "[connection_lost] base_seconds: unset -> 4" in told


def test_check_refuses_a_bad_file(file: Path) -> None:
    file.write_text(BAD, encoding="utf-8")
    status, told = wasup("policy", "check", "--file", str(file))
    assert status == 78
    assert told.startswith(f"{file}: [replaced] tries = 5: it accepts a whole number from 0 to 2")


def test_the_supervisor_refuses_to_start_with_a_bad_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(BAD, encoding="utf-8")
    monkeypatch.setenv("WHATSAPP_POLICY_FILE", str(file))
    monkeypatch.setenv("WHATSAPP_DATA_DIR", str(file.parent / "data"))
    umask = os.umask(0o022)
    try:
        status, told = wasup("run")
    finally:
        os.umask(umask)
    assert status == 78
    assert "wasup does not start" in told
    assert f"{file}: [replaced] tries = 5" in told
    assert not (file.parent / "data").exists(), "nothing was touched"


class FakeClient:
    """A running supervisor with some recorded incidents."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(f"{method} {path}")
        if path == "/policy":
            return {"toml": ""}
        first = {
            "at": 1_700_000_000.0,
            "reason": "connection_lost",
            "wasOpen": True,
            "rule": "as it was",
        }
        second = {"at": "2023-11-14T22:14:20Z", "reason": "connection_lost", "waitSeconds": 1.5}
        incidents = [
            {"id": 7, "session": "loja-1", "closes": [first, second]},
            {"id": 8, "session": None, "closes": []},
        ]
        return {"incidents": incidents if "after=0&" in path else []}


def test_replay_shows_where_a_changed_policy_would_have_decided_differently(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    monkeypatch.setattr(policy_commands, "must_run", lambda _: client)
    umask = os.umask(0o022)
    try:
        status, told = wasup("policy", "replay", "--file", str(file), "--session", "loja-1")
    finally:
        os.umask(umask)
    assert status == 0, told
    assert client.asked == [
        "GET /incidents?after=0&limit=500&session=loja-1",
        "GET /incidents?after=8&limit=500&session=loja-1",
        "GET /policy",
    ]
    assert "2023-11-14T22:13:20" in told
    assert "retry in 1.0 s, charged 1" in told
    assert "retry in 2.0 s, charged 1" in told
    assert "2 closes judged, 2 differently" in told
    assert "their waits 3 s -> 6 s" in told
