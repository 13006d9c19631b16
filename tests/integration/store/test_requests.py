"""What was asked under a key is remembered: durably, sealed, and not for ever."""

import msgspec
import pytest
from sqlalchemy import URL

from sessions.store import Store
from sessions.store.sealing.cipher import Cipher
from sessions.store.tables import requests
from sessions.store.tables.requests import Answer, Known
from tests.store_tools import SHOP, sql

ANSWER = Answer(201, msgspec.Raw(b'{"id":"shop"}'), "/sessions/shop")


async def test_a_request_is_new_once_and_its_answer_outlives_the_store(url: URL) -> None:
    store = await Store.open(url)
    assert await store.requests.begin("k", "what", None) is None
    assert await store.requests.begin("k", "what", None) == Known("what", None)
    await store.requests.finish("k", ANSWER)
    await store.close()
    again = await Store.open(url)
    found = await again.requests.begin("k", "else", None)
    assert found is not None
    assert found.fingerprint == "what"
    assert found.answer is not None
    assert (found.answer.status, bytes(found.answer.body), found.answer.location) == (
        201,
        b'{"id":"shop"}',
        "/sessions/shop",
    )
    await again.requests.forget("k")
    assert await again.requests.begin("k", "else", None) is None
    await again.close()


async def test_the_oldest_are_forgotten_by_age_and_by_count(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(url)
    monkeypatch.setattr(requests, "KEPT_MOST", 3)
    for number in range(6):
        assert await store.requests.begin(f"k{number}", "x", None) is None
    assert await store.requests.begin("k5", "x", None) is not None
    assert await store.requests.begin("k0", "x", None) is None
    await sql(url, "UPDATE requests SET at = 0")
    assert await store.requests.begin("k5", "x", None) is None
    await store.close()


async def test_who_asks_a_great_deal_forgets_his_own_requests_and_nobody_elses(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(url)
    monkeypatch.setattr(requests, "KEPT_OF_ONE", 3)
    one, other = "a" * requests.CALLER_DIGITS, "b" * requests.CALLER_DIGITS
    assert await store.requests.begin(f"{other}0", "x", None) is None
    for number in range(6):
        assert await store.requests.begin(f"{one}{number}", "x", None) is None
    assert await store.requests.begin(f"{other}0", "x", None) is not None
    assert await store.requests.begin(f"{one}5", "x", None) is not None
    assert await store.requests.begin(f"{one}0", "x", None) is None
    await store.close()


async def test_answers_are_sealed_rewritten_under_a_new_key_and_purged_with_their_session(
    url: URL,
) -> None:
    old, new = b"o" * 32, b"n" * 32
    store = await Store.open(url, cipher=Cipher([old]))
    await store.create_session(SHOP, wanted=False)
    await store.requests.begin("k", "x", SHOP)
    await store.requests.finish("k", ANSWER)
    ((stored,),) = await sql(url, "SELECT answer FROM requests")
    assert b"shop" not in bytes(stored)
    await store.close()
    store = await Store.open(url, cipher=Cipher([new, old]))
    assert (await store.rewrite_secrets()).complete
    await store.close()
    store = await Store.open(url, cipher=Cipher([new]))
    found = await store.requests.begin("k", "x", SHOP)
    assert found is not None
    assert found.answer == ANSWER
    await store.delete_session(SHOP, purge=True)
    assert await sql(url, "SELECT answer FROM requests") == []
    await store.close()
