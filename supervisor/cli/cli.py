"""The command line: `wasup run`, the same as `python -m supervisor`, and the operator's commands.

The table says which file has which command.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from supervisor.cli.common.exits import STATUSES, told
from supervisor.cli.common.groups import LazyGroup, Verb
from supervisor.places import installation


class Commands(LazyGroup):
    """The commands. What goes wrong in one is told here, for all of them."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "run": Verb("run_command", "run", "Run the supervisor in the foreground"),
        "status": Verb("watch_commands.status", "status", "Is everything well?"),
        "doctor": Verb("watch_commands.doctor", "doctor", "Say what is wrong, and what to type"),
        "sessions": Verb("session_commands.group", "app", "Pair, look at, start, stop sessions"),
        "alerts": Verb("alert_commands.group", "app", "What is wrong, and who is told of it"),
        "events": Verb("watch_commands.events", "events", "Show what happens"),
        "logs": Verb("watch_commands.logs", "logs", "Show a session's log lines"),
        "explain": Verb("watch_commands.explain", "explain", "Say why a session is where it is"),
        "webhooks": Verb("webhook_commands.group", "app", "Who is sent what happens"),
        "explain-delivery": Verb(
            "watch_commands.explain_delivery", "explain_delivery", "Say whether a message arrived"
        ),
        "workers": Verb("worker_commands", "app", "The worker processes"),
        "policy": Verb("policy_commands", "app", "What is done after a close"),
        "history": Verb("watch_commands.history", "history", "What was measured, and what it is"),
        "capacity": Verb("watch_commands.capacity", "capacity", "How many more sessions fit"),
        "report": Verb("watch_commands.report", "report", "How it went, and what to do"),
        "debug": Verb("watch_commands.debug", "app", "Look into the running supervisor"),
        "keys": Verb("key_commands", "app", "Who may call the API, and what"),
        "audit": Verb("watch_commands.audit", "audit", "Who changed what, and who was refused"),
        "store": Verb("store_commands", "app", "Backup, restore, verify, keys"),
        "upkeep": Verb("upkeep_commands", "app", "Backups, clean-up: by the clock, or now"),
    }
    old = {  # noqa: RUF012 - the base class declares it as one of the class
        "backup": Verb("store_commands", "backup", "store backup"),
        "restore": Verb("store_commands", "restore", "store restore"),
    }

    def invoke(self, ctx: Any) -> Any:
        """Carry a command out."""
        with told():
            return super().invoke(ctx)


EPILOG: Final = "Exit status: " + "; ".join(f"{number} {text}" for number, text in STATUSES.items())

app = typer.Typer(
    cls=Commands,
    suggest_commands=False,  # who mistypes one is not to be led to another that changes things
    pretty_exceptions_enable=False,  # they can print local variables, and those hold tokens
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A WhatsApp session supervisor.",
    epilog=EPILOG,
)


@app.callback(invoke_without_command=True, epilog=EPILOG)
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
    told_folder = installation.told.set(directory)
    context.call_on_close(lambda: installation.told.reset(told_folder))
    os.umask(0o077)  # what a command writes holds keys
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
