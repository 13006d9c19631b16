"""What nobody takes back is asked first; without a terminal it is refused."""

import io
import sys

import pytest
import typer

from supervisor.cli.common.questions import ask_first


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "goes_on"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_whoever_sits_there_is_asked(
    typed: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    if goes_on:
        ask_first("Delete loja-1?", yes=False)
    else:
        with pytest.raises(typer.Exit) as ended:
            ask_first("Delete loja-1?", yes=False)
        assert ended.value.exit_code == 1
    said = capsys.readouterr()
    assert ("Delete loja-1?" in said.err, said.out) == (True, ""), "stdout is for answers"


def test_where_nobody_sits_it_is_refused_unless_it_was_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(typer.Exit) as ended:
        ask_first("Delete loja-1?", yes=False)
    assert ended.value.exit_code == 2
    assert "--yes" in capsys.readouterr().err
    ask_first("Delete loja-1?", yes=True)
    assert capsys.readouterr().err == ""
