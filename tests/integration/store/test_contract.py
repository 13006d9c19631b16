"""The store: one contract for both databases and the fake, and what only a real database can
promise.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import pytest_asyncio
import structlog
from sqlalchemy import URL, event, insert

from sessions.model import (
    EventData,
    SessionExists,
    SessionNotFound,
    StaleEpoch,
    StoreError,
    StoreUnavailable,
    UnstorableValue,
)
from sessions.records.changes import Changes
from sessions.records.incidents import Incident, Move
from sessions.store import LogBounds, Store, WorkerRow, sqlite_url
from sessions.store.engine import database, schema
from sessions.store.tables import auth
from sessions.store.tables.events import Wanted
from sessions.store.writing import writer
from sessions.store.writing.writer import MAX_BATCH
from tests.fakes import FakeStore
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, entry, memory_of, sql


@pytest_asyncio.fixture
async def real(url: URL) -> AsyncIterator[Store]:
    store = await Store.open(url)
    yield store
    await store.close()


@pytest_asyncio.fixture(params=["sqlite", "postgresql", "fake"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """The contract holds for all three, or the session's tests prove nothing."""
    if request.param == "fake":
        yield FakeStore()  # type: ignore[misc]
        return
    sqlite = request.param == "sqlite"
    store = await Store.open(
        sqlite_url(tmp_path / "wasup.db") if sqlite else request.getfixturevalue("postgresql_url")
    )
    yield store
    await store.close()


# --- the contract ---------------------------------------------------------------------------------


async def test_a_created_session_is_there_with_nothing_in_it(store: Store) -> None:
    row = await store.create_session(SHOP, wanted=True)
    assert (row.id, row.wanted, row.epoch, row.memory, row.jid, row.name) == (
        SHOP,
        True,
        0,
        None,
        None,
        None,
    )
    assert await store.sessions() == [row]
    assert await store.creds(SHOP) is None


async def test_a_session_is_created_once(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    with pytest.raises(SessionExists):
        await store.create_session(SHOP, wanted=False)
    assert [row.wanted for row in await store.sessions()] == [True]


async def test_what_is_remembered_of_a_session_is_read_back(store: Store) -> None:
    await store.create_session(SHOP, wanted=False)
    await store.create_session(OTHER, wanted=False)
    await store.set_wanted(SHOP, True)
    await store.commit(memory_of(SHOP, b"\x00\xffmemory"))
    await store.save_identity(SHOP, "1@s.whatsapp.net", None)
    shop, other = await store.sessions()
    assert (shop.wanted, shop.memory, shop.jid, shop.name) == (
        True,
        b"\x00\xffmemory",
        "1@s.whatsapp.net",
        None,
    )
    assert (other.wanted, other.memory, other.jid) == (False, None, None)


async def test_each_assignment_has_a_higher_epoch(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    assert [await store.raise_epoch(SHOP) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(SessionNotFound):
        await store.raise_epoch(OTHER)


async def test_keys_are_written_overwritten_and_deleted(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(
        SHOP, epoch, [CREDS_ENTRY, entry("1.0", b'{"a":1}'), entry("1.0", b"2", "pre-key")]
    )
    await store.write_keys(SHOP, epoch, [entry("1.0", b'{"a":2}'), entry("2.0", b'"x"')])
    assert await store.read_keys(SHOP, "session", ["1.0", "2.0", "3.0"]) == {
        "1.0": b'{"a":2}',
        "2.0": b'"x"',
    }
    await store.write_keys(SHOP, epoch, [entry("1.0", b"null")])
    assert await store.read_keys(SHOP, "session", ["1.0", "2.0"]) == {"2.0": b'"x"'}
    assert await store.read_keys(SHOP, "pre-key", ["1.0"]) == {"1.0": b"2"}
    assert await store.creds(SHOP) == CREDS


async def test_one_sessions_keys_are_no_others(store: Store) -> None:
    for session in (SHOP, OTHER):
        await store.create_session(session, wanted=True)
        await store.raise_epoch(session)
        await store.write_keys(session, 1, [entry("1.0", f'"{session}"'.encode())])
    await store.delete_session(OTHER, purge=True)
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'"shop"'}


@pytest.mark.parametrize("epoch", [0, 1, 3])
async def test_a_write_of_another_epoch_is_refused_whole(store: Store, epoch: int) -> None:
    await store.create_session(SHOP, wanted=True)
    for _ in range(2):
        await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, 2, [CREDS_ENTRY])
    with pytest.raises(StaleEpoch):
        await store.write_keys(
            SHOP, epoch, [entry("creds", b'{"stolen":true}', "creds"), entry("9.0", b"1")]
        )
    assert await store.creds(SHOP) == CREDS
    assert await store.read_keys(SHOP, "session", ["9.0"]) == {}


async def test_a_write_for_a_session_that_is_gone_is_refused(store: Store) -> None:
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, 0, [CREDS_ENTRY])


async def test_archiving_puts_credentials_aside_and_fences_off_late_writes(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.save_identity(SHOP, "1@s.whatsapp.net", "Shop")
    await store.write_keys(SHOP, epoch, [CREDS_ENTRY, entry("1.0", b"1")])
    await store.commit(memory_of(SHOP, b"open"))
    await store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=False)
    assert await store.creds(SHOP) is None
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {}
    assert await store.archived(SHOP) == [(1, "logged_out")]
    (row,) = await store.sessions()
    assert (row.jid, row.name, row.memory, row.wanted) == (None, None, b"parked", False)
    assert row.epoch > epoch
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, epoch, [entry("1.0", b"late")])


