"""Why an alert is not told of, though it is on: it is silenced, or an outage explains it.

All of it is looked at as something is to be sent, and none of it erases anything: what is still on
when a silence ends is told then. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from sessions.model import SessionId
from sessions.views.times import wall_seconds
from supervisor.alerts.alerts import Alert
from supervisor.alerts.rules import OUTAGE, rule_of

AFTERGLOW_SECONDS: Final = 120.0
"""For so long after an outage its sessions are still explained by it: they log in one by one."""


class Silence(msgspec.Struct, frozen=True, rename="camel"):
    """What is not told of for a while.

    `names`, `sessions`: patterns such as `disk_*` or `loja-*`; what both fit is silent, and an
    empty list fits all. Alerts of no session fit only an empty list of sessions.
    """

    id: str
    names: tuple[str, ...]
    sessions: tuple[str, ...]
    starts_at: str
    ends_at: str
    comment: str
    created_by: str

    def is_on(self, now: float) -> bool:
        """Whether it is its time."""
        return wall_seconds(self.starts_at) <= now < wall_seconds(self.ends_at)

    def fits(self, alert: Alert) -> bool:
        """Whether it is about that alert."""
        names = {alert.name, rule_of(alert).name}
        return (not self.names or any(_fits(pattern, names) for pattern in self.names)) and (
            not self.sessions
            or (
                alert.session is not None
                and any(_fits(pattern, {alert.session}) for pattern in self.sessions)
            )
        )


class Outages(msgspec.Struct, frozen=True):
    """What outages explain: `everything`, or `sessions` alone, of a proxy's or the like."""

    everything: bool = False
    sessions: frozenset[SessionId] = frozenset()

    def explain(self, alert: Alert) -> bool:
        """Whether it is one of theirs."""
        if rule_of(alert).explained_by != OUTAGE:
            return False
        return self.everything or (alert.session is not None and alert.session in self.sessions)


NO_OUTAGES: Final = Outages()


def muted(
    alerts: Iterable[Alert], silences: Collection[Silence], outages: Outages, now: float
) -> Mapping[str, str]:
    """Which alerts are not told of, by their id, and because of what: a silence's id, or
    `outage`.
    """
    on = [silence for silence in silences if silence.is_on(now)]
    found = dict[str, str]()
    for alert in alerts:
        if outages.explain(alert):
            found[alert.id] = OUTAGE
            continue
        silence = next((one for one in on if one.fits(alert)), None)
        if silence is not None:
            found[alert.id] = silence.id
    return found


def _fits(pattern: str, words: Collection[str]) -> bool:
    return any(fnmatchcase(word, pattern) for word in words)
