"""What the shell is offered: the ids of the running supervisor's sessions and webhooks, and the
types of events.

Whatever goes wrong, nothing is offered and nothing is said: somebody is in the middle of a line.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from supervisor.cli.common.exits import CommandFailed
from supervisor.places import installation

if TYPE_CHECKING:
    from supervisor.cli.common.client import Client

ANSWER_SECONDS: Final = 1.0
"""Who presses Tab waits no longer than this for a supervisor that is busy."""


def session_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of sessions that begin like this."""
    return _asked(context, incomplete, lambda client: client.session_ids())


def webhook_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of webhooks that begin like this."""
    return _asked(context, incomplete, lambda client: client.webhook_ids())


def event_types(incomplete: str) -> list[str]:
    """The types of events, and their groups, that begin like this."""
    from supervisor.cli.watch_commands.event_words import WORDS

    groups = {f"{kind.partition('.')[0]}.*" for kind in WORDS}
    return [name for name in sorted({*WORDS, *groups}) if name.startswith(incomplete)]


def _asked(
    context: typer.Context, incomplete: str, ask: "Callable[[Client], list[str]]"
) -> list[str]:
    """What the running supervisor knows that begins like this."""
    # Loaded here: every command names these functions, and only a shell calls them.
    from supervisor.cli.common.client import Client
    from supervisor.settings import BadSettings, load

    directory = context.find_root().params.get("directory")
    told = installation.told.set(Path(directory) if directory else None)
    try:
        settings = load()
        client = Client.of_running(settings, settings.data_dir, ANSWER_SECONDS)
        known = ask(client) if client else []
    except (BadSettings, CommandFailed, OSError):
        return []
    finally:
        installation.told.reset(told)
    return [name for name in known if name.startswith(incomplete)]
