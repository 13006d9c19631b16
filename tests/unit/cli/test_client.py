"""The commands' client: how it finds the running supervisor, and what it tells the operator when
that says no, or nothing.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from supervisor.cli.common.client import Client
from supervisor.cli.common.exits import CommandFailed, NoSupervisor
from supervisor.process.lock import FILE_NAME, DirectoryLock
from supervisor.settings import Settings

TOKEN = "0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _serving(handler: Handler) -> AsyncIterator[str]:
    """An API on loopback that answers everything like this."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await runner.cleanup()


async def _call(client: Client, method: str, path: str, body: Any = None) -> Any:
    """A call, while the API on the other side has this loop to itself."""
    return await asyncio.to_thread(client.call, method, path, body)


@pytest.fixture
def settings(bare_environment: Path) -> Settings:
    assert bare_environment
    return Settings()


# --- how it is found ------------------------------------------------------------------------------


def test_without_a_supervisor_there_is_no_client(settings: Settings, tmp_path: Path) -> None:
    assert Client.of_running(settings, tmp_path) is None
    with DirectoryLock(tmp_path, "127.0.0.1:4001") as lock:
        lock.note("http://127.0.0.1:4001")
    assert Client.of_running(settings, tmp_path) is None, "its note is left, but it has gone"


def test_one_that_is_only_just_starting_is_told_from_one_that_answers(
    settings: Settings, tmp_path: Path
) -> None:
    with (
        DirectoryLock(tmp_path, "127.0.0.1:4001"),
        pytest.raises(NoSupervisor, match=r"pid \d+.* just starting; try again"),
    ):
        Client.of_running(settings, tmp_path)


def test_a_command_that_has_the_directory_is_named_and_is_no_supervisor(
    settings: Settings, tmp_path: Path
) -> None:
    with (
        DirectoryLock(tmp_path, command="wasup store rotate"),
        pytest.raises(
            NoSupervisor,
            match=r"`wasup store rotate` \(pid \d+\) has the data directory now; try again",
        ),
    ):
        Client.of_running(settings, tmp_path)


def test_one_that_has_not_even_written_its_note_is_just_starting(
    settings: Settings, tmp_path: Path
) -> None:
    with DirectoryLock(tmp_path, "x"):
        (tmp_path / FILE_NAME).write_text("")
        with pytest.raises(NoSupervisor, match="just starting"):
            Client.of_running(settings, tmp_path)


