"""Nothing is done twice under one key, whoever asks meanwhile and whatever goes wrong."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.errors import BadRequest, KeyReused, OutcomeUnknown
from api.gatehouse.once import HEADER, ONCE, REPLAYED, Once, once
from api.gatehouse.principals import PRINCIPAL
from api.responses import json
from sessions.model import (
    StoreUnanswered,
    StoreUnavailable,
    Unanswered,
    WasupError,
    WorkerGone,
    WorkerRefused,
)
from sessions.store.tables.requests import CALLER_DIGITS, Answer, Known
from supervisor.access.principal import Principal
from supervisor.access.scopes import Scope

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


class Memory:
    """The store's requests, in memory: it outlives whoever asks."""

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}

    async def begin(self, key: str, fingerprint: str, _session: str | None) -> Known | None:
        await asyncio.sleep(0.1)
        found = self.known.get(key)
        if found is None:
            self.known[key] = Known(fingerprint, None)
        return found

    def finish(self, key: str, answer: Answer) -> None:
        self.known[key] = Known(self.known[key].fingerprint, answer)

    def forget(self, key: str) -> None:
        del self.known[key]


class Asked:
    """A supervisor, and work that takes a second and is counted."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()
        self.once = Once(SimpleNamespace(requests=self.memory))  # type: ignore[arg-type]
        self.done = 0
        self.error: BaseException | None = None

    async def ask(self, what: str = "x", key: str = "k") -> web.Response:
        return await self.once.do(key, what, None, self._work)

    async def _work(self) -> web.Response:
        await asyncio.sleep(1)
        if self.error is not None:
            raise self.error
        self.done += 1
        return json({"done": self.done}, 201)


def told(response: web.Response) -> tuple[int, bytes, bool]:
    assert isinstance(response.body, bytes)
    return (
        response.status,
        msgspec.json.encode(msgspec.json.decode(response.body)),
        (REPLAYED in response.headers),
    )


async def test_what_is_asked_twice_is_done_once_and_answered_alike() -> None:
    asked = Asked()
    assert told(await asked.ask()) == (201, b'{"done":1}', False)
    assert told(await asked.ask()) == (201, b'{"done":1}', True)
    assert told(await asked.ask(key="another")) == (201, b'{"done":2}', False)


async def test_who_asks_while_it_is_done_waits_for_the_same_answer() -> None:
    asked = Asked()
    answers = await asyncio.gather(*(asked.ask() for _ in range(5)))
    assert asked.done == 1
    assert sorted(told(answer) for answer in answers) == [
        (201, b'{"done":1}', False),
        *[(201, b'{"done":1}', True)] * 4,
    ]


async def test_a_key_is_for_one_request() -> None:
    asked = Asked()
    first = asyncio.create_task(asked.ask("x"))
    await asyncio.sleep(0.5)
    with pytest.raises(KeyReused):
        await asked.ask("y")
    await first
    with pytest.raises(KeyReused):
        await asked.ask("y")


@pytest.mark.parametrize(
    "refusal", [BadRequest("x", "y"), WorkerRefused("no_whatsapp", "x"), StoreUnavailable()]
)
async def test_what_was_refused_has_done_nothing_and_may_be_asked_again(
    refusal: WasupError,
) -> None:
    asked = Asked()
    asked.error = refusal
    with pytest.raises(type(refusal)):
        await asked.ask()
    asked.error = None
    assert told(await asked.ask()) == (201, b'{"done":1}', False)


@pytest.mark.parametrize(
    "doubt",
    [
        Unanswered(),
        StoreUnanswered(),
        WorkerGone(),
        TimeoutError(),
        RuntimeError(),
        WorkerRefused("timed_out", "x"),
    ],
)
async def test_what_may_have_been_done_is_not_done_again(doubt: Exception) -> None:
    asked = Asked()
    asked.error = doubt
    first, meanwhile = await asyncio.gather(asked.ask(), asked.ask(), return_exceptions=True)
    assert (first, type(meanwhile)) == (doubt, OutcomeUnknown)
    asked.error = None
    with pytest.raises(OutcomeUnknown):
        await asked.ask()
    assert asked.done == 0


async def test_a_successor_knows_what_was_done_and_what_was_only_begun() -> None:
    asked = Asked()
    await asked.ask()
    dying = asyncio.create_task(asked.ask(key="cut off"))
    await asyncio.sleep(0.5)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    successor = Asked(asked.memory)
    assert told(await successor.ask()) == (201, b'{"done":1}', True)
    with pytest.raises(OutcomeUnknown):
        await successor.ask(key="cut off")
    assert successor.done == 0


async def test_tokens_of_one_key_for_other_sessions_are_told_nothing_of_each_other() -> None:
    asked, app = Asked(), web.Application()
    app[ONCE] = asked.once

    async def ask(*sessions: str) -> tuple[int, bytes, bool]:
        request = make_mocked_request("POST", "/webhooks", {HEADER: "k"}, app=app)
        request[PRINCIPAL] = Principal(
            id="key:1", name="n", scope=Scope.OPERATE, sessions=frozenset(sessions)
        )
        return told(await once(request, b"{}", asked._work))

    assert (await ask("a", "b"))[2] is False
    assert (await ask("b", "a"))[2] is True
    assert (await ask("b"))[2] is False
    assert asked.done == 2
    assert len({name[:CALLER_DIGITS] for name in asked.memory.known}) == 1, "one caller's"
