"""No two sessions are one linked device, whichever way its credentials come in."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import SameDevice, SessionId
from sessions.store import Store
from sessions.store.sealing.cipher import Cipher, parse_keys
from sessions.workers.wire import KeyEntry
from tests.store_tools import CREDS, OTHER, SHOP, entry, sql

DEVICE = "5511999990000:7@s.whatsapp.net"
KEY = "11" * 32


def paired(device: str = DEVICE) -> KeyEntry:
    """The credentials of that device."""
    value = json.loads(CREDS) | {"me": {"id": device}, "account": {"details": ""}}
    return KeyEntry("creds", "creds", msgspec.Raw(json.dumps(value).encode()))


@pytest_asyncio.fixture(params=[False, True], ids=["plain", "sealed"])
async def store(url: URL, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    store = await Store.open(url, cipher=Cipher(parse_keys(KEY)) if request.param else None)
    yield store
    await store.close()


async def test_a_device_is_imported_once_and_the_refusal_names_its_session(store: Store) -> None:
    await store.import_session(SHOP, [paired()], wanted=False)
    for same in (DEVICE, "5511999990000_1:7@c.us"):
        with pytest.raises(SameDevice, match="'shop'"):
            await store.import_session(OTHER, [paired(same)], wanted=False)
    assert [row.id for row in await store.sessions()] == [SHOP], "nothing is half-done"


async def test_another_device_of_the_same_number_is_a_session_of_its_own(store: Store) -> None:
    await store.import_session(SHOP, [paired()], wanted=False)
    await store.import_session(OTHER, [paired("5511999990000:8@s.whatsapp.net")], wanted=False)
    assert len(await store.sessions()) == 2


async def test_of_many_imports_at_once_one_succeeds(store: Store) -> None:
    names = [SessionId(f"copy-{n}") for n in range(5)]
    imports = (store.import_session(name, [paired()], wanted=False) for name in names)
    outcomes = await asyncio.gather(*imports, return_exceptions=True)
    assert sum(isinstance(outcome, SameDevice) for outcome in outcomes) == 4
    assert len(await store.sessions()) == 1


async def test_an_archive_comes_back_only_while_nobody_else_is_its_device(store: Store) -> None:
    await store.import_session(SHOP, [paired()], wanted=False)
    await store.delete_session(SHOP, purge=False)
    await store.import_session(OTHER, [paired()], wanted=False)
    with pytest.raises(SameDevice, match="'other'"):
        await store.restore(SHOP, None)
    assert [row.id for row in await store.sessions()] == [OTHER]
    await store.delete_session(OTHER, purge=False)
    await store.restore(SHOP, None)
    with pytest.raises(SameDevice, match="'shop'"):
        await store.import_session(OTHER, [paired()], wanted=False)


async def test_a_logout_sets_the_device_free(store: Store) -> None:
    await store.import_session(SHOP, [paired()], wanted=True)
    await store.archive_credentials(SHOP, "logged_out", memory=b"{}", wanted=True)
    await store.import_session(OTHER, [paired()], wanted=False)
    with pytest.raises(SameDevice, match="'other'"):
        await store.restore(SHOP, None)


async def test_a_session_that_opens_is_its_device_from_then_on(store: Store) -> None:
    await store.create_session(SHOP, wanted=True)
    await store.create_session(OTHER, wanted=True)
    await store.save_identity(SHOP, DEVICE, "Shop")
    with pytest.raises(SameDevice, match="'shop'"):
        await store.save_identity(OTHER, DEVICE, "Other")
    with pytest.raises(SameDevice, match="'shop'"):
        await store.claim_device(OTHER, DEVICE)
    await store.claim_device(SHOP, DEVICE)
    with pytest.raises(SameDevice, match="'shop'"):
        await store.import_session(SessionId("third"), [paired()], wanted=False)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
async def test_the_devices_of_an_older_store_are_learned_and_the_first_session_keeps_a_double(
    url: URL, key: str | None
) -> None:
    cipher = Cipher(parse_keys(key)) if key else None
    store = await Store.open(url, cipher=cipher)
    for name in (SHOP, OTHER):
        row = await store.create_session(name, wanted=True)
        await store.write_keys(name, row.epoch, [paired(), entry("1.0", b"1")])
    await store.close()
    # as one that is just brought up to date
    await sql(url, "DELETE FROM meta WHERE name = 'devices'")
    store = await Store.open(url, cipher=cipher)
    try:
        await store.claim_device(SHOP, DEVICE)
        with pytest.raises(SameDevice, match="'shop'"):
            await store.claim_device(OTHER, DEVICE)
    finally:
        await store.close()
