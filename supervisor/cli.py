"""The command line: `wasup run`, the same as `python -m supervisor`, and the operator's commands (their groups are in files of their own)."""

import os
import sys
from typing import Final

import structlog
import typer

from sessions.model import BadPolicy, StoreError
from supervisor import (
    capacity_commands,
    explain_commands,
    logs,
    policy_commands,
    program,
    session_commands,
    settings,
    store_commands,
    worker_commands,
)
from supervisor.command_line import EXIT_CONFIG, fail
from supervisor.lock import Locked

FIRST_STEPS: Final = """

There is no session yet. In another terminal:

  curl -X POST {api}/sessions -d '{{"id": "loja-1"}}'              add a session; it starts at once
  curl -H 'Accept: text/plain' {api}/sessions/loja-1/qr          show its QR; scan it in WhatsApp > Linked devices
  curl {api}/reconnection-status                                 see that it is open

Ctrl-C stops the supervisor; what was started comes back at the next start.
"""

log = structlog.get_logger("settings")

app = typer.Typer(
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,  # they can print local variables, and those hold tokens
    help="A WhatsApp session supervisor.",
)
app.add_typer(session_commands.app, name="sessions")
app.add_typer(worker_commands.app, name="workers")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(store_commands.app, name="store")
app.command("explain")(explain_commands.explain)
app.command("capacity")(capacity_commands.capacity)
app.command("backup")(store_commands.backup)
app.command("restore")(store_commands.restore)


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Run the supervisor unless a command is named."""
    if context.invoked_subcommand is None:
        run()


@app.command()
def run() -> None:
    """Run the supervisor in the foreground, configured by the environment (or a .env file) alone."""
    os.umask(0o077)  # everything that is written is the operator's own
    try:
        configuration = settings.load()
    except settings.BadSettings as error:
        fail(f"wasup does not start:\n{error}", EXIT_CONFIG)
    logs.configure(configuration.log_format, configuration.log_level, configuration.secrets())
    for warning in (*settings.unknown_variables(), *settings.file_warnings(configuration.policy_file)):
        log.warning(warning, action="settings")
    try:
        program.run(configuration, _first_steps)
    except BadPolicy as error:
        fail(f"wasup does not start:\n{error}\n{error.hint}", EXIT_CONFIG)
    except Locked as error:
        fail(f"wasup does not start: {error}", 1)
    except (OSError, StoreError) as error:
        fail(f"wasup does not start: {error}", 1)


def main() -> None:
    """What `wasup` is, once it is loaded (`__main__.py`)."""
    app()


def _first_steps(api: str, empty: bool) -> None:
    """For people only: where no terminal is, the log's `ready` line says it."""
    if sys.stdout.isatty():
        typer.echo(f"wasup listens on {api}" + (FIRST_STEPS.format(api=api) if empty else ""))
