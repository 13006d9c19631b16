"""Two sessions with the credentials of one device never both log in."""

import asyncio

import pytest
import structlog

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import CREDS, World
from tests.unit.lifecycle.session.stories import DAY

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


DEVICE = "5511999990000:7@s.whatsapp.net"
DEVICE_CREDS = (
    CREDS[:-1] + b', "account": {"details": ""}, "me": {"id": "' + DEVICE.encode() + b'"}}'
)


async def test_a_session_whose_device_another_one_is_parks_and_the_log_alone_names_it() -> None:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logged:
        async with World() as world:
            world.paired(DEVICE_CREDS)
            world.store.devices[DEVICE] = "loja-1"
            await world.start()
            await world.until(S.PARKED)
            shown = world.session.reconnection()
            assert shown.close_reason is R.SAME_DEVICE
            assert DEVICE in (shown.close_message or "")
            assert any(DEVICE in str(data) for _, kind, data in world.events if kind == "alert")
            assert "loja-1" not in str((shown, world.events)), "it may be another tenant's"
    assert [line["owner"] for line in logged if line.get("action") == "same_device"] == ["loja-1"]


async def test_who_is_another_ones_device_tries_no_login_until_somebody_says_so() -> None:
    async with World() as world:
        world.paired(DEVICE_CREDS)
        world.store.devices[DEVICE] = "loja-1"
        await world.start()
        await world.until(S.PARKED)
        assert world.workers.attempts == []
        await asyncio.sleep(DAY)
        assert world.workers.attempts == [], "nothing tries again by itself"
        world.store.devices.clear()
        await world.ask(Command.START)
        await world.until(S.OPEN)


async def test_an_open_session_that_turns_out_to_be_anothers_device_is_closed_and_parked() -> None:
    async with World() as world:
        world.store.devices["15550000001:1@s.whatsapp.net"] = "loja-1"
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        assert shown.close_reason is R.SAME_DEVICE
        assert "15550000001:1" in (shown.close_message or "")
        assert "loja-1" not in str((shown, world.events))
        assert len(world.workers.attempts) == 1


async def test_a_replacement_for_a_device_that_is_anothers_by_now_parks_and_is_no_error() -> None:
    async with World() as world:
        world.paired(DEVICE_CREDS)
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(600)
        world.store.devices[DEVICE] = "loja-1"
        assert await world.ask(Command.REPLACE) is None
        await world.until(S.PARKED)
        assert world.session.reconnection().close_reason is R.SAME_DEVICE
        assert "internal error" not in str(world.events)
        assert "session_error" not in str(world.events)
        assert len(world.workers.attempts) == 1
