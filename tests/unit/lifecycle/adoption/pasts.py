"""How a session comes to have a past: what its worker holds, and what the store knows of it."""

import asyncio
from typing import Any

import msgspec

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import JID, FakeWorker, World, closes

MINUTE = 60.0
HOUR = 3600.0
Stage = wire.Stage


def now() -> float:
    return asyncio.get_running_loop().time()


def how_closed(reason: R, data: dict[str, str] | None = None) -> wire.HowClosed:
    return wire.HowClosed(code=500, message="closed", data=data, registered=True, reason=reason)


def holding(
    stage: Stage, epoch: int = 1, attempt: int = 7, closed: wire.HowClosed | None = None
) -> dict[str, Any]:
    shown: dict[Stage, dict[str, Any]] = {
        Stage.QR: {"qr": "QR-TEXT"},
        Stage.OPEN: {"jid": JID, "name": "Shop", "open_for_ms": 20_000.0},
        Stage.IDLE: {"closed": closed},
    }
    return {"epoch": epoch, "attempt": attempt, "stage": stage, **shown.get(stage, {})}


async def worker_returns(world: World, stage: Stage, **other: Any) -> FakeWorker:
    """The session is at epoch 1, and a worker of an earlier supervisor holds it like that.

    The next supervisor has just begun.
    """
    await with_a_past(world)
    worker = world.workers.comes_back("shop", **(holding(stage) | other))
    await world.start()
    return worker


async def with_a_past(world: World) -> None:
    world.paired()
    row = await world.store.create_session(world.id, wanted=True)
    world.store.rows[world.id] = msgspec.structs.replace(row, epoch=1, jid=JID)


SHOWN_AS = {
    Stage.IDLE: S.STARTING,
    Stage.CONNECTING: S.CONNECTING,
    Stage.LOGIN: S.CONNECTING,
    Stage.PAIRED: S.CONNECTING,
    Stage.QR: S.QR,
    Stage.OPEN: S.OPEN,
}


async def with_a_parked_past(world: World) -> None:
    """A banned session at epoch 1, as its store has it; no supervisor runs."""
    world.workers.plan.append(closes(R.BANNED))
    world.paired()
    await world.start()
    await world.until(S.PARKED)
    await world.crash()
    world.workers.attempts.clear()
    world.workers.made.clear()
    world.gate.permits.clear()
