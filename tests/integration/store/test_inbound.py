"""What earlier workers have left of messages, as the store hands it on: readable, of this session,
and not too much at once.
"""

import pytest
from sqlalchemy import URL
from structlog.testing import capture_logs

from sessions.model import StaleEpoch
from sessions.store import Store
from sessions.store.sealing.cipher import Cipher
from tests.store_tools import OTHER, SHOP, entry, sql

pytestmark = pytest.mark.asyncio

MOST_BYTES = 1_000


async def test_what_is_in_no_event_is_handed_on_and_nothing_else(url: URL) -> None:
    store = await Store.open(url)
    for session in (SHOP, OTHER):
        await store.create_session(session, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    assert await store.inbound(SHOP, MOST_BYTES) == {}
    await store.write_keys(SHOP, epoch, [entry(name, b'{"n":1}', "inbound") for name in "abc"])
    await store.write_keys(SHOP, epoch, [entry("d", b"1"), entry("e", b"1", "pre-key")])
    await store.write_keys(OTHER, await store.raise_epoch(OTHER), [entry("f", b"1", "inbound")])
    await store.append_worker_event(SHOP, epoch, 1, "message", b"{}", ["b"])
    assert await store.inbound(SHOP, MOST_BYTES) == {"a": b'{"n":1}', "c": b'{"n":1}'}
    await store.close()


async def test_from_the_new_epoch_on_nobody_else_takes_or_leaves_any(url: URL) -> None:
    """The event that the old worker has on its line, and the leftover, are never both shown."""
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    old = await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, old, [entry("a", b"1", "inbound"), entry("b", b"1", "inbound")])
    in_time = store.append_worker_event(SHOP, old, 1, "message", b"{}", ["a"])
    new = await store.raise_epoch(SHOP)
    late = store.append_worker_event(SHOP, old, 2, "message", b"{}", ["b"])
    assert await store.inbound(SHOP, MOST_BYTES) == {"b": b"1"}
    assert await in_time is not None
    with pytest.raises(StaleEpoch):
        await late
    assert await store.append_worker_event(SHOP, new, 1, "message", b"{}", ["b"]) is not None
    assert await store.inbound(SHOP, MOST_BYTES) == {}
    assert len(await store.last_events(10_000)) == 2
    await store.close()


async def test_one_that_is_damaged_is_left_out_and_logged(url: URL) -> None:
    store = await Store.open(url, cipher=Cipher([bytes(32)]))
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, epoch, [entry(name, b"1", "inbound") for name in "ab"])
    await sql(url, "UPDATE auth SET value = ? WHERE name = ?", b"\x01damaged", "a")
    with capture_logs() as logged:
        assert await store.inbound(SHOP, MOST_BYTES) == {"b": b"1"}
    assert [(line["action"], line["log_level"], line["session"]) for line in logged] == [
        ("inbound_unreadable", "error", SHOP)
    ]
    await store.close()


async def test_too_much_is_handed_on_in_pieces(url: URL) -> None:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    left = {
        name: b'"%s"' % (b"x" * size) for name, size in {"a": 2_000, "b": 600, "c": 600}.items()
    }
    await store.write_keys(
        SHOP, epoch, [entry(name, value, "inbound") for name, value in left.items()]
    )
    seen: dict[str, bytes] = {}
    for seq in range(1, 4):
        with capture_logs() as logged:
            found = await store.inbound(SHOP, MOST_BYTES)
        assert len(found) == 1, "one at least, however large"
        assert [line["action"] for line in logged] == ["inbound_left"] * (seq < 3)
        seen |= found
        await store.append_worker_event(SHOP, epoch, seq, "message", b"{}", list(found))
    assert seen == left
    assert await store.inbound(SHOP, MOST_BYTES) == {}
    await store.close()
