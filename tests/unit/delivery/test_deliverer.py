"""One webhook at work, on a clock that is moved by hand: an endpoint, a log and a table in memory."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import structlog

from sessions.forever import Forever
from sessions.model import StoreError, StoreUnanswered, StoreUnavailable
from sessions.store import StoredEvent
from sessions.store.tables.webhooks import DeliveryRow, WebhookRow
from supervisor.delivery import deliverer as module
from supervisor.delivery import late, retrying, views
from supervisor.delivery.deliverer import AT_ONCE, Deliverer, Progress, Tools
from supervisor.delivery.endpoint.circuit import LAST_CANARY_SECONDS
from supervisor.delivery.endpoint.sender import Outcome
from supervisor.delivery.views import EventDelivery, event_delivery, heads
from supervisor.delivery.webhook_settings import NewWebhook, settings_of
from supervisor.fleet.feed import Page
from tests.fakes import EPOCH, fake_time

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]
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


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    for one in (module, late):
        monkeypatch.setattr(one, "time", fake_time())
    return World()


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


async def test_each_session_s_events_go_in_order_and_sessions_side_by_side(world: World) -> None:
    async with world.running():
        world.events(*"abcabcabc")
        await asyncio.sleep(1)
    assert sorted(world.endpoint.accepted) == list(range(1, 10))
    for session in range(3):
        mine = [n for n in world.endpoint.accepted if n % 3 == session]
        assert mine == sorted(mine)
    assert world.endpoint.most_under_way == 3
    assert world.rows.kept == {}, "what is accepted leaves no row"
    assert world.rows.progress[-1] == Progress(9, 9, ())


async def test_no_more_than_so_many_requests_are_under_way(world: World) -> None:
    async with world.running():
        world.events(*(f"s{n}" for n in range(100)))
        await asyncio.sleep(1)
    assert len(world.endpoint.accepted) == 100
    assert world.endpoint.most_under_way == AT_ONCE


async def test_what_is_not_wanted_is_not_sent_and_does_not_hold_the_mark(world: World) -> None:
    world.new = NewWebhook("http://endpoint/", sessions=["a"], types=["message.*"])
    world.webhook = world.made()
    async with world.running():
        world.events("a", "b", None)
        world.log.add("a", "session.state")
        await asyncio.sleep(10)
    assert world.endpoint.accepted == [1]
    assert world.webhook.behind == 0
    assert world.webhook.lanes.low_water == 4


async def test_a_refused_event_blocks_its_own_session_and_then_waits_aside(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(retrying.BLOCKED_SECONDS - 60)
        assert world.endpoint.accepted == [2], "event 3 waits behind event 1"
        world.events("b")
        await asyncio.sleep(300)
        assert world.endpoint.accepted == [2, 4, 3]
        assert world.rows_of("retrying") == [(1, 1)]
        assert not world.webhook.circuit.is_open, "it is one event that is refused"
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [2, 4, 3, 1]
    assert world.endpoint.late == [1], "and says that it is late"
    assert world.rows.kept == {}


async def test_what_is_refused_for_the_retry_hours_is_dead_and_can_be_sent_again(
    world: World,
) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "a")
        await asyncio.sleep(10 * HOUR)
        assert world.rows_of("dead") == [(1, 1)]
        tried = len(world.endpoint.tried)
        assert tried < 40
        await asyncio.sleep(10 * HOUR)
        assert len(world.endpoint.tried) == tried, "it rests"
        assert "dead" in world.told.names
        (row,) = world.rows.kept.values()
        assert (row.last_status, row.last_error) == (422, "422 Unprocessable: not this one")
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.endpoint.answers = lambda *_: ACCEPTED
        world.webhook.look_for_late()
        await asyncio.sleep(1)
    assert world.endpoint.late == [1]


async def test_a_dead_endpoint_costs_an_attempt_in_five_minutes_and_nothing_is_set_aside(
    world: World,
) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*(f"s{n}" for n in range(50)))
        await asyncio.sleep(HOUR)
        before = len(world.endpoint.tried)
        await asyncio.sleep(4 * HOUR)
        least = 4 * HOUR / LAST_CANARY_SECONDS
        assert 0.8 * least < len(world.endpoint.tried) - before < 1.3 * least
        assert world.rows.kept == {}
        assert world.told.names.count("alert") > 0
        assert world.rows.failing_since is not None
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
    assert sorted(world.endpoint.accepted) == list(range(1, 51))
    assert world.rows.failing_since is None
    assert world.told.names[-1] == "works"


async def test_what_waited_longer_than_the_retry_hours_becomes_one_dead_row(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(5 * HOUR)
        world.events("a", "b")
        await asyncio.sleep(1.25 * HOUR)
        assert world.rows_of("dead") == [(1, 3)]
        await asyncio.sleep(5.5 * HOUR)
        assert world.rows_of("dead") == [(1, 5)], "one row that grows"
        world.events("a")
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
        assert world.endpoint.accepted == [6]
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.look_for_late()
        await asyncio.sleep(10)
    assert world.endpoint.late == [1, 2, 3, 4, 5]
    assert world.rows.kept == {}


async def test_what_is_purged_while_the_event_before_it_is_sent_late_is_not_sent(
    world: World,
) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(7 * HOUR)
        assert world.rows_of("dead") == [(1, 3)]
        world.endpoint.answers, world.endpoint.takes_seconds = lambda *_: ACCEPTED, 2.0
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.use(world.webhook.settings, None)
        world.webhook.look_for_late()
        await asyncio.sleep(1)
        assert world.endpoint.under_way == ["a"]
        world.log.purge("b")
        await asyncio.sleep(10)
    assert world.endpoint.late == [1, 3]
    assert world.rows.kept == {}


async def test_an_endpoint_that_is_back_is_sent_everything_even_if_one_event_stays_refused(
    world: World,
) -> None:
    """The oldest event is not the canary for ever."""
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "c", "a")
        await asyncio.sleep(HOUR)
        world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
        assert set(world.endpoint.accepted) == {2, 3}
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted[2:] == [4], "and behind the refused one it goes on later"
    assert world.rows_of("retrying") == [(1, 1)]


async def test_after_a_kill_what_is_above_the_mark_is_sent_again_and_nothing_is_missed(
    world: World,
) -> None:
    async with world.running(killed=True):
        world.events(*"ababab")
        await asyncio.sleep(0.025)
    assert 0 < len(world.endpoint.accepted) < 6
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(10)
    for session in (0, 1):
        firsts = dict.fromkeys(n for n in world.endpoint.accepted if n % 2 == session)
        assert list(firsts) == sorted(firsts)
    assert set(world.endpoint.accepted) == {1, 2, 3, 4, 5, 6}


async def test_an_orderly_restart_repeats_nothing_even_behind_an_event_that_is_refused(
    world: World,
) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", *"b" * 30, "a")
        await asyncio.sleep(60)
    assert world.rows.progress[-1] == Progress(0, 32, (1, 32))
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(60)
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(300)
    assert sorted(world.endpoint.accepted) == list(range(1, 33)), "each once"


async def test_what_is_set_aside_is_not_sent_in_its_turn_after_a_kill(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running(killed=True):
        world.events("a", "a")
        await asyncio.sleep(0.5)
        world.rows.progress.clear()  # the mark is not written since
        await asyncio.sleep(retrying.BLOCKED_SECONDS + 120)
    world.rows.progress.clear()
    world.webhook = world.made()
    world.endpoint.tried.clear()
    async with world.running():
        await asyncio.sleep(10)
    assert [n for _, n in world.endpoint.tried] == [2]


async def test_a_gap_is_told_once_and_what_comes_after_it_is_sent(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"abab")
        await asyncio.sleep(HOUR)
        world.events(*"ab")
        world.log.drop(4)
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [5, 6]
    assert world.rows_of("gap") == [(1, 4)]
    assert world.told.names.count("gap") == 1


async def test_a_webhook_that_was_paused_for_too_long_tells_of_its_gap(world: World) -> None:
    world.paused = "operator"
    world.webhook = world.made()
    async with world.running():
        world.events(*"abab")
        await asyncio.sleep(HOUR)
        assert world.endpoint.tried == []
        world.log.drop(3)
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [4]
    assert world.rows_of("gap") == [(1, 3)]


async def test_what_is_dropped_while_it_is_paused_is_told_at_once(world: World) -> None:
    world.paused = "operator"
    world.webhook = world.made()
    async with world.running():
        world.events(*"abab")
        world.log.drop(3)
        world.webhook.on_dropped(3)
        world.webhook.on_dropped(3)
        await asyncio.sleep(1)
        assert world.rows_of("gap") == [(1, 3)]
        assert world.told.names.count("gap") == 1
        assert world.webhook.lanes.low_water == 3
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [4]


async def test_what_is_dropped_is_a_gap_only_if_it_was_to_be_sent(world: World) -> None:
    world.new = NewWebhook("http://endpoint/", sessions=["a"])
    world.webhook = world.made()
    world.endpoint.answers = lambda n, _: AWAY if n > 2 else ACCEPTED
    async with world.running():
        world.events(*"abbabb")
        await asyncio.sleep(HOUR)
        world.log.drop(3)
        world.webhook.on_dropped(3)
        assert world.rows.kept == {}, "event 1 was sent, the others are not its affair"
        world.log.drop(5)
        world.webhook.on_dropped(5)
    assert world.rows_of("gap") == [(4, 5)]


async def test_what_was_set_aside_and_is_dropped_from_the_log_is_a_gap_too(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"a" * 8)
        await asyncio.sleep((RETRY_HOURS + 1) * HOUR)
        assert world.rows_of("dead") == [(1, 8)]
        world.log.drop(5)
        world.endpoint.answers = lambda *_: ACCEPTED
        await redriven(world)
        assert world.endpoint.late == [6, 7, 8]
        assert [(row.next_n, row.last_n, row.state) for row in world.rows.kept.values()] == [
            (1, 5, "gap")
        ]
        assert world.told.names.count("gap") == 1


async def test_a_failing_endpoint_is_told_of_early_and_is_an_alert_later(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b")
        await asyncio.sleep(20)
        assert "fails" not in world.told.names, "a restart of it is nobody's matter"
        await asyncio.sleep(60)
        assert "fails" in world.told.names
        assert "alert" not in world.told.names
        await asyncio.sleep(ALERT_SECONDS)
        assert "alert" in world.told.names
        world.told.names.clear()
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
        assert world.told.names[-1] == "works"


async def redriven(world: World) -> None:
    """The dead rows are sent again."""
    now = EPOCH + asyncio.get_running_loop().time()
    for row in list(world.rows.kept.values()):
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
    world.webhook.use(world.webhook.settings, None)
    world.webhook.look_for_late()
    await asyncio.sleep(10)


async def test_a_purged_event_is_no_gap(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"ab")
        await asyncio.sleep(HOUR)
        del world.log.events[1]
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [2]
    assert world.rows.kept == {}


async def test_gone_pauses_it_and_what_happens_is_kept_for_it(world: World) -> None:
    world.endpoint.answers = lambda *_: Outcome("gone", 410, "410 Gone")
    async with world.running():
        world.events("a")
        await asyncio.sleep(HOUR)
        assert len(world.endpoint.tried) == 1
        assert world.rows.paused_because == world.webhook.paused_because == "gone"
        world.events("a")
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [1, 2]
    assert world.told.names.count("paused") == 1
    assert ("gone",) in world.told.words


async def test_retry_after_holds_the_whole_endpoint_back(world: World) -> None:
    asks = Outcome("away", 503, "503", retry_after_seconds=120.0)
    world.endpoint.answers = lambda *_: asks
    async with world.running():
        world.events("a")
        await asyncio.sleep(1)
        world.endpoint.answers = lambda *_: ACCEPTED
        world.events("b")
        await asyncio.sleep(110)
        assert len(world.endpoint.tried) == 1
        await asyncio.sleep(15)
    assert sorted(world.endpoint.accepted) == [1, 2]


async def test_a_store_that_fails_is_charged_to_nobody(world: World) -> None:
    async with world.running():
        world.events("a")
        await asyncio.sleep(1)
        world.log.failing = True
        world.events("a", "b")
        await asyncio.sleep(HOUR)
        assert world.webhook.last_failure is None
        assert not world.webhook.circuit.is_open
        world.log.failing = False
        await asyncio.sleep(5)
    assert sorted(world.endpoint.accepted) == [1, 2, 3]


async def test_a_session_that_fills_the_window_behind_one_event_does_not_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 100)
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("b", *"a" * 150, *"b" * 150, "c")
        await asyncio.sleep(20)
    assert len(world.endpoint.accepted) == 301
    assert world.rows_of("retrying") == [(1, 1)]


async def test_a_replay_sends_again_what_came_after_and_later_events_behind_it(
    world: World,
) -> None:
    async with world.running():
        world.events(*"aaaa")
        await asyncio.sleep(1)
        await world.webhook.begin_after(2)
        world.events("a")
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [1, 2, 3, 4, 3, 4, 5]


@pytest.mark.parametrize(
    ("failure", "sent"),
    [(StoreUnavailable(), [1, 2, 3]), (StoreUnanswered(), [1, 2, 2, 3])],
)
async def test_a_replay_that_is_refused_loses_nothing_and_one_in_doubt_is_made(
    world: World, failure: StoreError, sent: list[int]
) -> None:
    async with world.running():
        world.events(*"aa")
        await asyncio.sleep(1)
        world.rows.failing = failure
        with pytest.raises(type(failure)):
            await world.webhook.begin_after(1)
        world.events("a")
        await asyncio.sleep(1)
    assert world.endpoint.accepted == sent


async def test_a_pause_holds_what_is_sent_late_at_once_and_charges_nobody(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"a" * 40)
        await asyncio.sleep((RETRY_HOURS + 1) * HOUR)
        assert world.rows_of("dead") == [(1, 40)]
        world.endpoint.answers = lambda *_: ACCEPTED
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.use(world.webhook.settings, None)
        world.webhook.look_for_late()
        await asyncio.sleep(0.105)
        before, failure = len(world.endpoint.tried), world.webhook.last_failure
        world.webhook.use(world.webhook.settings, "operator")
        await asyncio.sleep(HOUR)
        assert len(world.endpoint.tried) == before, "nothing goes out after the pause"
        (row,) = world.rows.kept.values()
        sent = len(world.endpoint.late)
        assert 1 < sent < 40
        assert (row.state, row.next_n, row.attempts) == ("retrying", sent + 1, 0)
        assert world.webhook.last_failure == failure, "a pause is nobody's failure"
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(10)
    assert world.endpoint.late == list(range(1, 41)), "it goes on where it was"
    assert world.rows.kept == {}


async def test_a_row_that_comes_while_the_table_is_asked_is_not_forgotten(world: World) -> None:
    """The lost wake-up: what was read is older than what was said meanwhile."""
    async with world.running():
        world.events("a", "a")
        await asyncio.sleep(1)

        def redriven() -> None:
            world.rows.meanwhile = lambda: None
            now = EPOCH + asyncio.get_running_loop().time()
            dead = DeliveryRow(
                "wh_1", 1, 1, 1, "a", "message.received", "retrying", 0, now, now, 500, "500"
            )
            world.rows.set_aside(dead)
            world.webhook.look_for_late()

        world.rows.meanwhile = redriven
        world.webhook.look_for_late()
        await asyncio.sleep(60)
    assert world.endpoint.late == [1]


async def test_what_an_endpoint_says_stands_in_the_list_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the log, an alert or an event, and without what it repeats of our headers."""
    world.new = NewWebhook("http://endpoint/", headers={"X-Key": "k3y-of-n8n"})
    world.webhook = world.made()
    says = Outcome("refused", 401, "401 Unauthorized", "bad key k3y-of-n8n, and more")
    world.endpoint.answers = lambda n, _: says if n == 1 else ACCEPTED
    logger = structlog.testing.CapturingLogger()
    for one in (module, late):
        monkeypatch.setattr(one, "log", logger)
    async with world.running():
        world.events("a", "b")
        await asyncio.sleep(60)
        (head,) = heads(world.webhook, -1, 10)
        await asyncio.sleep(10 * HOUR)
        (row,) = world.rows.kept.values()
    assert head.last_error == row.last_error == "401 Unauthorized: bad key ***, and more"
    assert world.webhook.last_failure is not None
    assert world.webhook.last_failure[1] == "401 Unauthorized"
    assert "delivery_aside" in {call.kwargs["action"] for call in logger.calls}
    assert "bad key" not in repr(logger.calls) + repr(world.told.words)


