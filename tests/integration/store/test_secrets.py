"""Encryption at rest: what lies in the database, which keys open it, how keys are changed; and
values that cannot be read.
"""

import asyncio
import secrets
from typing import Any

import pytest
from sqlalchemy import URL

from sessions.credentials.proxy import parse_proxy
from sessions.model import StoreError, StoreUnavailable, UnreadableValue
from sessions.store import Cipher, Store, rewrite
from tests.store_tools import CREDS, CREDS_ENTRY, OTHER, SHOP, creds, entry, sql

FIRST, SECOND = secrets.token_bytes(32), secrets.token_bytes(32)
TEXT = b'{"text":"good morning"}'
PROXY = "http://someone:secret@proxy.example:3128"


async def fill(store: Store) -> None:
    """Something in each column that holds secrets."""
    await store.create_session(SHOP, wanted=True, proxy=parse_proxy(PROXY))
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(
        SHOP, epoch, [CREDS_ENTRY, *(entry(f"{n}.0", b'"secret"') for n in range(300))]
    )
    await store.snapshot(SHOP, "paired")
    await store.append_event(SHOP, "message", TEXT)
    await store.append_event(None, "alert", TEXT)


async def stored(url: URL) -> list[bytes]:
    columns = {"auth": "value", "archived_auth": "value", "events": "data", "sessions": "proxy"}
    found = [await sql(url, f"SELECT {column} FROM {table}") for table, column in columns.items()]
    return [bytes(row[0]) for rows in found for row in rows]


async def check(store: Store) -> None:
    assert await store.proxy(SHOP) == parse_proxy(PROXY)
    assert [row.proxy for row in await store.sessions() if row.id == SHOP] == [
        "http://proxy.example:3128"
    ]
    assert await store.creds(SHOP) == CREDS
    assert set(
        (await store.read_keys(SHOP, "session", [f"{n}.0" for n in range(300)])).values()
    ) == {b'"secret"'}
    assert [bytes(event.data) for event in await store.last_events(10_000)] == [TEXT, TEXT]
    assert len(await store.export_session(SHOP)) == 301


async def test_nothing_secret_lies_open_in_an_encrypted_store(url: URL) -> None:
    store = await Store.open(url, cipher=Cipher([FIRST]))
    await fill(store)
    await check(store)
    assert (await store.restore(SHOP, None)).whole is False, (
        "an archived value opens where it came from"
    )
    assert await store.creds(SHOP) == CREDS
    await store.archive_credentials(SHOP, "logged_out", memory=b"parked", wanted=True)
    await store.restore(SHOP, None)
    await check(store)
    await store.close()
    for value in await stored(url):
        assert value.startswith(b"\x01")
        assert b"secret" not in value
        assert b"morning" not in value


async def test_a_plain_store_is_encrypted_while_it_is_used_and_then_needs_its_key(url: URL) -> None:
    store = await Store.open(url)
    await fill(store)
    with pytest.raises(StoreError, match="no key"):
        await store.rewrite_secrets()
    await store.close()
    store = await Store.open(url, cipher=Cipher([FIRST]))
    await check(store)  # plain rows are read as they are
    report = await store.rewrite_secrets()
    assert (report.rewritten, report.unreadable, report.complete) == (305, 0, True)
    assert (await store.rewrite_secrets()).rewritten == 0
    await check(store)
    await store.close()
    assert all(value.startswith(b"\x01") for value in await stored(url))
    with pytest.raises(StoreUnavailable, match="WHATSAPP_STORE_KEY is not set") as caught:
        await Store.open(url)
    assert "WHATSAPP_STORE_KEY" in caught.value.hint
    with pytest.raises(StoreUnavailable, match="a key that WHATSAPP_STORE_KEY does not have"):
        await Store.open(url, cipher=Cipher([SECOND]))


async def test_a_key_is_changed_and_the_old_one_dropped(url: URL) -> None:
    store = await Store.open(url, cipher=Cipher([FIRST]))
    await fill(store)
    await store.close()
    store = await Store.open(url, cipher=Cipher([SECOND, FIRST]))
    await store.append_event(None, "alert", TEXT)  # now there are values under both
    await store.close()
    for key in (FIRST, SECOND):
        with pytest.raises(StoreUnavailable):
            # either one alone would leave values that nobody can read
            await Store.open(url, cipher=Cipher([key]))
    store = await Store.open(url, cipher=Cipher([SECOND, FIRST]))
    assert (await store.rewrite_secrets()).complete
    await store.close()
    store = await Store.open(url, cipher=Cipher([SECOND]))
    assert await store.creds(SHOP) == CREDS
    assert len(await store.last_events(10_000)) == 3
    await store.close()


async def test_a_rewrite_never_overwrites_what_is_written_meanwhile(url: URL) -> None:
    store = await Store.open(url)
    await fill(store)
    await store.close()
    store = await Store.open(url, cipher=Cipher([FIRST]))
    (row,) = await store.sessions()
    rewriting, last = asyncio.create_task(store.rewrite_secrets()), 0
    while not rewriting.done():
        last += 1
        names = [f"{n}.0" for n in range(0, 300, 7)]
        await store.write_keys(SHOP, row.epoch, [entry(name, b"%d" % last) for name in names])
        found = await store.read_keys(SHOP, "session", names)
        assert found == dict.fromkeys(names, b"%d" % last)
    assert (await rewriting).complete
    assert last > 1, "they met"
    await store.close()


