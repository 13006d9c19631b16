"""What a caller may do: four scopes, of which each includes those before it. Pure."""

import enum
from typing import Final


class Scope(enum.StrEnum):
    """A scope. `read` sees, `send` also writes to people, `operate` also runs sessions and
    webhooks, `admin` also makes, removes and hands out what the others only use.
    """

    READ = "read"
    SEND = "send"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, other: "Scope") -> bool:
        """Whether who has this one may do what needs the other one."""
        return ORDER.index(self) >= ORDER.index(other)


ORDER: Final = tuple(Scope)
"""The narrowest first."""


def narrower(one: Scope, other: Scope) -> Scope:
    """What both allow."""
    return other if one.includes(other) else one
