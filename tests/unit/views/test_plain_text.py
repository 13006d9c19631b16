"""Text from outside, as it reaches a terminal."""

import pytest
from rich.table import Table

from sessions.views.plain_text import plain, plain_all
from supervisor.cli.common.output import say, show

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\x9b31m\u2028[/red]\ud83d\0"


def harmless(text: str) -> bool:
    return not any(c in text for c in "\x1b\x07\x9b\u202e\u2028\0\ud83d")


def test_nothing_that_steers_a_terminal_is_left_and_words_stay_as_they_are() -> None:
    assert harmless(plain(HOSTILE))
    assert "[/red]" in plain(HOSTILE)
    for text in ("olá, tudo bem?", "数字", "👍🏽", "a\u00a0b", "مرحبا"):
        assert plain(text) == text
    assert plain("a\nb") == "a\ufffdb"
    assert plain("a\nb", keep="\n") == "a\nb"
    assert plain_all({"a": ["\x1b", 1, None]}) == {"a": ["\ufffd", 1, None]}


def test_a_line_and_a_table_are_printed_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    table = Table("session", "phone", HOSTILE, box=None)
    table.add_row("loja-1", HOSTILE, "[/red]")
    table.add_row("loja-2", "[bold]x[/bold]", "")
    show(table)
    shown = capsys.readouterr().out
    assert harmless(shown)
    for kept in ("loja-1", "loja-2", "[/red]", "[bold]x[/bold]"):
        assert kept in shown
