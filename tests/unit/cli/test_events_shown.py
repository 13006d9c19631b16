"""An event on a line: every type has its words, and what nobody knows is shown all the same."""

import json
from typing import Any

import msgspec
import pytest

from sessions.model import EventData
from supervisor.cli.watch_commands.event_words import WORDS, line
from supervisor.cli.watch_commands.events import Chosen

PARTY = {"jid": "5511999990000@s.whatsapp.net", "phone": "5511999990000", "lid": None}
GROUP = {"jid": "12036@g.us", "phone": None, "lid": None}
TEXT = {"id": "3EB0", "fromMe": False, "kind": "text", "text": "bom dia", "pushName": None}


def event(kind: str, data: Any, session: str | None = "loja-1") -> dict[str, Any]:
    return {
        "n": 7,
        "id": "evt_1",
        "type": kind,
        "time": "2026-11-30T02:54:22.117Z",
        "session": session,
        "data": data,
    }


def every_type() -> set[str]:
    """Those that are declared anywhere in the program."""
    import supervisor.program  # noqa: F401 - whoever publishes has declared its types by then

    found, waiting = set(), [EventData]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        ours = not kind.__module__.startswith("tests.")
        if ours and kind.__dict__.get("type") and isinstance(kind.type, str):
            found.add(kind.type)
    return found


def test_every_type_that_is_published_has_words() -> None:
    assert {"message.received", "outage.began", "worker.replaced"} <= every_type()
    assert every_type() - set(WORDS) == set()


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (
            "message.received",
            TEXT | {"chat": PARTY, "sender": PARTY},
            "from +5511999990000: bom dia",
        ),
        (
            "message.received",
            TEXT | {"chat": GROUP, "sender": PARTY},
            "from +5511999990000 in 12036@g.us: bom dia",
        ),
        (
            "message.sent",
            TEXT | {"chat": PARTY, "sender": None, "fromMe": True, "text": None, "kind": "image"},
            "to +5511999990000: (image)",
        ),
        (
            "session.state",
            {
                "previousState": "open",
                "state": "waiting",
                "closeReason": "connection_closed",
                "nextAttemptAt": "2026-11-30T02:54:24.000Z",
            },
            "open -> waiting (connection_closed), next try 02:54:24",
        ),
        ("session.pairing_code", {"code": "ABCD1234", "renewed": False}, "code ABCD-1234"),
        ("something.new", {"a": [1, None]}, '{"a":[1,null]}'),
    ],
)
def test_an_event_is_a_line_that_says_what_happened(
    kind: str, data: dict[str, Any], words: str
) -> None:
    assert line(event(kind, data)) == f"2026-11-30 02:54:22  7  loja-1  {kind}  {words}"


def test_a_text_of_many_lines_stays_on_one() -> None:
    text = "one\r\ntwo\u2028three\vfour"
    shown = line(event("message.received", TEXT | {"chat": PARTY, "sender": PARTY, "text": text}))
    assert shown.endswith("one two three four")
    assert len(shown.splitlines()) == 1


def test_types_and_groups_of_them_and_sessions_are_asked_of_the_api() -> None:
    assert Chosen([], []).all
    assert Chosen([], []).query == ""
    assert Chosen(["message"], []).query == "&type=message.*", "a group without its star"
    assert Chosen(["message.status", "outage.*", "*"], ["a", "b"]).query == (
        "&type=message.status,outage.*,*&session=a,b"
    )
    assert not Chosen([], ["a"]).all


def test_json_stays_the_same_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from supervisor.cli.common.output import show_json

    text = "olá 数字 👍🏽 \x1b[2J \x9b31m \u202egnp.exe \u2028 \U0001f600"
    show_json({"text": text, "n": 1, "none": None})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"text": text, "n": 1, "none": None}
    assert "olá 数字 👍🏽" in shown
    assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & set(shown)
    assert msgspec.json.decode(shown)["text"] == text
