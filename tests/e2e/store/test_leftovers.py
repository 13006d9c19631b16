"""Texts that WhatsApp knows to have arrived, and that no event has shown when supervisor and
workers end together.

As a program (`python -m tests.e2e.store.test_leftovers`) this is the supervisor with an event log that
takes no message: keys become durable, and the workers confirm each text to WhatsApp, but nobody is
shown one. What is a matter of milliseconds otherwise lasts as long as a test needs it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import psutil
import pytest

from scripts.lab import StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.traffic import doubled, out_of_order
from sessions.store import Store, StoredEvent
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

WINDOW_MS = 1_500
TEXTS = 5
KILLS = 4


async def restarted(supervisor: Supervisor, module: str, names: Sequence[str]) -> None:
    """The next supervisor, and the sessions open again."""
    supervisor.module = module
    await supervisor.start()
    for name in names:
        await supervisor.wait_state(name, "open", seconds=60)


async def confirmed(standin: StandIn, traffic: Traffic, after: int) -> None:
    """WhatsApp knows of all that was sent that it has arrived."""

    async def missing() -> set[str]:
        return traffic.sent.keys() - {
            entry["id"] for entry in await standin.log("receipt", after=after)
        }

    await eventually(missing, lambda ids: not ids, what="all receipts")


async def kill_together(supervisor: Supervisor) -> None:
    """Nobody has time to notice the other's end."""
    workers = supervisor.worker_processes()
    killed = asyncio.create_task(supervisor.kill())
    await asyncio.sleep(0)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    await killed
    await all_gone(supervisor)


async def past_the_window(supervisor: Supervisor) -> None:
    """No successor comes: the workers close their sockets and end."""
    await supervisor.kill()
    await all_gone(supervisor)


async def all_gone(supervisor: Supervisor) -> None:
    async def left() -> list[psutil.Process]:
        return supervisor.worker_processes()

    await eventually(left, lambda seen: not seen, what="the end of all workers")


@pytest.mark.parametrize(("how", "end"), [("together", kill_together), ("window", past_the_window)])
async def test_texts_that_were_confirmed_and_not_shown_are_shown_by_the_next_workers(
    start_supervisor: StartSupervisor,
    standin: StandIn,
    how: str,
    end: Callable[[Supervisor], Awaitable[None]],
) -> None:
    supervisor = await start_supervisor(adoption_window=WINDOW_MS)
    names = [f"leftover-{how}-{letter}" for letter in "ab"]
    await pair(supervisor, standin, *names)
    before, traffic = await standin.last_entry(), Traffic(standin, names, every_seconds=1.0)
    for name in names:
        await traffic.send(name, 0)
    await traffic.arrived(supervisor)
    await supervisor.kill()
    await restarted(supervisor, "tests.e2e.store.test_leftovers", names)
    for serial in range(1, TEXTS + 1):
        for name in names:
            await traffic.send(name, serial)
    await confirmed(standin, traffic, before)
    shown = {event["data"]["text"] for event in await supervisor.every_event("message.received")}
    assert shown == {f"{name} 0" for name in names}, "or there is nothing to prove"

    await end(supervisor)
    await restarted(supervisor, "supervisor", names)
    for name in names:
        await traffic.send(name, TEXTS + 1)
    arrived = await traffic.arrived(supervisor)
    assert (doubled(arrived), out_of_order(arrived)) == ([], [])
    assert len(arrived) == len(names) * (TEXTS + 2)
    phones = {event["data"]["chat"]["jid"] for event in arrived}
    assert len(phones) == 1, "a leftover names its sender as a live text does"
    assert [
        entry for entry in await standin.log("receipt", after=before) if entry["type"] == "retry"
    ] == []


async def test_kills_of_all_at_random_moments_of_a_flood_neither_lose_nor_double_a_text(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The order is not looked at: after a login Baileys lets live texts pass those that had to wait
    at the server.
    """
    supervisor = await start_supervisor(gate_rate=50, gate_burst=50)
    names = [f"leftover-flood-{letter}" for letter in "abc"]
    await pair(supervisor, standin, *names)
    rng, traffic = random.Random(7), Traffic(standin, names, every_seconds=0.02)
    async with traffic:
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            await kill_together(supervisor)
            await restarted(supervisor, "supervisor", names)
    arrived = await traffic.arrived(supervisor)
    assert len(arrived) >= 100, "it was a flood"
    assert doubled(arrived) == []


def take_no_message() -> None:
    """Run the supervisor; messages are queued for the event log, and never written."""
    append = Store.append_worker_event

    def append_or_not(
        store: Store,
        session: str,
        epoch: int,
        seq: int,
        kind: str,
        data: bytes,
        kept: Sequence[str] = (),
        message: str | None = None,
    ) -> "asyncio.Future[StoredEvent | None]":
        if kind == "message.received":
            return asyncio.get_running_loop().create_future()
        return append(store, session, epoch, seq, kind, data, kept, message)

    Store.append_worker_event = append_or_not  # type: ignore[method-assign]
    from supervisor.cli.cli import main

    main(["run"])


if __name__ == "__main__":
    take_no_message()
