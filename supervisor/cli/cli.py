"""The command line: `wasup run`, the same as `python -m supervisor`, and the operator's commands
(their groups are in files of their own).

What is behind a command is loaded when that command is called: all together take a second, and most
commands are over in less.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from supervisor.places import installation

COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "run": ("run_command", "run"),
    "sessions": ("session_commands", "app"),
    "explain": ("explain_commands", "explain"),
    "workers": ("worker_commands", "app"),
    "policy": ("policy_commands", "app"),
    "capacity": ("capacity_commands", "capacity"),
    "store": ("store_commands", "app"),
    "backup": ("store_commands", "backup"),
    "restore": ("store_commands", "restore"),
}
"""Where each command is: the module of this package, and its function, or its own `app` with
further commands.
"""


class Commands(TyperGroup):
    """The commands of the table, loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        found = getattr(import_module(f"supervisor.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            single = typer.Typer(add_completion=False)
            single.command()(found)
            command = get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    suggest_commands=False,  # who mistypes one is not to be led to another that changes things
    pretty_exceptions_enable=False,  # they can print local variables, and those hold tokens
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A WhatsApp session supervisor.",
)


@app.callback(invoke_without_command=True)
def front_door(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            resolve_path=True,
            help=(
                "The folder with .env and data/; by default the one that wasup is installed in,"
                " wherever you are."
            ),
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """A WhatsApp session supervisor.

    `wasup run` runs it; the other commands look at it and change it.
    """
    told = installation.told.set(directory)
    context.call_on_close(lambda: installation.told.reset(told))
    if version:
        typer.echo(f"wasup {installation.version()}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """What `wasup` is, once it is loaded (`__main__.py`).

    `arguments` in place of the process's own.
    """
    app(arguments, prog_name="wasup")
