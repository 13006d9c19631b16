"""The clients of the live feed that were let in: each with its place, no more than there are
places, and none so many of one key that others find none.
"""

from collections.abc import Iterator
from typing import Final

from api.gatehouse.fences import SHARE
from api.live.admission.connection import Connection
from api.live.admission.refusals import InsufficientResourcesError

FULL_RETRY_SECONDS: Final = 10.0
"""A place comes free when somebody goes, and nobody knows when: this is polite, not exact."""


class ConnectionPool:
    """The clients by their ids. `max_size`: places.

    A key may have more than its share (a house's browsers all come by tokens of one) while there
    are places; the last share of them is for those who have less, and for the operator.
    """

    def __init__(self, max_size: int = 1000) -> None:
        self.max_size = max_size
        self._connections: dict[str, Connection] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Those of this moment, whoever comes and goes meanwhile."""
        return iter(list(self._connections.values()))

    def get(self, client: str) -> Connection | None:
        """A client, if it is in."""
        return self._connections.get(client)

    def add(self, connection: Connection) -> None:
        """Give it a place. Raises InsufficientResourcesError."""
        share = max(1, self.max_size // SHARE)
        if len(self._connections) >= self.max_size:
            raise InsufficientResourcesError(
                f"There are insufficient resources: {self.max_size} clients are connected"
                " (MAX_WEBSOCKET_CONNECTIONS).",
                FULL_RETRY_SECONDS,
            )
        if len(self._connections) >= self.max_size - share and self._has(connection, share):
            raise InsufficientResourcesError(
                f"There are insufficient resources: the last {share} of {self.max_size} places"
                " (MAX_WEBSOCKET_CONNECTIONS) are for others than this key, whose clients have as"
                " many already.",
                FULL_RETRY_SECONDS,
            )
        self._connections[connection.id] = connection

    def _has(self, connection: Connection, count: int) -> bool:
        """Whether who comes has so many places already; of the operator it is not asked."""
        whose = connection.principal
        same = (one for one in self._connections.values() if one.principal.id == whose.id)
        return not whose.is_operator and sum(1 for _ in same) >= count

    def remove(self, client: str) -> Connection | None:
        """Its place is free; the client, if it was in."""
        return self._connections.pop(client, None)
