"""What a worker may weigh and how late it may be, and the warm spare that takes its place."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from datetime import datetime
from functools import partial

import psutil
import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from sessions.workers.limit_watch import LOOK_SECONDS, resident_bytes
from tests.conftest import StartSupervisor, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def pids(supervisor: Supervisor) -> set[int]:
    """All processes of workers: of the sessions, and the spares."""
    return {process.pid for process in supervisor.worker_processes()}


async def alerts(supervisor: Supervisor, name: str, session: str) -> list[str]:
    return [
        event["data"]["message"]
        for event in await supervisor.events("alert", session)
        if event["data"]["name"] == name
    ]


async def logins(standin: StandIn, session: str) -> int:
    return len(await standin.log("login", session=session))


async def worker_of(supervisor: Supervisor, session: str) -> int | None:
    pid: int | None = (await supervisor.session(session))["performance"]["workerPid"]
    return pid


async def replaced(supervisor: Supervisor, session: str, former: int | None) -> int:
    """Wait until the session is open on another worker; its pid."""
    seen = await eventually(
        partial(supervisor.session, session),
        lambda seen: (
            seen["state"] == "open" and seen["performance"]["workerPid"] not in {former, None}
        ),
        what=f"{session} being open on another worker",
    )
    return int(seen["performance"]["workerPid"])


async def test_a_worker_that_is_too_heavy_or_too_late_is_replaced_once_and_not_again_and_again(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Two supervisors side by side.

    Every worker is above the limit of the first, so a new one is no cure, and a login is not free.
    """
    heavy, late = (
        await start_supervisor(),
        await start_supervisor(worker_heartbeat_interval=1000, worker_max_lag=100),
    )
    await asyncio.gather(pair(heavy, standin, "heavy"), pair(late, standin, "late"))
    first, slow = await worker_of(heavy, "heavy"), await worker_of(late, "late")
    assert first is not None
    assert slow is not None
    weight = resident_bytes(first)
    assert await heavy.stop() == 0
    heavy.settings = {**heavy.settings, "WHATSAPP_WORKER_MEMORY_SOFT": "32"}
    assert weight > 32 * 2**20

    pulses = asyncio.create_task(keep_late(slow))
    await heavy.start()
    await heavy.wait_state("heavy", "open")
    second = await eventually(partial(worker_of, heavy, "heavy"), lambda seen: seen is not None)
    third = await replaced(heavy, "heavy", second)
    (words,) = await alerts(heavy, "worker_replaced", "heavy")
    assert "above the soft limit of 32 MiB" in words
    looked_again = asyncio.create_task(asyncio.sleep(2.5 * LOOK_SECONDS))

    await replaced(late, "late", slow)
    pulses.cancel()
    (words,) = await alerts(late, "worker_replaced", "late")
    assert words == "The worker's event loop was late by more than 100 ms, 3 heartbeats in a row."
    assert await logins(standin, "late") == 2
    assert (await late.reconnection("late"))["breaker"]["failures"] == 0

    await looked_again
    assert await worker_of(heavy, "heavy") == third
    assert await logins(standin, "heavy") == 3, "paired, started again, replaced"
    assert len(await alerts(heavy, "worker_replaced", "heavy")) == 1


async def keep_late(worker: int) -> None:
    """No heartbeat between which and the next its loop was not held up."""
    with suppress(ProcessLookupError):
        while True:
            os.kill(worker, signal.SIGSTOP)
            await asyncio.sleep(1.5)
            os.kill(worker, signal.SIGCONT)
            await asyncio.sleep(0.3)


async def test_a_worker_above_the_hard_limit_is_killed_and_that_does_not_go_on_at_the_same_pace_for_ever(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The limit comes with the second supervisor, and holds for the worker that it adopts, too.

    No worker is below it.
    """
    # with a spare a login comes before the next look at weights
    supervisor = await start_supervisor(shutdown="detach", spare_workers=1)
    await pair(supervisor, standin, "fat")
    weight_mib = resident_bytes((await supervisor.workers())["fat"]) // 2**20
    assert await supervisor.stop() == 0
    limits = {
        "worker_memory_soft": 32,
        "worker_memory_hard": (32 + weight_mib) // 2,
        "worker_crash_budget": 2,
    }
    supervisor.settings = {
        **supervisor.settings,
        **environment(limits),
        "WHATSAPP_SHUTDOWN": "stop",
    }
    before = await standin.last_entry()
    await supervisor.start()
    seen = await eventually(
        partial(supervisor.reconnection, "fat"),
        lambda seen: seen["state"] == "waiting" and seconds_until(seen["nextAttemptAt"]) > 60,
        what="the crash budget being used up",
    )
    assert seen["closeReason"] == "worker_exited"
    assert seen["breaker"]["failures"] == 0
    killed = await eventually(  # an event is shown when it is durable, which may be after the state
        partial(alerts, supervisor, "worker_killed", "fat"),
        lambda seen: len(seen) == 3,
        what="three kills being told",
    )
    assert all("above the hard limit of" in words for words in killed)
    assert await alerts(supervisor, "worker_replaced", "fat") == []
    happened = [
        entry["event"]
        for entry in await standin.log("login", "logout", session="fat", after=before)
    ]
    assert happened == ["logout", "login", "logout", "login", "logout"]


def seconds_until(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() - time.time() if moment else 0.0


async def test_a_warm_spare_takes_the_place_of_a_killed_worker_and_a_new_spare_its_own(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(spare_workers=1)
    await pair(supervisor, standin, "warm")
    worker = await worker_of(supervisor, "warm")
    assert worker is not None
    (spare,) = await spares(supervisor, {worker}, 1)
    await warm(spare)
    os.kill(worker, signal.SIGKILL)
    assert await replaced(supervisor, "warm", worker) == spare
    (next_spare,) = await spares(supervisor, {spare, worker}, 1)

    await supervisor.kill()
    await supervisor.start()
    await supervisor.wait_state("warm", "open")
    assert await worker_of(supervisor, "warm") == spare
    (third,) = await spares(supervisor, {spare, next_spare}, 1)
    await eventually(
        partial(pids, supervisor),
        lambda seen: next_spare not in seen,
        what="the end of the spare, which holds nothing, and does not wait for another supervisor",
    )
    os.kill(third, signal.SIGKILL)
    await spares(supervisor, {spare, third}, 1)
    assert (await supervisor.session("warm"))["state"] == "open"
    assert await supervisor.stop() == 0
    assert await pids(supervisor) == set()


async def spares(supervisor: Supervisor, others: set[int], count: int) -> set[int]:
    """Wait for so many processes beside these."""

    async def look() -> set[int]:
        return await pids(supervisor) - others

    return await eventually(look, lambda seen: len(seen) == count, what=f"{count} spare workers")


async def warm(spare: int) -> None:
    """Wait until it has done all that a spare does: it rests."""
    process, looks = psutil.Process(spare), [-1.0]

    async def look() -> bool:
        looks.append(process.cpu_times().user)
        await asyncio.sleep(0.7)
        return looks[-1] == looks[-2]

    await eventually(look, what="a spare that rests")


async def test_without_spares_there_is_no_process_but_the_sessions_own(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(spare_workers=0)
    await pair(supervisor, standin, "cold")
    worker = await worker_of(supervisor, "cold")
    assert await pids(supervisor) == {worker}
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    heir = await replaced(supervisor, "cold", worker)
    assert await pids(supervisor) == {heir}
