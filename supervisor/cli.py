"""The command line: `wasup run`, the same as `python -m supervisor`."""

import os
import sys
from typing import Final

import typer

from sessions.model import StoreError
from supervisor import logs, program, settings
from supervisor.lock import Locked

EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: nothing but a human can mend it, so a process manager need not try again."""

FIRST_STEPS: Final = """

There is no session yet. In another terminal:

  curl -X POST {api}/sessions -d '{{"id": "loja-1"}}'              add a session; it starts at once
  curl -H 'Accept: text/plain' {api}/sessions/loja-1/qr          show its QR; scan it in WhatsApp > Linked devices
  curl {api}/reconnection-status                                 see that it is open

Ctrl-C stops the supervisor; what was started comes back at the next start.
"""

app = typer.Typer(no_args_is_help=False, add_completion=False, help="A WhatsApp session supervisor.")


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
        _fail(f"wasup does not start:\n{error}", EXIT_CONFIG)
    logs.configure(configuration.log_format, configuration.log_level)
    for warning in settings.unknown_variables():
        typer.echo(f"warning: {warning}", err=True)
    try:
        program.run(configuration, _first_steps)
    except Locked as error:
        _fail(f"wasup does not start: {error}", 1)
    except (OSError, StoreError) as error:
        _fail(f"wasup does not start: {error}", 1)


def main() -> None:
    """Entry of the `wasup` command."""
    app()


def _first_steps(api: str, empty: bool) -> None:
    """For people only: where no terminal is, the log's `ready` line says it."""
    if sys.stdout.isatty():
        typer.echo(f"wasup listens on {api}" + (FIRST_STEPS.format(api=api) if empty else ""))


def _fail(message: str, status: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(status)
