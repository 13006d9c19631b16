"""What is told to whom: a notice, the channel that takes it, and whom a channel reaches.

A channel is given the state of things, and makes its own words of it as it sends (`words/`): what
waits to be sent is never old.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from supervisor.alerts.alerts import Alert, Severity

BOTH: Final[frozenset[Severity]] = frozenset({"warning", "critical"})
Language = Literal["en", "pt-BR"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What one message tells.

    `group`: the rule's name; or `summary`: what was held back during quiet hours or a window.
    `new`: not told before, or worse than it was told. `goes_on`: told before, and on still.
    `ended`: told before to this very channel, and over. `passed`: it came and went while nothing
    was told. `repeated`: nothing is new; it is told again because it lasts.
    """

    group: str
    new: tuple[Alert, ...] = ()
    goes_on: tuple[Alert, ...] = ()
    ended: tuple[Alert, ...] = ()
    passed: tuple[Alert, ...] = ()
    repeated: bool = False
    flapping: dict[str, int] = field(default_factory=dict)
    """How often in an hour those began that come and go, by the alert's id."""

    @property
    def severity(self) -> Severity:
        """The worst of what is on; of what has ended, if nothing is."""
        told = (*self.new, *self.goes_on) or (*self.ended, *self.passed)
        return "critical" if any(alert.severity == "critical" for alert in told) else "warning"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is on any more."""
        return not self.new and not self.goes_on


class NotDelivered(Exception):
    """A channel could not send.

    `words`: why, for an operator; never a secret, which most of a channel's addresses are.
    `permanent`: another try brings nothing until its settings are changed (a wrong password).
    """

    def __init__(self, words: str, *, permanent: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.permanent = permanent


class Channel(Protocol):
    """A way to somebody: mail, Slack, WhatsApp ..."""

    @property
    def name(self) -> str:
        """By which it is known, and what it was told is remembered: it stays when all else about
        it is changed.
        """
        ...

    async def send(self, notice: Notice) -> None:
        """Send it. Raises NotDelivered. It is called off if it takes too long."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A channel, and what of all alerts it is for.

    `hours`: as `22:00-07:00` or `mon-fri 08:00-18:00`, by hours.py; outside of them only what is
    critical is told, the rest when they come. None: always.
    """

    channel: Channel
    severities: frozenset[Severity] = BOTH
    hours: str | None = None