async def test_what_is_written_between_a_rewrites_look_and_its_write_stays(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(url)
    await fill(store)
    await store.close()
    store = await Store.open(url, cipher=Cipher([FIRST]))
    (row,) = await store.sessions()
    look, overtaken = rewrite._next_rows, False

    async def look_and_be_overtaken(*arguments: Any) -> Any:
        nonlocal overtaken
        rows = await look(*arguments)
        if not overtaken and any(getattr(row, "name", None) == "7.0" for row in rows):
            overtaken = True
            await store.write_keys(SHOP, row.epoch, [entry("7.0", b'"newer"')])
        return rows

    monkeypatch.setattr(rewrite, "_next_rows", look_and_be_overtaken)
    assert (await store.rewrite_secrets()).complete
    assert overtaken
    assert await store.read_keys(SHOP, "session", ["7.0"]) == {"7.0": b'"newer"'}
    await store.close()


async def test_a_rewrite_says_what_it_cannot_read_and_keeps_asking_for_the_old_key(
    url: URL,
) -> None:
    store = await Store.open(url, cipher=Cipher([FIRST]))
    await fill(store)
    await store.close()
    await sql(url, "UPDATE auth SET value = ? WHERE name = '7.0'", b"\x01" + bytes(60))
    store = await Store.open(url, cipher=Cipher([SECOND, FIRST]))
    report = await store.rewrite_secrets()
    assert (report.unreadable, report.complete) == (1, False)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await Store.open(url, cipher=Cipher([SECOND]))


async def test_rows_cannot_be_swapped(url: URL) -> None:
    store = await Store.open(url, cipher=Cipher([FIRST]))
    for session in (SHOP, OTHER):
        await store.create_session(session, wanted=True)
        await store.write_keys(
            session, await store.raise_epoch(session), [CREDS_ENTRY, entry("1.0", b"1")]
        )
    (value,) = (
        await sql(url, "SELECT value FROM auth WHERE session = 'other' AND kind = 'creds'")
    )[0]
    await sql(url, "UPDATE auth SET value = ? WHERE session = 'shop'", value)
    with pytest.raises(UnreadableValue, match="does not decrypt"):
        await store.creds(SHOP)
    with pytest.raises(UnreadableValue):
        await store.read_keys(SHOP, "session", ["1.0"])
    assert await store.creds(OTHER) == CREDS
    await store.close()


@pytest.mark.parametrize(
    "value", [b"", b"{", b'{"secret":1}x', b"\xff\xfe", b'["secret"]', b"\x01", b"\x01" + bytes(40)]
)
async def test_credentials_that_cannot_be_read_are_named_and_not_quoted(
    url: URL, value: bytes
) -> None:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    await store.write_keys(SHOP, await store.raise_epoch(SHOP), [CREDS_ENTRY])
    await sql(url, "UPDATE auth SET value = ?", value)
    with pytest.raises(UnreadableValue, match="creds 'creds' of session 'shop'") as caught:
        await store.creds(SHOP)
    assert "secret" not in str(caught.value)
    with pytest.raises(UnreadableValue):
        await store.export_session(SHOP)
    assert [bytes(row[0]) for row in await sql(url, "SELECT value FROM auth")] == [value], (
        "it is left as it is"
    )
    await store.close()


async def test_an_event_that_cannot_be_read_is_left_out_and_stops_nothing(url: URL) -> None:
    store = await Store.open(url)
    for n in range(3):
        await store.append_event(None, "x", b"%d" % n)
    await sql(url, "UPDATE events SET data = ? WHERE n = 2", b"{")
    assert [bytes(event.data) for event in await store.last_events(1000)] == [b"0", b"2"]
    await store.close()


async def test_a_restore_of_what_cannot_be_read_changes_nothing(url: URL) -> None:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    epoch = await store.raise_epoch(SHOP)
    await store.write_keys(SHOP, epoch, [CREDS_ENTRY])
    await store.snapshot(SHOP, "paired")
    await sql(url, "UPDATE archived_auth SET value = ?", b"{")
    await store.write_keys(SHOP, epoch, [creds(b'{"newer":1}')])
    before = await store.sessions()
    with pytest.raises(UnreadableValue):
        await store.restore(SHOP, None)
    assert await store.creds(SHOP) == b'{"newer":1}'
    assert await store.sessions() == before
    assert len(await store.archives(SHOP)) == 1
    await store.close()


async def test_a_proxy_that_cannot_be_read_is_never_taken_for_none(url: URL) -> None:
    store = await Store.open(url, cipher=Cipher([FIRST]))
    await store.create_session(SHOP, wanted=True, proxy=parse_proxy(PROXY))
    await store.create_session(OTHER, wanted=True)
    assert await store.proxy(OTHER) is None
    for broken in (b'"http://"', b"\x01rubbish", b"7"):
        await sql(url, "UPDATE sessions SET proxy = ? WHERE id = 'shop'", broken)
        with pytest.raises(UnreadableValue, match="proxy"):
            await store.proxy(SHOP)
        assert {row.id: row.proxy for row in await store.sessions()} == {
            SHOP: "unreadable",
            OTHER: None,
        }
    await store.set_proxy(SHOP, parse_proxy(PROXY))
    assert await store.proxy(SHOP) == parse_proxy(PROXY)
    await store.set_proxy(SHOP, None)
    assert await store.proxy(SHOP) is None
    await store.close()
