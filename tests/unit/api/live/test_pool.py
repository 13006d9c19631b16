"""Places of the live feed: as many as there are, and some for others than who has most."""

import pytest

from api.live.admission.connection import Connection
from api.live.admission.pool import ConnectionPool
from api.live.admission.refusals import InsufficientResourcesError
from api.live.client_queue import ClientQueue
from supervisor.access.principal import BY_TOKEN, Principal
from supervisor.access.scopes import Scope


class Feed:
    """A pool of twelve places, and those who come."""

    def __init__(self) -> None:
        self.pool = ConnectionPool(12)
        self._came = 0

    def come(self, whose: str, count: int = 1) -> int:
        """So many clients of somebody; how many of them were let in."""
        by_key = Principal(id=f"key:{whose}", name=whose, scope=Scope.READ)
        principal = BY_TOKEN if whose == "operator" else by_key
        for n in range(count):
            self._came += 1
            id = f"{whose} {self._came}"
            one = Connection(id, id, ClientQueue(1000, 0.0), principal, "websocket", 0.0)
            try:
                self.pool.add(one)
            except InsufficientResourcesError:
                return n
        return count


def test_one_key_cannot_take_the_last_quarter_of_the_places_and_others_can() -> None:
    feed = Feed()
    assert feed.come("a", 12) == 9
    assert feed.come("b", 1) == 1
    assert feed.come("c", 2) == 2
    assert feed.come("d", 1) == 0
    assert len(feed.pool) == 12


def test_who_has_more_than_its_share_gets_a_place_again_when_there_are_others() -> None:
    feed = Feed()
    feed.come("a", 9)
    with pytest.raises(InsufficientResourcesError, match="the last 3 of 12 places"):
        feed.pool.add(
            Connection(
                "x",
                "x",
                ClientQueue(1, 0.0),
                Principal(id="key:a", name="a", scope=Scope.READ),
                "polling",
                0.0,
            )
        )
    feed.pool.remove("a 1")
    assert feed.come("a", 2) == 1


def test_the_operators_clients_have_every_place() -> None:
    feed = Feed()
    assert feed.come("operator", 13) == 12


def test_a_few_places_are_for_a_key_too() -> None:
    feed = Feed()
    feed.pool.max_size = 1
    assert feed.come("a", 2) == 1
