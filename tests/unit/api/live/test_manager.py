"""Letting a client in: three tries where the store does not answer, and an observer that fails
harms nobody.
"""

import asyncio

import pytest

from api.live.admission.manager import EnhancedWebSocketManager, Guest
from api.live.admission.pool import ConnectionPool
from api.live.admission.refusals import (
    ConnectionTimeoutError,
    InsufficientResourcesError,
    InvalidTokenError,
)
from api.live.admission.resource_monitor import ResourceMonitor
from api.live.client_queue import ClientQueue
from api.live.observer import Handshake, NoObserver, Refusal
from sessions.model import StoreUnavailable
from supervisor.access.principal import BY_TOKEN, Principal
from supervisor.access.refusals import AccessDenied
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from tests.unit.api.live.test_resource_monitor import Host

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


class Watching(NoObserver):
    """Keeps what it is told, and fails each time."""

    def __init__(self) -> None:
        self.told: list[Handshake | Refusal] = []

    def on_handshake(self, handshake: Handshake) -> None:
        self.told.append(handshake)
        raise RuntimeError("an observer's own affair")

    def on_refusal(self, refusal: Refusal) -> None:
        self.told.append(refusal)
        raise RuntimeError("an observer's own affair")


class Door:
    """A manager, and tokens that are checked as the test says."""

    def __init__(self, *answers: Exception | float) -> None:
        self.answers = list(answers)
        self.observer = Watching()
        self.pool = ConnectionPool(1)
        monitor = ResourceMonitor(LiveFeedLimits(), Host().read, self.pool.__len__)
        self.manager = EnhancedWebSocketManager(self.pool, monitor, self.observer)

    async def authenticate(self, _token: str | None) -> Principal:
        answer = self.answers.pop(0) if self.answers else 0.0
        if isinstance(answer, Exception):
            raise answer
        await asyncio.sleep(answer)
        return BY_TOKEN

    def guest(self, name: str) -> Guest:
        now = asyncio.get_running_loop().time()
        return Guest(name, name, "websocket", ClientQueue(1000, now), self.authenticate)


async def test_a_client_is_let_in_and_its_stages_are_timed() -> None:
    door = Door(2.0)
    result = await door.manager.connect_with_validation(door.guest("one"), "token")
    assert door.pool.get("one") is result.connection
    assert result.handshake.token_seconds == pytest.approx(2.0)
    assert result.handshake.whole_seconds == pytest.approx(2.0)
    assert door.observer.told == [result.handshake]


async def test_a_token_that_cannot_be_looked_up_is_tried_three_times() -> None:
    door = Door(StoreUnavailable(), StoreUnavailable())
    began = asyncio.get_running_loop().time()
    await door.manager.connect_with_validation(door.guest("one"), "token")
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)  # 1 s, then 2 s
    door = Door(*(StoreUnavailable() for _ in range(3)))
    with pytest.raises(InsufficientResourcesError) as error:
        await door.manager.connect_with_validation(door.guest("one"), "token")
    assert error.value.retry_after_seconds > 0
    assert not len(door.pool)


async def test_a_token_that_is_refused_is_tried_once() -> None:
    door = Door(AccessDenied("expired"))
    with pytest.raises(InvalidTokenError) as error:
        await door.manager.connect_with_validation(door.guest("one"), "token")
    assert error.value.reason == "expired"
    assert [refusal.reason for refusal in door.observer.told if isinstance(refusal, Refusal)] == [
        "expired"
    ]


async def test_the_handshake_has_thirty_seconds_from_the_open_transport() -> None:
    door = Door(60.0)
    guest = door.guest("one")
    await asyncio.sleep(20)
    with pytest.raises(ConnectionTimeoutError):
        await door.manager.connect_with_validation(guest, "token")
    assert asyncio.get_running_loop().time() - guest.queue.opened_at == pytest.approx(30.0)


async def test_two_who_come_for_the_last_place_at_once_do_not_both_get_it() -> None:
    door = Door(1.0, 1.0)
    came = await asyncio.gather(
        *(door.manager.connect_with_validation(door.guest(name), "token") for name in "ab"),
        return_exceptions=True,
    )
    assert sum(isinstance(one, InsufficientResourcesError) for one in came) == 1
    assert len(door.pool) == 1
