"""What the stories of a session share: spans of time, and how it comes to stand in a state."""

import asyncio

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import World, closes, says_nothing, shows_qr

MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
STABLE = 61.0


def now() -> float:
    return asyncio.get_running_loop().time()


async def bring_to(world: World, state: S) -> None:
    """A session in that state, and nothing under way that would lead it out."""
    match state:
        case S.STARTING:
            world.workers.startup_seconds = 5.0
        case S.HELD:
            world.gate.shut = True
        case S.CONNECTING:
            world.workers.plan.append(says_nothing())
        case S.QR:
            world.workers.plan.append(shows_qr())
        case S.WAITING:
            world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        case S.PARKED:
            world.workers.plan.append(closes(R.BANNED))
        case S.QUARANTINED:
            world.paired(b"torn")
        case _:
            pass
    await world.start()
    await world.until(state)
    if state is S.WAITING:
        await asyncio.sleep(2 * MINUTE)
        assert world.session.reconnection().breaker.state == "open"
