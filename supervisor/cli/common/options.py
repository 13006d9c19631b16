"""Arguments and options that mean the same to many commands."""

import re
from pathlib import Path
from typing import Annotated

import typer

from supervisor.cli.common.completion import session_ids, webhook_ids

SessionName = Annotated[
    str, typer.Argument(metavar="ID", help="The session's id.", autocompletion=session_ids)
]
SessionNames = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="The sessions' ids.", autocompletion=session_ids),
]


def _webhook_id(text: str) -> str:
    """Raises BadParameter: what cannot be one would be another call of the API."""
    if re.fullmatch("wh_[0-9a-f]{1,32}", text) is None:
        raise typer.BadParameter(
            f"{text[:40]!r} is no webhook's id: those begin with wh_ (`wasup webhooks list`)."
        )
    return text


WebhookName = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The webhook's id.", autocompletion=webhook_ids, parser=_webhook_id
    ),
]
WebhookNames = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...", help="The webhooks' ids.", autocompletion=webhook_ids, parser=_webhook_id
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the API's answer, each on a line, and nothing else."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where no terminal is.")]
Png = Annotated[
    Path | None,
    typer.Option("--png", metavar="FILE", help="Write the QR into this file instead, each time."),
]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
]