async def test_archiving_nothing_makes_no_archive(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    await store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=True)
    assert await store.archived(SHOP) == []


async def test_a_deleted_sessions_credentials_outlive_it_unless_purged(store: Store) -> None:
    for purge, left in ((False, 1), (True, 0)):
        await store.create_session(SHOP, wanted=True)
        epoch = await store.raise_epoch(SHOP)
        await store.write_keys(SHOP, epoch, [CREDS_ENTRY])
        await store.delete_session(SHOP, purge=purge)
        assert await store.sessions() == []
        assert await store.creds(SHOP) is None
        assert len(await store.archived(SHOP)) == left
    await store.delete_session(SHOP, purge=True)


async def test_a_session_begins_above_any_epoch_that_its_deleted_namesakes_had(
    store: Store,
) -> None:
    for purge in (False, True):
        await store.create_session(SHOP, wanted=True)
        old = await store.raise_epoch(SHOP)
        await store.delete_session(SHOP, purge=purge)
        created = await store.create_session(SHOP, wanted=True)
        for writes_before_the_first_worker in (True, False):
            with pytest.raises(StaleEpoch):
                await store.write_keys(SHOP, old, [CREDS_ENTRY])
            if writes_before_the_first_worker:
                assert await store.raise_epoch(SHOP) == created.epoch + 1 > old
        assert await store.creds(SHOP) is None
        await store.delete_session(SHOP, purge=True)


async def test_the_store_says_when_it_can_write(store: Store) -> None:
    await store.must_write()


async def test_writes_take_effect_in_the_order_of_the_calls(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await asyncio.gather(
        *(store.write_keys(SHOP, epoch, [entry("n", str(n).encode())]) for n in range(200))
    )
    assert await store.read_keys(SHOP, "session", ["n"]) == {"n": b"199"}


# --- only the real one ----------------------------------------------------------------------------


async def test_the_fence_holds_within_one_transaction(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    first = await real.raise_epoch(SHOP)
    # Queued in one breath, so in one batch: the old worker's write before and after the session is
    # given away.
    before = real.write_keys(SHOP, first, [entry("1.0", b"1")])
    second = asyncio.ensure_future(real.raise_epoch(SHOP))
    await asyncio.sleep(0)
    after = real.write_keys(SHOP, first, [entry("1.0", b"2")])
    await before
    assert await second == first + 1
    with pytest.raises(StaleEpoch):
        await after
    assert await real.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b"1"}


async def test_nothing_overtakes_whatever_its_kind(real: Store) -> None:
    """Submitted in one breath, so that all are in one batch: patient, impatient, patient."""
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    before = real.write_keys(SHOP, epoch, [entry("1.0", b"1")])
    raised = real._writer.submit(lambda connection: auth.raise_epoch(connection, SHOP))
    after = real.write_keys(SHOP, epoch + 1, [entry("1.0", b"2")])
    late = real.write_keys(SHOP, epoch, [entry("1.0", b"3")])
    outcomes = await asyncio.gather(before, raised, after, late, return_exceptions=True)
    assert outcomes[:3] == [None, epoch + 1, None]
    assert isinstance(outcomes[3], StaleEpoch)
    assert await real.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b"2"}