async def test_it_calls_where_the_note_says_with_the_settings_token(
    bare_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bare_environment
    monkeypatch.setenv("WHATSAPP_API_TOKEN", TOKEN)
    seen: list[tuple[str, str, str | None, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(
            (
                request.method,
                request.path_qs,
                request.headers.get("Authorization"),
                await request.read(),
            )
        )
        return web.json_response({"sessions": []})

    async with _serving(answer) as address:
        with DirectoryLock(tmp_path, "x") as lock:
            lock.note(address)
            found = Client.of_running(Settings(), tmp_path)
        assert found is not None
        assert await _call(found, "GET", "/sessions") == {"sessions": []}
        await _call(found, "POST", "/sessions/shop/restore?x=1", {"archive": None, "start": True})
    assert seen == [
        ("GET", "/sessions", f"Bearer {TOKEN}", b""),
        ("POST", "/sessions/shop/restore?x=1", f"Bearer {TOKEN}", b'{"archive":null,"start":true}'),
    ]


@pytest.mark.parametrize("everywhere", ["http://0.0.0.0:{port}", "http://[::]:{port}"])
def test_an_api_on_all_addresses_is_called_on_the_loopback_one(
    everywhere: str, settings: Settings, tmp_path: Path
) -> None:
    with DirectoryLock(tmp_path, "x") as lock:
        lock.note(everywhere.format(port=4001))
        found = Client.of_running(settings, tmp_path)
    assert found is not None
    assert found.address in {"http://127.0.0.1:4001", "http://[::1]:4001"}


async def test_without_a_token_none_is_sent() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({})

    async with _serving(answer) as address:
        await _call(Client(address, None), "GET", "/")
    assert seen == [None]


# --- what goes wrong ------------------------------------------------------------------------------


async def _failure(handler: Handler) -> str:
    async with _serving(handler) as address:
        with pytest.raises(CommandFailed) as caught:
            await _call(Client(address, TOKEN), "GET", "/sessions")
    assert TOKEN not in str(caught.value)
    return str(caught.value).replace(address, "ADDRESS")


@pytest.mark.parametrize("status", [400, 404, 409, 503])
async def test_a_refusal_is_told_in_the_supervisors_own_words_with_its_hint(status: int) -> None:
    async def refuse(_: web.Request) -> web.Response:
        error = {
            "code": "in_use",
            "message": "Session shop is open.",
            "hint": "POST /sessions/shop/stop first.",
        }
        return web.json_response({"error": error}, status=status)

    assert await _failure_of(refuse) == "Session shop is open. POST /sessions/shop/stop first."


async def _failure_of(handler: Handler) -> str:
    async with _serving(handler) as address:
        with pytest.raises(CommandFailed) as caught:
            await _call(Client(address, None), "GET", "/sessions")
    return str(caught.value)


async def test_an_answer_that_is_no_json_is_no_answer() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>a proxy's page</html>", status=502)

    assert (await _failure(page)).startswith("The supervisor on ADDRESS does not answer: ")


async def test_an_answer_of_somebody_else_is_told_and_not_a_traceback() -> None:
    async def other(_: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    assert (
        await _failure(other)
        == "Something that is no wasup supervisor answered on ADDRESS with status 404."
    )


async def test_a_supervisor_that_hangs_up_does_not_answer() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    words = await _failure(hang_up)
    assert words.startswith("The supervisor on ADDRESS does not answer: ")
    assert not words.startswith("The supervisor on ADDRESS does not answer: .")


async def test_nobody_who_listens_is_told_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(CommandFailed, match=f"The supervisor on {address} does not answer: .+"):
        await _call(Client(address, None), "GET", "/sessions")


async def test_a_supervisor_that_takes_too_long_is_told_so() -> None:
    asked = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await asked.wait()
        return web.json_response({})

    async with _serving(slow) as address:
        with pytest.raises(NoSupervisor, match=f"on {address} does not answer: time-out"):
            await _call(Client(address, None, answer_seconds=0.05), "GET", "/sessions")
        asked.set()


# --- who has mistyped an id -----------------------------------------------------------------------


def _knows(*ids: str) -> Handler:
    """An API that has these sessions, and no other."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/sessions":
            return web.json_response({"sessions": [{"id": name} for name in ids], "next": None})
        error = {
            "code": "session_not_found",
            "message": "There is no session 'loja1'.",
            "hint": "GET /sessions lists them.",
        }
        return web.json_response({"error": error}, status=404)

    return answer


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("loja-1", "loja-2", "bot"), "Is it loja-1 or loja-2?"),
        (("bot",), "GET /sessions lists them."),
        ((), "There is none yet: `wasup sessions create ID`."),
    ],
)
async def test_an_id_that_there_is_not_is_told_with_those_that_look_like_it(
    ids: tuple[str, ...], words: str
) -> None:
    async with _serving(_knows(*ids)) as address:
        with pytest.raises(CommandFailed) as caught:
            await _call(Client(address, None), "GET", "/sessions/loja1")
    assert str(caught.value).startswith("There is no session 'loja1'.")
    assert str(caught.value).endswith(words)


async def test_a_list_of_many_pages_is_one_answer() -> None:
    async def paged(request: web.Request) -> web.Response:
        begin = int(request.query.get("after", "0"))
        following = None if begin == 4 else str(begin + 2)
        entries = [{"id": f"loja-{n}"} for n in range(begin, begin + 2)]
        return web.json_response({"sessions": entries, "next": following, "more": "stays"})

    async with _serving(paged) as address:
        answer = await asyncio.to_thread(Client(address, None).every, "/sessions", "sessions")
    assert [one["id"] for one in answer["sessions"]] == [f"loja-{n}" for n in range(6)]
    assert (answer["next"], answer["more"]) == (None, "stays")