async def test_what_blocks_now_is_listed_page_by_page(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n <= 3 else ACCEPTED
    async with world.running():
        world.events("a", "b", "c", "d")
        await asyncio.sleep(1)
        assert [one.n for one in heads(world.webhook, -1, 2)] == [1, 2]
        assert [one.n for one in heads(world.webhook, 2, 2)] == [3]


async def test_what_waits_aside_is_not_remembered_twice(world: World) -> None:
    """The rows are in the store; in memory only those above the mark, until they are read."""
    world.endpoint.answers = lambda n, _: REFUSED if n % 2 else ACCEPTED
    async with world.running():
        for _ in range(20):
            world.events("a", "b")
        await asyncio.sleep(24 * HOUR)
        assert len(world.rows.kept) == 20
    assert not world.webhook._set_aside


async def test_nothing_is_written_or_tried_while_nothing_happens(world: World) -> None:
    async with world.running():
        world.events("a")
        await asyncio.sleep(10)
        written = len(world.rows.progress)
        await asyncio.sleep(HOUR)
        assert len(world.rows.progress) == written
    assert len(world.endpoint.tried) == 1


# --- what has become of an event ------------------------------------------------------------------


def fate(world: World, n: int) -> EventDelivery:
    rows = [row for row in world.rows.kept.values() if row.n <= n <= row.last_n]
    event = world.log.events.get(n) or StoredEvent(
        n, 0, "a", "message.received", msgspec.Raw(b"{}")
    )
    return event_delivery(world.webhook, event, max(rows, key=lambda row: row.n, default=None))


@pytest.fixture
def told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(views, "time", fake_time())
    return world


async def test_what_is_accepted_has_arrived_and_what_was_not_asked_for_says_which_part(
    told_of: World,
) -> None:
    told_of.new = NewWebhook("http://endpoint/x?key=1", sessions=["a"], types=["message.*"])
    told_of.webhook = told_of.made()
    async with told_of.running():
        told_of.events("a", "b")
        other = told_of.log.add("a", "session.state")
        await asyncio.sleep(1)
        told_of.webhook.wake()
        await asyncio.sleep(1)
        assert [(fate(told_of, n).state, fate(told_of, n).arrived) for n in (1, 2, other)] == [
            ("delivered", True),
            ("not_asked", True),
            ("not_asked", True),
        ]
        assert "not for b" in fate(told_of, 2).why
        assert "not for session.state" in fate(told_of, other).why
        assert fate(told_of, 1).url == "http://endpoint", "the rest may be a secret"


async def test_who_waits_is_told_behind_which_event_and_when_that_is_tried(told_of: World) -> None:
    told_of.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with told_of.running():
        told_of.events("a", "a", "b")
        await asyncio.sleep(3)
        blocked, waits, other = (fate(told_of, n) for n in (1, 2, 3))
        assert (blocked.state, blocked.attempts, blocked.last_status) == ("blocked", 1, 422)
        assert (waits.state, waits.behind) == ("waiting", 1)
        assert waits.next_try_at == blocked.next_try_at is not None
        assert "behind event 1" in waits.why
        assert "not this one" in waits.why
        assert other.state == "delivered"
        await asyncio.sleep(700)
        aside = fate(told_of, 1)
        assert (aside.state, fate(told_of, 2).state) == ("retrying", "delivered")
        assert aside.next_try_at is not None
        assert f"--row {aside.row}" in aside.what_to_do
        await asyncio.sleep((RETRY_HOURS + 12) * HOUR)
        assert fate(told_of, 1).state == "dead"
        assert "redrive" in fate(told_of, 1).what_to_do


async def test_while_it_is_sent_it_is_under_way_and_the_next_one_waits_for_it(
    told_of: World,
) -> None:
    told_of.endpoint.takes_seconds = 5.0
    async with told_of.running():
        told_of.events("a", "a")
        await asyncio.sleep(1)
        assert fate(told_of, 1).state == "under_way"
        assert (fate(told_of, 2).state, fate(told_of, 2).behind) == ("waiting", 1)
        assert "on its way" in fate(told_of, 2).why


async def test_an_endpoint_that_is_away_says_so_for_all_that_waits(told_of: World) -> None:
    told_of.endpoint.answers = lambda *_: AWAY
    async with told_of.running():
        told_of.events("a", "b", "c", "d", "e", "a")
        await asyncio.sleep(60)
        for n in (1, 6):
            seen = fate(told_of, n)
            assert (seen.state, seen.arrived) == ("away", False)
            assert "the connection is refused" in seen.why
            assert seen.next_try_at is not None


async def test_a_paused_one_says_why_and_how_to_go_on(told_of: World) -> None:
    for because, words in (
        ("operator", "Somebody"),
        ("gone", "410"),
        ("restored", "backup"),
        ("key_ended", "revoked"),
    ):
        told_of.webhook.paused_because = because
        told_of.events("a")
        seen = fate(told_of, told_of.log.last)
        assert (seen.state, words in seen.why) == ("paused", True)
        assert "wasup webhooks resume wh_1" in seen.what_to_do


async def test_what_is_older_than_the_webhook_and_what_the_log_dropped_is_told(
    told_of: World,
) -> None:
    told_of.events("a", "a")
    told_of.rows.progress.append(Progress(1, 1, began=1))
    told_of.webhook = told_of.made()
    async with told_of.running():
        await asyncio.sleep(1)
        assert fate(told_of, 1).state == "made_later"
        assert "--after 0" in fate(told_of, 1).what_to_do
        assert fate(told_of, 2).state == "delivered"
    told_of.webhook.paused_because = "operator"
    lost = told_of.log.add("a")
    told_of.log.add("a")
    told_of.log.drop(lost)
    told_of.webhook.paused_because = None
    told_of.webhook = told_of.made()
    async with told_of.running():
        await asyncio.sleep(1)
        assert fate(told_of, lost).state == "gap"
        assert "WHATSAPP_EVENT_LOG_DAYS" in fate(told_of, lost).what_to_do


async def test_after_a_restart_what_was_accepted_out_of_turn_has_arrived(told_of: World) -> None:
    told_of.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with told_of.running():
        told_of.events("a", "b", "c")
        await asyncio.sleep(3)
    told_of.webhook = told_of.made()
    assert [fate(told_of, n).state for n in (1, 2, 3)] == ["waiting", "delivered", "delivered"]


async def test_who_asks_what_has_become_of_an_event_that_waits_aside_does_not_have_it_sent_twice(
    told_of: World,
) -> None:
    told_of.endpoint.answers = lambda n, _: REFUSED if n == 2 else ACCEPTED
    async with told_of.running(killed=True):
        told_of.events("a", "b", "c")
        await asyncio.sleep(retrying.BLOCKED_SECONDS + 300)
        assert told_of.rows_of("retrying") == [(2, 2)]
    told_of.rows.progress, told_of.endpoint.accepted = [Progress(0, 0)], []
    told_of.endpoint.answers, told_of.log.failing = lambda *_: ACCEPTED, True
    told_of.webhook = told_of.made()
    async with told_of.running():
        await asyncio.sleep(0.5)
        assert told_of.webhook.has_settled(2, "b"), "asked before it is read"
        told_of.log.failing = False
        await asyncio.sleep(HOUR)
    assert sorted(told_of.endpoint.accepted) == [1, 2, 3]


async def test_what_is_older_than_the_webhook_and_was_replayed_has_arrived(told_of: World) -> None:
    told_of.events("a", "a", "a")
    told_of.log.events = {
        n: msgspec.structs.replace(event, time_ms=1) for n, event in told_of.log.events.items()
    }
    told_of.rows.progress.append(Progress(3, 3, began=3))
    told_of.webhook = told_of.made()
    async with told_of.running():
        await asyncio.sleep(1)
        assert [fate(told_of, n).state for n in (1, 2, 3)] == ["made_later"] * 3
        await told_of.webhook.begin_after(1)
        await asyncio.sleep(1)
        await told_of.webhook.begin_after(2)
        await asyncio.sleep(1)
    told_of.webhook = told_of.made()
    assert told_of.endpoint.accepted == [2, 3, 3]
    states = [fate(told_of, n).state for n in (1, 2, 3)]
    assert states == ["made_later", "delivered", "delivered"]


async def test_of_a_webhook_whose_beginning_is_not_known_nothing_is_claimed(told_of: World) -> None:
    told_of.events("a", "a")
    told_of.log.events[1] = msgspec.structs.replace(told_of.log.events[1], time_ms=1)
    async with told_of.running():
        await asyncio.sleep(1)
        assert [fate(told_of, n).state for n in (1, 2)] == ["unknown", "delivered"]


async def test_what_was_passed_over_before_the_webhook_asked_for_more_has_not_arrived(
    told_of: World,
) -> None:
    def ask_for(*types: str) -> None:
        hook = told_of.webhook
        wider = settings_of(NewWebhook("http://endpoint/", types=list(types)))
        hook.use(wider.succeeding(hook.settings, hook.judged_to), None)

    def states() -> list[str]:
        return [str(fate(told_of, n).state) for n in range(1, told_of.log.last + 1)]

    told_of.new = NewWebhook("http://endpoint/", types=["session.state"])
    told_of.rows.progress.append(Progress(0, 0, began=0))
    told_of.webhook = told_of.made()
    async with told_of.running():
        for asked in (("session.state", "message.received"), ("*",)):
            for kind in ("session.state", "message.received"):
                told_of.log.add("a", kind)
            told_of.webhook.wake()
            await asyncio.sleep(1)
            ask_for(*asked)
            if asked != ("*",):
                assert states() == ["delivered", "passed_over"]
        assert told_of.endpoint.accepted == [1, 3, 4]
        assert states() == ["unknown", "unknown", "delivered", "delivered"]
        await told_of.webhook.begin_after(1)
        await asyncio.sleep(1)
        assert told_of.endpoint.accepted == [1, 3, 4, 2, 3, 4]
        assert states() == ["unknown", "delivered", "delivered", "delivered"]
        assert "replay wh_1 --after 0" in fate(told_of, 1).what_to_do


async def test_what_is_read_while_the_webhook_is_changed_is_judged_by_what_it_asks_for_then(
    told_of: World,
) -> None:
    told_of.new = NewWebhook("http://endpoint/", types=["session.state"])
    told_of.rows.progress.append(Progress(0, 0, began=0))
    hook = told_of.webhook = told_of.made()
    async with told_of.running():
        with hook.resting():
            wider = settings_of(NewWebhook("http://endpoint/"))
            wider = wider.succeeding(hook.settings, hook.judged_to)
            told_of.events("a")
            await asyncio.sleep(5)
            hook.use(wider, None)
        await asyncio.sleep(1)
        assert told_of.endpoint.accepted == [1]
        assert fate(told_of, 1).state == "delivered"