async def test_writes_that_wait_share_their_transactions(
    real: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is held until all have queued, so that how they are shared out is no chance."""
    monkeypatch.setattr(writer, "BATCH_SECONDS", 1e9)  # however slow the machine is
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    begun, may_end = asyncio.Event(), asyncio.Event()
    commits = 0

    @event.listens_for(real._writer_engine.sync_engine, "commit")
    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    async def hold(_connection: object) -> None:
        begun.set()
        await may_end.wait()

    held = real._writer.submit(hold, patient=True)
    await begun.wait()
    names = [f"k{n}" for n in range(2 * MAX_BATCH + 1)]
    writes = [real.write_keys(SHOP, epoch, [entry(name, b"1")]) for name in names]
    may_end.set()
    await asyncio.gather(held, *writes)
    assert commits == 1 + 3, "the one that held it, two that are full, and the last write's"
    assert len(await real.read_keys(SHOP, "session", names)) == len(names), (
        "and more names than one query takes"
    )


async def test_a_refused_write_harms_none_that_share_its_transaction(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    writes = [real.write_keys(SHOP, epoch - n % 2, [entry(f"k{n}", b"1")]) for n in range(20)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(outcome, StaleEpoch) for outcome in outcomes] == [False, True] * 10
    assert len(await real.read_keys(SHOP, "session", [f"k{n}" for n in range(20)])) == 10


async def test_a_kill_in_the_middle_of_a_logout_leaves_all_of_it_undone(
    real: Store, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive, the fence, what is remembered and whether it shall run: one transaction, rolled
    back whole.
    """
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
    await real.save_identity(SHOP, "jid", "Shop")
    before = await real.sessions()
    await real.close()
    dying = await Store.open(url)

    @event.listens_for(dying._writer_engine.sync_engine, "commit")
    def die(_connection: object) -> None:
        raise OSError("killed")

    archived = dying.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=False)
    await asyncio.sleep(0.3)
    assert not archived.done(), "it is patient"
    monkeypatch.setattr("sessions.store.writing.writer.CLOSE_SECONDS", 0.3)
    await dying.close()
    again = await Store.open(url)
    assert await again.sessions() == before
    assert await again.creds(SHOP) == CREDS
    assert await again.archived(SHOP) == []
    await again.close()


# --- what no database takes -----------------------------------------------------------------------

UNSTORABLE = {"NUL": "a\0b", "half a surrogate pair": "a\ud800", "too long": "x" * 257}


