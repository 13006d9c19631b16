"""How many events a second go out to one receiver on this machine, and what holds them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import psutil

from scripts.bench.fleet import cpu_seconds
from scripts.bench.report import Report
from scripts.lab import LabError, Supervisor
from scripts.lab.processes import ROOT
from sessions.store import Store, sqlite_url

PART: Final = "speed"
WANTED: Final = 2000
"""Events a second: what was promised."""
EVENTS: Final = 20_000
SESSIONS: Final = 50
MOST_SECONDS: Final = 120.0
TEXT: Final = "Bom dia! Meu pedido ainda não chegou, podem verificar por favor? " * 2


async def measure(directory: Path, report: Report, rounds: int = 3) -> None:
    """Let a log of so many events go out to a receiver that only counts. Raises LabError."""
    rates, costs, shares, sinks = [], [], [], []
    for number in range(rounds):
        rate, cost, share, sink = await _one(directory / f"speed-{number}")
        rates.append(rate)
        costs.append(cost)
        shares.append(share)
        sinks.append(sink)
    add = report.add
    add(PART, f"events of {SESSIONS} sessions to one receiver", "a second", rates)
    add(PART, "supervisor: CPU for an event", "us", costs)
    add(PART, "supervisor: CPU while they went out", "% of a core", shares)
    add(PART, "receiver: CPU while they came", "% of a core", sinks)
    best = max(rates)
    held = max(range(rounds), key=lambda one: rates[one])
    why = (
        "the supervisor's one core is used up"
        if shares[held] > 90
        else "neither side's core is used up: others take the CPU, or answers are waited for"
    )
    report.remark(
        PART,
        f"Wanted: {WANTED:,} a second; the best of {rounds} rounds: {best:,.0f}"
        + ("." if best >= WANTED else f". What holds it: {why}.")
        + f" By the CPU alone it would be {1e6 / min(costs):,.0f}.",
    )


async def _one(directory: Path) -> tuple[float, float, float, float]:
    """Events a second; CPU of an event, microseconds; of both sides, percent of a core."""
    supervisor = Supervisor(directory, {"WHATSAPP_DEBUGGABLE": "true"})
    try:
        await supervisor.start()
        await supervisor.stop()
        await _fill(directory / "wasup.db")
        await supervisor.start()
        assert supervisor.process is not None, "it was started"
        process = psutil.Process(supervisor.process.pid)
        async with _sink(EVENTS) as (url, done):
            before = cpu_seconds(process)
            await supervisor.must(
                "POST", "/webhooks", {"url": url, "after": 0, "types": ["message.*"]}
            )
            async with asyncio.timeout(MOST_SECONDS):
                began, ended, sink = map(float, (await done.readline()).split())
            used, took = cpu_seconds(process) - before, ended - began
        return EVENTS / took, 1e6 * used / EVENTS, 100 * used / took, 100 * sink / took
    except TimeoutError:
        raise LabError(f"{EVENTS} events did not go out within {MOST_SECONDS:g} s") from None
    finally:
        await supervisor.close()


async def _fill(database: Path) -> None:
    """As many events as a fleet's customers write in a busy hour."""
    data = msgspec.json.encode(
        {
            "id": "3EB0C767D26A1B2E3F4A",
            "chat": {"jid": "5511999990000@s.whatsapp.net", "phone": "5511999990000", "lid": None},
            "sender": {"jid": "5511999990000@s.whatsapp.net", "phone": None, "lid": None},
            "fromMe": False,
            "pushName": None,
            "at": "2026-11-30T02:54:22.000Z",
            "kind": "text",
            "text": TEXT,
        }
    )
    store = await Store.open(sqlite_url(database))
    for number in range(EVENTS):
        store.append_event(f"s{number % SESSIONS}", "message.received", data)
        if number % 1000 == 999:
            await store.must_write()
    await store.close()


@asynccontextmanager
async def _sink(count: int) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripts.bench_delivery.sink",
        str(count),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/hook", process.stdout
    finally:
        process.kill()
        await process.wait()
