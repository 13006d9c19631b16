"""Groups of commands that are loaded when they are asked for: all together take a second, and most
commands are over in less.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

PACKAGE = "supervisor.cli"


class Verb(NamedTuple):
    """Where a command is: the module of this package, and in it the function, or the `app` with
    further commands.
    """

    module: str
    attribute: str
    summary: str
    """What the shell's completion says of it."""


class Suggestion(NamedTuple):
    """What the shell is offered, with the fields that typer's completion reads."""

    value: str
    help: str
    type: str = "plain"


class LazyGroup(TyperGroup):
    """The commands of a table, each loaded when it is asked for."""

    verbs: ClassVar[Mapping[str, Verb]] = {}
    old: ClassVar[Mapping[str, Verb]] = {}
    """Names of before, which go on working and are not shown."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        verb = self.verbs.get(cmd_name) or self.old.get(cmd_name)
        if verb is None:
            return None
        found = getattr(import_module(f"{PACKAGE}.{verb.module}"), verb.attribute)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            single = typer.Typer(add_completion=False)
            single.command()(found)
            command = get_command(single)
        command.name = cmd_name
        command.help = _unbroken(command.help or "")
        return command

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What the shell is offered here; no command is loaded for it."""
        if incomplete.startswith("-"):
            return list(super().shell_complete(ctx, incomplete))
        return [
            Suggestion(name, verb.summary)
            for name, verb in self.verbs.items()
            if name.startswith(incomplete)
        ]


def group(kind: type[LazyGroup], text: str) -> typer.Typer:
    """A group of commands, as `Verb.attribute` names it."""
    return typer.Typer(cls=kind, no_args_is_help=True, suggest_commands=False, help=text)


def _unbroken(text: str) -> str:
    """A docstring as help: lines that were broken for the source are not broken here."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
