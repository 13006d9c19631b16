"""The store on PostgreSQL, with real processes: the same promises as on SQLite, and one supervisor
for each database.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import psutil
import pytest
from sqlalchemy import URL

from scripts.lab import LabError, StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.traffic import doubled, out_of_order
from tests.conftest import StartSupervisor
from tests.lab_tools import (
    another_home,
    hears,
    logins,
    must,
    registrations,
    says,
    seen_by_neighbours,
    store_state,
    wasup,
)
from tests.postgres import PostgreSQL

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = "correct-horse-battery-staple"
"""The server trusts whoever reaches its socket; what counts here is where the password turns up."""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture
def database(postgresql: PostgreSQL) -> URL:
    return postgresql.new_database().set(drivername="postgresql", password=PASSWORD)


def written(url: URL) -> str:
    """As an operator writes it."""
    return url.render_as_string(hide_password=False)


async def came_once_and_in_order(supervisor: Supervisor, traffic: Traffic) -> None:
    came = await traffic.arrived(supervisor, seconds=60)
    assert doubled(came) == []
    assert out_of_order(came) == []


async def opens_without_qr(
    supervisor: Supervisor, standin: StandIn, session: str, word: str
) -> None:
    await supervisor.wait_state(session, "open")
    assert await registrations(standin, session) == 1
    await hears(supervisor, standin, session, f"entra {word}")
    await says(supervisor, standin, session, f"sai {word}")


async def test_a_killed_supervisor_is_succeeded_without_a_login_and_the_password_is_nowhere_to_be_read(
    start_supervisor: StartSupervisor, standin: StandIn, database: URL
) -> None:
    supervisor = await start_supervisor(database_url=written(database), log_level="debug")
    names = ["pg-1", "pg-2"]
    await pair(supervisor, standin, *names)
    assert not list(supervisor.directory.glob("*.db*")), "it really is elsewhere"
    traffic = Traffic(standin, names, 0.1)
    before = [await logins(standin, name) for name in names]
    workers = await supervisor.workers()
    async with another_home(supervisor, f"{supervisor.directory.name}-second") as second:
        with pytest.raises(LabError, match="Another supervisor owns this database") as refused:
            await second.start()
        assert "Traceback" not in str(refused.value)
        assert PASSWORD not in second.directory.with_suffix(".out").read_text()
        assert second.process is not None
        assert second.process.status == 1
        second.process = None
    logs = ""
    async with traffic:
        for _ in range(2):
            assert supervisor.process is not None
            logs += supervisor.process.output.read_text()
            await supervisor.kill()
            await supervisor.start()
            for name in names:
                await supervisor.wait_state(name, "open")
    await came_once_and_in_order(supervisor, traffic)
    assert await supervisor.workers() == workers
    assert [await logins(standin, name) for name in names] == before

    assert supervisor.process is not None
    logs += supervisor.process.output.read_text()
    logs += "".join(file.read_text() for file in supervisor.directory.glob("logs/*"))
    assert PASSWORD not in logs
    assert PASSWORD not in seen_by_neighbours(*workers.values())


async def test_a_database_that_is_restarted_under_traffic_costs_no_login_and_no_text(
    start_supervisor: StartSupervisor, standin: StandIn, postgresql: PostgreSQL, database: URL
) -> None:
    supervisor = await start_supervisor(database_url=written(database))
    await pair(supervisor, standin, "restarted")
    traffic = Traffic(standin, ["restarted"], 0.05)
    before = await logins(standin, "restarted")
    async with traffic:
        for seconds in (0.0, 3.0):
            await asyncio.to_thread(postgresql.crash)
            try:
                if seconds:
                    await eventually(
                        partial(store_state, supervisor), lambda state: state == "failing"
                    )
                    status, answer = await supervisor.call("POST", "/sessions", {"id": "later"})
                    assert (status, answer["error"]["code"]) == (503, "store_unavailable")
                    assert PASSWORD not in str(answer)
                    assert (await supervisor.call("GET", "/readyz"))[1]["store"] == "failing"
                    assert PASSWORD not in str(await supervisor.get("/reconnection-status"))
                    done = await wasup(supervisor, "backup", "/tmp/never-written")
                    assert done.status == 1
                    assert PASSWORD not in done.said
                await asyncio.sleep(seconds)
            finally:
                await asyncio.to_thread(postgresql.start)
            await eventually(partial(store_state, supervisor), lambda state: state == "ok")
    await came_once_and_in_order(supervisor, traffic)
    await says(supervisor, standin, "restarted", "tudo bem")
    assert (await supervisor.call("POST", "/sessions", {"id": "later", "start": False}))[0] == 201
    assert (await supervisor.session("restarted"))["state"] == "open"
    assert await logins(standin, "restarted") == before


async def test_while_the_database_is_away_nobody_is_given_events_with_a_gap(
    start_supervisor: StartSupervisor, postgresql: PostgreSQL, database: URL
) -> None:
    supervisor = await start_supervisor(database_url=written(database), event_log_size=2)
    for n in range(6):
        await supervisor.must("POST", "/sessions", {"id": f"gapless-{n}", "start": False})
    whole = await eventually(
        partial(supervisor.every_event, "session.created"), lambda seen: len(seen) == 6
    )
    await asyncio.to_thread(postgresql.crash)
    try:
        status, answer = await supervisor.call("GET", "/events?after=0")
        assert (status, answer["error"]["code"]) == (503, "store_unavailable")
        assert set(answer["error"]) == {"code", "message", "hint"}
        page = await supervisor.get(f"/events?after={whole[-1]['n']}")
        assert page["oldest"] == whole[0]["n"], "who follows needs no database"
    finally:
        await asyncio.to_thread(postgresql.start)
    await eventually(partial(store_state, supervisor), lambda state: state == "ok")
    assert await supervisor.every_event("session.created") == whole


@asynccontextmanager
async def frozen(postgresql: PostgreSQL, database: URL) -> AsyncIterator[None]:
    """The whole server stands still: connections are there and say nothing."""
    server = postgresql.backends(str(database.database))[0].parent()
    assert server is not None
    processes = [server, *server.children()]
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a connection that was just closed
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def test_a_database_that_stands_still_costs_no_login_and_no_text_and_callers_are_answered(
    start_supervisor: StartSupervisor, standin: StandIn, postgresql: PostgreSQL, database: URL
) -> None:
    supervisor = await start_supervisor(database_url=written(database))
    await pair(supervisor, standin, "still")
    traffic = Traffic(standin, ["still"], 0.1)
    before = await logins(standin, "still")
    async with traffic, frozen(postgresql, database):
        patience = aiohttp.ClientTimeout(total=15)
        status, answer = await supervisor.call(
            "POST", "/sessions", {"id": "doubtful"}, timeout=patience
        )
        # Which of the two depends on whether the database had been given the write already.
        assert status == 503
        assert answer["error"]["code"] in {"store_unanswered", "store_unavailable"}
        await eventually(
            partial(store_state, supervisor), lambda state: state in {"slow", "failing"}
        )
        assert (await supervisor.call("GET", "/sessions/doubtful"))[0] == 404
    await came_once_and_in_order(supervisor, traffic)
    await eventually(partial(store_state, supervisor), lambda state: state == "ok")
    assert (await supervisor.call("POST", "/sessions", {"id": "doubtful"}))[0] == 201, (
        "stored before or not"
    )
    await supervisor.wait_state("doubtful", "qr")
    assert (await supervisor.session("still"))["state"] == "open"
    assert await logins(standin, "still") == before


async def test_a_backup_goes_from_postgresql_to_sqlite_and_back_and_the_session_opens_everywhere_without_a_qr(
    start_supervisor: StartSupervisor,
    standin: StandIn,
    postgresql: PostgreSQL,
    database: URL,
    tmp_path: Path,
) -> None:
    supervisor = await start_supervisor(database_url=written(database))
    await pair(supervisor, standin, "nomad")
    await hears(supervisor, standin, "nomad", "em casa")
    first, second = tmp_path / "from-postgresql", tmp_path / "from-sqlite"
    async with Traffic(standin, ["nomad"], 0.02):
        assert "1 sessions" in await must(supervisor, "backup", first)
    assert await supervisor.stop() == 0
    refused = await wasup(supervisor, "restore", first)
    assert (refused.status, "is not empty" in refused.said) == (1, True)
    assert PASSWORD not in refused.said

    name = supervisor.directory.name
    async with another_home(supervisor, f"{name}-sqlite", WHATSAPP_DATABASE_URL="") as on_sqlite:
        await must(on_sqlite, "restore", first)
        await on_sqlite.start()
        await must(on_sqlite, "sessions", "start", "nomad")
        await opens_without_qr(on_sqlite, standin, "nomad", "no sqlite")
        assert (on_sqlite.directory / "wasup.db").exists()
        await must(on_sqlite, "backup", second)
    new_home = written(postgresql.new_database())
    async with another_home(supervisor, f"{name}-back", WHATSAPP_DATABASE_URL=new_home) as back:
        await must(back, "restore", second)
        await back.start()
        await must(back, "sessions", "start", "--all")
        await opens_without_qr(back, standin, "nomad", "de volta")
        assert "entra no sqlite" in [
            event["data"]["text"] for event in await back.events("message.received", "nomad")
        ]
