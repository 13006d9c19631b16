"""Health checks of an open session: what makes it deaf, and when it is looked at.

On a fast-forwarded clock.
"""

import asyncio

import pytest

from sessions.lifecycle.health import HealthConfig, check_until_failed
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.model import WorkerRefused
from sessions.records.counters import Counters
from sessions.workers import wire
from tests.fakes import FakeWorkers, World

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

CONFIG = HealthConfig()


def now() -> float:
    return asyncio.get_running_loop().time()


class Probing(FakeWorkers):
    """A worker that is asked; `asked` says when."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.doubt = asyncio.Event()

    async def verdict(self, config: HealthConfig = CONFIG) -> R:
        worker = await self.bring_up("shop")
        request = worker.request

        async def asked(*arguments: object) -> object:
            self.asked.append(now())
            return await request(*arguments)  # type: ignore[arg-type]

        worker.request = asked  # type: ignore[assignment, method-assign]
        return await check_until_failed(
            "shop", worker, Counters(), config, lambda *_: None, self.doubt
        )  # type: ignore[arg-type]


async def test_a_silent_number_is_not_deaf() -> None:
    probing = Probing()
    # else it makes 25,000 probes
    seldom = HealthConfig(interval_seconds=600.0, heartbeat_timeout_seconds=1200.0)
    checks = asyncio.create_task(probing.verdict(seldom))
    await asyncio.sleep(7 * 24 * 3600)
    assert not checks.done()
    assert len(probing.asked) > 7 * 24 * 3600 / 600
    checks.cancel()
    await asyncio.gather(checks, return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("stalled", R.DEAF),
        ("deaf", R.DEAF),
        ("silent", R.CONNECTION_LOST),
        ("hangs", R.WORKER_HUNG),
    ],
)
async def test_the_verdicts(answer: str, verdict: R) -> None:
    probing = Probing()
    checks = asyncio.create_task(probing.verdict())
    await asyncio.sleep(100)
    probing.probe = answer
    assert await checks is verdict


async def test_a_doubt_is_looked_into_at_once_and_once() -> None:
    probing = Probing()
    checks = asyncio.create_task(probing.verdict())
    await asyncio.sleep(10)
    before, doubted_at = len(probing.asked), now()
    probing.doubt.set()
    await asyncio.sleep(10)
    assert probing.asked[before:] == [pytest.approx(doubted_at, abs=0.1)]
    await asyncio.sleep(30)
    assert len(probing.asked) == before + 2, "the next one comes in its time"
    checks.cancel()
    await asyncio.gather(checks, return_exceptions=True)


async def test_a_text_without_an_ack_makes_a_probe_at_once_and_what_it_says_decides() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(65)
        world.workers.unacknowledged_sends = True
        probed = _probes(world)
        with pytest.raises(WorkerRefused):
            await world.session.send_text("5511999990000", "one")
        await asyncio.sleep(0.5)
        assert _probes(world) == probed + 1
        assert world.session.state is S.OPEN, "one is no proof"
        world.workers.probe = "stalled"
        with pytest.raises(WorkerRefused):
            await world.session.send_text("5511999990000", "two")
        await world.until(S.WAITING, S.CONNECTING, within=1)
        world.workers.probe, world.workers.unacknowledged_sends = "ok", False
        await world.until(S.OPEN)
        assert world.session.reconnection().close_reason is R.DEAF
        assert len(world.workers.made) == 1, "the socket first"


async def test_a_socket_that_stalls_again_and_again_is_renewed_twice_in_six_hours_and_no_more() -> (
    None
):
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "stalled"
        await asyncio.sleep(5 * 3600)
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 3


def _probes(world: World) -> int:
    return sum(isinstance(frame, wire.Probe) for frame in world.workers.last.sent)
