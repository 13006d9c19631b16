"""`wasup sessions list`: what is needed is there at any width, and nothing is cut."""

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sessions.model import SessionState
from sessions.views.times import iso
from supervisor.cli.session_commands import looking
from supervisor.cli.session_commands.table import asks_for_a_human, list_on

NOW = 1_700_000_000.0
UNLINKED = (
    "The phone has unlinked this device: `wasup sessions start loja-2`, then `wasup sessions qr"
    " loja-2` pairs it again. The old credentials are archived."
)


def session(
    name: str, state: str, ago: float, reason: str | None = None, **more: Any
) -> dict[str, Any]:
    why = {
        "since": iso(NOW - ago),
        "closeReason": reason,
        "nextAttemptAt": None if "next_in" not in more else iso(NOW + more["next_in"]),
        "humanAction": more.get("human", "Nothing."),
    }
    return {"id": name, "state": state, "jid": more.get("jid"), "reconnection": why}


FLEET = [
    session("loja-1", "open", 7200, "restart_required", jid="5511999990001:12@s.whatsapp.net"),
    session("loja-2", "parked", 259_200, "logged_out", human=UNLINKED),
    session(
        "l" + "o" * 61 + "a",
        "waiting",
        12,
        "network_unreachable",
        next_in=95,
        human="Nothing: it comes back by itself.",
    ),
]


def shown(width: int, sessions: list[dict[str, Any]], terminal: bool = True) -> str:
    out = io.StringIO()
    list_on(
        Console(file=out, width=width, force_terminal=terminal, color_system=None), sessions, NOW
    )
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_on_a_terminal_nothing_is_cut(width: int) -> None:
    said = shown(width, FLEET)
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    together = "".join(said.split())
    for words in (
        UNLINKED,
        "loja-1",
        "5511999990001",
        "2 h",
        "3 d",
        "logged_out",
        "3 sessions: 1 open",
    ):
        assert "".join(words.split()) in together, words
    assert sum(line.count("o") for line in said.splitlines() if "loja-" not in line) >= 61, (
        "a long name is folded"
    )
    assert all(part in said for part in ("1 min", "35 s"))


def test_an_open_session_s_last_close_is_an_old_story() -> None:
    assert "restart_required" not in shown(120, FLEET)


def test_only_who_asks_for_a_human_is_told_of_below() -> None:
    assert [one["id"] for one in FLEET if asks_for_a_human(one)] == ["loja-2"]
    assert "comes back by itself" not in shown(80, FLEET)


@pytest.mark.parametrize("terminal", [True, False])
def test_names_and_numbers_of_others_are_neither_markup_nor_commands(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = session(
        "loja-3",
        "parked",
        1,
        "unknown_failure",
        jid="[/red]\x1b]0;owned\x07@x",
        human="\x1b[2J[bold]do it",
    )
    said = shown(100, [bad], terminal) + capsys.readouterr().out
    assert "[/red]" in said
    assert "[bold]do it" in said
    assert not {"\x1b", "\x07"} & set(said)


def test_no_session_is_said_so() -> None:
    assert "0 sessions" in shown(80, [])


@pytest.mark.parametrize(
    ("states", "for_me", "listed"),
    [
        (None, False, [0, 1, 2]),
        (["waiting"], False, [2]),
        (["open", "waiting"], False, [0, 2]),
        (["held"], False, []),
        (None, True, [1]),
        (["open", "parked"], True, [1]),
        (["open"], True, []),
    ],
)
def test_only_those_that_are_asked_for_are_listed(
    states: list[str] | None,
    for_me: bool,
    listed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = SimpleNamespace(every=lambda *_: {"sessions": FLEET, "next": None})
    monkeypatch.setattr(looking, "must_run", lambda: client)
    wanted = None if states is None else [SessionState(one) for one in states]
    looking.list_sessions(wanted, for_me, as_json=True)
    told = json.loads(capsys.readouterr().out)["sessions"]
    assert [one["id"] for one in told] == [FLEET[n]["id"] for n in listed]
