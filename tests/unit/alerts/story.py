"""Alerts, ledger and notifier with a clock that is moved by hand, and looks that are taken by hand."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sessions.forever import Forever, Kept, Look
from sessions.model import EventData, SessionId
from sessions.store.supervision.alert_rows import AlertRecord, AlertRows, Kind
from supervisor.alerts.alerts import AlertRaised, Alerts
from supervisor.alerts.judging.flapping import Flapping
from supervisor.alerts.ledger import Ledger
from supervisor.alerts.muting import NO_OUTAGES
from supervisor.alerts.notices import NotDelivered, Notice, Recipient
from supervisor.alerts.notifier import Notifier
from supervisor.alerts.words.rendering import render

MONDAY_NOON = 1_764_590_400.0  # 2025-12-01T12:00:00Z
SHOP = SessionId("shop")


class Rows(AlertRows):
    """The table, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Kind, str], list[AlertRecord]] = {}
        self.written = 0

    async def all(self) -> list[AlertRecord]:
        return [record for records in self.kept.values() for record in records]

    def replace(self, kind: Kind, owner: str, records: Callable[[], Sequence[AlertRecord]]) -> None:
        self.kept[kind, owner] = list(records())
        self.written += len(self.kept[kind, owner])

    def change(
        self,
        kind: Kind,
        owner: str,
        ids: Iterable[str],
        records: Callable[[Collection[str]], Sequence[AlertRecord]],
    ) -> None:
        changed = set(ids)
        others = [one for one in self.kept.get((kind, owner), []) if one.id not in changed]
        self.kept[kind, owner] = [*others, *records(changed)]
        self.written += len(self.kept[kind, owner]) - len(others)


class ByHand(Forever):
    """What runs for ever, a look at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: dict[str, Look] = {}

    def keep(self, name: str, look: Look, **_: Any) -> Kept:
        self.looks[name] = look
        forgotten = self.looks.pop

        class Ended(Kept):
            def stop(self) -> None:
                forgotten(name)

        return Ended(name, lambda health: None)


class Heard:
    """A channel that remembers what it was told; `fails` is raised instead."""

    def __init__(self, name: str = "mail") -> None:
        self.name = name
        self.notices: list[Notice] = []
        self.fails: Exception | None = None

    async def send(self, notice: Notice) -> None:
        if self.fails is not None:
            raise self.fails
        self.notices.append(notice)

    @property
    def subjects(self) -> list[str]:
        return [render(notice).subject for notice in self.notices]


class Story:
    """The whole, at noon of a Monday, UTC."""

    def __init__(self, rows: Rows | None = None, now: float = MONDAY_NOON, **more: Any) -> None:
        self.now = now
        self.rows = rows or Rows()
        self.forever = ByHand()
        self.outages = NO_OUTAGES
        self.flapping = Flapping(self._clock)
        self.alerts = Alerts(self._publish, self._clock)
        self.notifier = Notifier(
            self.alerts,
            Ledger(self.rows, self._clock),
            self.flapping,
            self.forever,
            lambda: self.outages,
            now=self._clock,
            **more,
        )
        self.mail = Heard()

    def _clock(self) -> float:
        return self.now

    def _publish(self, session: SessionId | None, told: EventData) -> None:
        if isinstance(told, AlertRaised):
            self.flapping.on_raised(session, told)

    async def begin(self, *recipients: Recipient) -> "Story":
        await self.notifier.open()
        self.notifier.follow(recipients or [Recipient(channel=self.mail)])
        return self

    async def passes(self, seconds: float, step: float = 5.0) -> None:
        """Time passes; everybody looks every five seconds."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + step)
            for look in list(self.forever.looks.values()):
                looking = look()
                assert looking is not None
                await looking

    @property
    def told(self) -> list[str]:
        """The subjects of what was mailed."""
        return self.mail.subjects


def refused(words: str = "wrong password", permanent: bool = False) -> NotDelivered:
    return NotDelivered(words, permanent=permanent)
