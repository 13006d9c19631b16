"""What cannot be read, credentials or memory, is never overwritten, and nobody logs in with it."""

import asyncio

import msgspec
import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import Refused
from sessions.model import SessionState as S
from tests.fakes import CREDS, World
from tests.unit.lifecycle.session.stories import HOUR

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize(
    "creds",
    [
        b'{"noiseKey":',  # torn
        b"{}",  # what every device has is missing
        b"",  # a file of zero bytes
        b"null",  # JSON, but no credentials
        b"[]",
        b'{"noiseKey":"\xff"}',  # not UTF-8
        b"[" * 100_000,  # nested beyond all reason
        CREDS.replace(b'"registrationId":42', b'"registrationId":"42"'),  # of a wrong shape
    ],
)
async def test_unreadable_credentials_quarantine_the_session_and_nothing_is_written(
    creds: bytes,
) -> None:
    async with World() as world:
        world.paired(creds)
        await world.start()
        await world.until(S.QUARANTINED)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.QUARANTINED
        assert world.workers.attempts == []
        assert world.workers.alive == []
        assert world.store.auth["shop", "creds", "creds"] == creds
        assert {"keys", "archive"}.isdisjoint(world.store.writes)
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "quarantined"
        world.paired()  # the operator restores a backup
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)


async def test_a_memory_that_cannot_be_read_is_not_overwritten_and_nobody_logs_in_across_restarts() -> (
    None
):
    """It may have said that the number is banned."""
    async with World() as world:
        world.paired()
        row = await world.store.create_session(world.id, True)
        world.store.rows[world.id] = msgspec.structs.replace(row, memory=b"{torn")
        for _ in range(2):
            await world.start()
            await world.until(S.QUARANTINED)
            await asyncio.sleep(HOUR)
            await world.ask(Command.RETIRE)
            assert world.store.rows[world.id].memory == b"{torn"
        assert world.workers.attempts == []


async def test_a_reset_of_the_breaker_does_not_overwrite_a_memory_that_cannot_be_read() -> None:
    async with World() as world:
        row = await world.store.create_session(world.id, True)
        world.store.rows[world.id] = msgspec.structs.replace(row, memory=b"{torn")
        await world.start()
        await world.until(S.QUARANTINED)
        await world.ask(Command.RESET_BREAKER)
        assert world.session.row().memory == b"{torn", (
            "with which a session goes on that could not be deleted"
        )
        await world.crash()
        await world.start()
        await world.until(S.QUARANTINED, within=1)
        assert world.store.rows[world.id].memory == b"{torn"
