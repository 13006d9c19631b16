"""A session's alerts that last begin once and end once; and each reconnection is a line that `grep
reconnect` finds.
"""

import asyncio
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.model import WorkerGone
from sessions.workers.wire import Beat
from sessions.workers.worker_process import Exit
from tests.fakes import World, closes

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

MINUTE = 60.0


def told(world: World, name: str) -> list[tuple[str, str | None]]:
    """The states of an alert as they were told, with the severity at the begin."""
    alerts = [data for _, kind, data in world.events if kind == "alert" and data["name"] == name]
    return [
        (data["state"], None if data["state"] == "ended" else data["severity"]) for data in alerts
    ]


async def test_a_parked_session_is_an_alert_until_somebody_starts_it() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(MINUTE)
        assert told(world, "parked") == [("began", "critical")]
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)
        assert told(world, "parked") == [("began", "critical"), ("ended", None)]


async def test_a_restart_does_not_forget_why_it_is_parked() -> None:
    async with World() as world:
        world.paired()
        world.workers.plan.append(closes(R.LOGGED_OUT))
        await world.start()
        await world.until(S.PARKED)
        await world.crash()
        await world.start()
        await world.until(S.PARKED)
        alerts = [data for _, kind, data in world.events if kind == "alert"]
        causes = [data["cause"] for data in alerts if data["name"] == "parked"]
        assert causes == [R.LOGGED_OUT, R.LOGGED_OUT]


async def test_a_breaker_that_opens_is_one_alert_until_the_session_is_stable() -> None:
    """Its trial fails once: that is no further alert.

    One that succeeds is on probation, and so is the alert.
    """
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 6)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        await world.until(S.OPEN, within=30 * MINUTE)
        assert told(world, "breaker_open") == [("began", "warning")]
        await asyncio.sleep(2 * MINUTE)
        assert told(world, "breaker_open") == [("began", "warning"), ("ended", None)]
        messages = [data["message"] for _, kind, data in world.events if kind == "alert"]
        assert "after 5 failures, the last one connection_lost; one try at 20" in messages[0]


async def test_a_breaker_that_an_operator_resets_ends_its_alert() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        assert await world.ask(Command.RESET_BREAKER) is None
        await world.until(S.OPEN)
        assert told(world, "breaker_open") == [("began", "warning"), ("ended", None)]


async def test_a_stopped_session_has_no_open_breaker_to_tell_of() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        assert await world.ask(Command.STOP) is None
        await asyncio.sleep(1)
        assert told(world, "breaker_open") == [("began", "warning"), ("ended", None)]


async def test_a_crash_budget_that_is_used_up_is_one_alert_until_the_worker_has_lasted() -> None:
    async with World() as world:
        world.workers.startup_error = WorkerGone("it ended before it said hello")
        await world.start()
        await asyncio.sleep(60 * MINUTE)
        assert told(world, "crash_budget") == [("began", "critical")]
        world.workers.startup_error = None
        await world.until(S.OPEN, within=11 * MINUTE)
        assert told(world, "crash_budget") == [("began", "critical")]
        await asyncio.sleep(2 * MINUTE)
        assert told(world, "crash_budget") == [("began", "critical"), ("ended", None)]


async def test_a_lagging_worker_is_an_alert_until_it_keeps_up_or_is_gone() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last.beat = Beat(lag_ms=9_000.0, rss_bytes=1, heap_bytes=1)
        await asyncio.sleep(MINUTE)
        assert told(world, "worker_lag") == [("began", "warning")]
        assert await world.ask(Command.STOP) is None
        await asyncio.sleep(1)
        assert told(world, "worker_lag") == [("began", "warning"), ("ended", None)]


@pytest.mark.parametrize("reason", [R.BANNED, R.CONNECTION_LOST])
async def test_a_successor_knows_what_is_on_and_tells_nobody_again(reason: R) -> None:
    async with World() as world:
        world.workers.plan.extend([closes(reason)] * 5)
        await world.start()
        name = "parked" if reason is R.BANNED else "breaker_open"
        await world.until_true(lambda: bool(told(world, name)))
        await asyncio.sleep(1)
        await world.close()
        before = len(world.events)
        await world.start()
        await asyncio.sleep(1)
        (alert,) = [data for _, kind, data in world.events[before:] if kind == "alert"]
        assert (alert["name"], alert["state"], alert["goes_on"]) == (name, "began", True)


async def test_the_mean_of_round_trips_is_of_the_open_socket_and_of_no_other() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(MINUTE)
        assert world.session.performance().average_response_time is not None
        assert await world.ask(Command.STOP) is None
        assert world.session.performance().average_response_time is None
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)
        assert world.session.performance().average_response_time is None, (
            "nothing has been measured yet"
        )


async def test_a_store_that_is_away_for_an_hour_floods_no_log_with_reconnections() -> None:
    structlog.reset_defaults()
    async with World() as world:
        with capture_logs() as lines:
            await world.start()
            await world.until(S.OPEN)
            world.store.failing = True
            world.workers.last.end(Exit(signal=9))  # a new one needs an epoch, and so the store
            await asyncio.sleep(60 * MINUTE)
            assert world.session.state is not S.OPEN
        world.store.failing = False
        await world.until(S.OPEN)
    assert len([line for line in lines if line.get("action") == "reconnect_planned"]) <= 2


async def test_every_reconnection_is_found_by_its_word_with_attempt_wait_and_reason() -> None:
    structlog.reset_defaults()
    async with World() as world:
        with capture_logs() as lines:
            world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 2)
            await world.start()
            await world.until(S.OPEN, within=MINUTE)
            await asyncio.sleep(2 * MINUTE)
            world.workers.last.drop(R.CONNECTION_LOST)
            await world.until(S.WAITING)
            await world.until(S.OPEN)
            assert await world.ask(Command.FORCE) is None
            await world.until(S.CONNECTING)
            await world.until(S.OPEN)
    found: list[Any] = [line for line in lines if "reconnect" in str(line)]
    planned = [line for line in found if line["action"] == "reconnect_planned"]
    assert [(line["attempt"], line["reason"]) for line in planned[:3]] == [
        (2, "connection_lost"),
        (3, "connection_lost"),
        (1, "connection_lost"),
    ]
    assert all(line["wait_seconds"] >= 0 for line in planned[:3])
    assert [line["attempt"] for line in found if line["action"] == "reconnected"] == [3, 1, 2]
    assert len(found) <= 8, "edges only"


async def test_the_log_says_why_it_closed_and_when_it_tries_next_and_nothing_old_once_open() -> (
    None
):
    structlog.reset_defaults()
    async with World() as world:
        with capture_logs() as lines:
            await world.start()
            await world.until(S.OPEN)
            await asyncio.sleep(2 * MINUTE)
            world.workers.last.drop(R.CONNECTION_LOST)
            await world.until(S.WAITING)
            seen = world.session.reconnection()
            await world.until(S.OPEN)
    moves: list[Any] = [line for line in lines if line.get("action") == "state"]
    (waits,) = [line for line in moves if line["event"].startswith("session is waiting")]
    assert waits["event"] == f"session is waiting, next try at {seen.next_attempt_at}"
    assert (waits["message"], waits["reason"]) == (seen.close_message, "connection_lost")
    assert waits["message"], "the cause in words"
    assert waits["next_attempt_at"] == seen.next_attempt_at is not None
    back = [line for line in moves if line["event"] == "session is open"][-1]
    assert {back[name] for name in ("reason", "message", "rule", "next_attempt_at")} == {None}
