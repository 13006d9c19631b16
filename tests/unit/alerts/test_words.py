"""Alerts in words: both languages have the same, and a message says all that its reader needs."""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sessions.model import SessionId
from supervisor.alerts.alerts import Alert
from supervisor.alerts.notices import Language, Notice
from supervisor.alerts.rules import CAUSES, RULES, rule_of
from supervisor.alerts.words import english, portuguese
from supervisor.alerts.words.rendering import LANGUAGES, render

ROOT = Path(__file__).resolve().parents[3]
UTC = ZoneInfo("UTC")


def alert(session: str | None, name: str, message: str = "It is so.", **more: object) -> Alert:
    known = Alert(
        SessionId(session) if session else None,
        name,
        "critical",
        "began",
        message,
        None,
        None,
        "2026-11-30T12:00:00.000Z",
        None,
        id=f"al_{session}_{name}",
    )
    return msgspec.structs.replace(known, **more)


@pytest.mark.parametrize("table", ["TITLES", "ACTIONS", "PHRASES"])
def test_both_languages_have_the_same_words(table: str) -> None:
    one, other = getattr(english, table), getattr(portuguese, table)
    assert list(one) == list(other), "the same keys, in the same order"
    for key, words in one.items():
        for ours, theirs in zip(_forms(words), _forms(other[key]), strict=True):
            fields = re.compile(r"\{\w+\}")
            assert set(fields.findall(ours)) == set(fields.findall(theirs)), key
    if table != "PHRASES":
        assert set(one) == set(RULES)


def _forms(words: str | tuple[str, str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else words


def test_every_rule_has_its_section_in_the_runbooks() -> None:
    page = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert sections == set(RULES)


def test_a_parked_session_is_told_by_why_it_is_parked() -> None:
    assert rule_of(alert("shop", "parked", cause="logged_out")).name == "logged_out"
    assert rule_of(alert("shop", "parked", cause="banned")).name == "restricted"
    assert rule_of(alert("shop", "parked", cause="qr_expired")).name == "parked"
    assert rule_of(alert("shop", "down", cause="banned")).name == "down"
    assert set(CAUSES.values()) <= set(RULES)


def test_many_sessions_are_one_line_and_not_a_line_each() -> None:
    new = tuple(alert(f"s{number}", "down") for number in range(214))
    told = render(Notice(group="down", new=new), zone=UTC)
    assert told.subject == "[critical] 214 sessions have been down for long"
    assert "- s0: It is so. (since 2026-11-30 12:00 UTC)" in told.body
    assert "- and 204 others" in told.body
    assert len(told.body.splitlines()) < 20


def test_what_to_do_names_the_session() -> None:
    told = render(Notice(group="down", new=(alert("loja-1", "down"),)))
    assert "What to do: `wasup explain loja-1` says why" in told.body
    assert "More: docs/runbooks.md#down" in told.body


def test_the_end_says_how_long_it_lasted() -> None:
    over = alert("shop", "down", state="ended", ended_at="2026-11-30T14:05:00.000Z")
    told = render(Notice(group="down", ended=(over,)))
    assert told.subject.startswith("[over] ")
    assert "it lasted 2 h 5 min" in told.body


@pytest.mark.parametrize("language", list(LANGUAGES))
@pytest.mark.parametrize("name", list(RULES))
def test_every_alert_can_be_told_in_each_language(name: str, language: Language) -> None:
    session = "shop" if RULES[name].subject == "session" else None
    one = alert(session, name, about="this", value=7.0)
    if name in CAUSES.values():
        one = alert("shop", "parked", cause={v: k for k, v in CAUSES.items()}[name])
    for alerts in ((one,), (one, one)):
        told = render(Notice(group=name, new=alerts, goes_on=alerts, ended=alerts), language)
        assert told.subject
        assert "{" not in told.subject + told.body


def test_portuguese_is_portuguese() -> None:
    told = render(Notice(group="down", new=(alert("loja-1", "down"),)), "pt-BR")
    assert told.subject == "[crítico] A sessão loja-1 está fora há muito tempo"
    assert "O que fazer: `wasup explain loja-1` diz por quê" in told.body


def test_no_message_steers_a_terminal_or_ends_a_header() -> None:
    told = render(Notice(group="down", new=(alert("shop", "down", "one\r\nBcc: x\x1b[2J"),)))
    assert "\x1b" not in told.body
    assert "\r" not in told.body
    assert "one  Bcc: x" in told.body
