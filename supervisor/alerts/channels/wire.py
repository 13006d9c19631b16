"""What the supervisor and its helper process say to each other: a line of JSON each.

The helper is given all it needs for one message with that message, secrets too, and keeps nothing.
"""

from typing import Any, Final, Literal

import msgspec

Service = Literal["email", "slack", "sms", "telegram", "discord", "ntfy", "webhook"]
"""What the helper can send by: these and no others, whatever its library could do."""
End = Literal["done", "too slow", "died", "refused"]

SEND_SECONDS: Final = 30.0
"""So long a message may take, to all its targets; then what sends it is killed."""
LINE_BYTES: Final = 1024 * 1024
REPLY_BYTES: Final = 2048
"""A reply is written in one piece, so that two of them never mix: less than PIPE_BUF."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be sent.

    `targets`: for each of them what its service is made of. `secrets`: which no answer may quote.
    `attach`: the path of a file that goes with it.
    """

    id: int
    service: Service
    targets: list[dict[str, Any]]
    title: str
    body: str
    severity: Literal["warning", "critical", "over"] = "warning"
    extras: dict[str, Any] = {}
    secrets: list[str] = []
    attach: str | None = None
    seconds: float = SEND_SECONDS


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it, target by target (`problem` None: delivered); the last one has an `end`.

    `permanent`: another try brings nothing until the settings are changed.
    """

    id: int
    problem: str | None = None
    permanent: bool = False
    end: End | None = None
