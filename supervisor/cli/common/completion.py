"""What the shell is offered: the ids of the running supervisor's sessions.

Whatever goes wrong, nothing is offered and nothing is said: somebody is in the middle of a line.
"""

from pathlib import Path
from typing import Final

import typer

from supervisor.cli.common.exits import CommandFailed
from supervisor.places import installation

ANSWER_SECONDS: Final = 1.0
"""Who presses Tab waits no longer than this for a supervisor that is busy."""


def session_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids that begin like this."""
    # Loaded here: every command names this function, and only a shell calls it.
    from supervisor.cli.common.client import Client
    from supervisor.settings import BadSettings, load

    directory = context.find_root().params.get("directory")
    told = installation.told.set(Path(directory) if directory else None)
    try:
        settings = load()
        client = Client.of_running(settings, settings.data_dir, ANSWER_SECONDS)
        known = client.session_ids() if client else []
    except (BadSettings, CommandFailed, OSError):
        return []
    finally:
        installation.told.reset(told)
    return [name for name in known if name.startswith(incomplete)]
