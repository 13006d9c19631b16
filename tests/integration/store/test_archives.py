"""What is put aside, and the way back."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import NoArchive, SessionExists, SessionId, StaleEpoch, UnreadableValue
from sessions.store import Store
from sessions.store.tables import archives
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, creds, entry, memory_of, sql

DAY = 86_400.0


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    store = await Store.open(url)
    yield store
    await store.close()


async def paired(store: Store, session: SessionId = SHOP) -> int:
    """A session with credentials and keys; its epoch."""
    await store.create_session(session, wanted=True)
    epoch = await store.raise_epoch(session)
    await store.write_keys(session, epoch, [CREDS_ENTRY, entry("1.0", b"1")])
    return epoch


async def epoch_of(store: Store) -> int:
    (row,) = await store.sessions()
    return row.epoch


async def test_a_snapshot_holds_the_credentials_and_no_ratchet(store: Store) -> None:
    await paired(store)
    assert await store.snapshot(SHOP, "paired") is True
    assert await store.snapshot(OTHER, "paired") is False
    (snapshot,) = await store.archives(SHOP)
    assert (snapshot.reason, snapshot.whole, snapshot.entries, snapshot.session) == (
        "paired",
        False,
        1,
        SHOP,
    )
    assert abs(snapshot.archived_at - time.time()) < 60


async def test_of_the_snapshots_the_newest_five_are_kept_and_of_the_archives_all(
    store: Store, url: URL
) -> None:
    for _ in range(7):
        row = await store.create_session(OTHER, wanted=False)
        await store.write_keys(OTHER, row.epoch, [CREDS_ENTRY])
        await store.delete_session(OTHER, purge=False)
    await paired(store)
    for n in range(8):
        await store.snapshot(SHOP, f"number {n}")
    await paired(store, OTHER)
    await store.snapshot(OTHER, "paired")
    assert [row.reason for row in await store.archives(SHOP)] == [
        f"number {n}" for n in range(3, 8)
    ]
    assert [row.whole for row in await store.archives(OTHER)] == [True] * 7 + [False]
    assert await sql(url, "SELECT count(*) FROM archived_auth") == [(5 + 7 + 1,)]


async def test_snapshots_are_taken_of_those_that_are_due(store: Store, url: URL) -> None:
    for session in ("a", "b", "c", "d"):
        await paired(store, SessionId(session))
    await store.create_session(SHOP, wanted=True)  # never paired
    await store.snapshot(SessionId("b"), "paired")
    await store.snapshot(SessionId("c"), "paired")
    await store.snapshot(SessionId("d"), "paired")
    await sql(url, "UPDATE archives SET archived_at = archived_at - 90000 WHERE session = 'c'")
    # a clock set back
    await sql(url, "UPDATE archives SET archived_at = archived_at + 90000 WHERE session = 'd'")
    assert await store.snapshot_due(DAY) == 3
    assert await store.snapshot_due(DAY) == 0
    reasons = {session: [row.reason for row in await store.archives(session)] for session in "abcd"}
    assert reasons == {
        "a": ["scheduled"],
        "b": ["paired"],
        "c": ["paired", "scheduled"],
        "d": ["paired", "scheduled"],
    }
    assert await store.archives(SHOP) == []
    assert await sql(url, "SELECT count(*) FROM archived_auth WHERE value = ?", CREDS) == [(6,)]
    for _ in range(9):
        await sql(url, "UPDATE archives SET archived_at = archived_at - 90000")
        assert await store.snapshot_due(DAY) == 4
    assert [len(await store.archives(session)) for session in "abcd"] == [5] * 4


FLAWED = [b"\x00garbage", b"{torn", b"{}", b'"text"']


@pytest.mark.parametrize("garbage", FLAWED)
async def test_no_snapshot_is_taken_of_credentials_that_cannot_be_read_and_the_last_good_one_stays(
    store: Store, url: URL, garbage: bytes
) -> None:
    await paired(store)
    await paired(store, OTHER)
    assert await store.snapshot_due(DAY) == 2
    await sql(url, "UPDATE auth SET value = ? WHERE session = 'shop' AND kind = 'creds'", garbage)
    for _ in range(6):
        await sql(url, "UPDATE archives SET archived_at = archived_at - 90000")
        assert await store.snapshot_due(DAY) == 1
        assert await store.snapshot(SHOP, "paired") is False
    assert [row.reason for row in await store.archives(SHOP)] == ["scheduled"]
    assert len(await store.archives(OTHER)) == 5
    await store.restore(SHOP, None)
    assert await store.creds(SHOP) == CREDS


async def test_a_restore_takes_the_newest_archive_that_can_be_read(store: Store, url: URL) -> None:
    epoch = await paired(store)
    for n in range(3):
        await store.snapshot(SHOP, f"number {n}")
    numbers = [row.id for row in await store.archives(SHOP)]
    for number, garbage in zip(numbers[1:], (b"{torn", b'{"flawed":1}'), strict=True):
        await sql(url, "UPDATE archived_auth SET value = ? WHERE archive = ?", garbage, number)
    assert (await store.restore(SHOP, None)).id == numbers[0]
    assert await store.creds(SHOP) == CREDS
    with pytest.raises(UnreadableValue):
        await store.restore(SHOP, numbers[1])
    await sql(url, "UPDATE archived_auth SET value = ? WHERE archive = ?", b"{}", numbers[0])
    before = await store.sessions()
    with pytest.raises(UnreadableValue, match=f"archive {numbers[2]}"):
        await store.restore(SHOP, None)
    assert await store.sessions() == before
    assert before[0].epoch == epoch + 1


async def test_of_the_whole_archives_too_the_newest_that_can_be_read_is_restored(
    store: Store, url: URL
) -> None:
    await paired(store)
    await store.delete_session(SHOP, purge=False)
    for entries in ([entry("1.0", b"2")], [creds(CREDS)]):
        row = await store.create_session(SHOP, wanted=True)
        await store.write_keys(SHOP, row.epoch, entries)
        await store.delete_session(SHOP, purge=False)
    first, _, last = [row.id for row in await store.archives(SHOP)]
    await sql(url, "UPDATE archived_auth SET value = ? WHERE archive = ?", b"{torn", last)
    assert (await store.restore(SHOP, None)).id == first


async def test_due_snapshots_are_taken_in_pieces(
    store: Store, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "PIECE", 3)
    names = [f"s{n}" for n in range(9)]
    for name in names:
        await paired(store, SessionId(name))
    await sql(url, "UPDATE auth SET value = ? WHERE session IN ('s1', 's3', 's4', 's5')", b"{}")
    for again in range(2):
        assert await store.snapshot_due(DAY) == (0 if again else 5)
    taken = [name for name in names if await store.archives(name)]
    assert taken == ["s0", "s2", "s6", "s7", "s8"]


async def test_a_restore_says_whether_the_session_shall_run(store: Store) -> None:
    await paired(store)
    await store.snapshot(SHOP, "paired")
    for wanted in (False, True, False):
        await store.commit(memory_of(SHOP, b"parked"))
        _, back = await store.restore_session(SHOP, None, wanted=wanted)
        (row,) = await store.sessions()
        assert back == row
        assert (row.wanted, row.memory) == (wanted, None)
    await store.delete_session(SHOP, purge=False)
    _, back = await store.restore_session(SHOP, None, wanted=True)
    assert [back] == await store.sessions()
    assert back.wanted is True


async def test_the_newest_snapshot_puts_the_credentials_back_and_leaves_the_ratchets(
    store: Store,
) -> None:
    epoch = await paired(store)
    await store.snapshot(SHOP, "paired")
    await store.write_keys(SHOP, epoch, [creds(b'{"broken":true}'), entry("1.0", b"2")])
    restored = await store.restore(SHOP, None)
    assert (restored.reason, restored.whole) == ("paired", False)
    assert await store.creds(SHOP) == CREDS
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b"2"}
    assert await epoch_of(store) == epoch + 1
    with pytest.raises(StaleEpoch):
        await store.write_keys(SHOP, epoch, [entry("1.0", b"3")])
    before = (await store.archives(SHOP))[-1]
    assert (before.reason, before.whole, before.entries) == ("before_restore", True, 2)
    await store.restore(SHOP, before.id)
    assert await store.creds(SHOP) == b'{"broken":true}', "and even the restore can be taken back"


async def test_a_whole_archive_brings_back_a_session_that_was_logged_out(store: Store) -> None:
    epoch = await paired(store)
    await store.snapshot(SHOP, "paired")
    await store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=True)
    # a new pairing has begun, and left a key
    await store.write_keys(SHOP, epoch + 1, [entry("9.0", b"9")])
    restored = await store.restore(SHOP, None)
    assert (restored.reason, restored.whole, restored.entries) == ("logged_out", True, 2)
    assert await store.creds(SHOP) == CREDS
    assert await store.read_keys(SHOP, "session", ["1.0", "9.0"]) == {"1.0": b"1"}
    assert await epoch_of(store) == epoch + 2
    assert [row.reason for row in await store.archives(SHOP)] == [
        "paired",
        "logged_out",
        "before_restore",
    ]


async def test_a_deleted_session_comes_back_and_is_not_started(store: Store) -> None:
    epoch = await paired(store)
    await store.delete_session(SHOP, purge=False)
    restored, back = await store.restore_session(SHOP, None, wanted=False)
    assert restored.reason == "deleted"
    (row,) = await store.sessions()
    assert back == row
    assert (row.id, row.wanted, row.jid) == (SHOP, False, None)
    assert row.epoch > epoch
    with pytest.raises(StaleEpoch):  # the worker of the deleted one
        await store.write_keys(SHOP, epoch, [CREDS_ENTRY])
    assert await store.creds(SHOP) == CREDS


async def test_there_is_nothing_to_restore_from(store: Store) -> None:
    await paired(store)
    with pytest.raises(NoArchive, match="no snapshot"):
        await store.restore(SHOP, None)
    await paired(store, OTHER)
    await store.snapshot(OTHER, "paired")
    (foreign,) = await store.archives(OTHER)
    with pytest.raises(NoArchive, match="archive"):
        await store.restore(SHOP, foreign.id)
    with pytest.raises(NoArchive, match="no whole archive") as caught:
        await store.restore(SessionId("never"), None)
    assert "number" in caught.value.hint
    assert [row.id for row in await store.sessions()] == [SHOP, OTHER]
    assert [row.epoch for row in await store.sessions()] == [1, 1]


async def test_an_archive_without_credentials_is_not_restored(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    await store.write_keys(SHOP, 0, [entry("1.0", b"1")])
    await store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=True)
    with pytest.raises(NoArchive, match="no credentials"):
        await store.restore(SHOP, None)


async def test_a_session_is_imported_whole_and_once_and_exported_as_it_was(store: Store) -> None:
    entries = [CREDS_ENTRY, *(entry(f"{n}", b'{"n":%d}' % n, "pre-key") for n in range(900))]
    await store.import_session(SHOP, entries, wanted=False)
    with pytest.raises(SessionExists):
        await store.import_session(SHOP, entries[:1], wanted=True)
    (row,) = await store.sessions()
    assert (row.id, row.wanted) == (SHOP, False)
    exported = {(e.kind, e.name): bytes(e.value) for e in await store.export_session(SHOP)}
    assert exported == {(e.kind, e.name): bytes(e.value) for e in entries}
    assert await store.export_session("never") == []


async def test_a_message_that_was_kept_comes_back_from_one_archive_once(store: Store) -> None:
    epoch = await paired(store)
    await store.snapshot(SHOP, "paired")
    await store.write_keys(SHOP, epoch, [entry("kept", b"1", "inbound")])
    await store.restore(SHOP, None)
    assert await store.inbound(SHOP, 1_000) == {"kept": b"1"}, "it was live, and stays so"
    epoch = await epoch_of(store)
    assert await store.append_worker_event(SHOP, epoch, 1, "message", b"{}", ["kept"]) is not None
    before_restore = (await store.archives(SHOP))[-1]
    await store.restore(SHOP, before_restore.id)
    assert await store.inbound(SHOP, 1_000) == {}, "it has been shown"


async def test_a_whole_archive_leaves_the_messages_that_nobody_has_shown_and_brings_its_own(
    store: Store,
) -> None:
    epoch = await paired(store)
    await store.write_keys(SHOP, epoch, [entry(name, b"1", "inbound") for name in ("a", "b")])
    await store.archive_credentials(SHOP, "logged_out", memory=b"{}", wanted=False)
    whole = (await store.archives(SHOP))[-1]
    await store.write_keys(SHOP, epoch + 1, [entry(name, b"2", "inbound") for name in ("b", "c")])
    await store.restore(SHOP, whole.id)
    assert await store.inbound(SHOP, 1_000) == {"a": b"1", "b": b"2", "c": b"2"}
    assert (await store.archives(SHOP))[-1].id == whole.id, "there was nothing else to put aside"
    epoch = await epoch_of(store)
    await store.append_worker_event(SHOP, epoch, 1, "message", b"{}", ["a", "b"])
    await store.restore(SHOP, whole.id)
    before_restore = (await store.archives(SHOP))[-1]
    assert (before_restore.reason, before_restore.entries) == ("before_restore", 2)
    await store.restore(SHOP, before_restore.id)
    assert await store.inbound(SHOP, 1_000) == {"c": b"2"}, (
        "each is live once, and comes from no archive again"
    )


async def test_a_message_that_nobody_has_shown_survives_a_logout_and_is_restored_once(
    store: Store,
) -> None:
    epoch = await paired(store)
    await store.write_keys(SHOP, epoch, [entry("kept", b"1", "inbound")])
    await store.archive_credentials(SHOP, "logged_out", memory=b"{}", wanted=False)
    whole = (await store.archives(SHOP))[-1]
    for shown in ({"kept": b"1"}, {}):
        await store.restore(SHOP, whole.id)
        assert await store.inbound(SHOP, 1_000) == shown
        epoch = await epoch_of(store)
        await store.append_worker_event(SHOP, epoch, 1, "message", b"{}", ["kept"])
