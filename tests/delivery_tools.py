"""A webhook at work and all that surrounds it: an endpoint, a log and a table in memory."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from sessions.forever import Forever
from sessions.model import StoreError, StoreUnavailable
from sessions.store import StoredEvent
from sessions.store.tables.webhooks import DeliveryRow, WebhookRow
from supervisor.delivery.deliverer import Deliverer, Progress, Tools
from supervisor.delivery.endpoint.sender import Outcome
from supervisor.delivery.webhook_settings import NewWebhook, settings_of
from supervisor.fleet.feed import Page
from tests.fakes import EPOCH

HOUR = 3600.0
RETRY_HOURS = 6
ALERT_SECONDS = 600.0
ACCEPTED = Outcome("accepted", 204)
REFUSED = Outcome("refused", 422, "422 Unprocessable", "not this one")
AWAY = Outcome("away", None, "the connection is refused")


class Log:
    """The event log's part that a webhook reads."""

    def __init__(self) -> None:
        self.events: dict[int, StoredEvent] = {}
        self.last = 0
        self.dropped = 0
        self.purges = 0
        self.failing = False

    def add(self, session: str | None, kind: str = "message.received") -> int:
        self.last += 1
        now = int(1000 * (EPOCH + asyncio.get_running_loop().time()))
        event = StoredEvent(self.last, now, session, kind, msgspec.Raw(b"{}"))
        self.events[self.last] = event
        return self.last

    def drop(self, n: int) -> None:
        self.dropped = n
        self.events = {number: event for number, event in self.events.items() if number > n}

    def purge(self, session: str) -> None:
        self.purges += 1
        self.events = {n: event for n, event in self.events.items() if event.session != session}

    async def after(self, n: int) -> Page:
        self._check()
        newer = [event for number, event in self.events.items() if number > n][:500]
        return Page(newer, min(self.events, default=None), self.last)

    async def get(self, n: int) -> StoredEvent | None:
        self._check()
        return self.events.get(n)

    async def last_dropped(self) -> int:
        return self.dropped

    async def last_before(self, time_ms: int) -> int:
        older = [event.n for event in self.events.values() if event.time_ms < time_ms]
        return max(older, default=0)

    def _check(self) -> None:
        if self.failing:
            raise StoreUnavailable


class Rows:
    """The table of what was set aside, and the webhook's own row."""

    def __init__(self) -> None:
        self.kept: dict[int, DeliveryRow] = {}
        self.progress: list[Progress] = []
        self.failing_since: float | None = None
        self.paused_because: str | None = None
        self.failing: StoreError | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        """Happens while the table is asked for what is due next."""
        self._ids = iter(range(1, 10_000))

    def set_aside(self, row: DeliveryRow) -> None:
        known = next((one.id for one in self.kept.values() if one.n == row.n), None)
        number = next(self._ids) if known is None else known
        self.kept[number] = msgspec.structs.replace(row, id=number)

    def set_range_aside(self, row: DeliveryRow) -> None:
        for one in self.kept.values():
            if one.state == row.state and one.last_n == row.n - 1 and one.type is None:
                self.kept[one.id] = msgspec.structs.replace(one, last_n=row.last_n)
                return
        self.set_aside(row)

    def update(self, row: DeliveryRow) -> asyncio.Future[None]:
        self.kept[row.id] = row
        return _done()

    def accepted(self, row: DeliveryRow) -> asyncio.Future[None]:
        del self.kept[row.id]
        return _done()

    def save_progress(self, _: str, progress: bytes) -> None:
        self.progress.append(msgspec.json.decode(progress, type=Progress))

    def save_failing_since(self, _: str, since: float | None) -> None:
        self.failing_since = since

    def pause(self, _: str, because: str) -> None:
        self.paused_because = because

    async def set_aside_after(self, _: str, n: int) -> set[int]:
        return {row.n for row in self.kept.values() if row.n > n and row.n == row.last_n}

    async def due(self, _: str, now: float, limit: int) -> list[DeliveryRow]:
        waiting = [row for row in self.kept.values() if row.state == "retrying"]
        due = [row for row in waiting if row.next_at is not None and row.next_at <= now]
        return sorted(due, key=lambda row: row.n)[:limit]

    async def next_due(self, _: str) -> float | None:
        times = [row.next_at for row in self.kept.values() if row.state == "retrying"]
        self.meanwhile()
        return min((at for at in times if at is not None), default=None)

    async def hasten(self, _: str, now: float) -> None:
        for row in list(self.kept.values()):
            if row.state == "retrying":
                self.kept[row.id] = msgspec.structs.replace(row, next_at=now)

    async def replay(self, _: str, n: int, settings: bytes, progress: bytes) -> dict[str, int]:
        if self.failing is not None:
            raise self.failing
        self.save_progress("", progress)
        self.kept = {number: row for number, row in self.kept.items() if row.n <= n}
        return Counter(row.state for row in self.kept.values())


