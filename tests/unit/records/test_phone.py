"""Signs of the account's own phone: what is remembered, and when a human is told that there are
none.
"""

import asyncio

import pytest

from sessions.lifecycle.dependencies import SessionConfig
from sessions.lifecycle.health import HealthConfig
from sessions.model import SessionState as S
from sessions.records import phone
from sessions.records.phone import DAY_SECONDS, PhoneRecord
from sessions.workers import wire
from tests.fakes import EPOCH, World

DAY = DAY_SECONDS
NOW = 1_700_000_000.0


def test_a_sign_counts_from_when_it_was_sent_but_never_from_the_future_or_backwards() -> None:
    record = phone.seen(PhoneRecord(), NOW - 60, NOW)
    assert record.seen_at == NOW - 60
    assert phone.seen(record, NOW - 3600, NOW).seen_at == NOW - 60
    assert phone.seen(record, NOW + 3600, NOW).seen_at == NOW
    set_back = phone.seen(PhoneRecord(seen_at=NOW + DAY), NOW, NOW)
    assert set_back.seen_at == NOW, "a clock that was ahead is not believed for ever"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (PhoneRecord(), None),
        (PhoneRecord(watched_since=NOW - 11.9 * DAY), None),
        (PhoneRecord(watched_since=NOW - 12 * DAY), "for 12 days"),
        (PhoneRecord(watched_since=NOW - 30 * DAY, seen_at=NOW - DAY), None),
        (PhoneRecord(watched_since=NOW - 30 * DAY, seen_at=NOW - 13.5 * DAY), "for 13 days"),
        (PhoneRecord(watched_since=NOW - 13 * DAY, warned_at=NOW - DAY / 2), None),
        (PhoneRecord(watched_since=NOW - 13 * DAY, warned_at=NOW - DAY), "for 13 days"),
        (PhoneRecord(watched_since=NOW - 13 * DAY, warned_at=NOW + DAY), "for 13 days"),
    ],
)
def test_the_warning(record: PhoneRecord, words: str | None) -> None:
    warning, after = phone.look(record, NOW)
    if words is None:
        assert (warning, after) == (None, record)
    else:
        assert warning is not None
        assert f"No sign of the phone {words}." in warning
        assert after.warned_at == NOW
        assert phone.look(after, NOW)[0] is None


def test_who_pairs_is_there_and_a_session_is_watched_from_its_first_open_on() -> None:
    assert phone.look(phone.paired(NOW), NOW + 11 * DAY)[0] is None
    first = phone.watched(PhoneRecord(), NOW)
    assert phone.watched(first, NOW + DAY).watched_since == NOW
    assert phone.watched(first, NOW - DAY).watched_since == NOW - DAY


@pytest.mark.looptime(noop_cycles=6)
@pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step")
async def test_a_phone_that_gives_no_sign_is_told_of_once_a_day_and_a_sign_ends_it() -> None:
    # Else most of the time goes into 70,000 probes and 100,000 looks at the heartbeat.
    hourly = SessionConfig(
        health=HealthConfig(interval_seconds=3600.0, heartbeat_timeout_seconds=7200.0)
    )
    async with World(hourly) as world:
        await world.start()
        await world.until(S.OPEN)
        assert world.session.view().phone_last_seen is None
        await asyncio.sleep(11 * DAY)
        assert _warnings(world) == []
        await asyncio.sleep(3 * DAY)
        assert [int(at / DAY) for at in _warnings(world)] == [12, 13]
        seen_at = int(EPOCH + asyncio.get_running_loop().time())
        world.workers.last.report(wire.Phone("shop", seen_at_seconds=seen_at))
        await asyncio.sleep(1)
        assert world.session.view().phone_last_seen == "2023-11-28T22:13:20.000Z"
        await asyncio.sleep(11 * DAY)
        assert len(_warnings(world)) == 2
        row = world.session.row()
    async with World(hourly) as successor:
        successor.store.rows[successor.id] = row
        await successor.start()
        await successor.until(S.OPEN)
        assert successor.session.view().phone_last_seen == "2023-11-28T22:13:20.000Z"


def _warnings(world: World) -> list[float]:
    return world.alerts("phone_offline")
