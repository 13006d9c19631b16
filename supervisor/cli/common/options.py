"""Arguments and options that mean the same to many commands."""

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
WebhookName = Annotated[
    str, typer.Argument(metavar="ID", help="The webhook's id.", autocompletion=webhook_ids)
]
WebhookNames = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="The webhooks' ids.", autocompletion=webhook_ids),
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