async def test_a_name_that_no_database_takes_is_cleaned(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    saved = [
        real.save_identity(SHOP, "1@s.whatsapp.net", "Loja\0 do Zé \ud83d"),
        real.save_identity(OTHER, "2" * 500, None),
    ]
    await asyncio.wait_for(asyncio.gather(*saved), 60)
    (row,) = await real.sessions()
    assert (row.jid, row.name) == ("1@s.whatsapp.net", "Loja\ufffd do Zé ?")
    await real.save_identity(SHOP, "2" * 500, "x" * 5000)
    (row,) = await real.sessions()
    assert (row.jid, row.name) == ("2" * 128, "x" * 5000)
    assert real.health.state == "ok"


@pytest.mark.parametrize("what", UNSTORABLE)
async def test_a_key_that_no_database_takes_is_refused_by_name_alone_and_harms_no_neighbour(
    real: Store, what: str
) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    name = UNSTORABLE[what]
    with structlog.testing.capture_logs() as logs:
        outcomes = await asyncio.gather(
            real.write_keys(SHOP, epoch, [entry("1.0", b"1")]),
            real.write_keys(SHOP, epoch, [entry("2.0", b"1"), entry(name, b'"secret"')]),
            real.write_keys(SHOP, epoch, [entry("3.0", b"1", name)]),
            real.write_keys(SHOP, epoch, [entry("4.0", b"1")]),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        UnstorableValue,
        UnstorableValue,
        type(None),
    ]
    assert set(await real.read_keys(SHOP, "session", ["1.0", "2.0", "3.0", "4.0", name])) == {
        "1.0",
        "4.0",
    }
    assert real.health.state == "ok"
    told = [log for log in logs if log["action"] == "key_unstorable"]
    assert [(log["log_level"], log["kind"], log["name"]) for log in told] == [
        ("error", "session", name),
        ("error", name[:80], "3.0"),
    ]
    assert "secret" not in str(logs)
    with pytest.raises(UnstorableValue):
        await real.import_session(OTHER, [CREDS_ENTRY, entry(name, b"1")], wanted=True)
    assert [row.id for row in await real.sessions()] == [SHOP], "refused whole"


@pytest.mark.parametrize("what", UNSTORABLE)
async def test_nobody_holds_up_a_session_by_the_name_of_his_message(real: Store, what: str) -> None:
    """The copy of what a message was decrypted to bears a name that its sender may choose: it is
    left out, and all else goes on.
    """
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    name = UNSTORABLE[what]
    await real.write_keys(SHOP, epoch, [entry("1.0", b"1"), entry(name, b'"hi"', auth.INBOUND)])
    assert set(await real.read_keys(SHOP, "session", ["1.0"])) == {"1.0"}
    assert await real.read_keys(SHOP, auth.INBOUND, [name]) == {}
    data = b'{"text":"\\u0000"}'
    told = await real.append_worker_event(SHOP, epoch, 1, "message", data, [name, "other"])
    assert told is not None
    assert [bytes(event.data) for event in await real.last_events(1000)] == [data]
    assert real.health.state == "ok"


async def test_a_write_that_fails_by_its_own_fault_fails_alone_whatever_it_is(real: Store) -> None:
    """Whatever slips past all checks: it is never taken for the database's trouble, and so never
    tried for ever.
    """
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)

    def written(**values: object) -> asyncio.Future[Any]:
        statement = insert(schema.auth).values({"session": SHOP, "kind": "k"} | values)
        return real._writer.submit(lambda connection: connection.execute(statement), patient=True)

    bad = [
        written(name="n", value=None),
        real.append_worker_event(SHOP, epoch, 2**70, "message", b"{}"),
    ]
    if not database.is_sqlite(real._url):
        bad += [written(name=name, value=b"1") for name in ("a\0b", "a\ud800", "x" * 300)]
    good = [real.write_keys(SHOP, epoch, [entry(f"k{n}", b"1")]) for n in range(3)]
    outcomes = await asyncio.wait_for(asyncio.gather(*bad, return_exceptions=True), 60)
    assert {type(outcome) for outcome in outcomes} == {StoreError}
    await asyncio.gather(*good)
    assert real.health.state == "ok"


# --- events, page by page -------------------------------------------------------------------------