class Endpoint:
    """Whoever is sent the events."""

    def __init__(self) -> None:
        self.answers: Callable[[int, str | None], Outcome] = lambda n, session: ACCEPTED
        self.takes_seconds = 0.01
        self.accepted: list[int] = []
        self.late: list[int] = []
        self.tried: list[tuple[float, int]] = []
        self.under_way: list[str | None] = []
        self.most_under_way = 0

    async def send(
        self, url: str, body: bytes, headers: dict[str, str], is_trusted: bool
    ) -> Outcome:
        assert is_trusted
        event = msgspec.json.decode(body)
        n, session = event["n"], event["session"]
        assert headers["webhook-id"] == event["id"]
        late = headers.get("wasup-late") == "true"
        assert late or session not in self.under_way, "one of a session at a time"
        self.tried.append((asyncio.get_running_loop().time(), n))
        self.under_way.append(session)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        try:
            await asyncio.sleep(self.takes_seconds)
        finally:
            self.under_way.remove(session)
        outcome = self.answers(n, session)
        if outcome is ACCEPTED:
            self.accepted.append(n)
            self.late += [n] if late else []
        return outcome


class Told:
    """What people are told, by name."""

    url = ""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.words: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*words: object) -> None:
            self.names.append(name)
            self.words.append(words)

        return tell


class World:
    """A webhook and all that surrounds it."""

    def __init__(self) -> None:
        self.log, self.rows, self.endpoint, self.told = Log(), Rows(), Endpoint(), Told()
        self.paused: str | None = None
        self.new = NewWebhook("http://endpoint/")
        self.webhook = self.made()

    def made(self) -> Deliverer:
        """As it is when the supervisor begins: all that it knows is in the table."""
        progress = self.rows.progress[-1] if self.rows.progress else Progress(0, 0)
        tools = Tools(
            rows=self.rows,  # type: ignore[arg-type]
            bodies=self.log,  # type: ignore[arg-type]
            sender=self.endpoint,  # type: ignore[arg-type]
            retry_seconds=RETRY_HOURS * HOUR,
            failing_seconds=ALERT_SECONDS,
            rng=random.Random(7),
        )
        row = WebhookRow(
            "wh_1",
            EPOCH,
            b"",
            self.paused,
            msgspec.json.encode(progress),
            self.rows.failing_since,
        )
        return Deliverer(row, settings_of(self.new), tools, self.told)  # type: ignore[arg-type]

    @asynccontextmanager
    async def running(self, killed: bool = False) -> AsyncIterator[None]:
        """While the block runs; `killed`: it ends as by kill -9."""
        failures: list[Any] = []
        forever = Forever(failures.append)
        forever.keep("webhook", self.webhook.turn, within_seconds=None)
        yield
        await forever.close()
        if killed:
            await self.webhook._end_attempts()
        else:
            await self.webhook.close()
        assert failures == []
        assert forever.health() == []

    def events(self, *sessions: str | None) -> list[int]:
        found = [self.log.add(session) for session in sessions]
        self.webhook.wake()
        return found

    def rows_of(self, state: str) -> list[tuple[int, int]]:
        return [(row.n, row.last_n) for row in self.rows.kept.values() if row.state == state]


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
