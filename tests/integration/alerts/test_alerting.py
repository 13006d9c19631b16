"""Alerting as the program puts it together, with a real store, real tasks and the real clock: an
outage of two hundred sessions is two messages, a channel that hangs delays nobody, and a successor
knows who was told.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import URL

from sessions.forever import Forever
from sessions.model import SessionId, SessionState
from sessions.store import Store
from supervisor.alerts import notifier
from supervisor.alerts.alerting import Alerting, AlertingConfig
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.decision import Timing
from supervisor.alerts.notices import Notice, Recipient
from supervisor.fleet.bus import Bus
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.history.archive import Archive
from supervisor.history.history import History
from tests.unit.alerts.story import Heard

AT_ONCE = Timing(wait={"critical": 0.0, "warning": 0.0}, interval=0.0, over=0.0)
MEMBERS = [SessionId(f"s{number}") for number in range(214)]


class Hanging(Heard):
    """Never answers."""

    tries = 0

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        await asyncio.Event().wait()


class Run:
    """One life of a supervisor, as far as alerts go."""

    def __init__(self, store: Store, *channels: Heard) -> None:
        members = [SimpleNamespace(id=one, state=SessionState.HELD) for one in MEMBERS]
        fleet = SimpleNamespace(sessions=lambda: members, gate=lambda: SimpleNamespace(holds=[]))
        self.bus, self.forever = Bus(), Forever()
        self.alerts = Alerts(self.bus.publish)
        self.alerting = Alerting(
            self.alerts,
            store.alerts,
            self.forever,
            self.bus,
            cast("Any", fleet),
            cast("Any", SimpleNamespace(disks=None)),
            History(Archive(store.history_pages)),
            AlertingConfig(timing=AT_ONCE),
        )
        self.recipients = [Recipient(channel=channel) for channel in channels]

    async def begin(self) -> None:
        await self.alerting.open()
        self.alerting.notifier.follow(self.recipients)

    async def end(self) -> None:
        await self.alerting.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


def outage(kind: type[Any]) -> Any:
    return kind(
        scope="fleet",
        value="all",
        reason="unavailable",
        sessions=214,
        held_for_seconds=1.0,
        words="Held: everybody.",
    )


async def test_an_outage_is_two_messages_also_over_a_restart_and_beside_a_channel_that_hangs(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "LOOK_SECONDS", 0.02)
    mail, dead = Heard("mail"), Hanging("dead")
    store = await Store.open(url)
    run = Run(store, dead, mail)
    await run.begin()
    run.bus.tell(outage(OutageBegan))
    for session in MEMBERS:
        run.alerts.begin(session, "down", "It is down.", "critical")
    await until(lambda: mail.notices != [] and dead.tries > 0)
    acknowledged = run.alerts.active()[0]
    run.alerting.notifier.ledger.acknowledge(acknowledged, "Ana", "I look")
    await run.end()
    await store.close()
    assert mail.subjects == ["[critical] Outage: 214 sessions down"]

    store = await Store.open(url)
    after = Run(store, dead, mail)
    await after.begin()
    after.bus.tell(outage(OutageBegan))
    (again,) = after.alerts.active()
    assert (again.id, again.began_at) == (acknowledged.id, acknowledged.began_at)
    assert [one.by for one in after.alerting.notifier.ledger.acknowledgements().values()] == ["Ana"]
    after.bus.tell(outage(OutageEnded))
    await until(lambda: len(mail.notices) == 2)
    await until(lambda: not after.alerting.notifier.ledger.acknowledgements())
    await after.end()
    await store.close()
    assert mail.subjects[1:] == ["[over] Outage: 214 sessions down"]
    assert dead.notices == []


async def test_alerts_are_told_while_the_store_cannot_be_written(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "LOOK_SECONDS", 0.02)
    mail = Heard("mail")
    store = await Store.open(url)
    run = Run(store, mail)
    await run.begin()
    await store.close()
    run.alerts.begin(None, "store", "The store cannot write.", "critical")
    await until(lambda: mail.notices != [])
    run.alerts.end(None, "store", "The store works.")
    await until(lambda: len(mail.notices) == 2)
    await run.end()
    assert [notice.is_over for notice in mail.notices] == [False, True]


async def test_what_is_over_is_let_go_of_though_nobody_is_told(url: URL) -> None:
    store = await Store.open(url)
    run = Run(store)
    await run.begin()
    run.alerts.begin(None, "cpu", "cpu is 95%")
    ledger = run.alerting.notifier.ledger
    ledger.acknowledge(run.alerts.active()[0], "Ana", "I look")
    run.alerts.end(None, "cpu", "cpu is 10%")
    kept = [
        run.forever.keep(name, look, every_seconds=0.02)
        for name, look, _ in run.alerting.looks
        if "disks" not in name
    ]
    await until(lambda: not ledger.acknowledgements())
    for one in kept:
        await one.close()
    await run.end()
    await store.close()