async def test_the_event_log_is_read_back_from_any_number_within_bounds(
    real: Store, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions.store.store._EVENTS_PER_READ", 3)
    assert await real.oldest_event() is None
    written = await asyncio.gather(
        *(real.append_event(None, "x", b'"%03d"' % n) for n in range(20))
    )
    numbers = [event.n for event in written]
    assert await real.oldest_event() == numbers[0]

    async def read(
        after: int, last: int, limit: int = 1000, most_bytes: int = 1000
    ) -> tuple[list[int], int]:
        found, read_to = await real.events_between(after, last, limit, most_bytes)
        return [event.n for event in found], read_to

    end = numbers[-1]
    assert await read(0, end) == (numbers, end)
    assert await read(numbers[4], numbers[9]) == (numbers[5:10], numbers[9])
    for limit in (6, 7, 19):
        assert await read(0, end, limit=limit) == (numbers[:limit], numbers[limit - 1])
    assert await read(0, end, limit=20) == (numbers, end)
    assert await read(0, end, most_bytes=20) == (numbers[:6], numbers[5])
    assert await read(0, end, most_bytes=1) == (
        numbers[:3],
        numbers[2],
    ), "some, whatever they weigh"
    assert await read(end, end + 5) == ([], end + 5)
    await sql(url, "UPDATE events SET data = ? WHERE n <= ?", b"no JSON", numbers[9])
    assert await read(0, end, most_bytes=1) == (
        numbers[10:12],
        numbers[11],
    ), "behind those that cannot be read"


async def test_the_store_chooses_events_by_type_and_session_and_looks_through_a_part_of_the_log(
    real: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions.store.store._EVENTS_PER_READ", 3)
    kinds = ("message.received", "message_x.other", "message.sent", "session.state", "message")
    whose = ("a", "b", None)
    written = await asyncio.gather(
        *(real.append_event(whose[n % 3], kinds[n % 5], b'"x"') for n in range(30))
    )
    first, end = written[0].n - 1, written[-1].n

    async def read(wanted: Wanted, limit: int = 1000, after: int = first) -> tuple[list[int], int]:
        found, read_to = await real.events_between(after, end, limit, 10**6, wanted)
        return [event.n for event in found], read_to

    def those(*wanted: tuple[set[str | None], set[str]]) -> list[int]:
        ((sessions, types),) = wanted
        return [e.n for e in written if e.session in sessions and e.type in types]

    everybody, old = {"a", "b", None}, {"message"}
    of_a = those(({"a"}, set(kinds)))
    assert await read(Wanted({"a"})) == (of_a, end)
    assert await read(Wanted({"a"}), limit=4) == (of_a[:4], of_a[3])
    assert await read(Wanted({"a"}), after=of_a[3]) == (of_a[4:], end)
    assert await read(Wanted(None, {"session.state"})) == (
        those((everybody, {"session.state"} | old)),
        end,
    ), "one without a dot is of 0.1.0: its name of today is not known here"
    messages = {"message.received", "message.sent"}
    assert await read(Wanted(None, set(), {"message"})) == (those((everybody, messages | old)), end)
    assert await read(Wanted({"b"}, {"session.state"}, {"message"})) == (
        those(({"b"}, messages | old | {"session.state"})),
        end,
    )
    assert await read(Wanted(())) == ([], end)
    monkeypatch.setattr("sessions.store.store._EVENTS_LOOKED_THROUGH", 7)
    assert await read(Wanted({"nobody"})) == ([], first + 7)
    assert await read(Wanted({"a"}), after=first + 7) == (
        [n for n in of_a if first + 7 < n <= first + 14],
        first + 14,
    )
    assert (await read(Wanted()))[1] == end, "who takes all has no use for a bound"


async def test_the_events_of_a_message_are_found_by_its_id(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    written = [
        await real.append_event(session, "message.status", b'{"id":"3EB0"}', message)
        for session, message in (("a", "3EB0"), ("b", "3EB0"), ("a", "3EB1"), ("a", None))
    ]
    kept = await real.append_worker_event(SHOP, epoch, 1, "message.sent", b"{}", (), "3EB0")
    assert kept is not None
    mine = [written[0].n, written[1].n, kept.n]

    async def found(*sessions: str, after: int = 0, limit: int = 100) -> list[int]:
        seen = await real.events_of_message("3EB0", sessions or None, after, limit)
        return [event.n for event in seen]

    assert await found() == mine
    assert await found("a") == mine[:1]
    assert await found(after=mine[0]) == mine[1:]
    assert await found(limit=2) == mine[:2]
    assert await found("a", "b") == mine[:2]
    assert await real.events_of_message("none", None, 0, 100) == []
    assert await real.events_of_message("3EB0", (), 0, 100) == [], "of no session is not of all"


async def test_a_writer_whose_waiter_has_gone_writes_all_the_same(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    real.write_keys(SHOP, epoch, [entry("1.0", b"1")]).cancel()
    await real.write_keys(SHOP, epoch, [entry("2.0", b"1")])
    assert set(await real.read_keys(SHOP, "session", ["1.0", "2.0"])) == {"1.0", "2.0"}


async def test_reads_see_every_acknowledged_write(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)

    async def write_and_read(number: int) -> None:
        name = f"{number}.0"
        for value in range(10):
            await real.write_keys(SHOP, epoch, [entry(name, str(value).encode())])
            assert await real.read_keys(SHOP, "session", [name]) == {name: str(value).encode()}

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


async def test_events_are_numbered_for_ever_and_bounded(url: URL) -> None:
    store = await Store.open(url, event_log=LogBounds(most=100))
    events = await asyncio.gather(
        *(store.append_event(f"s{i % 2}", "x", b'{"i":%d}' % i) for i in range(600))
    )
    assert [e.n for e in events] == list(range(1, 601))
    kept = await store.last_events(1_000_000)
    assert [e.n for e in kept] == list(range(501, 601))
    assert bytes(kept[-1].data) == b'{"i":599}'
    await store.close()
    ((left,),) = await sql(url, "SELECT count(*) FROM events")
    assert left < 400, "old ones are really gone"
    await sql(url, "DELETE FROM events")
    store = await Store.open(url, event_log=LogBounds(most=100))
    assert (await store.append_event(None, "y", b"{}")).n == 601, "no number is ever given twice"
    await store.close()


async def test_a_log_with_gaps_in_its_numbers_keeps_as_many_events_as_it_may(url: URL) -> None:
    """After a restore the numbers jump by a million; PostgreSQL loses some with each transaction
    that fails.
    """
    store = await Store.open(url, event_log=LogBounds(most=100))
    await asyncio.gather(*(store.append_event(None, "x", b"{}") for _ in range(300)))
    await sql(url, "UPDATE events SET n = n - 1000 WHERE n < 290")
    await asyncio.gather(*(store.append_event(None, "x", b"{}") for _ in range(300)))
    assert len(await store.last_events(1_000_000)) == 100
    await store.close()


async def test_a_workers_event_is_stored_exactly_once_however_often_it_is_sent(real: Store) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    first = [
        real.append_worker_event(SHOP, epoch, seq, "message", b'{"n":%d}' % seq)
        for seq in (1, 2, 2, 1, 3)
    ]
    stored = await asyncio.gather(*first)
    assert [event is None for event in stored] == [False, False, True, True, False]
    again = await asyncio.gather(
        *(real.append_worker_event(SHOP, epoch, seq, "message", b"{}") for seq in (1, 2, 3, 4))
    )
    assert [event is None for event in again] == [True, True, True, False]
    assert [bytes(event.data) for event in await real.last_events(10_000)] == [
        b'{"n":1}',
        b'{"n":2}',
        b'{"n":3}',
        b"{}",
    ]


async def test_what_an_event_was_made_of_goes_in_the_transaction_that_keeps_the_event(
    real: Store,
) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(
        SHOP, epoch, [entry(name, b"1", kind) for name in "abc" for kind in ("inbound", "session")]
    )
    with pytest.raises(StaleEpoch):
        await real.append_worker_event(SHOP, epoch - 1, 1, "message", b"{}", ["a"])
    assert set(await real.read_keys(SHOP, "inbound", ["a", "b", "c"])) == {"a", "b", "c"}
    await real.append_worker_event(SHOP, epoch, 1, "message", b"{}", ["a", "c", "gone"])
    assert set(await real.read_keys(SHOP, "inbound", ["a", "b", "c"])) == {"b"}
    assert set(await real.read_keys(SHOP, "session", ["a", "b", "c"])) == {"a", "b", "c"}


async def test_a_new_epoch_counts_its_events_anew_and_refuses_those_of_the_old_one(
    real: Store,
) -> None:
    await real.create_session(SHOP, wanted=True)
    first = await real.raise_epoch(SHOP)
    assert await real.append_worker_event(SHOP, first, 7, "message", b"{}") is not None
    second = await real.raise_epoch(SHOP)
    with pytest.raises(StaleEpoch):
        await real.append_worker_event(SHOP, first, 8, "message", b"{}")
    assert await real.append_worker_event(SHOP, second, 1, "message", b"{}") is not None
    with pytest.raises(StaleEpoch):
        await real.append_worker_event(OTHER, 1, 1, "message", b"{}")
    assert len(await real.last_events(10_000)) == 2


async def test_workers_are_remembered_with_what_they_hold_until_they_have_ended(
    real: Store,
) -> None:
    row = WorkerRow("w-1", "shop", 4711, 123_456, b"\x00digest")
    await real.add_worker(row)
    await real.add_worker(WorkerRow("w-2", None, 4712, 2**40))
    await real.add_worker(WorkerRow("w-3", None, 4713, 1))
    await real.remove_worker("w-2")
    await real.give_worker("w-3", "other")
    assert sorted(await real.workers(), key=lambda worker: worker.id) == [
        row,
        WorkerRow("w-3", "other", 4713, 1),
    ]
    await real.give_worker("w-1", None)
    assert {worker.id: worker.session for worker in await real.workers()} == {
        "w-1": None,
        "w-3": "other",
    }


async def test_an_archive_holds_every_byte_of_the_credentials(real: Store, url: URL) -> None:
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(
        SHOP, epoch, [CREDS_ENTRY, *(entry(f"{n}.0", b'"%d"' % n) for n in range(1000))]
    )
    await real.delete_session(SHOP, purge=False)
    rows = await sql(url, "SELECT kind, name, value FROM archived_auth")
    assert await sql(url, "SELECT count(*) FROM auth") == [(0,)]
    assert {(kind, name): value for kind, name, value in rows} == {
        ("creds", "creds"): CREDS,
        **{("session", f"{n}.0"): b'"%d"' % n for n in range(1000)},
    }


async def test_a_purge_leaves_no_byte_of_the_session(real: Store, url: URL) -> None:
    await real.create_session(SHOP, wanted=True)
    for _ in range(2):
        epoch = await real.raise_epoch(SHOP)
        await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
        await real.snapshot(SHOP, "paired")
        await real.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=True)
    epoch = await real.raise_epoch(SHOP)
    await real.write_keys(SHOP, epoch, [CREDS_ENTRY])
    await real.append_worker_event(SHOP, epoch, 1, "message", b'{"text":"hi"}')
    await real.delete_session(SHOP, purge=True)
    for table in ("sessions", "auth", "archives", "archived_auth", "events"):
        assert await sql(url, f"SELECT count(*) FROM {table}") == [(0,)], table


async def test_a_closed_store_has_written_what_was_queued_and_refuses_more(url: URL) -> None:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    for n in range(50):
        store.append_event(SHOP, "x", b"%d" % n)
        store.commit(memory_of(SHOP, b"%d" % n))
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.commit(memory_of(SHOP, b"too late"))
    again = await Store.open(url)
    assert [row.memory for row in await again.sessions()] == [b"49"]
    assert len(await again.last_events(10_000)) == 50
    await again.close()


async def test_a_value_that_the_database_cannot_take_fails_alone(real: Store) -> None:
    """SQLite takes a name that is too long, and PostgreSQL does not; neither takes a number of more
    than 64 bits.
    """
    await real.create_session(SHOP, wanted=True)
    epoch = await real.raise_epoch(SHOP)
    outcomes = await asyncio.gather(
        real.write_keys(SHOP, epoch, [entry("1.0", b"1")]),
        real.add_worker(WorkerRow("w-1", None, 2**80, 1)),
        real.write_keys(SHOP, epoch, [entry("2.0", b"1")]),
        real.append_event(SHOP, "x", b"{}"),
        return_exceptions=True,
    )
    assert [isinstance(outcome, StoreError) for outcome in outcomes] == [False, True, False, False]
    assert not isinstance(outcomes[1], StoreUnavailable)
    assert set(await real.read_keys(SHOP, "session", ["1.0", "2.0"])) == {"1.0", "2.0"}
    assert len(await real.last_events(1000)) == 1
    assert real.health.state == "ok"


async def test_of_many_memories_that_wait_the_newest_is_written_and_all_are_told(
    real: Store,
) -> None:
    await real.create_session(SHOP, wanted=True)
    await real.create_session(OTHER, wanted=True)
    writes = [
        real.commit(memory_of(session, b"%d" % n)) for n in range(100) for session in (SHOP, OTHER)
    ]
    assert real.health.waiting_operations == 2
    await asyncio.gather(*writes)
    assert [row.memory for row in await real.sessions()] == [b"99", b"99"]
    assert real.health.waiting_operations == 0


class Told(EventData, frozen=True):
    type: ClassVar[str] = "test.told"
    words: str


async def test_what_an_event_has_changed_is_written_whole_or_not_at_all(
    real: Store, url: URL
) -> None:
    await real.create_session(SHOP, wanted=True)
    whole = Changes(
        session=SHOP,
        memory=lambda: b"memory",
        incident=Incident(session=SHOP, began_at=100.0, reason="connection_lost"),
        move=Move("open", 50.0),
        event=Told(words="it is open"),
    )
    stored = await real.commit(whole)
    assert stored is not None
    assert (stored.session, stored.type, bytes(stored.data)) == (
        SHOP,
        "test.told",
        b'{"words":"it is open"}',
    )

    def fails() -> bytes:
        raise ValueError("cannot be encoded")

    with pytest.raises(StoreError):
        await real.commit(replace(whole, memory=fails, move=Move("down", 60.0)))
    (row,) = await real.sessions()
    assert row.memory == b"memory"
    assert [span.state for span in await real.records.spans(SHOP, 0.0)] == ["open"]
    assert [event.n for event in await real.last_events(1000)] == [stored.n]
    assert len(await real.records.incidents(SHOP, None, 10)) == 1


async def test_where_too_many_events_wait_what_is_remembered_is_written_all_the_same(
    real: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS_OF_ONE", 2)
    await real.create_session(SHOP, wanted=True)
    commits = [
        real.commit(
            Changes(session=SHOP, memory=partial(b"%d".__mod__, n), event=Told(words=str(n)))
        )
        for n in range(4)
    ]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [
        False,
        False,
        True,
        True,
    ]
    await real.must_write()
    assert [row.memory for row in await real.sessions()] == [b"3"]


async def test_where_too_many_events_wait_the_rest_is_bounded_and_the_newest_is_written(
    real: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session tries again and again while the store is away, for hours."""
    monkeypatch.setattr(writer, "MAX_WAITING_EVENTS_OF_ONE", 2)
    await real.create_session(SHOP, wanted=True)
    story = Incident(session=SHOP, began_at=100.0, reason="connection_lost")
    for n in range(100):
        real.commit(
            Changes(
                session=SHOP,
                memory=partial(b"%d".__mod__, n),
                incident=msgspec.structs.replace(story, attempts=n),
                event=Told(words=str(n)),
            )
        )
    assert real.health.waiting_operations == 4, "two with their events, an incident, a memory"
    for n in range(100):
        for move in (Move("open", 50.0 + n), Move("down", 50.5 + n)):
            real.commit(Changes(session=SHOP, move=move, event=Told(words=move.presence)))
    assert real.health.waiting_operations == 6, "and one of each presence"
    await real.must_write()
    assert [row.memory for row in await real.sessions()] == [b"99"]
    assert [one.attempts for one in await real.records.incidents(SHOP, None, 10)] == [99]
    spans = await real.records.spans(SHOP, 0.0)
    assert [(span.began_at, span.state) for span in spans] == [(149.0, "open"), (149.5, "down")]
    assert len(await real.last_events(1000)) == 2
