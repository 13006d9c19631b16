"""The commands that alerts, close reasons and runbooks tell an operator can be typed as they stand."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from sessions.policy import RULES
from supervisor.alerts.words import english, portuguese
from supervisor.cli import cli

ROOT = Path(__file__).resolve().parents[3]


def _told() -> Iterator[str]:
    texts = [*english.ACTIONS.values(), *portuguese.ACTIONS.values()]
    texts += [rule.human or "" for rule in RULES.values()]
    texts.append((ROOT / "docs/runbooks.md").read_text(encoding="utf-8"))
    for text in texts:
        for command in re.findall(r"`wasup ([^`]+)`", text.replace("{id}", "ID")):
            yield " ".join(command.split())


@pytest.mark.parametrize("told", sorted(set(_told())))
def test_a_command_that_is_told_can_be_typed(told: str) -> None:
    """It is there, and nothing that it needs is missing. It is not run."""
    command, arguments = typer.main.get_command(cli.app), shlex.split(told)
    if "webhooks" in arguments:
        arguments = ["wh_1" if word == "ID" else word for word in arguments]
    context = typer.Context(command, info_name="wasup")
    while hasattr(command, "get_command"):
        found = command.get_command(context, arguments[0])
        assert found is not None, f"there is no `wasup {told}`"
        command, arguments = found, arguments[1:]
        if not arguments and hasattr(command, "get_command"):
            return
    command.make_context(command.name, arguments, parent=context)
