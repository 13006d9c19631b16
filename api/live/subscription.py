"""What a client of the live feed asks for: its words, as an event filter. Pure."""

from typing import Annotated, Any, Final

import msgspec

from api.errors import BadRequest
from supervisor.fleet.event_filter import MOST, EventFilter, event_names

FLEET: Final = frozenset({"outage", "alert", "policy", "worker", "node", "delivery"})
"""The groups of the fleet's own events, which `fleet` stands for."""
HINT: Final = (
    'Send {"sessions": [...], "types": [...], "after": n}, each of them optional: types are names'
    " (message.received), groups (message) or fleet (docs/live-feed.md)."
)


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for.

    `sessions`: theirs alone; none: of all. `types`: names or groups; none: all. `after`: go on
    from that number; without it from where this connection stands, or from now.
    """

    sessions: Annotated[list[str], msgspec.Meta(max_length=MOST)] = []
    types: Annotated[list[str], msgspec.Meta(max_length=MOST)] = []
    after: Annotated[int, msgspec.Meta(ge=0, lt=10**15)] | None = None


class Renewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fresh token."""

    token: str


def parse_subscribe(given: Any) -> tuple[EventFilter, int | None]:
    """The filter, and the number to go on from; None: none was named.

    Raises BadRequest, InvalidEventFilter, InvalidSessionId.
    """
    asked = _parse({} if given is None else given, Subscribe, HINT)
    types = [pattern for name in asked.types for pattern in patterns(name)]
    return EventFilter.of(types, asked.sessions), asked.after


def parse_renewal(given: Any) -> str:
    """The token. Raises BadRequest, which does not quote it."""
    try:
        return msgspec.convert(given, Renewal).token
    except msgspec.ValidationError:
        raise BadRequest("There is no token.", 'Send {"token": "..."}.') from None


def patterns(name: str) -> list[str]:
    """What a name of a client stands for, as the event filter has it."""
    groups = {known.partition(".")[0] for known in event_names()}
    if name == "fleet":
        return [f"{group}.*" for group in sorted(FLEET & groups)]
    return [f"{name}.*" if name in groups else name]


def _parse(given: Any, kind: type[Subscribe], hint: str) -> Subscribe:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"That cannot be used: {error}.", hint) from None
