"""`wasup run`: the supervisor in the foreground, and how its start fails in words."""

import os
import sys
from pathlib import Path
from typing import Final

import typer

from sessions.model import BadPolicy, StoreError
from supervisor.cli.common.exits import EXIT_CONFIG, fail, in_words
from supervisor.process.lock import Locked

FIRST_STEPS: Final = """

There is no session yet. In another terminal:

  Add one, and scan its QR in WhatsApp > Linked devices:
    {wasup} sessions create loja-1 --wait
  See whether all is well, and what you must do:
    {wasup} status

Ctrl-C stops the supervisor; what was started comes back at the next start.
"""


def run() -> None:
    """Run the supervisor in the foreground, configured by the environment and the installation's
    .env file alone.
    """
    # All of the program is behind these; help and completion do without it.
    import structlog

    from supervisor import program, settings
    from supervisor.alerts.channels import alerts_file
    from supervisor.process import garbage_collection, logs

    garbage_collection.loaded()
    log = structlog.get_logger("settings")
    os.umask(0o077)  # everything that is written is the operator's own
    try:
        configuration = settings.load()
    except settings.BadSettings as error:
        fail(f"wasup does not start:\n{error}", EXIT_CONFIG)
    logs.configure(configuration.log_format, configuration.log_level, configuration.secrets())
    for warning in (
        *settings.unknown_variables(),
        *settings.file_warnings(configuration.policy_file),
    ):
        log.warning(warning, action="settings")
    for warning in alerts_file.open_to_others(configuration.alerts_file):
        log.warning(warning, action="settings")
    ready = False

    def on_ready(api: str, empty: bool) -> None:
        nonlocal ready
        ready = True
        _first_steps(api, empty)

    try:
        program.run(configuration, on_ready)
    except (BadPolicy, alerts_file.BadAlertsFile) as error:
        fail(f"wasup does not start:\n{error}\n{error.hint}", EXIT_CONFIG)
    except settings.BadSettings as error:
        fail(f"wasup does not start:\n{error}", EXIT_CONFIG)
    except StoreError as error:
        fail(f"wasup {'ended' if ready else 'does not start'}: {error}\n{error.hint}", 1)
    except Locked as error:
        fail(f"wasup does not start: {error}", 1)
    except OSError as error:
        fail(f"wasup {'ended' if ready else 'does not start'}: {in_words(error)}", 1)


def _first_steps(api: str, empty: bool) -> None:
    """For people only: where no terminal is, the log's `ready` line says it."""
    if sys.stdout.isatty():
        typer.echo(
            f"wasup listens on {api}"
            + (FIRST_STEPS.format(wasup=Path(sys.executable).with_name("wasup")) if empty else "")
        )
