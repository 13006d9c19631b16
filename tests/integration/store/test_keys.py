"""Keys in the store, in both databases: what survives a restart, and what must not come back."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import URL

from sessions.model import StoreUnavailable
from sessions.store import Cipher, Store
from sessions.store.backups import backup
from supervisor.access.access import Access
from supervisor.access.keys import KeyNotFound, Keys, TooManyKeys
from supervisor.access.refusals import AccessDenied, Refusals
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import ImprovedTokenValidator
from tests.store_tools import sql


async def entrance(store: Store) -> tuple[Keys, Access]:
    keys, refusals = await Keys.open(store), Refusals()
    validator = ImprovedTokenValidator(await store.keys.token_secret(), refusals)
    return keys, Access(None, keys, validator, refusals)


async def test_keys_and_their_tokens_survive_a_restart_and_their_texts_are_stored_nowhere(
    url: URL,
) -> None:
    store = await Store.open(url)
    keys, access = await entrance(store)
    ends = time.time() + 3600
    made, text = await keys.create("n8n", Scope.SEND, frozenset({"b", "a"}), ends)
    said = {"sub": "ana", "aud": "wasup:api", "scope": "read", "sessions": "*", "key": made.id}
    token = access.validator.make(said, time.time() + 600)
    await access.authenticate(text)
    keys.write_uses()
    await store.close()

    (row,) = await sql(url, "SELECT * FROM api_keys")
    assert text.rpartition("_")[2] not in repr(row)

    store = await Store.open(url)
    keys, access = await entrance(store)
    (found,) = keys.all()
    assert (found.name, found.scope, found.sessions) == ("n8n", Scope.SEND, {"a", "b"})
    assert found.expires_at == pytest.approx(ends)
    assert found.last_used_at == pytest.approx(time.time(), abs=60)
    assert (await access.authenticate(text)).key == made.id
    assert (await access.authenticate(token)).sessions == {"a", "b"}

    await keys.revoke(made.id)
    for credential in (text, token):
        with pytest.raises(AccessDenied):
            await access.authenticate(credential)
    with pytest.raises(KeyNotFound):
        await keys.revoke(made.id)
    await store.close()
    store = await Store.open(url)
    assert (await Keys.open(store)).all() == []
    await store.close()


async def test_a_key_is_refused_at_once_although_the_store_cannot_forget_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions.store import sqlite_url

    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    keys, access = await entrance(store)
    made, text = await keys.create("n8n", Scope.SEND, None, None)
    written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(store.keys, "remove", lambda _key: written)
    monkeypatch.setattr("supervisor.access.keys.REVOKED_SECONDS", 0.01)
    with pytest.raises(StoreUnavailable, match="refused from now on"):
        await keys.revoke(made.id)
    with pytest.raises(AccessDenied):
        await access.authenticate(text)
    assert not written.cancelled(), "it is still to be written"
    await store.close()


async def test_last_use_is_written_once_a_minute_at_the_most(tmp_path: Path) -> None:
    from sessions.store import sqlite_url

    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    now = [1000.0]
    keys = Keys(store, [], clock=lambda: now[0])
    made, _ = await keys.create("n8n", Scope.SEND, None, None)
    seen = []
    for now[0] in (1000.0, 1001.0, 1059.0, 1061.0, 1062.0):
        keys.used(made.id)
        seen.append(keys.all()[0].last_used_at)
    assert seen == [1000.0, 1000.0, 1000.0, 1061.0, 1061.0]
    await store.close()


async def test_there_are_no_more_keys_than_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions.store import sqlite_url

    monkeypatch.setattr("supervisor.access.keys.MOST_KEYS", 2)
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    keys = await Keys.open(store)
    for _ in range(2):
        await keys.create("x", Scope.READ, None, None)
    with pytest.raises(TooManyKeys):
        await keys.create("x", Scope.READ, None, None)
    await store.close()


async def test_the_signing_secret_stays_and_is_sealed_with_the_store(url: URL) -> None:
    store = await Store.open(url)
    secret = await store.keys.token_secret()
    assert len(secret) == 32
    assert await store.keys.token_secret() == secret
    await store.close()
    for cipher in (Cipher([b"k" * 32]), Cipher([b"n" * 32, b"k" * 32])):
        store = await Store.open(url, cipher=cipher)
        assert await store.keys.token_secret() == secret
        await store.close()
        (stored,) = await sql(url, "SELECT value FROM meta WHERE name = 'token_secret'")
        assert bytes(stored[0]).startswith(cipher.prefix), "sealed with the first key"
        assert secret.hex().encode() not in bytes(stored[0])


async def test_a_signing_secret_that_cannot_be_read_is_made_anew(url: URL) -> None:
    store = await Store.open(url)
    secret = await store.keys.token_secret()
    await sql(url, "UPDATE meta SET value = ? WHERE name = 'token_secret'", b"\x01damaged" * 8)
    again = await store.keys.token_secret()
    assert again != secret
    assert await store.keys.token_secret() == again
    await store.close()


async def test_a_backup_brings_keys_back_and_no_installation_believes_the_others_tokens(
    url: URL, tmp_path: Path
) -> None:
    from sessions.store import sqlite_url

    store = await Store.open(url)
    keys, _ = await entrance(store)
    made, text = await keys.create("n8n", Scope.READ, None, None)
    secret = await store.keys.token_secret()
    await backup.backup(store, tmp_path / "backup.db")
    await store.close()
    other = sqlite_url(tmp_path / "other" / "wasup.db")
    (tmp_path / "other").mkdir()
    await backup.restore(tmp_path / "backup.db", other, tmp_path / "other")
    store = await Store.open(other)
    _, access = await entrance(store)
    assert (await access.authenticate(text)).key == made.id
    assert await store.keys.token_secret() != secret
    await store.close()


async def test_a_key_holds_until_it_is_revoked_or_expires(url: URL) -> None:
    store = await Store.open(url)
    now = [1000.0]
    keys = Keys(store, (), clock=lambda: now[0])
    ending = (await keys.create("a month", Scope.READ, None, 2000.0))[0].id
    lasting = (await keys.create("for good", Scope.READ, None, None))[0].id
    assert keys.holds(ending)
    now[0] = 2000.0
    assert not keys.holds(ending)
    assert keys.holds(lasting)
    await keys.revoke(lasting)
    assert not keys.holds(lasting)
    await store.close()
